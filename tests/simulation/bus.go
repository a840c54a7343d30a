package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

// ride has events go by the bus of the host: several at once, those that fail
// again and again after a while.
func (w *world) ride(p *process) {
	b := bus.New(p.db, bus.Options{Chance: p.chance, Pace: p.paceBus})
	for _, g := range []bus.Group{
		{Name: "workflows", Handle: func(ctx context.Context, ev weft.Event, ack func(*store.Tx) error) error {
			err := p.Accept(ctx, ns, ev, ack)
			if err == nil && !p.isDead() {
				w.took(ev.ID)
			}
			return err
		}},
		{Name: "hear", Wants: func(ev weft.Event) bool { return weft.Allows([]string{"told.*"}, ev.Type) },
			Handle: func(ctx context.Context, ev weft.Event, ack func(*store.Tx) error) error {
				return p.Deliver(ctx, ns, weft.Ref{Name: "hear"}, ev, ack)
			}},
	} {
		handle := g.Handle
		g.Namespace = ns
		g.Handle = func(ctx context.Context, ev weft.Event, ack func(*store.Tx) error) error {
			if err := p.pause(ctx, 3*time.Millisecond, g.Name+" "+ev.ID); err != nil {
				return err
			}
			if w.refuses(g.Name, ev.ID) {
				return weft.Errorf(weft.Unavailable, "simulation.world.ride", "not now")
			}
			return handle(ctx, ev, ack)
		}
		p.courier.Go(func() {
			for p.life.Err() == nil {
				_ = b.Consume(p.life, g) // it could not begin, for the disk fails
				_ = p.pause(p.life, time.Second, g.Name)
			}
		})
	}
}

// refuses has a group not take one event in eight when it first comes.
func (w *world) refuses(group, id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark := group + " " + id
	first := !w.offered[mark]
	w.offered[mark] = true
	return first && w.chance(8, "refuse", mark) == 0
}

// begins waits until the groups are in the file: a new one begins with what
// comes from then on.
func (w *world) begins() {
	for w.bus {
		groups := 0
		for _, name := range []string{"workflows", "hear"} {
			if _, there, err := w.life.db.Cursor(context.Background(), ns, name); err == nil && there {
				groups++
			}
		}
		if groups == 2 {
			return
		}
		w.rest(10 * time.Millisecond)
	}
}

// mark is what taken knows a row of the log by. The bus hands an event that is
// there twice out once.
func (w *world) mark(m store.Message) string {
	if w.bus {
		return m.ID
	}
	return fmt.Sprint(m.Offset)
}

// took notes that the workflows have had an event. It may be the second time.
func (w *world) took(mark string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, had := w.taken[mark]; !had {
		w.taken[mark] = time.Now()
	}
}
