package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/weftrun/weft/workflows"
)

// The $runtime of expressions. The version is that of the language, not of
// the build, so that a replay by a later build gives the same.
const (
	RuntimeName    = "weft"
	RuntimeVersion = "1.0.3"
)

var runtimeValue any = map[string]any{"name": RuntimeName, "version": RuntimeVersion, "metadata": map[string]any{}}

// Variable gives the expressions of the task on top their variables.
func (m *Machine) Variable(v workflows.Variable) any {
	switch v.Kind {
	case workflows.VarContext:
		return m.on.context
	case workflows.VarInput:
		return m.top().input
	case workflows.VarOutput:
		return m.top().output
	case workflows.VarTask:
		return m.taskValue()
	case workflows.VarWorkflow:
		return m.workflowValue()
	case workflows.VarRuntime:
		return runtimeValue
	case workflows.VarNow:
		return float64(m.now) / 1e6
	case workflows.VarSecret:
		return m.SecretMark(v.Name)
	}
	return m.local(v.Name)
}

// SecretMark stands in the run for a secret, by its path in Definition.Secrets,
// until a call is made. Nobody can write it who has not seen it in this run. It
// has small letters, digits and dashes only, and so is itself in JSON and in URLs.
func (m *Machine) SecretMark(path string) string {
	sum := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, m.seed), path...))
	return "weft-secret-" + hex.EncodeToString(sum[:12])
}

// local is the variable of the nearest for, foreach or catch that has the name.
func (m *Machine) local(name string) any {
	for f := range m.around() {
		if f.task == nil {
			break
		}
		switch f.task.Kind {
		case workflows.KindFor:
			switch {
			case f.round >= len(f.items):
			case name == f.task.For.Each:
				return f.items[f.round]
			case name == f.task.For.At:
				return f.round
			}
		case workflows.KindListen:
			switch {
			case f.phase != inEach:
			case name == f.task.Listen.Each.Item:
				return f.items[len(f.items)-1]
			case name == f.task.Listen.Each.At:
				return len(f.items) - 1
			}
		case workflows.KindTry:
			if f.caught != nil && name == f.task.Catch.As {
				return f.caught.Value()
			}
		}
	}
	return nil
}

func (m *Machine) workflowValue() any {
	if m.workflow == nil {
		m.workflow = map[string]any{
			"id": m.info.RunID, "definition": m.def.Document(), "input": m.input, "startedAt": dateTime(m.startedAt),
		}
	}
	return m.workflow
}

// taskValue is $task: the task on top. In an extension it is the task that is
// extended, with the keys of its definition too, for so the DSL's examples read it.
func (m *Machine) taskValue() any {
	f := m.top()
	v := map[string]any{}
	if extended := m.extending(); extended != nil {
		f = extended
		definition, _ := f.task.Definition.(map[string]any)
		maps.Copy(v, definition)
	}
	if f.task == nil {
		return nil
	}
	v["name"], v["reference"], v["definition"] = f.task.Name, f.task.Pointer, f.task.Definition
	v["input"], v["output"], v["startedAt"] = f.raw, f.result, dateTime(f.begun)
	return v
}

func dateTime(micros int64) map[string]any {
	return map[string]any{
		"iso8601": time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z"),
		"epoch":   map[string]any{"seconds": int(micros / 1e6), "milliseconds": int(micros / 1e3)},
	}
}

// waitsTold is how many branches Waiting tells of.
const waitsTold = 3

// Waiting says for people what the run waits for.
func (m *Machine) Waiting() string { return m.WaitingFor(func(Command) string { return "" }) }

// WaitingFor is Waiting, where call may know better what the call of a branch
// waits for.
func (m *Machine) WaitingFor(call func(Command) string) string {
	if m.paused && !m.status.Ended() {
		return m.waitingFor(m.root.top())
	}
	var all []string
	for b := range m.leaves() {
		s, f := "", b.top()
		if f.command != nil {
			s = call(*f.command)
		}
		if s == "" {
			s = m.waitingFor(f)
		}
		if s != "" {
			all = append(all, s)
		}
	}
	if more := len(all) - waitsTold; more > 0 {
		all = append(all[:waitsTold], fmt.Sprintf("%d more", more))
	}
	return strings.Join(all, ", ")
}

func (m *Machine) waitingFor(f *frame) string {
	clock := time.UnixMicro(f.wake).UTC().Format(time.TimeOnly)
	switch {
	case m.paused && m.reason != "":
		return "resume (" + m.reason + ")"
	case m.paused:
		return "resume"
	case f.task == nil:
		return ""
	case f.command != nil && f.command.Kind == CallHTTP && f.command.HTTP.GRPC != nil:
		return f.command.HTTP.GRPC.Name()
	case f.command != nil && f.command.Kind == CallHTTP:
		return f.command.HTTP.Method + " " + f.command.HTTP.URL
	case f.command != nil && f.command.Kind == RunWorkflow:
		return "a run of " + f.command.Run.Workflow.String()
	case f.command != nil && f.command.Kind == RunScript:
		return "its script"
	case f.command != nil:
		return "handler " + f.command.Handler.String()
	case f.phase == inDelay:
		return "retry at " + clock + " after " + f.caught.Title
	case f.task.Kind == workflows.KindWait:
		return "timer until " + clock
	case f.task.Kind == workflows.KindListen:
		return "event " + eventNames(f)
	}
	return ""
}

func eventNames(f *frame) string {
	l, word := f.task.Listen, " or "
	if l.All {
		word = " and "
	}
	var names []string
	for i, filter := range l.Filters {
		switch t := filter.Type(); {
		case f.met != nil && f.met[i]:
		case t == "":
			names = append(names, "of any type")
		default:
			names = append(names, t)
		}
	}
	return strings.Join(names, word)
}
