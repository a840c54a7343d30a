package machine

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// lived are the transitions of a run, each with the name of its task.
func lived(t *testing.T, m *Machine, tasks bool, entries []Entry) (all []Transition) {
	t.Helper()
	for _, e := range entries {
		m.Follow(tasks)
		eff, err := m.Advance(e)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, eff.Life...)
	}
	return all
}

func TestTransitions(t *testing.T) {
	start := Entry{Kind: Started, At: noon, Data: []byte(`{"n":1}`)}
	finished := Entry{Kind: Finished, At: noon + 1e6, Step: 1, Data: []byte("1")}
	down := Entry{Kind: Failed, At: noon + 1e6, Step: 2, Fault: FaultOf(weft.Errorf(weft.Unavailable, "test", "down"))}
	event := Entry{Kind: Delivered, At: noon + 1e6, Event: &weft.Event{ID: "1", Source: "/t", Type: "x", Subject: "s-1"}}
	for _, c := range []struct {
		what, do string
		tasks    bool
		entries  []Entry
		want     string
	}{
		{"a run without its tasks", "{ a: { call: h } }", false, []Entry{start, finished}, "workflow.started workflow.completed"},
		{"a run with its tasks", "{ a: { call: h } }", true, []Entry{start, finished}, "workflow.started task.created:a task.started:a task.completed:a workflow.completed"},
		{"a task whose if does not hold", "{ a: { if: '${ .n == 2 }', set: { x: 1 } } }", true, []Entry{start}, "workflow.started workflow.completed"},
		{"a task that fails before it has started", "{ a: { input: { from: '${ error(1) }' }, set: { x: 1 } } }", true, []Entry{start},
			"workflow.started task.created:a task.faulted:a! workflow.faulted!"},
		{"a task that is tried again", "{ a: { try: [ { b: { call: h } } ], catch: { retry: { delay: PT0S, limit: { attempt: { count: 1 } } } } } }", true,
			[]Entry{start, down, {Kind: Failed, At: noon + 2e6, Step: 3, Fault: down.Fault}},
			"workflow.started task.created:a task.started:a task.created:b task.started:b task.faulted:b! task.retried:a " +
				"task.created:b task.started:b task.faulted:b! task.faulted:a! workflow.faulted!"},
		{"a listen without its tasks", "{ a: { listen: { to: { one: { with: { type: x }, correlate: { who: { from: '${ .subject }' } } } } } } }", false, []Entry{start, event},
			"workflow.started workflow.correlation-started workflow.correlation-completed(who=s-1) workflow.completed"},
		{"a pause", "{ a: { do: [ { b: { call: h } } ] } }", true, []Entry{start, {Kind: Paused, At: noon + 1}, {Kind: Paused, At: noon + 2}, {Kind: Resumed, At: noon + 3}, {Kind: Resumed, At: noon + 4}},
			"workflow.started task.created:a task.started:a task.created:b task.started:b workflow.suspended task.suspended:a task.suspended:b workflow.resumed task.resumed:a task.resumed:b"},
		{"a cancellation while it is paused", "{ a: { call: h } }", true, []Entry{start, {Kind: Paused, At: noon + 1}, {Kind: Cancelled, At: noon + 2}},
			"workflow.started task.created:a task.started:a workflow.suspended task.suspended:a task.cancelled:a workflow.cancelled"},
		{"an end from inside", "{ a: { do: [ { b: { set: { x: 1 }, then: end } } ] } }", true, []Entry{start},
			"workflow.started task.created:a task.started:a task.created:b task.started:b task.completed:b task.completed:a workflow.completed"},
		{"branches of which one wins", "{ a: { fork: { compete: true, branches: [ { b: { call: h } }, { c: { set: { x: 1 } } } ] } } }", true, []Entry{start},
			"workflow.started task.created:a task.started:a task.created:b task.started:b task.created:c task.started:c task.completed:c task.cancelled:b task.completed:a workflow.completed"},
		{"a copy", "{ a: { call: h } }", false, []Entry{start, {Kind: Rerun, At: noon + 1}, {Kind: Cancelled, At: noon + 2}}, "workflow.started workflow.started workflow.cancelled"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var got []string
			for _, tr := range lived(t, machineOf(t, "do: [ "+c.do+" ]"), c.tasks, c.entries) {
				s := string(tr.Kind)
				if tr.Pointer != "" {
					s += ":" + tr.Pointer[strings.LastIndex(tr.Pointer, "/")+1:]
				}
				for name, v := range tr.Correlations {
					s += "(" + name + "=" + v.(string) + ")"
				}
				if tr.Fault != nil {
					s += "!"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("\n%s\nand not\n%s", s, c.want)
			}
		})
	}
}

// Whatever happens to a run, each of its tasks begins once and ends once.
func TestTransitionsOfEveryScriptAreWhole(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts in testdata", err)
	}
	for _, file := range files {
		for _, c := range readScripts(t, file) {
			t.Run(c.title, func(t *testing.T) {
				entries, def := c.run(t)
				m := New(def, Info{RunID: "run1", Namespace: "default"})
				all := lived(t, m, true, entries)
				open := map[string]int{}
				for i, tr := range all {
					switch tr.Kind {
					case WorkflowStarted:
						if i > 0 && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == Rerun }) {
							t.Errorf("started again at %d", i)
						}
					case WorkflowCompleted, WorkflowFaulted, WorkflowCancelled:
						if i != len(all)-1 {
							t.Errorf("%s is followed by %v", tr.Kind, all[i+1:])
						}
					case TaskCreated:
						open[tr.Pointer]++
					case TaskCompleted, TaskFaulted, TaskCancelled:
						if open[tr.Pointer]--; open[tr.Pointer] < 0 {
							t.Errorf("%s of %s, which had not begun", tr.Kind, tr.Pointer)
						}
					}
				}
				for pointer, n := range open {
					if m.Status().Ended() && n != 0 {
						t.Errorf("%s has begun %d times more than ended", pointer, n)
					}
				}
				if ended := len(all) > 0 && slices.Contains([]TransitionKind{WorkflowCompleted, WorkflowFaulted, WorkflowCancelled}, all[len(all)-1].Kind); ended != m.Status().Ended() {
					t.Errorf("the run is %s, and told last is %s", m.Status(), all[len(all)-1].Kind)
				}
				few := lived(t, New(def, Info{RunID: "run1", Namespace: "default"}), false, entries)
				of := slices.DeleteFunc(all, func(tr Transition) bool { return tr.Pointer != "" })
				if len(few) != len(of) {
					t.Errorf("without its tasks %v, with them %v", few, of)
				}
			})
		}
	}
}
