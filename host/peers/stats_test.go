package peers_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/peers"
)

// Each attempt has one outcome, and is counted once.
func TestWhatComesOfAnAttemptIsCounted(t *testing.T) {
	takes := func(d time.Duration) network {
		return func(q *http.Request) (*http.Response, error) {
			select {
			case <-time.After(d):
				return answer(200, `{}`)
			case <-q.Context().Done():
				return nil, q.Context().Err()
			}
		}
	}
	for name, c := range map[string]struct {
		policy  string
		network network
		before  int  // calls that are in progress meanwhile
		cancel  bool // the caller goes after a second
		want    map[peers.Outcome]int64
	}{
		"an answer": {network: well, want: map[peers.Outcome]int64{peers.Answered: 1}},
		"an error of the application is an answer": {network: func(*http.Request) (*http.Response, error) { return answer(403, `{}`) },
			want: map[peers.Outcome]int64{peers.Answered: 1}},
		"a failure, tried three times": {network: func(*http.Request) (*http.Response, error) { return answer(503, ``) },
			want: map[peers.Outcome]int64{peers.Failed: 3}},
		"an answer after too long": {policy: "breaker: {slow: PT1S}", network: takes(1500 * time.Millisecond), want: map[peers.Outcome]int64{peers.Slow: 1}},
		"a breaker that opens, and refuses the retry": {policy: "breaker: {failures: 1}", network: func(*http.Request) (*http.Response, error) { return nil, errRefused },
			want: map[peers.Outcome]int64{peers.Failed: 1, peers.RefusedOpen: 1}},
		"a caller that goes": {network: takes(1500 * time.Millisecond), cancel: true, want: map[peers.Outcome]int64{peers.Abandoned: 1}},
		"no place in the rate": {policy: "timeout: PT0.9S, rate: {perSecond: 1}", network: takes(500 * time.Millisecond), before: 1,
			want: map[peers.Outcome]int64{peers.Answered: 1, peers.RefusedRate: 1}},
		"no place in the bulkhead": {policy: "timeout: PT1S, bulkhead: 1, attempt: PT1S, retry: {times: 0}", network: takes(2 * time.Second), before: 1,
			want: map[peers.Outcome]int64{peers.Failed: 1, peers.RefusedBulkhead: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				w.register("one")
				if c.policy != "" {
					w.apply("policies: [{peer: bank, " + c.policy + "}]")
				}
				w.SetTransport(c.network)
				for range c.before {
					go func() { _ = w.keyed() }()
					synctest.Wait()
					if s := w.Stats().Peers[0]; s.Busy != 1 {
						t.Errorf("%d calls are in progress", s.Busy)
					}
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if c.cancel {
					time.AfterFunc(time.Second, stop)
				}
				_, _ = w.Do(ctx, weft.Request{Namespace: ns, Caller: "test", Peer: "bank", Procedure: "/x", IdempotencyKey: "k"})
				time.Sleep(time.Minute) // what began before has ended, too
				s := w.Stats().Peers[0]
				sent := int64(0)
				for o, n := range s.Attempts {
					if sent += n; n != c.want[peers.Outcome(o)] {
						t.Errorf("%s: %d and not %d", peers.Outcome(o), n, c.want[peers.Outcome(o)])
					}
				}
				if s.Calls != int64(c.before+1) || s.Calls+s.Retries != sent || s.Busy != 0 || s.Waiting != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestTransitionsAndLostLeasesAreCounted(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.register("one")
		w.trip()
		w.SetTransport(network(well))
		time.Sleep(time.Minute) // its open time is over
		if err := w.call(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s := w.Stats()
		if p := s.Peers[0]; p.Turned != [...]int64{breaker.Closed: 1, breaker.Open: 1, breaker.HalfOpen: 1} || p.Breakers[0].State != "closed" {
			t.Errorf("%+v", p)
		}
		if s.Active != 1 || s.LeasesLost != 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if s := w.Stats(); s.Active != 0 || s.LeasesLost != 1 || len(s.Peers[0].Breakers) != 0 {
			t.Errorf("after its lease: %+v", s)
		}
	})
}
