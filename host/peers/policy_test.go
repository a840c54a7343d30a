package peers_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/peers"
)

// apply gives peers the policies of a text.
func (w *world) apply(text string) {
	w.t.Helper()
	found, err := peers.ParsePolicies("policies.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.SetPolicies(w.t.Context(), ns, found); err != nil {
		w.t.Fatal(err)
	}
}

// keyed calls with a key, so it may be repeated.
func (w *world) keyed() error {
	_, err := w.Do(w.t.Context(), weft.Request{Namespace: ns, Caller: "test", Peer: "bank", Procedure: "/bank.v1.Bank/Charge", IdempotencyKey: "k"})
	return err
}

func TestWhatIsNoPolicyIsRefusedAtItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                                           "the file has no policies",
		"policies: []":                                                 "1:11: policies must be a list of policies",
		"policy: []":                                                   "1:1: the file has no key policy; it has policies",
		"policies: [{timeout: PT1S}]":                                  "1:12: a policy without a peer",
		"policies: [{peer: a/b}]":                                      "1:19: a/b is no peer",
		"policies: [{peer: 'http://h/path'}]":                          "1:19: http://h/path is no peer",
		"policies: [{peer: a}, {peer: a}]":                             "1:23: a second policy of a",
		"policies: [{peer: a, tineout: PT1S}]":                         "1:22: a policy has no key tineout; did you mean timeout?",
		"policies: [{peer: a, timeout: 1}]":                            "1:31: timeout is no duration",
		"policies: [{peer: a, timeout: PT2H}]":                         "1:31: timeout is out of bounds; write one from 1ms to 1h0m0s",
		"policies: [{peer: a, bulkhead: 0}]":                           "1:32: bulkhead is out of bounds; write one from 1 to 10000",
		"policies: [{peer: a, bulkhead: 1.5}]":                         "1:32: bulkhead is no whole number",
		"policies: [{peer: a, bulkhead: '5'}]":                         "1:32: bulkhead is no whole number",
		"policies: [{peer: a, retry: 3}]":                              "1:29: retry must be a mapping",
		"policies: [{peer: a, retry: {tines: 3}}]":                     "1:30: retry has no key tines; did you mean times?",
		"policies: [{peer: a, retry: {times: 11}}]":                    "1:37: times is out of bounds",
		"policies: [{peer: a, rate: {burst: 3}}]":                      "1:36: burst without a rate; write perSecond too",
		"policies: [{peer: a, timeout: PT1S, attempt: PT2S}]":          "1:46: attempt is longer than timeout",
		"policies: [{peer: a, retry: {min: PT2S, max: PT1S}}]":         "1:35: min is longer than max",
		"policies:\n  - peer: a\n    breaker:\n      percent: 101\n":   "4:16: percent is out of bounds; write one from 1 to 100",
		"policies:\n  - peer: a\n    breaker:\n      slow: a second\n": "4:13: slow is no duration",
	} {
		_, err := peers.ParsePolicies("p.yaml", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "p.yaml:") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestAPolicyIsShownAsItIsRead(t *testing.T) {
	const text = `policies:
  - peer: "*"
    timeout: PT5S
    attempt: PT1.5S
    bulkhead: 8
    body: 1048576
    retry:
      times: 0
      min: PT0.01S
      max: PT1S
      percent: 10
      least: 1
    rate:
      perSecond: 100
      burst: 5
    breaker:
      failures: 3
      window: PT20S
      volume: 30
      percent: 60
      row: 25
      open: PT5S
      probes: 2
      slow: PT0.8S
  - peer: "https://api.example.com:443"
    timeout: PT60S
`
	found, err := peers.ParsePolicies("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := peers.ShowPolicies(found); got != text {
		t.Errorf("shown as\n%s", got)
	}
	found, err = peers.ParsePolicies("p.yaml", []byte("policies: [{peer: 'https://API.example.com'}]"))
	if _, ok := found["https://api.example.com:443"]; err != nil || !ok {
		t.Errorf("%v %v", found, err)
	}
}

func TestAPolicyHoldsFromTheNextCallAndOverARestart(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		hangs := network(func(q *http.Request) (*http.Response, error) { <-q.Context().Done(); return nil, q.Context().Err() })
		took := func() time.Duration {
			w.SetTransport(hangs)
			begun := time.Now()
			if err := w.call(t.Context()); weft.CodeOf(err) != weft.DeadlineExceeded {
				t.Fatal(err)
			}
			return time.Since(begun)
		}
		if got := took(); got != 2*time.Second {
			t.Errorf("by default an attempt takes %s", got)
		}
		w.apply("policies: [{peer: '*', attempt: PT3S}]")
		if got := took(); got != 3*time.Second {
			t.Errorf("by the policy of all peers %s", got)
		}
		w.apply("policies: [{peer: bank, attempt: PT4S}]")
		w.close()
		w.open()
		if got := took(); got != 4*time.Second {
			t.Errorf("by its own policy, after a restart, %s", got)
		}
		w.apply("policies: [{peer: bank}]")
		if got := took(); got != 3*time.Second {
			t.Errorf("without its own again %s", got)
		}
	})
}

