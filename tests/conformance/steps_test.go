package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cucumber/godog"
	"github.com/goccy/go-yaml"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/workflows/machine"
)

// bind has the steps of a scenario written down as godog comes to them.
func bind(ctx *godog.ScenarioContext) *scenario {
	s := &scenario{}
	ctx.Before(func(ctx context.Context, sc *godog.Scenario) (context.Context, error) {
		s.name = sc.Name
		return ctx, nil
	})
	text := ""
	ctx.StepContext().Before(func(ctx context.Context, st *godog.Step) (context.Context, error) {
		text = st.Text
		return ctx, nil
	})
	add := func(do func(*world) error) error {
		s.steps = append(s.steps, step{text, do})
		return nil
	}
	arrange(ctx, add)
	assert(ctx, add)
	return s
}

type adder = func(func(*world) error) error

// arrange binds what is given, and what happens.
func arrange(ctx *godog.ScenarioContext, add adder) {
	ctx.Step(`^(?:a|another) workflow with definition:$`, func(text *godog.DocString) error {
		return add(func(w *world) error { return w.deploy(text.Content) })
	})
	ctx.Step(`^given the workflow input is:$`, func(text *godog.DocString) error {
		return add(func(w *world) (err error) {
			w.input, err = toJSON(text.Content)
			return err
		})
	})
	ctx.Step(`^the workflow is executed$`, func() error {
		return add(func(w *world) error { return errors.Join(w.start(), w.ended()) })
	})
	ctx.Step(`^the workflow is started$`, func() error {
		return add(func(w *world) error { return w.start() })
	})
	ctx.Step(`^(\S+) passes$`, func(d string) error {
		return add(func(w *world) error {
			long, err := time.ParseDuration(d)
			return errors.Join(err, w.pass(long))
		})
	})
	ctx.Step(`^weft is restarted$`, func() error {
		return add(func(w *world) error { return w.restart(0) })
	})
	ctx.Step(`^weft is away for (\S+)$`, func(d string) error {
		return add(func(w *world) error {
			long, err := time.ParseDuration(d)
			return errors.Join(err, w.restart(long))
		})
	})
	ctx.Step(`^lifecycle events of (task|workflow)s are published$`, func(level string) error {
		return add(func(w *world) error {
			w.lifecycle = level
			return w.restart(0)
		})
	})
	ctx.Step(`^this event is published:$`, func(text *godog.DocString) error {
		return add(func(w *world) error { return w.publish(text.Content) })
	})
	ctx.Step(`^the run is cancelled$`, func() error {
		return add(func(w *world) error {
			return w.survive(func(ctx context.Context, p *process) error {
				if now, err := p.Run(ctx, ns, w.run.ID); err != nil || now.Status == engine.Cancelled {
					return err // before the crash
				}
				_, err := p.Cancel(ctx, ns, w.run.ID, "by the scenario")
				return err
			})
		})
	})
}

// assert binds what should be so.
func assert(ctx *godog.ScenarioContext, add adder) {
	ctx.Step(`^the workflow should (complete|fault|cancel)$`, func(how string) error {
		return add(func(w *world) error { return w.endedAs(how) })
	})
	ctx.Step(`^the workflow should complete with output:$`, func(text *godog.DocString) error {
		return add(func(w *world) error {
			if err := w.endedAs("complete"); err != nil {
				return err
			}
			return equal(w.run.Output, text.Content)
		})
	})
	ctx.Step(`^the workflow should fault with error:$`, func(text *godog.DocString) error {
		return add(func(w *world) error {
			if err := w.endedAs("fault"); err != nil {
				return err
			}
			return sameFault(w.run.Fault, text.Content)
		})
	})
	ctx.Step(`^the workflow should wait$`, func() error {
		return add(func(w *world) error {
			return w.survive(func(ctx context.Context, p *process) error {
				now, err := p.Run(ctx, ns, w.run.ID)
				if err == nil && now.Status != engine.Parked {
					err = fmt.Errorf("it is %s", now.Status)
				}
				return err
			})
		})
	})
	ctx.Step(`^the workflow output should have properties (.*)$`, func(list string) error {
		return add(func(w *world) error { return w.hasProperties(list) })
	})
	ctx.Step(`^the workflow output should have a '([^']*)' property with value:$`, func(path string, text *godog.DocString) error {
		return add(func(w *world) error {
			v, err := w.property(path)
			if err != nil {
				return err
			}
			got, err := json.Marshal(v)
			return errors.Join(err, equal(got, text.Content))
		})
	})
	ctx.Step(`^the workflow output should have a '([^']*)' property containing (\d+) items$`, func(path string, n int) error {
		return add(func(w *world) error {
			v, err := w.property(path)
			if list, ok := v.([]any); err == nil && (!ok || len(list) != n) {
				err = fmt.Errorf("%s is %v", path, v)
			}
			return err
		})
	})
	ctx.Step(`^the workflow should have taken (\S+)$`, func(d string) error {
		return add(func(w *world) error { return w.took(d, d) })
	})
	ctx.Step(`^the workflow should have taken from (\S+) to (\S+)$`, func(from, to string) error {
		return add(func(w *world) error { return w.took(from, to) })
	})
	ctx.Step(`^(\S+) should have been called (\d+) times$`, func(path string, n int) error {
		return add(func(w *world) error {
			if got := w.stub.calls(path); got != n {
				return fmt.Errorf("it was called %d times", got)
			}
			return nil
		})
	})
	ctx.Step(`^there should be (\d+) runs? of (\S+)$`, func(n int, name string) error {
		return add(func(w *world) error { return w.runsOf(name, n) })
	})
	ctx.Step(`^(\d+) events? of type (\S+) should have been published$`, func(n int, kind string) error {
		return add(func(w *world) error { return w.published(kind, n) })
	})
	assertTasks(ctx, add)
}

