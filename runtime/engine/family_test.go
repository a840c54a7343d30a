package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

const runsChild = "do:\n  - child: { run: { workflow: { namespace: test, name: %s, version: '1.0.0', input: { key: family } } } }\n"

func (h *house) children(id string) []engine.Run {
	h.t.Helper()
	runs, _, err := h.List(h.t.Context(), engine.ListRuns{Namespace: ns, Parent: id})
	if err != nil {
		h.t.Fatal(err)
	}
	return runs
}

func TestARunTakesTheOutputOfTheRunThatItRuns(t *testing.T) {
	h := newHouse(t)
	h.deploy("ten", tenSteps)
	h.deploy("parent", fmt.Sprintf(runsChild, "ten")+"  - after: { set: { got: '${ .count }' } }\n")
	run := h.wait(h.start("parent", `{}`).ID)
	if run.Status != engine.Completed || string(run.Output) != `{"got":10}` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	children := h.children(run.ID)
	if len(children) != 1 || children[0].Parent != run.ID || children[0].Status != engine.Completed {
		t.Errorf("children: %+v", children)
	}
	if got := h.count("family"); got != `{"key":"family","count":10}` {
		t.Errorf("state is %s", got)
	}
}

func TestTheFaultOfARunIsTheFaultOfItsParentsStep(t *testing.T) {
	h := newHouse(t)
	h.deploy("bad", "do:\n  - no: { raise: { error: { type: https://shop.example/errors/no, status: 422, title: No, detail: not today } } }\n")
	h.deploy("parent", fmt.Sprintf(runsChild, "bad"))
	run := h.wait(h.start("parent", `{}`).ID)
	if run.Status != engine.Faulted || run.Fault.Status != 422 || run.Fault.Detail != "not today" || run.Fault.Instance != "/do/0/child" {
		t.Errorf("%s %+v", run.Status, run.Fault)
	}
}

func TestAParentWaitsOverRestarts(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT0.3S }\n  - n: { set: { slept: true } }\n")
	h.deploy("parent", fmt.Sprintf(runsChild, "nap"))
	run := h.start("parent", `{}`)
	parked := h.until(run.ID, engine.Parked)
	child := h.children(run.ID)[0].ID
	if parked.Reason != "run "+child+" of test/nap:1.0.0" {
		t.Errorf("the parent says %q", parked.Reason)
	}
	h.restart()
	if run := h.wait(run.ID); run.Status != engine.Completed || string(run.Output) != `{"slept":true}` {
		t.Errorf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}

