package host_test

import (
	"encoding/base64"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

const passing = `document: { dsl: '1.0.3', namespace: test, name: passing, version: '1.0.0' }
do:
  - again: { call: echo, with: { id: '${ .id }' } }
`

func TestNumbersKeepTheirDigitsOrAreRefused(t *testing.T) {
	const id = `{"id":9007199254740993}`
	s := serve(t, host.Options{})
	s.deploy("")
	s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(passing)+`}`)
	for _, c := range []struct{ path, body, says string }{
		{"/weft.v1.RunService/Start", `{"workflow":"passing","input":` + id + `}`, "9007199254740993 has more digits than a double, which this field holds; send the JSON in input_json"},
		{"/weft.v1.RunService/Start", `{"workflow":"passing","input":` + id + `,"events":5}`, "input_json"},
		{"/weft.v1.RunService/Start", `[` + id + `]`, "invalid_argument"},
		{"/weft.v1.HandlerService/Call", `{"handler":"echo","input":` + id + `}`, "send the JSON in body"},
		{"/weft.v1.EventService/Publish", `{"events":[{"source":"/a","type":"t","data":1},{"source":"/a","type":"t","data":` + id + `}]}`, "send the JSON in binary"},
	} {
		if status, answer := s.ask(c.path, c.body); status != http.StatusBadRequest || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.path, status, answer)
		}
	}

	started := s.must("/weft.v1.RunService/Start", `{"workflow":"passing","wait":true,"inputJson":`+quoted(id)+`}`)
	if !strings.Contains(compact(started), `"outputJson":`+quoted(id)) {
		t.Errorf("a run: %s", started)
	}
	described := s.must("/weft.v1.RunService/GetRun", `{"id":"`+field(t, started, "id")+`"}`)
	if n := strings.Count(compact(described), `"outputJson":`+quoted(id)); n != 2 { // the run's and the step's
		t.Errorf("a run with its steps: %s", described)
	}
	raw := base64.StdEncoding.EncodeToString([]byte(id))
	if called := s.must("/weft.v1.HandlerService/Call", `{"handler":"echo","body":"`+raw+`"}`); compact(called) != `{"body":"`+raw+`"}` {
		t.Errorf("a call: %s", called)
	}
	if status, answer := s.ask("/handlers/echo", id); status != http.StatusOK || answer != id {
		t.Errorf("a plain call: %d %s", status, answer)
	}
	s.must("/weft.v1.EventService/Publish", `{"events":[{"source":"/a","type":"t","contentType":"application/json","binary":"`+raw+`"}]}`)
	s.must("/weft.v1.EventService/Publish", `{"events":[{"source":"/a","type":"t","contentType":"text/plain","binary":"MWUy"}]}`)
	tail, err := weftv1connect.NewEventServiceClient(s.client()).Tail(t.Context(), &weftv1.TailRequest{All: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	for _, want := range []string{id, "1e2"} {
		if res, err := tail.Receive(); err != nil || string(res.Event.Binary) != want || res.Event.Data != nil {
			t.Errorf("an event: %v %v", res, err)
		}
	}

	for path, body := range map[string]string{
		"/weft.v1.RunService/Start":     `{"workflow":"passing","input":{},"inputJson":"{}"}`,
		"/weft.v1.HandlerService/Call":  `{"handler":"echo","input":{},"body":"e30="}`,
		"/weft.v1.EventService/Publish": `{"events":[{"source":"/a","type":"t","data":{},"binary":"e30="}]}`,
	} {
		if status, answer := s.ask(path, body); status != http.StatusBadRequest || !strings.Contains(answer, "twice") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	_, err = weftv1connect.NewHandlerServiceClient(s.client()).Call(t.Context(), &weftv1.CallRequest{Handler: "echo", Input: structpb.NewNumberValue(math.NaN())})
	if connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a number that JSON does not have: %v", err)
	}
}

// The codec looks at three requests by name.
func TestValuesComeInByThreeRequestsOnly(t *testing.T) {
	var with func(m protoreflect.MessageDescriptor, above []protoreflect.FullName) bool
	with = func(m protoreflect.MessageDescriptor, above []protoreflect.FullName) bool {
		if m.FullName() == "google.protobuf.Value" {
			return true
		}
		for i := range m.Fields().Len() {
			if next := m.Fields().Get(i).Message(); next != nil && !slices.Contains(above, next.FullName()) && with(next, append(above, m.FullName())) {
				return true
			}
		}
		return false
	}
	var found []string
	services(func(d protoreflect.ServiceDescriptor) {
		for i := range d.Methods().Len() {
			if in := d.Methods().Get(i).Input(); with(in, nil) {
				found = append(found, string(in.Name()))
			}
		}
	})
	slices.Sort(found)
	if strings.Join(found, " ") != "CallRequest PublishRequest StartRequest" {
		t.Errorf("they come in by %v", found)
	}
}
