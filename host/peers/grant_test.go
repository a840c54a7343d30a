package peers_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
)

func TestWhatIsNoLimitOfAGrantIsRefusedAtItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"policies: [{peer: a, grants: 3}]":                                                                      "1:30: grants must be a list",
		"policies: [{peer: a, grants: []}]":                                                                     "1:30: grants must be a list",
		"policies: [{peer: a, grants: [{timeout: PT1S}]}]":                                                      "1:31: a grant without a module; write module: with its name",
		"policies: [{peer: a, grants: [{module: 'cart@1.0.0'}]}]":                                               "1:40: cart@1.0.0 is no module; write the name of a module, without its version",
		"policies: [{peer: a, grants: [{module: cart}, {module: cart}]}]":                                       "1:47: a second grant of cart",
		"policies: [{peer: a, grants: [{module: cart, tineout: PT1S}]}]":                                        "1:46: a grant has no key tineout; did you mean timeout?",
		"policies: [{peer: a, grants: [{module: cart, breaker: {failures: 1}}]}]":                               "1:46: a grant has no key breaker",
		"policies: [{peer: a, grants: [{module: cart, retry: {min: PT1S}}]}]":                                   "1:54: retry has no key min; it has times",
		"policies: [{peer: a, grants: [{module: cart, rate: {burst: 2}}]}]":                                     "1:60: burst without a rate",
		"policies: [{peer: a, timeout: PT2S, grants: [{module: cart, timeout: PT3S}]}]":                         "1:70: timeout is over that of the peer, and a grant can only be stricter; write at most PT2S",
		"policies: [{peer: a, retry: {times: 0}, grants: [{module: cart, retry: {times: 1}}]}]":                 "1:80: retry.times is over that of the peer, and a grant can only be stricter; write at most 0",
		"policies: [{peer: a, rate: {perSecond: 5}, grants: [{module: cart, rate: {perSecond: 6}}]}]":           "1:86: rate.perSecond is over that of the peer",
		"policies: [{peer: a, grants: [{module: cart, timeout: PT1S, bulkhead: 0}], bulkhead: 3, body: 10 MB}]": "1:71: bulkhead is out of bounds",
	} {
		_, err := peers.ParsePolicies("p.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), "p.yaml:"+want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestLimitsOfGrantsAreShownAsTheyAreRead(t *testing.T) {
	const text = `policies:
  - peer: "payments"
    timeout: PT5S
    grants:
      - module: cart
        timeout: PT1S
        attempt: PT0.5S
        bulkhead: 2
        body: 1024
        retry:
          times: 0
        rate:
          perSecond: 5
          burst: 1
      - module: stock
        bulkhead: 3
`
	found, err := peers.ParsePolicies("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := peers.ShowPolicies(found); got != text {
		t.Errorf("shown as\n%s", got)
	}
}

// as makes a call that may be repeated, of a module that may reach the bank.
func (w *world) as(module string) error {
	_, err := w.Do(w.t.Context(), weft.Request{Namespace: ns, Caller: module + "@1.0.0", Grants: &weft.Grants{Peers: []string{"bank"}}, Peer: "bank", Procedure: "/x", IdempotencyKey: "k"})
	return err
}

func hangs(q *http.Request) (*http.Response, error) {
	<-q.Context().Done()
	return nil, q.Context().Err()
}

func TestAGrantMakesTheTimeOfAModulesCallsShorter(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.SetTransport(network(hangs))
		took := func(module string) time.Duration {
			begun := time.Now()
			if err := w.as(module); weft.CodeOf(err) != weft.DeadlineExceeded {
				t.Fatal(err)
			}
			return time.Since(begun)
		}
		const others = "policies: [{peer: bank, retry: {times: 0}, attempt: PT3S, breaker: {failures: 1000, row: 1000, volume: 1000}"
		for _, c := range []struct {
			name, policies string
			cart, stock    time.Duration
		}{
			{"without one", others + "}]", 3 * time.Second, 3 * time.Second},
			{"an attempt", others + ", grants: [{module: cart, attempt: PT1S}]}]", time.Second, 3 * time.Second},
			{"the whole call", others + ", grants: [{module: cart, timeout: PT2S}]}]", 2 * time.Second, 3 * time.Second},
			{"on all peers", others + "}, {peer: '*', grants: [{module: cart, attempt: PT2S}]}]", 2 * time.Second, 3 * time.Second},
			{"its own here before that on all peers", others + ", grants: [{module: cart, attempt: PT1S}]}, {peer: '*', grants: [{module: cart, attempt: PT2S}, {module: stock, attempt: PT2S}]}]", time.Second, 2 * time.Second},
			{"never longer, whatever all peers say", others + "}, {peer: '*', grants: [{module: cart, attempt: PT9S}]}]", 3 * time.Second, 3 * time.Second},
		} {
			w.apply("policies: [{peer: '*'}]")
			w.apply(c.policies)
			w.close()
			w.open() // it outlives a restart
			w.SetTransport(network(hangs))
			if cart, stock := took("cart"), took("stock"); cart != c.cart || stock != c.stock {
				t.Errorf("%s: cart's call took %s and not %s, another's %s and not %s", c.name, cart, c.cart, stock, c.stock)
			}
		}
	})
}

func TestAGrantHasRetriesRateAndBulkheadOfItsOwn(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.apply("policies: [{peer: bank, rate: {perSecond: 10}, breaker: {failures: 1000}, grants: [{module: cart, bulkhead: 1, retry: {times: 0}, rate: {perSecond: 2, burst: 1}}]}]")
		var sent, busy, peak atomic.Int64
		w.SetTransport(network(func(*http.Request) (*http.Response, error) { sent.Add(1); return nil, errRefused }))
		_ = w.as("cart")
		if n := sent.Swap(0); n != 1 {
			t.Errorf("without retries %d attempts", n)
		}
		_ = w.as("stock")
		if n := sent.Load(); n != 3 {
			t.Errorf("another module makes %d attempts", n)
		}
		time.Sleep(time.Minute)
		w.SetTransport(network(func(*http.Request) (*http.Response, error) {
			peak.Store(max(peak.Load(), busy.Add(1)))
			defer busy.Add(-1)
			time.Sleep(time.Second)
			return answer(200, `{}`)
		}))
		begun := time.Now()
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				if err := w.as("cart"); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		if peak.Load() != 1 || time.Since(begun) != 4*time.Second {
			t.Errorf("%d at once, in %s", peak.Load(), time.Since(begun))
		}
		time.Sleep(time.Minute)
		begun = time.Now()
		w.SetTransport(network(well))
		for range 4 {
			if err := w.as("cart"); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begun); took != 1500*time.Millisecond {
			t.Errorf("four calls at two a second took %s", took)
		}
		begun = time.Now()
		for range 10 {
			if err := w.as("stock"); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(begun); took > 500*time.Millisecond {
			t.Errorf("another module waited %s for the rate of the first", took)
		}
		synctest.Wait()
		w.apply("policies: [{peer: bank, timeout: PT0.1S, grants: [{module: cart, rate: {perSecond: 1, burst: 1}}]}]")
		_ = w.as("cart")
		if err := w.as("cart"); weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "1 a second of cart") {
			t.Error(err)
		}
	})
}
