package machine

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/weftrun/weft/workflows"
)

// Step is one execution of a task, for people to look at.
type Step struct {
	ID      uint32 // in order of beginning, from 1
	Parent  uint32 // step of the task around it; 0 for none
	Name    string
	Pointer string // JSON Pointer of the task
	Kind    string // call, http, do, emit, for, fork, listen, raise, run, set, switch, try, wait
	Status  StepStatus
	Attempt uint32 // which try of the enclosing try it is, or how many attempts a try has made
	Started time.Time
	Ended   time.Time // zero while it goes on
	Input   []byte    // JSON; what a handler was given, or the task's input
	Output  []byte    // JSON, once completed
	Fault   *Fault
	Waiting string // what it waits for
	Notes   []Note
}

// StepStatus is the state of a step: the words of a run, and skipped.
type StepStatus string

// The states of a step.
const (
	StepRunning   StepStatus = "running"
	StepParked    StepStatus = "parked"
	StepCompleted StepStatus = "completed"
	StepFaulted   StepStatus = "faulted"
	StepCancelled StepStatus = "cancelled"
	StepSkipped   StepStatus = "skipped"
)

// Note is something that happened to a step and changed nothing in the run.
type Note struct {
	At      time.Time
	Kind    Kind // Attempted, Outcome, Parked or Woken
	Ordinal uint32
	Text    string // why it was parked
}

// TraceValueMax bounds the input and the output of a Step; of a longer one
// only the length is told.
const TraceValueMax = 64 << 10

// Trace folds the entries that follow and tells the steps that were in
// progress before and those that have begun since, in order of beginning.
func (m *Machine) Trace(entries iter.Seq[Entry]) ([]Step, error) {
	r := &recorder{index: map[uint32]int{}}
	m.trace = r
	m.inProgress(r.begun)
	for e := range entries {
		if _, err := m.Advance(e); err != nil {
			return nil, err
		}
	}
	r.open(m)
	return r.steps, nil
}

// recorder gathers the steps of a machine as it advances.
type recorder struct {
	steps []Step
	index map[uint32]int // of each step by its number
}

// step is what is told of a step, nil of one that ended before the trace began.
func (r *recorder) step(number uint32) *Step {
	if i, ok := r.index[number]; ok {
		return &r.steps[i]
	}
	return nil
}

func moment(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

// inProgress has fn called with the tasks in progress, in the order in which
// they began.
func (m *Machine) inProgress(fn func(b *branch, i int)) {
	type place struct {
		b *branch
		i int
	}
	var all []place
	for b, i := range m.frames() {
		if b.stack[i].task != nil {
			all = append(all, place{b, i})
		}
	}
	slices.SortFunc(all, func(x, y place) int { return cmp.Compare(x.b.stack[x.i].step, y.b.stack[y.i].step) })
	for _, at := range all {
		fn(at.b, at.i)
	}
}

// begun tells of the task at a place of a branch.
func (r *recorder) begun(b *branch, i int) {
	f := &b.stack[i]
	r.index[f.step] = len(r.steps)
	s := Step{
		ID: f.step, Name: f.task.Name, Pointer: f.task.Pointer, Kind: f.task.Kind.String(), Status: StepRunning,
		Attempt: attempts(outwards(b, i)), Started: moment(f.begun),
	}
	if i > 0 {
		s.Parent = b.stack[i-1].step
	} else if b.parent != nil {
		s.Parent = b.parent.top().step
	}
	r.steps = append(r.steps, s)
}

func (r *recorder) entered(m *Machine) { r.begun(m.on, len(m.on.stack)-1) }

func (r *recorder) closed(m *Machine, f *frame, status StepStatus) *Step {
	s := r.step(f.step)
	s.Status, s.Ended = status, moment(m.now)
	r.inside(s, f)
	return s
}

// inside tells what the frame knows of a step.
func (r *recorder) inside(s *Step, f *frame) {
	if s.Input == nil {
		s.Input = shown(f.input)
	}
	if f.attempt > 0 {
		s.Attempt = f.attempt
	}
}

// issued tells what a handler, a run or a script is given.
func (r *recorder) issued(c *Command) {
	if (c.Kind == CallHandler || c.Kind == RunWorkflow || c.Kind == RunScript) && len(c.Input) <= TraceValueMax {
		r.step(c.Step).Input = c.Input
	}
}

func shown(v any) []byte {
	if workflows.Size(v, TraceValueMax) > TraceValueMax {
		return workflows.AppendJSON(nil, fmt.Sprintf("(more than %d bytes)", TraceValueMax))
	}
	return workflows.AppendJSON(nil, v)
}

func (r *recorder) completed(m *Machine, f *frame, output any) {
	r.closed(m, f, StepCompleted).Output = shown(output)
}

func (r *recorder) left(m *Machine, f *frame) { r.closed(m, f, StepCompleted) }

func (r *recorder) started(*Machine, *frame) {}

func (r *recorder) retried(*Machine, *frame) {}

func (r *recorder) skipped(m *Machine, f *frame) { r.closed(m, f, StepSkipped) }

func (r *recorder) faulted(m *Machine, f *frame, fault *Fault) {
	r.closed(m, f, StepFaulted).Fault = fault
}

func (r *recorder) cancelled(m *Machine, f *frame) {
	if f.task != nil {
		r.closed(m, f, StepCancelled)
	}
}

func (r *recorder) note(e Entry) {
	s := r.step(e.Step)
	if s == nil {
		return
	}
	n := Note{At: moment(e.At), Kind: e.Kind, Ordinal: e.Ordinal}
	if e.Kind == Parked {
		n.Text = string(e.Data)
	}
	s.Notes = append(s.Notes, n)
	switch {
	case s.Status == StepRunning && e.Kind == Parked:
		s.Status = StepParked
	case s.Status == StepParked:
		s.Status = StepRunning
	}
}

// open tells of the steps that go on.
func (r *recorder) open(m *Machine) {
	m.inProgress(func(b *branch, i int) {
		f := &b.stack[i]
		s := r.step(f.step)
		r.inside(s, f)
		if i < len(b.stack)-1 || f.branches != nil {
			return
		}
		s.Waiting = m.waitingFor(f)
		if s.Status == StepParked {
			s.Waiting = s.Notes[len(s.Notes)-1].Text
		}
	})
}
