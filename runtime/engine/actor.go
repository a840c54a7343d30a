package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// actor is one run in memory: its machine, and what the machine has decided
// that is not yet queued to the writer. It holds no goroutine. It leaves memory
// when the run is parked or ended and all of it is durable.
type actor struct {
	e   *Engine
	id  string
	def *workflows.Definition

	mu      sync.Mutex
	m       *machine.Machine              // guarded by mu
	row     store.Run                     // guarded by mu: as it will be after the next flush
	fresh   bool                          // guarded by mu: row is not queued yet
	started chan struct{}                 // closed when it is; nil for a run that was loaded
	chunk   []byte                        // guarded by mu: entries not yet queued
	seq     int64                         // guarded by mu: number of the first entry of chunk
	events  []weft.Event                  // guarded by mu: what those entries emit
	also    []func(*store.Tx) error       // guarded by mu: rows that belong to those entries
	changed bool                          // guarded by mu: row differs from the table
	last    store.Ticket                  // guarded by mu: of the newest flush
	queued  int                           // guarded by mu: flushes that are not durable
	todo    []machine.Command             // guarded by mu: calls to make
	turning bool                          // guarded by mu: in the turn queue or in a turn
	workers int                           // guarded by mu: who makes its calls: the turn and its helpers
	moved   sync.Cond                     // on mu: a helper has ended, or something is at hand
	gone    bool                          // guarded by mu: left memory; load it again
	steps   map[uint32]*step              // guarded by mu: calls that have notes
	had     map[[2]string]bool            // guarded by mu: source and id of events delivered since it came to memory
	cancels map[uint32]context.CancelFunc // guarded by mu: calls in flight
	cut     []string                      // guarded by mu: runs that it no longer waits for, not yet told
	told    bool                          // guarded by mu: its parent knows that it has ended
	counted bool                          // guarded by mu: its end has been counted
	since   int64                         // guarded by mu: number of the first entry after the last snapshot
	grown   int                           // guarded by mu: bytes of the entries since then
	kept    int                           // guarded by mu: bytes of that snapshot
	err     error                         // guarded by mu: why the run can go no further in this process
}

// step is what the journal has noted of a call that is not yet answered.
type step struct {
	outcomes []outcome // of its outbound calls, by ordinal
	parked   int64     // when it was first parked, Unix microseconds; 0 for never
	peer     string    // what it is parked on now; empty when it may be tried
	why      string    // the reason that was noted last
	text     string    // the same with its time, for people
	until    time.Time // when it may be tried again
	child    string    // the run that it waits for
}

// touch has fn called with the run in memory and its lock held, then sees to
// it that what fn decided is carried on.
func (e *Engine) touch(ctx context.Context, id string, fn func(*actor) error) error {
	for {
		a, err := e.actor(ctx, id)
		if err != nil {
			return err
		}
		a.mu.Lock()
		if a.gone {
			a.mu.Unlock()
			continue
		}
		if err = a.err; err == nil {
			err = fn(a)
		}
		if err == nil {
			a.carryOn()
		}
		a.mu.Unlock()
		return err
	}
}

// actor finds a run in memory, or brings it there.
func (e *Engine) actor(ctx context.Context, id string) (*actor, error) {
	for {
		e.mu.Lock()
		a, l := e.actors[id], e.loads[id]
		if a == nil && l == nil {
			l = &load{}
			e.loads[id] = l
		}
		e.mu.Unlock()
		if a != nil {
			return a, nil
		}
		a, err := e.load(ctx, id)
		if a, err = e.loaded(a, id, l, err); a != nil || err != nil {
			return a, err
		}
	}
}

// load is a run on its way into memory, for all who bring it there at once.
// The first to arrive ends it: what the others have read may be old by then,
// for in between the run may have gone on and left memory again.
type load struct {
	over bool // guarded by Engine.mu
}

// loaded puts a into memory, unless the run is there. Neither an actor nor an
// error means that a may be old: load it again.
func (e *Engine) loaded(a *actor, id string, l *load, err error) (*actor, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if other := e.actors[id]; other != nil || l.over {
		return other, nil
	}
	l.over = true
	delete(e.loads, id)
	if err == nil {
		err = e.adopt(a)
	}
	return a, err
}

