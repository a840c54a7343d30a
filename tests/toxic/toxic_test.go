// Package toxic has peers behind a network that fails in the ways that networks
// do. It is a module of its own, so that weft needs no proxy.
package toxic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/store"
)

const (
	ns = "default"

	// Two calls of two attempts open a breaker, for long enough that the third
	// finds it so.
	policies = `policies: [{peer: '*', attempt: PT2S, retry: {times: 1, min: PT0.001S, max: PT0.002S}, breaker: {failures: 4, open: PT6S}}]`
	calls    = 3
	size     = 4 << 10 // of an answer
)

func TestAFaultOfTheNetworkOpensTheBreakerAndItClosesWhenTheFaultIsGone(t *testing.T) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics write to a log of their own
	g := open(t)
	var rows sync.WaitGroup
	for i, c := range []struct {
		name    string
		toxic   string
		kept    bool // there is a connection from before the fault
		ends    bool // the answer has no length: it ends with its connection
		code    weft.Code
		reached int64  // attempts of three calls
		reason  string // why the breaker is open; empty when it is closed
	}{
		{name: "an answer that is late within the time of an attempt is an answer",
			toxic: `{"type":"latency","attributes":{"latency":50}}`, code: weft.OK, reached: 3},
		{name: "an answer that is later than that is a failure",
			toxic: `{"type":"latency","attributes":{"latency":5000}}`, code: weft.DeadlineExceeded, reached: 4, reason: "4 failures: context deadline exceeded"},
		{name: "a request that is late has used the time of its attempt before it arrives",
			toxic: `{"type":"latency","stream":"upstream","attributes":{"latency":60000}}`, code: weft.DeadlineExceeded, reached: 0, reason: "4 failures: context deadline exceeded"},
		{name: "a reset in place of the answer is a failure",
			toxic: `{"type":"reset_peer"}`, code: weft.Unavailable, reached: 4, reason: "4 failures: connection reset by peer"},
		{name: "a kept connection that ends so is none, and what may be repeated is sent once more on a new one",
			toxic: `{"type":"reset_peer"}`, kept: true, code: weft.Unavailable, reached: 5, reason: "4 failures: connection reset by peer"},
		{name: "a request that a black hole swallows does not arrive and costs the time of its attempt",
			toxic: `{"type":"timeout","stream":"upstream"}`, code: weft.DeadlineExceeded, reached: 0, reason: "4 failures: context deadline exceeded"},
		{name: "an answer that a black hole swallows costs the time of its attempt",
			toxic: `{"type":"timeout"}`, code: weft.DeadlineExceeded, reached: 4, reason: "4 failures: context deadline exceeded"},
		{name: "a kept connection with a black hole in it is given up",
			toxic: `{"type":"timeout"}`, kept: true, code: weft.DeadlineExceeded, reached: 4, reason: "4 failures: context deadline exceeded"},
		{name: "an answer with a length is whole however slowly its connection closes",
			toxic: `{"type":"slow_close","attributes":{"delay":5000}}`, code: weft.OK, reached: 3},
		{name: "an answer that ends with its connection is not whole before that closes",
			toxic: `{"type":"slow_close","attributes":{"delay":5000}}`, ends: true, code: weft.DeadlineExceeded, reached: 4, reason: "4 failures: context deadline exceeded"},
		{name: "an answer that is cut off in its head is a failure",
			toxic: `{"type":"limit_data","attributes":{"bytes":17}}`, code: weft.Unavailable, reached: 4, reason: "4 failures: net/http: HTTP/1.x transport connection broken: unexpected EOF"},
		{name: "an answer that is cut off in its middle is a failure, and no part of it an answer",
			toxic: `{"type":"limit_data","attributes":{"bytes":2000}}`, code: weft.Unavailable, reached: 4, reason: "4 failures: unexpected EOF"},
		{name: "an answer that trickles but is whole in time is an answer",
			toxic: `{"type":"bandwidth","attributes":{"rate":100}}`, code: weft.OK, reached: 3},
		{name: "an answer that trickles past the time of an attempt is a failure",
			toxic: `{"type":"bandwidth","attributes":{"rate":1}}`, code: weft.DeadlineExceeded, reached: 4, reason: "4 failures: context deadline exceeded"},
	} {
		rows.Go(func() {
			t.Run(c.name, func(t *testing.T) { // all at once, not as many as there are processors: they wait, mostly
				var reached atomic.Int64
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					reached.Add(1)
					if c.ends {
						w.Header().Set("Transfer-Encoding", "identity")
					} else {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					}
					_, _ = w.Write([]byte(strings.Repeat("x", size)))
				}))
				defer s.Close()
				link := proxy(t, s)
				defer link.Stop()
				p := peer{g, fmt.Sprint("peer-", i)}
				if _, err := g.Register(t.Context(), peers.Instance{Namespace: ns, Service: p.name, ID: "one", URL: "http://" + link.Listen}); err != nil {
					t.Fatal(err)
				}
				if c.kept {
					if err := p.call(t); err != nil {
						t.Fatal(err)
					}
					reached.Store(0)
				}

				if _, err := link.Toxics.AddToxicJson(strings.NewReader(c.toxic)); err != nil {
					t.Fatal(err)
				}
				var last error
				for i := range calls {
					if last = p.call(t); i == 0 && code(last) != c.code {
						t.Errorf("the caller gets %v", last)
					}
				}
				if n := reached.Load(); n != c.reached {
					t.Errorf("%d attempts have reached the peer, not %d", n, c.reached)
				}
				var refused *weft.OpenError
				switch b := p.breaker(); {
				case c.reason == "" && (last != nil || b.State != "closed"):
					t.Errorf("after %d calls it is %+v, and the last got %v", calls, b, last)
				case c.reason != "" && (b.State != "open" || b.Reason != c.reason || !errors.As(last, &refused)):
					t.Errorf("after %d calls it is %+v, and the last got %v", calls, b, last)
				}

				link.Toxics.ResetToxics(t.Context())
				if c.reason != "" {
					p.await(t, "half-open")
				}
				if err := p.call(t); err != nil {
					t.Errorf("when the fault is gone: %v", err)
				}
				p.await(t, "closed")
			})
		})
	}
	rows.Wait()
}

