package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// process is one life of weft, from an opened file to a crash or an end.
type process struct {
	*engine.Engine
	w      *world
	n      int // which life it is
	db     *store.DB
	dieAt  int // effects until it crashes; 0 for never
	dead   chan struct{}
	why    string // what it died at
	tight  bool   // there is little room: no new work is taken
	broken bool   // guarded by w.mu: the disk has failed for good

	courier sync.WaitGroup
	life    context.Context // of the courier
	end     context.CancelFunc

	mu      sync.Mutex
	effects int            // guarded by mu
	asked   map[string]int // guarded by mu: how often a pause of that name was made
	ids     int            // guarded by mu
}

// errDead is what everything meets that a dead process still tries.
var errDead = errors.New("the process is dead")

// open begins a life of weft on the file.
func (w *world) open() {
	w.lives++
	p := &process{w: w, n: w.lives, dead: make(chan struct{}), asked: map[string]int{}}
	if w.crashes < crashMax && w.r.IntN(4) > 0 {
		p.dieAt = 1 + w.r.IntN(1+w.r.IntN(w.frail)) // rather early
	}
	ctx := context.Background()
	var room int64
	room, p.tight = w.disk.spaceMin()
	w.disk.aged()
	var err error
	// A power cut is another experiment: here only the process dies, so nothing waits for the disk.
	p.db, err = store.Open(ctx, store.Options{Path: w.path, Sync: "normal", Checkpoint: time.Hour, Readers: 2, SpaceMin: room, Fault: p.fault})
	if err != nil {
		panic(err) // the seed cannot go on; the file is at fault
	}
	p.life, p.end = context.WithCancel(ctx)
	w.disk.watch(p)
	p.Engine = engine.New(p.db, w.code.of(p), gate{p}, engine.Options{NewID: p.newID, Chance: p.chance, Pace: p.pace, Snapshot: 6, Retain: w.retain, Lifecycle: w.level})
	w.life = p
	w.carry(p)
	if err := p.Start(ctx); err != nil {
		panic(err)
	}
	if !p.tight {
		w.well()
	}
}

// bury ends what is left of a dead process. What it had not committed is lost.
func (p *process) bury() {
	begun := time.Now()
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	p.end()
	_ = p.Close(cut) // it cannot flush: the disk is gone
	p.courier.Wait()
	p.w.still()
	p.closeDB()
	if d := time.Since(begun); d > time.Second {
		p.w.violate("a process whose disk had failed took %s to end", d)
	}
}

// close ends the process gracefully; if it dies meanwhile, it is dead.
func (p *process) close() {
	begun := time.Now()
	p.w.ill()
	p.end()
	err := p.Close(context.Background())
	if err != nil && !p.isDead() && p.db.Err() == nil {
		p.w.violate("close: %v", err)
	}
	if d := time.Since(begun); d > closeMax {
		p.w.violate("a graceful end took %s", d)
	}
	p.courier.Wait()
	p.w.still()
	p.closeDB()
}

func (p *process) closeDB() {
	p.w.commits += p.db.Commits()
	if err := p.db.Close(); err != nil {
		p.w.violate("close the file: %v", err)
	}
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// fault is the disk. Commits wait until all else is quiet: what they hold, and
// what is read between them, does not depend on who runs first.
func (p *process) fault(m store.Moment) error {
	what := "after a commit"
	if m == store.BeforeCommit {
		what = "before a commit"
		p.pause(context.Background(), 2*time.Millisecond, "commit")
	}
	if err := p.effect(what); err != nil {
		return err
	}
	return p.w.disk.commit(p, m)
}

// effect counts something that can be seen from outside. It may be the last.
func (p *process) effect(what string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isDead() {
		return errDead
	}
	p.w.happened("%d %s", p.n, what)
	if p.effects++; p.effects == p.dieAt {
		p.w.ill()
		p.why = fmt.Sprintf("%s, effect %d", what, p.effects)
		close(p.dead)
		return errDead
	}
	return nil
}

// reach is an effect of a handler or a peer, after a pause. An error means that
// nothing more may be done: the caller has been cut off.
func (p *process) reach(ctx context.Context, most time.Duration, name, what string) error {
	if err := p.pause(ctx, most, name); err != nil {
		return err
	}
	if p.effect(what+" "+name) != nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// cutMax is how long who is cut off may take to notice.
const cutMax = time.Millisecond

// pause lets a little time pass. How much depends on its name and on how often
// it was made in this life, so whoever wakes does so alone.
func (p *process) pause(ctx context.Context, most time.Duration, name string) error {
	if p.isDead() {
		return nil
	}
	p.mu.Lock()
	p.asked[name]++
	n := p.asked[name]
	p.mu.Unlock()
	d := time.Duration(p.w.chance(int(most), "pause", p.n, name, n))
	timer := time.NewTimer(time.Until(p.w.alone(time.Now().Add(d))))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // of several that are cut off at one moment each notices alone
		time.Sleep(time.Until(p.w.alone(time.Now().Add(time.Duration(p.w.chance(int(cutMax), "cut", p.n, name, n))))))
	}
	return ctx.Err()
}

// pace has what the engine does beside other things go on alone.
func (p *process) pace(ctx context.Context, who string, step uint32) {
	what := fmt.Sprintf("goes on %s/%d", who, step)
	_ = p.pause(ctx, time.Millisecond, what) // who is cut off finds out
	if !p.isDead() {
		p.w.happened("%d %s", p.n, what)
	}
}

// paceBus is pace for the bus. It looks too often to be told.
func (p *process) paceBus(ctx context.Context, group string, offset int64) {
	_ = p.pause(ctx, time.Millisecond, fmt.Sprintf("bus %s/%d", group, offset))
}

func (p *process) newID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids++
	var id ulid.ULID
	_ = id.SetTime(ulid.Now()) // fails in the year 10889
	id[14], id[15] = byte(p.n), byte(p.ids)
	return id.String()
}

// chance is the same for all who ask at one moment: it does not matter who is first.
func (p *process) chance() uint64 { return uint64(p.w.chance(1<<62, "chance", time.Now().UnixNano())) }
