package engine_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/runtime/engine"
)

// echoGate answers with all that it was asked, and fails where the path says so.
type echoGate struct {
	mu    sync.Mutex
	asked []weft.Request
}

func (g *echoGate) Do(_ context.Context, r weft.Request) (weft.Response, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, r)
	if strings.Contains(r.URL, "/fail") {
		return weft.Response{}, weft.Errorf(weft.Unavailable, "gate", "%s with %s failed", r.URL, r.Headers["authorization"])
	}
	body, err := json.Marshal(map[string]any{"url": r.URL, "headers": r.Headers, "body": string(r.Body), "bytes": r.Body})
	return weft.Response{Status: 200, Headers: map[string]string{"content-type": "application/json", "x-was": r.Headers["authorization"]}, Body: body}, err
}

// shopSecrets are the secrets of the tests: the key needs an escape wherever it stands.
var shopSecrets = map[string]string{"api-key": `sk "live" 8/4+2`, "login": `{"username":"teller","password":"correct-horse"}`}

func secretOf(_, name string) ([]byte, error) {
	if s, ok := shopSecrets[name]; ok {
		return []byte(s), nil
	}
	return nil, weft.Errorf(weft.NotFound, "test", "there is no secret %s", name)
}

const secretive = `use:
  secrets: [ api-key, login ]
  authentications: { teller: { basic: { use: login } }, key: { bearer: { token: '${ $secrets["api-key"] }' } } }
do:
  - keep: { set: { key: '${ "key \($secrets["api-key"])" }', list: [ '${ $secrets.login.password }' ] } }
  - url: { call: http, with: { method: get, endpoint: '${ "https://shop.example/\($secrets["api-key"])" }', query: { k: '${ .key }' }, output: response } }
  - body: { input: { from: '${ { key: $secrets["api-key"] } }' }, call: http, with: { method: post, endpoint: 'https://shop.example/', headers: { x-key: '${ .key }' }, body: { k: '${ .key }' } } }
  - basic: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/', authentication: { use: teller } }, output: response } }
  - bearer: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/', authentication: { use: key } } }, export: { as: . } }
  - handler: { call: count, with: { key: hidden, secret: '${ $secrets["api-key"] }' } }
  - tell: { emit: { event: { with: { type: shop.told, data: '${ { key: $secrets["api-key"], context: $context } }' } } } }
  - try:
      try: [ { fail: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example/fail', authentication: { use: key } } } } } ]
      catch: { as: why, do: [ { note: { set: { why: '${ $why }' } } } ] }
  - last: { call: http, with: { method: get, endpoint: { uri: '${ "https://shop.example/fail?\($secrets["api-key"])" }', authentication: { use: teller } } } }
`

