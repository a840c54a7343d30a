package engine

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// timers wakes runs, and starts workflows, when their time has come. The times
// are in the tables; only the next one is in memory.
type timers struct {
	e    *Engine
	kick chan struct{}

	mu     sync.Mutex
	next   int64 // guarded by mu: Unix milliseconds of the next look; 0 while looking
	looked int64 // guarded by mu: what was due by then has been fired, or cannot be in this process
	missed bool  // guarded by mu: something that is due by then has come since
}

// duePage bounds the runs that are woken before the next look; lookGap is the
// least time between two looks.
const (
	duePage = 256
	lookGap = 5 * time.Millisecond
	lookMax = time.Minute
)

func newTimers(e *Engine) *timers { return &timers{e: e, kick: make(chan struct{}, 1)} }

// at tells that something is due at ms.
func (t *timers) at(ms int64) {
	t.mu.Lock()
	sooner := t.next == 0 || ms < t.next
	t.missed = t.missed || ms <= t.looked
	t.mu.Unlock()
	if sooner {
		select {
		case t.kick <- struct{}{}:
		default:
		}
	}
}

func (t *timers) run() {
	for t.e.life.Err() == nil {
		t.plan(0)
		t.e.pace(t.e.life, "timers", 0)
		if err := t.look(); err != nil && t.e.life.Err() == nil {
			t.e.log.Error("timers not read, will try again", "error", err)
		}
		t.e.schedule.look()
		t.sleep()
	}
}

func (t *timers) plan(next int64) {
	t.mu.Lock()
	t.next = next
	t.mu.Unlock()
}

// look fires all that is due. What cannot be woken in this process, because its
// journal does not fit or its workflow is gone, is told once, and left.
func (t *timers) look() (err error) {
	now := t.e.now().UnixMilli()
	before := t.begin(now)
	defer func() {
		if err != nil {
			t.again()
		}
	}()
	for after := (store.Wake{}); t.e.life.Err() == nil; {
		due, err := t.e.db.Due(t.e.life, now, after, duePage)
		if err != nil {
			return err
		}
		for _, w := range due {
			err := t.e.fire(w.Run)
			if err == nil || t.e.life.Err() != nil {
				continue
			}
			if !lasting(err) {
				t.again()
			}
			if w.At > before {
				t.e.log.Error("timer not fired", "run", w.Run, "error", err)
			}
		}
		if len(due) < duePage {
			return nil
		}
		after = due[len(due)-1]
		t.e.turns.settle(t.e.life, duePage)
	}
	return nil
}

// lasting reports whether a run that could not be woken for err cannot be woken
// later either, as long as this process lives.
func lasting(err error) bool {
	code := weft.CodeOf(err)
	return errors.Is(err, errStopped) || code == weft.DataLoss || code == weft.NotFound
}

func (t *timers) begin(now int64) (before int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, t.looked, t.missed = t.looked, now, false
	return before
}

// again has all that is due be looked at once more.
func (t *timers) again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missed = true
}

// pending is since when the next wake time is to be sought; ok is false when
// there is something to be looked at now.
func (t *timers) pending() (after int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.looked, !t.missed
}

// sleep waits until the next run or start is due. A burst of short timers costs one look
// a gap.
func (t *timers) sleep() {
	gap := time.NewTimer(lookGap)
	defer gap.Stop()
	select {
	case <-gap.C:
	case <-t.e.life.Done():
		return
	}
	for t.doze() {
	}
}

// doze waits until the next run is due, or another is to be looked at that may
// be due before: then it is true.
func (t *timers) doze() bool {
	t.plan(0) // what becomes durable from here on kicks
	after, ok := t.pending()
	if !ok {
		return false
	}
	now, wait := t.e.now(), lookMax
	at, ok, err := t.e.db.NextWake(t.e.life, after)
	if err == nil && ok {
		wait = min(wait, time.UnixMilli(at).Sub(now))
	}
	if at, ok := t.e.schedule.next(); ok {
		wait = min(wait, at.Sub(now))
	}
	t.plan(now.Add(wait).UnixMilli())
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-t.kick:
		return true
	case <-t.e.life.Done():
		return false
	}
}

// fire tells a run that its time has come: a timer of its workflow, the end of
// its patience with a peer, or the time to look for a second one.
func (e *Engine) fire(id string) error {
	return e.touch(e.life, id, func(a *actor) error {
		if err := a.tick(); err != nil {
			return err
		}
		now := e.now().UnixMicro()
		for _, c := range a.m.Outstanding() {
			s := a.steps[c.Step]
			if s == nil || s.peer == "" {
				continue
			}
			if s.parked+c.ParkMax.Microseconds() <= now { // the last try; park refuses the next time
				return a.proceed()
			}
			if s.peer != a.row.Peer && s.until.UnixMicro() <= now { // nobody else looks for it
				return a.proceed()
			}
		}
		a.changed = a.changed || len(a.todo) == 0 // the row's wake time may be old
		return nil
	})
}

// tick lets what is due in the workflow have its effect. The caller holds mu.
func (a *actor) tick() error {
	now := a.e.now().UnixMicro()
	at, ok := a.m.NextTimer()
	if !ok || at > now || a.m.Status().Ended() {
		return nil
	}
	_, err := a.apply(machine.Entry{Kind: machine.Fired, At: now})
	return err
}

// cutLate ends the calls in flight, and drops those to make, that the run no
// longer waits for: their steps have timed out, or another branch has won. The
// caller holds mu.
func (a *actor) cutLate() {
	a.todo = slices.DeleteFunc(a.todo, func(c machine.Command) bool { return !a.m.Awaits(c.Step) })
	for step, cancel := range a.cancels {
		if !a.m.Awaits(step) {
			cancel()
		}
	}
}
