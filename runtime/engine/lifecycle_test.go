package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// published are the events of the log, in order.
func published(t *testing.T, db *store.DB) (all []weft.Event) {
	t.Helper()
	list, err := db.Messages(context.Background(), ns, 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		all = append(all, m.Event())
	}
	return all
}

// kinds are their types without what all lifecycle events have in common.
func kinds(events []weft.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, strings.TrimSuffix(strings.TrimPrefix(e.Type, "io.serverlessworkflow."), ".v1"))
	}
	return strings.Join(all, " ")
}

func (h *house) announcing(level string) {
	h.close()
	h.opts.Lifecycle = level
	h.open()
}

func TestLifecycleEventsAreAsTheLanguageHasThem(t *testing.T) {
	h := newHouse(t)
	h.announcing(engine.LifecycleTask)
	h.deploy("fails", "do:\n  - it: { raise: { error: { type: 'https://x.example/e', status: 418, title: No } } }\n")
	run := h.wait(h.start("fails", "{}").ID)
	events := published(t, h.db)
	if got := kinds(events); got != "workflow.started task.created task.started task.faulted workflow.faulted" {
		t.Fatal(got)
	}
	at := run.Started.UTC()
	fault := `{"instance":"/do/0/it","status":418,"title":"No","type":"https://x.example/e"}`
	name, when := "fails-"+run.ID+".test", events[0].Time.Format(time.RFC3339Nano)
	for i, want := range []string{
		`{"definition":{"name":"fails","namespace":"test","version":"1.0.0"},"name":"` + name + `","startedAt":"` + when + `"}`,
		`{"createdAt":"` + when + `","task":"/do/0/it","workflow":"` + name + `"}`,
		`{"startedAt":"` + when + `","task":"/do/0/it","workflow":"` + name + `"}`,
		`{"error":` + fault + `,"faultedAt":"` + when + `","task":"/do/0/it","workflow":"` + name + `"}`,
		`{"error":` + fault + `,"faultedAt":"` + when + `","name":"` + name + `"}`,
	} {
		e := events[i]
		if string(e.Data) != want {
			t.Errorf("%s has %s\nand not %s", e.Type, e.Data, want)
		}
		if e.ID != fmt.Sprintf("%s-0.%d", run.ID, i) || e.Source != "/test/fails/1.0.0" || e.Subject != run.ID || e.DataContentType != "application/json" ||
			e.Extensions[weft.ExtPartitionKey] != run.ID || e.Time.Sub(at).Abs() > time.Second {
			t.Errorf("%+v", e)
		}
	}
}

func TestLifecycleEventsOfWhatPeopleDo(t *testing.T) {
	h := newHouse(t)
	h.announcing(engine.LifecycleWorkflow)
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: shop.answer } } } } }\n")
	id := h.start("hear", "{}").ID
	h.until(id, engine.Parked)
	for _, do := range []func() (engine.Run, error){
		func() (engine.Run, error) { return h.Pause(t.Context(), ns, id, "by hand") },
		func() (engine.Run, error) { return h.Resume(t.Context(), ns, id) },
		func() (engine.Run, error) { h.restart(); return h.Cancel(t.Context(), ns, id, "enough") },
		func() (engine.Run, error) { return h.Rerun(t.Context(), ns, id, 0) },
	} {
		if _, err := do(); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Accept(t.Context(), ns, weft.Event{ID: "1", Source: "/t", Type: "shop.answer"}, nil); err != nil {
		t.Fatal(err)
	}
	holds(t, "the run completes", func() bool { return strings.HasSuffix(kinds(published(t, h.db)), "workflow.completed") })
	const want = "workflow.started workflow.correlation-started workflow.suspended workflow.resumed workflow.cancelled " +
		"workflow.started workflow.correlation-completed workflow.completed"
	if got := kinds(published(t, h.db)); got != want {
		t.Errorf("\n%s\nand not\n%s", got, want)
	}
}

