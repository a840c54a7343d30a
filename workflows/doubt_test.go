package workflows

import (
	"strings"
	"testing"
)

func TestDoubts(t *testing.T) {
	for name, c := range map[string]struct{ tasks, want string }{
		"one after the other":             {"a: { set: { x: 1 } }; b: { set: { x: 1 } }", ""},
		"behind an end":                   {"a: { set: { x: 1 }, then: end }; b: { set: { x: 1 } }; c: { set: { x: 1 } }", "b"},
		"behind an error":                 {"a: { raise: { error: { type: x, status: 400 } } }; b: { set: { x: 1 } }", "b"},
		"behind an error that may not be": {"a: { if: .x, raise: { error: { type: x, status: 400 } } }; b: { set: { x: 1 } }", ""},
		"behind a task that may not run":  {"a: { if: .x, set: { x: 1 }, then: end }; b: { set: { x: 1 } }", ""},
		"left out by a then":              {"a: { set: { x: 1 }, then: c }; b: { set: { x: 1 } }; c: { set: { x: 1 } }", "b"},
		"led to from behind":              {"a: { set: { x: 1 }, then: c }; b: { set: { x: 1 }, then: end }; c: { set: { x: 1 }, then: b }", ""},
		"cases that lead to all":          {"a: { switch: [ { m: { when: .x, then: b } }, { n: { then: c } } ] }; b: { set: { x: 1 }, then: end }; c: { set: { x: 1 } }", ""},
		"cases that leave one out":        {"a: { switch: [ { m: { when: .x, then: end } }, { n: { then: c } } ] }; b: { set: { x: 1 } }; c: { set: { x: 1 } }", "b"},
		"cases without a default":         {"a: { switch: [ { m: { when: .x, then: c } } ] }; b: { set: { x: 1 } }; c: { set: { x: 1 } }", ""},
		"led to by a catch":               {"a: { try: [ { t: { call: h } } ], catch: { then: c }, then: end }; c: { set: { x: 1 } }", ""},
		"behind a catch that goes on":     {"a: { try: [ { t: { call: h } } ], catch: { then: continue }, then: end }; c: { set: { x: 1 } }", ""},
		"behind a catch that does not":    {"a: { try: [ { t: { call: h } } ], catch: { as: e }, then: end }; c: { set: { x: 1 } }", "c"},
		"inside a do and a catch": {"a: { do: [ { p: { set: { x: 1 }, then: exit } }, { q: { set: { x: 1 } } } ] }; " +
			"b: { try: [ { t: { call: h } } ], catch: { do: [ { r: { set: { x: 1 }, then: end } }, { s: { set: { x: 1 } } } ] } }", "q s"},
		"branches of a fork": {"a: { fork: { branches: [ { p: { set: { x: 1 }, then: end } }, { q: { set: { x: 1 } } } ] } }", ""},
	} {
		text := header + "do:\n  - " + strings.ReplaceAll(c.tasks, "; ", "\n  - ") + "\n"
		var names []string
		for _, p := range parsed(t, text).Doubts() {
			if p.Line < 3 || p.Hint == "" || !strings.Contains(p.Message, p.Key) {
				t.Errorf("%s: %v", name, p)
			}
			names = append(names, p.Key)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: doubts are about %q, not %q", name, got, c.want)
		}
	}
}
