package engine_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

// authority gives tokens at https://login.example, and a shop takes them at
// https://shop.example.
type authority struct {
	mu      sync.Mutex
	asked   []weft.Request // guarded by mu: for tokens
	given   int            // guarded by mu
	revoked int            // guarded by mu: tokens up to this one are taken no more
	sent    []string       // guarded by mu: what the shop was sent as authorization
	status  int            // of the next answers; 0 for tokens
	body    string
	open    *weft.OpenError
	about   string // of the configuration
	slow    chan struct{}
}

func (a *authority) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	if a.slow != nil && strings.HasPrefix(r.URL, "https://login.example") {
		select {
		case <-a.slow:
		case <-ctx.Done():
			return weft.Response{}, ctx.Err()
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := func(status int, body string) (weft.Response, error) {
		return weft.Response{Status: status, Headers: map[string]string{"content-type": "application/json"}, Body: []byte(body)}, nil
	}
	switch {
	case strings.HasSuffix(r.URL, "/.well-known/openid-configuration"):
		return answer(200, a.about)
	case strings.HasPrefix(r.URL, "https://login.example"):
		if a.open != nil {
			return weft.Response{}, a.open
		}
		a.asked = append(a.asked, r)
		if a.status != 0 {
			return answer(a.status, a.body)
		}
		a.given++
		if a.body != "" {
			return answer(200, a.body)
		}
		return answer(200, fmt.Sprintf(`{"access_token":"t0k3n-%d","token_type":"Bearer","expires_in":300}`, a.given))
	}
	a.sent = append(a.sent, r.Headers["authorization"])
	var n int
	if _, err := fmt.Sscanf(r.Headers["authorization"], "Bearer t0k3n-%d", &n); err == nil && n <= a.revoked {
		return answer(401, `"revoked"`)
	}
	return answer(200, `"welcome"`)
}

// set changes what the authority does.
func (a *authority) set(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn()
}

func withAuthority(t *testing.T) (*house, *authority) {
	h, a := newHouse(t), &authority{}
	h.close()
	h.out = a
	h.open()
	return h, a
}

func calling(authentication string) string {
	return "do:\n  - get: { call: http, with: { method: get, endpoint: { uri: https://shop.example/x, authentication: { " + authentication + " } } } }\n"
}

const common = "authority: https://login.example/realm, grant: client_credentials, client: { id: weft, secret: 's3cr3t/+', authentication: "

func TestAClientSaysWhoItIs(t *testing.T) {
	cases := []struct {
		name, authentication string
		url                  string
		headers              map[string]string
		form                 url.Values
	}{
		{"in the form, by default", "oauth2: { authority: https://login.example/realm, grant: client_credentials, client: { id: weft, secret: 's3cr3t/+' }, scopes: [ a, b ], audiences: [ shop ] }",
			"https://login.example/realm/oauth2/token", nil,
			url.Values{"grant_type": {"client_credentials"}, "client_id": {"weft"}, "client_secret": {"s3cr3t/+"}, "scope": {"a b"}, "audience": {"shop"}}},
		{"in a header", "oauth2: { " + common + "client_secret_basic }, endpoints: { token: /token } }",
			"https://login.example/realm/token", map[string]string{"authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("weft:s3cr3t%2F%2B"))},
			url.Values{"grant_type": {"client_credentials"}}},
		{"not at all", "oauth2: { authority: https://login.example/, grant: client_credentials, client: { id: weft, authentication: none } }",
			"https://login.example/oauth2/token", nil, url.Values{"grant_type": {"client_credentials"}, "client_id": {"weft"}}},
		{"by an assertion of its own", "oauth2: { authority: https://login.example, grant: client_credentials, client: { id: weft, assertion: a.b.c, authentication: private_key_jwt } }",
			"https://login.example/oauth2/token", nil, url.Values{"grant_type": {"client_credentials"}, "client_id": {"weft"}, "client_assertion": {"a.b.c"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}},
		{"with the password of a user", "oauth2: { authority: https://login.example, grant: password, username: ada, password: lovelace, client: { id: weft, secret: s } }",
			"https://login.example/oauth2/token", nil, url.Values{"grant_type": {"password"}, "client_id": {"weft"}, "client_secret": {"s"}, "username": {"ada"}, "password": {"lovelace"}}},
	}
	h, a := withAuthority(t)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprint("who-", i)
			h.deploy(name, calling(c.authentication))
			if run := h.wait(h.start(name, "{}").ID); string(run.Output) != `"welcome"` {
				t.Fatal(run.Status, run.Fault)
			}
			r := a.asked[len(a.asked)-1]
			form, err := url.ParseQuery(string(r.Body))
			if err != nil || r.Method != "POST" || r.URL != c.url || form.Encode() != c.form.Encode() || r.Headers["content-type"] != "application/x-www-form-urlencoded" {
				t.Errorf("asked %s %s %q, %v", r.Method, r.URL, r.Body, err)
			}
			if r.Headers["authorization"] != c.headers["authorization"] || r.Namespace != ns || !r.NoRedirect || r.IdempotencyKey == "" {
				t.Errorf("asked as %+v", r)
			}
		})
	}
}

