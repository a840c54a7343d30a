package lease_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft/sdk/go/lease"
)

// registry is weft's RegistryService as far as a lease needs it.
type registry struct {
	mu     sync.Mutex
	epoch  int64
	leases map[string]int64 // epoch by instance
	calls  []string         // "at method -> code", in order
	down   bool
	start  time.Time
}

func newRegistry() *registry {
	return &registry{leases: map[string]int64{}, start: time.Now()}
}

// RoundTrip answers in process, so that the clock of a test can be a fake.
func (r *registry) RoundTrip(q *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		r.note(q, "unreachable")
		return nil, errors.New("connection refused")
	}
	w := httptest.NewRecorder()
	r.serve(w, q)
	return w.Result(), nil
}

// note runs with r.mu held.
func (r *registry) note(q *http.Request, code string) {
	method := q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]
	r.calls = append(r.calls, fmt.Sprintf("%v %s %s", time.Since(r.start).Round(100*time.Millisecond), method, code))
}

// serve runs with r.mu held.
func (r *registry) serve(w http.ResponseWriter, q *http.Request) {
	var in struct {
		Service, Instance, URL, TTL string
		Epoch                       int64 `json:",string"`
	}
	if err := json.NewDecoder(q.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	held, known := r.leases[in.Instance]
	switch {
	case strings.HasSuffix(q.URL.Path, "/Register"):
		r.epoch++
		r.leases[in.Instance] = r.epoch
		fmt.Fprintf(w, `{"epoch":"%d","heartbeatInterval":"5s"}`, r.epoch)
	case !known:
		refuse(w, http.StatusNotFound, "not_found")
		r.note(q, "not_found")
		return
	case held != in.Epoch:
		refuse(w, http.StatusBadRequest, "failed_precondition")
		r.note(q, "fenced")
		return
	case strings.HasSuffix(q.URL.Path, "/Deregister"):
		delete(r.leases, in.Instance)
		w.Write([]byte(`{}`))
	default:
		w.Write([]byte(`{}`))
	}
	r.note(q, "ok")
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"code":%q,"message":"no"}`, code)
}

// change runs fn with the registry locked.
func (r *registry) change(fn func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn()
}

func options(r *registry) lease.Options {
	return lease.Options{Server: "http://weft/", Service: "payments", Instance: "p1", URL: "http://127.0.0.1:9090",
		RetryMin: time.Second, RetryMax: time.Second, HTTP: &http.Client{Transport: r}}
}

func TestALeaseIs(t *testing.T) {
	tests := []struct {
		name   string
		events func(r *registry) // what happens to weft, in time
		last   time.Duration     // when the program ends
		want   []string
	}{
		{name: "registered, kept by heartbeats and given back", last: 12 * time.Second,
			want: []string{"0s Register ok", "5s Heartbeat ok", "10s Heartbeat ok", "12s Deregister ok"}},
		{name: "taken anew when weft has forgotten it", last: 8 * time.Second,
			events: func(r *registry) { r.change(func() { clear(r.leases) }) },
			want:   []string{"0s Register ok", "5s Heartbeat not_found", "5s Register ok", "8s Deregister ok"}},
		{name: "taken anew when another epoch has it", last: 8 * time.Second,
			events: func(r *registry) { r.change(func() { r.leases["p1"] = 77 }) },
			want:   []string{"0s Register ok", "5s Heartbeat fenced", "5s Register ok", "8s Deregister ok"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry()
				ctx, cancel := context.WithTimeout(t.Context(), tt.last)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- lease.Keep(ctx, options(r)) }()
				time.Sleep(time.Second)
				if tt.events != nil {
					tt.events(r)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(r.calls, tt.want) {
					t.Errorf("calls\n got %q\nwant %q", r.calls, tt.want)
				}
			})
		})
	}
}

func TestALeaseOutlivesWeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.down = true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- lease.Keep(ctx, options(r)) }()
		time.Sleep(10 * time.Second)
		r.change(func() {
			if n := len(r.calls); n < 10 || n > 21 {
				t.Errorf("%d tries in 10 s of an outage, want one every 0.5 to 1 s", n)
			}
			r.down = false
		})
		time.Sleep(2 * time.Second)
		r.change(func() {
			if len(r.leases) != 1 {
				t.Error("not registered 2 s after weft came up")
			}
			r.down = true
		})
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Keep at the end: %v, want nil though weft is away", err)
		}
	})
}

func TestKeepRefusesOptionsThatNameNobody(t *testing.T) {
	if err := lease.Keep(t.Context(), lease.Options{Server: "http://weft"}); err == nil {
		t.Error("Keep without a service: no error")
	}
}
