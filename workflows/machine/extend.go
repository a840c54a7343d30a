package machine

import "github.com/weftrun/weft/workflows"

// extend begins what runs before the task on top. Which extensions apply is
// decided here, for what runs after it too.
func (m *Machine) extend(f *frame) move {
	f.phase = inBefore
	for i, e := range f.task.Extensions {
		yes := true
		if e.When != nil {
			var err error
			if yes, err = e.When.True(f.raw, m); err != nil {
				fault := m.standard(workflows.ExpressionError, err.Error())
				fault.Instance = e.Pointer + "/when"
				return move{kind: raise, fault: fault}
			}
		}
		if yes {
			f.extended |= 1 << i
		}
	}
	f.extension = 0
	return m.nextExtension(f)
}

// extendAfter begins what runs after the task on top, which has its output.
func (m *Machine) extendAfter(f *frame, output any) move {
	f.phase, f.extension, f.output = inAfter, 0, output
	f.wake, f.attemptEnds, f.deadline = 0, 0, 0
	return m.nextExtension(f)
}

// nextExtension runs the tasks of the next extension that has any, or goes on
// with the task itself. What they give goes nowhere, for most extensions look
// on: the task has its own input, and its own output stays.
func (m *Machine) nextExtension(f *frame) move {
	value := f.raw
	if f.phase == inAfter {
		value = f.output
	}
	for ; f.extension < len(f.task.Extensions); f.extension++ {
		if list := m.list(f); len(list) > 0 && f.extended>>f.extension&1 == 1 {
			f.at = 0
			return move{kind: enter, task: list[0], value: value}
		}
	}
	if f.phase == inAfter {
		return m.over(f, value)
	}
	f.phase = inBody
	return m.begin(f)
}

// exitExtension takes the output of a task of an extension that exits. Before
// the task it is the task's raw output, and the task does nothing; extensions
// that had no turn yet have none after it either. After the task it takes the
// place of the output.
func (m *Machine) exitExtension(f *frame, value any) move {
	if f.phase == inBefore {
		f.extended &= 1<<(f.extension+1) - 1
		return move{kind: finish, value: value}
	}
	f.output = value
	f.extension++
	return m.nextExtension(f)
}

// extending is the frame whose extension happens now, or nil.
func (m *Machine) extending() *frame {
	for f := range m.around() {
		if f.phase.extension() {
			return f
		}
	}
	return nil
}

// extension reports whether tasks of an extension run.
func (p phase) extension() bool { return p == inBefore || p == inAfter }
