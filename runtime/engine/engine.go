// Package engine runs workflows: it feeds what happens to the machine, does
// what the machine commands, and makes both durable. One turn of a run is one
// commit; a step waits for the disk only before something becomes visible
// outside.
package engine

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// Catalog is what is deployed: *catalog.Catalog, or what a simulator offers.
// Its methods are those of *catalog.Catalog, word for word.
type Catalog interface {
	Handler(ctx context.Context, ns string, ref weft.Ref) (catalog.Handler, error)
	Workflow(ns, name, version string) (*workflows.Definition, error)
	Triggered(ns string, ev weft.Event) []*workflows.Definition
}

// Outbound is the door out, host/peers.Gate. An error that is a
// *weft.OpenError parks a durable step.
type Outbound interface {
	Do(ctx context.Context, r weft.Request) (weft.Response, error)
}

// Options bounds the engine. The zero value of each field means its default.
type Options struct {
	Log *slog.Logger

	Turns       int           // runs that make progress at once; default 256
	Calls       int           // calls of one run in flight; default 16
	Runs        int           // live runs in memory; default 100,000
	Waiters     int           // callers who wait for a run; default 20,000
	WaitersOf   int           // of those, in one namespace; default 10,000
	Recover     int           // runs resumed at once after a restart; default 256
	StepsMax    int           // calls in one turn before others have theirs; default 256
	TurnMax     time.Duration // length of one turn before others have theirs; default 10 ms
	EntriesMax  int64         // journal entries of one run, after which it faults; default 1,000,000
	Snapshot    int64         // entries after which the next fold of a run begins; default 1,000
	HistoryMax  int64         // entries of one run that are kept for people; of a longer one, those since its last snapshot; default 50,000
	Retain      time.Duration // how long a run is kept after its end; default 30 days, below 0 for ever
	RetainEvery time.Duration // how often those are looked for that are kept no longer; default 1 minute
	InputMax    int           // bytes of a run's input; default 1 MiB
	StaleMax    int           // times a handler runs again because its state changed meanwhile; default 16
	AckDelay    time.Duration // how long a start waits to share the commit of its first turn; default 1 ms
	DrainMax    time.Duration // how long Close waits for calls in flight; default 10 s
	Lifecycle   string        // none, workflow or task: whose lifecycle events are emitted; default none
	PollPeer    time.Duration // how often a parked run looks again for a peer with no instance; default 1 minute

	Scripts *script.Engine // runs the scripts of workflows; nil for none
	// Secret gives a secret of a namespace: text, or a JSON object. What is not
	// there is an error with the code NotFound. Default: there are none.
	Secret func(ns, name string) ([]byte, error)

	NewID  func() string // ids of runs and of calls without a key; default a ULID
	Chance func() uint64 // seeds of runs, and jitter; default math/rand

	// Pace, when not nil, may delay what the engine does on a goroutine beside
	// others: make the call of a step of a run, go on with it after a wait for the
	// disk, tell it the end of the run that the step runs, give a run its turn, go
	// on after a wait or cancel it for nobody waits for it (step 0), and, by name,
	// "recovery", "timers" and "family". It returns when ctx ends. The simulation
	// has no two of them go on at one moment.
	Pace func(ctx context.Context, who string, step uint32)
}

func (o *Options) fill() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Secret == nil {
		o.Secret = noSecret
	}
	def(&o.Turns, 256)
	def(&o.Calls, 16)
	def(&o.Runs, 100_000)
	def(&o.Waiters, 20_000)
	def(&o.WaitersOf, 10_000)
	def(&o.Recover, 256)
	def(&o.StepsMax, 256)
	def(&o.TurnMax, 10*time.Millisecond)
	def(&o.EntriesMax, 1_000_000)
	def(&o.Snapshot, 1_000)
	def(&o.HistoryMax, 50_000)
	if o.Retain == 0 {
		o.Retain = 30 * 24 * time.Hour
	}
	def(&o.RetainEvery, time.Minute)
	def(&o.InputMax, 1<<20)
	def(&o.StaleMax, 16)
	def(&o.AckDelay, time.Millisecond)
	def(&o.DrainMax, 10*time.Second)
	def(&o.PollPeer, time.Minute)
	if o.Lifecycle == "" {
		o.Lifecycle = LifecycleNone
	}
	if o.NewID == nil {
		o.NewID = func() string { return ulid.Make().String() }
	}
	if o.Chance == nil {
		o.Chance = rand.Uint64
	}
}

func def[T ~int | ~int64](field *T, v T) {
	if *field <= 0 {
		*field = v
	}
}

// Engine runs the workflows of one host. Its methods may be called by many
// goroutines at once.
//
// Locks are taken in this order, and none of them while a handler runs or the
// disk is waited for: actor.mu (of a run before those that it runs), store.State,
// Engine.mu, peerQueue.mu, family.mu, watchers.mu.
type Engine struct {
	db   *store.DB
	cat  Catalog
	out  Outbound
	opts Options
	log  *slog.Logger

	mu       sync.Mutex
	actors   map[string]*actor         // guarded by mu: runs in memory
	loads    map[string]*load          // guarded by mu: runs on their way there
	starting map[startKey]*reservation // guarded by mu: starts with a key that are not yet durable
	closed   bool                      // guarded by mu

	turns    *turnQueue
	timers   *timers
	schedule *schedule
	parked   *peerQueue
	family   *family
	watch    *watchers
	places   *weft.Places
	tokens   *tokens

	life   context.Context // ends when Close begins to cut calls off
	cut    context.CancelFunc
	bg     sync.WaitGroup // timers, recovery, waves
	calls  sync.WaitGroup // direct calls and deliveries
	ended  func()         // of a call: calls.Done, made once
	resume atomic.Bool    // Start has been called
	losses atomic.Int64   // times that what was not durable was lost
	counts counts
}