// adoptNew is adopt for a run that nobody else knows of yet.
func (e *Engine) adoptNew(a *actor) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.adopt(a)
}

// adopt puts a run into memory that is not there. The caller holds mu.
func (e *Engine) adopt(a *actor) error {
	if len(e.actors) >= e.opts.Runs {
		return weft.Errorf(weft.ResourceExhausted, "engine.Engine.adopt", "%d runs are live in memory, the limit", e.opts.Runs).
			WithHint("try again when some have parked or ended, or raise the limit of runs")
	}
	e.actors[a.id] = a
	return nil
}

// load folds a run from its journal.
func (e *Engine) load(ctx context.Context, id string) (*actor, error) {
	row, ok, err := e.db.Run(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, weft.Errorf(weft.NotFound, "engine.Engine.load", "no run %q", id)
	}
	def, err := e.cat.Workflow(row.Namespace, row.Space+"/"+row.Workflow, row.Version)
	if err != nil {
		return nil, err
	}
	a := newActor(e, def, row)
	if err := a.restore(ctx); err != nil {
		return nil, err
	}
	entries, err := e.entries(ctx, id, a.since)
	if err != nil {
		return nil, err
	}
	for _, en := range entries {
		if _, err := a.m.Advance(en); err != nil {
			return nil, weft.Errorf(weft.DataLoss, "engine.Engine.load", "the journal of run %s does not fit workflow %s %s: %w", id, row.Workflow, row.Version, err)
		}
		if err := a.note(en); err != nil {
			return nil, err
		}
	}
	parked := Status(row.Status) == Parked
	if parked {
		a.settleParked() // what is due now begins something else
	}
	if err := a.tick(); err != nil {
		return nil, err
	}
	if parked {
		return a, nil
	}
	return a, a.proceed()
}

func newActor(e *Engine, def *workflows.Definition, row store.Run) *actor {
	a := &actor{e: e, id: row.ID, def: def, row: row, m: machine.New(def, info(row)), steps: map[uint32]*step{}}
	a.moved.L = &a.mu
	return a
}

func partOf(id string) int { return int(crc32.ChecksumIEEE([]byte(id)) % 256) }

// settleParked keeps a run that was loaded from its row parked on its peer, or
// on the run that it runs, until somebody says otherwise. Of several peers the
// row has one: all are tried, to know of each. The caller holds mu.
func (a *actor) settleParked() {
	if a.m.Status() == machine.StatusPaused {
		return // when it is resumed its calls are made, and its runs looked for
	}
	parked := 0
	for _, c := range a.m.Outstanding() {
		if c.Kind == machine.RunWorkflow {
			a.step(c.Step).child = a.childID(c)
		} else if s := a.steps[c.Step]; s != nil && s.parked != 0 {
			s.peer = a.row.Peer
			parked++
		}
	}
	if parked > 1 {
		_ = a.proceed() // which cannot fail
	}
}

// apply makes en part of the run: the machine goes on by it, and it is kept for
// the journal. The caller holds mu.
func (a *actor) apply(en machine.Entry) (machine.Effects, error) {
	if a.err != nil {
		return machine.Effects{}, a.err
	}
	if a.m.Status().Ended() {
		return machine.Effects{}, weft.Errorf(weft.FailedPrecondition, "engine.actor.apply", "run %s has ended: it is %s", a.id, a.status())
	}
	full := a.row.Entries >= a.e.opts.EntriesMax && en.Kind != machine.Cancelled
	if full {
		en = machine.Entry{Kind: machine.Exhausted, At: en.At, Data: fmt.Appendf(nil, "the run's history has %d entries, the limit; "+
			"let it start another run for what is left", a.row.Entries)}
	}
	a.follow()
	eff, err := a.m.Advance(en)
	if err != nil {
		return eff, a.stop(err)
	}
	a.keep(en)
	a.announce(eff.Life, en.At)
	eff.Accepted = eff.Accepted && !full
	if en.Kind < machine.Attempted && len(a.todo)+len(a.cancels) > 0 {
		a.cutLate()
	}
	switch en.Kind {
	case machine.Cancelled:
		a.row.Reason = string(en.Data)
		a.cutOff()
	case machine.Exhausted:
		a.cutOff()
	case machine.Paused:
		a.todo = nil // calls in flight end; the others begin when the run is resumed
	}
	for _, c := range eff.Commands {
		if c.Kind == machine.Emit {
			a.events = append(a.events, *c.Event)
		} else {
			a.todo = append(a.todo, c)
		}
	}
	for _, c := range eff.Cut {
		a.forsake(c)
	}
	if err := a.note(en); err != nil {
		return eff, a.stop(err)
	}
	if en.Kind == machine.Resumed {
		return eff, a.proceed()
	}
	return eff, nil
}

