package engine

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// A run knows secrets by their marks. A call exchanges them when it is made, and
// exchanges them back in all that comes of it before anything is kept.

// mark stands for a secret in one run.
type mark struct {
	path   string   // in Definition.Secrets
	text   string   // what stands in the run
	values []string // what the secret looks like outside; empty until the call has used it
}

// secretLeast is the length from which a value is looked for in answers: a
// shorter one would be found everywhere.
const secretLeast = 4

func noSecret(_, name string) ([]byte, error) {
	return nil, weft.Errorf(weft.NotFound, "engine.noSecret", "there is no secret %s", name).
		WithHint("start weft serve with --secrets DIR, and put it into DIR/NAMESPACE/%s", name)
}

// holdsSecrets refuses the start of a run whose secrets are not there.
func (e *Engine) holdsSecrets(ns string, def *workflows.Definition) error {
	for _, path := range def.Secrets() {
		if _, err := e.secret(ns, path); err != nil {
			return weft.Errorf(weft.FailedPrecondition, "engine.Engine.StartRun", "%s cannot run: %w", def.Title(), err)
		}
	}
	return nil
}

// secret is the text of what a path leads to.
func (e *Engine) secret(ns, path string) (string, error) {
	const op = "engine.Engine.secret"
	name, rest, inside := strings.Cut(path, "/")
	data, err := e.opts.Secret(ns, name)
	if err != nil {
		return "", err
	}
	if !inside {
		return string(data), nil
	}
	v, err := workflows.DecodeJSON(data)
	if _, is := v.(map[string]any); err != nil || !is {
		if rest == "token" {
			return string(data), nil // a secret that is a token as a whole
		}
		return "", weft.Errorf(weft.NotFound, op, "secret %s is one text and has no key %s", name, rest).WithHint("make it a JSON object")
	}
	for _, key := range strings.Split(rest, "/") {
		m, _ := v.(map[string]any)
		found, ok := m[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
		if !ok {
			return "", weft.Errorf(weft.NotFound, op, "secret %s has no key %s", name, rest)
		}
		v = found
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	return string(workflows.AppendJSON(nil, v)), nil
}

// How a secret is written where its mark stood.
func inText(s string) string { return s }

func inJSON(s string) string {
	quoted := workflows.AppendJSON(nil, s)
	return string(quoted[1 : len(quoted)-1])
}

func inURL(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// reveal puts secrets in the place of their marks. One that is not there is
// permission denied, as the language has it.
func (k *call) reveal(text string, written func(string) string) (string, error) {
	for i := range k.marks {
		m := &k.marks[i]
		if !strings.Contains(text, m.text) {
			continue
		}
		s, err := k.a.e.secret(k.a.row.Namespace, m.path)
		if err != nil {
			return "", weft.Errorf(weft.PermissionDenied, "engine.call.reveal", "%w", err)
		}
		m.looks(s)
		text = strings.ReplaceAll(text, m.text, written(s))
	}
	return text, nil
}

// looks notes how a secret may come back.
func (m *mark) looks(s string) {
	for _, v := range append(slices.Concat(inBase64(s), inBase64(inJSON(s))), s, inJSON(s), inJSON(inJSON(s)), inURL(s), url.QueryEscape(s)) {
		if len(v) >= secretLeast {
			m.values = append(m.values, v)
		}
	}
}

// inBase64 is what s looks like in base64 wherever it stands in a text: the
// letters that do not depend on what is around it.
func inBase64(s string) (all []string) {
	for at := range 3 {
		padded := append(make([]byte, at), s...)
		from, to := (at*8+5)/6, len(padded)*8/6
		if to-from < secretLeast {
			continue
		}
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			all = append(all, e.EncodeToString(padded)[from:to])
		}
	}
	return all
}

// unsealed is a request with its secrets, and what it asks a token with. A handler
// makes its requests itself.
func (k *call) unsealed(r weft.Request, token *machine.TokenRequest) (weft.Request, *machine.TokenRequest, error) {
	if len(k.marks) == 0 || k.c.Kind != machine.CallHTTP {
		return r, token, nil
	}
	r, err := k.unsealedRequest(r)
	if err != nil || token == nil {
		return r, token, err
	}
	token, err = k.unsealedToken(*token)
	return r, token, err
}

func (k *call) unsealedToken(q machine.TokenRequest) (*machine.TokenRequest, error) {
	if q.Use != "" {
		return k.policy(q)
	}
	q.Scopes, q.Audiences, q.Issuers = slices.Clone(q.Scopes), slices.Clone(q.Audiences), slices.Clone(q.Issuers)
	parts := []*string{&q.ID, &q.Secret, &q.Assertion, &q.User, &q.Password}
	for _, list := range [][]string{q.Scopes, q.Audiences, q.Issuers} {
		for i := range list {
			parts = append(parts, &list[i])
		}
	}
	for _, part := range parts {
		var err error
		if *part, err = k.reveal(*part, inText); err != nil {
			return nil, err
		}
	}
	return &q, nil
}

// policy is the request that a secret says as a whole.
func (k *call) policy(q machine.TokenRequest) (*machine.TokenRequest, error) {
	const op = "engine.call.policy"
	i := slices.IndexFunc(k.marks, func(m mark) bool { return m.text == q.Use })
	if i < 0 {
		return nil, weft.Errorf(weft.Internal, op, "the secret of the policy has no mark")
	}
	m := &k.marks[i]
	text, err := k.a.e.secret(k.a.row.Namespace, m.path)
	if err != nil {
		return nil, weft.Errorf(weft.PermissionDenied, op, "%w", err)
	}
	o, err := workflows.OAuthOf([]byte(text), q.OIDC)
	if err != nil {
		return nil, weft.Errorf(weft.PermissionDenied, op, "secret %s: %w", m.path, err).
			WithHint("it must be a JSON object with the keys of %s, all of them fixed", map[bool]string{true: "oidc", false: "oauth2"}[q.OIDC])
	}
	made, err := machine.TokenOf(o)
	if err != nil {
		return nil, err
	}
	for _, s := range []string{text, made.Secret, made.Assertion, made.User, made.Password} {
		m.looks(s)
	}
	return made, nil
}

func (k *call) unsealedRequest(r weft.Request) (weft.Request, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return r, weft.Errorf(weft.InvalidArgument, "engine.call.unsealed", "%w", err)
	}
	for _, m := range k.marks {
		if strings.Contains(u.Host, m.text) {
			return r, weft.Errorf(weft.InvalidArgument, "engine.call.unsealed", "the host of an address cannot be a secret").
				WithHint("breakers and parked runs tell it to everybody")
		}
	}
	if r.URL, err = k.reveal(r.URL, inURL); err != nil {
		return r, err
	}
	r.Headers = maps.Clone(r.Headers)
	for name, v := range r.Headers {
		if r.Headers[name], err = k.reveal(v, inText); err != nil {
			return r, err
		}
		if strings.ContainsAny(r.Headers[name], "\r\n\x00") {
			return r, weft.Errorf(weft.InvalidArgument, "engine.call.unsealed", "the secret in the header %s has a line break in it", name)
		}
	}
	if k.message != nil {
		arguments, err := k.reveal(string(k.c.HTTP.GRPC.Arguments), inJSON)
		if err == nil {
			r.Body, err = k.message([]byte(arguments))
		}
		return r, err
	}
	written := inText
	if strings.Contains(r.Headers["content-type"], "json") {
		written = inJSON
	}
	if strings.Contains(r.Headers["content-type"], "x-www-form-urlencoded") {
		written = inURL
	}
	if len(r.Body) > 0 {
		var body string
		body, err = k.reveal(string(r.Body), written)
		r.Body = []byte(body)
	}
	return r, err
}

// input is what the handler is given. What it logs is to have no secrets.
func (k *call) input(t *txn) ([]byte, error) {
	if len(k.marks) == 0 {
		return k.c.Input, nil
	}
	t.hide = k.hide
	text, err := k.reveal(string(k.c.Input), inJSON)
	return []byte(text), err
}

// credentials are a with its secrets.
func (k *call) credentials(a *machine.Credentials) (*machine.Credentials, error) {
	c := *a
	var err error
	if c.User, err = k.reveal(a.User, inText); err == nil {
		c.Secret, err = k.reveal(a.Secret, inText)
	}
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(c.User+c.Secret, "\r\n\x00") || c.Scheme == workflows.AuthBasic && strings.Contains(c.User, ":") {
		return nil, weft.Errorf(weft.InvalidArgument, "engine.call.credentials", "a name, password or token that is a secret has a line break in it, or the name a colon")
	}
	if c.Scheme == workflows.AuthBasic {
		for i := range k.marks {
			if m := &k.marks[i]; strings.Contains(a.Secret, m.text) {
				m.values = append(m.values, base64.StdEncoding.EncodeToString([]byte(c.User+":"+c.Secret)))
			}
		}
	}
	return &c, nil
}

// hide puts marks in the place of the secrets that the call has used.
func (k *call) hide(text string) string {
	var pairs [][2]string
	for _, m := range k.marks {
		for _, v := range m.values {
			pairs = append(pairs, [2]string{v, m.text})
		}
	}
	slices.SortStableFunc(pairs, func(a, b [2]string) int { return len(b[0]) - len(a[0]) }) // one may be a part of another
	for _, p := range pairs {
		text = strings.ReplaceAll(text, p[0], p[1])
	}
	return text
}

// hidden is hide for data. JSON stays JSON, also where a secret is a number.
func (k *call) hidden(data []byte) []byte {
	if len(k.marks) == 0 {
		return data
	}
	out := []byte(k.hide(string(data)))
	if !json.Valid(data) || json.Valid(out) {
		return out
	}
	v, err := workflows.DecodeJSON(data)
	if err != nil { // nested too deeply: better of no use than told
		return out
	}
	return workflows.AppendJSON(nil, k.hiddenValue(v))
}

func (k *call) hiddenValue(v any) any {
	switch v := v.(type) {
	case string:
		return k.hide(v)
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = k.hiddenValue(e)
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key, e := range v {
			m[k.hide(key)] = k.hiddenValue(e)
		}
		return m
	}
	text := string(workflows.AppendJSON(nil, v))
	if hidden := k.hide(text); hidden != text {
		return hidden
	}
	return v
}

// seal hides the secrets in an answer.
func (k *call) seal(r *weft.Response) {
	if len(k.marks) == 0 {
		return
	}
	r.Headers = maps.Clone(r.Headers)
	for name, v := range r.Headers {
		r.Headers[name] = k.hide(v)
	}
	if k.message == nil { // what is encoded is hidden when it is read
		r.Body = k.hidden(r.Body)
	}
}

// fault is what the run is told of an error.
func (k *call) fault(err error) *machine.Fault {
	return machine.FaultOf(k.sealedError(err))
}

// sealedError is err without secrets in its text.
func (k *call) sealedError(err error) error {
	if err == nil || len(k.marks) == 0 {
		return err
	}
	if text := k.hide(err.Error()); text != err.Error() {
		return &weft.Error{Code: weft.CodeOf(err), Op: "engine.call", Err: errors.New(text)}
	}
	return err
}
