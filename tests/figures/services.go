package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
)

// cells are the ways in which tests/bench/services calls.
var cells = []string{"h1_proto", "h1_json", "h2_proto", "h2_json", "h2_grpc"}

// services measures how much of Connect's conformance suite passes, of code of the
// host's and of a guest, and how fast a no-op method of a guest is beside the same in
// generated connect-go.
func services(ctx context.Context) error {
	passed, failed, failure := conformance(ctx)
	figure("services.conformance_passed", float64(passed), "cases")
	figure("services.conformance_failed", float64(failed), "cases")
	bench := exec.CommandContext(ctx, "go", "run", ".", "-quick", "-for", "100ms", "-rounds", "12")
	bench.Dir, bench.Stderr = "tests/bench/services", os.Stderr
	out, err := bench.Output()
	if err != nil {
		return errors.Join(failure, fmt.Errorf("tests/bench/services: %w", err))
	}
	for _, cell := range cells {
		ratio := regexp.MustCompile(`(?m)^` + cell + ` ([\d.]+)$`).FindSubmatch(out)
		if ratio == nil {
			return errors.Join(failure, fmt.Errorf("tests/bench/services says nothing of %s: %s", cell, out))
		}
		v, err := strconv.ParseFloat(string(ratio[1]), 64)
		if err != nil {
			return err
		}
		figure("services.vs_connect."+cell, v, "ratio")
	}
	return failure
}

// conformance runs the short set. Cases that were judged anew count as they were
// judged last.
func conformance(ctx context.Context) (passed, failed int, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "./tests/conformance/connect")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go test ./tests/conformance/connect: %w: %s", err, out)
	}
	for _, test := range bytes.Split(out, []byte("=== RUN"))[1:] {
		said := regexp.MustCompile(`(\d+) of (\d+) cases passed`).FindAllSubmatch(test, -1)
		if said == nil { // of others below it
			continue
		}
		all, _ := strconv.Atoi(string(said[0][2])) // digits
		of, _ := strconv.Atoi(string(said[len(said)-1][2]))
		good, _ := strconv.Atoi(string(said[len(said)-1][1]))
		passed, failed = passed+all-(of-good), failed+of-good
	}
	if passed == 0 && err == nil {
		err = fmt.Errorf("go test ./tests/conformance/connect says nothing of its cases: %s", out)
	}
	return passed, failed, err
}
