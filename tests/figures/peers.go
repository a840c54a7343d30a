package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/weftrun/weft/tests/kill"
)

// registryKills is how often weft is killed for peers.lost_registrations.
const registryKills = 50

// peers measures the registry, the gate and a breaker, what an outage leaves of a thousand
// runs, and what kills leave of registrations.
func peers(ctx context.Context) error {
	found, err := said(ctx, `(?m)^Benchmark(Lookup|Pick|Gate)\S*\s+\d+\s+([\d.]+) ns/op`, 3, "-run", "^$", "-bench", "Lookup|Pick|Gate", "./host/peers")
	if err != nil {
		return err
	}
	figure("peers.lookup_ns", found["Lookup"], "ns")
	figure("peers.pick_ns", found["Pick"], "ns")
	figure("peers.gate_overhead_ns", found["Gate"], "ns")
	found, err = said(ctx, `(?m)^Benchmark(Gate)\S*.*\s(\d+) allocs/op`, 1, "-run", "^$", "-bench", "Gate", "./host/peers")
	if err != nil {
		return err
	}
	figure("peers.gate_allocs", found["Gate"], "allocs")
	found, err = said(ctx, `(?m)^Benchmark(Contended16)\S*\s+\d+\s+([\d.]+) ns/op`, 1, "-run", "^$", "-bench", "Contended16", "./host/breaker")
	if err != nil {
		return err
	}
	figure("peers.breaker_contended_ns.g16", found["Contended16"], "ns")
	found, err = said(ctx, `(?m)^(parked_dead_runs|parked_calls) (\d+)`, 2, "-count=1", "-v", "./tests/outage")
	if err != nil {
		return err
	}
	figure("peers.parked_dead_runs", found["parked_dead_runs"], "runs")
	figure("peers.parked_calls", found["parked_calls"], "calls")
	dir, err := os.MkdirTemp("", "weft-figures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r, err := kill.LoopRegistry(ctx, "bin/weft", dir, registryKills)
	if err != nil {
		return err
	}
	figure("peers.acknowledged_registrations", float64(r.Acknowledged), "answers")
	figure("peers.lost_registrations", float64(r.Lost), "answers")
	return nil
}

// said are the numbers that tests say by their names; form finds name and number.
func said(ctx context.Context, form string, count int, args ...string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, args...)...)
	cmd.Stderr = os.Stderr
	out, failed := cmd.Output() // what failed is counted too
	found := map[string]float64{}
	for _, m := range regexp.MustCompile(form).FindAllStringSubmatch(string(out), -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		found[m[1]] = n
	}
	if len(found) != count {
		return nil, fmt.Errorf("go test %v says %d figures and not %d: %w", args, len(found), count, failed)
	}
	return found, failed
}
