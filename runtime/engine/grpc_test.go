package engine_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host/peers"
	healthv1 "github.com/weftrun/weft/proto/grpc/health/v1"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

const healthProto = `syntax = "proto3";
package grpc.health.v1;
import "google/protobuf/empty.proto";
service Health {
  rpc Check(HealthCheckRequest) returns (HealthCheckResponse);
  rpc Watch(HealthCheckRequest) returns (stream HealthCheckResponse);
  rpc Gone(google.protobuf.Empty) returns (google.protobuf.Empty);
}
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; } ServingStatus status = 1; }
`

// clinic is a real gRPC server, with its description at /health.proto.
type clinic struct {
	healthv1connect.UnimplementedHealthHandler
	server *httptest.Server

	mu      sync.Mutex
	proto   string        // guarded by mu
	headers []http.Header // guarded by mu: of calls
	asked   []string      // guarded by mu: the services that Check was asked for
}

func (c *clinic) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	c.mu.Lock()
	c.asked = append(c.asked, r.Service)
	c.mu.Unlock()
	if strings.HasPrefix(r.Service, "echo ") {
		return nil, connect.NewError(connect.CodeNotFound, "no service "+r.Service)
	}
	switch r.Service {
	case "lost":
		return nil, connect.NewError(connect.CodeNotFound, "no service 100% lost\n")
	case "secret":
		return nil, connect.NewError(connect.CodePermissionDenied, "not for you")
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func newClinic(t *testing.T) *clinic {
	c := &clinic{proto: healthProto}
	server := connect.NewServer()
	healthv1connect.RegisterHealthHandler(server, c)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	mux.HandleFunc("GET /health.proto", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.proto == "" {
			http.Error(w, "gone", http.StatusGone)
			return
		}
		_, _ = w.Write([]byte(c.proto))
	})
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			c.mu.Lock()
			c.headers = append(c.headers, r.Header.Clone())
			c.mu.Unlock()
		}
		mux.ServeHTTP(w, r)
	}))
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	c.server.Config.Protocols = &both
	c.server.Start()
	t.Cleanup(c.server.Close)
	return c
}

// task is a call of a method of the clinic.
func (c *clinic) task(method, rest string) string {
	host, port, _ := net.SplitHostPort(c.server.Listener.Addr().String())
	return fmt.Sprintf("{ call: grpc, with: { proto: { endpoint: 'http://%s/health.proto' }, service: { name: grpc.health.v1.Health, host: %s, port: %s%s }, method: %s",
		c.server.Listener.Addr(), host, port, rest, method)
}

func withGate(t *testing.T, o peers.Options) *house {
	h := newHouse(t)
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "peers.db")})
	if err != nil {
		t.Fatal(err)
	}
	o.RetryMin, o.RetryMax = time.Millisecond, 2*time.Millisecond
	gate, err := peers.Open(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gate.Close(); db.Close() })
	h.close()
	h.out = gate
	h.open()
	return h
}

func TestAGRPCServiceIsCalled(t *testing.T) {
	c := newClinic(t)
	h := withGate(t, peers.Options{HTTPAllow: []string{c.server.Listener.Addr().String()}, Attempt: 3 * time.Second, Total: 3 * time.Second})
	cases := []struct{ name, task, output, kind, detail string }{
		{"and answers", c.task("Check", "") + ", arguments: { service: '${ .service }' } } }", `{"status":"SERVING"}`, "", ""},
		{"without arguments", c.task("Check", "") + "} }", `{"status":"SERVING"}`, "", ""},
		{"and says what is wrong", c.task("Check", "") + ", arguments: { service: lost } } }", "", "communication 404", "no service 100% lost\n"},
		{"and lets nobody in", c.task("Check", "") + ", arguments: { service: secret } } }", "", "authorization 403", "not for you"},
		{"and is too slow", c.task("Check", "") + ", arguments: { service: slow } } }", "", "timeout 408", ""},
		{"and does not have what it says", c.task("Gone", "") + "} }", "", "runtime 501", ""},
		{"by a stream", c.task("Watch", "") + "} }", "", "validation 400", "is a stream"},
		{"by a method that is none", c.task("Chek", "") + "} }", "", "validation 400", "no method Chek, only Check, Gone, Watch"},
		{"with an argument that is none", c.task("Check", "") + ", arguments: { servise: x } } }", "", "validation 400", "servise"},
	}
	for i, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			name := fmt.Sprint("grpc-", i)
			h.deploy(name, "do:\n  - ask: "+k.task+"\n")
			run := h.wait(h.start(name, `{"service":"x"}`).ID)
			if k.kind == "" {
				if string(run.Output) != k.output {
					t.Errorf("%s %s %v", run.Status, run.Output, run.Fault)
				}
				return
			}
			kind, status, _ := strings.Cut(k.kind, " ")
			if f := run.Fault; f == nil || !strings.HasSuffix(f.Type, "/"+kind) || fmt.Sprint(f.Status) != status || !strings.Contains(f.Detail, k.detail) || f.Instance != "/do/0/ask" {
				t.Errorf("%s %+v", run.Status, f)
			}
		})
	}
}

func TestAGRPCCallSaysWhoCallsAndHowLong(t *testing.T) {
	c := newClinic(t)
	h := withGate(t, peers.Options{HTTPAllow: []string{c.server.Listener.Addr().String()}})
	h.deploy("who", "do:\n  - ask: "+c.task("Check", ", authentication: { bearer: { token: t0k3n } }")+"} }\n")
	id := h.start("who", "{}").ID
	if run := h.wait(id); run.Status != engine.Completed {
		t.Fatal(run.Fault)
	}
	got := c.headers[0]
	if got.Get("Authorization") != "Bearer t0k3n" || got.Get("Idempotency-Key") != id+"/1/1/1" || got.Get("Grpc-Timeout") == "" || got.Get("Te") != "trailers" {
		t.Errorf("it was sent %v", got)
	}
}

func TestAGRPCServiceThatIsDownParksTheStep(t *testing.T) {
	c := newClinic(t)
	address := c.server.Listener.Addr().String()
	const port = 1 // nobody is there
	h := withGate(t, peers.Options{HTTPAllow: []string{address, fmt.Sprint("127.0.0.1:", port)}})
	h.deploy("down", fmt.Sprintf(`do:
  - again:
      try: [ { ask: { call: grpc, with: { proto: { endpoint: 'http://%s/health.proto' }, service: { name: grpc.health.v1.Health, host: 127.0.0.1, port: %d }, method: Check } } } ]
      catch: { errors: { with: { status: 503 } }, retry: { limit: { attempt: { count: 20 } } } }
`, address, port))
	run := h.until(h.start("down", "{}").ID, engine.Parked)
	if !strings.Contains(run.Reason, fmt.Sprint(port)) || !strings.Contains(run.Reason, "connection refused") {
		t.Errorf("parked for %q", run.Reason)
	}
	c.mu.Lock()
	c.proto = "" // what describes the service is known by now
	c.mu.Unlock()
	h.restart()
	run = h.until(run.ID, engine.Parked)
	if !strings.Contains(run.Reason, "connection refused") {
		t.Errorf("after a restart parked for %q", run.Reason)
	}
}
