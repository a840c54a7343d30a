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

// turn makes the run's calls, one after the other, until none is at hand, or
// others should have their turn.
func (a *actor) turn() {
	began, n := time.Now(), 0
	for {
		a.mu.Lock()
		if len(a.todo) == 0 && (!a.m.More() || a.err != nil) {
			a.turning = false
			a.flush()
			a.mu.Unlock()
			return
		}
		if n++; n > a.e.opts.StepsMax || time.Since(began) > a.e.opts.TurnMax && n > 1 {
			a.yield()
			return
		}
		if a.m.More() {
			_, _ = a.apply(machine.Entry{Kind: machine.Continued, At: a.e.now().UnixMicro()}) // an error has stopped the run
			a.mu.Unlock()
			continue
		}
		c := a.todo[0]
		a.todo = a.todo[1:]
		call := a.begin(c)
		a.mu.Unlock()
		call.make()
	}
}

// yield ends a turn with work left. It waits for the flush before this one, so
// that a run is never more than two flushes ahead of the disk. The caller holds
// mu, which is released.
func (a *actor) yield() {
	before := a.last
	a.flush()
	a.mu.Unlock()
	if err := before.Wait(a.e.life); err != nil {
		return // the disk has failed or the engine ends: the run goes on after a restart
	}
	a.e.turns.add(a)
}
