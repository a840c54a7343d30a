package machine

import (
	"fmt"
	"time"

	"github.com/weftrun/weft/workflows"
)

// attempt begins the tasks under try, for the first time or again.
func (m *Machine) attempt(f *frame) move {
	f.attempt++
	f.phase, f.at, f.wake, f.caught, f.attemptEnds = inBody, 0, 0, nil, 0
	if f.attempt > 1 && m.trace != nil {
		m.trace.retried(m, f)
	}
	if r := f.task.Catch.Retry; r != nil && r.Attempt != nil {
		d, err := r.Attempt.Eval(f.input, m)
		if err != nil {
			return m.outside(f, err)
		}
		f.attemptEnds = m.now + d.Microseconds()
	}
	return move{kind: enter, task: f.task.Do[0], value: f.input}
}

// outside fails the try itself, so that its own catch does not see it.
func (m *Machine) outside(f *frame, err error) move {
	f.phase = inOutput
	return m.failed(workflows.ExpressionError, err)
}

// raise looks downwards for a try that catches the fault. A fault that a branch
// of a fork does not catch is the fork's, and the other branches are cancelled.
func (m *Machine) raise(fault *Fault) move {
	for {
		f := m.top()
		if f == nil {
			m.on = m.on.parent
			m.cutBranches(m.top())
			continue
		}
		if f.task == nil {
			m.faulted(fault)
			return move{}
		}
		if f.task.Kind == workflows.KindTry && f.phase == inBody {
			yes, err := m.catches(f, fault)
			if err != nil {
				return m.outside(f, err)
			}
			if yes {
				return m.handle(f, fault)
			}
		}
		if m.trace != nil {
			m.trace.faulted(m, f, fault)
		}
		m.pop()
	}
}

// catches reports whether the catch of f is meant for the fault. After true
// the fault is f.caught.
func (m *Machine) catches(f *frame, fault *Fault) (bool, error) {
	c := f.task.Catch
	if !fault.matches(c.With) {
		return false, nil
	}
	f.caught = fault
	yes, err := m.both(f, c.When, c.ExceptWhen)
	if !yes {
		f.caught = nil
	}
	return yes, err
}

// both reports whether when holds and except does not; either may be nil.
func (m *Machine) both(f *frame, when, except *workflows.Expr) (bool, error) {
	if when != nil {
		if yes, err := when.True(f.input, m); !yes || err != nil {
			return false, err
		}
	}
	if except != nil {
		no, err := except.True(f.input, m)
		return !no && err == nil, err
	}
	return true, nil
}

// handle starts over, or runs the tasks under catch. A retry that has given
// up raises the fault again, unless catch says what to do then.
func (m *Machine) handle(f *frame, fault *Fault) move {
	c := f.task.Catch
	f.attemptEnds = 0
	if c.Retry != nil {
		delay, again, err := m.retries(f, c.Retry)
		switch {
		case err != nil:
			return m.outside(f, err)
		case again && delay == 0:
			return m.attempt(f)
		case again:
			f.phase, f.wake = inDelay, m.now+delay.Microseconds()
			return move{}
		case len(c.Do) == 0 && !c.HasThen:
			f.phase = inOutput
			return move{kind: raise, fault: fault}
		}
	}
	f.phase, f.at = inCatch, 0
	if len(c.Do) > 0 {
		return move{kind: enter, task: c.Do[0], value: f.input}
	}
	return m.caught(f, f.input)
}

// caught finishes a try whose error path is done.
func (m *Machine) caught(f *frame, value any) move {
	if f.task.Catch.HasThen {
		f.then = f.task.Catch.Then
	}
	return move{kind: finish, value: value}
}

// retries says whether f starts over, and after which delay.
func (m *Machine) retries(f *frame, r *workflows.Retry) (time.Duration, bool, error) {
	if int(f.attempt) > r.Count {
		return 0, false, nil
	}
	if yes, err := m.both(f, r.When, r.ExceptWhen); !yes || err != nil {
		return 0, false, err
	}
	delay, err := m.delay(f, r)
	if err != nil || r.Within == nil {
		return delay, err == nil, err
	}
	within, err := r.Within.Eval(f.input, m)
	if err != nil {
		return 0, false, err
	}
	return delay, m.now+delay.Microseconds() <= f.tried+within.Microseconds(), nil
}

// delay is the time before the next attempt: the base, grown, and jitter.
func (m *Machine) delay(f *frame, r *workflows.Retry) (time.Duration, error) {
	base, err := m.length(f, r.Delay)
	if err != nil {
		return 0, err
	}
	d := grown(base, r.Backoff, f.attempt)
	from, err := m.length(f, r.JitterFrom)
	if err != nil {
		return 0, err
	}
	to, err := m.length(f, r.JitterTo)
	if err != nil {
		return 0, err
	}
	if to < from {
		return 0, fmt.Errorf("retry.jitter: to is shorter than from")
	}
	if span := uint64(to - from); span > 0 {
		from += time.Duration(m.chance(f) % (span + 1))
	}
	return d + from, nil
}

func (m *Machine) length(f *frame, d *workflows.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	return d.Eval(f.input, m)
}

// grown is the delay before retry n, at most RetryDelayMax unless the base is longer.
func grown(base time.Duration, b workflows.Backoff, n uint32) time.Duration {
	most := max(base, workflows.RetryDelayMax)
	d := base
	switch b {
	case workflows.BackoffLinear:
		if n > 0 && base > most/time.Duration(n) {
			return most
		}
		d = base * time.Duration(n)
	case workflows.BackoffExponential:
		for range n - 1 {
			if d *= 2; d >= most || d == 0 {
				break
			}
		}
	}
	return min(d, most)
}

// chance draws a number that depends only on the run's seed, the step and the
// attempt (splitmix64).
func (m *Machine) chance(f *frame) uint64 {
	z := m.seed + 0x9e3779b97f4a7c15*(uint64(f.step)<<32|uint64(f.attempt))
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
