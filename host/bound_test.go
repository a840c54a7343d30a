package host_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/runtime/engine"
)

const boundProto = `syntax = "proto3"; package shop.v1; import "annotations.proto";
	message Order { string order_id = 1; int64 total = 2; string status = 3; }
	message Started { string run_id = 1; }
	message Nothing {}
	service OrderService {
		rpc Place(Order) returns (Order) { option (google.api.http) = { post: "/v1/orders/{order_id}" body: "*" }; }
		rpc Begin(Order) returns (Started) { option (google.api.http) = { post: "/v1/orders/{order_id}:begin" body: "*" }; }
		rpc Reject(Order) returns (Order);
		rpc Misfit(Order) returns (Order);
		rpc Forget(Order) returns (Nothing);
		rpc Wait(Order) returns (Order);
		rpc Echo(Order) returns (Order);
	}`

// Workflows that methods of boundProto are bound to.
const (
	placing = `document: { dsl: '1.0.3', namespace: shop, name: placing, version: '%s' }
do:
  - place: { set: { orderId: '${ .orderId }', total: '${ .total }', status: placed by %s } }
`
	rejecting = `document: { dsl: '1.0.3', namespace: shop, name: rejecting, version: '1.0.0' }
do:
  - reject: { raise: { error: { type: 'https://shop.example/errors/sold-out', status: 409, title: Sold out, detail: no tea is left } } }
`
	misfitting = `document: { dsl: '1.0.3', namespace: shop, name: misfitting, version: '1.0.0' }
do:
  - answer: { set: { orderId: a, colour: red } }
`
	forgetting = `document: { dsl: '1.0.3', namespace: shop, name: forgetting, version: '1.0.0' }
do:
  - forget: { set: '${ null }' }
`
	listening = `document: { dsl: '1.0.3', namespace: shop, name: listening, version: '1.0.0' }
do:
  - hear: { listen: { to: { one: { with: { type: order.paid } } } }, output: { as: '${ { orderId: .[0].orderId, status: "paid" } }' } }
`
)

const bindings = `"bind":[
	{"method":"shop.v1.OrderService/Place","workflow":"placing"},
	{"method":"shop.v1.OrderService/Begin","workflow":"shop/placing:1","mode":"async"},
	{"method":"shop.v1.OrderService/Reject","workflow":"rejecting"},
	{"method":"shop.v1.OrderService/Misfit","workflow":"misfitting"},
	{"method":"shop.v1.OrderService/Forget","workflow":"forgetting"},
	{"method":"shop.v1.OrderService/Wait","workflow":"listening","mode":"wait"}]`

const bindingManifest = `{"name":"desk","version":"1.0.0","handlers":[{"name":"shop.v1.OrderService/Echo","export":"echo"}],` + bindings + `}`

func (s *served) apply(ns string, sources ...string) {
	s.t.Helper()
	for _, source := range sources {
		if answer := s.must("/weft.v1.WorkflowService/Apply", fmt.Sprintf(`{"namespace":%q,"source":%q}`, ns, source)); strings.Contains(answer, "problems") {
			s.t.Fatal(answer)
		}
	}
}

// boundSet is the encoded descriptors of OrderService.
func boundSet(t *testing.T) []byte {
	t.Helper()
	annotations, err := os.ReadFile("services/testdata/annotations.proto")
	if err != nil {
		t.Fatal(err)
	}
	return compiledSet(t, map[string]string{"annotations.proto": string(annotations), "api.proto": boundProto})
}

// deployBound deploys a module, half of whose methods workflows answer.
func (s *served) deployBound(ns string) {
	s.t.Helper()
	s.apply(ns, fmt.Sprintf(placing, "1.0.0", "the first"), rejecting, misfitting, forgetting, listening)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Namespace: ns, Manifest: []byte(bindingManifest), Descriptors: boundSet(s.t)}, guest(), 256); err != nil {
		s.t.Fatal(err)
	}
}

// called is the answer to a request, and its headers.
func (s *served) called(path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	q, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	res, err := h1(s.t).Do(q)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, compact(text(s.t, res))
}

const orderService = "/shop.v1.OrderService/"

