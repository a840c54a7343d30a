package host_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func TestANamespaceSeesNothingOfAnother(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploy("a")
	if _, err := s.push(s.client(), &weftv1.PushHeader{Namespace: "a", Manifest: sayer("1.0.0"), Descriptors: said(t, sayProto)}, guest(), 256); err != nil {
		t.Fatal(err)
	}
	s.must("/weft.v1.WorkflowService/Apply", `{"namespace":"a","source":`+quoted(nap)+`}`)
	run := field(t, s.must("/weft.v1.RunService/Start", `{"namespace":"a","workflow":"nap","idempotencyKey":"k"}`), "id")
	epoch := field(t, s.must("/weft.v1.RegistryService/Register", `{"namespace":"a","service":"peer","instance":"one","url":"http://127.0.0.1:1"}`), "epoch")
	s.must("/weft.v1.BreakerService/Open", `{"namespace":"a","peer":"peer"}`)
	s.must("/weft.v1.HookService/ApplyHooks", `{"namespace":"a","source":"hooks: [{name: till, scheme: github, secret: s}]"}`)
	s.must("/weft.v1.EventService/Publish", `{"namespace":"a","events":[{"source":"/a","type":"secret"}]}`)

	const missing, empty, own = "missing", "empty", "own" // not found, nothing in it, or a thing of its own
	asked := map[string]bool{}
	for _, c := range []struct{ method, body, sees string }{
		{"ModuleService/GetModule", `"name":"guest"`, missing},
		{"ModuleService/ListModules", ``, empty},
		{"ModuleService/SetGrants", `"name":"guest","version":"1.0.0","requested":true`, missing},
		{"ModuleService/Promote", `"name":"guest","version":"1.0.0"`, missing},
		{"ModuleService/DeleteModule", `"name":"guest","version":"1.0.0"`, missing},
		{"ServiceService/ListServices", ``, empty},
		{"ServiceService/GetService", `"name":"say.v1.SayService"`, missing},
		{"HandlerService/ListHandlers", ``, empty},
		{"HandlerService/Call", `"handler":"echo"`, missing},
		{"WorkflowService/GetWorkflow", `"name":"test/nap"`, missing},
		{"WorkflowService/ListWorkflows", ``, empty},
		{"WorkflowService/Apply", `"source":` + quoted(echoing), "no handler"},
		{"WorkflowService/Validate", `"source":"do: []"`, own},
		{"RunService/Start", `"workflow":"nap","idempotencyKey":"k"`, missing},
		{"RunService/GetRun", `"id":"` + run + `"`, missing},
		{"RunService/Watch", ``, own}, // below
		{"RunService/ListRuns", `"workflow":"nap"`, empty},
		{"RunService/Pause", `"id":"` + run + `"`, missing},
		{"RunService/Resume", `"id":"` + run + `"`, missing},
		{"RunService/Rerun", `"id":"` + run + `"`, missing},
		{"EventService/ListDeadLetters", ``, empty},
		{"EventService/ReplayDeadLetter", `"group":"g","offset":"1"`, missing},
		{"EventService/DropDeadLetter", `"group":"g","offset":"1"`, missing},
		{"RunService/Cancel", `"id":"` + run + `"`, missing},
		{"RegistryService/Lookup", `"service":"peer"`, empty},
		{"RegistryService/ListInstances", ``, empty},
		{"RegistryService/Watch", ``, own}, // below
		{"RegistryService/Heartbeat", `"service":"peer","instance":"one","epoch":"` + epoch + `"`, missing},
		{"RegistryService/Drain", `"service":"peer","instance":"one","epoch":"` + epoch + `"`, missing},
		{"RegistryService/Deregister", `"service":"peer","instance":"one","epoch":"` + epoch + `"`, missing},
		{"BreakerService/ListBreakers", ``, empty},
		{"BreakerService/Open", `"peer":"peer"`, missing},
		{"BreakerService/Close", `"peer":"peer"`, missing},
		{"BreakerService/Reset", `"peer":"peer"`, missing},
		{"BreakerService/SetPolicy", `"peer":"peer","failures":1`, own},
		{"HookService/ListHooks", ``, empty},
		{"HookService/GetHook", `"name":"till"`, missing},
		{"HookService/DeleteHook", `"name":"till"`, missing},
		{"HookService/ApplyHooks", `"source":"hooks: [{name: till, scheme: stripe, secret: s}]"`, own},
		{"PolicyService/GetPolicies", ``, `{"source":"policies:\n  - peer: \"peer\"\n    breaker:\n      failures: 1\n"}`},
		{"PolicyService/ApplyPolicies", `"source":"policies: [{peer: peer, timeout: PT1S}]"`, own},
		{"EventService/Publish", `"events":[{"source":"/b","type":"public"}]`, own},
		{"EventService/Tail", ``, own},    // below
		{"BreakerService/Watch", ``, own}, // below
		{"RegistryService/Register", `"service":"peer","instance":"one","url":"http://127.0.0.1:2"`, own},
	} {
		asked["weft.v1."+c.method] = true
		if strings.HasSuffix(c.method, "/Watch") || strings.HasSuffix(c.method, "/Tail") {
			continue
		}
		body := `{"namespace":"b"}`
		if c.body != "" {
			body = `{"namespace":"b",` + c.body + `}`
		}
		status, answer := s.ask("/weft.v1."+c.method, body)
		var ok bool
		switch c.sees {
		case missing:
			ok = status == http.StatusNotFound && strings.Contains(answer, "not_found")
		case empty:
			ok = status == http.StatusOK && answer == "{}"
		case own:
			ok = status == http.StatusOK
		default:
			ok = strings.Contains(answer, c.sees)
		}
		if !ok {
			t.Errorf("%s %s: %d %s", c.method, body, status, answer)
		}
	}
	services(func(d protoreflect.ServiceDescriptor) {
		for i := range d.Methods().Len() {
			m := d.Methods().Get(i)
			if name := fmt.Sprintf("%s/%s", d.FullName(), m.Name()); m.Input().Fields().ByName("namespace") != nil && !asked[name] {
				t.Errorf("%s takes a namespace and is not asked", name)
			}
		}
	})

	watch, err := weftv1connect.NewRunServiceClient(s.client()).Watch(t.Context(), &weftv1.WatchRequest{Namespace: "b", Id: run})
	if err == nil {
		_, err = watch.Receive()
		watch.Close()
	}
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a watch: %v", err)
	}
	tail, err := weftv1connect.NewEventServiceClient(s.client()).Tail(t.Context(), &weftv1.TailRequest{Namespace: "b", All: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if res, err := tail.Receive(); err != nil || res.Event.Type != "public" {
		t.Errorf("the oldest event: %v %v", res, err)
	}
	peers, err := weftv1connect.NewRegistryServiceClient(s.client()).Watch(t.Context(), &weftv1.RegistryServiceWatchRequest{Namespace: "b", Service: "peer"})
	if err != nil {
		t.Fatal(err)
	}
	defer peers.Close()
	if res, err := peers.Receive(); err != nil || len(res.Instances) != 1 || res.Instances[0].Url != "http://127.0.0.1:2" {
		t.Errorf("the peers: %v %v", res, err)
	}
	breakers, err := weftv1connect.NewBreakerServiceClient(s.client()).Watch(t.Context(), &weftv1.BreakerServiceWatchRequest{Namespace: "b"})
	if err != nil {
		t.Fatal(err)
	}
	defer breakers.Close()
	if res, err := breakers.Receive(); err != nil || len(res.Breakers) != 0 {
		t.Errorf("the breakers: %v %v", res, err)
	}
	if status, answer := s.ask("/handlers/echo", "", "Weft-Namespace", "b"); status != http.StatusNotFound {
		t.Errorf("a plain call: %d %s", status, answer)
	}

	s.must("/weft.v1.RegistryService/Heartbeat", `{"namespace":"a","service":"peer","instance":"one","epoch":"`+epoch+`"}`)
	for method, says := range map[string]string{"RunService/GetRun": "RUN_STATUS_PARKED", "BreakerService/ListBreakers": `"state":"open"`, "RegistryService/ListInstances": "127.0.0.1:1"} {
		if answer := compact(s.must("/weft.v1."+method, `{"namespace":"a","id":"`+run+`"}`)); !strings.Contains(answer, says) {
			t.Errorf("a is not what it was: %s %s", method, answer)
		}
	}
}

func TestPagesOfRuns(t *testing.T) {
	s := serve(t, host.Options{})
	s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(nap)+`}`)
	var newest []string
	for range 5 {
		newest = append([]string{field(t, s.must("/weft.v1.RunService/Start", `{"workflow":"nap"}`), "id")}, newest...)
	}
	type page struct {
		Runs          []struct{ ID string }
		NextPageToken string
	}
	list := func(body string) (p page) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.must("/weft.v1.RunService/ListRuns", body)), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var seen []string
	for token, pages := "", 0; ; pages++ {
		p := list(`{"pageSize":2,"pageToken":"` + token + `"}`)
		for _, r := range p.Runs {
			seen = append(seen, r.ID)
		}
		if token = p.NextPageToken; token == "" || pages == 3 {
			break
		}
	}
	if strings.Join(seen, " ") != strings.Join(newest, " ") {
		t.Errorf("in pages of two: %v and not %v", seen, newest)
	}
	for name, c := range map[string]struct {
		body string
		runs int
	}{
		"a page size of zero":             {`{"pageSize":0}`, 5},
		"a page that all fit in exactly":  {`{"pageSize":5}`, 5},
		"a page size that is too large":   {`{"pageSize":2147483647}`, 5},
		"after the oldest":                {`{"pageToken":"` + newest[4] + `"}`, 0},
		"a workflow that nobody has":      {`{"workflow":"none"}`, 0},
		"the same status again and again": {`{"statuses":[2,2,2]}`, 5},
		"another status":                  {`{"statuses":["RUN_STATUS_FAULTED"]}`, 0},
	} {
		if p := list(c.body); len(p.Runs) != c.runs || p.NextPageToken != "" {
			t.Errorf("%s: %d runs, then %q", name, len(p.Runs), p.NextPageToken)
		}
	}
	for name, c := range map[string]struct{ body, says string }{
		"a page size below zero": {`{"pageSize":-1}`, "page size -1 is below zero"},
		"no page token":          {`{"pageToken":"next"}`, "is no page token"},
		"one in small letters":   {`{"pageToken":"` + strings.ToLower(newest[0]) + `"}`, "is no page token"},
		"no status":              {`{"statuses":[0]}`, "0 is no status"},
		"a status of the future": {`{"statuses":[99]}`, "99 is no status"},
	} {
		if status, answer := s.ask("/weft.v1.RunService/ListRuns", c.body); status != http.StatusBadRequest || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	for _, method := range []string{"GetRun", "Cancel", "Pause", "Resume"} {
		for _, id := range []string{"", "none", "01ARZ3NDEKTSV4RRFFQ69G5FAV"} {
			if status, answer := s.ask("/weft.v1.RunService/"+method, `{"id":"`+id+`"}`); status != http.StatusNotFound || !strings.Contains(answer, "no run") {
				t.Errorf("%s of %q: %d %s", method, id, status, answer)
			}
		}
	}
}