// forsake gives up a run that this one runs. The caller holds mu.
func (a *actor) forsake(c machine.Command) {
	child := a.childID(c)
	delete(a.steps, c.Step)
	a.also = append(a.also, func(tx *store.Tx) error { return tx.Tie(child, forsaken) })
	a.cut = append(a.cut, child)
}

// cutOff drops the calls to make and ends those in flight. The caller holds mu.
func (a *actor) cutOff() {
	a.todo = nil
	for _, cancel := range a.cancels {
		cancel()
	}
}

func (a *actor) keep(en machine.Entry) {
	if len(a.chunk) == 0 {
		a.chunk = append(a.chunk, journalVersion)
		a.seq = a.row.Entries
	}
	before := len(a.chunk)
	a.chunk = machine.AppendEntry(a.chunk, en)
	a.grown += len(a.chunk) - before
	a.row.Entries++
	a.changed = true
}

var errStopped = errors.New("the run goes no further in this process")

// stop gives the run up in this process: its journal is whole, but the machine
// cannot follow it.
func (a *actor) stop(err error) error {
	a.err = fmt.Errorf("%w: %w", errStopped, err)
	a.todo = nil
	a.e.log.Error("run stopped", "run", a.id, "workflow", a.row.Workflow, "error", err)
	return err
}

// note remembers what an entry says of a call that is not yet answered. The caller holds mu.
func (a *actor) note(en machine.Entry) error {
	switch en.Kind {
	case machine.Outcome:
		o, err := decodeOutcome(en.Data)
		if err != nil {
			return err
		}
		s := a.step(en.Step)
		s.outcomes = append(s.outcomes, o)
	case machine.Parked:
		s := a.step(en.Step)
		if s.text = string(en.Data); s.parked == 0 {
			s.parked = en.At
		}
	case machine.Finished, machine.Failed:
		delete(a.steps, en.Step)
	}
	return nil
}

func (a *actor) step(id uint32) *step {
	s := a.steps[id]
	if s == nil {
		s = &step{}
		a.steps[id] = s
	}
	return s
}

// proceed puts all calls without an answer to do again, for example after a
// restart. Calls in flight are left alone. The caller holds mu.
func (a *actor) proceed() error {
	if a.m.Status() == machine.StatusPaused {
		return nil
	}
	for _, c := range a.m.Outstanding() {
		s := a.steps[c.Step]
		if a.cancels[c.Step] == nil && !a.planned(c.Step) && (s == nil || s.child == "") {
			if s != nil {
				s.peer = ""
			}
			a.todo = append(a.todo, c)
		}
	}
	return nil
}

func (a *actor) planned(step uint32) bool {
	for _, c := range a.todo {
		if c.Step == step {
			return true
		}
	}
	return false
}

// carryOn schedules a turn when there are calls to make, or helps the one that
// goes on, and otherwise queues what was decided. The caller holds mu.
func (a *actor) carryOn() {
	switch {
	case a.turning:
		a.assist()
		a.moved.Signal()
	case len(a.todo) > 0 || a.m.More():
		a.turning = true
		a.e.turns.add(a)
	default:
		a.flush()
	}
}

// status is the run's status as its machine and its calls have it. The caller holds mu.
func (a *actor) status() Status {
	switch a.m.Status() {
	case machine.Completed:
		return Completed
	case machine.Faulted:
		return Faulted
	case machine.StatusCancelled:
		return Cancelled
	case machine.StatusPaused:
		return Parked
	}
	if a.m.Idle() || a.allParked() {
		return Parked
	}
	return Running
}

// allParked reports whether every call without an answer waits for its peer
// or for another run.
func (a *actor) allParked() bool {
	for _, c := range a.m.Outstanding() {
		if s := a.steps[c.Step]; s == nil || s.peer == "" && s.child == "" {
			return false
		}
	}
	return !a.m.More()
}

