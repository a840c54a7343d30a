package machine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// Bounds of one listen.
const (
	ListenMax      = 10_000   // events that it takes
	ListenBytesMax = 16 << 20 // their data, all together
)

// search lets a listen take what it can of the inbox, the oldest first, until
// it is over or one of its events is to be worked on.
func (m *Machine) search(f *frame) move {
	for i := 0; i < len(m.inbox); {
		e := m.inbox[i]
		next, ok := m.consume(f, e)
		if !ok {
			i++
			continue
		}
		m.inbox = slices.Delete(m.inbox, i, i+1)
		m.inboxBytes -= len(e.Data)
		if next.kind != rest {
			return next
		}
	}
	return move{}
}

// consume lets a listen take e, if it is for it, and gives what comes next.
func (m *Machine) consume(f *frame, e weft.Event) (next move, ok bool) {
	l := f.task.Listen
	if l.Stop != nil {
		if i, found := m.picks(f, l.Stop, f.stopped, e); i >= 0 {
			m.fix(found)
			f.stopped = mark(f.stopped, l.Stop, i)
			if l.Stop.All && slices.Contains(f.stopped, false) {
				return move{}, true
			}
			return m.heard(f), true
		}
	}
	i, found := m.picks(f, &l.Strategy, f.met, e)
	if i < 0 {
		return move{}, false
	}
	v, err := workflows.EventValue(e, l.Read)
	if err != nil {
		return move{}, false
	}
	m.fix(found)
	f.met = mark(f.met, &l.Strategy, i)
	f.items, f.bytes = append(f.items, v), f.bytes+len(e.Data)
	if len(f.items) > ListenMax || f.bytes > ListenBytesMax {
		return m.failed(workflows.RuntimeError, fmt.Errorf("the listen has taken more than %d events or %d bytes; let it end with until, and listen again", ListenMax, ListenBytesMax)), true
	}
	if l.Each == nil {
		return m.enough(f), true
	}
	f.phase, f.at = inEach, 0
	if len(f.task.Do) > 0 {
		return move{kind: enter, task: f.task.Do[0], value: f.input}, true
	}
	return m.worked(f, v), true
}

// mark notes that filter i of a strategy that needs all has had its event.
func mark(met []bool, s *workflows.Strategy, i int) []bool {
	if !s.All {
		return nil
	}
	if met == nil {
		met = make([]bool, len(s.Filters))
	}
	met[i] = true
	return met
}

// picks is the first filter that takes e, of those that still need an event,
// and what its correlations fix; -1 for none. An event on which an expression
// of a filter fails is not for it.
func (m *Machine) picks(f *frame, s *workflows.Strategy, met []bool, e weft.Event) (int, map[string]any) {
	for i, filter := range s.Filters {
		if met != nil && met[i] {
			continue
		}
		if ok, err := filter.MatchIn(e, m); !ok || err != nil {
			continue
		}
		if found, ok := m.correlate(f, filter, e); ok {
			return i, found
		}
	}
	return -1, nil
}

// fix keeps what correlations must give from now on.
func (m *Machine) fix(found map[string]any) {
	if len(found) == 0 {
		return
	}
	all := maps.Clone(m.correlations)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, found)
	m.correlations = all
}

// worked is called when the tasks of foreach are done with the latest event.
func (m *Machine) worked(f *frame, value any) move {
	each := f.task.Listen.Each
	out := f.items[len(f.items)-1]
	if each.Output != nil {
		v, err := each.Output.Eval(value, m, workflows.OutputMax)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		out = v
	}
	if each.OutputSchema != nil {
		if err := each.OutputSchema.Check(out); err != nil {
			return m.misfit("output of an event", err)
		}
	}
	f.outputs = append(f.outputs, out)
	if next := m.export(each.Export, each.ExportSchema, out); next.kind != rest {
		return next
	}
	f.phase = inBody
	return m.enough(f)
}

// enough finishes a listen that has had all that it waits for.
func (m *Machine) enough(f *frame) move {
	switch l := f.task.Listen; {
	case l.All && slices.Contains(f.met, false), l.Stop != nil:
		return move{}
	case l.Until != nil:
		yes, err := l.Until.True(f.items, m)
		if err != nil {
			return m.failed(workflows.ExpressionError, err)
		}
		if !yes {
			return move{}
		}
	}
	return m.heard(f)
}

// heard finishes a listen.
func (m *Machine) heard(f *frame) move {
	list := f.items
	if f.task.Listen.Each != nil {
		list = f.outputs
	}
	if list == nil {
		list = []any{}
	}
	return move{kind: finish, value: list}
}

// correlate reports whether e belongs to this run, and what it fixes.
func (m *Machine) correlate(f *frame, filter workflows.EventFilter, e weft.Event) (map[string]any, bool) {
	if len(filter.Correlate) == 0 {
		return nil, true
	}
	envelope, err := workflows.EventValue(e, workflows.ReadEnvelope)
	if err != nil {
		return nil, false
	}
	fixes := map[string]any{}
	for _, c := range filter.Correlate {
		got, err := c.From.Eval(envelope, m)
		if err != nil {
			return nil, false
		}
		want, known := m.correlations[c.Name]
		if c.Expect != nil {
			if want, err = c.Expect.Eval(f.input, m, workflows.OutputMax); err != nil {
				return nil, false
			}
			known = true
		}
		switch {
		case known && !workflows.Equal(want, got), !known && got == nil:
			return nil, false
		case !known:
			fixes[c.Name] = got
		}
	}
	return fixes, true
}

// listening are the steps of the listens that wait for an event, in the order
// in which they began. While the run is paused none does.
func (m *Machine) listening() []uint32 {
	if m.paused {
		return nil
	}
	var steps []uint32
	for b := range m.leaves() {
		if f := b.top(); f.listens() {
			steps = append(steps, f.step)
		}
	}
	slices.Sort(steps)
	return steps
}

// listens is the branch in which a listen waits for an event, or nil.
func (m *Machine) listens(step uint32) *branch {
	for b := range m.leaves() {
		if f := b.top(); f.step == step && f.listens() {
			return b
		}
	}
	return nil
}

func (f *frame) listens() bool {
	return f.task != nil && f.task.Kind == workflows.KindListen && f.phase == inBody
}

// deliver hands an event to the first listen that takes it, or keeps it for one
// that comes. It reports whether the event was taken.
func (m *Machine) deliver(e weft.Event) bool {
	if !m.Wants(e) {
		return false
	}
	for _, step := range m.listening() {
		m.on = m.listens(step)
		if next, ok := m.consume(m.top(), e); ok {
			m.settle(next)
			return true
		}
	}
	e.Data = slices.Clone(e.Data)
	m.inbox = append(m.inbox, e)
	m.inboxBytes += len(e.Data)
	return true
}

// Wants reports whether a listen, active or yet to come, could take e, and
// there is room to keep it until then.
func (m *Machine) Wants(e weft.Event) bool { return m.hears(e) && m.room(e) }

// Full reports whether e is not wanted only because there is no room for it.
func (m *Machine) Full(e weft.Event) bool { return m.hears(e) && !m.room(e) }

func (m *Machine) room(e weft.Event) bool {
	return len(m.inbox) < InboxMax && m.inboxBytes+len(e.Data) <= InboxBytesMax
}

func (m *Machine) hears(e weft.Event) bool {
	if m.status.Ended() {
		return false
	}
	for _, f := range m.def.Filters() {
		if f.Could(e) {
			return true
		}
	}
	return false
}
