package peers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	healthv1 "github.com/weftrun/weft/proto/grpc/health/v1"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	"github.com/weftrun/weft/store"
)

// views watches a service from a revision; the views come through the channel.
func (w *world) views(revision int64) (<-chan peers.View, context.CancelFunc) {
	ctx, stop := context.WithCancel(w.t.Context())
	views := make(chan peers.View)
	go func() {
		_ = w.Watch(ctx, ns, "bank", revision, func(v peers.View) error {
			select {
			case views <- v:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return views, stop
}

// told is a view in a few words.
func told(v peers.View) string {
	var s []string
	for _, c := range v.Changes {
		s = append(s, c.Instance+" "+c.Kind.String())
	}
	text := fmt.Sprintf("%d live; %s", len(v.Instances), strings.Join(s, ", "))
	if v.Reset {
		text += " (reset)"
	}
	return text
}

func (w *world) deregister(id string) {
	w.t.Helper()
	live, _ := w.Lookup(ns, "bank")
	for _, i := range live {
		if i.ID == id {
			if err := w.Deregister(w.t.Context(), ns, "bank", id, i.Epoch); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func TestAWatchGoesOnFromARevision(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		views, stop := w.views(0)
		first := <-views
		if got := told(first); got != "1 live; " {
			t.Fatal(got)
		}
		w.register("two")
		second := <-views
		if got := told(second); got != "2 live; two registered" {
			t.Fatal(got)
		}
		stop()
		w.deregister("one")
		w.register("three")
		w.close()
		w.open() // over a restart too
		views, stop = w.views(second.Revision)
		third := <-views
		if got := told(third); got != "2 live; one deregistered, three registered" {
			t.Fatal(got)
		}
		stop()
		views, stop = w.views(third.Revision)
		defer stop()
		synctest.Wait()
		select {
		case v := <-views:
			t.Fatalf("nothing has changed, and it is told %s", told(v))
		default:
		}
		if _, err := w.Register(t.Context(), peers.Instance{Namespace: ns, Service: "other", ID: "one", URL: "http://one"}); err != nil {
			t.Fatal(err)
		}
		w.deregister("two")
		if got := told(<-views); got != "1 live; two deregistered" {
			t.Fatal(got)
		}
	})
}

func TestAWatchThatCannotTellAllSaysSo(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one", "two")
		views, stop := w.views(0)
		defer stop()
		at := (<-views).Revision
		w.register("one") // whose view it holds on to while the rest happens
		synctest.Wait()
		for range 1030 {
			w.register("one")
		}
		if got := told(<-views); got != "2 live; one registered" {
			t.Fatal(got)
		}
		if v := <-views; !v.Reset || len(v.Changes) != 6 || v.Revision != at+1031 {
			t.Fatalf("%d changes up to %d, reset %v", len(v.Changes), v.Revision-at, v.Reset)
		}
		again, end := w.views(at)
		if got := <-again; !got.Reset || len(got.Instances) != 2 {
			t.Errorf("more changes than are kept for one: %v", told(got))
		}
		end()
		time.Sleep(time.Hour)
		if err := w.db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.TrimInstanceEvents(time.Now().UnixMilli(), 100_000)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		again, end = w.views(at + 1020)
		defer end()
		if got := <-again; !got.Reset || len(got.Instances) != 2 {
			t.Errorf("changes that retention has removed: %v", told(got))
		}
	})
}

func TestADrainingInstanceTakesNoCalls(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one", "two")
		calls := map[string]int{}
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) { calls[q.URL.Host]++; return answer(200, `{}`) }))
		live, _ := w.Lookup(ns, "bank")
		if err := w.Drain(t.Context(), ns, "bank", "one", live[0].Epoch); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if err := w.call(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if calls["one"] != 0 || calls["two"] != 20 {
			t.Errorf("calls: %v", calls)
		}
		w.close()
		w.open()
		w.SetTransport(network(well))
		if err := w.Heartbeat(ns, "bank", "one", live[0].Epoch); err != nil {
			t.Errorf("it keeps its lease: %v", err)
		}
		w.deregister("two")
		var open *weft.OpenError
		if err := w.call(t.Context()); !errors.As(err, &open) || open.Reason != "all are draining" {
			t.Errorf("after a restart: %v", err)
		}
		w.register("one")
		if err := w.call(t.Context()); err != nil {
			t.Errorf("registered again: %v", err)
		}
	})
}

