package peers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/store"
)

// network answers calls in memory, so that time can be virtual.
type network func(*http.Request) (*http.Response, error)

func (n network) RoundTrip(q *http.Request) (*http.Response, error) {
	res, err := n(q)
	if res != nil {
		res.Request = q
	}
	return res, err
}

func answer(status int, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

var errRefused = errors.New("connection refused")

// world is a gate in virtual time, on a network of its own.
type world struct {
	*peers.Gate
	t    *testing.T
	db   *store.DB
	path string
}

func virtually(t *testing.T, fn func(*testing.T, *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, path: filepath.Join(t.TempDir(), "weft.db")}
		w.open()
		defer w.close()
		fn(t, w)
	})
}

func (w *world) open() {
	w.t.Helper()
	var err error
	if w.db, err = store.Open(w.t.Context(), store.Options{Path: w.path}); err != nil {
		w.t.Fatal(err)
	}
	if w.Gate, err = peers.Open(w.t.Context(), w.db, peers.Options{BodyMax: 1 << 10}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.Gate.Close()
	if err := w.db.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) register(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if _, err := w.Register(w.t.Context(), peers.Instance{Namespace: ns, Service: "bank", ID: id, URL: "http://" + id, TTL: time.Hour}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// call calls without a key, so once.
func (w *world) call(ctx context.Context) error {
	_, err := w.Do(ctx, weft.Request{Namespace: ns, Caller: "test", Peer: "bank", Procedure: "/bank.v1.Bank/Charge"})
	return err
}

// trip opens the breaker of the one instance.
func (w *world) trip() {
	w.t.Helper()
	w.SetTransport(network(func(*http.Request) (*http.Response, error) { return nil, errRefused }))
	for range 5 {
		_ = w.call(w.t.Context())
	}
	w.expect("open")
}

func (w *world) expect(state string) peers.BreakerState {
	w.t.Helper()
	synctest.Wait()
	list := w.Breakers(ns)
	if len(list) != 1 || list[0].State != state {
		w.t.Fatalf("it is %+v, not %s", list, state)
	}
	return list[0]
}

func well(*http.Request) (*http.Response, error) { return answer(200, `{}`) }

func TestACallFromBeforeTheTripDecidesNoProbe(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		release := make(chan struct{})
		w.SetTransport(network(func(*http.Request) (*http.Response, error) { <-release; return answer(200, `{}`) }))
		begun := make(chan error)
		go func() { begun <- w.call(t.Context()) }()
		synctest.Wait()
		w.trip()
		time.Sleep(37 * time.Second) // so the old call is far over its time, and its network does not care
		w.expect("half-open")
		close(release)
		<-begun
		w.expect("half-open")
	})
}

func TestACancelledProbeLeavesItsPlaceToTheNext(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		time.Sleep(37 * time.Second)
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) { <-q.Context().Done(); return nil, q.Context().Err() }))
		ctx, cancel := context.WithCancel(t.Context())
		probe := make(chan error)
		go func() { probe <- w.call(ctx) }()
		synctest.Wait()
		var open *weft.OpenError
		if err := w.call(t.Context()); !errors.As(err, &open) || open.Reason != "a probe is on its way" {
			t.Fatalf("beside the probe: %v", err)
		}
		cancel()
		if err := <-probe; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		w.expect("half-open")
		w.SetTransport(network(well))
		if err := w.call(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expect("closed")
	})
}

func TestAPanickingProbeHasFailed(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		time.Sleep(37 * time.Second)
		w.SetTransport(network(func(*http.Request) (*http.Response, error) { panic("a flaw") }))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = w.call(t.Context())
		}()
		if b := w.expect("open"); b.Reason != "the probe failed: the call panicked" {
			t.Error(b.Reason)
		}
		time.Sleep(37 * time.Second)
		w.SetTransport(network(well))
		if err := w.call(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expect("closed")
	})
}

