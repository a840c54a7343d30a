package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/machine"
)

// moment is one lifecycle event.
type moment struct {
	id      string
	kind    machine.TransitionKind
	pointer string
}

// tells notes that an entry must have told a transition, as the n-th of its own.
func (s *story) tells(t machine.Transition, entry, n int) {
	id := fmt.Sprintf("%s-%d.%d", s.row.ID, entry, n)
	s.told = append(s.told, moment{id, t.Kind, t.Pointer})
	s.events[id] = true
}

// checkLives wants what the log tells of each run to be its life: each
// transition, in order, from one start to one end.
func (w *world) checkLives(f *file) {
	log := map[string][]moment{}
	for _, m := range f.log {
		ev := m.Event()
		kind, ok := strings.CutPrefix(ev.Type, "io.serverlessworkflow.")
		if !ok {
			continue
		}
		var data struct{ Task string }
		if err := json.Unmarshal(ev.Data, &data); err != nil || ev.Extensions[weft.ExtPartitionKey] != ev.Subject {
			w.violate("event %s is no lifecycle event: %v", ev.ID, err)
		}
		log[ev.Subject] = append(log[ev.Subject], moment{ev.ID, machine.TransitionKind(strings.TrimSuffix(kind, ".v1")), data.Task})
	}
	for _, id := range slices.Sorted(maps.Keys(f.stories)) {
		s := f.stories[id]
		if !slices.Equal(log[id], s.told) {
			w.violate("run %s: the log tells %v, its journal %v", id, log[id], s.told)
		}
		if why := alive(s.told, s.endedAt != 0, s.row.Origin != ""); why != "" {
			w.violate("run %s: %s: %v", id, why, s.told)
		}
	}
}

// alive is what is wrong with a life. A copy does not tell again of the tasks in
// which it goes on.
func alive(life []moment, over, isCopy bool) string {
	ends, suspended, open := 0, false, map[string]int{}
	for i, t := range life {
		switch t.kind {
		case machine.WorkflowStarted:
			if i > 0 {
				return "it starts twice"
			}
		case machine.WorkflowCompleted, machine.WorkflowFaulted, machine.WorkflowCancelled:
			if ends++; i < len(life)-1 {
				return "it goes on after its end"
			}
		case machine.WorkflowSuspended, machine.WorkflowResumed:
			if suspended == (t.kind == machine.WorkflowSuspended) {
				return "it is suspended, or resumed, twice"
			}
			suspended = !suspended
		case machine.TaskCreated:
			open[t.pointer]++
		case machine.TaskCompleted, machine.TaskFaulted, machine.TaskCancelled:
			if open[t.pointer]--; open[t.pointer] < 0 && !isCopy {
				return t.pointer + " ends and was not created"
			}
		}
		if i == 0 && t.kind != machine.WorkflowStarted {
			return "it does not start"
		}
	}
	switch {
	case len(life) > 0 && (ends == 1) != over:
		return fmt.Sprintf("it has %d ends", ends)
	case over && !isCopy:
		for pointer, n := range open {
			if n != 0 {
				return pointer + " has no end"
			}
		}
	}
	return ""
}
