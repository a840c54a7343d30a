package weft

import "sync"

// Places bound how many do one thing for long on a host, and for each of its
// namespaces. Their methods may be called by many goroutines at once.
type Places struct {
	op, who, hint string
	all, each     int

	mu      sync.Mutex
	taken   int            // guarded by mu
	of      map[string]int // guarded by mu: of those, by namespace
	refused int64          // guarded by mu
}

// NewPlaces has so many places in all, and of those so many for each namespace.
// Who finds none gets an error of op, with who has them, such as "callers wait for
// runs", and the hint.
func NewPlaces(op, who, hint string, all, each int) *Places {
	return &Places{op: op, who: who, hint: hint, all: all, each: each, of: map[string]int{}}
}

// Take takes a place, or fails at once with ResourceExhausted, which says whose
// places are all taken. leave gives it back, once.
func (p *Places) Take(ns string) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.of[ns] >= p.each:
		return nil, p.refuse("namespace "+ns, p.each)
	case p.taken >= p.all:
		return nil, p.refuse("this host", p.all)
	}
	p.taken++
	p.of[ns]++
	return func() { p.leave(ns) }, nil
}

// refuse counts who finds no place. The caller holds mu.
func (p *Places) refuse(where string, most int) error {
	p.refused++
	return Errorf(ResourceExhausted, p.op, "%d %s of %s, and no more may", most, p.who, where).WithHint("%s", p.hint)
}

func (p *Places) leave(ns string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.of[ns]--; p.of[ns] == 0 {
		delete(p.of, ns)
	}
}

// Count is how many places are taken, and how often there was none.
func (p *Places) Count() (taken int, refused int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken, p.refused
}