func TestAMethodIsAnsweredByARunOfItsWorkflow(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	s.apply("", fmt.Sprintf(placing, "1.1.0", "another")) // which the module was not bound to
	for _, c := range []struct {
		what, path, body string
		status           int
		says             string
	}{
		{"the output is the answer", orderService + "Place", `{"orderId":"7","total":12}`, 200, `{"orderId":"7","total":"12","status":"placed by the first"}`},
		{"by a route", "/v1/orders/8", `{"total":"3"}`, 200, `{"orderId":"8","total":"3","status":"placed by the first"}`},
		{"a workflow without an output", orderService + "Forget", `{}`, 200, `{}`},
		{"a method beside them that has a handler", orderService + "Echo", `{"orderId":"9"}`, 200, `{"orderId":"9"}`},
		{"an error of the workflow", orderService + "Reject", `{}`, 409, `"code":"aborted","message":"Sold out: no tea is left"`},
		{"an output that is no such message", orderService + "Misfit", `{}`, 500, `unknown field \"colour\"`},
		{"a request that is no such message", orderService + "Place", `{"total":"much"}`, 400, `"code":"invalid_argument"`},
	} {
		res, answer := s.called(c.path, c.body)
		if res.StatusCode != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.what, res.StatusCode, answer)
		}
		if run := res.Header.Get(host.RunHeader); (run == "") != (c.path == orderService+"Echo" || c.status == 400) {
			t.Errorf("%s: the run is %q", c.what, run)
		}
	}
	ways(t, s, func(t *testing.T, c *connect.Client) {
		order := &emptypb.Empty{}
		order.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "7"))
		err := c.CallUnary(t.Context(), connect.Spec{Procedure: orderService + "Reject"}, order, &emptypb.Empty{})
		var failed *connect.Error
		if !errors.As(err, &failed) || failed.Code() != connect.CodeAborted || len(failed.Details()) != 1 || failed.Details()[0].Type != "weft.v1.Fault" {
			t.Fatalf("got %v", err)
		}
		var fault weftv1.Fault
		if err := proto.Unmarshal(failed.Details()[0].Value, &fault); err != nil || fault.Status != 409 || fault.Title != "Sold out" || fault.Type != "https://shop.example/errors/sold-out" {
			t.Errorf("the detail is %v, %v", &fault, err)
		}
	})
}

// Version 1 handles what version 2 has a workflow answer.
func TestTheNameOfAMethodMeansWhatItsRouteDoes(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	manifest := strings.Replace(bindingManifest, `"1.0.0","handlers":[`, `"0.9.0","handlers":[{"name":"shop.v1.OrderService/Place","export":"echo"},`, 1)
	manifest = strings.Replace(manifest, `{"method":"shop.v1.OrderService/Place","workflow":"placing"},`, "", 1)
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Descriptors: boundSet(t)}, guest(), 256); err != nil {
		t.Fatal(err)
	}
	const byRun, byHandler = `"status":"placed by the first"`, `{"orderId":"7"`
	calls := func(when, typed, named string) {
		t.Helper()
		for path, want := range map[string]string{orderService + "Place": typed, "/handlers" + orderService + "Place": named, "/handlers" + orderService + "Place:0.9.0": byHandler} {
			if _, answer := s.called(path, `{"orderId":"7"}`); !strings.Contains(answer, want) || want == byHandler && strings.Contains(answer, "placed") {
				t.Errorf("%s, %s: %s", when, path, answer)
			}
		}
	}
	refusal := `shop.v1.OrderService/Place is no handler: the workflow shop/placing:1.0.0 answers it in desk:1.0.0; run that workflow`
	calls("the newest is live", byRun, refusal)
	if answer := s.applied(stepping("named", "{ call: shop.v1.OrderService/Place }")); !strings.Contains(answer, refusal) {
		t.Errorf("a step: %s", answer)
	}
	s.must("/weft.v1.ModuleService/Promote", `{"name":"desk","version":"0.9.0"}`)
	calls("the older one is promoted", byHandler, byHandler)
	if answer := s.applied(stepping("named", "{ call: shop.v1.OrderService/Place }")); !strings.Contains(answer, "shop.v1.OrderService/Place:0.9.0@default") {
		t.Errorf("a step then: %s", answer)
	}
}

