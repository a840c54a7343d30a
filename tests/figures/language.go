package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weftrun/weft/workflows"
)

// counted finds what the conformance tests say of themselves.
var counted = regexp.MustCompile(`(ctk_passed|own_scenarios|own_failed|\bcrash_points|mutants_disagreed) (\d+)`)

// language measures what of the language runs, and how quickly a large
// workflow is read.
func language(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "./tests/conformance", "-every", "3") // all of them take a minute
	cmd.Stderr = os.Stderr
	out, failed := cmd.Output() // what failed is counted too
	found := counted.FindAllStringSubmatch(string(out), -1)
	if len(found) != 5 {
		return fmt.Errorf("the conformance tests say %d figures and not 5: %w", len(found), failed)
	}
	for _, m := range found {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return err
		}
		figure("language."+m[1], float64(n), "count")
	}
	source := []byte(thousand())
	d, err := median(9, 1, func() error {
		_, err := workflows.Parse("thousand.yaml", source)
		return err
	})
	if err != nil {
		return err
	}
	figure("language.apply_1000_tasks_ms", float64(d)/float64(time.Millisecond), "ms")
	return failed
}

// thousand is a workflow of 1,000 tasks with 1,000 expressions, all different.
func thousand() string {
	var b strings.Builder
	b.WriteString("document: { dsl: '1.0.3', namespace: figures, name: thousand, version: '1.0.0' }\ndo:\n")
	for i := range 250 {
		fmt.Fprintf(&b, "  - call%d: { call: http, with: { method: post, endpoint: 'https://a.example/{id}', body: { n: '${ .n + %d }' } } }\n", i, i)
		fmt.Fprintf(&b, "  - set%d: { if: '${ .n > %d }', set: { id: '${ .id }', n: '${ .n }' } }\n", i, i)
		fmt.Fprintf(&b, "  - wait%d: { if: '${ .n == %d }', wait: PT1S, timeout: { after: PT2S } }\n", i, i)
		fmt.Fprintf(&b, "  - pick%d: { switch: [ { big: { when: '${ .n < %d }', then: continue } }, { rest: { then: continue } } ] }\n", i, i)
	}
	return b.String()
}
