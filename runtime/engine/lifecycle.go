package engine

import (
	"strconv"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// What Options.Lifecycle may be: whose lifecycle events of the DSL are emitted.
const (
	LifecycleNone     = "none"
	LifecycleWorkflow = "workflow" // of runs
	LifecycleTask     = "task"     // of runs and of their tasks
)

// lifecyclePrefix begins the type of every lifecycle event.
const lifecyclePrefix = "io.serverlessworkflow."

// quiet reports whether a run emits no lifecycle events: its workflow may take
// some, and would hear itself.
func quiet(def *workflows.Definition) bool {
	for _, filters := range [][]workflows.EventFilter{def.Triggers(), def.Filters()} {
		for _, f := range filters {
			if t := f.Type(); t == "" || strings.HasPrefix(t, lifecyclePrefix) {
				return true
			}
		}
	}
	return false
}

// follow has the machine tell its transitions, if anybody is to hear of them.
// The caller holds mu.
func (a *actor) follow() {
	if level := a.e.opts.Lifecycle; level != LifecycleNone && !a.row.Quiet {
		a.m.Follow(level == LifecycleTask)
	}
}

// announce emits the transitions that the latest entry led to. Their ids are
// of the entry, and they are in its commit: none is lost or comes twice. The
// caller holds mu.
func (a *actor) announce(all []machine.Transition, at int64) {
	for i, t := range all {
		a.events = append(a.events, a.lifeEvent(t, i, time.UnixMicro(at).UTC()))
	}
}

func (a *actor) lifeEvent(t machine.Transition, i int, at time.Time) weft.Event {
	space, name, version := a.def.ID()
	kind := string(t.Kind)
	qualified := name + "-" + a.id + "." + space
	data := map[string]any{kind[strings.LastIndexAny(kind, ".-")+1:] + "At": at.Format(time.RFC3339Nano)}
	if t.Pointer == "" {
		data["name"] = qualified
	} else {
		data["workflow"], data["task"] = qualified, t.Pointer
	}
	if t.Kind == machine.WorkflowStarted {
		data["definition"] = map[string]any{"name": name, "namespace": space, "version": version}
	}
	if t.Fault != nil {
		data["error"] = t.Fault.Value()
	}
	if len(t.Correlations) > 0 {
		data["correlationKeys"] = t.Correlations
	}
	return weft.Event{
		ID: a.id + "-" + strconv.FormatInt(a.row.Entries-1, 10) + "." + strconv.Itoa(i), Source: "/" + space + "/" + name + "/" + version,
		Type: lifecyclePrefix + kind + ".v1", Subject: a.id, Time: at, DataContentType: "application/json",
		Extensions: map[string]string{weft.ExtPartitionKey: a.id}, Data: workflows.AppendJSON(nil, data),
	}
}
