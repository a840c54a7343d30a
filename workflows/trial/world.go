package trial

import (
	"fmt"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// EntriesMax bounds the journal entries of one case, of all its runs together.
const EntriesMax = 100_000

// start is when every case starts: a Thursday, so that nothing depends on today.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// world is one case as it goes: runs, what they wait for, and the time.
type world struct {
	c       *Case
	now     int64
	runs    []*run // in order of beginning
	root    *run   // the run that the case is about; nil until it has begun
	queue   []happening
	todo    []task
	answers map[place]happening // of every call so far
	turns   map[string]int      // calls of each mock so far
	calls   []call
	emitted []weft.Event
	begun   int // runs that no other run began
	writes  int
	crashAt int // crash behind this write; 0 for never
	folds   int // how a crash restores: see crash
	trouble string
}

// run is one run: a machine, and the journal that would make it again.
type run struct {
	id      string
	def     *workflows.Definition
	m       *machine.Machine
	journal [][]byte
	parent  *run // nil for none
	step    uint32
	waited  bool // the parent waits for its end
	told    bool
	depth   int
	ended   int64
}

func (r *run) info() machine.Info {
	return machine.Info{RunID: r.id, Namespace: weft.DefaultNamespace, Depth: r.depth}
}

// happening is what comes to a run, or to all, at its time.
type happening struct {
	at       int64
	run      *run // nil for an event
	entry    machine.Entry
	event    *weft.Event
	volatile bool // a crash loses it: the call is made again
}

// task is a command to carry out.
type task struct {
	run     *run
	command machine.Command
}

// place names a step of a run.
type place struct {
	run  string
	step uint32
}

// live lets the case go until nothing happens any more.
func (w *world) live() {
	w.now, w.answers, w.turns = start, map[place]happening{}, map[string]int{}
	for _, e := range w.c.events {
		w.publish(start+e.after.Microseconds(), e.event)
	}
	if w.c.input != nil {
		w.begin(w.c.def, *w.c.input)
	}
	for w.trouble == "" && w.next() {
		if w.writes > EntriesMax {
			w.trouble = fmt.Sprintf("it has not ended after %d journal entries", EntriesMax)
		}
	}
}

// next does what is next: at once what can be, else the earliest thing.
func (w *world) next() bool {
	for _, r := range w.runs {
		if r.m.More() {
			w.write(r, machine.Entry{Kind: machine.Continued})
			return true
		}
	}
	if len(w.todo) > 0 {
		t := w.todo[0]
		w.todo = w.todo[1:]
		w.perform(t.run, t.command)
		return true
	}
	var sleeper *run
	var wake int64
	for _, r := range w.runs {
		if at, ok := r.m.NextTimer(); ok && (sleeper == nil || at < wake) {
			sleeper, wake = r, at
		}
	}
	first := -1
	for i, h := range w.queue {
		if first < 0 || h.at < w.queue[first].at {
			first = i
		}
	}
	switch {
	case sleeper != nil && (first < 0 || wake <= w.queue[first].at): // a timeout goes before an answer that comes with it
		w.now = max(w.now, wake)
		w.write(sleeper, machine.Entry{Kind: machine.Fired})
	case first >= 0:
		h := w.queue[first]
		w.queue = append(w.queue[:first], w.queue[first+1:]...)
		w.now = max(w.now, h.at)
		w.happen(h)
	default:
		return false
	}
	return true
}

func (w *world) happen(h happening) {
	if h.event == nil {
		w.write(h.run, h.entry)
		return
	}
	for _, d := range w.c.defs {
		for _, f := range d.Triggers() {
			if ok, err := f.Match(*h.event); !ok || err != nil {
				continue
			}
			if input, err := d.TriggerInput(*h.event); err == nil {
				w.begin(d, input)
			}
			break
		}
	}
	for _, r := range w.runs {
		if r.m.Wants(*h.event) {
			w.write(r, machine.Entry{Kind: machine.Delivered, Event: h.event})
		}
	}
}

// begin begins a run that no other run asked for.
func (w *world) begin(d *workflows.Definition, input []byte) {
	w.begun++
	r := &run{id: fmt.Sprintf("run-%d", w.begun), def: d}
	if w.root == nil && d == w.c.def {
		w.root = r
	}
	w.bear(r, input)
}

func (w *world) bear(r *run, input []byte) {
	r.m = machine.New(r.def, r.info())
	w.runs = append(w.runs, r)
	w.write(r, machine.Entry{Kind: machine.Started, Data: input, Seed: 1})
}

// write adds an entry to the journal of a run, and takes up what it leads to.
// Timers that are due have fired before, so an entry that is not accepted has
// no effect at all.
func (w *world) write(r *run, e machine.Entry) {
	e.At = w.now
	eff, err := r.m.Advance(e)
	switch {
	case err != nil:
		w.trouble = err.Error()
		return
	case !eff.Accepted && len(eff.Commands) == 0:
		return
	}
	r.journal = append(r.journal, machine.AppendEntry(nil, e))
	w.writes++
	// Events, ends and cancellations are durable with their entry.
	for _, c := range eff.Commands {
		if c.Kind == machine.Emit {
			w.emitted = append(w.emitted, *c.Event)
			w.publish(w.now, *c.Event)
		} else {
			w.todo = append(w.todo, task{r, c})
		}
	}
	for _, c := range eff.Cut {
		if child := w.child(r, c.Step); child != nil {
			w.queue = append(w.queue, happening{at: w.now, run: child, entry: machine.Entry{Kind: machine.Cancelled, Data: []byte("nobody waits for it any more")}})
		}
	}
	w.tell(r)
	if w.writes == w.crashAt {
		w.crash()
	}
}

// tell notes the end of a run, and lets the run that waits for it know.
func (w *world) tell(r *run) {
	if !r.m.Status().Ended() || r.told {
		return
	}
	r.told, r.ended = true, w.now
	if r.parent == nil || !r.waited {
		return
	}
	e := machine.Entry{Kind: machine.Finished, Step: r.step, Data: r.m.Output()}
	switch r.m.Status() {
	case machine.Faulted:
		e = machine.Entry{Kind: machine.Failed, Step: r.step, Fault: r.m.Fault()}
	case machine.StatusCancelled:
		e = machine.Entry{Kind: machine.Failed, Step: r.step, Fault: machine.FaultOf(weft.Errorf(weft.Canceled, "trial.tell", "run %s was cancelled: %s", r.id, r.m.Reason()))}
	}
	w.queue = append(w.queue, happening{at: w.now, run: r.parent, entry: e})
}

func (w *world) child(of *run, step uint32) *run {
	for _, r := range w.runs {
		if r.parent == of && r.step == step {
			return r
		}
	}
	return nil
}

// publish puts an event on the bus, where it may wait for its time.
func (w *world) publish(at int64, e weft.Event) {
	if t, err := time.Parse(time.RFC3339Nano, e.Extensions[weft.ExtNotBefore]); err == nil {
		at = max(at, t.UnixMicro())
	}
	w.queue = append(w.queue, happening{at: at, event: &e})
}

// perform makes a call, or makes it again after a crash: then it gives what it
// gave, when it would have.
func (w *world) perform(r *run, c machine.Command) {
	at := place{r.id, c.Step}
	if h, again := w.answers[at]; again {
		w.queue = append(w.queue, h)
		return
	}
	if c.Kind == machine.RunScript {
		w.script(r, c)
		return
	}
	k, err := callOf(c)
	if err != nil {
		w.trouble = err.Error()
		return
	}
	name := w.c.mock(k.names)
	if name == "" && c.Kind == machine.RunWorkflow {
		if d := w.given(c.Run.Workflow); d != nil {
			w.family(r, d, c)
			return
		}
	}
	if name == "" {
		w.trouble = fmt.Sprintf("the task %s calls %s, which has no mock; write it under mocks", c.Name, k.names[0])
		return
	}
	list := w.c.mocks[name]
	a := list[min(w.turns[name], len(list)-1)]
	w.turns[name]++
	w.calls = append(w.calls, k)
	h := happening{at: w.now + (a.open + a.after).Microseconds(), run: r, entry: a.entry(c, k.input), volatile: true}
	if a.open > c.ParkMax {
		h.at = w.now + c.ParkMax.Microseconds()
		h.entry = machine.Entry{Kind: machine.Failed, Step: c.Step, Fault: machine.FaultOf(weft.Errorf(weft.Unavailable, "trial.perform", "the breaker of %s is open", k.names[0]))}
	}
	w.answers[at] = h
	w.queue = append(w.queue, h)
	if a.open > 0 {
		w.write(r, machine.Entry{Kind: machine.Parked, Step: c.Step, Data: []byte("its breaker is open for " + workflows.ShowDuration(min(a.open, c.ParkMax)))})
	}
}

func (w *world) given(ref workflows.WorkflowRef) *workflows.Definition {
	for _, d := range w.c.defs {
		if space, name, version := d.ID(); ref == (workflows.WorkflowRef{Namespace: space, Name: name, Version: version}) {
			return d
		}
	}
	return nil
}

// family begins the run that a step asks for, unless it has begun.
func (w *world) family(r *run, d *workflows.Definition, c machine.Command) {
	if w.child(r, c.Step) == nil {
		w.bear(&run{id: fmt.Sprintf("%s-%d", r.id, c.Step), def: d, parent: r, step: c.Step, waited: !c.Run.Detached, depth: r.depth + 1}, c.Input)
	}
	if c.Run.Detached {
		w.queue = append(w.queue, happening{at: w.now, run: r, entry: machine.Entry{Kind: machine.Finished, Step: c.Step}, volatile: true})
	}
}

// crash loses all that is not durable and goes on from the journals: folded
// as a whole, or in turn from a snapshot of their first half.
func (w *world) crash() {
	kept := w.queue[:0]
	for _, h := range w.queue {
		if !h.volatile {
			kept = append(kept, h)
		}
	}
	w.queue, w.todo = kept, nil
	for _, r := range w.runs {
		if err := r.restore(w.folds); err != nil {
			w.trouble = "after a crash: " + err.Error()
			return
		}
		for _, c := range r.m.Outstanding() {
			w.todo = append(w.todo, task{r, c})
		}
	}
}

// restore makes the machine anew from the journal, by way of a snapshot of its
// first entries.
func (r *run) restore(folds int) error {
	r.m = machine.New(r.def, r.info())
	half := len(r.journal) / 2
	for i, data := range r.journal {
		if folds == 1 && i == half && i > 0 {
			m, err := machine.Restore(r.def, r.info(), r.m.AppendSnapshot(nil))
			if err != nil {
				return err
			}
			r.m = m
		}
		e, _, err := machine.DecodeEntry(data)
		if err != nil {
			return err
		}
		if _, err := r.m.Advance(e); err != nil {
			return err
		}
	}
	return nil
}

// end is how the case has ended, in words that can be compared.
func (w *world) end() string {
	var b strings.Builder
	fmt.Fprintln(&b, w.trouble)
	for _, r := range w.runs {
		fmt.Fprintf(&b, "%s %s %s %s after %s\n", r.id, r.m.Status(), r.m.Output(), faultText(r.m.Fault()), w.took(r))
	}
	for _, c := range w.calls {
		fmt.Fprintf(&b, "call %s %s\n", c.names[0], workflows.AppendJSON(nil, c.input))
	}
	for _, e := range w.emitted {
		v, _ := workflows.EventValue(e, workflows.ReadEnvelope) // the machine has read it before
		fmt.Fprintf(&b, "event %s\n", workflows.AppendJSON(nil, v))
	}
	return b.String()
}

func (w *world) took(r *run) time.Duration {
	if r == nil || r.ended == 0 {
		return time.Duration(w.now-start) * time.Microsecond
	}
	return time.Duration(r.ended-start) * time.Microsecond
}

func faultText(f *machine.Fault) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%d %s: %s (%s)", f.Status, f.Title, f.Detail, f.Type)
}
