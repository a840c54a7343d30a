package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/workflows"
)

// A script may draw chance: that its result is the same shows that it has run once.
func TestAScriptWhoseResultIsCommittedDoesNotRunAgain(t *testing.T) {
	h := newHouse(t)
	h.deploy("roll", `do:
  - roll:
      run: { script: { language: js, code: "console.log(Math.random(), Date.now())" } }
      export: { as: . }
  - rest: { wait: PT1S }
  - ask: { call: http, with: { method: get, endpoint: https://a.example } }
  - tell: { set: { rolled: '${ $context }' } }
`)
	run := h.start("roll", "null")
	h.until(run.ID, engine.Parked)
	_, steps, err := h.Describe(t.Context(), ns, run.ID)
	if err != nil || len(steps) == 0 || len(steps[0].Output) < 10 {
		t.Fatal(steps, err)
	}
	h.restart()
	var out struct{ Rolled json.RawMessage }
	if err := json.Unmarshal(h.wait(run.ID).Output, &out); err != nil || string(out.Rolled) != string(steps[0].Output) {
		t.Errorf("it had rolled %s, and now %s: %v", steps[0].Output, out.Rolled, err)
	}
}

func TestAScriptAtALimitFaultsItsRun(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct{ code, want string }{
		"loop":   {"while (true) {}", "the script computed for longer than its limit of 2000 ms (limits.fuel)"},
		"memory": {"const a = []; while (true) a.push(new Uint8Array(1 << 20))", "line 1: InternalError: out of memory: its limit is 64 MiB"},
		"output": {"while (true) console.log('x'.repeat(1000))", "the script wrote more than its limit of 1048576 bytes"},
		"deep":   {"const f = () => f(); f()", "line 1: RangeError: Maximum call stack size exceeded"},
	} {
		h.deploy(name, "do:\n  - it: { run: { script: { language: js, code: \""+c.code+"\" } } }\n")
		run := h.wait(h.start(name, "null").ID)
		if f := run.Fault; f == nil || f.Type != workflows.RuntimeError || f.Status != 500 || f.Title != "Script failed" || f.Detail != c.want || f.Instance != "/do/0/it" {
			t.Errorf("%s: %s, %+v", name, run.Status, f)
		}
	}
}

func TestAScriptEndsWithItsTimeout(t *testing.T) {
	h := newHouse(t)
	h.deploy("late", "do:\n  - it: { run: { script: { language: js, code: 'while (true) {}' } }, timeout: { after: { milliseconds: 100 } } }\n")
	run := h.wait(h.start("late", "null").ID)
	if f := run.Fault; f == nil || f.Type != workflows.TimeoutError || f.Status != 408 {
		t.Errorf("%s, %+v", run.Status, f)
	}
}

func TestAHostWithoutScriptsRefusesThem(t *testing.T) {
	h := newHouse(t)
	h.mute = true
	h.restart()
	_, err := h.cat.Apply(t.Context(), ns, "it.yaml", []byte("document: { dsl: '1.0.3', namespace: test, name: it, version: '1.0.0' }\ndo:\n  - it: { run: { script: { language: js, code: '1' } } }\n"))
	if err == nil || !strings.Contains(err.Error(), "this host runs no scripts") {
		t.Error(err)
	}
}
