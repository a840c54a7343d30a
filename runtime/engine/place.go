package engine

import (
	"sync"

	"github.com/weftrun/weft"
)

// places are those of callers who wait for a run or watch one.
type places struct {
	mu      sync.Mutex
	taken   int            // guarded by mu
	of      map[string]int // guarded by mu: of those, by namespace
	refused int64          // guarded by mu
}

// Place is that of a caller who is going to wait for a run, or to watch one: there
// are Options.Waiters. It is taken before the run is started, so that whoever is
// refused has started nothing. leave gives it back, once.
func (e *Engine) Place(ns string) (leave func(), err error) {
	p := &e.places
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.of[ns] >= e.opts.WaitersOf:
		return nil, p.refuse("namespace "+ns, e.opts.WaitersOf)
	case p.taken >= e.opts.Waiters:
		return nil, p.refuse("this host", e.opts.Waiters)
	}
	p.taken++
	p.of[ns]++
	return func() { p.leave(ns) }, nil
}

// refuse counts who finds no place. The caller holds mu.
func (p *places) refuse(where string, most int) error {
	p.refused++
	return weft.Errorf(weft.ResourceExhausted, "engine.Engine.Place", "%d callers wait for runs of %s, and no more may", most, where).
		WithHint("come again later, or do not wait: with Prefer: respond-async the id of the run is the answer")
}

func (p *places) leave(ns string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[ns]--; p.of[ns] == 0 {
		delete(p.of, ns)
	}
}
