package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// What a run and the run that runs it owe each other: the tie of the child's
// row. The numbers are stored.
const (
	untied   = iota // nothing, or no longer anything
	awaited         // the parent waits for how it ends
	forsaken        // nobody waits for it: it is to be cancelled
)

// family tells parents how their runs have ended, and cancels runs that
// nobody waits for. What it was told and has not done is in the ties of the
// rows, so a restart loses none of it.
type family struct {
	e *Engine

	mu    sync.Mutex
	grown *sync.Cond
	ended []store.Run // guarded by mu: awaited ones; bounded by Options.Runs
	cut   []string    // guarded by mu: forsaken ones, each the child of a run
	over  bool        // guarded by mu
}

func newFamily(e *Engine) *family {
	f := &family{e: e}
	f.grown = sync.NewCond(&f.mu)
	return f
}

// add takes what has been queued to the writer: a run that has ended, and runs
// that nobody waits for any more.
func (f *family) add(ended *store.Run, forsaken []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ended != nil {
		f.ended = append(f.ended, *ended)
	}
	f.cut = append(f.cut, forsaken...)
	f.grown.Signal()
}

func (f *family) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.grown.Signal()
}

func (f *family) run() {
	f.recover()
	for {
		f.mu.Lock()
		for len(f.ended)+len(f.cut) == 0 && !f.over {
			f.grown.Wait()
		}
		f.mu.Unlock()
		f.e.pace(f.e.life, "family", 0)
		f.mu.Lock()
		ended, cut, over := f.ended, f.cut, f.over
		f.ended, f.cut = nil, nil
		f.mu.Unlock()
		if over {
			return // the ties are there at the next start
		}
		for _, child := range ended {
			f.warn("end of a run not told to its parent", child.ID, f.e.tell(child))
		}
		for _, id := range cut {
			f.warn("run that nobody waits for not cancelled", id, f.e.abandon(id))
		}
	}
}

func (f *family) warn(text, run string, err error) {
	if err != nil && f.e.life.Err() == nil {
		f.e.log.Error(text, "run", run, "error", err)
	}
}

// tiesPage is how many ties are looked at at once after a restart.
const tiesPage = 256

// recover finds what was not done when the process ended.
func (f *family) recover() {
	for _, status := range []Status{Completed, Faulted, Cancelled} {
		f.page(awaited, status, func(r store.Run) { f.warn("end of a run not told to its parent", r.ID, f.e.tell(r)) })
	}
	for _, status := range []Status{Running, Parked} {
		f.page(forsaken, status, func(r store.Run) { f.warn("run that nobody waits for not cancelled", r.ID, f.e.abandon(r.ID)) })
	}
}

func (f *family) page(tie int, status Status, do func(store.Run)) {
	for after := ""; f.e.life.Err() == nil; {
		runs, err := f.e.db.Tied(f.e.life, tie, int(status), after, tiesPage)
		f.warn("ties not read: they wait for the next start", "", err)
		for _, r := range runs {
			do(r)
		}
		if len(runs) < tiesPage {
			return
		}
		after = runs[len(runs)-1].ID
	}
}

// tell gives a run the outcome of one that it waits for.
func (e *Engine) tell(child store.Run) error {
	e.pace(e.life, child.Parent, child.Step)
	en, err := outcomeOf(child, e.now().UnixMicro())
	if err != nil {
		return err
	}
	untie := func(tx *store.Tx) error { return tx.Tie(child.ID, untied) }
	err = e.touch(e.life, child.Parent, func(a *actor) error {
		a.also = append(a.also, untie)
		if a.m.Status().Ended() {
			return nil
		}
		_, err := a.apply(en)
		return err
	})
	if weft.CodeOf(err) == weft.NotFound { // the parent has ended, and is kept no longer
		return e.db.Update(e.life, untie)
	}
	return err
}

