package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/store"
)

// BreakerState is one breaker, for people.
type BreakerState struct {
	Peer, Instance string
	State          string // closed, open, half-open; in a watch gone, when its instance has left
	Reason         string
	Forced         bool
	Until, Since   time.Time
}

// Breakers lists the breakers of a namespace, by peer.
func (g *Gate) Breakers(ns string) []BreakerState {
	var list []BreakerState
	for _, p := range g.all() {
		if p.ns != ns {
			continue
		}
		p.mu.Lock()
		for id := range p.guards {
			list = append(list, p.show(id))
		}
		p.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b BreakerState) int {
		return strings.Compare(a.Peer+"\x00"+a.Instance, b.Peer+"\x00"+b.Instance)
	})
	return list
}

// show is a breaker as it was told last. The caller holds mu.
func (p *peer) show(instance string) BreakerState {
	gd := p.guards[instance]
	if gd == nil {
		return BreakerState{Peer: p.service, Instance: instance, State: "gone", Since: time.Now()}
	}
	s := BreakerState{Peer: p.service, Instance: instance, State: gd.state.String(), Reason: gd.b.Reason(), Forced: gd.b.Forced(), Since: gd.b.Since()}
	if gd.state == breaker.Open {
		s.Until = gd.b.Until()
	}
	return s
}

// breakerWatch is one who watches the breakers of a namespace.
type breakerWatch struct {
	ns      string
	wake    chan struct{}
	changed map[guardKey]struct{} // guarded by Gate.mu
}

type guardKey struct{ peer, instance string }

