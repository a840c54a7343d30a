package peers_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/store"
)

const ns = "default"

func open(t *testing.T, path string, o peers.Options) *peers.Gate {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	g, err := peers.Open(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(); db.Close() })
	return g
}

// gate is one that is soon tired of waiting between attempts, and not of an attempt.
func gate(t *testing.T, o peers.Options) *peers.Gate {
	o.RetryMin, o.RetryMax = time.Millisecond, 2*time.Millisecond
	o.Attempt, o.Total = time.Minute, 2*time.Minute
	return open(t, filepath.Join(t.TempDir(), "weft.db"), o)
}

func register(t *testing.T, g *peers.Gate, url string) peers.Instance {
	t.Helper()
	i, err := g.Register(t.Context(), peers.Instance{Namespace: ns, Service: "bank", ID: "one", URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func charge(g *peers.Gate) (weft.Response, error) {
	return g.Do(context.Background(), weft.Request{Namespace: ns, Caller: "test", Peer: "bank", Procedure: "/bank.v1.Bank/Charge", IdempotencyKey: "k", Body: []byte(`{}`)})
}

func TestACallIsRetriedWithTheSameKey(t *testing.T) {
	var calls atomic.Int64
	keys := make(chan string, 3)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		if calls.Add(1) < 3 {
			w.WriteHeader(503)
			return
		}
		_, _ = w.Write([]byte(`{"ok":true}`))
	}))
	defer s.Close()
	g := gate(t, peers.Options{})
	register(t, g, s.URL)
	res, err := charge(g)
	if err != nil || string(res.Body) != `{"ok":true}` || calls.Load() != 3 {
		t.Fatal(string(res.Body), err, calls.Load())
	}
	for range 3 {
		if k := <-keys; k != "k" {
			t.Errorf("key %q", k)
		}
	}
}

func TestAnApplicationErrorIsNeitherRetriedNorAFailure(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"code":"failed_precondition","message":"no money"}`))
	}))
	defer s.Close()
	g := gate(t, peers.Options{})
	register(t, g, s.URL)
	for range 10 {
		if _, err := charge(g); weft.CodeOf(err) != weft.FailedPrecondition || err.Error() != "no money" {
			t.Fatal(err)
		}
	}
	if calls.Load() != 10 || g.Breakers(ns)[0].State != "closed" {
		t.Errorf("%d calls, breaker %s", calls.Load(), g.Breakers(ns)[0].State)
	}
}

func TestADeadPeerOpensItsBreakerAndWakesWhoWaitsWhenItIsBack(t *testing.T) {
	woken := make(chan string, 10)
	g := gate(t, peers.Options{OnAvailable: func(_, peer string) { woken <- peer }})
	if err := g.SetBreaker(t.Context(), ns, "bank", 3, 2*time.Second); err != nil {
		t.Fatal(err)
	}
	register(t, g, "http://127.0.0.1:1") // nobody is there
	<-woken                              // an instance has come
	_, err := charge(g)
	var o *weft.OpenError
	if !errors.As(err, &o) || o.Reason != "3 failures: connection refused" || o.Until.IsZero() {
		t.Fatalf("%v", err)
	}
	select {
	case peer := <-woken:
		if peer != "bank" {
			t.Error(peer)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was woken when the breaker half-opened")
	}
}

func TestAPeerWithoutInstancesIsOpenAndAnUnknownOneIsNotFound(t *testing.T) {
	g := gate(t, peers.Options{})
	if _, err := charge(g); weft.CodeOf(err) != weft.NotFound {
		t.Fatal(err)
	}
	i := register(t, g, "http://127.0.0.1:1")
	if err := g.Deregister(t.Context(), ns, "bank", "one", i.Epoch); err != nil {
		t.Fatal(err)
	}
	var o *weft.OpenError
	if _, err := charge(g); !errors.As(err, &o) || !o.Until.IsZero() {
		t.Fatal(err)
	}
}

func TestALaterEpochFencesTheEarlierAndSurvivesARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	g, err := peers.Open(t.Context(), db, peers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	first := register(t, g, "http://127.0.0.1:1")
	second := register(t, g, "http://127.0.0.1:2")
	if err := g.Heartbeat(ns, "bank", "one", first.Epoch); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("a zombie keeps the lease: %v", err)
	}
	if err := g.Deregister(t.Context(), ns, "bank", "one", first.Epoch); err == nil {
		t.Error("a zombie removed its successor")
	}
	g.Close()
	db.Close()
	g = open(t, path, peers.Options{})
	live, _ := g.Lookup(ns, "bank")
	if len(live) != 1 || live[0].Epoch != second.Epoch || live[0].URL != "http://127.0.0.1:2" {
		t.Errorf("%+v", live)
	}
}

func TestALeaseThatIsNotRenewedEnds(t *testing.T) {
	g := gate(t, peers.Options{})
	if _, err := g.Register(t.Context(), peers.Instance{Namespace: ns, Service: "bank", ID: "one", URL: "http://127.0.0.1:1", TTL: time.Second}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := errors.New("gone")
	err := g.Watch(ctx, ns, "bank", 0, func(v peers.View) error {
		if len(v.Instances) == 0 {
			return done
		}
		return nil
	})
	if err != done {
		t.Error(err)
	}
}

func TestWhatWasNotGrantedIsNotReached(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	g := gate(t, peers.Options{HTTPAllow: []string{strings.TrimPrefix(s.URL, "http://")}})
	register(t, g, s.URL)
	none := &weft.Grants{}
	for name, r := range map[string]weft.Request{
		"a peer":                       {Namespace: ns, Grants: none, Peer: "bank", Procedure: "/x"},
		"a host":                       {Namespace: ns, Grants: none, Method: "GET", URL: s.URL},
		"loopback by a pattern":        {Namespace: ns, Grants: &weft.Grants{HTTP: []string{"*"}}, Method: "GET", URL: "http://127.0.0.1:1/"},
		"the metadata service":         {Namespace: ns, Method: "GET", URL: "http://169.254.169.254/latest"},
		"a private host of a workflow": {Namespace: ns, Method: "GET", URL: "http://10.0.0.1/"},
		"loopback in IPv6 clothes":     {Namespace: ns, Method: "GET", URL: "http://[::ffff:127.0.0.1]:1/"},
	} {
		if _, err := g.Do(t.Context(), r); weft.CodeOf(err) != weft.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if res, err := g.Do(t.Context(), weft.Request{Namespace: ns, Method: "GET", URL: s.URL}); err != nil || res.Status != 404 {
		t.Errorf("an allowed host: %+v %v", res, err)
	}
}

func TestForcedOpenRefusesAtOnce(t *testing.T) {
	g := gate(t, peers.Options{})
	register(t, g, "http://127.0.0.1:1")
	if err := g.Force(t.Context(), ns, "bank", breaker.Open); err != nil {
		t.Fatal(err)
	}
	var o *weft.OpenError
	if _, err := charge(g); !errors.As(err, &o) || o.Reason != "by hand" {
		t.Error(err)
	}
}
