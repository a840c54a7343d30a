package host_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/grpcreflect/v2"

	"github.com/weftrun/weft/host"
	healthv1 "github.com/weftrun/weft/proto/grpc/health/v1"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	"github.com/weftrun/weft/store"
)

// last reads a stream to its end.
func last[T any](receive func() (T, error)) (messages []T, err error) {
	for {
		m, err := receive()
		if err != nil {
			return messages, err
		}
		messages = append(messages, m)
	}
}

func TestShutdownLetsCallsEndAndEndsStreams(t *testing.T) {
	asked, release := make(chan struct{}), make(chan struct{})
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-release
		_, _ = io.Copy(w, r.Body)
	}))
	defer peer.Close()
	s := serve(t, host.Options{})
	s.deploy("")
	s.must("/weft.v1.RegistryService/Register", `{"service":"peer","instance":"one","url":"`+peer.URL+`"}`)
	s.must("/weft.v1.WorkflowService/Apply", `{"source":`+quoted(nap)+`}`)
	run := field(t, s.must("/weft.v1.RunService/Start", `{"workflow":"nap"}`), "id")

	c := s.client()
	watch, err := weftv1connect.NewRunServiceClient(c).Watch(t.Context(), &weftv1.WatchRequest{Id: run})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := weftv1connect.NewEventServiceClient(c).Tail(t.Context(), &weftv1.TailRequest{})
	if err != nil {
		t.Fatal(err)
	}
	peers, err := weftv1connect.NewRegistryServiceClient(c).Watch(t.Context(), &weftv1.RegistryServiceWatchRequest{Service: "peer"})
	if err != nil {
		t.Fatal(err)
	}
	health, err := healthv1connect.NewHealthClient(c).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := health.Receive(); err != nil || first.Status != serving {
		t.Fatal(first, err)
	}
	reflection := grpcreflect.NewClient(c).NewStream(t.Context()) // and asks nothing more
	if _, err := reflection.ListServices(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := weftv1connect.NewRunServiceClient(s.client()).Start(t.Context(), &weftv1.StartRequest{Workflow: "nap", Wait: true})
		waited <- err
	}()
	answered := make(chan string, 1)
	go func() {
		res, err := http.Post(s.url+"/handlers/ask", "application/json", strings.NewReader(`{"still":"here"}`))
		if err != nil {
			answered <- err.Error()
			return
		}
		answered <- text(t, res)
	}()
	<-asked
	for len(waitedRuns(t, s)) < 2 { // the one that is waited for has begun
		time.Sleep(5 * time.Millisecond)
	}

	begun := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	if statuses, err := last(health.Receive); connect.CodeOf(err) != connect.CodeUnavailable || len(statuses) != 1 || statuses[0].Status != notServing {
		t.Errorf("health ends with %v, %v", statuses, err)
	}
	_, refused := weftv1connect.NewRunServiceClient(c).ListRuns(t.Context(), &weftv1.ListRunsRequest{})
	if refused == nil || connect.CodeOf(refused) != connect.CodeUnavailable && time.Since(begun) < 250*time.Millisecond { // the port is closed then
		t.Errorf("a new call: %v", refused)
	}
	if res, err := http.Post(s.url+"/handlers/echo", "text/plain", strings.NewReader("x")); err == nil {
		if res.Body.Close(); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a new plain call: %s", res.Status)
		}
	}
	if _, err := last(watch.Receive); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a watched run ends with %v", err)
	}
	if _, err := last(tail.Receive); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a tail ends with %v", err)
	}
	if _, err := last(peers.Receive); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("watched peers end with %v", err)
	}
	if err := <-waited; connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "goes on after the restart") {
		t.Errorf("a start that waits for its run ends with %v", err)
	}
	select {
	case err := <-stopped:
		t.Errorf("ended before the call in flight: %v", err)
	default:
	}
	close(release)
	if got := <-answered; got != `{"still":"here"}` {
		t.Errorf("the call in flight: %s", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > host.DrainMax/2 {
		t.Errorf("it took %s", took)
	}

	again := serve(t, host.Options{DB: s.db})
	if answer := again.must("/weft.v1.RunService/GetRun", `{"id":"`+run+`"}`); !strings.Contains(answer, "RUN_STATUS_PARKED") {
		t.Errorf("after the restart: %s", answer)
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(again.log.String(), "modules are loaded"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the module was not loaded before somebody called it")
		}
	}
}

func waitedRuns(t *testing.T, s *served) []*weftv1.Run {
	t.Helper()
	res, err := weftv1connect.NewRunServiceClient(s.client()).ListRuns(t.Context(), &weftv1.ListRunsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Runs
}

func TestAHostIsAPeerWhileItServes(t *testing.T) {
	s := serve(t, host.Options{Zone: "north"})
	const list = `{"namespace":"weft"}`
	if answer := compact(s.must("/weft.v1.RegistryService/ListInstances", list)); !strings.Contains(answer, `"service":"host"`) || !strings.Contains(answer, s.url) || !strings.Contains(answer, `"zone":"north"`) {
		t.Errorf("it is registered as %s", answer)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{Path: s.db})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Instances(t.Context(), func(i store.Instance) { t.Errorf("after its end %+v is left", i) }); err != nil {
		t.Fatal(err)
	}
	var kinds []int
	if _, err := db.InstanceEvents(t.Context(), "weft", "host", 0, 100, 100, func(e store.InstanceEvent) { kinds = append(kinds, e.Kind) }); err != nil || !slices.Equal(kinds, []int{1, 2, 3}) {
		t.Errorf("it was not registered, draining and gone in that order: %v %v", kinds, err)
	}
}

func TestAHostThatIsClosedTwiceIsClosed(t *testing.T) {
	h, err := host.Open(t.Context(), host.Options{DB: t.TempDir() + "/weft.db", CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Close(context.Background()), h.Close(context.Background())); err != nil {
		t.Error(err)
	}
}

func TestAHostThatNobodyIsConnectedToEndsAtOnce(t *testing.T) {
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); { // one that has the processor in time is enough
		s := serve(t, host.Options{})
		begun := time.Now()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		if time.Since(begun) < 200*time.Millisecond {
			return
		}
	}
	t.Error("for five minutes each host took its time")
}
