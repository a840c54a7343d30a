package engine

import (
	"context"
	"sync"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// watchers are told of every durable change of the runs they watch.
type watchers struct {
	mu     sync.Mutex
	runs   map[string]map[chan *store.Run]struct{} // guarded by mu
	closed bool                                    // guarded by mu
}

func newWatchers() *watchers {
	return &watchers{runs: map[string]map[chan *store.Run]struct{}{}}
}

// add gives a channel that has the newest row of the run, or nil to have it read,
// when something has changed since the last was taken; it is closed when the
// engine closes.
func (w *watchers) add(run string) (chan *store.Run, func()) {
	ch := make(chan *store.Run, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(ch)
		return ch, func() {}
	}
	if w.runs[run] == nil {
		w.runs[run] = map[chan *store.Run]struct{}{}
	}
	w.runs[run][ch] = struct{}{}
	return ch, func() { w.remove(run, ch) }
}

func (w *watchers) remove(run string, ch chan *store.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if delete(w.runs[run], ch); len(w.runs[run]) == 0 {
		delete(w.runs, run)
	}
}

// wake has everybody look again.
func (w *watchers) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for run := range w.runs {
		w.tell(run, nil)
	}
}

// notify tells of a row that is durable; nobody may change it any more.
func (w *watchers) notify(row *store.Run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell(row.ID, row)
}

// tell hands a row, or nil, to everybody who watches the run. The caller holds mu.
func (w *watchers) tell(run string, row *store.Run) {
	for ch := range w.runs[run] {
		select {
		case <-ch: // nobody has come for the one before
		default:
		}
		ch <- row
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, chans := range w.runs {
		for ch := range chans {
			close(ch)
		}
	}
	w.runs = nil
}

// Watch calls fn with the run and its steps at once and after every durable
// change, until the run has ended, fn fails or ctx ends. Changes that come
// faster than fn are seen together. Whoever watches for a caller has a Place.
func (e *Engine) Watch(ctx context.Context, ns, id string, fn func(Run, []machine.Step) error) error {
	return e.follow(ctx, id, func(*store.Run) (bool, error) {
		run, steps, err := e.Describe(ctx, ns, id)
		if err == nil {
			err = fn(run, steps)
		}
		return run.Status.Ended(), err
	})
}

// Wait returns the run once it has ended. Whoever waits for a caller has a Place.
func (e *Engine) Wait(ctx context.Context, ns, id string) (run Run, err error) {
	err = e.follow(ctx, id, func(row *store.Run) (bool, error) {
		if row == nil {
			run, err = e.Run(ctx, ns, id)
		} else {
			run, err = fromRow(*row)
		}
		return run.Status.Ended(), err
	})
	return run, err
}

// follow calls look at once, and after every durable change with the row, or nil
// to have it read, until it says that there is nothing more to see.
func (e *Engine) follow(ctx context.Context, id string, look func(*store.Run) (ended bool, err error)) error {
	changes, stop := e.watch.add(id)
	defer stop()
	for row := (*store.Run)(nil); ; {
		if ended, err := look(row); ended || err != nil {
			return err
		}
		if err := e.db.Err(); err != nil {
			return err // nothing will change until somebody mends the disk
		}
		var open bool
		select {
		case row, open = <-changes:
			if !open {
				return weft.Errorf(weft.Unavailable, "engine.Engine.Watch", "weft is shutting down").WithHint("the run goes on after the restart; watch it again then")
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
