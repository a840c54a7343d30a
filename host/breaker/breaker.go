// Package breaker decides when not to call: a pure state machine with the
// states closed, open and half-open (M. Nygard, Release It!). Time is passed in.
package breaker

import (
	"fmt"
	"time"
)

// State of a breaker.
type State int

// A closed breaker lets calls through, an open one none, and a half-open one a
// few probes.
const (
	Closed State = iota
	Open
	HalfOpen
)

// String is the state as people read it.
func (s State) String() string { return [...]string{"closed", "open", "half-open"}[s] }

// Policy is when a breaker opens and for how long. Zero fields mean their defaults.
type Policy struct {
	Failures int           `json:"failures,omitempty"` // in a row that open it while calls are few; default 5
	Open     time.Duration `json:"open,omitempty"`     // default 30 s; Jitter is added or taken
	Probes   int           `json:"probes,omitempty"`   // at once while half-open, all of which must succeed; default 1
}

// The volume rule: from VolumeMin calls within Window on, failures in a row say
// little, and the breaker opens when half of them failed, or RowMax in a row.
const (
	Window    = 10 * time.Second
	VolumeMin = 20
	RowMax    = 20
	ProbeMax  = time.Minute // after which a probe without an outcome has failed
)

func (p Policy) filled() Policy {
	if p.Failures <= 0 {
		p.Failures = 5
	}
	if p.Open <= 0 {
		p.Open = 30 * time.Second
	}
	if p.Probes <= 0 {
		p.Probes = 1
	}
	return p
}

// Breaker guards one instance. It is not safe for use by several goroutines.
type Breaker struct {
	policy Policy
	state  State
	forced bool
	until  time.Time // while open
	since  time.Time // of the latest transition
	reason string
	round  int // grows with every transition: outcomes of calls begun before do not count

	row, calls, failed int // failures in a row; in the window
	window             time.Time
	probes, proven     int
	probed             time.Time
}

// New makes a closed breaker.
func New(p Policy, now time.Time) *Breaker {
	return &Breaker{policy: p.filled(), since: now, window: now}
}

// SetPolicy changes the policy from the next outcome on.
func (b *Breaker) SetPolicy(p Policy) { b.policy = p.filled() }

// State is the state at now: an open breaker whose time is up is half-open.
func (b *Breaker) State(now time.Time) State {
	if b.state == Open && !b.forced && !now.Before(b.until) {
		b.turn(HalfOpen, now)
	}
	return b.state
}

// Until is when an open breaker will let a probe through; zero when only a
// person can say.
func (b *Breaker) Until() time.Time {
	if b.forced {
		return time.Time{}
	}
	return b.until
}

// Reason is why it opened last, such as "5 failures: connection refused".
func (b *Breaker) Reason() string { return b.reason }

// Since is when the state last changed.
func (b *Breaker) Since() time.Time { return b.since }

// Forced reports whether a person holds it in its state.
func (b *Breaker) Forced() bool { return b.forced }

// Call is one call that was let through; give it to Done once.
type Call struct{ round int }

// Allow asks for a call. ok is false when it must not be made.
func (b *Breaker) Allow(now time.Time) (c Call, ok bool) {
	switch b.State(now) {
	case Open:
		return Call{}, false
	case HalfOpen:
		if b.probes-b.proven >= b.policy.Probes && now.Sub(b.probed) < ProbeMax {
			return Call{}, false
		}
		b.probes++
		b.probed = now
	}
	return Call{b.round}, true
}

// Done tells how a call went: err is nil when the callee is well. jitter, from
// -1 to 1, spreads the end of the open time by a fifth.
func (b *Breaker) Done(c Call, err error, now time.Time, jitter float64) {
	if c.round != b.round || b.forced {
		return
	}
	if b.state == HalfOpen {
		if err != nil {
			b.open(fmt.Sprintf("the probe failed: %v", err), now, jitter)
		} else if b.proven++; b.proven >= b.policy.Probes {
			b.turn(Closed, now)
		}
		return
	}
	b.count(err != nil, now)
	if err != nil && b.tripped() {
		b.open(fmt.Sprintf("%d failures: %v", b.row, err), now, jitter)
	}
}

// Forget tells that a call says nothing about the callee, as when the caller
// has gone.
func (b *Breaker) Forget(c Call) {
	if c.round == b.round && b.state == HalfOpen && b.probes > b.proven {
		b.probes--
	}
}

func (b *Breaker) count(failed bool, now time.Time) {
	if now.Sub(b.window) >= Window {
		b.window, b.calls, b.failed = now, 0, 0
	}
	b.calls++
	if !failed {
		b.row = 0
		return
	}
	b.row++
	b.failed++
}

func (b *Breaker) tripped() bool {
	if b.calls < VolumeMin {
		return b.row >= b.policy.Failures
	}
	return 2*b.failed >= b.calls || b.row >= RowMax
}

func (b *Breaker) open(reason string, now time.Time, jitter float64) {
	b.turn(Open, now)
	b.reason = reason
	b.until = now.Add(b.policy.Open + time.Duration(jitter*float64(b.policy.Open)/5))
}

func (b *Breaker) turn(s State, now time.Time) {
	b.state, b.since = s, now
	b.round++
	b.row, b.calls, b.failed, b.probes, b.proven, b.window = 0, 0, 0, 0, 0, now
}

// Force holds the breaker open or closed until Reset.
func (b *Breaker) Force(s State, now time.Time) {
	b.turn(s, now)
	b.forced, b.reason = true, "by hand"
}

// Reset lets the breaker decide by itself again, from closed.
func (b *Breaker) Reset(now time.Time) {
	b.turn(Closed, now)
	b.forced, b.reason = false, ""
}