// The child has ended and the process with it, before its parent was told.
func TestAParentIsToldAfterARestart(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	h.deploy("parent", fmt.Sprintf(runsChild, "nap"))
	run := h.start("parent", `{}`)
	h.until(run.ID, engine.Parked)
	child := h.children(run.ID)[0].ID
	h.Engine.Close(t.Context())
	err := h.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec(`update run set status=?, output=?, wake=null, ended=1 where id=?`, int(engine.Completed), []byte(`{"late":1}`), child)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.restart()
	if run := h.wait(run.ID); string(run.Output) != `{"late":1}` {
		t.Errorf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}

// The run was paused while its turn to run the other had not come, and the row
// says no more than that it is parked.
func TestAPausedRunStillRunsWhatItHadNotBegunTo(t *testing.T) {
	h := newHouse(t)
	h.close()
	h.opts.Turns, h.opts.DrainMax = 1, 10*time.Millisecond
	h.open()
	h.deploy("one", "do:\n  - it: { set: { a: 1 } }\n")
	h.deploy("parent", fmt.Sprintf(runsChild, "one"))
	h.deploy("ask", "do:\n  - it: { call: ask, with: { procedures: [bank/Charge] } }\n")
	h.gate.set(func(g *fakeGate) { g.hang = true })
	h.start("ask", `{}`)
	for h.gate.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	id := h.start("parent", `{}`).ID // waits for its turn
	if _, err := h.Pause(t.Context(), ns, id, "by hand"); err != nil {
		t.Fatal(err)
	}
	h.restart()
	h.gate.set(func(g *fakeGate) { g.hang = false })
	if _, err := h.Resume(t.Context(), ns, id); err != nil {
		t.Fatal(err)
	}
	h.opts.Turns = 0
	h.restart()
	if run := h.wait(id); run.Status != engine.Completed || string(run.Output) != `{"a":1}` {
		t.Errorf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}

func TestCancellingARunCancelsTheRunsThatItRuns(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	h.deploy("middle", fmt.Sprintf(runsChild, "nap"))
	h.deploy("parent", fmt.Sprintf(runsChild, "middle"))
	run := h.start("parent", `{}`)
	h.until(run.ID, engine.Parked)
	middle := h.children(run.ID)[0].ID
	h.until(middle, engine.Parked)
	nap := h.children(middle)[0].ID
	h.until(nap, engine.Parked)
	if _, err := h.Cancel(t.Context(), ns, run.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{middle, nap} {
		if run := h.until(id, engine.Cancelled); !strings.Contains(run.Reason, "no longer waits for it") || !run.Wake.IsZero() {
			t.Errorf("%s: %q, wakes %v", id, run.Reason, run.Wake)
		}
	}
}

func TestATimeoutCancelsTheRunAndARestartForgetsNone(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	h.deploy("parent", "do:\n  - around:\n      try:\n        - child: { timeout: { after: PT0.2S }, run: { workflow: { namespace: test, name: nap, version: '1.0.0' } } }\n      catch: { do: [ { late: { set: { late: true } } } ] }\n")
	run := h.start("parent", `{}`)
	if run := h.wait(run.ID); string(run.Output) != `{"late":true}` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	h.restart()
	h.until(h.children(run.ID)[0].ID, engine.Cancelled)
}

func TestADetachedRunGoesOnByItself(t *testing.T) {
	h := newHouse(t)
	h.deploy("ten", tenSteps)
	h.deploy("parent", "do:\n  - child: { run: { await: false, workflow: { namespace: test, name: ten, version: '1.0.0', input: { key: alone } } } }\n  - after: { set: { was: '${ . }' } }\n")
	run := h.wait(h.start("parent", `{"a":1}`).ID)
	if string(run.Output) != `{"was":{"a":1}}` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	h.wait(h.children(run.ID)[0].ID)
	if got := h.count("alone"); got != `{"key":"alone","count":10}` {
		t.Errorf("state is %s", got)
	}
}

func TestAWorkflowThatRunsItselfEnds(t *testing.T) {
	h := newHouse(t)
	h.deploy("deep", "do:\n  - again: { run: { workflow: { namespace: test, name: deep, version: '1.0.0' } } }\n")
	run := h.wait(h.start("deep", `{}`).ID)
	if run.Status != engine.Faulted || !strings.Contains(run.Fault.Detail, "nested deeper than 32") {
		t.Errorf("%s %+v", run.Status, run.Fault)
	}
}

func TestRerunTakesOverWhatCameBeforeTheStep(t *testing.T) {
	h := newHouse(t)
	h.gate.set(func(g *fakeGate) { g.err = weft.Errorf(weft.InvalidArgument, "test", "no such card") })
	h.deploy("pay", `timeout: { after: PT1H }
do:
  - first: { call: count, with: { key: first } }
  - pay: { call: ask, with: { procedures: [ pay/do ] } }
  - last: { call: count, with: { key: last } }
`)
	run := h.wait(h.start("pay", `{}`).ID)
	if run.Status != engine.Faulted {
		t.Fatal(run.Status)
	}
	if _, err := h.Rerun(t.Context(), ns, run.ID, 9); weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "has no step 9: it came to step 2") {
		t.Errorf("a step that there is not: %v", err)
	}
	h.gate.set(func(g *fakeGate) { g.err = nil })
	again, err := h.Rerun(t.Context(), ns, run.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if again = h.wait(again.ID); again.Status != engine.Completed || again.Origin != run.ID {
		t.Fatalf("%s %+v, of %q", again.Status, again.Fault, again.Origin)
	}
	if got := h.count("first") + h.count("last"); got != `{"key":"first","count":1}{"key":"last","count":1}` {
		t.Errorf("state is %s", got)
	}
	if was, err := h.Run(t.Context(), ns, run.ID); err != nil || was.Status != engine.Faulted {
		t.Errorf("the run that was copied is %s, %v", was.Status, err)
	}
	if _, err := h.Rerun(t.Context(), ns, again.ID, 0); weft.CodeOf(err) != weft.FailedPrecondition || !strings.Contains(err.Error(), "name the step") {
		t.Errorf("one that failed nowhere: %v", err)
	}
	whole, err := h.Rerun(t.Context(), ns, again.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if whole = h.wait(whole.ID); whole.Status != engine.Completed || whole.Origin != again.ID+" step 1" {
		t.Errorf("%s %+v, of %q", whole.Status, whole.Fault, whole.Origin)
	}
	if got := h.count("first"); got != `{"key":"first","count":2}` {
		t.Errorf("state is %s", got)
	}
}

func TestACancelledRunCanBeRunOn(t *testing.T) {
	h := newHouse(t)
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: go } } } } }\n")
	run := h.start("hear", `{}`)
	h.until(run.ID, engine.Parked)
	if _, err := h.Rerun(t.Context(), ns, run.ID, 0); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("a live run: %v", err)
	}
	if _, err := h.Pause(t.Context(), ns, run.ID, ""); err != nil { // which a copy does not stay
		t.Fatal(err)
	}
	if _, err := h.Cancel(t.Context(), ns, run.ID, ""); err != nil {
		t.Fatal(err)
	}
	again, err := h.Rerun(t.Context(), ns, run.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Accept(t.Context(), ns, weft.Event{ID: "1", Source: "/t", Type: "go", Data: []byte(`{"a":1}`), DataContentType: "application/json"}, nil); err != nil {
		t.Fatal(err)
	}
	if again = h.wait(again.ID); again.Status != engine.Completed {
		t.Errorf("%s %+v", again.Status, again.Fault)
	}
}

