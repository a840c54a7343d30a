package machine

import (
	"runtime"
	"strings"
	"testing"
)

// A large $context and a large input are carried along, not copied or written
// out again: steps beside 1 MB take no more memory than beside nothing.
func TestAStepCostsTheSameWhateverStandsInTheContext(t *testing.T) {
	m := machineOf(t, `
do:
  - keep: { call: h, export: { as: '${ { large: ., small: 1 } }' } }
  - one: { set: { n: '${ $context.small }' } }
  - two: { set: { n: '${ .n + $context.small }' } }
  - three: { if: '${ .n == 2 }', call: h, with: { n: '${ .n + 1 }' } }
  - four: { switch: [ { big: { when: '${ .n > 100 }', then: end } }, { rest: { then: continue } } ] }
  - five: { do: [ { in: { set: { n: '${ $context.small }' } } } ], export: { as: '${ $context + { last: .n } }' } }
  - six: { for: { in: '${ [range(10)] }' }, do: [ { in: { set: { n: '${ $item + $context.small }' } } } ] }
`)
	large := []byte(`["` + strings.Repeat(`0123456789","`, 80_000) + `"]`)
	advance := func(e Entry) uint64 {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := m.Advance(e); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	advance(Entry{Kind: Started, At: noon})
	advance(Entry{Kind: Finished, At: noon, Step: 1, Data: large})
	if took := advance(Entry{Kind: Finished, At: noon, Step: 4, Data: []byte(`{"n":3}`)}); took > 200<<10 || m.Status() != Completed {
		t.Errorf("the last steps took %d bytes, and the run is %v, %v", took, m.Status(), m.Fault())
	}
}
