package host_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

const chatProto = `syntax = "proto3"; package chat.v1;
	message Said { string text = 1; int32 times = 2; }
	service ChatService { rpc Echo(Said) returns (Said); rpc Fail(Said) returns (Said); rpc Talk(stream Said) returns (stream Said); }`

// deployChat uploads a module that serves ChatService.
func (s *served) deployChat(version string) {
	s.t.Helper()
	manifest := fmt.Sprintf(`{"name":"chat","version":%q,"handlers":[{"name":"chat.v1.ChatService/Echo","export":"echo"},{"name":"chat.v1.ChatService/Fail","export":"fail"},{"name":"chat.v1.ChatService/Talk","export":"echo"},{"name":"key","export":"key"},{"name":"said","export":"echo"}]}`, version)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Descriptors: said(s.t, chatProto)}, guest(), 256); err != nil {
		s.t.Fatal(err)
	}
}

// stepping is a workflow of one step.
func stepping(name, task string) string {
	return fmt.Sprintf("document: { dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0' }\ndo:\n  - ask: %s\n", name, task)
}

// applied deploys a workflow and says what came of it.
func (s *served) applied(source string) string {
	s.t.Helper()
	return compact(s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(source)+`}`))
}

// run starts a workflow and waits for its end.
func (s *served) run(name, input string) string {
	s.t.Helper()
	return compact(s.must("/weft.v1.RunService/Start", fmt.Sprintf(`{"workflow":%q,"inputJson":%s,"wait":true}`, name, quoted(input))))
}

