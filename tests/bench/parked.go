package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// Most runs sleep; one of twenty naps and one of a hundred is done at once, so
// that filters have something to choose from.
var parkedFlows = map[string]string{
	"sleep": "do:\n  - sleep: { wait: '${ .for }' }\n",
	"nap":   "do:\n  - sleep: { wait: '${ .for }' }\n",
	"done":  "do:\n  - done: { set: { done: true } }\n",
	"due": `do:
  - sleep: { wait: '${ .for }' }
  - tell: { emit: { event: { with: { source: 'https://bench.example', type: bench.due, data: { run: '${ $workflow.id }' } } } } }
`,
}

const (
	parkedName    = "parked" // of the file
	parkedClients = 1000     // goroutines that start runs
	parkedWarm    = 2000     // runs that are started before the first look at the memory
	parkedWithin  = 24 * time.Hour
)

// Parked is what runs that wait for a timer take.
type Parked struct {
	Runs    int
	Took    time.Duration // to start them
	CPU     time.Duration
	Commits int64
	RSS     int64 // bytes that the process has grown by, once what Go does not use has gone back
	Peak    int64 // bytes that it has grown by at most
	Disk    int64 // bytes that the file has grown by
}

// RSSPerRun is what the process grows by for one of them, in bytes.
func (p Parked) RSSPerRun() float64 { return float64(p.RSS) / float64(p.Runs) }

// DiskPerRun is what the file grows by for one of them, in bytes.
func (p Parked) DiskPerRun() float64 { return float64(p.Disk) / float64(p.Runs) }

// OpenParked is a rig in dir for runs that wait.
func OpenParked(ctx context.Context, dir string) (*Rig, error) {
	r, err := Open(ctx, Site{Dir: dir, Name: parkedName})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.apply(ctx, parkedFlows), r.start(ctx, parkedWarm)); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, nil
}

// Park starts n runs more, whose timers are due within a day from in an hour on.
func (r *Rig) Park(ctx context.Context, n int) (p Parked, err error) {
	lean, err := leanRSS()
	if err != nil {
		return p, err
	}
	disk, err := r.disk(ctx)
	if err != nil {
		return p, err
	}
	commits, used, begun := r.DB.Commits(), cpu(), time.Now()
	if err := r.start(ctx, n); err != nil {
		return p, err
	}
	p = Parked{Runs: n, Took: time.Since(begun), CPU: cpu() - used, Commits: r.DB.Commits() - commits}
	after, err := leanRSS()
	if err != nil {
		return p, err
	}
	p.RSS, p.Peak = after-lean, peakRSS()-lean
	after, err = r.disk(ctx)
	p.Disk = after - disk
	return p, err
}

// peakRSS is the most that the process has had resident, in bytes.
func peakRSS() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with this argument
	return u.Maxrss << 10
}

func (r *Rig) start(ctx context.Context, n int) error {
	return together(n, func(k int) error {
		_, _, err := r.Engine.StartRun(ctx, parkedRun(k, n))
		return err
	})
}

// together calls fn with 0 to n-1, from many goroutines.
func together(n int, fn func(k int) error) error {
	var all sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, parkedClients)
	for i := range errs {
		all.Go(func() {
			for k := next.Add(1) - 1; int(k) < n && errs[i] == nil; k = next.Add(1) - 1 {
				errs[i] = fn(int(k))
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// parkedRun is the start of number k of n. Neighbours are far apart in time, as
// timers that many people set are.
func parkedRun(k, n int) engine.StartRun {
	s := engine.StartRun{Namespace: ns, Workflow: "sleep"}
	switch {
	case k%100 == 50:
		s.Workflow = "done"
	case k%20 == 0:
		s.Workflow = "nap"
	}
	at := time.Hour + parkedWithin/time.Duration(n)*time.Duration(k*7919%n)
	s.Input = waitFor(at)
	return s
}

const (
	dueRuns  = 2000             // that come due around the start of the next process
	dueGap   = time.Millisecond // from one to the next
	duePause = 3 * time.Second  // from their starts until the first is due
)

// ParkDue starts runs that are due one after the other from soon on, in an
// order that is not that of their starts, and notes in dir when each is.
func (r *Rig) ParkDue(ctx context.Context, dir string) error {
	var mu sync.Mutex
	first, wakes := time.Now().Add(duePause), map[string]int64{}
	err := together(dueRuns, func(k int) error {
		at := first.Add(dueGap * time.Duration(k*7919%dueRuns))
		run, _, err := r.Engine.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: "due", Input: waitFor(time.Until(at))})
		mu.Lock()
		defer mu.Unlock()
		wakes[run.ID] = run.Wake.UnixMilli()
		return err
	})
	if err != nil {
		return err
	}
	data, err := json.Marshal(wakes)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, dueFile), data, 0o600)
}