func TestALongRunIsFoldedFromItsSnapshot(t *testing.T) {
	h := newHouse(t)
	h.opts = engine.Options{Snapshot: 50, HistoryMax: 200}
	h.restart()
	h.deploy("long", `do:
  - all:
      for: { in: '${ [range(500)] }' }
      do:
        - step: { call: count, with: { key: long } }
  - nap: { wait: PT1H }
`)
	run := h.start("long", `{}`)
	parked := h.until(run.ID, engine.Parked)
	if parked.Entries < 500 {
		t.Errorf("%d entries", parked.Entries)
	}
	h.restart()
	seq, _, err := h.db.Snapshot(t.Context(), run.ID)
	if err != nil || seq < 400 {
		t.Errorf("the snapshot is at %d, %v", seq, err)
	}
	left := 0
	err = h.db.Journal(t.Context(), run.ID, 0, func(at int64, _ []byte) error {
		if left++; at < seq {
			return fmt.Errorf("entry %d is kept", at)
		}
		return nil
	})
	if err != nil || left == 0 {
		t.Errorf("%d rows of the journal are left, %v", left, err)
	}
	_, steps, err := h.Describe(t.Context(), ns, run.ID)
	if err != nil || len(steps) == 0 || steps[len(steps)-1].Name != "nap" || !strings.HasPrefix(steps[len(steps)-1].Waiting, "timer until") {
		t.Errorf("%d steps, %v", len(steps), err)
	}
	if _, err := h.Cancel(t.Context(), ns, run.ID, ""); err != nil {
		t.Error(err)
	}
	if _, err := h.Rerun(t.Context(), ns, run.ID, 1); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("rerun of what is no longer kept: %v", err)
	}
	if got := h.count("long"); got != `{"key":"long","count":500}` {
		t.Errorf("state is %s", got)
	}
}

