package peers

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/store"
)

// peer is what the gate keeps about one peer of a namespace. Its lock is taken
// before that of the gate, and never together with that of the registry.
type peer struct {
	serviceKey
	number int64 // of all, in the order in which they were made
	used   int64 // guarded by Gate.mu: which use of all the latest one was
	counts counts

	policy atomic.Pointer[Policy] // whole; changed with mu held

	mu     sync.Mutex
	limits limits            // guarded by mu
	guards map[string]*guard // guarded by mu; by instance, "" for a plain HTTP host
	held   bool              // guarded by mu: by hand, its breakers and those to come are in state
	state  breaker.State     // guarded by mu
}

// guard is the breaker of one instance, and what was told of it. The lock of
// its peer guards it.
type guard struct {
	instance string
	b        *breaker.Breaker
	round    int           // told last
	state    breaker.State // told last
	timer    *time.Timer   // of a change that time alone brings
}

// pass is the leave to make one call.
type pass struct {
	peer  *peer
	lease *lease
	gd    *guard
	call  breaker.Call
	begun time.Duration // on the registry's clock
}

const (
	forgetPart = 20          // of the peers that are kept, one in so many is forgotten at once
	probeWait  = time.Second // until a probe that is on its way is likely to have an outcome
)

// peer finds or makes what is kept about a peer.
func (g *Gate) peer(ns, name string) (*peer, error) {
	k := serviceKey{ns, name}
	for room := true; room; room = g.makeRoom() {
		g.mu.Lock()
		p := g.peers[k]
		if p == nil && len(g.peers) < g.opts.Peers {
			g.made++
			p = &peer{serviceKey: k, number: g.made, guards: map[string]*guard{}}
			p.policy.Store(g.effective(k))
			g.peers[k] = p
		}
		if p != nil {
			g.uses++
			p.used = g.uses
			g.mu.Unlock()
			return p, nil
		}
		g.mu.Unlock()
	}
	return nil, weft.Errorf(weft.ResourceExhausted, "peers.Gate.Do", "%d peers have breakers that are open or calls in progress, the limit", g.opts.Peers)
}

// find is what is kept about a peer, nil for nothing.
func (g *Gate) find(k serviceKey) *peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peers[k]
}

// makeRoom forgets the peers that were used longest ago, so that those who can
// make up names of hosts shut nobody out. It is false when there is no room.
func (g *Gate) makeRoom() bool {
	g.forgets.Lock()
	defer g.forgets.Unlock()
	g.mu.Lock()
	full := len(g.peers) >= g.opts.Peers
	used := make(map[*peer]int64, len(g.peers))
	for _, p := range g.peers {
		used[p] = p.used
	}
	g.mu.Unlock()
	if !full {
		return true
	}
	forgotten, most := 0, max(1, g.opts.Peers/forgetPart)
	for _, p := range slices.SortedFunc(maps.Keys(used), func(a, b *peer) int { return cmp.Compare(used[a], used[b]) }) {
		if forgotten == most {
			break
		}
		if g.forget(p, used[p]) {
			forgotten++
		}
	}
	return forgotten > 0
}

// forget forgets a peer that has nothing to remember: its breakers are closed,
// nobody holds them, no call of it is in progress, and none has begun since that use.
func (g *Gate) forget(p *peer, used int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		return false
	}
	for _, b := range p.limits.callers {
		if b.busy > 0 {
			return false
		}
	}
	for _, gd := range p.guards {
		if gd.state != breaker.Closed {
			return false
		}
	}
	g.mu.Lock()
	unused := p.used == used
	if unused {
		delete(g.peers, p.serviceKey)
	}
	g.mu.Unlock()
	if !unused {
		return false
	}
	for instance, gd := range p.guards {
		gd.timer.Stop()
		delete(p.guards, instance)
		g.tell(p, instance)
	}
	return true
}

// all are the peers that something is kept about.
func (g *Gate) all() (list []*peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.peers {
		list = append(list, p)
	}
	return list
}

