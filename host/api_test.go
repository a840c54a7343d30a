package host_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftrun/weft/host"
	healthv1 "github.com/weftrun/weft/proto/grpc/health/v1"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

const nap = `document: { dsl: '1.0.3', namespace: test, name: nap, version: '1.0.0' }
do:
  - sleep: { wait: { hours: 1 } }
`

const echoing = `document: { dsl: '1.0.3', namespace: test, name: echoing, version: '1.0.0' }
do:
  - again: { call: echo, with: { key: all } }
`

// conversation calls every unary method once, in an order in which each has
// something to work on. What an answer says under "as" is put in for later ones.
var conversation = []struct {
	method, body, answers string
	as                    string // remember this field of the answer
}{
	{"weft.v1.ModuleService/ListModules", `{}`, `"name":"guest"`, ""},
	{"weft.v1.ModuleService/GetModule", `{"name":"guest","version":"1"}`, `"version":"1.0.0"`, ""},
	{"weft.v1.ModuleService/Promote", `{"name":"guest","version":"1.0.0"}`, `"promoted":true`, ""},
	{"weft.v1.ModuleService/SetGrants", `{"name":"guest","requested":true}`, `"granted":{"peers":["*"]}`, ""},
	{"weft.v1.ServiceService/ListServices", `{}`, `"name":"say.v1.SayService"`, ""},
	{"weft.v1.ServiceService/GetService", `{"name":"say.v1.SayService"}`, `"procedure":"/say.v1.SayService/Echo"`, ""},
	{"weft.v1.HandlerService/ListHandlers", `{}`, `"ref":"echo:1.0.0@default"`, ""},
	{"weft.v1.HandlerService/Call", `{"handler":"echo","input":{"a":[1,"b",null]}}`, `"output":{"a":[1,"b",null]}`, ""},
	{"weft.v1.WorkflowService/Validate", `{"file":"x.yaml","source":"do: []"}`, `"problems":[{"file":"x.yaml"`, ""},
	{"weft.v1.WorkflowService/Apply", `{"source":` + quoted(nap) + `}`, `"name":"nap"`, ""},
	{"weft.v1.WorkflowService/GetWorkflow", `{"name":"test/nap"}`, `hours: 1`, ""},
	{"weft.v1.WorkflowService/ListWorkflows", `{}`, `"space":"test"`, ""},
	{"weft.v1.RunService/Start", `{"workflow":"nap","input":{"n":1},"idempotencyKey":"k"}`, `"workflow":"nap"`, "id"},
	{"weft.v1.RunService/GetRun", `{"id":"$id"}`, `"name":"sleep"`, ""},
	{"weft.v1.RunService/ListRuns", `{"workflow":"nap"}`, `"id":"$id"`, ""},
	{"weft.v1.RunService/Pause", `{"id":"$id","reason":"lunch"}`, `"reason":"resume (lunch)"`, ""},
	{"weft.v1.RunService/Resume", `{"id":"$id"}`, `"RUN_STATUS_PARKED"`, ""},
	{"weft.v1.RunService/Cancel", `{"id":"$id","reason":"enough"}`, `"RUN_STATUS_CANCELLED"`, ""},
	{"weft.v1.RunService/Rerun", `{"id":"$id"}`, `"origin":"$id"`, ""},
	{"weft.v1.EventService/Publish", `{"events":[{"source":"/test","type":"test.happened","data":{"a":1}}]}`, `"offsets":["`, ""},
	{"weft.v1.EventService/ListDeadLetters", `{}`, `{}`, ""},
	{"weft.v1.EventService/ReplayDeadLetter", `{"group":"g","offset":"1"}`, `"not_found"`, ""},
	{"weft.v1.EventService/DropDeadLetter", `{"group":"g","offset":"1"}`, `"not_found"`, ""},
	{"weft.v1.HookService/ApplyHooks", `{"source":"hooks: [{name: github, scheme: github, secret: s}]"}`, `"path":"/hooks/default/github"`, ""},
	{"weft.v1.HookService/ListHooks", `{}`, `"type":"github.{header X-GitHub-Event}"`, ""},
	{"weft.v1.HookService/GetHook", `{"name":"github"}`, `"secrets":["s"]`, ""},
	{"weft.v1.HookService/DeleteHook", `{"name":"github"}`, `{}`, ""},
	{"weft.v1.PolicyService/ApplyPolicies", `{"source":"policies: [{peer: payments, timeout: PT5S}]"}`, `"peers":["payments"]`, ""},
	{"weft.v1.PolicyService/GetPolicies", `{}`, `timeout: PT5S`, ""},
	{"weft.v1.RegistryService/Register", `{"service":"payments","instance":"one","url":"http://127.0.0.1:1","ttl":"60s"}`, `"heartbeatInterval":"20s"`, "epoch"},
	{"weft.v1.RegistryService/Lookup", `{"service":"payments"}`, `"instance":"one"`, ""},
	{"weft.v1.RegistryService/ListInstances", `{}`, `"url":"http://127.0.0.1:1"`, ""},
	{"weft.v1.RegistryService/Heartbeat", `{"service":"payments","instance":"one","epoch":"$epoch"}`, `{}`, ""},
	{"weft.v1.BreakerService/SetPolicy", `{"peer":"payments","failures":3,"open":"5s"}`, `{}`, ""},
	{"weft.v1.BreakerService/Open", `{"peer":"payments"}`, `{}`, ""},
	{"weft.v1.BreakerService/ListBreakers", `{}`, `"forced":true`, ""},
	{"weft.v1.BreakerService/Close", `{"peer":"payments"}`, `{}`, ""},
	{"weft.v1.BreakerService/Reset", `{"peer":"payments"}`, `{}`, ""},
	{"weft.v1.RegistryService/Drain", `{"service":"payments","instance":"one","epoch":"$epoch"}`, `{}`, ""},
	{"weft.v1.RegistryService/Deregister", `{"service":"payments","instance":"one","epoch":"$epoch"}`, `{}`, ""},
	{"weft.v1.ModuleService/DeleteModule", `{"name":"guest","version":"1.0.0"}`, `{}`, ""},
	{"grpc.health.v1.Health/Check", `{}`, `"SERVING"`, ""},
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// services are those of the descriptors that are linked in.
func services(each func(protoreflect.ServiceDescriptor)) {
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if f.Package() == "weft.v1" || f.Package() == "grpc.health.v1" {
			for i := range f.Services().Len() {
				each(f.Services().Get(i))
			}
		}
		return true
	})
}

