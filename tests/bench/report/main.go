// Command report measures the engine at length and prints tables: the loads,
// parked runs, or a soak.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/bench"
	"github.com/weftrun/weft/tests/probe"
)

const usage = `report loads [-at 1,10,100,1000] [-for 2s] [-rounds 3] [-cpu FILE]  runs at once, with a profile
report parked [-runs 1000000]  runs that wait, and a restart
report soak [-for 10m]  a mix, that must not grow`

func main() {
	wasm.Child()
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, string, []string) error{"loads": loads, "parked": parked, "soak": soak, "fill": fill, "restart": restart}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("say what to measure:\n" + usage)
	}
	dir, err := os.MkdirTemp("", "weft-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return commands[args[0]](ctx, dir, args[1:])
}

// loads prints the table of runs at once. Rounds take turns, so that what else
// the machine does meets all of them.
func loads(ctx context.Context, dir string, args []string) error {
	flags := flag.NewFlagSet("loads", flag.ExitOnError)
	at := flags.String("at", "1,10,100,1000", "runs at once")
	d := flags.Duration("for", 2*time.Second, "length of one load")
	rounds := flags.Int("rounds", 3, "loads of each, of which the middle one is shown")
	profile := flags.String("cpu", "", "write a profile of the processors there")
	_ = flags.Parse(args) // exits on an error
	module, err := probe.Build()
	if err != nil {
		return err
	}
	stop, err := profiled(*profile)
	if err != nil {
		return err
	}
	defer stop()
	numbers := strings.Split(*at, ",")
	all, syncs := make([][]bench.Load, len(numbers)), []time.Duration{}
	for range *rounds {
		took, err := bench.Fsync(dir)
		if err != nil {
			return err
		}
		syncs = append(syncs, took)
		for i, text := range numbers {
			n, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			l, err := bench.RunLoad(ctx, dir, module, n, *d)
			if err != nil {
				return err
			}
			all[i] = append(all[i], l)
		}
	}
	stop()
	one, err := bench.LiveRun(ctx, dir, 5000)
	if err != nil {
		return err
	}
	slices.Sort(syncs)
	fmt.Printf("one fdatasync of 4 KiB: %s; heap and stacks of a run in progress: %d bytes; load average: %s\n\n", us(syncs[len(syncs)/2]), one, bench.LoadAverage())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "runs at once\tsteps/s\tp50\tp99\tcommits a run\tfsyncs a run\tCPU a step\tdisk a step\tRSS\t")
	for _, l := range all {
		m := bench.Middle(l)
		fmt.Fprintf(w, "%d\t%.0f\t%s\t%s\t%.3f\t%.3f\t%s\t%.0f B\t%d MiB\t\n", m.AtOnce, m.StepsPerS(), us(m.P50), us(m.P99),
			float64(m.Commits)/float64(m.Runs), m.SyncsPerRun(), us(m.CPUPerStep()), m.DiskPerStep, m.RSS>>20)
	}
	return w.Flush()
}

func us(d time.Duration) string { return d.Round(time.Microsecond).String() }

// profiled writes a profile to a file until stop is called; again is no matter.
func profiled(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { pprof.StopCPUProfile(); f.Close() }), pprof.StartCPUProfile(f)
}

// parked parks runs in a process that ends as a killed one does, and starts
// another over them.
func parked(ctx context.Context, dir string, args []string) error {
	flags := flag.NewFlagSet("parked", flag.ExitOnError)
	runs := flags.Int("runs", 1_000_000, "runs that wait for a timer")
	_ = flags.Parse(args) // exits on an error
	for _, args := range [][]string{{"fill", dir, strconv.Itoa(*runs)}, {"restart", dir}} {
		cmd := exec.CommandContext(ctx, os.Args[0], args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// fill is the first process.
func fill(ctx context.Context, _ string, args []string) error {
	runs, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	r, err := bench.OpenParked(ctx, args[0])
	if err != nil {
		return err
	}
	return park(ctx, r, args[0], runs) // the rig is not closed: the next process finds its log
}

// park parks a tenth of the runs, then the rest, and reads lists after both.
func park(ctx context.Context, r *bench.Rig, dir string, runs int) error {
	for _, n := range []int{runs / 10, runs - runs/10} {
		p, err := r.Park(ctx, n)
		if err != nil {
			return err
		}
		fmt.Printf("parked %d runs in %s: %.0f/s, %s of CPU and %.1f runs a commit; load average %s\n", p.Runs, p.Took.Round(time.Millisecond),
			float64(p.Runs)/p.Took.Seconds(), us(p.CPU/time.Duration(p.Runs)), float64(p.Runs)/float64(p.Commits), bench.LoadAverage())
		fmt.Printf("  RSS grew by %.1f MB, at most %.1f MB; the file by %.0f bytes a run\n", float64(p.RSS)/1e6, float64(p.Peak)/1e6, p.DiskPerRun())
		if err := lists(ctx, r); err != nil {
			return err
		}
	}
	return r.ParkDue(ctx, dir)
}

func lists(ctx context.Context, r *bench.Rig) error {
	pages, err := r.Pages(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  list by\trows\tp50\tworst")
	for _, p := range pages {
		fmt.Fprintf(w, "  %s\t%d\t%s\t%s\n", p.Filter, p.Rows, us(p.P50), us(p.Worst))
	}
	return w.Flush()
}

// restart is the second one.
func restart(ctx context.Context, _ string, args []string) error {
	s, err := bench.RestartParked(ctx, args[0])
	if err != nil {
		return err
	}
	fmt.Printf("restarted: ready in %s with %d MiB RSS\n", s.Ready.Round(time.Millisecond), s.RSS>>20)
	fmt.Printf("  %d timers fired, %d overdue, %d out of order; late by %s, at most %s\n", s.Due, s.Overdue, s.Disorder, s.LateP50, s.LateMax)
	if s.Disorder > 0 {
		return errors.New("timers fired out of order")
	}
	return nil
}

func soak(ctx context.Context, dir string, args []string) error {
	flags := flag.NewFlagSet("soak", flag.ExitOnError)
	d := flags.Duration("for", 10*time.Minute, "length")
	_ = flags.Parse(args) // exits on an error
	module, err := probe.Build()
	if err != nil {
		return err
	}
	return bench.Soak(ctx, dir, module, *d, os.Stdout)
}
