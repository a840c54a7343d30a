// Package machine is the law of a run: a pure function from the entries of
// its journal to its state and to the commands that come next. It reads no
// clock, starts no goroutine and touches no disk. The same entries give the
// same commands, whenever and wherever they are folded.
package machine

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// SliceMax is how many tasks one entry begins before the run goes on with an
// entry Continued. A replay depends on it: it never changes.
const SliceMax = 10_000

// Bounds of one run.
const (
	LoopMax       = 1_000_000 // tasks begun without a call or a wait; a loop that never ends ends the run here
	InboxMax      = 1_000     // events that wait for a listen
	InboxBytesMax = 16 << 20  // their data, all together
	RunDepthMax   = 32        // runs inside each other
)

// Info is what a run is called.
type Info struct {
	RunID     string
	Namespace string
	Depth     int // runs around it
}

// Machine is one run. It is not safe for use by several goroutines.
type Machine struct {
	def  *workflows.Definition
	info Info
	state
	on *branch // what happens now happens in it

	out      []Command // of this entry
	cuts     []Command // of this entry, see Effects.Cut
	slice    int       // tasks begun by this entry
	workflow any       // $workflow, made when first read
	trace    witness   // nil but under Trace and Follow
	life     *life     // nil but under Follow
}

// state is all that the entries so far have made. It holds data only.
type state struct {
	started      bool
	paused       bool
	status       Status // without Paused
	now          int64  // time of the latest entry
	startedAt    int64
	seed         uint64
	input        any
	steps        uint32    // begun so far; the number of the latest
	root         *branch   // the run itself
	ready        []*branch // those with a next move, in the order of their turns
	inbox        []weft.Event
	inboxBytes   int
	correlations map[string]any // what the first event of each name gave
	held         []Entry        // answers that came while paused
	stretch      int            // tasks begun since something other than a Continued came
	reason       string         // of a pause or a cancellation
	output       []byte
	fault        *Fault
}

// frame is one task in progress. The lowest is the run itself, without a task.
type frame struct {
	task     *workflows.Task
	step     uint32
	phase    phase
	at       int            // position in the list that runs
	then     workflows.Then // what comes after the task
	raw      any            // input before input.from
	input    any
	result   any   // raw output
	output   any   // after output.as
	begun    int64 // unix microseconds, as all below
	deadline int64 // end of its timeout; 0 for none
	wake     int64 // end of a wait or of the delay before a retry; 0 for none

	items []any // of a for; of a listen, the events that it has taken
	round int

	bytes   int    // of a listen, the data of its events, all together
	outputs []any  // what foreach has made of them
	met     []bool // filters that have had their event, where all need one
	stopped []bool // the same of until

	attempt     uint32 // of a try, from 1
	tried       int64  // when the first attempt began
	attemptEnds int64  // end of limit.attempt.duration; 0 for none
	caught      *Fault

	extended  uint32 // of a task with extensions, a bit for each that applies
	extension int    // the one that runs, inBefore and inAfter

	branches []*branch // of a fork, in order; nil for one that is over
	results  []any     // what those gave

	command *Command // of a call without an answer
}

// phase is what a frame is at.
type phase uint8

const (
	inBody   phase = iota // the task does its work; for a try, the tasks under try
	inDelay               // a try waits before it starts over
	inCatch               // the tasks under catch.do
	inEach                // a listen works on the event that it took last
	inOutput              // output.as and export.as
	inBefore              // what extends the task runs before it
	inAfter               // and after it
)

// New gives the machine of a run without entries.
func New(def *workflows.Definition, info Info) *Machine {
	m := &Machine{def: def, info: info}
	m.root = &branch{}
	m.on = m.root
	return m
}