func TestWhoDoesNotWantToWaitGetsTheIdOfTheRun(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("a")
	for _, c := range []struct {
		what, path, prefer string
		status             int
		answer             string // $ is the id of the run
		applied            string
	}{
		{"a binding that does not wait", orderService + "Begin", "", 200, `{"runId":"$"}`, ""},
		{"the same by a route", "/v1/orders/7:begin", "", 202, `{"runId":"$"}`, ""},
		{"a caller of a route", "/v1/orders/7", "Respond-Async, wait=10", 202, `{}`, "respond-async"},
		{"a caller of Connect", orderService + "Place", "respond-async; foo", 200, `{}`, "respond-async"},
		{"a caller who says something else", orderService + "Place", "return=minimal", 200, `{"status":"placed by the first"}`, ""},
		{"a workflow by its name", "/workflows/placing", "respond-async", 202, `{"run":"$"}`, "respond-async"},
	} {
		res, answer := s.called(c.path, `{}`, "Prefer", c.prefer, "Weft-Namespace", "a")
		run := res.Header.Get(host.RunHeader)
		if want := strings.ReplaceAll(c.answer, "$", run); res.StatusCode != c.status || answer != want && !strings.Contains(c.answer, "placed") || res.Header.Get("Preference-Applied") != c.applied {
			t.Errorf("%s: %d %s %v", c.what, res.StatusCode, answer, res.Header)
		}
		if strings.Contains(c.answer, "placed") {
			continue
		}
		if elsewhere, answer := s.called(c.path, `{}`); elsewhere.StatusCode != http.StatusNotFound {
			t.Errorf("%s, in another namespace: %d %s", c.what, elsewhere.StatusCode, answer)
		}
		where, err := http.Get(s.url + res.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if answer := text(t, where); where.StatusCode != 200 || !strings.Contains(answer, run) {
			t.Errorf("%s: the location says %d %s", c.what, where.StatusCode, answer)
		}
	}
}

func TestARunOutlastsItsCallAndIsFoundAgain(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	call := func(ctx context.Context, headers ...string) (*http.Response, string) {
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+orderService+"Wait", strings.NewReader(`{"orderId":"7"}`))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Idempotency-Key", "order-7")
		for i := 0; i < len(headers); i += 2 {
			q.Header.Set(headers[i], headers[i+1])
		}
		res, err := h1(t).Do(q)
		if err != nil {
			return nil, err.Error()
		}
		return res, text(t, res)
	}
	late, answer := call(t.Context(), "Connect-Timeout-Ms", "2000")
	if late.StatusCode != http.StatusGatewayTimeout || !strings.Contains(answer, "has not ended in time; it goes on") {
		t.Fatalf("%d %s", late.StatusCode, answer)
	}
	impatient, leave := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer leave()
	if res, _ := call(impatient); res != nil {
		t.Fatal("somebody had an answer before there was one")
	}
	if answer := s.must("/weft.v1.RunService/ListRuns", `{"workflow":"listening"}`); strings.Count(answer, `"id"`) != 1 || !strings.Contains(answer, "RUN_STATUS_PARKED") {
		t.Fatalf("after calls that have ended: %s", answer)
	}
	done := make(chan string)
	go func() {
		res, answer := call(t.Context())
		if res == nil || res.StatusCode != http.StatusOK {
			t.Errorf("the call that waited: %s", answer)
		}
		done <- answer
	}()
	s.must("/weft.v1.EventService/Publish", `{"events":[{"source":"/till","type":"order.paid","data":{"orderId":"7"}}]}`)
	if answer := <-done; compact(answer) != `{"orderId":"7","status":"paid"}` {
		t.Errorf("got %s", answer)
	}
	if _, answer := call(t.Context()); compact(answer) != `{"orderId":"7","status":"paid"}` {
		t.Errorf("asked again: %s", answer)
	}
}

