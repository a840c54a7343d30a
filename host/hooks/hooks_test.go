package hooks_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/hooks"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/logbook"
)

// secrets are what the tests sign with: the first is of GitHub's own example, the
// second of Standard Webhooks'.
var secrets = map[string]string{
	"github":   "It's a Secret to Everybody",
	"standard": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	"bare":     "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
	"stripe":   "whsec_test_secret",
	"older":    "whsec_test_secret_of_last_week",
	"till":     "till",
	"broken":   "whsec_%%%",
	"empty":    "",
}

const defined = `hooks:
  - { name: github, scheme: github, secret: github }
  - { name: shop, scheme: github, secret: github, type: 'shop.{header X-GitHub-Event}.{body action}', source: 'https://github.com/acme/shop', id: '{body number}' }
  - { name: stripe, scheme: stripe, secret: [stripe, older] }
  - { name: standard, scheme: standard, secret: standard }
  - { name: bare, scheme: standard, secret: bare }
  - { name: till, scheme: hmac, secret: till, type: till.said, header: X-Till, algorithm: sha1, encoding: base64, prefix: 'v0 ' }
  - { name: plain, scheme: hmac, secret: till, type: till.said, header: X-Till }
  - { name: missing, scheme: github, secret: nowhere }
  - { name: broken, scheme: standard, secret: broken }
  - { name: empty, scheme: github, secret: empty }
  - { name: half, scheme: github, secret: [nowhere, github] }
`

// bench is hooks with all that they need.
type bench struct {
	t *testing.T
	*hooks.Hooks
	bus *bus.Bus
	db  *store.DB
	log *logbook.Book
	url string
	now time.Time
}

