package engine

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// http makes the call of a task call: http or call: openapi.
func (k *call) http() {
	k.conclude(k.answer(k.c.HTTP))
}

// answer is what the machine is told of the call.
func (k *call) answer(q *machine.HTTPRequest) ([]byte, error) {
	if q.GRPC != nil {
		return k.grpc(q)
	}
	if q.OpenAPI == nil {
		res, err := k.send(q, nil)
		return machine.EncodeHTTP(res), err
	}
	o, err := k.operation(q)
	if err != nil {
		return nil, err
	}
	c, err := o.Call(q.OpenAPI.Parameters)
	if err != nil {
		return nil, err
	}
	made := &machine.HTTPRequest{Method: c.Method, URL: c.URL, Headers: c.Headers, Body: c.Body, Auth: q.OpenAPI.Auth, NoRedirect: q.NoRedirect}
	res, err := k.send(made, nil)
	return machine.EncodeOperation(made, res), err
}

// operation fetches the document and reads the operation from it. The journal
// keeps that alone: after a restart the same request is made, whatever has
// become of the document.
func (k *call) operation(q *machine.HTTPRequest) (o workflows.Operation, err error) {
	const op = "engine.call.operation"
	res, err := k.send(q, func(res weft.Response) (weft.Response, error) {
		if err := documentError(res, q.URL); err != nil {
			return weft.Response{}, err
		}
		o, err := workflows.FindOperation(res.Body, q.URL, q.OpenAPI.Operation)
		body, _ := json.Marshal(o) // strings and booleans: cannot fail
		return weft.Response{Status: res.Status, Body: body}, err
	})
	if err == nil && json.Unmarshal(res.Body, &o) != nil {
		err = weft.Errorf(weft.DataLoss, op, "the operation in the journal cannot be read")
	}
	return o, err
}

// send makes one request and says who calls; keep, when not nil, is what is
// noted of its answer.
func (k *call) send(q *machine.HTTPRequest, keep func(weft.Response) (weft.Response, error)) (weft.Response, error) {
	r := weft.Request{Namespace: k.a.row.Namespace, Caller: k.a.row.Workflow + "/" + k.c.Name, Method: q.Method, URL: q.URL,
		Headers: maps.Clone(q.Headers), Body: q.Body, NoRedirect: q.NoRedirect, GRPC: q.GRPC != nil}
	if r.Headers == nil {
		r.Headers = map[string]string{}
	}
	if q.Auth != nil {
		a, err := k.credentials(q.Auth)
		if err != nil {
			return weft.Response{}, err
		}
		switch a.Scheme {
		case workflows.AuthBasic:
			r.Headers["authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.User+":"+a.Secret))
		case workflows.AuthBearer:
			r.Headers["authorization"] = "Bearer " + a.Secret
		case workflows.AuthDigest:
			return k.digest(r, a, keep)
		case workflows.AuthOAuth2, workflows.AuthOIDC:
			return k.ask(k.ctx, r, store.Ticket{}, keep, a.Token)
		}
	}
	return k.ask(k.ctx, r, store.Ticket{}, keep, nil)
}

// digest calls once to be challenged and once more with the answer (RFC 7616).
func (k *call) digest(r weft.Request, a *machine.Credentials, keep func(weft.Response) (weft.Response, error)) (weft.Response, error) {
	challenged := func(res weft.Response) bool {
		return res.Status == 401 && challengeForm.MatchString(res.Headers["www-authenticate"])
	}
	res, err := k.ask(k.ctx, r, store.Ticket{}, func(res weft.Response) (weft.Response, error) {
		if keep == nil || challenged(res) {
			return res, nil
		}
		return keep(res)
	}, nil)
	if err != nil || !challenged(res) {
		return res, err
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return res, weft.Errorf(weft.InvalidArgument, "engine.call.digest", "%w", err)
	}
	nonce := sha256.Sum256([]byte(k.id("/") + r.URL)) // the same on replay, and as good as chance: a run's id is
	r.Headers = maps.Clone(r.Headers)
	r.Headers["authorization"], err = answerChallenge(res.Headers["www-authenticate"], r.Method, u.RequestURI(), hex.EncodeToString(nonce[:8]), a)
	if err != nil {
		return res, err
	}
	return k.ask(k.ctx, r, store.Ticket{}, keep, nil)
}

var (
	challengeForm = regexp.MustCompile(`(?i)(?:^|,\s*)Digest\s`)
	fieldForm     = regexp.MustCompile(`([a-zA-Z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))`)
)

// answerChallenge is the Authorization header that a challenge asks for.
func answerChallenge(challenge, method, uri, cnonce string, a *machine.Credentials) (string, error) {
	field := map[string]string{}
	for _, m := range fieldForm.FindAllStringSubmatch(challenge[challengeForm.FindStringIndex(challenge)[1]:], -1) {
		if name := strings.ToLower(m[1]); field[name] == "" {
			field[name] = m[2] + m[3]
		}
	}
	algorithm, session := strings.CutSuffix(strings.ToUpper(field["algorithm"]), "-SESS")
	var sum func() hash.Hash
	switch algorithm {
	case "", "MD5":
		sum = md5.New
	case "SHA-256":
		sum = sha256.New
	}
	qops := strings.FieldsFunc(field["qop"], func(r rune) bool { return r == ',' || r == ' ' })
	if sum == nil || len(qops) > 0 && !slices.Contains(qops, "auth") {
		return "", weft.Errorf(weft.Unauthenticated, "engine.answerChallenge", "the peer wants digest with algorithm %q and qop %q, which is not spoken here", field["algorithm"], field["qop"])
	}
	digest := func(parts ...string) string {
		h := sum()
		h.Write([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(h.Sum(nil))
	}
	who := digest(a.User, unescape(field["realm"]), a.Secret)
	if session {
		who = digest(who, field["nonce"], cnonce)
	}
	what := digest(method, uri)
	header := `Digest username="` + escape(a.User) + `", realm="` + field["realm"] + `", nonce="` + field["nonce"] + `", uri="` + uri + `"`
	if len(qops) > 0 {
		header += `, qop=auth, nc=00000001, cnonce="` + cnonce + `", response="` + digest(who, field["nonce"], "00000001", cnonce, "auth", what) + `"`
	} else {
		header += `, response="` + digest(who, field["nonce"], what) + `"`
	}
	if field["opaque"] != "" {
		header += `, opaque="` + field["opaque"] + `"`
	}
	if field["algorithm"] != "" {
		header += ", algorithm=" + field["algorithm"]
	}
	return header, nil
}

func escape(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) }

func unescape(s string) string { return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s) }
