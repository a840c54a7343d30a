// Package conformance runs the features of the Open Workflow Specification and
// our own, written in the same Gherkin, against the real engine on a real
// file: once undisturbed, and once with a crash at each commit. It also holds
// what Parse says against the official schema.
package conformance

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cucumber/godog"
)

// failing are the scenarios of the CTK that do not pass, and what they miss.
// One that passes all the same fails the test, so that the table shrinks.
var failing = map[string]string{}

// TestCTK runs the Conformance Test Kit, with petstore.swagger.io and
// httpbin.org played by a server on this machine.
func TestCTK(t *testing.T) {
	all := read(t, "openworkflow/ctk/features")
	if len(all) != 21 {
		t.Fatalf("the CTK has %d scenarios, not 21", len(all))
	}
	var passed atomic.Int64
	unmet := maps.Clone(failing)
	points := each(t, all, func(t *testing.T, s *scenario, err error) {
		switch missing, known := failing[s.name]; {
		case err == nil && known:
			t.Errorf("it passes: %s is no longer missing, take it out of the table", missing)
		case err == nil:
			passed.Add(1)
		case known:
			t.Logf("known to fail for want of %s: %v", missing, err)
		default:
			t.Error(err)
		}
	})
	for _, s := range all {
		delete(unmet, s.name)
	}
	for name := range unmet {
		t.Errorf("no scenario is called %s", name)
	}
	t.Logf("ctk_passed %d of %d scenarios, ctk_crash_points %d", passed.Load(), len(all), points)
}

// TestOwnFeatures runs what the CTK is silent on.
func TestOwnFeatures(t *testing.T) {
	all := read(t, "features")
	var failed atomic.Int64
	points := each(t, all, func(t *testing.T, _ *scenario, err error) {
		if err != nil {
			failed.Add(1)
			t.Error(err)
		}
	})
	t.Logf("own_scenarios %d, own_failed %d, crash_points %d", len(all), failed.Load(), points)
}

// each plays scenarios everywhere, some at once, and says at how many points
// their processes died.
func each(t *testing.T, all []*scenario, judge func(*testing.T, *scenario, error)) int64 {
	var points atomic.Int64
	t.Run("scenario", func(t *testing.T) {
		for _, s := range all {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				n, err := s.everywhere(t)
				points.Add(int64(n))
				judge(t, s, err)
			})
		}
	})
	return points.Load()
}

// scenario is one scenario, its steps bound and ready to be played.
type scenario struct {
	name  string
	steps []step
}

// step is one line of a scenario, and what it does.
type step struct {
	text string
	do   func(*world) error
}

// read has godog read the features of a folder and bind every step. A step
// that nothing defines fails the test.
func read(t *testing.T, dir string) []*scenario {
	t.Helper()
	if files, err := filepath.Glob(filepath.Join(dir, "*.feature")); err != nil || len(files) == 0 {
		t.Fatalf("no features in %s: %v", dir, err)
	}
	var all []*scenario
	var out bytes.Buffer
	suite := godog.TestSuite{
		ScenarioInitializer: func(ctx *godog.ScenarioContext) { all = append(all, bind(ctx)) },
		Options:             &godog.Options{Format: "progress", Paths: []string{dir}, Output: &out, Strict: true, NoColors: true, Concurrency: 1},
	}
	if suite.Run() != 0 {
		t.Fatal(out.String())
	}
	names := map[string]bool{}
	for _, s := range all {
		if names[s.name] {
			t.Errorf("two scenarios of %s are called %s", dir, s.name)
		}
		names[s.name] = true
	}
	return all
}

// every is how far apart the moments of the crashes are.
var every = flag.Int("every", 1, "crash at each so many moments only")

// everywhere plays the scenario undisturbed, and then once for each moment at
// which the process may die: before and after each of its commits. The end
// must be the same. points is how many crashes there were.
func (s *scenario) everywhere(t *testing.T) (points int, err error) {
	if _, err := s.play(t, 0); err != nil {
		return 0, err
	}
	for at := 1; ; at += *every {
		crashed, err := s.play(t, at)
		if err != nil {
			return points, fmt.Errorf("with a crash at moment %d: %w", at, err)
		}
		if !crashed {
			return points, nil
		}
		points++
	}
}