// flush queues what has been decided since the last flush, as one submission.
// The caller holds mu.
func (a *actor) flush() store.Ticket { return a.flushWith(nil) }

// flushWith is flush in one submission with a change of handler state.
func (a *actor) flushWith(change *store.Change) store.Ticket {
	switch {
	case a.gone && a.err != nil:
		return store.Refused(a.err) // a.last may be of what it did before
	case a.gone:
		return a.last
	}
	a.outline()
	if !a.changed && len(a.also) == 0 && change == nil {
		a.release()
		return a.last
	}
	c := a.take()
	submit := a.e.db.Submit
	if change != nil {
		submit = change.Submit
	}
	a.queued++
	if a.last = submit(c.write); a.last.Err() != nil {
		a.lose(a.last.Err()) // what it has decided will never be durable
		a.e.leave(a)
		return a.last
	}
	a.sent()
	return a.last
}

// lose gives up what the run has decided since it was last durable: it is to
// be loaded again. The caller holds mu.
func (a *actor) lose(why error) {
	a.gone, a.err = true, why
	a.cutOff()
}

// sent tells the family what has been queued. The caller holds mu.
func (a *actor) sent() {
	var ended *store.Run
	if a.row.Tie == awaited && Status(a.row.Status).Ended() && !a.told {
		a.told, ended = true, &a.row
	}
	if ended != nil || len(a.cut) > 0 {
		a.e.family.add(ended, a.cut)
		a.cut = nil
	}
}

// outline brings the row up to date with the machine. The caller holds mu.
func (a *actor) outline() {
	was := a.row
	status := a.status()
	a.row.Status = int(status)
	a.row.Reason, a.row.Wake, a.row.Peer = a.waiting(status)
	if status == Cancelled {
		a.row.Reason = was.Reason
	}
	if was.Status != a.row.Status || was.Reason != a.row.Reason || was.Wake != a.row.Wake || was.Peer != a.row.Peer {
		a.changed = true
	}
	if status.Ended() && a.row.Ended == 0 {
		a.row.Ended = a.e.now().UnixMilli()
		a.row.Output = a.m.Output()
		if f := a.m.Fault(); f != nil {
			a.row.Fault, _ = json.Marshal(f) // strings and an int: cannot fail
		}
	}
}

// waiting is why the run waits, until when, and for which peer: of several, the
// one that may be tried first. The others may be back before it, so their time
// wakes the run too, and all are tried then. The caller holds mu.
func (a *actor) waiting(status Status) (reason string, wake int64, peer string) {
	if status.Ended() {
		return "", 0, ""
	}
	if at, ok := a.m.NextTimer(); ok {
		wake = ceilMillis(at)
	}
	if a.m.Status() == machine.StatusPaused {
		return a.m.Waiting(), 0, ""
	}
	waits := status == Parked
	var until time.Time
	for _, c := range a.m.Outstanding() {
		s := a.steps[c.Step]
		if s == nil || s.peer == "" && s.child == "" {
			continue
		}
		waits = true
		if s.peer == "" {
			continue
		}
		if peer == "" || s.until.Before(until) {
			peer, until = s.peer, s.until
		}
		if limit := ceilMillis(s.parked + c.ParkMax.Microseconds()); wake == 0 || limit < wake {
			wake = limit
		}
	}
	for _, c := range a.m.Outstanding() {
		if s := a.steps[c.Step]; s != nil && s.peer != peer && s.peer != "" {
			if at := ceilMillis(s.until.UnixMicro()); wake == 0 || at < wake {
				wake = at
			}
		}
	}
	if waits {
		reason = a.m.WaitingFor(a.callWaits)
	}
	return reason, wake, peer
}

// callWaits says for people what a call without an answer waits for, or nothing
// where the machine knows it as well. The caller holds mu.
func (a *actor) callWaits(c machine.Command) string {
	switch s := a.steps[c.Step]; {
	case s == nil:
		return ""
	case s.child != "":
		return "run " + s.child + " of " + c.Run.Workflow.String()
	case s.peer != "":
		return s.text
	}
	return ""
}

func ceilMillis(us int64) int64 { return (us + 999) / 1000 }

