package engine_test

import (
	"context"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

// A policy may be a secret as a whole: it is read when the call is made, and a
// mistake in it is told without a value of it.
func TestAPolicyThatIsASecret(t *testing.T) {
	const fixed = "; it must be a JSON object with the keys of oauth2, all of them fixed"
	policies := map[string]struct{ text, want string }{
		"good":  {`{"authority":"https://login.example/realm","endpoints":{"token":"/token"},"grant":"client_credentials","client":{"id":"weft","secret":"pssst-4711"},"scopes":["a","b"]}`, ""},
		"text":  {`pssst-4711`, "secret text: it is no JSON object" + fixed},
		"empty": {`{}`, "secret empty: the policy needs the key authority" + fixed},
		"clientless": {`{"authority":"https://login.example","grant":"client_credentials","client":{"id":"weft"}}`,
			"secret clientless: the policy.client needs the key secret" + fixed},
		"grant":      {`{"authority":"https://login.example","grant":"pssst-4711","client":{"id":"weft","secret":"s"}}`, "secret grant: grant is wrong, or no key of the policy" + fixed},
		"authority":  {`{"authority":"pssst-4711","grant":"client_credentials","client":{"id":"weft","secret":"s"}}`, "secret authority: authority is wrong, or no key of the policy" + fixed},
		"number":     {`{"authority":"https://login.example","grant":"client_credentials","client":{"id":"weft","secret":4711}}`, "secret number: secret is wrong, or no key of the policy" + fixed},
		"more":       {`{"authority":"https://login.example","grant":"client_credentials","client":{"id":"weft","secret":"s"},"use":"good"}`, "secret more: use is wrong, or no key of the policy" + fixed},
		"expression": {`{"authority":"https://login.example","grant":"client_credentials","client":{"id":"weft","secret":"${ .pssst }"}}`, "secret expression: client.secret is an expression, and a secret has none" + fixed},
	}
	h, a := withAuthority(t)
	h.close()
	h.opts = engine.Options{Secret: func(_, name string) ([]byte, error) { return []byte(policies[name].text), nil }}
	h.open()
	for name, c := range policies {
		h.deploy(name, "use: { secrets: [ "+name+" ] }\n"+calling("oauth2: { use: "+name+" }"))
		run := h.wait(h.start(name, "{}").ID)
		switch {
		case c.want == "" && string(run.Output) != `"welcome"`:
			t.Errorf("%s: %v %v", name, run.Status, run.Fault)
		case c.want != "" && (run.Fault == nil || run.Fault.Status != 403 || run.Fault.Detail != c.want):
			t.Errorf("%s: %+v, want %s", name, run.Fault, c.want)
		}
	}
	if len(a.asked) != 1 {
		t.Fatalf("%d tokens were asked for", len(a.asked))
	}
	form, err := url.ParseQuery(string(a.asked[0].Body))
	want := url.Values{"grant_type": {"client_credentials"}, "client_id": {"weft"}, "client_secret": {"pssst-4711"}, "scope": {"a b"}}
	if err != nil || a.asked[0].URL != "https://login.example/realm/token" || form.Encode() != want.Encode() {
		t.Errorf("asked %s %q %v", a.asked[0].URL, a.asked[0].Body, err)
	}
}

// parrot is a shop that tells what the authority was told.
type parrot struct{ *authority }

func (p parrot) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	if strings.HasPrefix(r.URL, "https://shop.example") {
		return weft.Response{Status: 200, Headers: map[string]string{"content-type": "application/json"}, Body: []byte(`{"you":"pssst-4711"}`)}, nil
	}
	return p.authority.Do(ctx, r)
}

// What is secret in the policy is hidden in what comes back.
func TestAPolicyThatIsASecretIsNotKept(t *testing.T) {
	h, a := withAuthority(t)
	h.close()
	h.out = parrot{a}
	h.opts = engine.Options{Secret: func(string, string) ([]byte, error) {
		return []byte(`{"authority":"https://login.example","grant":"client_credentials","client":{"id":"weft","secret":"pssst-4711"}}`), nil
	}}
	h.open()
	h.deploy("told", "use: { secrets: [ it ] }\n"+calling("oauth2: { use: it }"))
	run := h.wait(h.start("told", "{}").ID)
	if run.Fault != nil || !strings.HasPrefix(string(run.Output), `{"you":"weft-secret-`) {
		t.Errorf("%s %+v", run.Output, run.Fault)
	}
	h.close()
	for _, file := range []string{h.path, h.path + "-wal"} {
		if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), "pssst") {
			t.Errorf("%s has the secret", file)
		}
	}
	h.open()
}
