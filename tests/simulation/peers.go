package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/machine"
)

// peers is the outside. It remembers every call that reached it, whoever died since.
type peers struct {
	w *world

	mu    sync.Mutex
	down  map[string]outage // guarded by mu
	calls []sent            // guarded by mu
	keys  map[string]sent   // guarded by mu: the latest call with that key
}

// outage is when a peer may be tried again; a zero time is not before it has
// an instance.
type outage struct {
	until time.Time
	why   string
}

// sent is one call that reached a peer.
type sent struct {
	at, key, request string
	age              int // of disk.age
}

func newPeers(w *world) *peers {
	return &peers{w: w, down: map[string]outage{}, keys: map[string]sent{}}
}

// fall takes a peer away, for d, or for 0 until it comes back.
func (s *peers) fall(name string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := outage{why: fmt.Sprintf("%d failures: connection refused", 1+s.w.chance(9, name, d))}
	if d > 0 {
		o.until = odd(time.Now().Add(d))
	}
	s.down[name] = o
}

// rise brings a peer back.
func (s *peers) rise(name string) {
	s.mu.Lock()
	delete(s.down, name)
	s.mu.Unlock()
	s.w.life.Wake(ns, name)
}

// heal brings all peers back. Nobody is told: runs that are parked find out.
func (s *peers) heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.down)
}

func (s *peers) open(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.down[name]
	if !ok || !o.until.IsZero() && time.Now().After(o.until) {
		return nil
	}
	return &weft.OpenError{Namespace: ns, Peer: name, Until: o.until, Reason: o.why}
}

// take is a call that reaches a peer.
func (s *peers) take(p *process, r weft.Request) {
	c := sent{at: s.w.clock(), key: r.IdempotencyKey, age: s.w.disk.is(), request: fmt.Sprintf("%s%s %s%s %s", r.Peer, r.Procedure, r.Method, r.URL, r.Body)}
	s.mu.Lock()
	was, again := s.keys[c.key]
	s.calls = append(s.calls, c)
	s.keys[c.key] = c
	s.mu.Unlock()
	switch {
	case c.key == "":
		s.w.violate("a call without an idempotency key: %s", c.request)
	case again && was.request != c.request:
		s.w.violate("two calls with the key %s: %s and %s", c.key, was.request, c.request)
	case again && was.age == c.age:
		s.w.violate("the call %s reached its peer twice, and nothing was lost: at %s and at %s", c.key, was.at, c.at)
	}
	if strings.HasPrefix(string(r.Body), `{"as":`) {
		at := strings.LastIndex(c.key, "/")
		if want := fmt.Sprintf(`{"as":%q,"n":%s}`, strings.TrimPrefix(c.key[:at], called), c.key[at+1:]); string(r.Body) != want {
			s.w.violate("the call with the key %s says %s", c.key, r.Body)
		}
	}
	s.w.followed(p, c.key)
}

// followed checks that a call of a run was made only when the file had its
// reason, and neither its answer nor a reason to give it up.
func (w *world) followed(p *process, key string) {
	run, step, _, ordinal, ok := parts(key)
	if !ok {
		return
	}
	entries, err := journal(p.db, run)
	if err != nil {
		w.violate("call %s: %v", key, err)
		return
	}
	if !slices.ContainsFunc(entries, func(e machine.Entry) bool { return e.Kind == machine.Attempted && e.Step == step }) {
		w.violate("the call %s left before its reason was durable", key)
	}
	if slices.ContainsFunc(entries, func(e machine.Entry) bool { return e.Kind == machine.Outcome && e.Step == step && e.Ordinal == ordinal }) {
		w.violate("the call %s was made again although its answer is in the journal", key)
	}
	row, _, err := p.db.Run(context.Background(), run)
	w.must(err)
	if s, err := tell(row, w.code.defs[row.Workflow], entries, w.level); err == nil && !s.open(step) {
		w.violate("the call %s was made although the run does not wait for it", key)
	}
}

// parts takes the key of a run's call apart; ok is false for another's.
func parts(key string) (run string, step, attempt, ordinal uint32, ok bool) {
	run, rest, ok := strings.Cut(key, "/")
	if !ok {
		return "", 0, 0, 0, false
	}
	n, err := fmt.Sscanf(rest, "%d/%d/%d", &step, &attempt, &ordinal)
	return run, step, attempt, ordinal, n == 3 && err == nil
}

func (s *peers) trace() (lines []string) {
	for _, c := range s.calls {
		lines = append(lines, fmt.Sprintf("%s %d call %s %s", c.at, c.age, c.key, c.request))
	}
	return lines
}

// gate is the way of one process to its peers.
type gate struct{ p *process }

func (g gate) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	name, s := r.Peer, g.p.w.peers
	if name == "" {
		name = "http://shop.example:80"
	}
	if err := g.p.reach(ctx, 2*time.Millisecond, r.IdempotencyKey, "before call"); err != nil {
		return weft.Response{}, err
	}
	if err := s.open(name); err != nil {
		return weft.Response{}, err
	}
	s.take(g.p, r)
	slow := 20 * time.Millisecond
	if s.w.chance(10, "slow", r.IdempotencyKey) == 0 {
		slow = 8 * time.Second
	}
	if err := g.p.reach(ctx, slow, r.IdempotencyKey, "after call"); err != nil {
		return weft.Response{}, err
	}
	return s.answer(r)
}

func (s *peers) answer(r weft.Request) (weft.Response, error) {
	n := s.w.chance(100, "answer", r.IdempotencyKey)
	switch {
	case n < 8:
		return weft.Response{}, weft.Errorf(weft.Unavailable, "peers.Gate.Do", "the peer is busy")
	case n < 14:
		return weft.Response{}, weft.Errorf(weft.InvalidArgument, "peers.Gate.Do", "the peer does not understand")
	case n < 20 && r.Peer == "":
		return weft.Response{Status: 500, Headers: map[string]string{"content-type": "text/plain"}, Body: []byte("no")}, nil
	}
	return weft.Response{Status: 200, Headers: map[string]string{"content-type": "application/json"}, Body: []byte(fmt.Sprintf(`{"n":%d}`, n))}, nil
}