func TestAllAttemptsTogetherHaveTheTimeout(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.apply("policies: [{peer: bank, timeout: PT5S, retry: {times: 10}, breaker: {failures: 100}}]")
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) { <-q.Context().Done(); return nil, q.Context().Err() }))
		begun := time.Now()
		if err := w.keyed(); weft.CodeOf(err) != weft.DeadlineExceeded {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 5*time.Second || took < 4*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestRetriesAreAShareOfTheCalls(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.apply("policies: [{peer: bank, retry: {times: 2}, breaker: {failures: 1000, volume: 1000000}}]")
		var attempts atomic.Int64
		w.SetTransport(network(func(*http.Request) (*http.Response, error) { attempts.Add(1); return nil, errRefused }))
		made := func(calls int) int64 {
			before := attempts.Load()
			for range calls {
				if err := w.keyed(); err == nil {
					t.Fatal("no error")
				}
			}
			return attempts.Load() - before
		}
		if got := made(1); got != 3 {
			t.Errorf("one call made %d attempts", got)
		}
		if got := made(1); got != 2 {
			t.Errorf("the second call made %d attempts: three retries are free", got)
		}
		if got := made(98); got != 98+17 {
			t.Errorf("98 more made %d attempts; of 100 calls 20 may be retries", got)
		}
		time.Sleep(time.Minute)
		if got := made(1); got != 3 {
			t.Errorf("a minute later a call made %d attempts", got)
		}
	})
}