func TestAStepCallsAMethodByItsName(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployChat("1.0.0")
	if answer := s.applied(stepping("echo", `{ call: chat.v1.ChatService/Echo, with: { text: '${ .who }', times: 3 } }`)); !strings.Contains(answer, `"pinned":["chat.v1.ChatService/Echo:1.0.0@default"]`) {
		t.Errorf("applied: %s", answer)
	}
	s.deployChat("1.1.0")
	if answer := s.run("echo", `{"who":"you"}`); !strings.Contains(answer, `"output":{"text":"you","times":3}`) {
		t.Errorf("the run: %s", answer)
	}
	for name, c := range map[string]struct{ task, input, says string }{
		"an empty message, whose fields are all there": {`{ call: chat.v1.ChatService/Echo@default }`, `null`, `"output":{"text":"","times":0}`},
		"a field that there is not":                    {`{ call: chat.v1.ChatService/Echo, with: { txt: a } }`, `null`, `"status":400`},
		"an error of the method":                       {`{ call: 'chat.v1.ChatService/Fail:1', with: { text: why } }`, `null`, `"status":500`},
	} {
		flow := strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", "")
		s.applied(stepping(flow, c.task))
		if answer := s.run(flow, c.input); !strings.Contains(answer, c.says) {
			t.Errorf("%s: %s", name, answer)
		}
	}
	if status, answer := s.ask("/weft.v1.ModuleService/DeleteModule", `{"name":"chat","version":"1.0.0"}`); status == http.StatusOK || !strings.Contains(answer, "chat.v1.ChatService/Echo:1.0.0@default") {
		t.Errorf("a version that a workflow calls was removed: %d %s", status, answer)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if answer := serve(t, host.Options{DB: s.db}).run("echo", `{"who":"again"}`); !strings.Contains(answer, `"output":{"text":"again","times":3}`) {
		t.Errorf("after a restart: %s", answer)
	}
}

func TestAMethodThatAStepCannotCallIsRefusedWhenItIsApplied(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployChat("1.0.0")
	for call, says := range map[string]string{
		"chat.v1.ChatService/Talk":             "is a stream; only a method with one message each way can be called; give the service a method",
		"chat.v1.ChatService/Ecko":             "did you mean chat.v1.ChatService/Echo?",
		"ship.v1.Ships/Sail":                   "a step calls a peer's as ship.v1.Ships/Sail@ship.v1.Ships",
		"'chat.v1.ChatService/Echo:2'":         "has no version 2; it has 1.0.0",
		"'chat.v1.ChatService/Echo:1.0.0@far'": "is not a handler reference",
		"chat.v1./Echo":                        "a method is package.Service/Method",
	} {
		if answer := s.applied(stepping("a", `{ call: `+call+` }`)); !strings.Contains(answer, says) || !strings.Contains(answer, `"line":3`) {
			t.Errorf("%s: %s", call, answer)
		}
	}
}

func TestAMethodIsCalledAsAHandler(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployChat("1.0.0")
	wire := "\n\x02hi\x10\x02"
	for name, c := range map[string]struct{ path, body, kind, answer, answerKind string }{
		"in JSON":                      {"chat.v1.ChatService/Echo", `{"text":"hi"}`, "application/json", `{"text":"hi","times":0}`, "application/json"},
		"as curl sends JSON":           {"chat.v1.ChatService/Echo:1@default", `{"text":"hi"}`, "application/x-www-form-urlencoded", `{"text":"hi","times":0}`, "application/json"},
		"with nothing":                 {"chat.v1.ChatService/Echo", ``, "", `{"text":"","times":0}`, "application/json"},
		"in protobuf":                  {"chat.v1.ChatService/Echo", wire, "application/proto", wire, "application/proto"},
		"in protobuf that nobody says": {"chat.v1.ChatService/Echo", wire, "", wire, "application/proto"},
	} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/handlers/"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.kind != "" {
			q.Header.Set("Content-Type", c.kind)
		}
		res, err := h1(t).Do(q)
		if err != nil {
			t.Fatal(err)
		}
		if answer := text(t, res); res.StatusCode != http.StatusOK || answer != c.answer || res.Header.Get("Content-Type") != c.answerKind {
			t.Errorf("%s: %d %q as %s", name, res.StatusCode, answer, res.Header.Get("Content-Type"))
		}
	}
	if status, answer := s.ask("/handlers/chat.v1.ChatService/Talk", `{}`); status != http.StatusBadRequest || !strings.Contains(answer, "is a stream") {
		t.Errorf("a stream: %d %s", status, answer)
	}
	if status, answer := s.ask("/handlers/chat.v1.ChatService/Echo@far", `{}`); status != http.StatusNotFound || !strings.Contains(answer, `no catalog \"far\"`) {
		t.Errorf("a peer's: %d %s", status, answer)
	}
	handlers := weftv1connect.NewHandlerServiceClient(s.client())
	res, err := handlers.Call(t.Context(), &weftv1.CallRequest{Handler: "chat.v1.ChatService/Echo", Body: []byte(`{"times":7}`)})
	if err != nil || fmt.Sprint(res.Output.AsInterface()) != "map[text: times:7]" {
		t.Errorf("by the API in JSON: %v, %v", res, err)
	}
	if res, err = handlers.Call(t.Context(), &weftv1.CallRequest{Handler: "chat.v1.ChatService/Echo", Body: []byte(wire)}); err != nil || string(res.Body) != wire {
		t.Errorf("by the API in protobuf: %v, %v", res, err)
	}
}