func TestAShutdownSendsCallersAwayAndTheirRunsGoOn(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	type answered struct {
		status int
		text   string
	}
	ask := func(s *served, path string) chan answered {
		done := make(chan answered, 1)
		go func() {
			res, text := s.called(path, `{}`, "Idempotency-Key", path)
			done <- answered{res.StatusCode, text}
		}()
		return done
	}
	paths := []string{orderService + "Wait", "/workflows/listening"}
	var waiting []chan answered
	for _, path := range paths {
		waiting = append(waiting, ask(s, path))
	}
	wait(t, func() bool {
		return strings.Count(s.must("/weft.v1.RunService/ListRuns", `{"workflow":"listening"}`), "RUN_STATUS_PARKED") == len(paths)
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	for i, done := range waiting {
		if a := <-done; a.status != http.StatusServiceUnavailable || !strings.Contains(a.text, "goes on after the restart: watch it then") {
			t.Errorf("%s: %d %s", paths[i], a.status, a.text)
		}
	}
	s = serve(t, host.Options{DB: s.db})
	for i, path := range paths {
		waiting[i] = ask(s, path)
	}
	s.must("/weft.v1.EventService/Publish", `{"events":[{"source":"/till","type":"order.paid","data":{"orderId":"7"}}]}`)
	for i, done := range waiting {
		if a := <-done; a.status != http.StatusOK || a.text != `{"orderId":"7","status":"paid"}` {
			t.Errorf("%s, after the restart: %d %s", paths[i], a.status, a.text)
		}
	}
}

func TestCallersThatWaitForRunsAreBounded(t *testing.T) {
	s := serve(t, host.Options{Engine: engine.Options{WaitersOf: 1}})
	s.deployBound("")
	s.deployBound("b")
	done := make(chan int, 1)
	go func() {
		res, _ := s.called(orderService+"Wait", `{}`)
		done <- res.StatusCode
	}()
	runs := func() string { return s.must("/weft.v1.RunService/ListRuns", `{}`) }
	wait(t, func() bool { return strings.Contains(runs(), "RUN_STATUS_PARKED") })
	for _, c := range []struct {
		what, path, body string
		headers          []string
		status           int
	}{
		{"a method", orderService + "Wait", `{}`, nil, 429},
		{"a route", "/v1/orders/7", `{}`, nil, 429},
		{"a workflow by its name", "/workflows/listening", `{}`, nil, 429},
		{"a start that waits", "/weft.v1.RunService/Start", `{"workflow":"listening","wait":true}`, nil, 429},
		{"one of another namespace", orderService + "Place", `{}`, []string{"Weft-Namespace", "b"}, 200},
		{"one who does not wait", orderService + "Place", `{}`, []string{"Prefer", "respond-async"}, 200},
		{"a start that does not wait", "/weft.v1.RunService/Start", `{"workflow":"placing"}`, nil, 200},
	} {
		res, answer := s.called(c.path, c.body, c.headers...)
		if res.StatusCode != c.status || c.status == 429 && !strings.Contains(answer, `"code":"resource_exhausted","message":"1 callers wait for runs of namespace default, and no more may; come again later, or do not wait`) {
			t.Errorf("%s: %d %s", c.what, res.StatusCode, answer)
		}
	}
	if n := strings.Count(runs(), `"id"`); n != 3 {
		t.Errorf("there are %d runs: who is refused has started one", n)
	}
	text, _ := s.scrape()
	for _, line := range []string{"weft_run_waiters 1", "weft_run_waiters_refused_total 4"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	s.must("/weft.v1.EventService/Publish", `{"events":[{"source":"/till","type":"order.paid","data":{"orderId":"7"}}]}`)
	if status := <-done; status != http.StatusOK {
		t.Errorf("who waited has %d", status)
	}
	if res, answer := s.called(orderService+"Place", `{}`); res.StatusCode != http.StatusOK {
		t.Errorf("a place that was left: %d %s", res.StatusCode, answer)
	}
}

func TestServicesSayWhichWorkflowAnswers(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	answer := compact(s.must("/weft.v1.ServiceService/GetService", `{"name":"shop.v1.OrderService"}`))
	for _, want := range []string{`"workflow":"shop/placing:1.0.0"`, `"workflow":"shop/placing:1.0.0","async":true`} {
		if !strings.Contains(answer, want) {
			t.Errorf("no %s in %s", want, answer)
		}
	}
	res, err := http.Get(s.url + "/openapi/desk/1.0.0.json")
	if err != nil {
		t.Fatal(err)
	}
	if answer := compact(text(t, res)); strings.Count(answer, `"x-weft-workflow":"shop/placing:1.0.0"`) != 4 || strings.Count(answer, `"202":`) != 2 {
		t.Errorf("got %s", answer)
	}
}

func TestAModuleWhoseMethodsAreAllBoundNeedsNoCode(t *testing.T) {
	s := serve(t, host.Options{})
	s.apply("", fmt.Sprintf(placing, "1.0.0", "the first"))
	const manifest = `{"name":"desk","version":"1.0.0","bind":[{"method":"say.v1.SayService/Place","workflow":"placing"}]}`
	descriptors := compiledSet(t, map[string]string{"api.proto": `syntax = "proto3"; package say.v1; message Said { string status = 1; string order_id = 2; int64 total = 3; } service SayService { rpc Place(Said) returns (Said); }`})
	empty := []byte("\x00asm\x01\x00\x00\x00")
	push := func() (*weftv1.PushResponse, error) {
		return s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest), Descriptors: descriptors}, empty, 256)
	}
	if _, err := push(); err != nil {
		t.Fatal(err)
	}
	if answer := s.must("/say.v1.SayService/Place", `{"orderId":"7"}`); !strings.Contains(answer, "placed by the first") {
		t.Errorf("got %s", answer)
	}
	s.apply("", fmt.Sprintf(placing, "1.1.0", "another"))
	if res, err := push(); err != nil || !res.Unchanged {
		t.Errorf("the same again, with a newer workflow: %v, %v", res, err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, host.Options{DB: s.db})
	if answer := s.must("/say.v1.SayService/Place", `{"orderId":"7"}`); !strings.Contains(answer, "placed by the first") {
		t.Errorf("after a restart: %s", answer)
	}
}

func TestBindingsThatCannotAnswerAreRefused(t *testing.T) {
	s := serve(t, host.Options{})
	s.apply("", fmt.Sprintf(placing, "1.0.0", "the first"))
	talk := compiledSet(t, map[string]string{"api.proto": `syntax = "proto3"; package x; message M {} service S { rpc A(M) returns (M); rpc B(stream M) returns (M); }`})
	bound := func(bind string) string {
		return `{"name":"x","version":"1.0.0","handlers":[{"name":"x.S/B","export":"echo"}],"bind":[` + bind + `]}`
	}
	const good = `{"method":"x.S/A","workflow":"placing"}`
	for name, c := range map[string]struct {
		manifest    string
		descriptors []byte
		code        connect.Code
		says        string
	}{
		"a workflow that there is not":    {bound(`{"method":"x.S/A","workflow":"plaicng"}`), talk, connect.CodeNotFound, `x.S/A is bound to plaicng: no workflow "plaicng" in namespace default; did you mean placing?`},
		"a version that there is not":     {bound(`{"method":"x.S/A","workflow":"placing:2"}`), talk, connect.CodeNotFound, "has no version 2"},
		"no workflow":                     {bound(`{"method":"x.S/A"}`), talk, connect.CodeInvalidArgument, "x.S/A is bound to no workflow; write workflow: with its name"},
		"no method":                       {bound(`{"method":"A","workflow":"placing"}`), talk, connect.CodeInvalidArgument, `"A" is bound, and no method`},
		"a method of somebody else":       {bound(good + `,{"method":"y.S/A","workflow":"placing"}`), talk, connect.CodeInvalidArgument, "binds /y.S/A, which its descriptors do not have"},
		"a method that streams":           {`{"name":"x","version":"1.0.0","bind":[` + good + `,{"method":"x.S/B","workflow":"placing"}]}`, talk, connect.CodeInvalidArgument, "module x binds /x.S/B to a workflow, and it streams"},
		"a method that has a handler too": {bound(good + `,{"method":"x.S/B","workflow":"placing"}`), talk, connect.CodeInvalidArgument, "x.S/B has a handler and is bound to a workflow"},
		"a method twice":                  {bound(good + "," + good), talk, connect.CodeInvalidArgument, "x.S/A is bound twice"},
		"a mode of its own":               {bound(`{"method":"x.S/A","workflow":"placing","mode":"later"}`), talk, connect.CodeInvalidArgument, `the mode of x.S/A is "later"; write wait or async`},
		"what the host finds":             {bound(`{"method":"x.S/A","workflow":"placing","pinned":"shop/placing:1.0.0"}`), talk, connect.CodeInvalidArgument, "leave pinned out"},
		"no descriptors":                  {bound(good), nil, connect.CodeInvalidArgument, "module x binds methods and has no descriptors of them"},
	} {
		_, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(c.manifest), Descriptors: c.descriptors}, guest(), 256)
		if connect.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAWorkflowIsCalledByItsName(t *testing.T) {
	s := serve(t, host.Options{})
	s.apply("", fmt.Sprintf(placing, "1.0.0", "the first"), fmt.Sprintf(placing, "1.1.0", "another"), rejecting, listening)
	for _, c := range []struct {
		what, path, body string
		headers          []string
		status           int
		says             string
	}{
		{"the newest version", "/workflows/placing", `{"orderId":"7","total":9007199254740993}`, nil, 200, `{"orderId":"7","status":"placed by another","total":9007199254740993}`},
		{"a version", "/workflows/shop/placing:1.0", `{}`, nil, 200, `placed by the first`},
		{"nothing to begin with", "/workflows/placing", ``, nil, 200, `placed by another`},
		{"what is no JSON", "/workflows/placing", `{`, nil, 400, `the input is not JSON`},
		{"an error", "/workflows/rejecting", `{}`, nil, 409, `"code":"aborted","message":"Sold out: no tea is left","details":[{"type":"weft.v1.Fault"`},
		{"no workflow", "/workflows/other", `{}`, nil, 404, `no workflow \"other\"`},
		{"the workflow of another namespace", "/workflows/placing", `{}`, []string{"Weft-Namespace", "other"}, 404, `no workflow`},
		{"a key that is too long", "/workflows/placing", `{}`, []string{"Idempotency-Key", strings.Repeat("k", 257)}, 400, `257 bytes`},
	} {
		res, answer := s.called(c.path, c.body, c.headers...)
		if res.StatusCode != c.status || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", c.what, res.StatusCode, answer)
		}
	}
	first, _ := s.called("/workflows/listening", `{}`, "Idempotency-Key", "k", "Prefer", "respond-async")
	second, _ := s.called("/workflows/listening", `{}`, "Idempotency-Key", "k", "Prefer", "respond-async")
	if one, two := first.Header.Get(host.RunHeader), second.Header.Get(host.RunHeader); one == "" || one != two {
		t.Errorf("the same key started %q and %q", one, two)
	}
	if _, err := url.Parse(first.Header.Get("Location")); err != nil {
		t.Error(err)
	}
	cancelled := make(chan struct{})
	go func() {
		defer close(cancelled)
		if res, answer := s.called("/workflows/listening", `{}`, "Idempotency-Key", "k"); res.StatusCode != http.StatusConflict || !strings.Contains(answer, "was cancelled: enough") {
			t.Errorf("a run that was cancelled: %d %s", res.StatusCode, answer)
		}
	}()
	s.must("/weft.v1.RunService/Cancel", `{"id":"`+first.Header.Get(host.RunHeader)+`","reason":"enough"}`)
	<-cancelled
}