// Advance takes the next entry of the journal. First every timer that is due
// at its time fires, in order of due time, then the entry itself has its
// effect. An entry that is not accepted belongs into the journal all the same
// if the timers that fired led to commands or to another status. The machine
// keeps nothing of the entry's bytes. The error says that the entry cannot
// follow those before it; the machine is then as it was.
func (m *Machine) Advance(e Entry) (Effects, error) {
	const op = "machine.Machine.Advance"
	switch {
	case !m.started && e.Kind != Started:
		return Effects{}, weft.Errorf(weft.FailedPrecondition, op, "the journal does not begin with started but with %s", e.Kind)
	case m.started && e.Kind == Started:
		return Effects{}, weft.Errorf(weft.FailedPrecondition, op, "the journal starts the run twice")
	case e.Kind == Failed && e.Fault == nil || e.Kind == Delivered && e.Event == nil:
		return Effects{}, weft.Errorf(weft.InvalidArgument, op, "%s comes without what it is about", e.Kind)
	case e.Step > m.steps:
		return Effects{}, weft.Errorf(weft.FailedPrecondition, op, "the journal has %s for step %d, but the run came to step %d only", e.Kind, e.Step, m.steps)
	case e.Kind.note():
		if m.trace != nil {
			m.trace.note(e)
		}
		return Effects{Accepted: true}, nil
	}
	before, paused, ended := m.now, m.paused, m.status.Ended()
	m.now = max(m.now, e.At)
	m.out, m.cuts, m.slice = nil, nil, 0
	if e.Kind != Continued {
		m.stretch = 0
	}
	if e.Kind == Rerun {
		m.shift(e.At - before)
	}
	if m.life != nil {
		m.life.before(m, e)
	}
	m.fire()
	eff := Effects{Accepted: m.apply(e)}
	eff.Commands, eff.Cut, eff.More = m.commands(), m.cuts, m.More()
	if m.life != nil {
		m.life.after(m, paused, ended)
		eff.Life = m.life.told
	}
	return eff, nil
}

// More reports whether the run goes on at once with an entry Continued.
func (m *Machine) More() bool { return len(m.ready) > 0 && !m.paused && !m.status.Ended() }

// shift moves all that is timed: the time between a run and its copy does not count.
func (m *Machine) shift(by int64) {
	for b, i := range m.frames() {
		f := &b.stack[i]
		for _, at := range []*int64{&f.deadline, &f.wake, &f.tried, &f.attemptEnds} {
			if *at != 0 {
				*at += by
			}
		}
		if c := f.command; c != nil && c.Deadline != 0 {
			moved := *c
			moved.Deadline += by
			f.command = &moved
		}
	}
}

// commands drops the calls of this turn that the same turn cancelled.
func (m *Machine) commands() []Command {
	kept := m.out[:0]
	for _, c := range m.out {
		if b, _ := m.waits(c.Step); c.Kind == Emit || b != nil {
			kept = append(kept, c)
		}
	}
	m.out = nil
	return kept
}

func (m *Machine) apply(e Entry) bool {
	if e.Kind == Started {
		m.start(e)
		return true
	}
	if m.status.Ended() {
		return e.Kind == Fired
	}
	switch e.Kind {
	case Finished, Failed:
		return m.answer(e)
	case Delivered:
		return m.deliver(*e.Event)
	case Cancelled:
		m.cut(m.root, 0)
		m.status, m.reason = StatusCancelled, string(e.Data)
	case Exhausted:
		m.exhaust(string(e.Data))
	case Continued:
		return m.goOn()
	case Paused:
		m.paused, m.reason = true, string(e.Data)
	case Resumed:
		m.resume()
	}
	return true
}

func (m *Machine) start(e Entry) {
	m.started, m.startedAt, m.seed = true, m.now, e.Seed
	m.root.stack = append(make([]frame, 0, 8), frame{begun: m.now})
	input, err := workflows.DecodeJSON(e.Data)
	if err != nil {
		fault := m.standard(workflows.ValidationError, err.Error())
		fault.Instance = "/input"
		m.faulted(fault)
		return
	}
	m.input = input
	m.settle(m.open(input))
}

// wrong fails the workflow itself on an expression at that pointer.
func (m *Machine) wrong(pointer string, err error) move {
	fault := m.standard(workflows.ExpressionError, err.Error())
	fault.Instance = pointer
	return move{kind: raise, fault: fault}
}

// unfit fails the workflow itself on what a schema says.
func (m *Machine) unfit(what string, err error) move {
	next := m.misfit(what, err)
	next.fault.Instance = "/" + what + "/schema"
	return next
}

// open begins the workflow itself.
func (m *Machine) open(input any) move {
	if schema := m.def.InputSchema(); schema != nil {
		if err := schema.Check(input); err != nil {
			return m.unfit("input", err)
		}
	}
	if from := m.def.Input(); from != nil {
		v, err := from.Eval(input, m, workflows.OutputMax)
		if err != nil {
			return m.wrong("/input/from", err)
		}
		input = v
	}
	root := m.top()
	root.input = input
	if t := m.def.Timeout(); t != nil {
		d, err := t.Eval(input, m)
		if err != nil {
			return m.wrong("/timeout", err)
		}
		root.deadline = m.now + d.Microseconds()
	}
	return move{kind: enter, task: m.def.Do()[0], value: input}
}

