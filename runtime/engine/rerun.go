package engine

import (
	"context"
	"strconv"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// Rerun starts a copy of a run that has ended: what happened before the given
// step began is taken over, answers of handlers and events included, and from
// there on it is done anew. Step 0 is the one at which the run faulted or was
// cancelled. The copy has the time that was left of each timeout. It is
// durable when Rerun returns; the run that is copied stays as it is.
func (e *Engine) Rerun(ctx context.Context, ns, id string, step uint32) (Run, error) {
	const op = "engine.Engine.Rerun"
	end, err := e.begin(op)
	if err != nil {
		return Run{}, err
	}
	defer end()
	if err := e.db.Room(); err != nil {
		return Run{}, err
	}
	row, err := e.row(ctx, ns, id)
	if err != nil {
		return Run{}, err
	}
	if s := Status(row.Status); !s.Ended() {
		return Run{}, weft.Errorf(weft.FailedPrecondition, op, "run %s has not ended: it is %s", id, s).WithHint("cancel it first")
	}
	if row.Entries > e.opts.HistoryMax {
		return Run{}, weft.Errorf(weft.FailedPrecondition, op, "run %s has %d journal entries, of which only the latest are kept", id, row.Entries).
			WithHint("start a new run")
	}
	def, err := e.cat.Workflow(ns, row.Space+"/"+row.Workflow, row.Version)
	if err != nil {
		return Run{}, err
	}
	entries, err := e.entries(ctx, id, 0)
	if err != nil {
		return Run{}, err
	}
	taken, err := before(def, row, entries, step)
	if err != nil {
		return Run{}, err
	}
	a, err := e.copied(def, row, taken, step)
	if err != nil {
		return Run{}, err
	}
	made, err := a.acknowledge(ctx)
	if err != nil {
		return Run{}, err
	}
	return fromRow(made)
}

// before is the part of a journal that a rerun from a step takes over.
func before(def *workflows.Definition, row store.Run, entries []machine.Entry, step uint32) ([]machine.Entry, error) {
	const op = "engine.Engine.Rerun"
	m := machine.New(def, info(row))
	for i, en := range entries {
		if _, err := m.Advance(en); err != nil {
			return nil, err
		}
		ended, begun := m.Status().Ended(), step > 0 && m.Steps() >= step
		switch {
		case step == 0 && m.Status() == machine.Completed:
			return nil, weft.Errorf(weft.FailedPrecondition, op, "run %s has completed, so it failed at no step", row.ID).WithHint("name the step to run it from: weft run describe %s", row.ID)
		case ended && (begun || step == 0 && i == 0):
			return nil, weft.Errorf(weft.FailedPrecondition, op, "run %s ended in the moment in which that step began: there is nothing to do anew", row.ID).
				WithHint("name an earlier step, or start a new run: weft run describe %s", row.ID)
		case ended && step == 0:
			return answeredOnly(entries[:i]), nil
		case begun:
			return answeredOnly(entries[:i+1]), nil
		}
	}
	return nil, weft.Errorf(weft.InvalidArgument, op, "run %s has no step %d: it came to step %d", row.ID, step, m.Steps())
}

// answeredOnly leaves out the notes of calls that are made anew: what their
// peers said is not to be believed again.
func answeredOnly(entries []machine.Entry) []machine.Entry {
	answered := map[uint32]bool{}
	for _, en := range entries {
		if en.Kind == machine.Finished || en.Kind == machine.Failed {
			answered[en.Step] = true
		}
	}
	var kept []machine.Entry
	for _, en := range entries {
		if en.Kind < machine.Attempted || answered[en.Step] {
			kept = append(kept, en)
		}
	}
	return kept
}

// copied is a new run with those entries, which goes on from there.
func (e *Engine) copied(def *workflows.Definition, was store.Run, entries []machine.Entry, step uint32) (_ *actor, err error) {
	row := e.newRow(was.Namespace, e.opts.NewID(), def)
	row.Origin, row.Quiet = was.ID, row.Quiet || was.Quiet
	if step > 0 {
		row.Origin += " step " + strconv.Itoa(int(step))
	}
	a := newActor(e, def, row)
	a.fresh, a.started = true, make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, en := range entries {
		eff, err := a.m.Advance(en)
		if err != nil {
			return nil, weft.Errorf(weft.FailedPrecondition, "engine.Engine.Rerun", "a copy of run %s takes another course, perhaps because it looks at its own id: %w", was.ID, err)
		}
		a.keep(en)
		if step > 0 && i == len(entries)-1 {
			a.emitFrom(step, eff.Commands)
		}
		if en.Kind == machine.Delivered {
			a.also = append(a.also, func(tx *store.Tx) error {
				_, err := tx.Receive(inboxOf(a.id), en.Event.Source, en.Event.ID)
				return err
			})
		}
	}
	if err := e.adoptNew(a); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil { // nobody was told of it: it must not be written at the end
			a.lose(err)
			e.leave(a)
		}
	}()
	if _, err := a.apply(machine.Entry{Kind: machine.Rerun, At: e.now().UnixMicro(), Data: []byte(row.Origin)}); err != nil {
		return nil, err
	}
	if a.m.Status() == machine.StatusPaused { // who runs it again wants it to go on
		if _, err := a.apply(machine.Entry{Kind: machine.Resumed, At: e.now().UnixMicro()}); err != nil {
			return nil, err
		}
	}
	if err := a.proceed(); err != nil {
		return nil, err
	}
	a.carryOn()
	return a, nil
}

// emitFrom emits what the last entry that was taken over led to once the step
// had begun: that is to be done anew. The caller holds mu.
func (a *actor) emitFrom(step uint32, commands []machine.Command) {
	for _, c := range commands {
		if c.Kind == machine.Emit && c.Step >= step {
			a.events = append(a.events, *c.Event)
		}
	}
}
