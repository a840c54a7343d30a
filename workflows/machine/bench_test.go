package machine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftrun/weft/workflows"
)

// benchRun is one whole run: the calls are answered at once.
func benchRun(b *testing.B, workflow, input, answer string) {
	def, err := workflows.Parse("bench.yaml", []byte(head+workflow))
	if err != nil {
		b.Fatal(err)
	}
	start := Entry{Kind: Started, At: noon, Data: []byte(input)}
	reply := []byte(answer)
	b.ReportAllocs()
	for b.Loop() {
		m := New(def, Info{RunID: "run1", Namespace: "default"})
		got, err := m.Advance(start)
		for err == nil && len(got.Commands) > 0 {
			got, err = m.Advance(Entry{Kind: Finished, At: noon, Step: got.Commands[0].Step, Data: reply})
		}
		if err != nil || m.Status() != Completed {
			b.Fatal(err, m.Status(), m.Fault())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10, "ns/step")
}

func repeated(task string) string {
	var b strings.Builder
	b.WriteString("do:\n")
	for i := range 10 {
		fmt.Fprintf(&b, "  - step%d: %s\n", i, task)
	}
	return b.String()
}

const order = `{"orderId":"o-1","total":1999,"items":[{"sku":"a","n":2},{"sku":"b","n":1}],"customer":{"name":"Ann","vip":true}}`

func BenchmarkRun(b *testing.B) {
	b.Run("10 set steps with jq", func(b *testing.B) {
		benchRun(b, repeated(`{ set: '${ . + { total: (.total + 1) } }' }`), order, "")
	})
	b.Run("10 set steps with paths", func(b *testing.B) {
		benchRun(b, repeated(`{ set: { orderId: '${ .orderId }', total: '${ .total }', items: '${ .items }' } }`), order, "")
	})
	b.Run("10 call steps with jq", func(b *testing.B) {
		benchRun(b, repeated(`{ call: 'charge:1.0.0@default', with: { id: '${ $workflow.input.orderId }', cents: '${ .total * 100 }' } }`), order, order)
	})
	b.Run("10 call steps with paths", func(b *testing.B) {
		benchRun(b, repeated(`{ call: 'charge:1.0.0@default', with: { id: '${ $workflow.input.orderId }', cents: '${ .total }' } }`), order, order)
	})
}

func BenchmarkEntry(b *testing.B) {
	e := Entry{Kind: Finished, At: noon, Step: 7, Data: []byte(order)}
	b.ReportAllocs()
	buf := make([]byte, 0, 1024)
	for b.Loop() {
		buf = AppendEntry(buf[:0], e)
		if _, _, err := DecodeEntry(buf); err != nil {
			b.Fatal(err)
		}
	}
}