func assertTasks(ctx *godog.ScenarioContext, add adder) {
	ctx.Step(`^(\S+) should run (first|last)$`, func(task, where string) error {
		return add(func(w *world) error {
			order, err := w.order()
			if err != nil {
				return err
			}
			at := 0
			if where == "last" {
				at = len(order) - 1
			}
			if len(order) == 0 || order[at] != task {
				return fmt.Errorf("the tasks ran as %v", order)
			}
			return nil
		})
	})
	ctx.Step(`^(\S+) should run (before|after) (\S+)$`, func(one, how, other string) error {
		return add(func(w *world) error {
			order, err := w.order()
			if err != nil {
				return err
			}
			a, b := slices.Index(order, one), slices.Index(order, other)
			if a < 0 || b < 0 || (a < b) != (how == "before") {
				return fmt.Errorf("the tasks ran as %v", order)
			}
			return nil
		})
	})
	ctx.Step(`^(\S+) should (complete|fault|cancel|be skipped)$`, func(task, how string) error {
		return add(func(w *world) error {
			_, err := w.task(task, how)
			return err
		})
	})
	ctx.Step(`^(\S+) should complete with output:$`, func(task string, text *godog.DocString) error {
		return add(func(w *world) error {
			s, err := w.task(task, "complete")
			if err != nil {
				return err
			}
			return equal(s.Output, text.Content)
		})
	})
	ctx.Step(`^(\S+) should fault with error:$`, func(task string, text *godog.DocString) error {
		return add(func(w *world) error {
			s, err := w.task(task, "fault")
			if err != nil {
				return err
			}
			return sameFault(s.Fault, text.Content)
		})
	})
}

// publish puts an event into the log. If the process dies meanwhile it is put
// there again, as the same event.
func (w *world) publish(text string) error {
	data, err := toJSON(text)
	if err != nil {
		return err
	}
	var e struct {
		ID, Source, Type, Subject string
		Data                      json.RawMessage
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	w.events++
	if e.ID == "" {
		e.ID = fmt.Sprint("event ", w.events)
	}
	ev := weft.Event{ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: time.Now(), DataContentType: "application/json", Data: e.Data}
	return w.survive(func(ctx context.Context, p *process) error {
		_, err := p.bus.Publish(ctx, ns, ev)
		return err
	})
}

func (w *world) endedAs(how string) error {
	if err := w.ended(); err != nil {
		return err
	}
	want := map[string]engine.Status{"complete": engine.Completed, "fault": engine.Faulted, "cancel": engine.Cancelled}[how]
	if w.run.Status == want {
		return nil
	}
	fault, _ := json.Marshal(w.run.Fault)
	return fmt.Errorf("the run is %s, output %s, fault %s", w.run.Status, w.run.Output, fault)
}

func (w *world) hasProperties(list string) error {
	for _, m := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(list, -1) {
		if _, err := w.property(m[1]); err != nil {
			return err
		}
	}
	return nil
}

// property is what the output of the run has at a path.
func (w *world) property(path string) (any, error) {
	if err := w.endedAs("complete"); err != nil {
		return nil, err
	}
	var v any
	if err := json.Unmarshal(w.run.Output, &v); err != nil {
		return nil, err
	}
	for _, key := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		next, ok := m[key]
		if !ok {
			return nil, fmt.Errorf("the output has no %s: %s", path, w.run.Output)
		}
		v = next
	}
	return v, nil
}

