package breaker_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft/host/breaker"
)

var errDown = errors.New("connection refused")

var start = time.Unix(0, 0)

func newBreaker(p breaker.Policy) *breaker.Breaker {
	return breaker.New(p, func() float64 { return 0.5 }, start)
}

// call makes one call and reports whether it was let through.
func call(b *breaker.Breaker, err error, now time.Time) bool {
	c, ok := b.Allow(now)
	if ok {
		b.Done(&c, err, now, true)
	}
	return ok
}

// opened is a breaker that has just opened for 30 s.
func opened(p breaker.Policy) *breaker.Breaker {
	p.Failures = 1
	b := newBreaker(p)
	call(b, errDown, start)
	return b
}

func TestFiveFailuresOpenAndAProbeCloses(t *testing.T) {
	now := start
	b := newBreaker(breaker.Policy{})
	for i := range 5 {
		if !call(b, errDown, now) {
			t.Fatalf("call %d was refused", i)
		}
	}
	if call(b, nil, now) || b.State(now) != breaker.Open || b.Reason() != "5 failures: connection refused" {
		t.Fatalf("%s because %q", b.State(now), b.Reason())
	}
	now = now.Add(30 * time.Second)
	probe, ok := b.Allow(now)
	if _, second := b.Allow(now); !ok || second {
		t.Fatal("half-open lets one probe through, and one only")
	}
	b.Done(&probe, errDown, now, true)
	if b.State(now) != breaker.Open || b.Reason() != "the probe failed: connection refused" {
		t.Fatal("a failed probe opens again")
	}
	now = now.Add(30 * time.Second)
	if !call(b, nil, now) || b.State(now) != breaker.Closed {
		t.Fatal("a good probe closes")
	}
}

// What opens a breaker: g is a good call, f a failed one, and . a second of
// silence. The last call decides.
func TestWhatOpens(t *testing.T) {
	times := func(n int, s string) (all string) {
		for range n {
			all += s
		}
		return all
	}
	for _, c := range []struct {
		name, calls string
		opens       bool
	}{
		{"five failures in a row", "fffff", true},
		{"four failures in a row", "ffff", false},
		{"four, a good one and four", "ffffgffff", false},
		{"five in a row within a minute", "f............f............f............f............f", true},
		{"half of twenty calls", times(10, "gf"), true},
		{"less than half of many calls", times(30, "ggf"), false},
		{"nineteen in a row among many good ones", times(60, "g") + times(19, "f"), false},
		{"twenty in a row among many good ones", times(60, "g") + times(20, "f"), true},
		{"five in a row when the many good ones are long ago", times(60, "g") + times(11, ".") + "fffff", true},
		{"five in a row when the many good ones are of the last seconds", times(60, "g") + times(8, ".") + "fffff", false},
	} {
		b, now := newBreaker(breaker.Policy{}), start
		for _, what := range c.calls {
			switch what {
			case '.':
				now = now.Add(time.Second)
			case 'g':
				call(b, nil, now)
			case 'f':
				call(b, errDown, now)
			}
		}
		if open := b.State(now) == breaker.Open; open != c.opens {
			t.Errorf("%s: open is %v, because %q", c.name, open, b.Reason())
		}
	}
}

func TestUnderLoadABackgroundOfErrorsRarelyOpens(t *testing.T) {
	b, now, refused := newBreaker(breaker.Policy{}), start, 0
	chance := rand.New(rand.NewPCG(1, 2))
	const calls = 50 * 3600 // of an hour
	for range calls {
		now = now.Add(20 * time.Millisecond)
		var err error
		if chance.Float64() < 0.3 {
			err = errDown
		}
		if !call(b, err, now) {
			refused++
		}
	}
	if share := 100 * float64(refused) / calls; share > 3 {
		t.Errorf("30%% of errors, and %.1f%% of the calls were refused", share)
	}
}