const dueFile = "due.json" // run to Unix milliseconds

// dueIn is what ParkDue has noted.
func dueIn(dir string) (wakes map[string]int64, err error) {
	data, err := os.ReadFile(filepath.Join(dir, dueFile))
	if err == nil {
		err = json.Unmarshal(data, &wakes)
	}
	return wakes, err
}

func waitFor(d time.Duration) []byte { return fmt.Appendf(nil, `{"for":"PT%.3fS"}`, d.Seconds()) }

// Restart is what a start over parked runs has given.
type Restart struct {
	Ready    time.Duration // until the file is open, the engine started and a new run completed
	RSS      int64         // bytes of the process then
	Due      int           // runs whose timers have fired since
	Overdue  int           // of them, those that were due before Ready
	Disorder int           // of them, those that fired after one that was due later
	LateP50  time.Duration // from when a run was due until it is durable that it went on, without the overdue
	LateMax  time.Duration
}

// RestartParked opens the file in dir as a new process does after the one
// before was killed, when half of what ParkDue has set is due, and watches these
// timers.
func RestartParked(ctx context.Context, dir string) (s Restart, err error) {
	wakes, err := dueIn(dir)
	if err != nil {
		return s, err
	}
	due := slices.Sorted(maps.Values(wakes))
	time.Sleep(time.Until(time.UnixMilli(due[len(due)/2])))
	begun := time.Now()
	r, err := Open(ctx, Site{Dir: dir, Name: parkedName})
	if err != nil {
		return s, err
	}
	run, _, err := r.Engine.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: "done"})
	if err == nil {
		_, err = r.Engine.Wait(ctx, ns, run.ID)
	}
	ready := time.Now()
	s.Ready = ready.Sub(begun)
	if err == nil {
		s.RSS, err = leanRSS()
	}
	if err == nil {
		err = r.watchDue(ctx, wakes, &s, ready.UnixMilli())
	}
	return s, errors.Join(err, r.Close(ctx))
}

// watchDue waits until all that is due has fired, and looks at the order of
// what the runs have told.
func (r *Rig) watchDue(ctx context.Context, wakes map[string]int64, s *Restart, ready int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for run := range wakes {
		if _, err := r.Engine.Wait(ctx, ns, run); err != nil {
			return fmt.Errorf("a run that is due has not ended: %w", err)
		}
	}
	var last int64
	var late []time.Duration
	err := r.DB.Query(ctx, "select data, created from event order by offset", nil, func(row store.Row) error {
		var told struct{ Run string }
		if err := json.Unmarshal(row.Blob(0), &told); err != nil {
			return err
		}
		due := wakes[told.Run]
		if due < ready {
			s.Overdue++
		} else {
			late = append(late, time.Duration(row.Int(1)-due)*time.Millisecond)
		}
		if s.Due++; due < last {
			s.Disorder++
		}
		last = max(last, due)
		return nil
	})
	if len(late) > 0 {
		s.LateP50, s.LateMax = median(late), slices.Max(late)
	}
	return err
}