func (m *Machine) answer(e Entry) bool {
	b, f := m.waits(e.Step)
	switch {
	case b == nil:
		return false
	case m.paused:
		e.Data = slices.Clone(e.Data)
		m.held = append(m.held, e) // at most one for each call
		return true
	}
	m.take(b, f, e)
	return true
}

// take hands an answer to the call that waits for it.
func (m *Machine) take(b *branch, f *frame, e Entry) {
	m.on = b
	command := f.command
	f.command = nil
	if e.Kind == Failed {
		fault := *e.Fault
		fault.Instance = f.task.Pointer
		m.settle(move{kind: raise, fault: &fault})
		return
	}
	if command.Kind == RunWorkflow && command.Run.Detached {
		m.settle(move{kind: finish, value: f.input})
		return
	}
	v, fault := result(f.task, command, e.Data)
	if fault != nil {
		fault.Instance = f.task.Pointer
		m.settle(move{kind: raise, fault: fault})
		return
	}
	m.settle(move{kind: finish, value: v})
}

// goOn makes the moves that were put off. An entry that nobody needs has no effect.
func (m *Machine) goOn() bool {
	if !m.More() {
		return false
	}
	m.settle(m.turn())
	return true
}

// exhaust ends a run that has used up a limit. Nothing can catch it.
func (m *Machine) exhaust(what string) {
	f := m.standard(workflows.RuntimeError, what)
	f.Title = "Limit reached"
	m.faulted(f)
}

// resume takes the answers that came meanwhile; what is due then fires.
func (m *Machine) resume() {
	if !m.paused {
		return
	}
	m.paused, m.reason = false, ""
	held := m.held
	m.held = nil
	for _, e := range held {
		if b, f := m.waits(e.Step); b != nil {
			m.take(b, f, e)
		}
	}
	for _, step := range m.listening() {
		if b := m.listens(step); b != nil {
			m.on = b
			m.settle(m.search(b.top()))
		}
	}
	m.fire()
}

// waits is the frame of a call without an answer, and its branch, or nil.
func (m *Machine) waits(step uint32) (*branch, *frame) {
	for b, i := range m.frames() {
		if f := &b.stack[i]; f.step == step && f.command != nil && !m.answered(step) {
			return b, f
		}
	}
	return nil, nil
}

// Awaits reports whether the call of a step is without an answer.
func (m *Machine) Awaits(step uint32) bool {
	b, _ := m.waits(step)
	return b != nil
}

func (m *Machine) answered(step uint32) bool {
	for _, e := range m.held {
		if e.Step == step {
			return true
		}
	}
	return false
}

// top is the innermost task of the branch that happens now.
func (m *Machine) top() *frame { return m.on.top() }

// Outstanding lists the calls without an answer, in order of issue. After a
// restart they are issued again.
func (m *Machine) Outstanding() []Command {
	var list []Command
	for b, i := range m.frames() {
		if c := b.stack[i].command; c != nil && !m.answered(c.Step) {
			list = append(list, *c)
		}
	}
	if len(list) > 1 { // a call is issued when its step begins
		slices.SortFunc(list, func(a, b Command) int { return cmp.Compare(a.Step, b.Step) })
	}
	return list
}

// Idle reports whether no call is without an answer and nothing is to be done
// at once: the run may be parked.
func (m *Machine) Idle() bool {
	if m.More() {
		return false
	}
	for b, i := range m.frames() {
		if c := b.stack[i].command; c != nil && !m.answered(c.Step) {
			return false
		}
	}
	return true
}

// Status is where the run is.
func (m *Machine) Status() Status {
	if m.paused && !m.status.Ended() {
		return StatusPaused
	}
	return m.status
}

// Output is the run's output as JSON once it is completed.
func (m *Machine) Output() []byte { return m.output }

// Fault is why the run faulted, or nil.
func (m *Machine) Fault() *Fault { return m.fault }

// Steps is how many steps have begun; the number of the latest.
func (m *Machine) Steps() uint32 { return m.steps }

// Reason is the text of a pause or a cancellation.
func (m *Machine) Reason() string { return m.reason }

// StartedAt is when the run started.
func (m *Machine) StartedAt() time.Time { return time.UnixMicro(m.startedAt).UTC() }