func TestHandlersAndWorkflowsCallAMethodThatAWorkflowAnswers(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	s.deployAsker("shop.v1.OrderService/Place", "shop.v1.OrderService")
	for range 2 {
		if status, answer := s.ask("/handlers/ask", `{"orderId":"7"}`, "Idempotency-Key", "k"); status != http.StatusOK || answer != `{"orderId":"7","status":"placed by the first"}` {
			t.Errorf("by a handler: %d %s", status, answer)
		}
	}
	if answer := s.must("/weft.v1.RunService/ListRuns", `{"workflow":"placing"}`); strings.Count(answer, `"id"`) != 1 {
		t.Errorf("a handler with the same key started other runs: %s", answer)
	}
	s.deployAskerAs("asks-too", "shop.v1.OrderService/Place", "shop.v1.OrderService")
	for _, key := range []string{"k", strings.Repeat("k", 256)} { // the key of another handler's call, and the longest
		if status, answer := s.ask("/handlers/asks-too", `{"orderId":"9"}`, "Idempotency-Key", key); status != http.StatusOK || answer != `{"orderId":"9","status":"placed by the first"}` {
			t.Errorf("by another handler, with a key of %d bytes: %d %s", len(key), status, answer)
		}
	}
	calling := func(call string) string {
		return fmt.Sprintf("document: { dsl: '1.0.3', namespace: shop, name: calling, version: '1.0.0' }\ndo:\n  - place: { call: '%s', with: { orderId: '8' } }\n", call)
	}
	const hint = "the workflow shop/placing:1.0.0 answers it in desk:1.0.0; run that workflow: a step does by run; or call shop.v1.OrderService/Place@shop.v1.OrderService"
	if answer := s.must("/weft.v1.WorkflowService/Apply", fmt.Sprintf(`{"source":%q}`, calling("shop.v1.OrderService/Place"))); !strings.Contains(answer, hint) {
		t.Errorf("as if it were a handler: %s", answer)
	}
	s.apply("", calling("shop.v1.OrderService/Place@shop.v1.OrderService"))
	if answer := s.must("/workflows/calling", `{}`); compact(answer) != `{"orderId":"8","status":"placed by the first"}` {
		t.Errorf("by a workflow: %s", answer)
	}
}