func TestARateIsKeptByWaiting(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.apply("policies: [{peer: bank, timeout: PT2S, rate: {perSecond: 10, burst: 5}}]")
		var times []time.Duration
		var mu sync.Mutex
		begun := time.Now()
		w.SetTransport(network(func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(begun))
			return answer(200, `{}`)
		}))
		var calls sync.WaitGroup
		var refused atomic.Int64
		for range 30 {
			calls.Go(func() {
				if err := w.call(t.Context()); weft.CodeOf(err) == weft.ResourceExhausted {
					refused.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if len(times) != 25 || refused.Load() != 5 || times[4] != 0 || times[5] != 100*time.Millisecond || times[24] != 2*time.Second {
			t.Errorf("%d calls at %v, %d refused", len(times), times, refused.Load())
		}
		w.expect("closed")
		ctx, cancel := context.WithCancel(t.Context())
		w.apply("policies: [{peer: bank, timeout: PT60S, bulkhead: 2, rate: {perSecond: 1, burst: 1}}]")
		_ = w.call(t.Context())
		gone := make(chan error)
		go func() { gone <- w.call(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("one who went while it waited: %v", err)
		}
	})
}

func TestAPlaceInABulkheadIsWaitedFor(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.apply("policies: [{peer: bank, timeout: PT10S, attempt: PT10S, bulkhead: 2}]")
		release := make(chan struct{})
		var busy, peak, done atomic.Int64
		w.SetTransport(network(func(*http.Request) (*http.Response, error) {
			peak.Store(max(peak.Load(), busy.Add(1)))
			defer busy.Add(-1)
			<-release
			return answer(200, `{}`)
		}))
		var calls sync.WaitGroup
		call := func(ctx context.Context) {
			calls.Go(func() {
				if err := w.call(ctx); err == nil {
					done.Add(1)
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range 4 {
			call(t.Context())
		}
		call(ctx)
		call(t.Context())
		cancel() // one who waits in the middle goes
		synctest.Wait()
		if busy.Load() != 2 {
			t.Errorf("%d in progress", busy.Load())
		}
		for range 5 {
			release <- struct{}{}
			synctest.Wait()
		}
		calls.Wait()
		if done.Load() != 5 || peak.Load() != 2 {
			t.Errorf("%d went through, %d at once", done.Load(), peak.Load())
		}
		for range 2 { // no place was lost
			call(t.Context())
		}
		if busy.Load() != 2 {
			t.Errorf("then %d in progress", busy.Load())
		}
		close(release)
		calls.Wait()
	})
}

func TestOnlyCallsThatMayBeRepeatedAre(t *testing.T) {
	for _, c := range []struct {
		name     string
		request  weft.Request
		attempts int
	}{
		{"a call of a peer with a key", weft.Request{Peer: "bank", Procedure: "/x", IdempotencyKey: "k"}, 3},
		{"a call of a peer without one", weft.Request{Peer: "bank", Procedure: "/x"}, 1},
		{"GET", weft.Request{Method: "GET", URL: "http://h"}, 3},
		{"PUT", weft.Request{Method: "PUT", URL: "http://h"}, 3},
		{"DELETE", weft.Request{Method: "DELETE", URL: "http://h"}, 3},
		{"POST", weft.Request{Method: "POST", URL: "http://h"}, 1},
		{"PATCH", weft.Request{Method: "PATCH", URL: "http://h"}, 1},
		{"POST with a key", weft.Request{Method: "POST", URL: "http://h", IdempotencyKey: "k"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				w.register("one")
				attempts := 0
				w.SetTransport(network(func(*http.Request) (*http.Response, error) { attempts++; return nil, errRefused }))
				c.request.Namespace = ns
				if _, err := w.Do(t.Context(), c.request); err == nil || attempts != c.attempts {
					t.Errorf("%d attempts, then %v", attempts, err)
				}
			})
		})
	}
}

func TestAPeerIsToldWhoCallsAndHowLongItHas(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		var got http.Header
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) { got = q.Header; return answer(200, `{}`) }))
		r := weft.Request{Namespace: ns, Caller: "order@1.0.0", Peer: "bank", Procedure: "/x", IdempotencyKey: "k", Body: []byte(`{}`), Headers: map[string]string{"weft-caller": "forged"}}
		if _, err := w.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		trace := got.Get("Traceparent")
		got.Del("Traceparent")
		want := http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {"k"}, "Connect-Timeout-Ms": {"2000"}, "Weft-Caller": {"order@1.0.0"}, "Weft-Namespace": {ns}}
		if !reflect.DeepEqual(got, want) || len(trace) != 55 {
			t.Errorf("%v, trace %q", got, trace)
		}
		r.Body, r.Depth = []byte{8, 1}, 3
		if _, err := w.Do(t.Context(), r); err != nil || got.Get("Content-Type") != "application/proto" || got.Get("Weft-Depth") != "3" {
			t.Errorf("with protobuf, from within a call: %v, %v", got, err)
		}
		const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		r.Headers = map[string]string{"traceparent": own}
		if _, err := w.Do(t.Context(), r); err != nil || got.Get("Traceparent") != own {
			t.Errorf("its own trace is %q: %v", got.Get("Traceparent"), err)
		}
		if _, err := w.Do(t.Context(), weft.Request{Namespace: ns, Caller: "order@1.0.0", Method: "GET", URL: "https://example.com"}); err != nil || len(got) != 0 {
			t.Errorf("the world is told %v: %v", got, err)
		}
	})
}

// What docs/PEERS.md says are the defaults can be applied as it stands.
func TestThePolicyInTheDocumentIsOne(t *testing.T) {
	doc, err := os.ReadFile("../../docs/PEERS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	found, err := peers.ParsePolicies("PEERS.md", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := found["payments"]
	if got, want := p.Policy.Filled(), (breaker.Policy{Slow: time.Second}).Filled(); got != want {
		t.Errorf("breaker %+v is not the default %+v", got, want)
	}
	if p.Total != 10*time.Second || p.Attempt != 2*time.Second || p.Retries != 2 || p.Bulkhead != 64 || p.BodyMax != 4<<20 || p.Budget != 20 || p.BudgetMin != 3 {
		t.Errorf("%+v", p)
	}
}