func TestTheOpenTimeIsSpreadByAFifth(t *testing.T) {
	for chance, want := range map[float64]time.Duration{0: 24 * time.Second, 0.5: 30 * time.Second, 1: 36 * time.Second} {
		b := breaker.New(breaker.Policy{Failures: 1}, func() float64 { return chance }, start)
		call(b, errDown, start)
		if got := b.Until().Sub(start); got != want {
			t.Errorf("chance %v: open for %s, not %s", chance, got, want)
		}
		if b.Next() != b.Until() {
			t.Errorf("next is %s", b.Next())
		}
	}
}

func TestASlowCallIsAFailure(t *testing.T) {
	b := newBreaker(breaker.Policy{Failures: 1, Slow: time.Second})
	c, _ := b.Allow(start)
	b.Done(&c, nil, start.Add(time.Second), true)
	if b.State(start) != breaker.Closed {
		t.Fatal("a call of the limit is not over it")
	}
	c, _ = b.Allow(start)
	b.Done(&c, nil, start.Add(1500*time.Millisecond), true)
	if b.State(start) != breaker.Open || b.Reason() != "1 failure: a call took 1.5s, over 1s" {
		t.Errorf("%s because %q", b.State(start), b.Reason())
	}
}

func TestOutcomesOfOlderCallsDoNotCount(t *testing.T) {
	for name, outcome := range map[string]error{"good": nil, "bad": errDown} {
		b := newBreaker(breaker.Policy{Failures: 1})
		slow, _ := b.Allow(start)
		slower, _ := b.Allow(start)
		call(b, errDown, start)
		b.Done(&slow, outcome, start, true)
		if b.State(start) != breaker.Open || b.Reason() != "1 failure: connection refused" {
			t.Errorf("%s: a call from before the trip changed an open breaker: %q", name, b.Reason())
		}
		now := start.Add(30 * time.Second)
		if b.State(now) != breaker.HalfOpen {
			t.Fatal(b.State(now))
		}
		b.Done(&slower, outcome, now, true)
		if b.State(now) != breaker.HalfOpen {
			t.Errorf("%s: a call from before the trip decided the probe", name)
		}
	}
}

func TestAnOutcomeCountsOnce(t *testing.T) {
	b := newBreaker(breaker.Policy{Failures: 2})
	c, _ := b.Allow(start)
	b.Done(&c, errDown, start, true)
	b.Done(&c, errDown, start, true)
	if b.State(start) != breaker.Closed {
		t.Error("one call that was told twice opened it")
	}
}

func TestAProbeThatSaysNothingGivesItsPlaceBack(t *testing.T) {
	b, now := opened(breaker.Policy{}), start.Add(30*time.Second)
	probe, ok := b.Allow(now)
	if !ok {
		t.Fatal("no probe")
	}
	b.Forget(&probe, now)
	if b.State(now) != breaker.HalfOpen {
		t.Fatalf("a probe whose caller went away made it %s", b.State(now))
	}
	if !call(b, nil, now) || b.State(now) != breaker.Closed {
		t.Error("the next call was no probe")
	}
}

func TestAHungProbeHasFailed(t *testing.T) {
	b, now := opened(breaker.Policy{Probes: 2, Lease: 3 * time.Second}), start.Add(30*time.Second)
	hung, _ := b.Allow(now)
	now = now.Add(time.Second)
	if !call(b, nil, now) {
		t.Fatal("no second probe")
	}
	if want := start.Add(33 * time.Second); b.Next() != want {
		t.Errorf("next is %s", b.Next())
	}
	now = now.Add(2 * time.Second)
	if b.State(now) != breaker.Open || b.Reason() != "a probe had no outcome for 3s" {
		t.Fatalf("%s because %q", b.State(now), b.Reason())
	}
	b.Done(&hung, nil, now, true)
	if b.State(now) != breaker.Open {
		t.Error("a probe that answered after its lease closed it")
	}
	now = now.Add(30 * time.Second)
	for range 2 {
		if !call(b, nil, now) {
			t.Fatal("the hung probe jams it")
		}
	}
	if b.State(now) != breaker.Closed {
		t.Error("good probes did not close it")
	}
}

