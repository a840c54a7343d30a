package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// echoes are the languages of guests/echo.
var echoes = []string{"c", "rust", "go", "assemblyscript", "zig"}

// sandbox measures what a call of a guest costs in each language that can be
// built here, and what hostile modules do to the host. A figure of a language
// without its toolchain is a line that says so.
func sandbox(ctx context.Context) error {
	build := exec.CommandContext(ctx, "make", "-k", "-C", "guests", "echo")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "make -C guests echo: %v\n%s", err, out) // what it has built is measured
	}
	least, failed := map[string]float64{}, error(nil)
	for _, round := range [][]string{ // of a call, which others disturb, many short ones
		{"^BenchmarkEcho$/./^pool$/^(noop|1KiB-into)$", "10ms", "20"},
		{"^BenchmarkEcho$/^(c|go)$/^isolate$/^noop$|^BenchmarkLoop$", "100ms", "3"},
	} {
		some, err := benchmarked(ctx, "-run", "^$", "-bench", round[0], "-benchtime", round[1], "-count", round[2], "./runtime/wasm")
		maps.Copy(least, some)
		failed = errors.Join(failed, err)
	}
	say := func(name, language, benchmark string, per float64, unit string) {
		name = "sandbox." + name + "." + language
		v, ok := least[benchmark+" "+unitOf[unit]]
		if unit == "ratio" { // of the least of both, not the least ratio: that is of a slow other side
			v /= least[benchmark+" ns/turn-unmetered"]
		}
		if ok {
			figure(name, v/per, unit)
			return
		}
		why := "its benchmark failed"
		if _, err := os.Stat(filepath.Join("guests/echo", language, "echo.wasm")); err != nil {
			why = "guests/echo/" + language + " could not be built here"
		}
		fmt.Printf("no figure %s: %s\n", name, why)
	}
	say("noop_ns", "c", "Echo/c/pool/noop", 1, "ns")
	languages := 0
	for _, l := range echoes {
		say("echo1k_ns", l, "Echo/"+l+"/pool/1KiB-into", 1, "ns")
		if _, ok := least["Echo/"+l+"/pool/1KiB-into ns/op"]; ok {
			languages++
		}
	}
	for _, l := range []string{"c", "rust", "go"} {
		say("loop_ratio", l, "Loop/"+l, 1, "ratio")
	}
	for _, l := range []string{"c", "go"} {
		say("isolate_us", l, "Echo/"+l+"/isolate/noop", 1000, "us")
	}
	figure("sandbox.languages", float64(languages), "languages")
	if failed != nil {
		return failed
	}
	found, err := said(ctx, `(?m)^(hostile_cases|hostile_accepted|freeze_ms_max) ([\d.]+)`, 3, "-count=1", "-v", "-run", "^TestHostileModules$", "./tests/chaos/hostile")
	if err != nil {
		return err
	}
	figure("sandbox.hostile_cases", found["hostile_cases"], "modules")
	figure("sandbox.hostile_accepted", found["hostile_accepted"], "modules")
	figure("sandbox.freeze_ms_max", found["freeze_ms_max"], "ms")
	return nil
}

// unitOf is what go test calls the unit of a figure.
var unitOf = map[string]string{"ns": "ns/op", "us": "ns/op", "ratio": "ns/turn"}

var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// benchmarked are the results of benchmarks by name and unit, the least of each:
// what others do on the machine only adds.
func benchmarked(ctx context.Context, args ...string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...)
	cmd.Stderr = os.Stderr
	out, failed := cmd.Output() // what failed has no figure, the others have
	if failed != nil {
		failed = fmt.Errorf("go test %v: %w\n%s", args, failed, out)
	}
	least := map[string]float64{}
	for _, line := range benchmarkLine.FindAllStringSubmatch(string(out), -1) {
		fields := strings.Fields(line[2])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, err
			}
			name := line[1] + " " + fields[i+1]
			if before, again := least[name]; !again || v < before {
				least[name] = v
			}
		}
	}
	return least, failed
}