func newBench(t *testing.T, path, source string) *bench {
	t.Helper()
	b := &bench{t: t, log: &logbook.Book{}, now: time.Unix(1614265330, 0)}
	var err error
	if b.db, err = store.Open(t.Context(), store.Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.db.Close(); err != nil {
			t.Error(err)
		}
	})
	b.bus = bus.New(b.db, bus.Options{})
	secret := func(_, name string) ([]byte, error) {
		if text, ok := secrets[name]; ok {
			return []byte(text), nil
		}
		return nil, weft.Errorf(weft.NotFound, "test", "there is no secret %s", name)
	}
	b.Hooks, err = hooks.Open(t.Context(), b.db, b.bus, hooks.Options{Log: slog.New(slog.NewTextHandler(b.log, nil)), Secret: secret, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	if source != "" {
		b.define("default", source)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/{name}", b)
	mux.Handle("POST /hooks/{namespace}/{name}", b)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

func (b *bench) define(ns, source string) {
	b.t.Helper()
	found, err := hooks.Parse("hooks.yaml", []byte(source))
	if err == nil {
		err = b.Set(b.t.Context(), ns, found)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) post(path, body string, headers ...string) (status int, answer string) {
	b.t.Helper()
	q, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// events are all of a namespace, which has n.
func (b *bench) events(ns string, n int) (all []weft.Event) {
	b.t.Helper()
	ctx, enough := context.WithTimeout(b.t.Context(), time.Minute)
	defer enough()
	if n == 0 {
		head, err := b.db.Head(ctx, ns)
		if err != nil || head != 0 {
			b.t.Errorf("namespace %s has events: %d, %v", ns, head, err)
		}
		return nil
	}
	_ = b.bus.Tail(ctx, ns, 0, func(_ int64, e weft.Event) error {
		if all = append(all, e); len(all) == n {
			return io.EOF
		}
		return nil
	})
	if len(all) != n {
		b.t.Fatalf("namespace %s has %d events, want %d", ns, len(all), n)
	}
	return all
}

func sum(made func() hash.Hash, secret, text string) []byte {
	mac := hmac.New(made, []byte(secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// byStripe is a v1 of Stripe.
func byStripe(secret, at, body string) string {
	return hex.EncodeToString(sum(sha256.New, secret, at+"."+body))
}

// The signatures of github and standard are those that GitHub's documentation and
// the libraries of Standard Webhooks give; Stripe gives the rule alone.
func TestASignatureHoldsOrDoesNot(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "weft.db"), defined)
	const (
		hello    = "Hello, World!"
		byGitHub = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
		standard = `{"test": 2432232314}`
		byOthers = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		paid     = `{"id":"evt_1","type":"invoice.paid"}`
		wrong    = "0000000000000000000000000000000000000000000000000000000000000000"
		at       = "1614265330"
	)
	till := "v0 " + base64.StdEncoding.EncodeToString(sum(sha1.New, "till", hello))
	github := func(signature string) []string {
		return []string{"X-Hub-Signature-256", signature, "X-GitHub-Event", "ping", "X-GitHub-Delivery", "d"}
	}
	others := func(signature, at string) []string {
		return []string{"webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", at, "webhook-signature", signature}
	}
	stripe := func(signature string) []string { return []string{"Stripe-Signature", signature} }
	for _, c := range []struct {
		what, hook, body string
		headers          []string
		status           int // 400: it holds, and no event comes of it
	}{
		{"GitHub's example", "github", hello, github(byGitHub), 202},
		{"one of two secrets, the other is not there", "half", hello, github(byGitHub), 202},
		{"another body", "github", hello + "!", github(byGitHub), 401},
		{"another prefix", "github", hello, github(strings.Replace(byGitHub, "256", "1", 1)), 401},
		{"half of a signature", "github", hello, github(byGitHub[:39]), 401},
		{"no hex", "github", hello, github("sha256=hello"), 401},
		{"an empty signature", "github", hello, github("sha256="), 401},
		{"no signature", "github", hello, nil, 401},
		{"no signature, where the secret is not there", "missing", hello, nil, 401},
		{"a secret that is not there", "missing", hello, github(byGitHub), 503},
		{"an empty secret, which everybody knows", "empty", hello, github("sha256=" + hex.EncodeToString(sum(sha256.New, "", hello))), 503},

		{"Standard Webhooks' example", "standard", standard, others(byOthers, at), 400},
		{"a secret without whsec_", "bare", standard, others(byOthers, at), 400},
		{"several signatures", "standard", standard, others("v1,AAAA v1a,"+byOthers[3:]+" "+byOthers, at), 400},
		{"a signature of another kind", "standard", standard, others("v1a,"+byOthers[3:], at), 401},
		{"another time", "standard", standard, others(byOthers, "1614265331"), 401},
		{"a time that is none", "standard", standard, others(byOthers, "now"), 401},
		{"no id", "standard", standard, []string{"webhook-timestamp", at, "webhook-signature", byOthers}, 401},
		{"a secret that is no base64", "broken", standard, others(byOthers, at), 503},

		{"Stripe", "stripe", paid, stripe("t=" + at + ",v1=" + byStripe(secrets["stripe"], at, paid)), 202},
		{"Stripe, with the older secret", "stripe", paid, stripe("t=" + at + ",v1=" + byStripe(secrets["older"], at, paid)), 202},
		{"Stripe, with several signatures", "stripe", paid, stripe("t=" + at + ",v1=" + wrong + ",v1=" + byStripe(secrets["stripe"], at, paid) + ",v0=" + wrong), 202},
		{"Stripe, five minutes old", "stripe", paid, stripe("t=1614265030,v1=" + byStripe(secrets["stripe"], "1614265030", paid)), 202},
		{"Stripe, a second older", "stripe", paid, stripe("t=1614265029,v1=" + byStripe(secrets["stripe"], "1614265029", paid)), 401},
		{"Stripe, of tomorrow", "stripe", paid, stripe("t=1614351730,v1=" + byStripe(secrets["stripe"], "1614351730", paid)), 401},
		{"Stripe, the time changed", "stripe", paid, stripe("t=1614265331,v1=" + byStripe(secrets["stripe"], at, paid)), 401},
		{"Stripe, a signature of another kind", "stripe", paid, stripe("t=" + at + ",v0=" + byStripe(secrets["stripe"], at, paid)), 401},
		{"Stripe, no time", "stripe", paid, stripe("v1=" + byStripe(secrets["stripe"], at, paid)), 401},

		{"a header of its own", "till", hello, []string{"X-Till", till}, 202},
		{"the defaults of hmac", "plain", hello, []string{"X-Till", hex.EncodeToString(sum(sha256.New, "till", hello))}, 202},
		{"without its prefix", "till", hello, []string{"X-Till", till[3:]}, 401},
		{"no hook", "nobody", hello, github(byGitHub), 404},
		{"a hook of another namespace", "other/github", hello, github(byGitHub), 404},
		{"a body that is too large", "github", strings.Repeat("x", bus.DataMax+1), github(byGitHub), 413},
	} {
		status, answer := b.post("/hooks/"+c.hook, c.body, c.headers...)
		if status != c.status {
			t.Errorf("%s: %d %s", c.what, status, answer)
		}
		if status == 401 && answer != `{"code":"unauthenticated","message":"the signature does not hold"}`+"\n" {
			t.Errorf("%s: a stranger is told %s", c.what, answer)
		}
		for name, secret := range secrets {
			if secret != "" && name != "till" && (strings.Contains(answer, secret) || strings.Contains(b.log.String(), secret)) {
				t.Errorf("%s: the secret %s is told", c.what, name)
			}
		}
	}
	if got := strings.Count(b.log.String(), "a hook cannot use a secret"); got != 4 { // half, missing, empty, broken
		t.Errorf("the log has %d lines:\n%s", got, b.log.String())
	}
}

func TestACallBecomesAnEventOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	b := newBench(t, path, defined)
	signed := func(body string, more ...string) []string {
		return append([]string{"X-Hub-Signature-256", "sha256=" + hex.EncodeToString(sum(sha256.New, secrets["github"], body)), "Content-Type", "application/json"}, more...)
	}
	const body = `{"action":"opened","number":9007199254740993,"draft":true}`
	for _, c := range []struct {
		what, path, body string
		headers          []string
		status           int
		says             string
	}{
		{"a delivery", "/hooks/github", body, signed(body, "X-GitHub-Event", "pull_request", "X-GitHub-Delivery", "1"), 202, `{"accepted":1}`},
		{"the same again", "/hooks/default/github", body, signed(body, "X-GitHub-Event", "pull_request", "X-GitHub-Delivery", "1"), 202, `{"accepted":0}`},
		{"another", "/hooks/github", body, signed(body, "X-GitHub-Event", "pull_request", "X-GitHub-Delivery", "2"), 202, `{"accepted":1}`},
		{"one of another hook", "/hooks/shop", body, signed(body, "X-GitHub-Event", "pull_request"), 202, `{"accepted":1}`},
		{"one without what makes its id", "/hooks/github", body, signed(body, "X-GitHub-Event", "pull_request"), 400, `the call has no header X-GitHub-Delivery`},
		{"one without what makes its type", "/hooks/shop", `[]`, signed(`[]`, "X-GitHub-Event", "push"), 400, `the call has no body action`},
		{"a header that is no text", "/hooks/github", body, signed(body, "X-GitHub-Event", "a\tb", "X-GitHub-Delivery", "3"), 400, `attribute type has characters`},
		{"one without an id", "/hooks/plain", body, []string{"X-Till", hex.EncodeToString(sum(sha256.New, "till", body))}, 202, `{"accepted":1}`},
		{"the same body", "/hooks/plain", body, []string{"X-Till", hex.EncodeToString(sum(sha256.New, "till", body))}, 202, `{"accepted":0}`},
	} {
		if status, answer := b.post(c.path, c.body, c.headers...); status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.what, status, answer)
		}
	}
	want := []weft.Event{
		{ID: "1", Source: "/hooks/github", Type: "github.pull_request", DataContentType: "application/json"},
		{ID: "2", Source: "/hooks/github", Type: "github.pull_request", DataContentType: "application/json"},
		{ID: "9007199254740993", Source: "https://github.com/acme/shop", Type: "shop.pull_request.opened", DataContentType: "application/json"},
		{ID: fmt.Sprintf("%x", sha256.Sum256([]byte(body))), Source: "/hooks/plain", Type: "till.said"},
	}
	for i, e := range b.events("default", 4) {
		if w := want[i]; e.ID != w.ID || e.Source != w.Source || e.Type != w.Type || e.DataContentType != w.DataContentType || !bytes.Equal(e.Data, []byte(body)) || e.Time.IsZero() {
			t.Errorf("event %d is %v", i, e)
		}
	}
	s := b.Stats()
	for _, h := range s.Hooks {
		if h.Name == "github" && h.Outcomes != [...]int64{2, 1, 0, 2, 0} {
			t.Errorf("github has counted %v", h.Outcomes)
		}
	}
	if err := b.db.Close(); err != nil {
		t.Fatal(err)
	}
	again := newBench(t, path, "") // what was had, and what there is, outlasts a restart
	if status, answer := again.post("/hooks/github", body, signed(body, "X-GitHub-Event", "pull_request", "X-GitHub-Delivery", "1")...); status != 202 || answer != `{"accepted":0}` {
		t.Errorf("after a restart: %d %s", status, answer)
	}
}

func TestHooksAreDefinedAndRemoved(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "weft.db"), defined)
	b.define("a", `hooks: [{ name: github, scheme: github, secret: one }]`)
	b.define("a", `hooks: [{ name: github, scheme: stripe, secret: two }, { name: more, scheme: github, secret: one }]`)
	if list := b.List("a"); len(list) != 2 || list[0].Name != "github" || list[0].Scheme != hooks.Stripe || list[1].Name != "more" {
		t.Errorf("there are %v", list)
	}
	if h, err := b.Get("default", "github"); err != nil || h.Scheme != hooks.GitHub {
		t.Errorf("that of another namespace is %v, %v", h, err)
	}
	if err := b.Delete(t.Context(), "a", "github"); err != nil {
		t.Error(err)
	}
	for _, err := range []error{b.Delete(t.Context(), "a", "github"), b.Delete(t.Context(), "b", "more")} {
		if weft.CodeOf(err) != weft.NotFound || !strings.Contains(err.Error(), "weft hook list has those") {
			t.Errorf("removing what is not there: %v", err)
		}
	}
	var many []hooks.Hook
	for i := range hooks.HooksMax {
		many = append(many, hooks.Hook{Name: fmt.Sprint("h", i)})
	}
	if err := b.Set(t.Context(), "a", many); weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "would have 101 hooks, the limit is 100") {
		t.Errorf("too many: %v", err)
	}
}