func TestAClientSaysWhoItIsInJSON(t *testing.T) {
	h, a := withAuthority(t)
	h.deploy("json", calling("oauth2: { "+common+"client_secret_post }, request: { encoding: application/json }, audiences: [ a, b ] }"))
	if run := h.wait(h.start("json", "{}").ID); run.Status != engine.Completed {
		t.Fatal(run.Fault)
	}
	var got map[string]any
	if err := json.Unmarshal(a.asked[0].Body, &got); err != nil || fmt.Sprint(got["audience"], " ", got["client_secret"]) != "[a b] s3cr3t/+" {
		t.Errorf("%s %v", a.asked[0].Body, err)
	}
}

func TestAClientSignsWhoItIs(t *testing.T) {
	h, a := withAuthority(t)
	h.deploy("signs", calling("oauth2: { "+common+"client_secret_jwt } }"))
	if run := h.wait(h.start("signs", "{}").ID); run.Status != engine.Completed {
		t.Fatal(run.Fault)
	}
	form, err := url.ParseQuery(string(a.asked[0].Body))
	parts := strings.Split(form.Get("client_assertion"), ".")
	if err != nil || len(parts) != 3 || form.Get("client_secret") != "" {
		t.Fatalf("asked %s", a.asked[0].Body)
	}
	mac := hmac.New(sha256.New, []byte("s3cr3t/+"))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) != parts[2] {
		t.Error("the signature is wrong")
	}
	var claims map[string]any
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(text, &claims); err != nil || claims["iss"] != "weft" || claims["sub"] != "weft" || claims["aud"] != "https://login.example/realm/oauth2/token" || claims["jti"] == "" {
		t.Errorf("claims %s %v", text, err)
	}
}

func TestAnAuthorityIsAskedWhereItsConfigurationSays(t *testing.T) {
	h, a := withAuthority(t)
	oidc := func(authority, more string) string {
		return calling("oidc: { authority: " + authority + ", grant: client_credentials, client: { id: weft, secret: s }" + more + " }")
	}
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://login.example/realm"}`)) + ".c2ln"
	cases := []struct{ name, do, about, body, want string }{
		{"by its address", oidc("https://login.example/realm", ""), `{"issuer":"https://login.example/realm","token_endpoint":"https://login.example/t"}`, "", ""},
		{"by that of its configuration", oidc("https://login.example/realm/.well-known/openid-configuration", ""), `{"issuer":"https://login.example/realm/","token_endpoint":"https://login.example/t"}`, "", ""},
		{"of oauth2 too", calling("oauth2: { authority: https://login.example/.well-known/openid-configuration, grant: client_credentials, client: { id: weft, secret: s } }"),
			`{"issuer":"https://login.example","token_endpoint":"https://login.example/t"}`, "", ""},
		{"that speaks for another", oidc("https://login.example/realm", ""), `{"issuer":"https://evil.example","token_endpoint":"https://login.example/t"}`, "", "speaks for the issuer"},
		{"that may speak for another", oidc("https://login.example/realm", ", issuers: [ https://shop.example, https://login.example/realm ]"), `{"issuer":"https://shop.example","token_endpoint":"https://login.example/t"}`, `{"access_token":"` + jwt + `"}`, ""},
		{"that gives a token of another issuer", oidc("https://login.example/realm", ", issuers: [ https://shop.example ]"), `{"issuer":"https://shop.example","token_endpoint":"https://login.example/t"}`, `{"access_token":"` + jwt + `"}`, "of another issuer than https://shop.example"},
		{"that gives a token without an issuer", oidc("https://login.example/realm", ", issuers: [ https://other.example ]"), `{"issuer":"https://login.example/realm","token_endpoint":"https://login.example/t"}`, `{"access_token":"opaque"}`, "of another issuer"},
		{"that names no place", oidc("https://login.example/realm", ""), `{"issuer":"https://login.example/realm","token_endpoint":"ftp://x"}`, "", "names no token_endpoint"},
		{"that is none", oidc("https://login.example/realm", ""), `<html>`, "", "is no OpenID configuration"},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.restart() // nothing is remembered
			a.set(func() { a.about, a.body, a.asked = c.about, c.body, nil })
			name := fmt.Sprint("oidc-", i)
			h.deploy(name, c.do)
			run := h.wait(h.start(name, "{}").ID)
			switch {
			case c.want == "" && (run.Status != engine.Completed || a.asked[0].URL != "https://login.example/t"):
				t.Errorf("%s %v", run.Status, run.Fault)
			case c.want != "" && (run.Fault == nil || run.Fault.Status != 401 || !strings.Contains(run.Fault.Detail, c.want)):
				t.Errorf("%s %v, not %s", run.Status, run.Fault, c.want)
			}
		})
	}
}