func TestSeveralProbesMustAllSucceed(t *testing.T) {
	b, now := opened(breaker.Policy{Probes: 3}), start.Add(30*time.Second)
	for range 2 {
		if !call(b, nil, now) || b.State(now) != breaker.HalfOpen {
			t.Fatal("closed before the last probe")
		}
	}
	if !call(b, errDown, now) || b.State(now) != breaker.Open {
		t.Error("a failed probe among good ones did not open it")
	}
}

func TestWhatCannotBeSparedIsHeld(t *testing.T) {
	b := newBreaker(breaker.Policy{Failures: 2})
	outcome := func(err error) {
		t.Helper()
		c, ok := b.Allow(start)
		if !ok {
			t.Fatal("refused")
		}
		b.Done(&c, err, start, false)
	}
	outcome(errDown)
	outcome(errDown)
	if b.State(start) != breaker.Closed || !b.Held() {
		t.Fatalf("%s, held: %v", b.State(start), b.Held())
	}
	outcome(nil)
	if b.LetGo(start); b.Held() || b.State(start) != breaker.Closed {
		t.Error("it is held although its callee is well")
	}
	outcome(errDown)
	outcome(errDown)
	if b.LetGo(start); b.State(start) != breaker.Open || b.Reason() != "2 failures: connection refused" {
		t.Errorf("let go it is %s because %q", b.State(start), b.Reason())
	}
}

func TestForcedStaysUntilReset(t *testing.T) {
	b := newBreaker(breaker.Policy{})
	b.Force(breaker.Open, start)
	if call(b, nil, start.Add(time.Hour)) || !b.Next().IsZero() || !b.Until().IsZero() {
		t.Error("a breaker that was opened by hand let a call through")
	}
	b.Force(breaker.Closed, start)
	for range 100 {
		if !call(b, errDown, start) {
			t.Fatal("a breaker that was closed by hand opened")
		}
	}
	b.Reset(start)
	if !call(b, nil, start) || b.Forced() {
		t.Error("reset did not close it")
	}
}

func TestAResumedBreakerIsHalfOpen(t *testing.T) {
	b := newBreaker(breaker.Policy{})
	b.Resume("5 failures: connection refused", start)
	if b.State(start) != breaker.HalfOpen || b.Reason() != "5 failures: connection refused" {
		t.Fatalf("%s because %q", b.State(start), b.Reason())
	}
	if !call(b, nil, start) || b.State(start) != breaker.Closed {
		t.Error("a good probe did not close it")
	}
}

// Whatever happens in whatever order, a breaker is never jammed: an hour later
// good calls close it.
func TestNothingJams(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		b, now := breaker.New(breaker.Policy{Failures: 2, Probes: 1 + r.IntN(3)}, r.Float64, start), start
		var calls []*breaker.Call
		var told string
		for range 200 {
			now = now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
			c, ok := b.Allow(now)
			if ok {
				calls = append(calls, &c)
			}
			if len(calls) == 0 {
				continue
			}
			c2, what := calls[r.IntN(len(calls))], r.IntN(4)
			switch what {
			case 0:
				b.Done(c2, nil, now, r.IntN(2) == 0)
			case 1, 2:
				b.Done(c2, errDown, now, r.IntN(2) == 0)
			case 3:
				b.Forget(c2, now)
			}
			told += fmt.Sprint(what)
		}
		for range 10 {
			now = now.Add(time.Hour)
			call(b, nil, now)
		}
		if b.State(now) != breaker.Closed {
			t.Fatalf("seed %d: %s because %q after %s", seed, b.State(now), b.Reason(), told)
		}
	}
}

// A breaker that sixteen ask and tell at once, under a lock as the gate holds it.
func BenchmarkContended16(b *testing.B) {
	var mu sync.Mutex
	br := breaker.New(breaker.Policy{}, rand.Float64, time.Now())
	b.ReportAllocs()
	b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			mu.Lock()
			call, _ := br.Allow(time.Now())
			mu.Unlock()
			mu.Lock()
			br.Done(&call, nil, time.Now(), true)
			mu.Unlock()
		}
	})
}