func TestAProbeThatNeverReturnsIsNotWaitedFor(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		time.Sleep(37 * time.Second)
		release := make(chan struct{})
		w.SetTransport(network(func(*http.Request) (*http.Response, error) { <-release; return answer(200, `{}`) }))
		hung := make(chan error)
		go func() { hung <- w.call(t.Context()) }()
		time.Sleep(11 * time.Second)
		if b := w.expect("open"); b.Reason != "a probe had no outcome for 3s" {
			t.Error(b.Reason)
		}
		time.Sleep(37 * time.Second)
		w.SetTransport(network(well))
		if err := w.call(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expect("closed")
		close(release)
		<-hung
		w.expect("closed")
	})
}

func TestWhatSaysNothingOfTheCalleeIsNoFailure(t *testing.T) {
	for name, respond := range map[string]network{
		"an invalid argument":   func(*http.Request) (*http.Response, error) { return answer(400, `{"code":"invalid_argument"}`) },
		"not found":             func(*http.Request) (*http.Response, error) { return answer(404, `{"code":"not_found"}`) },
		"denied":                func(*http.Request) (*http.Response, error) { return answer(403, `{"code":"permission_denied"}`) },
		"a limit of rates":      func(*http.Request) (*http.Response, error) { return answer(429, ``) },
		"a precondition":        func(*http.Request) (*http.Response, error) { return answer(400, `{"code":"failed_precondition"}`) },
		"an answer too large":   func(*http.Request) (*http.Response, error) { return answer(200, strings.Repeat("x", 1<<10+1)) },
		"what it does not know": func(*http.Request) (*http.Response, error) { return answer(404, ``) },
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				w.register("one")
				w.SetTransport(respond)
				for range 40 {
					if err := w.call(t.Context()); err == nil {
						t.Fatal("no error")
					}
				}
				w.expect("closed")
			})
		})
	}
	t.Run("a full bulkhead, and callers who go", func(t *testing.T) {
		virtually(t, func(t *testing.T, w *world) {
			w.register("one")
			w.apply("policies: [{peer: bank, timeout: PT60S, attempt: PT60S}]")
			w.SetTransport(network(func(q *http.Request) (*http.Response, error) { <-q.Context().Done(); return nil, q.Context().Err() }))
			ctx, cancel := context.WithCancel(t.Context())
			var calls sync.WaitGroup
			for range 64 {
				calls.Go(func() { _ = w.call(ctx) })
			}
			synctest.Wait()
			w.apply("policies: [{peer: bank, timeout: PT1S}]")
			for range 40 {
				if err := w.call(t.Context()); weft.CodeOf(err) != weft.ResourceExhausted {
					t.Fatal(err)
				}
			}
			cancel()
			calls.Wait()
			w.expect("closed")
		})
	})
}

func TestAtMostHalfOfAServiceIsEjected(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("a", "b", "c", "d")
		sick := map[string]bool{"a": true, "b": true, "c": true}
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) {
			if sick[q.URL.Host] {
				return nil, errRefused
			}
			return answer(200, `{}`)
		}))
		open := func() (ids []string) {
			for _, b := range w.Breakers(ns) {
				if b.State == "open" {
					ids = append(ids, b.Instance)
				}
			}
			return ids
		}
		for range 200 {
			_ = w.call(t.Context())
		}
		if got := open(); len(got) != 2 || slices.Contains(got, "d") {
			t.Fatalf("of three sick ones of four %v are ejected", got)
		}
		sick["d"] = true
		var o *weft.OpenError
		for range 200 {
			if err := w.call(t.Context()); errors.As(err, &o) {
				break
			}
		}
		if got := open(); len(got) != 4 || o == nil {
			t.Fatalf("all are sick, and %v are open: %v", got, o)
		}
	})
}