func TestAnInstanceWhoseHealthCheckFailsGetsNoCalls(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var sick atomic.Bool
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) {
			if q.URL.Path == "/up" && sick.Load() {
				return answer(503, ``)
			}
			return answer(200, `{}`)
		}))
		if _, err := w.Register(t.Context(), peers.Instance{Namespace: ns, Service: "bank", ID: "one", URL: "http://one", Health: "/up", TTL: time.Hour}); err != nil {
			t.Fatal(err)
		}
		sick.Store(true)
		time.Sleep(11 * time.Second)
		if err := w.call(t.Context()); err != nil {
			t.Fatalf("two failed checks are not enough: %v", err)
		}
		time.Sleep(5 * time.Second)
		var open *weft.OpenError
		if err := w.call(t.Context()); !errors.As(err, &open) || open.Reason != "3 health checks failed: status 503" || !open.Until.IsZero() {
			t.Fatal(err)
		}
		sick.Store(false)
		time.Sleep(5 * time.Second)
		if err := w.call(t.Context()); err != nil {
			t.Errorf("it is well again: %v", err)
		}
	})
}

// checked answers gRPC's health check.
type checked struct {
	healthv1connect.UnimplementedHealthHandler
	sick atomic.Bool
	asks chan string
}

func (c *checked) Check(_ context.Context, q *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	select {
	case c.asks <- q.Service:
	default:
	}
	if c.sick.Load() {
		return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func TestHealthIsAskedByGRPC(t *testing.T) {
	c := &checked{asks: make(chan string, 1)}
	server := connect.NewServer()
	healthv1connect.RegisterHealthHandler(server, c)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = protocols
	s.Start()
	defer s.Close()
	g := gate(t, peers.Options{})
	i := peers.Instance{Service: "bank", ID: "one", URL: s.URL, Health: "grpc:bank.v1.Bank"}
	if err := g.Check(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	if got := <-c.asks; got != "bank.v1.Bank" {
		t.Errorf("asked for %q", got)
	}
	c.sick.Store(true)
	if err := g.Check(t.Context(), i); err == nil || err.Error() != "it does not serve" {
		t.Error(err)
	}
	i.Health = ""
	if err := g.Check(t.Context(), i); err != nil {
		t.Errorf("without a check a connection is enough: %v", err)
	}
	i.URL = "http://127.0.0.1:1"
	for _, i.Health = range []string{"", "grpc", "/healthz"} {
		if err := g.Check(t.Context(), i); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%q of nobody: %v", i.Health, err)
		}
	}
}

func TestWhatIsNoInstanceIsRefused(t *testing.T) {
	g := gate(t, peers.Options{})
	for name, i := range map[string]peers.Instance{
		"no name":              {ID: "one", URL: "http://h"},
		"a name with a slash":  {Service: "a/b", ID: "one", URL: "http://h"},
		"no http":              {Service: "a", ID: "one", URL: "ftp://h"},
		"a lease of a moment":  {Service: "a", ID: "one", URL: "http://h", TTL: time.Millisecond},
		"a lease of a day":     {Service: "a", ID: "one", URL: "http://h", TTL: 24 * time.Hour},
		"a weight below one":   {Service: "a", ID: "one", URL: "http://h", Weight: -1},
		"a weight over all":    {Service: "a", ID: "one", URL: "http://h", Weight: 1001},
		"a zone with a space":  {Service: "a", ID: "one", URL: "http://h", Zone: "a b"},
		"a check that is none": {Service: "a", ID: "one", URL: "http://h", Health: "ping"},
	} {
		if _, err := g.Register(t.Context(), i); weft.CodeOf(err) != weft.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
