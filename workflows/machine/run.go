package machine

import (
	"fmt"
	"iter"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// move is the next thing that happens inside a turn.
type move struct {
	kind  moveKind
	task  *workflows.Task // enter
	value any             // enter: raw input; finish: raw output; leave and end: output
	then  workflows.Then  // leave
	skip  bool            // leave: the task was skipped
	fault *Fault          // raise
}

type moveKind uint8

const (
	rest   moveKind = iota // nothing more before the next entry
	enter                  // a task begins
	finish                 // the task on top has its raw output
	leave                  // a task is over and gone; the one below goes on
	raise                  // the task on top fails
	end                    // the workflow is over
)

// settle makes a move of the branch that happens now, and what follows from
// it, then those that are ready, until the run rests or the slice is used up.
func (m *Machine) settle(v move) {
	for {
		switch v.kind {
		case rest:
			if len(m.ready) == 0 || m.slice >= SliceMax {
				return
			}
			v = m.turn()
		case enter:
			if m.slice++; m.slice > SliceMax {
				m.later(m.on, v)
				return
			}
			v = m.enter(v.task, v.value)
		case finish:
			v = m.finish(v.value)
		case leave:
			v = m.leave(v)
		case raise:
			v = m.raise(v.fault)
		case end:
			v = m.end(v.value)
		}
	}
}

// failed raises a standard error in the task on top.
func (m *Machine) failed(errorType string, err error) move {
	return move{kind: raise, fault: m.standard(errorType, err.Error())}
}

func (m *Machine) standard(errorType, detail string) *Fault {
	f := &Fault{Type: errorType, Status: 400, Detail: clipped(detail)}
	switch errorType {
	case workflows.ExpressionError:
		f.Title = "Expression failed"
	case workflows.ValidationError:
		f.Title = "Invalid value"
	case workflows.TimeoutError:
		f.Status, f.Title = 408, "Timeout"
	default:
		f.Status, f.Title = 500, "Runtime error"
	}
	if top := m.top(); top != nil && top.task != nil {
		f.Instance = top.task.Pointer
	}
	return f
}

func (m *Machine) enter(t *workflows.Task, raw any) move {
	if m.stretch++; m.stretch > LoopMax {
		return m.die(t)
	}
	m.steps++
	m.on.stack = append(m.on.stack, frame{task: t, step: m.steps, raw: raw, input: raw, begun: m.now, then: t.Then})
	f := m.top()
	if m.trace != nil {
		m.trace.entered(m)
	}
	if t.If != nil {
		yes, err := t.If.True(raw, m)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		if !yes {
			return m.skip(raw)
		}
	}
	if t.Extensions != nil {
		if m.trace != nil {
			m.trace.started(m, f)
		}
		return m.extend(f)
	}
	return m.begin(f)
}

// begin begins the task on top, after what runs before it.
func (m *Machine) begin(f *frame) move {
	t := f.task
	if t.InputSchema != nil {
		if err := t.InputSchema.Check(f.raw); err != nil {
			f.phase = inOutput // it is not for the catch of the task itself
			return m.misfit("input", err)
		}
	}
	if t.Input != nil {
		v, err := t.Input.Eval(f.raw, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		f.input = v
	}
	if t.Timeout != nil {
		d, err := t.Timeout.Eval(f.input, m)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		f.deadline = m.now + d.Microseconds()
	}
	if m.trace != nil && t.Extensions == nil {
		m.trace.started(m, f)
	}
	return m.body(f)
}

// die ends a run that would go on for ever. Nothing can catch it.
func (m *Machine) die(t *workflows.Task) move {
	f := m.standard(workflows.RuntimeError, fmt.Sprintf("more than %d tasks without a pause; let the loop wait, or call a handler", LoopMax))
	f.Instance = t.Pointer
	m.faulted(f)
	return move{}
}

func (m *Machine) skip(raw any) move {
	if m.trace != nil {
		m.trace.skipped(m, m.top())
	}
	m.pop()
	return move{kind: leave, value: raw, skip: true}
}

func (m *Machine) pop() {
	*m.top() = frame{}
	m.on.stack = m.on.stack[:len(m.on.stack)-1]
}

// body begins what the task is there for.
func (m *Machine) body(f *frame) move {
	t := f.task
	switch t.Kind {
	case workflows.KindSet:
		return m.evaluated(t.Set)
	case workflows.KindDo:
		return m.do(f)
	case workflows.KindTry:
		f.tried = m.now
		return m.attempt(f)
	case workflows.KindFor:
		return m.loop(f)
	case workflows.KindFork:
		return m.fork(f)
	case workflows.KindSwitch:
		return m.choose(f)
	case workflows.KindCall:
		return m.call(f)
	case workflows.KindHTTP:
		return m.callHTTP(f)
	case workflows.KindEmit:
		return m.emit(f)
	case workflows.KindListen:
		return m.search(f)
	case workflows.KindRaise:
		return m.raiseOwn(f)
	case workflows.KindRun:
		return m.runWorkflow(f)
	case workflows.KindScript:
		return m.runScript(f)
	default: // KindWait
		return m.wait(f)
	}
}

// evaluated finishes the task on top with the value of a template.
func (m *Machine) evaluated(t *workflows.Template) move {
	v, err := t.Eval(m.top().input, m, workflows.OutputMax)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	return move{kind: finish, value: v}
}

// do begins a list of tasks, or the task of a function.
func (m *Machine) do(f *frame) move {
	value := f.input
	if with := f.task.With; with != nil {
		v, err := with.Eval(value, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		value = v
	}
	return move{kind: enter, task: f.task.Do[0], value: value}
}

func (m *Machine) wait(f *frame) move {
	d, err := f.task.Wait.Eval(f.input, m)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	f.wake = m.now + d.Microseconds()
	return move{}
}

func (m *Machine) choose(f *frame) move {
	var otherwise *workflows.Case
	for i := range f.task.Switch {
		c := &f.task.Switch[i]
		if c.When == nil {
			otherwise = c
			continue
		}
		yes, err := c.When.True(f.input, m)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		if yes {
			otherwise = c
			break
		}
	}
	if otherwise != nil {
		f.then = otherwise.Then
	}
	return move{kind: finish, value: f.input}
}

func (m *Machine) loop(f *frame) move {
	v, err := f.task.For.In.Eval(f.input, m, workflows.OutputMax)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	items, ok := v.([]any)
	if !ok {
		return m.failed(workflows.ExpressionError, fmt.Errorf("for.in gives no list but %s", clipped(string(workflows.AppendJSON(nil, v)))))
	}
	f.items, f.round = items, 0
	return m.nextRound(f, f.input)
}

// nextRound runs the tasks of a for once more, on what the round before gave.
func (m *Machine) nextRound(f *frame, value any) move {
	if f.round >= len(f.items) {
		return move{kind: finish, value: value}
	}
	if while := f.task.For.While; while != nil {
		yes, err := while.True(value, m)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		if !yes {
			return move{kind: finish, value: value}
		}
	}
	f.at = 0
	return move{kind: enter, task: f.task.Do[0], value: value}
}

// finish turns the raw output of the task on top into its output.
func (m *Machine) finish(value any) move {
	f := m.top()
	t := f.task
	f.phase, f.result = inOutput, value
	if t.Output != nil {
		v, err := t.Output.Eval(value, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		value = v
	}
	if t.OutputSchema != nil {
		if err := t.OutputSchema.Check(value); err != nil {
			return m.misfit("output", err)
		}
	}
	if next := m.export(t.Export, t.ExportSchema, value); next.kind != rest {
		return next
	}
	if f.extended != 0 {
		return m.extendAfter(f, value)
	}
	return m.over(f, value)
}

// over ends the task on top, after what runs after it.
func (m *Machine) over(f *frame, value any) move {
	if m.trace != nil {
		m.trace.completed(m, f, value)
	}
	then := f.then
	m.pop()
	return move{kind: leave, value: value, then: then}
}

// export makes the context of what the task on top gives; either may be nil.
func (m *Machine) export(as *workflows.Template, schema *workflows.Schema, value any) move {
	v := m.on.context
	if as != nil {
		m.top().output = value
		var err error
		if v, err = as.Eval(value, m, workflows.ContextMax); err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
	}
	if schema != nil {
		if err := schema.Check(v); err != nil {
			return m.misfit("export", err)
		}
	}
	m.on.context = v
	return move{}
}

// misfit raises what a schema says in the task on top.
func (m *Machine) misfit(what string, err error) move {
	return m.failed(workflows.ValidationError, fmt.Errorf("the %s does not fit its schema: %w", what, err))
}

// leave goes on in the list that the task stood in. A branch of a fork has
// none: it is over.
func (m *Machine) leave(v move) move {
	value, then, f := v.value, v.then, m.top()
	switch {
	case then.Flow == workflows.End:
		return move{kind: end, value: value}
	case f == nil:
		return m.join(value, v.skip)
	case then.Flow == workflows.Exit && f.phase.extension():
		return m.exitExtension(f, value)
	}
	list := m.list(f)
	switch then.Flow {
	case workflows.Continue:
		f.at++
	case workflows.Exit:
		f.at = len(list)
	case workflows.Goto:
		f.at = then.Next
	}
	if f.at < len(list) {
		return move{kind: enter, task: list[f.at], value: value}
	}
	return m.listDone(f, value)
}

// list is the list of tasks that f runs.
func (m *Machine) list(f *frame) []*workflows.Task {
	switch {
	case f.task == nil:
		return m.def.Do()
	case f.phase == inCatch:
		return f.task.Catch.Do
	case f.phase == inBefore:
		return f.task.Extensions[f.extension].Before
	case f.phase == inAfter:
		return f.task.Extensions[f.extension].After
	}
	return f.task.Do
}

func (m *Machine) listDone(f *frame, value any) move {
	switch {
	case f.task == nil:
		return move{kind: end, value: value}
	case f.phase.extension():
		f.extension++
		return m.nextExtension(f)
	case f.task.Kind == workflows.KindFor:
		f.round++
		return m.nextRound(f, value)
	case f.phase == inCatch:
		return m.caught(f, value)
	case f.phase == inEach:
		if next := m.worked(f, value); next.kind != rest {
			return next
		}
		return m.search(f)
	}
	return move{kind: finish, value: value}
}

// end completes the run.
func (m *Machine) end(value any) move {
	m.leaveAll()
	if as := m.def.Output(); as != nil {
		v, err := as.Eval(value, m, workflows.OutputMax)
		if err != nil {
			return m.wrong("/output/as", err)
		}
		value = v
	}
	if schema := m.def.OutputSchema(); schema != nil {
		if err := schema.Check(value); err != nil {
			return m.unfit("output", err)
		}
	}
	m.cut(m.root, 0)
	m.status = Completed
	m.output = workflows.AppendJSON(nil, value)
	return move{}
}

// leaveAll completes the tasks around one that ended the run, and cancels the
// branches beside it.
func (m *Machine) leaveAll() {
	for {
		for f := m.top(); f != nil && f.task != nil; f = m.top() {
			m.cutBranches(f)
			if m.trace != nil {
				m.trace.left(m, f)
			}
			m.pop()
		}
		if m.on.parent == nil {
			return
		}
		m.on = m.on.parent
	}
}

func (m *Machine) faulted(f *Fault) {
	m.cut(m.root, 0)
	m.status, m.fault = Faulted, f
}

func (m *Machine) raiseOwn(f *frame) move {
	r := f.task.Raise
	fault := &Fault{Instance: f.task.Pointer}
	fields := []struct {
		from *workflows.Template
		to   *string
	}{{r.Type, &fault.Type}, {r.Title, &fault.Title}, {r.Detail, &fault.Detail}, {r.Instance, &fault.Instance}}
	for _, field := range fields {
		if field.from == nil {
			continue
		}
		v, err := field.from.Eval(f.input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		*field.to = text(v)
	}
	v, err := r.Status.Eval(f.input, m, workflows.OutputMax)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	status, ok := v.(int)
	if !ok || fault.Type == "" {
		return m.failed(workflows.ExpressionError, fmt.Errorf("the error to raise needs a type and a whole number as status"))
	}
	fault.Status, fault.Detail = status, clipped(fault.Detail)
	return move{kind: raise, fault: fault}
}

// text is v as text: a string as it is, anything else as JSON, null empty.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return string(workflows.AppendJSON(nil, v))
}

func (m *Machine) call(f *frame) move {
	input := f.input
	if with := f.task.Call.With; with != nil {
		v, err := with.Eval(input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		input = v
	}
	m.issue(f, Command{Kind: CallHandler, Handler: f.task.Call.Handler, Input: workflows.AppendJSON(nil, input)})
	return move{}
}

func (m *Machine) runWorkflow(f *frame) move {
	if m.info.Depth >= RunDepthMax {
		return m.failed(workflows.RuntimeError, fmt.Errorf("runs are nested deeper than %d: does a workflow run itself without end?", RunDepthMax))
	}
	input := f.input
	if in := f.task.Run.Input; in != nil {
		v, err := in.Eval(input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		input = v
	}
	m.issue(f, Command{Kind: RunWorkflow, Run: f.task.Run, Input: workflows.AppendJSON(nil, input)})
	return move{}
}

// issue sends a command of the task on top.
func (m *Machine) issue(f *frame, c Command) {
	c.Step, c.Pointer, c.Name, c.At = f.step, f.task.Pointer, f.task.Name, m.now
	c.Attempt, c.Deadline, c.ParkMax = m.attemptNow(), m.deadline(), f.task.ParkMax
	if c.Kind != Emit {
		f.command = &c
	}
	if m.trace != nil {
		m.trace.issued(&c)
	}
	m.out = append(m.out, c)
}

// attemptNow says which attempt of the nearest try the top frame belongs to.
func (m *Machine) attemptNow() uint32 { return attempts(m.around()) }

func attempts(around iter.Seq[*frame]) uint32 {
	for f := range around {
		if f.attempt > 0 && f.phase == inBody {
			return f.attempt
		}
	}
	return 1
}

func (m *Machine) emit(f *frame) move {
	e := &weft.Event{
		ID: fmt.Sprintf("%s-%d", m.info.RunID, f.step), Source: m.source(),
		Time: time.UnixMicro(m.now).UTC(), DataContentType: "application/json",
	}
	for _, a := range f.task.Emit.Attributes {
		v, err := a.Value.Eval(f.input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		if err := setAttribute(e, a.Name, v); err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
	}
	if t := f.task.Emit.Data; t != nil {
		v, err := t.Eval(f.input, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		e.Data = workflows.EncodeContent(v, e.DataContentType)
	}
	v, err := workflows.EventValue(*e, workflows.ReadEnvelope)
	if err != nil {
		return m.failed(workflows.ExpressionError, err)
	}
	m.issue(f, Command{Kind: Emit, Event: e})
	return move{kind: finish, value: v}
}

// source is the source of the run's events: /namespace/name/version.
func (m *Machine) source() string {
	namespace, name, version := m.def.ID()
	return "/" + namespace + "/" + name + "/" + version
}

func setAttribute(e *weft.Event, name string, v any) error {
	s := text(v)
	switch name {
	case "id":
		e.ID = s
	case "source":
		e.Source = s
	case "type":
		e.Type = s
		return weft.CheckEventType(s)
	case "subject":
		e.Subject = s
	case "datacontenttype":
		e.DataContentType = s
	case "dataschema":
		e.DataSchema = s
	case "time":
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return fmt.Errorf("time is %q, no RFC 3339 time such as 2026-01-31T12:00:00Z", s)
		}
		e.Time = t.UTC()
	default:
		if s == "" {
			return nil
		}
		if e.Extensions == nil {
			e.Extensions = map[string]string{}
		}
		e.Extensions[name] = s
	}
	if s == "" && (name == "id" || name == "source" || name == "type") {
		return fmt.Errorf("the event's %s is empty", name)
	}
	return nil
}