// commit is one flush on its way to the disk; it belongs to the writer.
type commit struct {
	a      *actor
	row    store.Run
	fresh  bool
	chunk  []byte
	seq    int64
	events []weft.Event
	also   []func(*store.Tx) error
	listen []string // event types to listen for, when fresh

	snapshot []byte // where the next fold begins, nil for none
	next     int64  // number of the first entry after it
	trim     bool   // what is before it is not kept
}

// take moves what is pending into a commit. The caller holds mu.
func (a *actor) take() *commit {
	a.row.Updated = a.e.now().UnixMilli()
	c := &commit{a: a, row: a.row, fresh: a.fresh, seq: a.seq, events: a.events, also: a.also}
	if len(a.chunk) > 0 {
		c.chunk = seal(a.chunk)
	}
	if a.snapshotDue() {
		c.snapshot, c.next, c.trim = a.snapshot(), a.row.Entries, a.row.Entries > a.e.opts.HistoryMax
	}
	if a.fresh {
		c.listen = a.def.Listens()
		close(a.started)
	}
	a.chunk, a.events, a.also, a.fresh, a.changed = nil, nil, nil, false, false
	return c
}

// write runs on the writer's goroutine. What cannot be written for another
// reason than the disk ends the run in this process: it would be ahead of the
// file.
func (c *commit) write(tx *store.Tx) error {
	err := c.rows(tx)
	if err != nil && !store.IsDisk(err) {
		c.a.mu.Lock()
		defer c.a.mu.Unlock()
		return c.a.stop(err)
	}
	return err
}

func (c *commit) rows(tx *store.Tx) error {
	if err := c.writeRun(tx); err != nil {
		return err
	}
	if c.chunk != nil {
		if err := tx.AppendJournal(c.row.ID, c.seq, c.chunk); err != nil {
			return err
		}
	}
	if c.snapshot != nil {
		if err := c.writeSnapshot(tx); err != nil {
			return err
		}
	}
	for _, ev := range c.events {
		if _, err := tx.AppendEvent(c.row.Namespace, ev); err != nil {
			return err
		}
	}
	for _, fn := range c.also {
		if err := fn(tx); err != nil {
			return err
		}
	}
	if err := c.a.e.schedule.ended(tx, c.a.def, &c.row); err != nil {
		return err
	}
	tx.OnCommit(c.durable)
	return nil
}

func (c *commit) writeRun(tx *store.Tx) error {
	ended := Status(c.row.Status).Ended()
	if c.fresh {
		if err := tx.InsertRun(&c.row); err != nil || ended {
			return err
		}
		return tx.Listen(c.row.Namespace, c.row.ID, c.listen)
	}
	if err := tx.UpdateRun(&c.row); err != nil || !ended {
		return err
	}
	if c.row.Parent != "" {
		if err := tx.Untie(c.row.ID, forsaken); err != nil {
			return err
		}
	}
	if c.a.def.Listens() == nil {
		return nil
	}
	return tx.Unlisten(c.row.ID)
}

// durable tells whoever waits, and lets the run leave memory.
func (c *commit) durable() {
	a := c.a
	a.mu.Lock()
	a.queued--
	a.count(c)
	a.release()
	a.mu.Unlock()
	if c.row.Wake != 0 {
		a.e.timers.at(c.row.Wake)
	}
	if c.row.Ended != 0 && strings.HasPrefix(c.row.Key, scheduleKey) {
		a.e.timers.at(0) // the next one may be due
	}
	if c.row.Peer != "" {
		a.e.parked.add(c.row.Namespace, c.row.Peer)
	}
	if c.fresh && c.row.Key != "" {
		a.e.unreserve(&c.row)
	}
	a.e.watch.notify(&c.row)
}

// release lets the run leave memory when nothing is at hand and all is durable.
// The caller holds mu.
func (a *actor) release() {
	if a.gone || a.turning || a.queued > 0 || a.changed || len(a.also) > 0 || len(a.todo) > 0 || len(a.cancels) > 0 || a.err != nil {
		return
	}
	a.gone = true
	a.e.leave(a)
}

// leave takes a run out of memory. After a loss another may be in its place.
func (e *Engine) leave(a *actor) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.actors[a.id] == a {
		delete(e.actors, a.id)
	}
}