func TestAnAuthorityRefusesAndNothingSecretIsTold(t *testing.T) {
	h, a := withAuthority(t)
	cases := []struct {
		name   string
		status int
		body   string
		want   int
		detail string
	}{
		{"the client", 401, `{"error":"invalid_client","error_description":"s3cr3t/+ is wrong"}`, 401, "401: invalid_client"},
		{"the request", 400, `{"error":"s3cr3t/+"}`, 401, "gave no token but 400"},
		{"everything, for now", 503, "s3cr3t/+", 503, "gave no token but 503"},
		{"in words that are no JSON", 200, "s3cr3t/+", 401, "an answer without a token"},
		{"with a token that breaks lines", 200, `{"access_token":"s3cr3t/+\r\nx: y"}`, 401, "a token that cannot be sent"},
		{"with a token of another kind", 200, `{"access_token":"s3cr3t/+","token_type":"mac"}`, 401, "no bearer token"},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a.set(func() { a.status, a.body = c.status, c.body })
			name := fmt.Sprint("refused-", i)
			h.deploy(name, calling("oauth2: { "+common+"client_secret_post } }"))
			run := h.wait(h.start(name, "{}").ID)
			if run.Fault == nil || run.Fault.Status != c.want || !strings.Contains(run.Fault.Detail, c.detail) || strings.Contains(run.Fault.Detail, "s3cr3t") {
				t.Errorf("%s %+v", run.Status, run.Fault)
			}
		})
	}
	if len(a.sent) > 0 {
		t.Errorf("the shop was sent %q", a.sent)
	}
}

func TestATokenServesManyCallsUntilItIsRevoked(t *testing.T) {
	h, a := withAuthority(t)
	a.slow = make(chan struct{})
	h.deploy("many", calling("oauth2: { "+common+"client_secret_post } }"))
	var ids []string
	for range 20 {
		ids = append(ids, h.start("many", "{}").ID)
	}
	close(a.slow)
	for _, id := range ids {
		h.wait(id)
	}
	if a.given != 1 || len(a.sent) != 20 {
		t.Fatalf("%d tokens for %d calls", a.given, len(a.sent))
	}
	a.set(func() { a.revoked, a.sent = 1, nil })
	if run := h.wait(h.start("many", "{}").ID); run.Status != engine.Completed || a.given != 2 || fmt.Sprint(a.sent) != "[Bearer t0k3n-1 Bearer t0k3n-2]" {
		t.Errorf("%v, %d tokens, sent %q", run.Fault, a.given, a.sent)
	}
	a.set(func() { a.revoked, a.sent = 9, nil })
	if run := h.wait(h.start("many", "{}").ID); run.Fault == nil || run.Fault.Status != 401 || fmt.Sprint(a.sent) != "[Bearer t0k3n-2 Bearer t0k3n-3]" {
		t.Errorf("%v, sent %q", run.Fault, a.sent)
	}
}

func TestATokenIsWrittenDownNowhere(t *testing.T) {
	h, a := withAuthority(t)
	h.opts.Snapshot = 1
	h.restart()
	h.deploy("quiet", "do:\n  - wait: { wait: PT0.01S }\n"+strings.TrimPrefix(calling("oauth2: { authority: https://login.example, grant: client_credentials, client: { id: weft, secret: '${ \"s3cr\" + \"3t\" }' } }"), "do:\n"))
	id := h.start("quiet", "{}").ID
	h.wait(id)
	a.set(func() {
		a.open = &weft.OpenError{Namespace: ns, Peer: "https://login.example:443", Until: time.Now().Add(time.Hour), Reason: "away"}
	})
	h.restart()
	parked := h.start("quiet", "{}").ID
	for range 2 {
		holds(t, "it is parked for the authority", func() bool { return strings.Contains(h.until(parked, engine.Parked).Reason, "login.example") })
		h.restart()
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	defer h.open()
	defer h.Close(context.Background())
	var all []byte
	for _, end := range []string{"", "-wal"} {
		data, _ := os.ReadFile(h.path + end) // there may be no log
		all = append(all, data...)
	}
	if !bytes.Contains(all, []byte(id)) {
		t.Fatal("the run is not in the file, so this looks at nothing")
	}
	for _, secret := range []string{"t0k3n", "s3cr3t"} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%s is in the file", secret)
		}
	}
}
