package breaker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/weftrun/weft/host/breaker"
)

var errDown = errors.New("connection refused")

// call makes one call and reports whether it was let through.
func call(b *breaker.Breaker, err error, now time.Time) bool {
	c, ok := b.Allow(now)
	if ok {
		b.Done(c, err, now, 0)
	}
	return ok
}

func TestFiveFailuresOpenAndAProbeCloses(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker.New(breaker.Policy{}, now)
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
	b.Done(probe, errDown, now, 0)
	if b.State(now) != breaker.Open {
		t.Fatal("a failed probe opens again")
	}
	now = now.Add(30 * time.Second)
	if !call(b, nil, now) || b.State(now) != breaker.Closed {
		t.Fatal("a good probe closes")
	}
}

func TestASuccessBreaksTheRow(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker.New(breaker.Policy{}, now)
	for range 4 {
		call(b, errDown, now)
	}
	call(b, nil, now)
	for range 4 {
		call(b, errDown, now)
	}
	if b.State(now) != breaker.Closed {
		t.Error("four, one good and four failures opened it")
	}
}

func TestUnderLoadABackgroundOfErrorsDoesNotOpen(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker.New(breaker.Policy{}, now)
	for i := range 1000 {
		var err error
		if i%10 >= 7 {
			err = errDown
		}
		if !call(b, err, now) {
			t.Fatal("30% of errors opened it")
		}
	}
	for range 20 {
		call(b, errDown, now)
	}
	if b.State(now) != breaker.Open {
		t.Error("20 failures in a row did not open it")
	}
}

func TestOutcomesOfOlderCallsDoNotCount(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker.New(breaker.Policy{Failures: 1}, now)
	slow, _ := b.Allow(now)
	call(b, errDown, now)
	now = now.Add(30 * time.Second)
	if b.State(now) != breaker.HalfOpen {
		t.Fatal(b.State(now))
	}
	b.Done(slow, nil, now, 0)
	if b.State(now) != breaker.HalfOpen {
		t.Error("a call from before the trip decided the probe")
	}
}

func TestALostProbeDoesNotJam(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker.New(breaker.Policy{Failures: 1}, now)
	call(b, errDown, now)
	now = now.Add(30 * time.Second)
	if _, ok := b.Allow(now); !ok {
		t.Fatal("no probe")
	}
	if !call(b, nil, now.Add(breaker.ProbeMax)) {
		t.Error("a probe without an outcome jams the breaker")
	}
}

func TestForcedStaysUntilReset(t *testing.T) {
	now := time.Unix(0, 0)
	b := breaker.New(breaker.Policy{}, now)
	b.Force(breaker.Open, now)
	if call(b, nil, now.Add(time.Hour)) {
		t.Error("a breaker that was opened by hand let a call through")
	}
	b.Reset(now)
	if !call(b, nil, now) {
		t.Error("reset did not close it")
	}
}