func TestAMethodThatTheLiveVersionHasDroppedIsGone(t *testing.T) {
	s := serve(t, host.Options{})
	const method = "chat.v1.ChatService/Echo"
	s.deployChat("1.0.0")
	s.deployAsker(method, "chat.v1.ChatService")
	s.applied(stepping("before", "{ call: "+method+", with: { text: pinned } }"))
	s.applied(stepping("plain", "{ call: said }"))
	manifest := []byte(`{"name":"chat","version":"2.0.0","handlers":[{"name":"chat.v1.ChatService/Fail","export":"fail"}]}`)
	set := said(t, `syntax = "proto3"; package chat.v1; message Said { string text = 1; int32 times = 2; } service ChatService { rpc Fail(Said) returns (Said); }`)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: manifest, Descriptors: set}, guest(), 256); err != nil {
		t.Fatal(err)
	}
	const gone = "chat:2.0.0, which is live, has no method chat.v1.ChatService/Echo; chat:1.0.0 has it: name that version, as chat.v1.ChatService/Echo:1.0.0"
	for _, c := range []struct {
		what, path string
		status     int
		says       string
	}{
		{"of the service", "/" + method, 501, `"code":"unimplemented"`},
		{"of the older version of the service", "/chat@1.0.0/" + method, 200, `{"text":"hi"}`},
		{"by its name", "/handlers/" + method, 501, gone},
		{"by its name and the version", "/handlers/" + method + ":1.0.0", 200, `{"text":"hi","times":0}`},
		{"by its name and what the version begins with", "/handlers/" + method + ":1", 200, `{"text":"hi","times":0}`},
		{"of the new version", "/handlers/" + method + ":2", 404, "has no version 2; it has 1.0.0"},
		{"by a handler", "/handlers/ask", 501, `"code":"unimplemented"`},
		{"of what is no method", "/handlers/said", 404, "chat:2.0.0, which is live, has no handler said; chat:1.0.0 has it: name that version, as said:1.0.0"},
	} {
		if status, answer := s.ask(c.path, `{"text":"hi"}`); status != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.what, status, answer)
		}
	}
	if answer := s.applied(stepping("after", "{ call: "+method+" }")); !strings.Contains(answer, gone) {
		t.Errorf("a new workflow: %s", answer)
	}
	if answer := s.run("before", `{}`); !strings.Contains(answer, `"text":"pinned"`) {
		t.Errorf("a workflow that was there: %s", answer)
	}
	if answer := s.run("plain", `{}`); !strings.Contains(answer, "COMPLETED") {
		t.Errorf("a workflow that was there, of what is no method: %s", answer)
	}
	if answer := s.must("/weft.v1.HandlerService/ListHandlers", `{}`); strings.Contains(answer, method) || !strings.Contains(answer, "chat.v1.ChatService/Fail") {
		t.Errorf("the handlers are %s", answer)
	}
	s.must("/weft.v1.ModuleService/Promote", `{"name":"chat","version":"1.0.0"}`)
	if status, answer := s.ask("/handlers/"+method, `{"text":"hi"}`); status != 200 {
		t.Errorf("when the older one is live: %d %s", status, answer)
	}
}

// deployAsker uploads a module whose handler ask calls the procedure.
func (s *served) deployAsker(procedure, peers string) {
	s.t.Helper()
	s.deployAskerAs("ask", procedure, peers)
}

// deployAskerAs does that with a handler, and a module, of another name.
func (s *served) deployAskerAs(handler, procedure, peers string) {
	s.t.Helper()
	manifest := fmt.Sprintf(`{"name":"%ser","version":"1.0.0","handlers":[{"name":%q,"export":"ask"}],"grants":{"peers":[%q]}}`, handler, handler, peers)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Grant: true}, guestAsking(procedure, "idempotency-key"), 256); err != nil {
		s.t.Fatal(err)
	}
}

func TestAHandlerCallsAMethodOfAnotherModuleInProcess(t *testing.T) {
	const method = "chat.v1.ChatService/Echo"
	for name, c := range map[string]struct {
		calls, grant, input string
		status              int
		answer              string
	}{
		"in JSON":                            {method, "chat.v1.ChatService", `{"text":"hi"}`, 200, `{"text":"hi"}`},
		"in protobuf":                        {method, "chat.v1.*", "\n\x02hi\x10\x02", 200, "\n\x02hi\x10\x02"},
		"with nothing, which is protobuf":    {method, method, "", 200, ""},
		"by a grant of its methods":          {method, "chat.v1.ChatService/*", `{}`, 200, `{}`},
		"of a version":                       {method + ":1.0", "chat.v1.ChatService", `{"times":1}`, 200, `{"times":1}`},
		"of a version that there is not":     {method + ":2", "chat.v1.ChatService", `{}`, 404, "has no version 2"},
		"without a grant":                    {method, "chat.v2.ChatService", `{}`, 403, "asker@1.0.0 may not reach peer chat.v1.ChatService/Echo; ask for it under grants"},
		"with a grant of another method":     {method, "chat.v1.ChatService/Fail", `{}`, 403, "may not reach peer chat.v1.ChatService/Echo"},
		"an error of the method":             {"chat.v1.ChatService/Fail", "*", `{"text":"why"}`, 500, "internal"},
		"a method that there is not":         {"chat.v1.ChatService/Ecko", "*", `{}`, 501, "/chat.v1.ChatService/Ecko"},
		"a method that streams":              {"chat.v1.ChatService/Talk", "*", `{}`, 501, "one that streams cannot be called from here"},
		"a service that nobody has":          {"chat.v3.ChatService/Echo", "*", `{}`, 404, `no peer \"chat.v3.ChatService\" was ever registered`},
		"JSON that is none of its messages":  {method, "*", `{"text":7}`, 400, "chat.v1.Said"},
		"a peer by the name that it has too": {method + "@chat.v1.ChatService", "chat.v1.ChatService/chat.v1.*", `{}`, 403, "may not reach"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, host.Options{})
			s.deployChat("1.0.0")
			s.deployAsker(c.calls, c.grant)
			if status, answer := s.ask("/handlers/ask", c.input); status != c.status || c.status == 200 && answer != c.answer || !strings.Contains(answer, c.answer) {
				t.Errorf("%d %q", status, answer)
			}
		})
	}
}

