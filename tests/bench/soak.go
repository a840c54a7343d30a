package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// What the second half of a soak may have over the first. The file takes its
// pages by the thousand, and gives them back so.
const (
	SoakHeapMax       = 4 << 20  // bytes that are alive on the heap, and stacks
	SoakGoroutinesMax = 20       // goroutines
	SoakFileMax       = 16 << 20 // bytes of the database file
	SoakLogMax        = 64 << 20 // bytes of its log, which is emptied when it may be
)

const (
	soakRetain  = 5 * time.Second // runs and events are kept so long
	soakClients = 32
	soakPace    = 100 * time.Millisecond // from one run of a client to the next
	soakKeys    = 100                    // of handler state
	soakLine    = 10 * time.Second
)

// The mix: what a run ends with says that it did what it was to do.
var soakFlows = map[string]string{
	"ten":    tenSteps(),
	"nap":    "do:\n  - sleep: { wait: { milliseconds: 500 } }\n",
	"sleep":  "do:\n  - sleep: { wait: { hours: 1 } }\n",
	"count":  "do:\n  - count: { call: count, with: { key: '${ .key }' } }\n",
	"fail":   "do:\n  - fail: { call: fail, with: { code: 3 } }\n",
	"parent": "do:\n  - child: { run: { workflow: { namespace: bench, name: count, version: '1.0.0', input: { key: child } } } }\n",
	"hear": `do:
  - hear: { listen: { to: { one: { with: { type: bench.answer }, correlate: { run: { from: '${ .subject }', expect: '${ $workflow.id }' } } } } } }
`,
}

var soakMix = []struct {
	flow string
	end  engine.Status
}{{"ten", engine.Completed}, {"nap", engine.Completed}, {"count", engine.Completed}, {"hear", engine.Completed}, {"ten", engine.Completed},
	{"sleep", engine.Cancelled}, {"fail", engine.Faulted}, {"parent", engine.Completed}}

// Sample is one look at a process that should not grow.
type Sample struct {
	At               time.Duration // since the soak began
	Runs             int64         // that have ended
	Heap, Goroutines int64
	File, Log        int64 // bytes
}

// Soak keeps a mix of runs going for a time, forgets them after seconds, and
// prints a line every ten seconds. It fails when the second half of what comes
// after the first seconds has grown over the first.
func Soak(ctx context.Context, dir string, module []byte, d time.Duration, out io.Writer) error {
	r, err := Open(ctx, Site{Dir: dir, Name: "soak", Engine: engine.Options{Retain: soakRetain, RetainEvery: time.Second}})
	if err != nil {
		return err
	}
	if err := errors.Join(r.Deploy(ctx, module), r.apply(ctx, soakFlows)); err != nil {
		return errors.Join(err, r.Close(ctx))
	}
	b := bus.New(r.DB, bus.Options{RetainAge: soakRetain, RetainEvery: time.Second})
	ctx, end := context.WithCancelCause(ctx)
	var groups, clients sync.WaitGroup
	groups.Go(func() { b.Retain(ctx) })
	groups.Go(func() {
		_ = b.Consume(ctx, bus.Group{Namespace: ns, Name: "workflows", Handle: func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error {
			return r.Engine.Accept(ctx, ns, e, ack)
		}}) // ends with ctx
	})
	s := soak{r: r, b: b, begun: time.Now(), out: out}
	for i := range soakClients {
		clients.Go(func() {
			if err := s.client(ctx, i, d); err != nil {
				end(err)
			}
		})
	}
	s.watch(ctx, d)
	clients.Wait()
	err = context.Cause(ctx)
	end(nil)
	groups.Wait()
	return errors.Join(err, r.Close(context.WithoutCancel(ctx)), s.verdict())
}

type soak struct {
	r       *Rig
	b       *bus.Bus
	begun   time.Time
	out     io.Writer
	ended   atomic.Int64
	samples []Sample
}

// client makes one run of the mix after the other.
func (s *soak) client(ctx context.Context, i int, d time.Duration) error {
	tick := time.NewTicker(soakPace)
	defer tick.Stop()
	for n := i; time.Since(s.begun) < d; n++ {
		if err := s.one(ctx, n); err != nil {
			return err
		}
		s.ended.Add(1)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (s *soak) one(ctx context.Context, n int) error {
	e, m := s.r.Engine, soakMix[n%len(soakMix)]
	input := fmt.Appendf(nil, `{"n":0,"key":"k%d"}`, rand.IntN(soakKeys))
	run, _, err := e.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: "bench/" + m.flow, Input: input})
	if err != nil {
		return err
	}
	switch m.flow {
	case "hear":
		_, err = s.b.Publish(ctx, ns, weft.Event{Source: "/bench", Type: "bench.answer", Subject: run.ID, DataContentType: "application/json", Data: []byte(`{}`)})
	case "sleep":
		_, err = e.Cancel(ctx, ns, run.ID, "enough")
	}
	if err == nil {
		run, err = e.Wait(ctx, ns, run.ID)
	}
	if err == nil && run.Status != m.end {
		err = fmt.Errorf("a run of %s ended as %s", m.flow, run.Status)
	}
	return err
}

// watch looks every second.
func (s *soak) watch(ctx context.Context, d time.Duration) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	fmt.Fprintln(s.out, "  time     runs     heap  goroutines      file       log")
	for line := soakLine; time.Since(s.begun) < d; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := Sample{At: time.Since(s.begun), Runs: s.ended.Load(), Heap: alive(), Goroutines: int64(runtime.NumGoroutine()),
			File: size(s.r.path), Log: size(s.r.path + "-wal")}
		s.samples = append(s.samples, now)
		if now.At >= line {
			line += soakLine
			fmt.Fprintf(s.out, "%5.0fs %8d %5.1f MiB %11d %5.1f MiB %5.1f MiB\n", now.At.Seconds(), now.Runs, mib(now.Heap), now.Goroutines, mib(now.File), mib(now.Log))
		}
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// verdict compares the medians of the two halves of what comes after the first
// runs have been forgotten.
func (s *soak) verdict() error {
	steady := slices.DeleteFunc(s.samples, func(x Sample) bool { return x.At < 2*soakRetain })
	if len(steady) < 10 {
		return fmt.Errorf("the soak has %d samples after the first %s: let it be longer", len(steady), 2*soakRetain)
	}
	first, second := steady[:len(steady)/2], steady[len(steady)/2:]
	var grown []error
	for _, g := range []struct {
		name string
		max  int64
		of   func(Sample) int64
	}{
		{"bytes alive", SoakHeapMax, func(x Sample) int64 { return x.Heap }},
		{"goroutines", SoakGoroutinesMax, func(x Sample) int64 { return x.Goroutines }},
		{"bytes of the file", SoakFileMax, func(x Sample) int64 { return x.File }},
		{"bytes of the log", SoakLogMax, func(x Sample) int64 { return x.Log }},
	} {
		a, b := middle(first, g.of), middle(second, g.of)
		fmt.Fprintf(s.out, "%s: %d, then %d; %d more are too many\n", g.name, a, b, g.max)
		if b-a > g.max {
			grown = append(grown, fmt.Errorf("%s grew from %d to %d", g.name, a, b))
		}
	}
	return errors.Join(grown...)
}

func middle(samples []Sample, of func(Sample) int64) int64 {
	values := make([]int64, len(samples))
	for i, x := range samples {
		values[i] = of(x)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