func TestWhatIsWrongWithAHookIsSaidWithItsPlace(t *testing.T) {
	for _, c := range []struct{ what, source, want string }{
		{"a key with a slip", "hooks:\n  - { name: a, scheme: github, secrets: b }\n", "h.yaml:2:32: a hook has no key secrets; did you mean secret?"},
		{"no such scheme", "hooks: [{ name: a, scheme: gitlab, secret: b }]", `scheme is "gitlab"; write one of github, stripe, standard, hmac`},
		{"no secret", "hooks: [{ name: a, scheme: github }]", "a hook without a secret"},
		{"no name", "hooks: [{ scheme: github, secret: b }]", "a hook without a name; write name: the last part of its path"},
		{"a name that is none", "hooks: [{ name: A/b, scheme: github, secret: b }]", `"A/b" is no name of a hook`},
		{"two of a name", "hooks: [{ name: a, scheme: github, secret: b }, { name: a, scheme: stripe, secret: b }]", "a second hook a"},
		{"a secret elsewhere", "hooks: [{ name: a, scheme: github, secret: ../b }]", `../b is no name of a secret`},
		{"too many secrets", "hooks: [{ name: a, scheme: github, secret: [a, b, c, d, e, f] }]", "a hook has 1 to 5 secrets"},
		{"a header of a scheme that has one", "hooks: [{ name: a, scheme: github, secret: b, header: X }]", "the scheme github has a header of its own; leave it out, or write scheme: hmac"},
		{"no header", "hooks: [{ name: a, scheme: hmac, secret: b, type: t }]", "a hook without a header"},
		{"no type", "hooks: [{ name: a, scheme: hmac, secret: b, header: X }]", "a hook without a type"},
		{"an algorithm that is broken", "hooks: [{ name: a, scheme: hmac, secret: b, type: t, header: X, algorithm: md5 }]", `algorithm is "md5"; write one of sha1, sha256, sha512`},
		{"braces for nothing", "hooks: [{ name: a, scheme: github, secret: b, type: 'a.{head X}' }]", "has braces that stand for nothing; write {header NAME} or {body FIELD}"},
		{"a number", "hooks: [{ name: 1, scheme: github, secret: b }]", "name must be a text"},
		{"no hooks", "{}", "the file has no hooks"},
		{"no list", "hooks: 1", "hooks must be a list of hooks"},
	} {
		if _, err := hooks.Parse("h.yaml", []byte(c.source)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestWhoCallsDoesNotFillTheLog(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "weft.db"), defined)
	for range 3 {
		b.post("/hooks/missing", "{}", "X-Hub-Signature-256", "sha256=00")
		b.post("/hooks/missing", "{}") // for which no secret is asked
	}
	if got := strings.Count(b.log.String(), "a hook cannot use a secret"); got != 1 {
		t.Errorf("the log has %d lines:\n%s", got, b.log.String())
	}
}

func TestACallBecomesNoEventOfWeftItself(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "weft.db"), "hooks: [{ name: any, scheme: hmac, secret: till, type: '{body kind}', header: X-Till }]")
	const body = `{"kind":"weft.breaker.opened"}`
	status, answer := b.post("/hooks/any", body, "X-Till", hex.EncodeToString(sum(sha256.New, "till", body)))
	if status != http.StatusBadRequest || !strings.Contains(answer, "is one of weft itself; choose one that does not begin with weft.") {
		t.Errorf("%d %s", status, answer)
	}
	b.events("default", 0)
}

func TestAHookSaysWhichOfItsSecretsCannotBeUsed(t *testing.T) {
	b := newBench(t, filepath.Join(t.TempDir(), "weft.db"), defined)
	for _, c := range []struct {
		hook string
		want []string
	}{
		{"github", nil},
		{"stripe", nil},
		{"missing", []string{"secret nowhere: there is no secret nowhere"}},
		{"half", []string{"secret nowhere: there is no secret nowhere"}},
		{"broken", []string{"secret broken: it is no base64 after whsec_; put there what the sender signs with"}},
		{"empty", []string{"secret empty: it is empty; put there what the sender signs with"}},
	} {
		hook, err := b.Get("default", c.hook)
		if got := b.Doubts("default", hook); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s has the doubts %q, %v", c.hook, got, err)
		}
	}
}