// guard finds or makes the breaker of an instance. The caller holds p.mu.
func (g *Gate) guard(p *peer, instance string, now time.Time) *guard {
	gd := p.guards[instance]
	if gd == nil {
		gd = &guard{instance: instance, b: breaker.New(p.policy.Load().Policy, rand.Float64, now)}
		gd.timer = time.AfterFunc(time.Hour, func() { g.tick(p, gd) })
		gd.timer.Stop()
		p.guards[instance] = gd
		if p.held {
			gd.b.Force(p.state, now)
			gd.state = p.state
		}
		g.note(p, gd, now)
	}
	return gd
}

// allow is the leave to call an instance, if its breaker gives it. It is given
// back to settle.
func (g *Gate) allow(p *peer, l *lease, now time.Time) (c pass, ok bool) {
	p.mu.Lock()
	gd := g.guard(p, l.ID, now)
	call, ok := gd.b.Allow(now)
	changed := g.note(p, gd, now)
	if ok && gd.state == breaker.HalfOpen {
		g.arm(gd, now)
	}
	p.mu.Unlock()
	if changed {
		g.opts.OnAvailable(p.ns, p.service)
	}
	if !ok {
		return c, false
	}
	l.busy.Add(1)
	return pass{p, l, gd, call, now.Sub(g.begun)}, true
}

// settle tells a breaker how a call went, and whoever waits when it has closed.
func (g *Gate) settle(c *pass, o *Policy, sick error) {
	p, now := c.peer, time.Now()
	c.lease.busy.Add(-1)
	took := now.Sub(g.begun) - c.begun
	p.counts.attempts[outcome(sick, took, o)].Add(1)
	silent := sick == errNothing || sick == errDenied
	if sick == nil {
		c.lease.took(took, now.Sub(g.begun))
	} else if !silent {
		c.lease.took(max(took, o.Attempt), now.Sub(g.begun)) // failing quickly must not look like being quick
	}
	live := []*lease{c.lease}
	if sick != nil && c.gd.instance != "" {
		live = g.takers(p.ns, p.service)
	}
	p.mu.Lock()
	switch {
	case silent:
		c.gd.b.Forget(&c.call, now)
	case sick == nil:
		c.gd.b.Done(&c.call, nil, now, false)
		p.limits.back.answered(p.policy.Load().Bulkhead)
	default:
		c.gd.b.Done(&c.call, sick, now, p.spares(c.gd, live, now))
		p.limits.back.failed(c.begun, now.Sub(g.begun))
	}
	if sick != nil && p.lost(live, now) {
		for _, l := range live {
			gd := p.guards[l.ID]
			gd.b.LetGo(now)
			g.note(p, gd, now)
		}
	}
	available := g.note(p, c.gd, now)
	p.mu.Unlock()
	if available {
		g.opts.OnAvailable(p.ns, p.service)
	}
}

func outcome(sick error, took time.Duration, o *Policy) Outcome {
	switch {
	case sick == errNothing:
		return Abandoned
	case sick == errDenied:
		return Denied
	case sick != nil:
		return Failed
	case o.Slow > 0 && took > o.Slow:
		return Slow
	}
	return Answered
}

// spares reports whether an instance may be ejected: at most half of a service
// is at once, so that what is left is not run down by the load of all. The
// caller holds mu.
func (p *peer) spares(gd *guard, live []*lease, now time.Time) bool {
	ejected := 1
	for _, i := range live {
		if o := p.guards[i.ID]; o != nil && o != gd && o.b.State(now) != breaker.Closed {
			ejected++
		}
	}
	return ejected <= max(1, len(live)/2)
}

// lost reports that no instance is well: then the ones that could not be spared
// are of no use either, and whoever calls should know. The caller holds mu.
func (p *peer) lost(live []*lease, now time.Time) bool {
	for _, i := range live {
		gd := p.guards[i.ID]
		if gd == nil || gd.b.State(now) != breaker.Open && !gd.b.Held() {
			return false
		}
	}
	return true
}

