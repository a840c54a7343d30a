package engine

import (
	"context"
	"sync"
	"time"

	"github.com/weftrun/weft/workflows/machine"
)

// turnQueue gives runs their turns, a bounded number at once, in order of
// arrival.
type turnQueue struct {
	e   *Engine
	max int

	mu      sync.Mutex
	idle    *sync.Cond
	waiting []*actor // guarded by mu; bounded by Options.Runs: a run is in it once
	busy    int      // guarded by mu: workers
	closed  bool     // guarded by mu
}

func newTurnQueue(e *Engine, max int) *turnQueue {
	q := &turnQueue{e: e, max: max}
	q.idle = sync.NewCond(&q.mu)
	return q
}

// add queues a run. A closed queue drops it: the run goes on after the next start.
func (q *turnQueue) add(a *actor) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.waiting = append(q.waiting, a)
	if q.busy < q.max {
		q.busy++
		go q.work()
	}
}

func (q *turnQueue) work() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.busy--
			q.idle.Broadcast()
			q.mu.Unlock()
			return
		}
		a := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.idle.Broadcast()
		q.mu.Unlock()
		a.turn()
	}
}

// settle waits until fewer than n runs have a turn or wait for one.
func (q *turnQueue) settle(ctx context.Context, n int) {
	stop := context.AfterFunc(ctx, func() { q.mu.Lock(); q.idle.Broadcast(); q.mu.Unlock() })
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting)+q.busy >= n && ctx.Err() == nil {
		q.idle.Wait()
	}
}

// close drops the runs that wait and returns when every worker has ended.
func (q *turnQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.waiting = nil
	for q.busy > 0 {
		q.idle.Wait()
	}
}

// turn makes the run's calls until none is at hand and none in flight, or others
// should have their turn. One call at a time needs no other goroutine; where
// branches call at once, helpers make the other calls.
func (a *actor) turn() {
	a.e.pace(a.e.life, a.id, 0)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.workers = 1
	for {
		switch rests := a.work(); {
		case !rests && a.workers == 1: // others should have theirs
			a.workers = 0
			if a.breathe() == nil { // else the run goes on after a restart
				a.e.turns.add(a)
			}
			return
		case !rests:
			_ = a.breathe() // after an error nothing stays at hand
		case a.workers == 1:
			a.workers, a.turning = 0, false
			a.flush()
			return
		default:
			a.flush()
			a.moved.Wait()
		}
	}
}

// work makes calls, one after the other, until none is at hand; false says that
// it has made as many as a turn may. The caller holds mu, which is released
// while a call is made.
func (a *actor) work() bool {
	began, n := time.Now(), 0
	for a.atHand() {
		if n++; n > a.e.opts.StepsMax || time.Since(began) > a.e.opts.TurnMax && n > 1 {
			return false
		}
		if a.m.More() {
			_, _ = a.apply(machine.Entry{Kind: machine.Continued, At: a.e.now().UnixMicro()}) // an error has stopped the run
			continue
		}
		k := a.next()
		a.assist()
		a.mu.Unlock()
		k.make()
		a.mu.Lock()
	}
	return true
}

// atHand reports whether there is something to do at once. The caller holds mu.
func (a *actor) atHand() bool { return len(a.todo) > 0 || a.m.More() && a.err == nil }

// next begins the next call. The caller holds mu.
func (a *actor) next() *call {
	c := a.todo[0]
	if a.todo[0] = (machine.Command{}); len(a.todo) == 1 {
		a.todo = a.todo[:0] // its room serves the next
	} else {
		a.todo = a.todo[1:]
	}
	return a.begin(c)
}

// assist finds a helper for each call that waits while the turn is busy, as
// many as one run may have in flight. The caller holds mu.
func (a *actor) assist() {
	for len(a.todo) > 0 && a.workers > 0 && a.workers < a.e.opts.Calls {
		a.workers++
		go a.help(a.next())
	}
}

// help makes a call beside the turn, and those that follow. The turn waits for it.
func (a *actor) help(k *call) {
	k.make()
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.work() {
		_ = a.breathe() // after an error nothing stays at hand
	}
	a.workers--
	a.moved.Signal()
}

// breathe queues what has been decided, and waits for the flush before, so that
// a run is never more than two flushes ahead of the disk. The caller holds mu,
// which is released meanwhile.
func (a *actor) breathe() error {
	before := a.last
	a.flush()
	a.mu.Unlock()
	defer a.mu.Lock()
	err := before.Wait(a.e.life)
	a.e.pace(a.e.life, a.id, 0)
	return err
}
