package host_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

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
	manifest := fmt.Sprintf(`{"name":"chat","version":%q,"handlers":[{"name":"chat.v1.ChatService/Echo","export":"echo"},{"name":"chat.v1.ChatService/Fail","export":"fail"},{"name":"chat.v1.ChatService/Talk","export":"echo"},{"name":"key","export":"key"}]}`, version)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Descriptors: said(s.t, chatProto)}, guest(), 256); err != nil {
		s.t.Fatal(err)
	}
}

// stepping is a workflow of one step.
func stepping(name, task string) string {
	return fmt.Sprintf("document: { dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0' }\ndo:\n  - ask: %s\n", name, task)
}

// apply deploys a workflow and says what came of it.
func (s *served) apply(source string) string {
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
	if answer := s.apply(stepping("echo", `{ call: chat.v1.ChatService/Echo, with: { text: '${ .who }', times: 3 } }`)); !strings.Contains(answer, `"pinned":["chat.v1.ChatService/Echo:1.0.0@default"]`) {
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
		s.apply(stepping(flow, c.task))
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
		if answer := s.apply(stepping("a", `{ call: `+call+` }`)); !strings.Contains(answer, says) || !strings.Contains(answer, `"line":3`) {
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
