package peer_test

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

	peer "github.com/weftrun/weft/sdk/peer/go"
)

// registry is weft's RegistryService as far as a lease needs it.
type registry struct {
	mu     sync.Mutex
	epoch  int64
	leases map[string]int64 // epoch by instance
	calls  []call           // in order
	down   bool
	start  time.Time
}

// call is a method and the code of its answer.
type call struct {
	at   time.Duration
	what string
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
	r.calls = append(r.calls, call{time.Since(r.start), method + " " + code})
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

func options(r *registry) peer.Options {
	return peer.Options{Server: "http://weft/", Service: "payments", Instance: "p1", URL: "http://127.0.0.1:9090",
		RetryMin: time.Second, RetryMax: time.Second, HTTP: &http.Client{Transport: r}}
}

func TestALeaseIs(t *testing.T) {
	tests := []struct {
		name   string
		events func(r *registry) // what happens to weft, in time
		last   time.Duration     // when the program ends
		want   []call            // a tenth of the time earlier at most
	}{
		{name: "registered, kept by heartbeats and given back", last: 12 * time.Second,
			want: []call{{0, "Register ok"}, {5 * time.Second, "Heartbeat ok"}, {10 * time.Second, "Heartbeat ok"}, {12 * time.Second, "Drain ok"}, {12200 * time.Millisecond, "Deregister ok"}}},
		{name: "taken anew when weft has forgotten it", last: 8 * time.Second,
			events: func(r *registry) { r.change(func() { clear(r.leases) }) },
			want:   []call{{0, "Register ok"}, {5 * time.Second, "Heartbeat not_found"}, {5 * time.Second, "Register ok"}, {8 * time.Second, "Drain ok"}, {8200 * time.Millisecond, "Deregister ok"}}},
		{name: "taken anew when another epoch has it", last: 8 * time.Second,
			events: func(r *registry) { r.change(func() { r.leases["p1"] = 77 }) },
			want:   []call{{0, "Register ok"}, {5 * time.Second, "Heartbeat fenced"}, {5 * time.Second, "Register ok"}, {8 * time.Second, "Drain ok"}, {8200 * time.Millisecond, "Deregister ok"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry()
				ctx, cancel := context.WithTimeout(t.Context(), tt.last)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- peer.Keep(ctx, options(r)) }()
				time.Sleep(time.Second)
				if tt.events != nil {
					tt.events(r)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if !slices.EqualFunc(r.calls, tt.want, func(got, want call) bool {
					return got.what == want.what && got.at <= want.at && got.at >= want.at*9/10
				}) {
					t.Errorf("calls\n got %v\nwant %v", r.calls, tt.want)
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
		go func() { done <- peer.Keep(ctx, options(r)) }()
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
	if err := peer.Keep(t.Context(), peer.Options{Server: "http://weft"}); err == nil {
		t.Error("Keep without a service: no error")
	}
}
