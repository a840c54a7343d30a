package conformance

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
)

// strange are values to put where another stands.
var strange = []any{nil, true, false, json.Number("0"), json.Number("7"), json.Number("-1"), json.Number("1.5"), "", "text", "${ .x }", "PT5S", "1.0.0",
	"https://a.example/x", map[string]any{}, []any{}, map[string]any{"x": "y"}, []any{"x"}, map[string]any{"after": "PT1S"}, map[string]any{"with": map[string]any{"type": "t"}}}

// words are keys to add, or to give to what has another.
var words = []string{"x", "do", "set", "with", "call", "if", "then", "input", "output", "export", "timeout", "for", "while", "try", "catch", "listen", "to", "one", "any",
	"wait", "seconds", "raise", "error", "type", "status", "run", "workflow", "await", "emit", "event", "switch", "when", "metadata", "title", "use", "retry", "delay", "limit"}

// mutate changes one place of a document.
func mutate(r *rand.Rand, doc any) any {
	var places []func() // each changes the document at its place
	var walk func(v any, put func(any))
	walk = func(v any, put func(any)) {
		places = append(places, func() { put(clone(strange[r.IntN(len(strange))])) })
		switch v := v.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k], func(e any) { v[k] = e })
				places = append(places, func() { delete(v, k) }, func() {
					e := v[k]
					delete(v, k)
					v[words[r.IntN(len(words))]] = e
				})
			}
			places = append(places, func() { v[words[r.IntN(len(words))]] = clone(strange[r.IntN(len(strange))]) })
		case []any:
			for i := range v {
				walk(v[i], func(e any) { v[i] = e })
			}
			places = append(places, func() { put(append(slices.Clone(v), clone(strange[r.IntN(len(strange))]))) }, func() {
				if len(v) > 0 {
					put(v[1:])
				}
			}, func() {
				if len(v) > 0 {
					put(append(slices.Clone(v), clone(v[0])))
				}
			})
		}
	}
	walk(doc, func(e any) { doc = e })
	places[r.IntN(len(places))]()
	return doc
}