// took checks how long the run was, give or take what a crash may cost.
func (w *world) took(from, to string) error {
	if err := w.ended(); err != nil {
		return err
	}
	least, err := time.ParseDuration(from)
	if err != nil {
		return err
	}
	most, err := time.ParseDuration(to)
	if err != nil {
		return err
	}
	most += 50 * time.Millisecond
	if w.crashed {
		most += 3 * time.Second
	}
	if d := w.run.Ended.Sub(w.run.Started); d < least || d > most {
		return fmt.Errorf("it took %s", d)
	}
	return nil
}

// runsOf waits until that many runs of a workflow have ended, and the scenario
// goes on with the latest. There must not be more.
func (w *world) runsOf(name string, n int) error {
	return w.eventually(func(ctx context.Context, p *process) error {
		runs, _, err := p.List(ctx, engine.ListRuns{Namespace: ns, Workflow: name})
		if err != nil {
			return err
		}
		if n > 0 && len(runs) > 0 {
			w.run = runs[0]
		}
		if len(runs) != n {
			return fmt.Errorf("there are %d", len(runs))
		}
		return nil
	})
}

// published waits until the log has that many different events of a type.
func (w *world) published(kind string, n int) error {
	return w.eventually(func(ctx context.Context, p *process) error {
		list, err := p.db.Messages(ctx, ns, 0, 1000)
		if err != nil {
			return err
		}
		ids := map[string]bool{}
		for _, m := range list {
			if e := m.Event(); e.Type == kind {
				ids[e.Source+" "+e.ID] = true
			}
		}
		if len(ids) != n {
			return fmt.Errorf("there are %d", len(ids))
		}
		return nil
	})
}

// eventually gives what must come about some time to do so, and to stay so. No
// scenario has a timer that is due then.
func (w *world) eventually(check func(context.Context, *process) error) error {
	if err := w.pass(95 * time.Second); err != nil {
		return err
	}
	return w.survive(check)
}

// steps is what the run has done.
func (w *world) steps() (steps []machine.Step, err error) {
	err = w.survive(func(ctx context.Context, p *process) (err error) {
		_, steps, err = p.Describe(ctx, ns, w.run.ID)
		return err
	})
	return steps, err
}

// order names the tasks that ran, as they began.
func (w *world) order() (names []string, err error) {
	steps, err := w.steps()
	for _, s := range steps {
		if s.Status != machine.StepSkipped {
			names = append(names, s.Name)
		}
	}
	return names, err
}

// task is the last step of a task, which must have ended like that.
func (w *world) task(name, how string) (machine.Step, error) {
	steps, err := w.steps()
	if err != nil {
		return machine.Step{}, err
	}
	want := map[string]machine.StepStatus{"complete": machine.StepCompleted, "fault": machine.StepFaulted, "cancel": machine.StepCancelled, "be skipped": machine.StepSkipped}[how]
	for _, s := range slices.Backward(steps) {
		if s.Name != name {
			continue
		}
		if s.Status != want {
			return s, fmt.Errorf("%s is %s", name, s.Status)
		}
		return s, nil
	}
	return machine.Step{}, fmt.Errorf("%s never ran", name)
}

// sameFault checks the fields that are named.
func sameFault(f *machine.Fault, want string) error {
	got, err := json.Marshal(f)
	if err != nil {
		return err
	}
	var all, some map[string]any
	data, err := toJSON(want)
	if err := errors.Join(err, json.Unmarshal(got, &all), json.Unmarshal(data, &some)); err != nil {
		return err
	}
	for name, v := range some {
		if !reflect.DeepEqual(all[name], v) {
			return fmt.Errorf("the %s of the error is %v, not %v: %s", name, all[name], v, got)
		}
	}
	return nil
}

// equal compares JSON with a value in YAML.
func equal(got []byte, want string) error {
	data, err := toJSON(want)
	if err != nil {
		return err
	}
	var a, b any
	if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal(data, &b)); err != nil {
		return err
	}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("it is %s, not %s", got, data)
	}
	return nil
}

func toJSON(text string) ([]byte, error) { return yaml.YAMLToJSON([]byte(text)) }