func TestSecretsAreUsedAndNeverKept(t *testing.T) {
	h := newHouse(t)
	h.close()
	gate, log := &echoGate{}, &bytes.Buffer{}
	h.out = gate
	h.opts = engine.Options{Secret: secretOf, Snapshot: 3, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	h.open()
	h.deploy("secretive", secretive)
	run := h.wait(h.start("secretive", `{"n":1}`).ID)
	if run.Status != engine.Faulted || run.Fault.Instance != "/do/8/last" {
		t.Fatalf("%s %+v", run.Status, run.Fault)
	}
	key, query := shopSecrets["api-key"], gate.asked[0].URL
	u, err := url.Parse(query)
	if err != nil || u.Path != "/"+key || u.Query().Get("k") != "key "+key {
		t.Errorf("the address was %s", query)
	}
	if r := gate.asked[1]; r.Headers["x-key"] != key || string(r.Body) != `{"k":"sk \"live\" 8/4+2"}` {
		t.Errorf("asked %v with %s", r.Headers, r.Body)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("teller:correct-horse"))
	if got := gate.asked[2].Headers["authorization"]; got != basic {
		t.Errorf("basic is %q", got)
	}
	if got := gate.asked[3].Headers["authorization"]; got != "Bearer "+key {
		t.Errorf("bearer is %q", got)
	}
	_, steps, err := h.Describe(t.Context(), ns, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	seen, _ := json.Marshal([]any{run, steps})
	h.restart() // what waits for the disk comes to it
	told := map[string][]byte{"the run": seen, "the log": log.Bytes()}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(h.path), "weft.db*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if told[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Contains(told[h.path], []byte("weft-secret-")) {
		t.Error("the file has no mark: the test looks at nothing")
	}
	for where, data := range told {
		for _, s := range []string{key, "correct-horse", `sk \"live`, `sk \\\"live`, url.QueryEscape(key), url.PathEscape(key), "sk%20", basic[6:], base64.StdEncoding.EncodeToString(gate.asked[1].Body), base64.StdEncoding.EncodeToString([]byte(key))} {
			if at := bytes.Index(data, []byte(s)); at >= 0 {
				t.Errorf("%s has %q: %q", where, s, data[max(0, at-200):min(len(data), at+100)])
			}
		}
	}
}

func TestASecretThatIsMissingIsTold(t *testing.T) {
	h := newHouse(t)
	h.close()
	h.out, h.opts = &echoGate{}, engine.Options{Secret: secretOf}
	h.open()
	h.deploy("missing", "use: { secrets: [ other ] }\ndo: [ { a: { set: { a: '${ $secrets.other }' } } } ]\n")
	h.deploy("inside", "use: { secrets: [ login, api-key ] }\ndo: [ { a: { set: { a: '${ $secrets.login.token }' } } } ]\n")
	h.deploy("text", "use: { secrets: [ login, api-key ] }\ndo: [ { a: { set: { a: '${ $secrets[\"api-key\"].user }' } } } ]\n")
	for name, want := range map[string]string{"missing": "there is no secret other", "inside": "secret login has no key token", "text": "secret api-key is one text and has no key user"} {
		_, _, err := h.StartRun(t.Context(), engine.StartRun{Namespace: ns, Workflow: name})
		if weft.CodeOf(err) != weft.FailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.deploy("gone", "use: { secrets: [ api-key ] }\ndo: [ { nap: { wait: PT0.3S } }, { a: { call: http, with: { method: get, endpoint: { uri: 'https://shop.example', authentication: { bearer: { use: api-key } } } } } } ]\n")
	id := h.start("gone", "{}").ID
	h.close()
	h.opts.Secret = nil
	h.open()
	if run := h.wait(id); run.Fault == nil || run.Fault.Status != 403 || !strings.Contains(run.Fault.Detail, "there is no secret api-key") {
		t.Errorf("%s %+v", run.Status, run.Fault)
	}
}

// Whom a run waits for is told to everybody.
func TestAHostCannotBeASecret(t *testing.T) {
	h := newHouse(t)
	h.close()
	gate := &echoGate{}
	h.out, h.opts = gate, engine.Options{Secret: secretOf}
	h.open()
	h.deploy("host", "use: { secrets: [ login ] }\ndo: [ { a: { call: http, with: { method: get, endpoint: '${ \"https://\\($secrets.login.username).example/\" }' } } } ]\n")
	if run := h.wait(h.start("host", "{}").ID); run.Fault == nil || run.Fault.Status != 400 || !strings.Contains(run.Fault.Detail, "cannot be a secret") || len(gate.asked) != 0 {
		t.Errorf("%s %+v, asked %v", run.Status, run.Fault, gate.asked)
	}
}

// A secret may stand in an answer as a number, or seem to begin inside an escape.
func TestASecretInJSONLeavesJSON(t *testing.T) {
	h := newHouse(t)
	h.close()
	gate := &fakeGate{answer: `{"pin":482915,"list":[4829150,true,"a\n7731"],"482915":"x482915"}`}
	h.out, h.opts = gate, engine.Options{Secret: func(_, name string) ([]byte, error) {
		return []byte(map[string]string{"pin": "482915", "odd": "n7731"}[name]), nil
	}}
	h.open()
	h.deploy("pin", "use: { secrets: [ pin, odd ] }\ndo: [ { a: { call: http, with: { method: get, endpoint: 'https://shop.example', headers: { pin: '${ \"\\($secrets.pin) \\($secrets.odd)\" }' } } } } ]\n")
	run := h.wait(h.start("pin", "{}").ID)
	if run.Status != engine.Completed {
		t.Fatalf("%s %+v", run.Status, run.Fault)
	}
	out := string(run.Output)
	if strings.Contains(out, "482915") || !strings.Contains(out, `true,"a\n7731"`) || !strings.Contains(out, `"pin":"weft-secret-`) {
		t.Error(out)
	}
}

// What is made of marks elsewhere has the secrets too: a message of gRPC, the
// request for a token, what a script is given. None of them comes back.
func TestSecretsReachServicesAuthoritiesAndScripts(t *testing.T) {
	c := newClinic(t)
	h := withGate(t, peers.Options{HTTPAllow: []string{c.server.Listener.Addr().String()}})
	h.close()
	login := &authority{}
	h.out = fork{login, h.out}
	h.opts.Secret = secretOf
	h.open()
	h.deploy("around", `use:
  secrets: [ login, api-key ]
do:
  - script: { run: { script: { language: js, arguments: [ '${ $secrets["api-key"] }' ], code: "console.log(process.argv[2].length, process.argv[2])" } }, export: { as: . } }
  - token: { call: http, with: { method: get, endpoint: { uri: https://shop.example/x, authentication: { oauth2: { authority: https://login.example, grant: client_credentials, client: { id: weft, secret: '${ $secrets.login.password }' } } } } } }
  - ask: `+c.task("Check", "")+`, arguments: { service: '${ "echo \($secrets["api-key"])" }' } } }
`)
	run := h.wait(h.start("around", `{}`).ID)
	key := shopSecrets["api-key"]
	if f := run.Fault; f == nil || f.Status != 404 || !strings.HasPrefix(f.Detail, "no service echo weft-secret-") {
		t.Errorf("%s %+v", run.Status, run.Fault)
	}
	if len(c.asked) != 1 || c.asked[0] != "echo "+key {
		t.Errorf("the service was asked for %q", c.asked)
	}
	if len(login.asked) != 1 || !strings.Contains(string(login.asked[0].Body), "client_secret=correct-horse") {
		t.Errorf("the authority was asked with %+v", login.asked)
	}
	_, steps, err := h.Describe(t.Context(), ns, run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`"%d weft-secret-`, len(key)); !strings.HasPrefix(string(steps[0].Output), want) {
		t.Errorf("the script gave %s and not %s...", steps[0].Output, want)
	}
	h.restart()
	data, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{key, "correct-horse", "t0k3n", url.QueryEscape(key)} {
		if bytes.Contains(data, []byte(s)) {
			t.Errorf("the file has %q", s)
		}
	}
}

// fork sends what goes to an example to one side, and all else to the other.
type fork struct{ example, other engine.Outbound }

func (f fork) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	if strings.Contains(r.URL, ".example/") {
		return f.example.Do(ctx, r)
	}
	return f.other.Do(ctx, r)
}