// WatchBreakers calls fn with all breakers of a namespace at once, and then with
// those that have changed, until fn fails or ctx ends. Of changes that come
// faster than fn the last is seen.
func (g *Gate) WatchBreakers(ctx context.Context, ns string, fn func([]BreakerState) error) error {
	w := &breakerWatch{ns: ns, wake: make(chan struct{}, 1), changed: map[guardKey]struct{}{}}
	g.mu.Lock()
	g.watchers[w] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.watchers, w)
		g.mu.Unlock()
	}()
	for list := g.Breakers(ns); ; list = g.changedBreakers(w) {
		if err := fn(list); err != nil {
			return err
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *Gate) changedBreakers(w *breakerWatch) (list []BreakerState) {
	g.mu.Lock()
	changed := w.changed
	w.changed = map[guardKey]struct{}{}
	g.mu.Unlock()
	for k := range changed {
		p := g.find(serviceKey{w.ns, k.peer})
		if p == nil {
			p = &peer{serviceKey: serviceKey{w.ns, k.peer}} // forgotten meanwhile: its breakers have gone
		}
		p.mu.Lock()
		list = append(list, p.show(k.instance))
		p.mu.Unlock()
	}
	return list
}

// tell notes for those who watch that a breaker has changed. The caller holds p.mu.
func (g *Gate) tell(p *peer, instance string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for w := range g.watchers {
		if w.ns == p.ns {
			w.changed[guardKey{p.service, instance}] = struct{}{}
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// note tells a transition, if there was one: to the log, to the file with its
// event, and to those who watch. It reports whether calls may go through now
// that could not before. The caller holds p.mu.
func (g *Gate) note(p *peer, gd *guard, now time.Time) (available bool) {
	if gd.b.Round() == gd.round || p.guards[gd.instance] != gd {
		return false
	}
	from, to := gd.state, gd.b.State(now)
	gd.round, gd.state = gd.b.Round(), to
	if from != to {
		p.counts.turned[to].Add(1)
	}
	g.arm(gd, now)
	g.tell(p, gd.instance)
	s := p.show(gd.instance)
	g.opts.Log.Info("breaker changed", "namespace", p.ns, "peer", p.service, "instance", gd.instance, "from", from.String(), "to", to.String(), "reason", s.Reason)
	e := s.event(from, gd.round, now)
	// Nobody waits for the commit: a call must not take longer for it, and what
	// it fails of, a broken disk, stops everything else too.
	g.db.Submit(func(tx *store.Tx) error {
		if err := s.keep(tx, p.serviceKey, to); err != nil || from == to {
			return err
		}
		_, err := tx.AppendEvent(p.ns, e)
		return err
	})
	return to != breaker.Open
}

// keep stores what a restart needs of a breaker that decides by itself: what is
// held by hand is held as a whole peer.
func (s BreakerState) keep(tx *store.Tx, k serviceKey, state breaker.State) error {
	switch {
	case s.Forced || state == breaker.HalfOpen: // its row is still there
		return nil
	case state == breaker.Closed:
		return tx.DropBreaker(k.ns, k.service, s.Instance)
	}
	return tx.SetBreaker(store.Breaker{Namespace: k.ns, Service: k.service, Instance: s.Instance, State: int(state), Reason: s.Reason, Until: s.Until.UnixMilli(), Changed: s.Since.UnixMilli()})
}

// event is a transition as an event of type weft.breaker.opened,
// weft.breaker.half-opened or weft.breaker.closed.
func (s BreakerState) event(from breaker.State, round int, now time.Time) weft.Event {
	subject := strings.TrimSuffix(s.Peer+"/"+s.Instance, "/")
	data := map[string]any{"peer": s.Peer, "from": from.String(), "to": s.State, "reason": s.Reason, "forced": s.Forced}
	if s.Instance != "" {
		data["instance"] = s.Instance
	}
	if !s.Until.IsZero() {
		data["until"] = s.Until.UTC().Format(time.RFC3339Nano)
	}
	body, _ := json.Marshal(data) // strings and bools: it cannot fail
	return weft.Event{ID: fmt.Sprintf("%s-%d-%d", subject, now.UnixNano(), round), Source: "/weft/breakers", Type: "weft.breaker." + strings.TrimSuffix(s.State, "ed") + "ed",
		Subject: subject, Time: now.UTC(), DataContentType: "application/json", Data: body, Extensions: map[string]string{weft.ExtPartitionKey: subject}}
}

// plain reports whether a peer's name is that of a plain HTTP host.
func plain(peer string) bool { return strings.Contains(peer, "://") }

// Force holds all breakers of a peer open or closed, also of instances to come,
// until Reset. It is durable when Force returns.
func (g *Gate) Force(ctx context.Context, ns, name string, state breaker.State) error {
	return g.byHand(ctx, ns, name, func(p *peer, now time.Time) store.Ticket {
		p.hold(state, now)
		return g.db.Submit(func(tx *store.Tx) error {
			return tx.SetBreaker(store.Breaker{Namespace: ns, Service: name, State: int(state), Forced: true, Reason: "by hand", Changed: now.UnixMilli()})
		})
	})
}

// Reset lets all breakers of a peer decide by themselves again, from closed. It
// is durable when Reset returns.
func (g *Gate) Reset(ctx context.Context, ns, name string) error {
	return g.byHand(ctx, ns, name, func(p *peer, now time.Time) store.Ticket {
		p.held = false
		for _, gd := range p.guards {
			gd.b.Reset(now)
		}
		return g.db.Submit(func(tx *store.Tx) error { return tx.DropBreaker(ns, name, "") })
	})
}

// hold forces all breakers. The caller holds mu.
func (p *peer) hold(state breaker.State, now time.Time) {
	p.held, p.state = true, state
	for _, gd := range p.guards {
		gd.b.Force(state, now)
	}
}

func (g *Gate) byHand(ctx context.Context, ns, name string, change func(*peer, time.Time) store.Ticket) error {
	live, known := g.Lookup(ns, name)
	if plain(name) {
		live, known = []Instance{{}}, true
	}
	if !known {
		return weft.Errorf(weft.NotFound, "peers.Gate.Force", "no peer %q was ever registered in namespace %s", name, ns).WithHint("weft peer list shows what there is")
	}
	p, err := g.peer(ns, name)
	if err != nil {
		return err
	}
	p.mu.Lock()
	now := time.Now()
	for _, i := range live {
		g.guard(p, i.ID, now)
	}
	stored := change(p, now)
	available := false
	for _, gd := range p.guards {
		available = g.note(p, gd, now) || available
	}
	p.mu.Unlock()
	if available {
		g.opts.OnAvailable(ns, name)
	}
	return stored.Wait(ctx)
}