// events are those of breakers in the log.
func (w *world) events() (list []string) {
	w.t.Helper()
	messages, err := w.db.Messages(w.t.Context(), ns, 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range messages {
		list = append(list, m.Meta["ce_type"]+" "+m.Meta["ce_subject"]+" "+string(m.Data))
	}
	return list
}

func TestEveryTransitionIsAnEvent(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		until := w.expect("open").Until.UTC().Format(time.RFC3339Nano)
		time.Sleep(37 * time.Second) // nobody calls: time alone is enough
		w.expect("half-open")
		w.SetTransport(network(well))
		_ = w.call(t.Context())
		w.expect("closed")
		if err := w.db.Last().Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			`weft.breaker.opened bank/one {"forced":false,"from":"closed","instance":"one","peer":"bank","reason":"5 failures: connection refused","to":"open","until":"` + until + `"}`,
			`weft.breaker.half-opened bank/one {"forced":false,"from":"open","instance":"one","peer":"bank","reason":"5 failures: connection refused","to":"half-open"}`,
			`weft.breaker.closed bank/one {"forced":false,"from":"half-open","instance":"one","peer":"bank","reason":"5 failures: connection refused","to":"closed"}`,
		}
		if got := w.events(); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestAnOpenBreakerIsHalfOpenAfterARestart(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		w.close()
		w.open()
		if b := w.expect("half-open"); b.Reason != "5 failures: connection refused" {
			t.Error(b.Reason)
		}
		w.SetTransport(network(well))
		if err := w.call(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.close()
		w.open()
		if list := w.Breakers(ns); len(list) != 0 {
			t.Errorf("closed, it is remembered as %+v", list)
		}
		if got := w.events(); len(got) != 3 {
			t.Errorf("events: %q", got)
		}
	})
}

func TestWhatIsHeldByHandStaysSoForInstancesToComeAndOverARestart(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.SetTransport(network(well))
		if err := w.Force(t.Context(), ns, "bank", breaker.Open); err != nil {
			t.Fatal(err)
		}
		w.register("two")
		var open *weft.OpenError
		for range 10 {
			if err := w.call(t.Context()); !errors.As(err, &open) || open.Reason != "by hand" || !open.Until.IsZero() {
				t.Fatal(err)
			}
		}
		w.close()
		w.open()
		w.SetTransport(network(well))
		if err := w.call(t.Context()); !errors.As(err, &open) {
			t.Fatal(err)
		}
		if err := w.Reset(t.Context(), ns, "bank"); err != nil {
			t.Fatal(err)
		}
		w.close()
		w.open()
		w.SetTransport(network(well))
		if err := w.call(t.Context()); err != nil {
			t.Errorf("after a reset and a restart: %v", err)
		}
		if err := w.Force(t.Context(), ns, "nobody", breaker.Open); weft.CodeOf(err) != weft.NotFound {
			t.Error(err)
		}
	})
}

func TestAnInstanceThatRegistersAnewIsProbedAndOneThatLeavesIsForgotten(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		w.register("one")
		w.expect("half-open")
		w.trip()
		i, _ := w.Lookup(ns, "bank")
		if err := w.Deregister(t.Context(), ns, "bank", "one", i[0].Epoch); err != nil {
			t.Fatal(err)
		}
		w.register("one")
		w.SetTransport(network(well))
		if err := w.call(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.close()
		w.open()
		if list := w.Breakers(ns); len(list) != 0 {
			t.Errorf("%+v", list)
		}
	})
}

func TestBreakersAreWatched(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		var seen []string
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- w.WatchBreakers(ctx, ns, func(list []peers.BreakerState) error {
				for _, b := range list {
					seen = append(seen, fmt.Sprintf("%s/%s %s", b.Peer, b.Instance, b.State))
				}
				return nil
			})
		}()
		synctest.Wait()
		w.trip()
		time.Sleep(37 * time.Second)
		w.SetTransport(network(well))
		_ = w.call(t.Context())
		synctest.Wait()
		i, _ := w.Lookup(ns, "bank")
		if err := w.Deregister(t.Context(), ns, "bank", "one", i[0].Epoch); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if want := "bank/one open, bank/one half-open, bank/one closed, bank/one gone"; strings.Join(seen, ", ") != want {
			t.Errorf("seen: %s", strings.Join(seen, ", "))
		}
	})
}