func open(t *testing.T) *peers.Gate {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	g, err := peers.Open(t.Context(), db, peers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	p, err := peers.ParsePolicies("toxic.yaml", []byte(policies))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetPolicies(t.Context(), ns, p); err != nil {
		t.Fatal(err)
	}
	return g
}

// proxy is the way to a server, on which faults are put.
func proxy(t *testing.T, s *httptest.Server) *toxiproxy.Proxy {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "link", "127.0.0.1:0", s.Listener.Addr().String())
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

type peer struct {
	*peers.Gate
	name string
}

// call makes a call that may be repeated, and looks at the whole answer.
func (p peer) call(t *testing.T) error {
	res, err := p.Do(t.Context(), weft.Request{Namespace: ns, Caller: "test", Peer: p.name, Procedure: "/x", IdempotencyKey: "k"})
	if err == nil && len(res.Body) != size {
		t.Errorf("an answer of %d bytes, not %d", len(res.Body), size)
	}
	return err
}

func code(err error) weft.Code {
	if err == nil {
		return weft.OK
	}
	return weft.CodeOf(err)
}

func (p peer) breaker() (b peers.BreakerState) {
	for _, b = range p.Breakers(ns) {
		if b.Peer == p.name {
			break
		}
	}
	return b
}

// await waits until the peer's breaker is in that state.
func (p peer) await(t *testing.T, state string) {
	t.Helper()
	done := errors.New("it is")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := p.WatchBreakers(ctx, ns, func([]peers.BreakerState) error {
		if p.breaker().State == state {
			return done
		}
		return nil
	})
	if err != done {
		t.Errorf("it does not get %s: %v", state, err)
	}
}
