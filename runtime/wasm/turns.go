package wasm

import (
	"cmp"
	"container/list"
	"context"
	"slices"
)

// turns are places that are waited for. The next one goes to the namespace that has the
// fewest, to each in turn of those that have as many, and within one to who came first. So
// nobody waits for all of another's calls.
type turns struct {
	pot   // the places
	queue pot
	lines []*line // guarded by mu: the namespaces of which somebody waits, the next one first
}

// line is who waits of a namespace.
type line struct {
	share *share
	calls list.List // of chan struct{}, closed with the place taken
}

// newTurns makes so many places and room for so many who wait.
func newTurns(what string, places, queue int) *turns {
	return &turns{pot: pot{what: what, unit: 1, max: int64(places)}, queue: pot{what: what + " that wait", unit: 1, max: int64(queue)}}
}

// enter takes a place for a namespace, and waits for it until ctx ends or gone is closed.
// The error wraps errFull where too many wait. leave gives the place back.
func (t *turns) enter(ctx context.Context, ns string, gone <-chan struct{}) error {
	t.mu.Lock()
	s := t.locked(ns)
	s.holders++
	n := slices.IndexFunc(t.lines, func(l *line) bool { return l.share == s })
	if n < 0 && s.full(1, true) == nil {
		s.add(1)
		t.mu.Unlock()
		return nil
	}
	waiting := t.queue.of(ns)
	defer waiting.letGo()
	if err := waiting.take(1, true); err != nil {
		s.leave()
		t.mu.Unlock()
		return err
	}
	defer waiting.give(1)
	if n < 0 {
		n = len(t.lines)
		t.lines = append(t.lines, &line{share: s})
	}
	l, place := t.lines[n], make(chan struct{})
	at := l.calls.PushBack(place)
	t.mu.Unlock()
	var err error
	select {
	case <-place:
		return nil
	case <-gone:
		err = errClosed()
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-place: // meanwhile
		return nil
	default:
	}
	if l.calls.Remove(at); l.calls.Len() == 0 {
		t.lines = slices.DeleteFunc(t.lines, func(o *line) bool { return o == l })
	}
	s.leave()
	return err
}

// leave gives a place of the namespace back, to whose turn it is.
func (t *turns) leave(ns string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.locked(ns)
	s.add(-1)
	s.leave()
	for len(t.lines) > 0 {
		l := slices.MinFunc(t.lines, func(a, b *line) int { return cmp.Compare(a.share.used, b.share.used) })
		if l.share.full(1, true) != nil {
			return // nor may those have one who have more
		}
		l.share.add(1)
		t.lines = slices.DeleteFunc(t.lines, func(o *line) bool { return o == l })
		close(l.calls.Remove(l.calls.Front()).(chan struct{}))
		if l.calls.Len() > 0 {
			t.lines = append(t.lines, l)
		}
	}
}
