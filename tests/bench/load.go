package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

// stepsEach is how many handler steps a run of the load has.
const stepsEach = 10

func tenSteps() string {
	var b strings.Builder
	b.WriteString("do:\n")
	for i := range stepsEach {
		fmt.Fprintf(&b, "  - s%d: { call: echo, with: { n: '${ .n + 1 }' } }\n", i)
	}
	return b.String()
}

// Load is what a number of runs at once have given. Every run has ten steps,
// each an expression in jq and a call of a Wasm handler; its time is from the
// call of StartRun until Wait has its output.
type Load struct {
	AtOnce      int
	Runs        int           // completed
	Took        time.Duration // of all
	P50, P99    time.Duration // of a run
	Commits     int64         // groups that the store has made durable
	Syncs       int64         // that SQLite has asked for, checkpoints and all
	CPU         time.Duration // of the process, with those who start the runs and wait for them
	RSS         int64         // bytes, at the end
	DiskPerStep float64       // bytes of the pages that the file has grown by
}

// StepsPerS is the throughput.
func (l Load) StepsPerS() float64 { return float64(l.Runs*stepsEach) / l.Took.Seconds() }

// SyncsPerRun is what one run costs the disk.
func (l Load) SyncsPerRun() float64 { return float64(l.Syncs) / float64(l.Runs) }

// CPUPerStep is what one step costs the processors.
func (l Load) CPUPerStep() time.Duration { return l.CPU / time.Duration(l.Runs*stepsEach) }

// Middle is the load whose throughput is the median.
func Middle(loads []Load) Load {
	slices.SortFunc(loads, func(a, b Load) int { return cmp.Compare(a.StepsPerS(), b.StepsPerS()) })
	return loads[len(loads)/2]
}

// RunLoad keeps n runs in progress for a time, on a file of its own in dir.
func RunLoad(ctx context.Context, dir string, module []byte, n int, d time.Duration) (Load, error) {
	r, err := Open(ctx, Site{Dir: dir, Name: unique("load")})
	if err != nil {
		return Load{}, err
	}
	defer removeFile(r.path)
	l := Load{AtOnce: n}
	err = errors.Join(r.Deploy(ctx, module), r.apply(ctx, map[string]string{"ten": tenSteps()}))
	if err == nil { // the first runs load the module and fill the pools, and do not count
		_, err = r.drive(ctx, n, d/10)
	}
	if err == nil {
		err = r.measure(ctx, &l, d)
	}
	return l, errors.Join(err, r.Close(ctx))
}

func (r *Rig) measure(ctx context.Context, l *Load, d time.Duration) error {
	disk, err := r.disk(ctx)
	if err != nil {
		return err
	}
	commits, syncs, cpuBefore, begun := r.DB.Commits(), Syncs(), cpu(), time.Now()
	times, err := r.drive(ctx, l.AtOnce, d)
	if err != nil {
		return err
	}
	l.Took, l.CPU = time.Since(begun), cpu()-cpuBefore
	l.Commits, l.Syncs = r.DB.Commits()-commits, Syncs()-syncs
	slices.Sort(times)
	l.Runs, l.P50, l.P99 = len(times), times[len(times)/2], times[len(times)*99/100]
	if l.RSS, err = rss(); err != nil {
		return err
	}
	after, err := r.disk(ctx)
	l.DiskPerStep = float64(after-disk) / float64(l.Runs*stepsEach)
	return err
}

// drive lets n clients start runs and wait for each, for a time.
func (r *Rig) drive(ctx context.Context, n int, d time.Duration) ([]time.Duration, error) {
	var all sync.WaitGroup
	times, errs := make([][]time.Duration, n), make([]error, n)
	begun := time.Now()
	for i := range n {
		all.Go(func() {
			for errs[i] == nil && (time.Since(begun) < d || times[i] == nil) {
				start := time.Now()
				errs[i] = r.ten(ctx)
				times[i] = append(times[i], time.Since(start))
			}
		})
	}
	all.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

// ten is one run, from its start to its output.
func (r *Rig) ten(ctx context.Context) error {
	run, _, err := r.Engine.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: "ten", Input: []byte(`{"n":0}`)})
	if err == nil {
		run, err = r.Engine.Wait(ctx, ns, run.ID)
	}
	if err == nil && string(run.Output) != `{"n":10}` {
		err = fmt.Errorf("a run of ten steps ended as %s with %s", run.Status, run.Output)
	}
	return err
}

const call = `do:
  - prepare: { set: { order: '${ .n }', lines: [1, 2, 3] } }
  - ask: { call: http, with: { method: get, endpoint: 'https://bench.example/' } }
`

// LiveRun is the heap and the stacks, in bytes, that one run in progress takes: n runs
// stand at a call of the outside that does not answer, or behind one that does.
func LiveRun(ctx context.Context, dir string, n int) (int64, error) {
	w := &stillWorld{done: make(chan struct{})}
	r, err := Open(ctx, Site{Dir: dir, Name: unique("live"), World: w})
	if err != nil {
		return 0, err
	}
	defer removeFile(r.path)
	err = r.apply(ctx, map[string]string{"call": call})
	before := alive()
	for i := 0; i < n && err == nil; i++ {
		_, _, err = r.Engine.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: "call", Input: []byte(`{"n":` + strconv.Itoa(i) + `}`)})
	}
	after := alive()
	close(w.done)
	return (after - before) / int64(n), errors.Join(err, r.Close(ctx))
}

// stillWorld answers nobody until it is done.
type stillWorld struct{ done chan struct{} }

func (w *stillWorld) Do(ctx context.Context, _ weft.Request) (weft.Response, error) {
	select {
	case <-w.done:
		return weft.Response{Status: 200}, nil
	case <-ctx.Done():
		return weft.Response{}, ctx.Err()
	}
}
