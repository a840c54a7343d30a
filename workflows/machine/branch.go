package machine

import (
	"iter"
	"slices"
)

// branch is one stack of tasks: that of the run itself, or of a branch of a
// fork. The branches of a run take no turns of their own: each goes on when an
// entry is about it, and what is at hand at once goes in the order of Machine.ready.
type branch struct {
	parent  *branch // the fork is on top of its stack; nil for the run itself
	place   int     // among the branches of the fork
	stack   []frame // each task inside the one before; the lowest of the run itself has no task
	context any     // $context: a copy, so that a branch writes to its own
	next    *move   // what comes when its turn comes; an enter
}

func (b *branch) top() *frame {
	if len(b.stack) == 0 {
		return nil
	}
	return &b.stack[len(b.stack)-1]
}

// inner are the branches of f that are not over.
func (f *frame) inner() iter.Seq[*branch] {
	return func(yield func(*branch) bool) {
		for _, b := range f.branches {
			if b != nil && !yield(b) {
				return
			}
		}
	}
}

// frames are all of a branch and those inside it, innermost first; branches of
// one fork in the order of their declaration.
func (b *branch) frames(yield func(*branch, int) bool) bool {
	for i := len(b.stack) - 1; i >= 0; i-- {
		for inner := range b.stack[i].inner() {
			if !inner.frames(yield) {
				return false
			}
		}
		if !yield(b, i) {
			return false
		}
	}
	return true
}

// frames are all that are in progress, in the order of branch.frames.
func (m *Machine) frames() iter.Seq2[*branch, int] {
	return func(yield func(*branch, int) bool) { m.root.frames(yield) }
}

// around are the frames around what happens now, innermost first, and last
// that of the run itself.
func (m *Machine) around() iter.Seq[*frame] { return outwards(m.on, len(m.on.stack)-1) }

// outwards are the frames from frame i of a branch to that of the run itself.
func outwards(b *branch, i int) iter.Seq[*frame] {
	return func(yield func(*frame) bool) {
		for {
			for ; i >= 0; i-- {
				if !yield(&b.stack[i]) {
					return
				}
			}
			if b = b.parent; b == nil {
				return
			}
			i = len(b.stack) - 1
		}
	}
}

// leaves are the branches in which something waits: those on top of which is
// no fork with branches. They come in the order of branch.frames.
func (m *Machine) leaves() iter.Seq[*branch] {
	return func(yield func(*branch) bool) {
		for b, i := range m.frames() {
			if i == len(b.stack)-1 && b.stack[i].branches == nil && !yield(b) {
				return
			}
		}
	}
}

// later puts off the next move of a branch until those before it have had theirs.
func (m *Machine) later(b *branch, v move) {
	b.next = &v
	m.ready = append(m.ready, b)
}

// turn begins the move of the branch whose turn it is.
func (m *Machine) turn() move {
	if len(m.ready) == 0 {
		return move{}
	}
	m.on = m.ready[0]
	m.ready = slices.Delete(m.ready, 0, 1)
	v := *m.on.next
	m.on.next = nil
	return v
}

// unready takes back a move that was put off.
func (m *Machine) unready(b *branch) {
	if b.next != nil {
		b.next = nil
		m.ready = slices.DeleteFunc(m.ready, func(r *branch) bool { return r == b })
	}
}

// fork begins the branches of f, each with the task's input and a context of
// its own.
func (m *Machine) fork(f *frame) move {
	f.branches = make([]*branch, len(f.task.Do))
	f.results = make([]any, len(f.task.Do))
	for i, t := range f.task.Do {
		f.branches[i] = &branch{parent: m.on, place: i, context: m.on.context}
		m.later(f.branches[i], move{kind: enter, task: t, value: f.input})
	}
	return move{}
}

// join ends the branch that happens now and gives the fork its output. The
// fork goes on when it was the last one, or has won. A branch that was skipped
// wins only where all were.
func (m *Machine) join(value any, skipped bool) move {
	place := m.on.place
	m.on = m.on.parent
	f := m.on.top()
	f.branches[place], f.results[place] = nil, value
	if f.task.Fork.Compete && !skipped {
		m.cutBranches(f)
		return move{kind: finish, value: value}
	}
	for range f.inner() {
		return move{}
	}
	value = any(f.results)
	if f.task.Fork.Compete {
		value = f.input
	}
	f.branches, f.results = nil, nil
	return move{kind: finish, value: value}
}

// cutBranches cancels the branches of f that are not over.
func (m *Machine) cutBranches(f *frame) {
	for b := range f.inner() {
		m.cut(b, 0)
	}
	f.branches, f.results = nil, nil
}

// cut drops every frame of a branch from i on: what they wait for is cancelled.
func (m *Machine) cut(b *branch, i int) {
	m.unready(b)
	for n := len(b.stack) - 1; n >= i; n-- {
		f := &b.stack[n]
		m.cutBranches(f)
		if m.trace != nil {
			m.trace.cancelled(m, f)
		}
		m.drop(f)
		*f = frame{}
	}
	b.stack = b.stack[:i]
}

// drop gives up the call of a frame, if it has one without an answer.
func (m *Machine) drop(f *frame) {
	if c := f.command; c != nil && c.Kind == RunWorkflow && !m.answered(c.Step) {
		m.cuts = append(m.cuts, *c)
	}
	f.command = nil
}
