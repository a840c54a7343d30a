package machine

import (
	"maps"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// search lets the listen on top take the oldest event of the inbox that it
// can, or rest.
func (m *Machine) search(f *frame) move {
	for i, e := range m.inbox {
		if v, ok := m.consume(f, e); ok {
			m.inbox = slices.Delete(m.inbox, i, i+1)
			m.inboxBytes -= len(e.Data)
			return move{kind: finish, value: v}
		}
	}
	return move{}
}

// consume gives what the listen makes of e, if e is for it. An event on which
// an expression of the filter fails is not for it.
func (m *Machine) consume(f *frame, e weft.Event) (any, bool) {
	for _, filter := range f.task.Listen.Filters {
		ok, err := filter.MatchIn(e, m)
		if !ok || err != nil {
			continue
		}
		found, ok := m.correlate(f, filter, e)
		if !ok {
			continue
		}
		v, err := workflows.EventValue(e, f.task.Listen.Read)
		if err != nil {
			continue
		}
		if len(found) > 0 {
			all := maps.Clone(m.correlations)
			if all == nil {
				all = map[string]any{}
			}
			maps.Copy(all, found)
			m.correlations = all
		}
		return []any{v}, true
	}
	return nil, false
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
		if v, ok := m.consume(m.top(), e); ok {
			m.settle(move{kind: finish, value: v})
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