func TestEveryUnaryMethodAnswersToCurl(t *testing.T) {
	unary, free := map[string]bool{}, map[string]bool{}
	services(func(d protoreflect.ServiceDescriptor) {
		for i := range d.Methods().Len() {
			m := d.Methods().Get(i)
			if name := string(d.FullName()) + "/" + string(m.Name()); !m.IsStreamingClient() && !m.IsStreamingServer() {
				unary[name] = true
				free[name] = m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
			}
		}
	})
	s := serve(t, host.Options{})
	s.deploy("")
	s.deploySayer("1.0.0")
	known := []string{}
	for _, c := range conversation {
		fill := strings.NewReplacer(known...).Replace
		body := fill(c.body)
		status, answer := s.ask("/"+c.method, body)
		want := http.StatusOK
		if c.answers == `"not_found"` {
			want = http.StatusNotFound
		}
		if status != want || !strings.Contains(compact(answer), fill(c.answers)) {
			t.Errorf("%s %s: %d %s", c.method, body, status, answer)
		}
		if c.as != "" {
			known = append(known, "$"+c.as, field(t, answer, c.as))
		}
		got, err := http.Get(s.url + "/" + c.method + "?connect=v1&encoding=json&message=" + url.QueryEscape(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case free[c.method] && (got.StatusCode != http.StatusOK || !strings.Contains(compact(string(text)), fill(c.answers))):
			t.Errorf("GET %s: %d %s", c.method, got.StatusCode, text)
		case !free[c.method] && got.StatusCode != http.StatusMethodNotAllowed:
			t.Errorf("GET %s, which has effects: %d %s", c.method, got.StatusCode, text)
		}
		delete(unary, c.method)
	}
	for name := range unary {
		t.Errorf("%s is not in the conversation", name)
	}
}

// compact takes out the spaces of protojson, which differ from build to build.
func compact(s string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(s)) != nil {
		return s
	}
	return b.String()
}

// field is the text of a field somewhere in an answer.
func field(t *testing.T, answer, name string) string {
	t.Helper()
	found := regexp.MustCompile(`"` + name + `":\s*"([^"]+)"`).FindStringSubmatch(answer)
	if found == nil {
		t.Fatalf("no %s in %s", name, answer)
	}
	return found[1]
}

