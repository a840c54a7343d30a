package machine

import (
	"fmt"

	"github.com/weftrun/weft/workflows"
)

// timer is the next moment at which a frame wants to hear of the time.
type timer struct {
	at     int64
	branch *branch
	frame  int
	kind   timerKind
}

// timerKind orders what is due at once: the first goes first.
type timerKind uint8

const (
	wakes       timerKind = iota // a wait or a delay is over
	attemptEnds                  // limit.attempt.duration
	deadline                     // timeout.after
)

// earliest is the timer that is due first; of those due at once, the one of
// the innermost task, and of several branches the one that is declared first.
func (m *Machine) earliest() (timer, bool) {
	var first timer
	found := false
	for b, i := range m.frames() {
		f := &b.stack[i]
		for kind, at := range [...]int64{f.wake, f.attemptEnds, f.deadline} {
			if at != 0 && (!found || at < first.at) {
				first, found = timer{at: at, branch: b, frame: i, kind: timerKind(kind)}, true
			}
		}
	}
	return first, found
}

// NextTimer is when the run must hear of the time by an entry at the latest.
func (m *Machine) NextTimer() (at int64, ok bool) {
	if m.paused {
		return 0, false
	}
	t, ok := m.earliest()
	return t.at, ok
}

// fire lets every timer that is due have its effect, in order of due time.
func (m *Machine) fire() {
	for !m.paused && !m.status.Ended() {
		t, ok := m.earliest()
		if !ok || t.at > m.now {
			return
		}
		m.settle(m.due(t))
	}
}

func (m *Machine) due(t timer) move {
	m.on = t.branch
	f := &m.on.stack[t.frame]
	switch t.kind {
	case wakes:
		f.wake = 0
		if f.task.Kind == workflows.KindTry {
			return m.attempt(f)
		}
		return move{kind: finish, value: f.input}
	case attemptEnds:
		m.interrupt(t)
		f.attemptEnds = 0
		return move{kind: raise, fault: m.standard(workflows.TimeoutError, fmt.Sprintf("attempt %d took too long", f.attempt))}
	}
	m.interrupt(t)
	m.drop(f)
	f.phase, f.deadline = inOutput, 0
	if f.task != nil {
		return move{kind: raise, fault: m.standard(workflows.TimeoutError, "the task "+f.task.Name+" took too long")}
	}
	fault := m.standard(workflows.TimeoutError, "the workflow took too long")
	fault.Instance = "/timeout"
	return move{kind: raise, fault: fault}
}

// interrupt cancels all that goes on inside the task of a timer.
func (m *Machine) interrupt(t timer) {
	m.cut(t.branch, t.frame+1)
	m.cutBranches(&t.branch.stack[t.frame])
}

// deadline is the earliest end of a timeout around the top frame; 0 for none.
func (m *Machine) deadline() int64 {
	var first int64
	for f := range m.around() {
		for _, at := range [...]int64{f.attemptEnds, f.deadline} {
			if at != 0 && (first == 0 || at < first) {
				first = at
			}
		}
	}
	return first
}