// outcomeOf is how a run has ended, as its parent's step sees it.
func outcomeOf(child store.Run, at int64) (machine.Entry, error) {
	en := machine.Entry{Kind: machine.Failed, At: at, Step: child.Step}
	switch Status(child.Status) {
	case Completed:
		en.Kind, en.Data = machine.Finished, child.Output
	case Faulted:
		run, err := fromRow(child)
		if err != nil {
			return en, err
		}
		en.Fault = run.Fault
	default:
		en.Fault = machine.FaultOf(weft.Errorf(weft.Canceled, "engine.outcomeOf", "run %s was cancelled: %s", child.ID, child.Reason))
	}
	return en, nil
}

// abandon cancels a run that nobody waits for.
func (e *Engine) abandon(id string) error {
	e.pace(e.life, id, 0)
	err := e.touch(e.life, id, func(a *actor) error {
		if a.m.Status().Ended() {
			return nil
		}
		_, err := a.apply(machine.Entry{Kind: machine.Cancelled, At: e.now().UnixMicro(), Data: []byte("run " + a.row.Parent + ", which ran it, no longer waits for it")})
		return err
	})
	if weft.CodeOf(err) == weft.NotFound {
		return nil // it had not begun
	}
	return err
}

// childID names the run that a step runs: the same after a restart.
func (a *actor) childID(c machine.Command) string {
	sum := sha256.Sum256(binary.LittleEndian.AppendUint32([]byte(a.id), c.Step))
	return ulid.MustNew(uint64(c.At/1000), bytes.NewReader(sum[:])).String()
}

// run begins the run that a step asks for, unless it has begun, in one commit
// with what its parent has decided.
func (k *call) run() {
	a, ref := k.a, k.c.Run.Workflow
	def, err := a.e.cat.Workflow(a.row.Namespace, ref.Namespace+"/"+ref.Name, ref.Version)
	if err != nil {
		k.fail(err)
		return
	}
	id := a.childID(k.c)
	there, err := a.e.exists(k.ctx, id)
	if err != nil {
		k.fail(err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered(k.c.Step)
	if !a.m.Awaits(k.c.Step) || a.e.life.Err() != nil {
		return // given up meanwhile, or to be done after the next start
	}
	if !there {
		if err := a.bear(id, def, k.c); err != nil {
			_, _ = a.apply(machine.Entry{Kind: machine.Failed, At: a.e.now().UnixMicro(), Step: k.c.Step, Fault: machine.FaultOf(err)})
			return
		}
	}
	if a.m.Awaits(k.c.Step) { // it is not detached, nor could it not begin
		a.step(k.c.Step).child = id
	}
}

// exists reports whether a run is there, in memory or in the table.
func (e *Engine) exists(ctx context.Context, id string) (bool, error) {
	e.mu.Lock()
	there := e.actors[id] != nil
	e.mu.Unlock()
	if there {
		return true, nil
	}
	_, there, err := e.db.Run(ctx, id)
	return there, err
}

// bear makes a run of another workflow and lets it go. The caller holds mu;
// the child's lock is taken inside.
func (a *actor) bear(id string, def *workflows.Definition, c machine.Command) error {
	e := a.e
	row := e.newRow(a.row.Namespace, id, def)
	row.Parent, row.Step, row.Depth, row.Tie = a.id, c.Step, a.row.Depth+1, awaited
	if c.Run.Detached {
		row.Tie = untied
	}
	row.Quiet = row.Quiet || a.row.Quiet
	child := newActor(e, def, row)
	child.fresh, child.started = true, make(chan struct{})
	child.mu.Lock()
	defer child.mu.Unlock()
	if err := e.adoptNew(child); err != nil {
		return err
	}
	at := e.now().UnixMicro()
	if _, err := child.apply(machine.Entry{Kind: machine.Started, At: at, Data: c.Input, Seed: e.opts.Chance()}); err != nil {
		return err
	}
	if c.Run.Detached {
		if _, err := a.apply(machine.Entry{Kind: machine.Finished, At: at, Step: c.Step}); err != nil {
			return err
		}
	}
	child.outline()
	a.also = append(a.also, child.take().write)
	child.queued++
	a.changed = true
	if child.last = a.flush(); child.last.Err() != nil {
		child.lose(child.last.Err()) // it is in no commit, and must not go on
		e.leave(child)
		return nil
	}
	child.sent()
	child.carryOn() // behind its parent
	return nil
}