// ways are the protocols that the port speaks.
func ways(t *testing.T, s *served, each func(t *testing.T, c *connect.Client)) {
	for protocol, with := range map[string][]connecthttp.Option{"connect": nil, "grpc": {connecthttp.WithGRPC()}, "grpc-web": {connecthttp.WithGRPCWeb()}} {
		for version, client := range map[string]*http.Client{"1.1": h1(t), "h2c": h2c(t)} {
			for codec, as := range map[string]connecthttp.Option{"binary": connecthttp.WithSendCodec(connect.CodecNameProto), "JSON": connecthttp.WithProtoJSON()} {
				if protocol == "grpc" && version == "1.1" {
					continue // gRPC is HTTP/2 by definition
				}
				t.Run(protocol+" "+version+" "+codec, func(t *testing.T) {
					each(t, connect.NewClient(connecthttp.NewTransport(client, s.url, append(with, as)...)))
				})
			}
		}
	}
}

func TestEachProtocolCallsAndStreams(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploy("")
	s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(echoing)+`}`)
	ways(t, s, func(t *testing.T, c *connect.Client) {
		input, err := structpb.NewValue(map[string]any{"text": "grüße", "list": []any{1.5, true, nil}})
		if err != nil {
			t.Fatal(err)
		}
		called, err := weftv1connect.NewHandlerServiceClient(c).Call(t.Context(), &weftv1.CallRequest{Handler: "echo", Input: input})
		if err != nil || fmt.Sprint(called.Output.AsInterface()) != fmt.Sprint(input.AsInterface()) {
			t.Errorf("a call: %v %v", called, err)
		}
		_, err = weftv1connect.NewHandlerServiceClient(c).Call(t.Context(), &weftv1.CallRequest{Handler: "ecco"})
		var failed *connect.Error
		if !errors.As(err, &failed) || failed.Code() != connect.CodeNotFound || !strings.Contains(failed.Message(), "did you mean echo?") {
			t.Errorf("an error: %v", err)
		}

		runs := weftv1connect.NewRunServiceClient(c)
		started, err := runs.Start(t.Context(), &weftv1.StartRequest{Workflow: "echoing"})
		if err != nil {
			t.Fatal(err)
		}
		watch, err := runs.Watch(t.Context(), &weftv1.WatchRequest{Id: started.Run.Id})
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Close()
		var last *weftv1.WatchResponse
		for {
			res, err := watch.Receive()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			last = res
		}
		if last.GetRun().GetStatus() != weftv1.RunStatus_RUN_STATUS_COMPLETED || len(last.Steps) == 0 {
			t.Errorf("the last of a watched run: %v", last)
		}
		missing, err := runs.Watch(t.Context(), &weftv1.WatchRequest{Id: "none"})
		if err == nil {
			_, err = missing.Receive()
			missing.Close()
		}
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("a stream's error: %v", err)
		}

		pushed, err := s.push(c, &weftv1.PushHeader{Name: "guest", Version: "1.0.0", Namespace: "elsewhere"}, guest(), 100)
		if err != nil || pushed.Module.Name != "guest" {
			t.Errorf("a push: %v %v", pushed, err)
		}
	})
}

func TestTailSendsWhatIsPublished(t *testing.T) {
	s := serve(t, host.Options{})
	ways(t, s, func(t *testing.T, c *connect.Client) {
		events := weftv1connect.NewEventServiceClient(c)
		tail, err := events.Tail(t.Context(), &weftv1.TailRequest{Namespace: "tail", All: true})
		if err != nil {
			t.Fatal(err)
		}
		defer tail.Close()
		published, err := events.Publish(t.Context(), &weftv1.PublishRequest{Namespace: "tail", Events: []*weftv1.Event{{Source: "/test", Type: "test.happened", Id: t.Name()}}})
		if err != nil {
			t.Fatal(err)
		}
		for {
			res, err := tail.Receive()
			if err != nil {
				t.Fatal(err)
			}
			if res.Offset == published.Offsets[0] {
				if res.Event.Id != t.Name() {
					t.Errorf("%v", res.Event)
				}
				return
			}
		}
	})
}

func TestReflectionListsEveryService(t *testing.T) {
	s := serve(t, host.Options{})
	stream := grpcreflect.NewClient(s.client()).NewStream(t.Context())
	listed, err := stream.ListServices()
	if err != nil {
		t.Fatal(err)
	}
	services(func(d protoreflect.ServiceDescriptor) {
		if !slices.Contains(listed, d.FullName()) {
			t.Errorf("%s is not listed", d.FullName())
		}
		files, err := stream.FileContainingSymbol(d.FullName())
		if err != nil || len(files) == 0 {
			t.Errorf("%s is not described: %v", d.FullName(), err)
		}
	})
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	ways(t, s, func(t *testing.T, c *connect.Client) {
		if res, err := healthv1connect.NewHealthClient(c).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || res.Status != serving {
			t.Errorf("%v %v", res, err)
		}
	})
}
