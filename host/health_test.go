package host_test

import (
	"database/sql"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	_ "github.com/mattn/go-sqlite3"

	"github.com/weftrun/weft/host"
	healthv1 "github.com/weftrun/weft/proto/grpc/health/v1"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
)

const (
	serving        = healthv1.HealthCheckResponse_SERVING
	notServing     = healthv1.HealthCheckResponse_NOT_SERVING
	serviceUnknown = healthv1.HealthCheckResponse_SERVICE_UNKNOWN
)

func TestHealthAnswersForTheHostAndEachService(t *testing.T) {
	s := serve(t, host.Options{})
	health := healthv1connect.NewHealthClient(s.client())
	for _, service := range []string{"", "weft.v1.ModuleService", "weft.v1.WorkflowService", "weft.v1.RunService", "weft.v1.EventService", "weft.v1.HandlerService",
		"weft.v1.RegistryService", "weft.v1.BreakerService", "weft.v1.PolicyService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} {
		if res, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}); err != nil || res.Status != serving {
			t.Errorf("%q: %v %v", service, res, err)
		}
	}
	for _, service := range []string{"weft.v1", "weft.v1.RunService/Start", "no.such.Service"} {
		if _, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}); connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("%q: %v", service, err)
		}
	}
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "no.such.Service"})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if res, err := watch.Receive(); err != nil || res.Status != serviceUnknown {
		t.Errorf("a watched service that is not there: %v %v", res, err)
	}
	if answer := s.must("/grpc.health.v1.Health/Check", `{}`); !strings.Contains(answer, `"SERVING"`) {
		t.Errorf("by curl: %s", answer)
	}
}

func TestHealthIsNotServingWhenTheStoreIsBroken(t *testing.T) {
	t.Parallel() // it waits for a lock for seconds
	s := serve(t, host.Options{})
	health := healthv1connect.NewHealthClient(s.client())
	watch, err := health.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if res, err := watch.Receive(); err != nil || res.Status != serving {
		t.Fatalf("at first: %v %v", res, err)
	}

	other, err := sql.Open("sqlite3", "file:"+s.db+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	held, err := other.Begin() // the host waits for it, and then gives up
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.ask("/weft.v1.EventService/Publish", `{"events":[{"source":"/a","type":"t"}]}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, "the database cannot be written") {
		t.Errorf("a write to a broken store: %d %s", status, answer)
	}
	if err := held.Rollback(); err != nil {
		t.Fatal(err)
	}

	if res, err := watch.Receive(); err != nil || res.Status != notServing {
		t.Errorf("watched: %v %v", res, err)
	}
	if res, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "weft.v1.RunService"}); err != nil || res.Status != notServing {
		t.Errorf("checked: %v %v", res, err)
	}
	res, err := http.Get(s.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", res.StatusCode)
	}
	watch.Close()
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("serve ended with %v", err)
	}
}