func TestWhatACallInProcessTellsItsMethod(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for header, want := range map[string]string{"idempotency-key": "ask-order-7/0", "traceparent": trace, "weft-depth": "1", "weft-caller": "asker@1.0.0", ":procedure": "/chat.v1.ChatService/Echo", ":timeout": ""} {
		s := serve(t, host.Options{})
		manifest := []byte(`{"name":"chat","version":"1.0.0","handlers":[{"name":"chat.v1.ChatService/Echo","export":"key"}]}`)
		set := said(t, `syntax = "proto3"; package chat.v1; message Said {} service ChatService { rpc Echo(Said) returns (Said); }`)
		if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: manifest, Descriptors: set}, guestAsking("none/none", header), 256); err != nil {
			t.Fatal(err)
		}
		s.deployAsker("chat.v1.ChatService/Echo", "*")
		status, answer := s.ask("/handlers/ask", "", "Idempotency-Key", "order-7", "Traceparent", trace)
		if ms, err := strconv.Atoi(answer); header == ":timeout" && (err != nil || ms < 1 || ms > 2000) {
			t.Errorf("%s: %q", header, answer)
		}
		if status != http.StatusOK || header != ":timeout" && answer != want {
			t.Errorf("%s: %d %q", header, status, answer)
		}
	}
}

func TestHandlersThatCallEachOtherInACircleAreStopped(t *testing.T) {
	s := serve(t, host.Options{})
	manifest := []byte(`{"name":"circle","version":"1.0.0","handlers":[{"name":"ring.v1.Ring/Go","export":"ask"}],"grants":{"peers":["ring.v1.Ring"]}}`)
	set := said(t, `syntax = "proto3"; package ring.v1; message M {} service Ring { rpc Go(M) returns (M); }`)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: manifest, Descriptors: set, Grant: true}, guestAsking("ring.v1.Ring/Go", "x"), 256); err != nil {
		t.Fatal(err)
	}
	for path, depth := range map[string]string{"/ring.v1.Ring/Go": "", "/handlers/ring.v1.Ring/Go": "", "/ring.v1.Ring/Go?": "31"} {
		if status, answer := s.ask(path, `{}`, "Weft-Depth", depth); status != http.StatusTooManyRequests || !strings.Contains(answer, "32 calls are inside each other, and no more may be; look for handlers that call each other in a circle") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

func TestRunsAndHandlersThatCallEachOtherInACircleAreStopped(t *testing.T) {
	s := serve(t, host.Options{})
	module := func(name, more, proto, calls string) {
		t.Helper()
		manifest := fmt.Sprintf(`{"name":%q,"version":"1.0.0",%s,"grants":{"peers":["*"]}}`, name, more)
		if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Descriptors: said(t, proto), Grant: true}, guestAsking(calls, "x"), 256); err != nil {
			t.Fatal(err)
		}
	}
	module("there", `"handlers":[{"name":"there.v1.There/Go","export":"ask"}]`, `syntax = "proto3"; package there.v1; message M {} service There { rpc Go(M) returns (M); }`, "back.v1.Back/Come")
	s.apply("default", stepping("circle", "{ call: there.v1.There/Go }"))
	module("back", `"bind":[{"method":"back.v1.Back/Come","workflow":"circle"}]`, `syntax = "proto3"; package back.v1; message M {} service Back { rpc Come(M) returns (M); }`, "none/none")
	if answer := s.applied(stepping("slip", "{ call: back.v1.Back/Come }")); !strings.Contains(answer, "back.v1.Back/Come is no handler: the workflow test/circle:1.0.0 answers it in back:1.0.0; run that workflow") {
		t.Errorf("a step that calls what a workflow answers: %s", answer)
	}
	if status, answer := s.ask("/handlers/there.v1.There/Go", `{}`); status == http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	wait(t, func() bool {
		runs := compact(s.must("/weft.v1.RunService/ListRuns", `{"pageSize":100}`))
		return strings.Count(runs, `"status":"RUN_STATUS_FAULTED"`) == 31 && strings.Count(runs, `"id":`) == 31
	})
}

