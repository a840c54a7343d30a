package machine

import "github.com/weftrun/weft/workflows"

// Transition is a change in the life of the run, or of one of its tasks, that
// others may want to hear of.
type Transition struct {
	Kind         TransitionKind
	Pointer      string         // of the task; empty for the run
	Fault        *Fault         // WorkflowFaulted, TaskFaulted
	Correlations map[string]any // CorrelationCompleted: what ties events to the run; must not be changed
}

// TransitionKind is what happened, as the DSL names its lifecycle events.
type TransitionKind string

// The kinds of transitions.
const (
	WorkflowStarted      TransitionKind = "workflow.started"
	WorkflowSuspended    TransitionKind = "workflow.suspended"
	WorkflowResumed      TransitionKind = "workflow.resumed"
	CorrelationStarted   TransitionKind = "workflow.correlation-started"
	CorrelationCompleted TransitionKind = "workflow.correlation-completed"
	WorkflowCancelled    TransitionKind = "workflow.cancelled"
	WorkflowFaulted      TransitionKind = "workflow.faulted"
	WorkflowCompleted    TransitionKind = "workflow.completed"
	TaskCreated          TransitionKind = "task.created"
	TaskStarted          TransitionKind = "task.started"
	TaskSuspended        TransitionKind = "task.suspended"
	TaskResumed          TransitionKind = "task.resumed"
	TaskRetried          TransitionKind = "task.retried"
	TaskCancelled        TransitionKind = "task.cancelled"
	TaskFaulted          TransitionKind = "task.faulted"
	TaskCompleted        TransitionKind = "task.completed"
)

// Follow has Effects tell the transitions of the run from the next entry on,
// and those of its tasks too if asked. The same entries give the same ones.
func (m *Machine) Follow(tasks bool) {
	if m.life == nil {
		m.life = &life{}
		m.trace = m.life
	}
	m.life.tasks = tasks
}

// witness is told of the steps of a machine as it advances.
type witness interface {
	note(Entry)
	entered(*Machine)
	started(m *Machine, f *frame)
	issued(*Command)
	retried(m *Machine, f *frame)
	skipped(m *Machine, f *frame)
	completed(m *Machine, f *frame, output any)
	left(m *Machine, f *frame) // the run ended inside the task
	faulted(m *Machine, f *frame, fault *Fault)
	cancelled(m *Machine, f *frame)
}

// life gathers the transitions of one entry.
type life struct {
	tasks bool
	fresh uint32 // step that has been entered and not started; its if may not hold
	awake bool   // a copy of a run that was paused goes on: nobody was told of the pause
	told  []Transition
}

func (l *life) tell(t Transition) { l.told = append(l.told, t) }

func (l *life) task(kind TransitionKind, f *frame) {
	if l.tasks && f.task != nil {
		l.tell(Transition{Kind: kind, Pointer: f.task.Pointer})
	}
}

// before tells what an entry changes before the tasks go on.
func (l *life) before(m *Machine, e Entry) {
	l.told = nil
	switch {
	case e.Kind == Started, e.Kind == Rerun:
		l.tell(Transition{Kind: WorkflowStarted})
		l.awake = e.Kind == Rerun && m.paused
	case e.Kind == Resumed && m.paused:
		if !l.awake {
			l.both(m, WorkflowResumed, TaskResumed)
		}
		l.awake = false
	}
}

// after tells what it has changed in the run itself.
func (l *life) after(m *Machine, paused, ended bool) {
	switch {
	case m.status.Ended() && !ended:
		t := Transition{Kind: WorkflowCancelled}
		switch m.status {
		case Completed:
			t.Kind = WorkflowCompleted
		case Faulted:
			t.Kind, t.Fault = WorkflowFaulted, m.fault
		}
		l.tell(t)
	case m.paused && !paused:
		l.both(m, WorkflowSuspended, TaskSuspended)
	}
}

// both tells of the run and of the tasks in progress.
func (l *life) both(m *Machine, run, task TransitionKind) {
	l.tell(Transition{Kind: run})
	m.inProgress(func(b *branch, i int) { l.task(task, &b.stack[i]) })
}

func (l *life) entered(m *Machine) { l.fresh = m.top().step }

func (l *life) started(_ *Machine, f *frame) {
	l.fresh = 0
	l.task(TaskCreated, f)
	l.task(TaskStarted, f)
	if f.task.Kind == workflows.KindListen {
		l.tell(Transition{Kind: CorrelationStarted})
	}
}

func (l *life) retried(_ *Machine, f *frame) { l.task(TaskRetried, f) }

func (l *life) skipped(*Machine, *frame) { l.fresh = 0 }

func (l *life) completed(m *Machine, f *frame, _ any) {
	if f.task.Kind == workflows.KindListen {
		l.tell(Transition{Kind: CorrelationCompleted, Correlations: m.correlations})
	}
	l.task(TaskCompleted, f)
}

func (l *life) left(_ *Machine, f *frame) { l.task(TaskCompleted, f) }

func (l *life) faulted(_ *Machine, f *frame, fault *Fault) {
	if l.fresh == f.step {
		l.fresh = 0
		l.task(TaskCreated, f)
	}
	if l.tasks {
		l.tell(Transition{Kind: TaskFaulted, Pointer: f.task.Pointer, Fault: fault})
	}
}

func (l *life) cancelled(_ *Machine, f *frame) { l.task(TaskCancelled, f) }

func (l *life) note(Entry)      {}
func (l *life) issued(*Command) {}
