package workflows

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParse reads a workflow of 1,000 tasks with 1,000 expressions of
// which no two are the same: nothing can be compiled once for many.
func BenchmarkParse(b *testing.B) {
	var s strings.Builder
	s.WriteString(header + "do:\n")
	for i := range 250 {
		fmt.Fprintf(&s, "  - call%d:\n      call: http\n      with:\n        method: post\n        endpoint: https://a.example/{id}\n        body: { n: '${ .n + %d }' }\n", i, i)
		fmt.Fprintf(&s, "  - set%d: { if: '${ .n > %d }', set: { id: '${ .id }', n: '${ .n }' } }\n", i, i)
		fmt.Fprintf(&s, "  - wait%d: { if: '${ .n == %d }', wait: PT1S, timeout: { after: PT2S } }\n", i, i)
		fmt.Fprintf(&s, "  - pick%d: { switch: [ { big: { when: '${ .n < %d }', then: continue } }, { rest: { then: continue } } ] }\n", i, i)
	}
	source := []byte(s.String())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("flow.yaml", source); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEval is what one expression costs in a step.
func BenchmarkEval(b *testing.B) {
	dot, err := DecodeJSON([]byte(`{"id":"o-1","total":1999,"items":[{"sku":"a","n":2},{"sku":"b","n":1}]}`))
	if err != nil {
		b.Fatal(err)
	}
	scope := testScope{VarContext: map[string]any{"x": map[string]any{"y": 3}}}
	for _, source := range []string{".id", "$context.x.y", ".total > 1000", `{ id, cents: (.total * 100) }`, `"order \(.id)"`, "[.items[] | select(.n > 1) | .sku]"} {
		e, err := compileExpr(source, knownInTests)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Eval(dot, scope); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