// New makes an engine that accepts runs once Start has been called.
func New(db *store.DB, cat Catalog, out Outbound, o Options) *Engine {
	o.fill()
	e := &Engine{db: db, cat: cat, out: out, opts: o, log: o.Log, actors: map[string]*actor{}, loads: map[string]*load{}, starting: map[startKey]*reservation{}, watch: newWatchers(), tokens: newTokens(), places: newPlaces(o)}
	e.life, e.cut = context.WithCancel(context.Background())
	e.ended = e.calls.Done
	e.turns = newTurnQueue(e, o.Turns)
	e.timers = newTimers(e)
	e.schedule = &schedule{e: e}
	e.parked = newPeerQueue(e)
	e.family = newFamily(e)
	db.OnFailure(store.Failure{Failed: e.watch.wake, Lost: e.lost, Again: e.again})
	return e
}

// Start resumes what was running when the process ended and begins to serve
// timers. It returns at once; runs resume a bounded number at a time.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.parked.load(ctx); err != nil {
		return err
	}
	e.resume.Store(true)
	e.bg.Go(e.timers.run)
	e.bg.Go(e.family.run)
	e.bg.Go(e.retain)
	e.bg.Go(e.recover)
	return nil
}

// recover resumes runs that were in the middle of something. Parked ones stay rows.
func (e *Engine) recover() {
	e.pace(e.life, "recovery", 0)
	after, n := store.RunID{}, 0
	for e.life.Err() == nil {
		ids, err := e.db.RunIDs(e.life, int(Running), after, e.opts.Recover)
		if err != nil {
			e.log.Error("recovery stopped: runs wait for the next start", "error", err)
			return
		}
		if len(ids) == 0 {
			break
		}
		for _, id := range ids {
			if err := e.touch(e.life, id.ID, (*actor).proceed); err != nil {
				e.log.Error("run not resumed", "run", id.ID, "error", err)
			}
		}
		after, n = ids[len(ids)-1], n+len(ids)
		e.turns.settle(e.life, e.opts.Recover)
	}
	if n > 0 {
		e.log.Info("runs resumed", "runs", n)
	}
}

// lost forgets every run in memory: what they have decided and is not durable
// is gone, and with it all that was built on it.
func (e *Engine) lost() {
	e.losses.Add(1)
	e.mu.Lock()
	actors := slices.Collect(maps.Values(e.actors))
	clear(e.actors)
	for _, l := range e.loads {
		l.over = true
	}
	clear(e.loads)
	for _, r := range e.starting {
		close(r.done)
	}
	clear(e.starting)
	e.mu.Unlock()
	for _, a := range actors {
		a.mu.Lock()
		a.lose(errLost)
		a.mu.Unlock()
	}
}

var errLost = weft.Errorf(weft.Unavailable, "engine.Engine.lost", "the disk was full, and what the run did last is lost").WithHint("it goes on by itself from what is durable")

// again goes on from what is durable.
func (e *Engine) again() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return
	}
	e.bg.Go(func() {
		if err := e.parked.load(e.life); err != nil && e.life.Err() == nil {
			e.log.Error("parked runs not read: they wait for the next start", "error", err)
		}
		e.family.recover()
		e.recover()
		e.timers.at(0)
	})
}

// Close stops taking work, lets turns and calls in flight end for DrainMax or
// until ctx ends, cuts off the rest and makes everything decided durable. What
// was cut off goes on at the next start. It is safe twice.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, e.opts.DrainMax)
	defer cancel()
	quiet := make(chan struct{})
	go func() { e.turns.close(); e.calls.Wait(); close(quiet) }()
	select {
	case <-quiet:
	case <-ctx.Done():
	}
	e.cut()
	<-quiet
	e.parked.close()
	e.family.close()
	e.bg.Wait()
	e.watch.close()
	e.flushAll()
	return e.db.Flush(context.WithoutCancel(ctx))
}

// flushAll queues what runs have decided and not yet queued, in the order in
// which they started.
func (e *Engine) flushAll() {
	e.mu.Lock()
	actors := slices.SortedFunc(maps.Values(e.actors), func(a, b *actor) int { return strings.Compare(a.id, b.id) })
	e.mu.Unlock()
	for _, a := range actors {
		a.mu.Lock()
		a.flush()
		a.mu.Unlock()
	}
}

// begin counts a call from outside in; its answer must be called when it ends.
func (e *Engine) begin(op string) (func(), error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !e.resume.Load() {
		return nil, weft.Errorf(weft.Unavailable, op, "weft is not ready for work").WithHint("try again in a moment, or at another host")
	}
	e.calls.Add(1)
	return e.ended, nil
}

// within is ctx, ended also when the engine is cut off.
func (e *Engine) within(ctx context.Context) (_ context.Context, end func(error)) {
	return weft.Until(ctx, e.life)
}

func (e *Engine) now() time.Time { return time.Now() }

func (e *Engine) pace(ctx context.Context, who string, step uint32) {
	if e.opts.Pace != nil {
		e.opts.Pace(ctx, who, step)
	}
}
