package engine_test

import (
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

func TestARefusedRerunLeavesNoRun(t *testing.T) {
	h := newHouse(t)
	h.deploy("fall", "do:\n  - n: { set: { n: 1 } }\n  - down: { raise: { error: { type: 'https://x.example/e', status: 400 } } }\n")
	run := h.wait(h.start("fall", `{}`).ID)
	for _, step := range []uint32{0, 1, 2} {
		if _, err := h.Rerun(t.Context(), ns, run.ID, step); weft.CodeOf(err) != weft.FailedPrecondition || !strings.Contains(err.Error(), "nothing to do anew") {
			t.Errorf("from step %d: %v", step, err)
		}
	}
	h.restart() // all that is in memory is written
	if all, _, err := h.List(t.Context(), engine.ListRuns{Namespace: ns}); err != nil || len(all) != 1 {
		t.Errorf("there are %d runs, %v", len(all), err)
	}
}

func TestARerunFromAnEmitEmitsAgain(t *testing.T) {
	h := newHouse(t)
	h.deploy("tell", `do:
  - one: { emit: { event: { with: { type: told, data: one } } } }
  - two: { emit: { event: { with: { type: told, data: two } } } }
  - nap: { wait: PT0.01S }
`)
	run := h.wait(h.start("tell", `{}`).ID)
	again, err := h.Rerun(t.Context(), ns, run.ID, 2)
	if err != nil {
		t.Fatal(err)
	}
	h.wait(again.ID)
	log, err := h.db.Messages(t.Context(), ns, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, m := range log {
		told = append(told, m.ID+" "+string(m.Data))
	}
	if got, want := strings.Join(told, ", "), run.ID+`-1 "one", `+run.ID+`-2 "two", `+again.ID+`-2 "two"`; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestACopyOfAPausedRunIsNotToldToResume(t *testing.T) {
	h := newHouse(t)
	h.announcing(engine.LifecycleTask)
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: shop.answer } } } } }\n")
	run := h.start("hear", `{}`)
	h.until(run.ID, engine.Parked)
	if _, err := h.Pause(t.Context(), ns, run.ID, "by hand"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Cancel(t.Context(), ns, run.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	before := len(published(t, h.db))
	if _, err := h.Rerun(t.Context(), ns, run.ID, 0); err != nil {
		t.Fatal(err)
	}
	if got := kinds(published(t, h.db)[before:]); got != "workflow.started" {
		t.Errorf("the copy tells of %s", got)
	}
}
