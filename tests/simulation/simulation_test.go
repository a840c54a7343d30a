package simulation

import (
	"flag"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed  = flag.Int("seed", -1, "run this seed alone")
	seedsMax = flag.Int("seeds", 25, "seeds of TestSeed, histories of TestHistory")
	first    = flag.Bool("first", false, "stop at the first seed that finds something")

	plantsMax = flag.Int("plants", 1, "planted bugs that TestPlantedBugsAreFound tries")
)

// TestSeed lives each seed twice: nothing may be violated, and the second life
// must be the first again. A seed that fails is run again by
//
//	go test ./tests/simulation -run TestSeed -seed N -v
func TestSeed(t *testing.T) {
	from, to := 0, *seedsMax-1
	if *oneSeed >= 0 {
		from, to = *oneSeed, *oneSeed
	}
	var sum Report
	var violated atomic.Int64
	begun := time.Now()
	results := make([]Report, to-from+1)
	t.Run("seed", func(t *testing.T) {
		for seed := from; seed <= to; seed++ {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				if *first && violated.Load() > 0 {
					return
				}
				results[seed-from] = live(t, seed)
				if t.Failed() {
					violated.Add(1)
					t.Logf("again: go test ./tests/simulation -run TestSeed -seed %d -v", seed)
				}
			})
		}
	})
	entries := map[string]int{}
	for _, r := range results {
		for kind, n := range r.Entries {
			entries[kind] += n
		}
		sum.Runs += r.Runs
		sum.Calls += r.Calls
		sum.Crashes += r.Crashes
		sum.Commits += r.Commits
		sum.Lived += r.Lived
	}
	for _, kind := range []string{"finished", "failed", "fired", "delivered", "cancelled", "paused", "resumed", "attempted", "outcome", "parked", "rerun", "run completed", "run faulted"} {
		if *oneSeed < 0 && entries[kind] == 0 {
			t.Errorf("the worlds are not various enough: no %s in %v", kind, entries)
		}
	}
	took := time.Since(begun)
	t.Log(entries)
	t.Logf("simulated %d seeds, %d violated, %.1f seeds/s, %d runs, %d commits, %d calls, %d crashes, %s lived in %s", len(results), violated.Load(),
		float64(len(results))/took.Seconds(), sum.Runs, sum.Commits, sum.Calls, sum.Crashes, sum.Lived.Round(time.Hour), took.Round(time.Second))
}

// live runs a seed twice and compares.
func live(t *testing.T, seed int) Report {
	var lives [2]Report
	for i := range lives {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { lives[i] = Run(uint64(seed), dir) })
	}
	for _, life := range lives {
		for _, v := range life.Violations {
			t.Error(v)
		}
		if life.Violations != nil {
			break // the second has the same, or as many
		}
	}
	if a, b := lives[0].Trace, lives[1].Trace; a != b {
		t.Errorf("the second life differs: %s", difference(a, b))
	}
	if *oneSeed >= 0 {
		t.Log("\n" + lives[0].Trace)
	}
	return lives[0]
}

// difference is the first line in which two traces differ.
func difference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			n := max(i-5, 0)
			return fmt.Sprintf("line %d\n%s\n\n%s", i, strings.Join(x[n:min(i+5, len(x))], "\n"), strings.Join(y[n:min(i+5, len(y))], "\n"))
		}
	}
	return "one is longer"
}