func TestAServiceOfAnotherHostIsCalledByTheRegistry(t *testing.T) {
	a, b := serve(t, host.Options{}), serve(t, host.Options{})
	b.deployChat("1.0.0")
	a.deployAsker("chat.v1.ChatService/Echo", "chat.v1.ChatService")
	register := func(b *served) {
		a.must("/weft.v1.RegistryService/Register", fmt.Sprintf(`{"service":"chat.v1.ChatService","instance":"b","url":%q}`, b.url))
	}
	register(b)
	a.applied(stepping("echo", `{ call: chat.v1.ChatService/Echo@chat.v1.ChatService, with: { text: hi } }`))
	a.applied(stepping("asked", `{ call: ask, with: { text: hi } }`))
	for _, flow := range []string{"echo", "asked"} {
		if answer := a.run(flow, `null`); !strings.Contains(answer, `"output":{"text":"hi"}`) {
			t.Errorf("%s: %s", flow, answer)
		}
	}
	for input, want := range map[string]string{`{"times":2}`: `{"times":2}`, "\x10\x02": "\x10\x02"} {
		if status, answer := a.ask("/handlers/ask", input); status != 200 || answer != want {
			t.Errorf("%q: %d %q", input, status, answer)
		}
	}
	// It drains: nobody is called, and a step waits until somebody else is there.
	live := compact(a.must("/weft.v1.RegistryService/Lookup", `{"service":"chat.v1.ChatService"}`))
	epoch := live[strings.Index(live, `"epoch":"`)+9:]
	a.must("/weft.v1.RegistryService/Drain", `{"service":"chat.v1.ChatService","instance":"b","epoch":`+quoted(epoch[:strings.Index(epoch, `"`)])+`}`)
	if status, answer := a.ask("/handlers/ask", `{}`); status != http.StatusServiceUnavailable || !strings.Contains(answer, "all are draining") {
		t.Errorf("while it drains: %d %s", status, answer)
	}
	var ids []string
	for _, flow := range []string{"echo", "asked"} {
		started := compact(a.must("/weft.v1.RunService/Start", fmt.Sprintf(`{"workflow":%q}`, flow)))
		id := started[strings.Index(started, `"id":"`)+6:]
		ids = append(ids, id[:strings.Index(id, `"`)])
	}
	for _, id := range ids {
		wait(t, func() bool {
			return strings.Contains(a.must("/weft.v1.RunService/GetRun", `{"id":`+quoted(id)+`}`), "all are draining")
		})
	}
	next := serve(t, host.Options{})
	next.deployChat("1.0.0")
	register(next)
	for _, id := range ids {
		wait(t, func() bool {
			answer := compact(a.must("/weft.v1.RunService/GetRun", `{"id":`+quoted(id)+`}`))
			return strings.Contains(answer, `"output":{"text":"hi"}`) && strings.Contains(answer, `"attempt":1`)
		})
	}
}

// wait waits until it is so.
func wait(t *testing.T, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was not so in a minute")
		}
	}
}