func TestByDefaultThereAreNoLifecycleEvents(t *testing.T) {
	h := newHouse(t)
	h.deploy("one", "do:\n  - it: { set: { a: 1 } }\n")
	h.wait(h.start("one", "{}").ID)
	if all := published(t, h.db); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// What a workflow hears of the lives of others it does not say of its own, nor
// do the runs that it starts: or each would be news for the next.
func TestLifecycleEventsStartNoLoop(t *testing.T) {
	for what, begin := range map[string]string{
		"a schedule":                "schedule: { on: { one: { with: { type: io.serverlessworkflow.workflow.completed.v1 } } } }\ndo:\n",
		"a schedule without a type": "schedule: { on: { one: { with: { source: /test/one/1.0.0 } } } }\ndo:\n",
		"a listen":                  "do:\n  - hear: { listen: { to: { one: { with: { type: io.serverlessworkflow.workflow.completed.v1 } } } } }\n",
	} {
		t.Run(what, func(t *testing.T) {
			h := newHouse(t)
			h.announcing(engine.LifecycleTask)
			h.deploy("one", "do:\n  - it: { set: { a: 1 } }\n")
			h.deploy("watch", begin+"  - tell: { run: { workflow: { namespace: test, name: one, version: '1.0.0' } } }\n")
			if strings.HasPrefix(begin, "do") {
				h.until(h.start("watch", "{}").ID, engine.Parked)
			}
			h.wait(h.start("one", "{}").ID)
			first := published(t, h.db)
			for _, e := range first {
				if err := h.Accept(t.Context(), ns, e, nil); err != nil {
					t.Fatal(err)
				}
			}
			runs, _, err := h.List(t.Context(), engine.ListRuns{Namespace: ns, Workflow: "watch"})
			if err != nil || len(runs) == 0 {
				t.Fatalf("%v %v", runs, err)
			}
			for _, r := range runs {
				if h.wait(r.ID).Status != engine.Completed {
					t.Errorf("%+v", r)
				}
			}
			if all := published(t, h.db); len(all) != len(first) || kinds(first) != "workflow.started task.created task.started task.completed workflow.completed" {
				t.Errorf("%s, after %s", kinds(all), kinds(first))
			}
		})
	}
}

// A process that dies at any commit has said each thing once.
func TestLifecycleEventsAreThereOnceThroughCrashes(t *testing.T) {
	for _, moment := range []store.Moment{store.BeforeCommit, store.AfterCommit} {
		inBubble(t, func(c *clocked) {
			c.opts.Lifecycle = engine.LifecycleTask
			c.close()
			commits, dead, crashes := 0, make(chan struct{}, 1), 0
			c.disk = func(m store.Moment) error {
				if m != moment {
					return nil
				}
				if commits++; commits > 2 && crashes < 20 {
					select {
					case dead <- struct{}{}:
					default:
					}
					return errors.New("no disk")
				}
				return nil
			}
			c.open()
			c.apply("1.0.0", "{ every: PT10S }", "{ a: { wait: PT1S } }, { b: { wait: PT1S } }")
			end := time.After(time.Until(c.begun.Add(125 * time.Second)))
			for over := false; !over; {
				select {
				case <-dead:
					crashes++
					c.close()
					commits = 0
					c.open()
				case <-end:
					over = true
				}
			}
			ids, byRun := map[string]bool{}, map[string][]weft.Event{}
			for _, e := range published(c.t, c.db) {
				if ids[e.ID] {
					c.t.Errorf("%s is there twice", e.ID)
				}
				ids[e.ID] = true
				byRun[e.Subject] = append(byRun[e.Subject], e)
			}
			const whole = "workflow.started task.created task.started task.completed task.created task.started task.completed workflow.completed"
			for run, all := range byRun {
				if got := kinds(all); got != whole {
					c.t.Errorf("%s: %s", run, got)
				}
				if !slices.IsSortedFunc(all, func(a, b weft.Event) int { return a.Time.Compare(b.Time) }) {
					c.t.Errorf("%s: %v", run, all)
				}
			}
			if len(byRun) != 12 || crashes < 10 {
				c.t.Errorf("%d runs and %d crashes", len(byRun), crashes)
			}
		})
	}
}
