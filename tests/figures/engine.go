package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/weftrun/weft/tests/bench"
	"github.com/weftrun/weft/tests/probe"
)

const (
	loadRounds = 3 // of which the middle one counts
	parkedRuns = 50_000
	seeds      = 25
)

// engine measures runs at once, runs that wait, and simulated worlds.
func engine(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "weft-figures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	module, err := probe.Build()
	if err != nil {
		return err
	}
	if err := loads(ctx, dir, module); err != nil {
		return err
	}
	if err := parked(ctx, dir); err != nil {
		return err
	}
	return simulated(ctx)
}

// loads lets runs of ten steps go, so many at once, and syncs the disk beside
// them; the rounds take turns.
func loads(ctx context.Context, dir string, module []byte) error {
	all, syncs := map[int][]bench.Load{}, []time.Duration{}
	numbers := []int{1, 100, 1000}
	for range loadRounds {
		sync, err := bench.Fsync(dir)
		if err != nil {
			return err
		}
		syncs = append(syncs, sync)
		for _, n := range numbers {
			l, err := bench.RunLoad(ctx, dir, module, n, 1500*time.Millisecond)
			if err != nil {
				return err
			}
			all[n] = append(all[n], l)
		}
	}
	for _, n := range numbers {
		figure(fmt.Sprintf("engine.steps_per_s.n%d", n), bench.Middle(all[n]).StepsPerS(), "1/s")
	}
	slices.Sort(syncs)
	alone := bench.Middle(all[1])
	figure("engine.p99_ms.n1000", float64(bench.Middle(all[1000]).P99.Microseconds())/1000, "ms")
	figure("engine.p50_us.run10", float64(alone.P50.Microseconds()), "us")
	figure("engine.fsyncs_per_run10", alone.SyncsPerRun(), "fsyncs")
	figure("engine.fsync_us", float64(syncs[loadRounds/2].Microseconds()), "us")
	return nil
}

// parked is what the resident memory of the process grows by for one run that
// waits for a timer.
func parked(ctx context.Context, dir string) error {
	r, err := bench.OpenParked(ctx, dir)
	if err != nil {
		return err
	}
	p, err := r.Park(ctx, parkedRuns)
	if err = errors.Join(err, r.Close(ctx)); err != nil {
		return err
	}
	figure("engine.parked_bytes_per_run", max(p.RSSPerRun(), 0), "bytes")
	figure("engine.parked_disk_bytes_per_run", p.DiskPerRun(), "bytes")
	return nil
}

var simulatedLine = regexp.MustCompile(`simulated (\d+) seeds, (\d+) violated`)

// simulated lives some seeds of tests/simulation. A seed that finds something
// fails the test, and still counts.
func simulated(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "./tests/simulation", "-count=1", "-v", "-run", "^TestSeed$", "-seeds", strconv.Itoa(seeds))
	out, err := cmd.CombinedOutput()
	found := simulatedLine.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("the simulation says nothing of its seeds: %v\n%s", err, out)
	}
	for i, name := range []string{"engine.sim_seeds", "engine.sim_violations"} {
		n, err := strconv.Atoi(string(found[i+1]))
		if err != nil {
			return err
		}
		figure(name, float64(n), "seeds")
	}
	return nil
}