func TestAForOverAHundredThousandElementsWorks(t *testing.T) {
	h := newHouse(t)
	h.deploy("huge", `do:
  - all:
      for: { in: '${ [range(100000)] }' }
      do: [ { add: { set: { sum: '${ (.sum // 0) + 1 }' } } } ]
`)
	if run := h.wait(h.start("huge", `{}`).ID); string(run.Output) != `{"sum":100000}` {
		t.Errorf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}

func TestARunWhoseHistoryIsFullFaultsWithANamedError(t *testing.T) {
	h := newHouse(t)
	h.opts = engine.Options{EntriesMax: 20}
	h.restart()
	h.deploy("spin", "do:\n  - again: { call: count, with: { key: spin }, then: again }\n")
	run := h.wait(h.start("spin", `{}`).ID)
	if run.Status != engine.Faulted || run.Fault.Title != "Limit reached" || !strings.Contains(run.Fault.Detail, "history has 20 entries, the limit") {
		t.Errorf("%s %+v", run.Status, run.Fault)
	}
	if got := h.count("spin"); got != `{"key":"spin","count":19}` {
		t.Errorf("a step that was refused left its writes: %s", got)
	}
}

func TestRunsAreKeptForAWhileAfterTheirEnd(t *testing.T) {
	h := newHouse(t)
	h.deploy("ten", tenSteps)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	ended, live := h.start("ten", `{"key":"old"}`), h.start("nap", `{}`)
	h.wait(ended.ID)
	h.until(live.ID, engine.Parked)
	time.Sleep(5 * time.Millisecond)
	h.opts = engine.Options{Retain: time.Millisecond}
	h.restart()
	for weft.CodeOf(h.found(ended.ID)) != weft.NotFound {
		time.Sleep(time.Millisecond)
	}
	if err := h.found(live.ID); err != nil {
		t.Errorf("a live run: %v", err)
	}
	for _, table := range []string{"journal", "snapshot", "inbox"} {
		n := int64(-1)
		if err := h.db.Query(t.Context(), "select count(*) from "+table, nil, func(r store.Row) error { n = r.Int(0); return nil }); err != nil {
			t.Fatal(err)
		}
		if want := map[string]int64{"journal": 1}[table]; n != want {
			t.Errorf("%d rows are left in %s, want %d", n, table, want)
		}
	}
}

func (h *house) found(id string) error {
	_, err := h.Run(h.t.Context(), ns, id)
	return err
}

func TestRunsAreListedByWhatTheyAre(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	h.deploy("set", "do:\n  - a: { set: { a: 1 } }\n")
	begun := time.Now()
	nap, set := h.start("nap", `{}`), h.start("set", `{}`)
	h.until(nap.ID, engine.Parked)
	h.wait(set.ID)
	for name, c := range map[string]struct {
		list engine.ListRuns
		want []string
	}{
		"all, the newest first":           {engine.ListRuns{}, []string{set.ID, nap.ID}},
		"of a workflow":                   {engine.ListRuns{Workflow: "nap"}, []string{nap.ID}},
		"of a workflow and its namespace": {engine.ListRuns{Workflow: "other/nap"}, nil},
		"parked or faulted":               {engine.ListRuns{Statuses: []engine.Status{engine.Parked, engine.Faulted}}, []string{nap.ID}},
		"of a workflow and a status":      {engine.ListRuns{Workflow: "set", Statuses: []engine.Status{engine.Parked}}, nil},
		"started before":                  {engine.ListRuns{Before: begun.Add(-time.Minute)}, nil},
		"started after":                   {engine.ListRuns{After: begun.Add(-time.Minute), Before: begun.Add(time.Minute)}, []string{set.ID, nap.ID}},
	} {
		c.list.Namespace = ns
		runs, _, err := h.List(t.Context(), c.list)
		var ids []string
		for _, r := range runs {
			ids = append(ids, r.ID)
		}
		if err != nil || fmt.Sprint(ids) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, %v; want %v", name, ids, err, c.want)
		}
	}
}

// Runs go from one status to the next while they are listed: a page has each once.
func TestAPageHasARunOnce(t *testing.T) {
	h := newHouse(t)
	h.deploy("blink", "do:\n  - nap: { wait: PT0.001S }\n  - n: { set: { a: 1 } }\n")
	stop := make(chan struct{})
	var starts sync.WaitGroup
	for range 4 {
		starts.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					h.start("blink", `{}`)
				}
			}
		})
	}
	for range 300 {
		runs, _, err := h.List(t.Context(), engine.ListRuns{Namespace: ns, PageSize: 50})
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(runs); i++ {
			if runs[i-1].ID == runs[i].ID {
				t.Fatalf("run %s is there as %s and as %s", runs[i].ID, runs[i-1].Status, runs[i].Status)
			}
		}
	}
	close(stop)
	starts.Wait()
}
