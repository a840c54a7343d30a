// Package simulation runs the whole engine on a real store in a world of its
// own: handlers, peers, clients and crashes are decided by a seed, time is
// virtual, and what must hold is checked against the journals at the end. The
// same seed gives the same world, to the byte.
package simulation

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft/runtime/engine"
)

const ns = "default"

// Report is what one seed came to.
type Report struct {
	Trace      string   // all that happened; equal for equal seeds
	Violations []string // what should hold and did not
	Runs       int
	Commits    int64
	Calls      int // that reached a peer
	Crashes    int
	Entries    map[string]int // how many of each kind the journals have, and runs of each status
	Lived      time.Duration  // virtual
}

// Bounds of one world.
const (
	opsMin, opsMax = 15, 40
	crashMax       = 6
	crashEffects   = 200                    // of world.frail
	settleRounds   = 60                     // looks for quiet at the end
	settleGap      = 5 * time.Minute        // between them
	closeMax       = 12 * time.Second       // what a graceful end may take: engine.Options.DrainMax and the last commit
	gapMax         = 400 * time.Millisecond // between two steps of the clients
)

// Run lives the world of a seed on a file in dir, and checks it. It must run
// in a bubble of testing/synctest.
func Run(seed uint64, dir string) Report {
	w := newWorld(seed, dir, write(rand.New(rand.NewPCG(seed, 2)), Families(seed)))
	w.live()
	w.settle()
	w.check()
	return w.report()
}

// Bus reports whether events go by the bus of the host in the world of a seed.
func Bus(seed uint64) bool { return seed%6 == 4 }

// Families reports whether workflows run others in the world of a seed.
func Families(seed uint64) bool { return seed%4 == 3 }

// world is what outlives a crash: the file, the clients' memory, the peers.
type world struct {
	seed  uint64
	path  string
	frail int        // effects, at most, until a process that will crash does so
	r     *rand.Rand // of the driver alone
	begun time.Time
	code  *deployed
	peers *peers
	disk  *disk
	still func() // returns when no client has anything under way
	ops   sync.WaitGroup

	life    *process
	lives   int
	crashes int
	commits int64
	bus     bool // events go by the real one
	seasons []season
	level   string        // engine.Options.Lifecycle
	retain  time.Duration // engine.Options.Retain

	mu         sync.Mutex
	story      []string             // guarded by mu: effects and restarts, in order of time
	facts      []*fact              // guarded by mu: what clients did and were told, in order of doing
	taken      map[string]time.Time // guarded by mu: by mark: what the workflows have had of the log, and when first
	offered    map[string]bool      // guarded by mu: by group and event: what the bus has handed out
	wakes      map[int64]bool       // guarded by mu: when pauses end, Unix nanoseconds
	violations []string             // guarded by mu
	spans      []span               // guarded by mu
	rows       []string             // the file at the end
	runs       int
	entries    map[string]int
}

func newWorld(seed uint64, dir string, all []text) *world {
	w := &world{seed: seed, path: filepath.Join(dir, "weft.db"), frail: crashEffects, r: rand.New(rand.NewPCG(seed, 1)), begun: time.Now(), taken: map[string]time.Time{}, offered: map[string]bool{}, wakes: map[int64]bool{}, entries: map[string]int{}}
	w.peers = newPeers(w)
	w.disk = newDisk(w)
	w.bus = Bus(seed)
	w.level = []string{engine.LifecycleNone, engine.LifecycleWorkflow, engine.LifecycleTask}[w.chance(3, "lifecycle")]
	w.code = deploy(w, all)
	w.still = w.ops.Wait
	return w
}

// chance is a number below n that depends on the seed and on parts alone: it
// does not matter who asks first.
func (w *world) chance(n int, parts ...any) int {
	h := fnv.New64a()
	fmt.Fprintln(h, w.seed)
	fmt.Fprintln(h, parts...)
	return int(rand.New(rand.NewPCG(h.Sum64(), w.seed)).Uint64N(uint64(n)))
}

// violate notes that something does not hold.
func (w *world) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}

// happened notes what is the same in each life of a seed.
func (w *world) happened(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.story = append(w.story, w.clock()+" "+fmt.Sprintf(format, args...))
}

// live lets the clients do their steps, through crashes and restarts.
func (w *world) live() {
	w.open()
	w.begins()
	w.apply(true)
	for range opsMin + w.r.IntN(opsMax-opsMin) {
		gap := time.Duration(1+w.r.IntN(int(gapMax/time.Microsecond))) * time.Microsecond
		if w.r.IntN(3) == 0 {
			gap /= 100 // in the middle of something
		}
		w.rest(gap)
		w.step()
	}
}