// closedTo says when a peer may be tried again, nil when it may be tried now.
func (g *Gate) closedTo(r weft.Request, target string) error {
	p, err := g.peer(r.Namespace, target)
	if err != nil {
		return err
	}
	open := &weft.OpenError{Namespace: r.Namespace, Peer: target}
	live := []*lease{{}}
	if r.Peer != "" {
		if live = g.takers(r.Namespace, target); len(live) == 0 {
			if open.Reason = "all have deregistered or lost their lease"; len(g.service(r.Namespace, target).leases()) > 0 {
				open.Reason = "all are draining"
			}
			p.mu.Lock()
			p.limits.back.lose()
			p.mu.Unlock()
			return open
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, l := range live {
		if why := l.sick.Load(); why != nil {
			open.Reason = cmp.Or(open.Reason, *why) // it may be tried when a check goes well, which nobody can say
			continue
		}
		gd := p.guards[l.ID]
		if gd == nil || gd.b.State(now) != breaker.Open {
			return nil
		}
		if until := gd.b.Until(); open.Until.IsZero() || until.Before(open.Until) {
			open.Reason, open.Until = gd.b.Reason(), until
		}
	}
	p.limits.back.lose()
	return open
}

// tick notes what time alone has changed.
func (g *Gate) tick(p *peer, gd *guard) {
	p.mu.Lock()
	if g.closed.Load() || p.guards[gd.instance] != gd {
		p.mu.Unlock()
		return
	}
	now := time.Now()
	gd.b.State(now)
	available := g.note(p, gd, now)
	g.arm(gd, now)
	p.mu.Unlock()
	if available {
		g.opts.OnAvailable(p.ns, p.service)
	}
}

// arm sets the timer of a breaker. The caller holds the lock of its peer.
func (g *Gate) arm(gd *guard, now time.Time) {
	if at := gd.b.Next(); !at.IsZero() && !g.closed.Load() {
		gd.timer.Reset(at.Sub(now))
	} else {
		gd.timer.Stop()
	}
}

// came takes an instance in: one whose breaker was open and that has registered
// anew has likely been started anew, and is worth a probe.
func (g *Gate) came(i Instance) {
	p, err := g.peer(i.Namespace, i.Service)
	if err == nil { // or there is no room for a breaker, as whoever calls will hear
		p.mu.Lock()
		now := time.Now()
		if gd := p.guards[i.ID]; gd != nil && gd.b.State(now) == breaker.Open && !gd.b.Forced() {
			gd.b.Resume(gd.b.Reason(), now)
			g.note(p, gd, now)
		}
		p.mu.Unlock()
	}
	g.opts.OnAvailable(i.Namespace, i.Service)
}

// left forgets the breaker of an instance that has gone.
func (g *Gate) left(i Instance) {
	p, err := g.peer(i.Namespace, i.Service)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	gd := p.guards[i.ID]
	if gd == nil {
		return
	}
	gd.timer.Stop()
	delete(p.guards, i.ID)
	if gd.state != breaker.Closed && !gd.b.Forced() {
		g.db.Submit(func(tx *store.Tx) error { return tx.DropBreaker(i.Namespace, i.Service, i.ID) })
	}
	g.tell(p, i.ID)
}

// loadBreakers reads policies, and the breakers that were open or held when the
// process ended: an open one is half-open now, for much may have changed.
func (g *Gate) loadBreakers(ctx context.Context) error {
	err := g.db.BreakerPolicies(ctx, func(ns, service string, data []byte) error {
		var p Policy
		err := json.Unmarshal(data, &p)
		g.policies[serviceKey{ns, service}] = p
		return err
	})
	if err != nil {
		return err
	}
	var rows []store.Breaker
	if err := g.db.Breakers(ctx, func(b store.Breaker) { rows = append(rows, b) }); err != nil {
		return err
	}
	for _, b := range rows {
		if err := g.resume(b); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gate) resume(b store.Breaker) error {
	p, err := g.peer(b.Namespace, b.Service)
	if err != nil {
		return err
	}
	live, _ := g.Lookup(b.Namespace, b.Service)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if b.Forced {
		p.hold(breaker.State(b.State), now)
		if plain(p.service) {
			live = []Instance{{}}
		}
		for _, i := range live {
			g.guard(p, i.ID, now)
		}
		return nil
	}
	if p.held || !plain(p.service) && !contains(live, b.Instance) {
		g.db.Submit(func(tx *store.Tx) error { return tx.DropBreaker(b.Namespace, b.Service, b.Instance) })
		return nil
	}
	gd := g.guard(p, b.Instance, now)
	gd.state = breaker.Open
	gd.b.Resume(b.Reason, now)
	g.note(p, gd, now)
	return nil
}

func contains(live []Instance, id string) bool {
	for _, i := range live {
		if i.ID == id {
			return true
		}
	}
	return false
}