// One namespace has as many calls in progress as there is memory for; another has its
// calls answered and its upload checked.
func TestANamespaceThatTakesAllMemoryIsRefusedAlone(t *testing.T) {
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-held
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(peer.Close)
	s := serve(t, host.Options{GuestMiB: map[string]int64{"": 16 * 3}}) // of 16 guests
	s.deploy("greedy")
	s.must("/weft.v1.RegistryService/Register", `{"namespace":"greedy","service":"peer","instance":"one","url":"`+peer.URL+`"}`)
	const calls, taken = 30, 14 // seven eighths
	type answer struct {
		status int
		text   string
	}
	answers := make(chan answer, calls)
	var all sync.WaitGroup
	for range calls {
		all.Go(func() {
			status, text := s.ask("/handlers/ask", `{}`, "Weft-Namespace", "greedy")
			answers <- answer{status, text}
		})
	}
	for range calls - taken {
		if a := <-answers; a.status != http.StatusTooManyRequests || !strings.Contains(a.text, "namespace greedy has so much of the 48 MiB of all guests that what is left is for others") || !strings.Contains(a.text, "--guest-memory-mib N") {
			t.Errorf("a call too many: %d %s", a.status, a.text)
		}
	}
	s.deploy("quiet")
	if status, text := s.ask("/handlers/echo", `{}`, "Weft-Namespace", "quiet"); status != http.StatusOK {
		t.Errorf("a call of another: %d %s", status, text)
	}
	text, _ := s.scrape()
	for _, line := range []string{`weft_share_used{namespace="greedy",of="memory_bytes"} 4.4040192e+07`, `weft_share_used{namespace="quiet",of="memory_bytes"} 3.145728e+06`,
		`weft_share_refused_total{namespace="greedy",of="memory_bytes"} 16`, `weft_share_refused_total{namespace="quiet",of="memory_bytes"} 0`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	release()
	all.Wait()
	for range taken {
		if a := <-answers; a.status != http.StatusOK {
			t.Errorf("a call that had its place: %d %s", a.status, a.text)
		}
	}
}