// rest lets time pass; a process that dies meanwhile is replaced by another.
func (w *world) rest(d time.Duration) {
	until := time.Now().Add(d)
	for {
		timer := time.NewTimer(time.Until(odd(until)))
		select {
		case <-timer.C:
			return
		case <-w.life.dead:
			timer.Stop()
			w.crashed()
			until = odd(time.Now().Add(time.Millisecond))
		}
	}
}

// crashed clears up after a crash and begins again after an outage.
func (w *world) crashed() {
	w.crashes++
	w.happened("crash: %s", w.life.why)
	w.life.bury()
	outage := time.Duration(1 + w.r.IntN(1000))
	switch w.r.IntN(4) {
	case 0:
		outage *= time.Second // long: most timers pass
	default:
		outage *= time.Millisecond
	}
	time.Sleep(time.Until(odd(time.Now().Add(outage))))
	w.open()
}

// restart ends the process as an operator does, and begins again.
func (w *world) restart() {
	w.happened("restart")
	w.life.close()
	time.Sleep(time.Until(odd(time.Now().Add(time.Second))))
	w.open()
}

// settle heals the world and waits until nothing moves any more.
func (w *world) settle() {
	w.rest(time.Second)
	w.disk.heal()
	if w.life.isBroken() || w.life.tight {
		w.restart()
	}
	w.apply(false)
	w.peers.heal()
	w.resumeAll()
	entries := int64(-1)
	for range settleRounds {
		crashes := w.crashes
		w.rest(settleGap)
		busy, now := w.moves()
		if busy == 0 && now == entries && w.crashes == crashes { // a crash ends the rest
			w.still()
			return
		}
		entries = now
	}
	busy, _ := w.moves()
	w.violate("%d runs still move after %s of calm", busy, settleRounds*settleGap)
}

// moves is how many runs are running, or wait for time or a peer, and how long
// all journals are.
func (w *world) moves() (busy int, entries int64) {
	for _, r := range w.allRuns() {
		entries += r.Entries
		if r.Status == engine.Running || r.Status == engine.Parked && (!r.Wake.IsZero() || r.Peer != "") {
			busy++
		}
	}
	return busy, entries
}

func (w *world) resumeAll() {
	for _, r := range w.allRuns() {
		if r.Status == engine.Parked && isPaused(r.Reason) && w.chance(2, "leave paused", r.ID) == 0 {
			w.do(resume, r.ID)
			w.rest(time.Second)
		}
	}
}

func (w *world) allRuns() []engine.Run {
	runs, _, err := w.life.List(context.Background(), engine.ListRuns{Namespace: ns, PageSize: 1000})
	if err != nil {
		w.violate("runs cannot be listed: %v", err)
	}
	return runs
}

// isPaused reports whether a run waits for a person.
func isPaused(reason string) bool { return reason == "resume (paused by hand)" }

func (w *world) clock() string { return fmt.Sprintf("%16.9f", time.Since(w.begun).Seconds()) }

// odd is a time soon after t at which nothing of the engine is due: that has
// whole milliseconds, or microseconds from 401 on. So whatever the world wakes
// wakes alone, and it does not matter how goroutines are scheduled.
func odd(t time.Time) time.Time {
	nanos := t.UnixNano()
	return time.Unix(0, nanos-nanos%1e6+1e6+(1+nanos/1e3%400)*1e3+1+nanos%998)
}

// alone is an odd time soon after t that no other pause ends at.
func (w *world) alone(t time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := odd(t); ; at = at.Add(1) {
		if n := at.UnixNano(); !w.wakes[n] {
			w.wakes[n] = true
			return at
		}
	}
}

func (w *world) report() Report {
	var b strings.Builder
	for _, list := range [][]string{w.code.texts(), w.story, w.calendar(), w.told(), w.peers.trace(), w.rows} {
		for _, line := range list {
			b.WriteString(line + "\n")
		}
	}
	fmt.Fprintf(&b, "%s end, %d commits\n", w.clock(), w.commits)
	slices.Sort(w.violations)
	return Report{Trace: b.String(), Violations: w.violations, Runs: w.runs, Commits: w.commits, Calls: len(w.peers.calls), Crashes: w.crashes, Entries: w.entries, Lived: time.Since(w.begun)}
}
