// Package breaker decides when not to call: a pure state machine with the
// states closed, open and half-open (M. Nygard, Release It!). Time and chance
// are handed in.
package breaker

import (
	"fmt"
	"slices"
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

// Policy is when a breaker opens and for how long. Zero fields mean their
// defaults. While fewer than Volume calls were made within Window, Failures in
// a row open it; from then on a row says little, and it opens when Percent of
// the calls failed, or Row in a row.
type Policy struct {
	Failures int           `json:"failures,omitempty"` // default 5
	Window   time.Duration `json:"window,omitempty"`   // default 10 s
	Volume   int           `json:"volume,omitempty"`   // default 20
	Percent  int           `json:"percent,omitempty"`  // default 50
	Row      int           `json:"row,omitempty"`      // default 20
	Open     time.Duration `json:"open,omitempty"`     // default 30 s; a fifth is added or taken by chance
	Probes   int           `json:"probes,omitempty"`   // at once while half-open, all of which must succeed; default 1
	Slow     time.Duration `json:"slow,omitempty"`     // a call that took longer has failed; default: none has
	Lease    time.Duration `json:"lease,omitempty"`    // a probe without an outcome for so long has failed; default 10 s
}

// Filled is p with its defaults.
func (p Policy) Filled() Policy {
	fill(&p.Failures, 5)
	fill(&p.Window, 10*time.Second)
	fill(&p.Volume, 20)
	fill(&p.Percent, 50)
	fill(&p.Row, 20)
	fill(&p.Open, 30*time.Second)
	fill(&p.Probes, 1)
	fill(&p.Lease, 10*time.Second)
	return p
}

func fill[T int | time.Duration](field *T, v T) {
	if *field <= 0 {
		*field = v
	}
}

// Breaker guards one instance. It is not safe for use by several goroutines.
type Breaker struct {
	policy Policy
	chance func() float64
	state  State
	forced bool
	held   bool
	until  time.Time // while open
	since  time.Time // of the latest transition
	reason string
	round  int // grows with every transition: outcomes of calls begun before do not count

	row    int // failures in a row
	window window
	probes []probe // under way
	proven int     // probes that went well
	last   int     // id of the latest probe
}

type probe struct {
	id   int
	ends time.Time // of its lease
}

// New makes a closed breaker. chance gives numbers from 0 to below 1.
func New(p Policy, chance func() float64, now time.Time) *Breaker {
	return &Breaker{policy: p.Filled(), chance: chance, since: now, window: window{begun: now}}
}

// SetPolicy changes the policy from the next outcome on.
func (b *Breaker) SetPolicy(p Policy) { b.policy = p.Filled() }

// State is the state at now: the time of an open breaker, or the lease of a
// probe, may be up.
func (b *Breaker) State(now time.Time) State {
	if b.forced {
		return b.state
	}
	if b.state == Open && !now.Before(b.until) {
		b.turn(HalfOpen, now)
	}
	if b.state == HalfOpen && slices.ContainsFunc(b.probes, func(p probe) bool { return !now.Before(p.ends) }) {
		b.open(fmt.Sprintf("a probe had no outcome for %s", b.policy.Lease), now)
	}
	return b.state
}

// Next is when time alone will change the state next; zero for never.
func (b *Breaker) Next() (at time.Time) {
	if b.forced {
		return at
	}
	if b.state == Open {
		return b.until
	}
	for _, p := range b.probes {
		if at.IsZero() || p.ends.Before(at) {
			at = p.ends
		}
	}
	return at
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

// Round grows with every transition.
func (b *Breaker) Round() int { return b.round }

// Call is one call that was let through. It has one outcome, by Done or by
// Forget; a second one is passed over.
type Call struct {
	round, probe int
	begun        time.Time
	over         bool
}

// Allow asks for a call. ok is false when it must not be made.
func (b *Breaker) Allow(now time.Time) (c Call, ok bool) {
	c = Call{round: b.round, begun: now}
	switch b.State(now) {
	case Open:
		return Call{over: true}, false
	case HalfOpen:
		if len(b.probes)+b.proven >= b.policy.Probes {
			return Call{over: true}, false
		}
		b.last++
		b.probes = append(b.probes, probe{b.last, now.Add(b.policy.Lease)})
		c.round, c.probe = b.round, b.last
	}
	return c, true
}

// Done tells how a call went: err is nil when the callee is well. Without
// spare, which says that others can take the calls, a breaker that should open
// is held closed instead, until it is let go or its callee is well.
func (b *Breaker) Done(c *Call, err error, now time.Time, spare bool) {
	if !b.ends(c, now) {
		return
	}
	if took := now.Sub(c.begun); err == nil && b.policy.Slow > 0 && took > b.policy.Slow {
		err = fmt.Errorf("a call took %s, over %s", took.Round(time.Millisecond), b.policy.Slow)
	}
	if b.state == HalfOpen {
		b.proved(err, now)
		return
	}
	b.window.add(err != nil, b.policy.Window, now)
	if b.row++; err == nil {
		b.row = 0
	}
	if err == nil && !b.held {
		return
	}
	why, tripped := b.tripped()
	if b.held = tripped; !tripped {
		return
	}
	if err != nil {
		b.reason = fmt.Sprintf("%s: %v", why, err)
	}
	if spare {
		b.LetGo(now)
	}
}

// Forget tells that a call says nothing about the callee, as when the caller
// has gone. A probe's place is free again.
func (b *Breaker) Forget(c *Call, now time.Time) { b.ends(c, now) }

// ends takes a call's one outcome; it is false when that does not count.
func (b *Breaker) ends(c *Call, now time.Time) bool {
	if c.over {
		return false
	}
	c.over = true
	b.State(now)
	if c.round != b.round || b.forced {
		return false
	}
	b.probes = slices.DeleteFunc(b.probes, func(p probe) bool { return p.id == c.probe })
	return true
}

func (b *Breaker) proved(err error, now time.Time) {
	if err != nil {
		b.open(fmt.Sprintf("the probe failed: %v", err), now)
	} else if b.proven++; b.proven >= b.policy.Probes {
		b.turn(Closed, now)
	}
}

func (b *Breaker) tripped() (why string, ok bool) {
	calls, failed := b.window.sum()
	if calls < b.policy.Volume {
		return b.rowText(), b.row >= b.policy.Failures
	}
	if b.row >= b.policy.Row {
		return b.rowText(), true
	}
	return fmt.Sprintf("%d of %d calls failed", failed, calls), 100*failed >= b.policy.Percent*calls
}

func (b *Breaker) rowText() string {
	if b.row == 1 {
		return "1 failure"
	}
	return fmt.Sprintf("%d failures", b.row)
}

// Held reports that it should be open, but the callee could not be spared.
func (b *Breaker) Held() bool { return b.held }

// LetGo opens a breaker that is held.
func (b *Breaker) LetGo(now time.Time) {
	if b.held {
		b.open(b.reason, now)
	}
}

func (b *Breaker) open(reason string, now time.Time) {
	b.turn(Open, now)
	b.reason = reason
	b.until = now.Add(b.policy.Open + time.Duration((2*b.chance()-1)*float64(b.policy.Open)/5))
}

func (b *Breaker) turn(s State, now time.Time) {
	b.state, b.since, b.held = s, now, false
	b.round++
	b.row, b.window, b.probes, b.proven = 0, window{begun: now}, nil, 0
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

// Resume makes a breaker half-open that was open, for that reason, when the
// process ended: the callee may be well meanwhile.
func (b *Breaker) Resume(reason string, now time.Time) {
	b.turn(HalfOpen, now)
	b.reason = reason
}

// slots are the parts of a window, of which the oldest goes when a new one begins.
const slots = 10

// window counts calls and failures of the latest time.
type window struct {
	begun time.Time
	slot  int64 // of the latest call, from begun
	calls [slots]int
	fails [slots]int
}

func (w *window) add(failed bool, length time.Duration, now time.Time) {
	slot := int64(now.Sub(w.begun) / max(length/slots, 1))
	for s := max(w.slot+1, slot-slots+1); s <= slot; s++ {
		w.calls[s%slots], w.fails[s%slots] = 0, 0
	}
	w.slot = max(w.slot, slot)
	w.calls[w.slot%slots]++
	if failed {
		w.fails[w.slot%slots]++
	}
}

func (w *window) sum() (calls, failed int) {
	for i := range slots {
		calls += w.calls[i]
		failed += w.fails[i]
	}
	return calls, failed
}