func TestARouteWithoutAMethodIsAnsweredByARun(t *testing.T) {
	s := serve(t, host.Options{})
	const echoed = `document: { dsl: '1.0.3', namespace: shop, name: echoed, version: '1.0.0' }
do:
  - a: { set: { got: '${ . }' } }
`
	s.apply("", echoed, rejecting, listening)
	const manifest = `{"name":"till","version":"1.0.0","bind":[
		{"route":"POST /v1/checkout","workflow":"echoed"},
		{"route":"POST /v1/checkout/{id}:pay","workflow":"echoed"},
		{"route":"GET /v1/{place}/checkout/{rest=**}","workflow":"echoed:1"},
		{"route":"POST /v1/reject","workflow":"rejecting"},
		{"route":"POST /v1/begin","workflow":"listening","mode":"async"}]}`
	empty := []byte("\x00asm\x01\x00\x00\x00")
	push := func(manifest string) error {
		_, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(manifest)}, empty, 256)
		return err
	}
	if err := push(manifest); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, verb, path, body string
		headers                []string
		status                 int
		says                   string
	}{
		{"the body as it is", "POST", "/v1/checkout", `[1,9007199254740993]`, nil, 200, `{"got":[1,9007199254740993]}`},
		{"nothing", "POST", "/v1/checkout", ``, nil, 200, `{"got":null}`},
		{"a part of the path", "POST", "/v1/checkout/o%2F7:pay", `{"id":1,"total":2}`, nil, 200, `{"got":{"id":"o/7","total":2}}`},
		{"parameters", "GET", "/v1/berlin/checkout/a/b?n=1&n=2&q=x&place=other", ``, nil, 200, `{"got":{"n":["1","2"],"place":"berlin","q":"x","rest":"a/b"}}`},
		{"a version by its name", "POST", "/till@1.0.0/v1/checkout", `1`, nil, 200, `{"got":1}`},
		{"another verb", "PUT", "/v1/checkout", `1`, nil, 405, `other methods`},
		{"a list with a part of the path", "POST", "/v1/checkout/7:pay", `[1]`, nil, 400, `the body is no JSON object`},
		{"what is no JSON", "POST", "/v1/checkout", `{`, nil, 400, `the input is not JSON`},
		{"text, as pages of other sites may send it", "POST", "/v1/checkout", `{}`, []string{"Content-Type", "text/plain"}, 400, `not application/json`},
		{"nothing, as they may send it too", "POST", "/v1/checkout", ``, []string{"Origin", "https://other.example"}, 403, `a page of another site may not call this`},
		{"an error", "POST", "/v1/reject", `{}`, nil, 409, `Sold out: no tea is left`},
		{"one that does not wait", "POST", "/v1/begin", `{}`, nil, 202, `{"run":"`},
		{"a caller who does not", "POST", "/v1/checkout", `{}`, []string{"Prefer", "respond-async"}, 202, `{"run":"`},
		{"another namespace", "POST", "/v1/checkout", `{}`, []string{"Weft-Namespace", "other"}, 404, ``},
		{"a time that is none", "POST", "/v1/checkout", `{}`, []string{"Connect-Timeout-Ms", "soon"}, 400, `no number of milliseconds`},
	} {
		q, err := http.NewRequestWithContext(t.Context(), c.verb, s.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(c.headers); i += 2 {
			q.Header.Set(c.headers[i], c.headers[i+1])
		}
		if status, answer := s.do(h1(t), q); status != c.status || !strings.Contains(compact(answer), c.says) {
			t.Errorf("%s: %d %s", c.what, status, answer)
		}
	}
	if answer := compact(s.must("/weft.v1.ModuleService/GetModule", `{"name":"till"}`)); !strings.Contains(answer, `"methods":["POST /v1/checkout","POST /v1/checkout/{id}:pay"`) {
		t.Errorf("the module says %s", answer)
	}
	res, err := http.Get(s.url + "/openapi/till/1.0.0.json")
	if err != nil {
		t.Fatal(err)
	}
	answer := compact(text(t, res))
	for _, want := range []string{`"/v1/checkout/{id}:pay":{"post":`, `"x-weft-workflow":"shop/echoed:1.0.0"`, `"name":"place"`} {
		if !strings.Contains(answer, want) {
			t.Errorf("no %s in %s", want, answer)
		}
	}
	bound := func(name, bindings string) string {
		return fmt.Sprintf(`{"name":%q,"version":"2.0.0","bind":[%s]}`, name, bindings)
	}
	for what, c := range map[string]struct {
		manifest string
		code     connect.Code
		says     string
	}{
		"a route of another module":    {bound("other", `{"route":"POST /v1/checkout","workflow":"echoed"}`), connect.CodeAlreadyExists, "POST /v1/checkout of module other (to shop/echoed:1.0.0) is served by module till"},
		"a route of weft itself":       {bound("other", `{"route":"POST /hooks/{id}","workflow":"echoed"}`), connect.CodeAlreadyExists, "is served by weft itself"},
		"a route twice":                {bound("till", `{"route":"POST /v1/{a}","workflow":"echoed"},{"route":"POST /v1/{b}","workflow":"echoed"}`), connect.CodeInvalidArgument, "module till has POST /v1/* twice"},
		"a path that is none":          {bound("till", `{"route":"POST v1","workflow":"echoed"}`), connect.CodeInvalidArgument, `"POST v1" is no route; write such as POST /v1/checkout/{id}`},
		"no verb":                      {bound("till", `{"route":"/v1","workflow":"echoed"}`), connect.CodeInvalidArgument, "is no route"},
		"a name twice":                 {bound("till", `{"route":"GET /{a}/{a}","workflow":"echoed"}`), connect.CodeInvalidArgument, "is no route"},
		"a method too":                 {bound("till", `{"route":"GET /v1","method":"a.B/C","workflow":"echoed"}`), connect.CodeInvalidArgument, "has not one method or one route"},
		"neither a method nor a route": {bound("till", `{"workflow":"echoed"}`), connect.CodeInvalidArgument, "has not one method or one route"},
	} {
		if err := push(c.manifest); connect.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, host.Options{DB: s.db})
	if answer := s.must("/v1/checkout", `1`); compact(answer) != `{"got":1}` {
		t.Errorf("after a restart: %s", answer)
	}
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"till","version":"1.0.0"}`)
	if status, answer := s.ask("/v1/checkout", `1`); status != http.StatusNotFound {
		t.Errorf("of a module that has gone: %d %s", status, answer)
	}
}

func TestAStepThatWaitsForABoundMethodGoesOnAfterAShutdown(t *testing.T) {
	s := serve(t, host.Options{})
	s.deployBound("")
	s.apply("", stepping("calling", "{ call: 'shop.v1.OrderService/Wait@shop.v1.OrderService' }"))
	s.must("/weft.v1.RunService/Start", `{"workflow":"calling"}`)
	runs := func(s *served, workflow string) string {
		return s.must("/weft.v1.RunService/ListRuns", fmt.Sprintf(`{"workflow":%q}`, workflow))
	}
	wait(t, func() bool { return strings.Contains(runs(s, "listening"), "RUN_STATUS_PARKED") })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, host.Options{DB: s.db})
	s.must("/weft.v1.EventService/Publish", `{"events":[{"source":"/till","type":"order.paid","data":{"orderId":"7"}}]}`)
	var answer string
	wait(t, func() bool {
		answer = runs(s, "calling")
		return strings.Contains(answer, "RUN_STATUS_COMPLETED") || strings.Contains(answer, "RUN_STATUS_FAULTED")
	})
	if !strings.Contains(answer, "RUN_STATUS_COMPLETED") || strings.Count(runs(s, "listening"), `"id"`) != 1 {
		t.Errorf("after the restart: %s", answer)
	}
}
