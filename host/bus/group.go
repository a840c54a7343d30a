package bus

import (
	"context"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Group is a set of consumers that share the events of a namespace: each event
// that Wants takes reaches Handle once, and again after an error.
//
// Events with the same partition key are handled one after the other in the
// order of the log: one that failed holds back those behind it until it
// succeeds or is a dead letter. Others are handled at once, InFlight of them. An
// event that was delayed or replayed takes its place when it comes.
type Group struct {
	Namespace, Name string
	Wants           func(weft.Event) bool // nil: all
	// Handle has the event take effect. It passes ack to the commit of that
	// effect, so that both happen or neither.
	Handle func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error
}

// Consume serves a group until ctx ends, and returns when its deliveries have
// ended. A new group begins with what comes from now on. Several may serve the
// same group; they share its events.
func (b *Bus) Consume(ctx context.Context, g Group) error {
	s, err := b.join(ctx, g.Namespace, g.Name, rules{once: true, fromNow: true, attempts: AttemptsMax, retryMin: b.opts.RetryMin, retryMax: b.opts.RetryMax, ackWait: AckWait},
		func(m store.Message) bool {
			e := m.Event()
			return e.ID != "" && e.Source != "" && (g.Wants == nil || g.Wants(e))
		})
	if err != nil {
		return err
	}
	defer b.leave(s)
	s.serve(ctx, InFlight, func(ctx context.Context, d *delivery, ack func(*store.Tx) error) error {
		return g.Handle(ctx, d.m.Event(), ack)
	})
	return ctx.Err()
}

// rules are how a group is served. All who serve it at the same time have the same.
type rules struct {
	once               bool // the inbox keeps an event from a second effect
	fromNow            bool // a new group begins at the head, not with the oldest
	ordered            bool // one message at a time, in the order of the log
	reader             bool // the group is forgotten when nobody serves it any more
	attempts           int  // then the message is a dead letter; 0: never
	retryMin, retryMax time.Duration
	ackWait            time.Duration
}

// group is a group that is served in this process: those who serve it take
// from out what its pump puts in order, and tell settled what became of it.
type group struct {
	b           *Bus
	topic, name string
	rules       rules
	wants       func(store.Message) bool

	out     chan *delivery
	settled chan result
	kick    chan struct{} // there is a redelivery that the pump does not know of
	members int           // guarded by b.mu

	begun chan struct{} // closed when err is set
	err   error
	stop  context.CancelFunc
	ended chan struct{} // closed when the pump has ended
}

type groupKey struct{ topic, name string }

// delivery is one message on its way to one group. While it is out it belongs
// to whoever serves it, but for the fields of the pump.
type delivery struct {
	g        *group
	m        store.Message
	key      string
	attempts int  // that have failed
	kept     bool // there is a redelivery row for it
	loose    bool // its row holds nothing back

	out, late bool // of the pump: somebody serves it; its row was written meanwhile
	due       int64
}

// result is what became of a delivery.
type result struct {
	d    *delivery
	kind outcome
	due  int64 // of one that failed

	unnoted bool // it failed, and so did the disk: the log has no row of it
}

type outcome int

const (
	done   outcome = iota // delivered, or a dead letter
	failed                // comes again at due
	back                  // not delivered, for whoever served it has ended
)

// join enters a group, and begins to serve it when it is the first.
func (b *Bus) join(ctx context.Context, topic, name string, r rules, wants func(store.Message) bool) (*group, error) {
	for {
		b.mu.Lock()
		g := b.groups[groupKey{topic, name}]
		switch {
		case g == nil:
			g = &group{b: b, topic: topic, name: name, rules: r, wants: wants, members: 1, out: make(chan *delivery), settled: make(chan result),
				kick: make(chan struct{}, 1), begun: make(chan struct{}), ended: make(chan struct{})}
			b.groups[groupKey{topic, name}] = g
			b.mu.Unlock()
			g.begin(ctx)
			if g.err != nil {
				b.leave(g)
				return nil, g.err
			}
			return g, nil
		case g.members == 0: // its pump is about to end
			b.mu.Unlock()
			<-g.ended
			continue
		case g.rules != r:
			b.mu.Unlock()
			return nil, weft.Errorf(weft.FailedPrecondition, "bus.Bus.join", "group %s of topic %s is being served by other rules", name, topic)
		default:
			g.members++
			b.mu.Unlock()
			<-g.begun
			if g.err == nil {
				return g, nil
			}
			b.leave(g) // the one who began could not: try it ourselves
		}
	}
}

// begin finds where the group is and starts its pump.
func (g *group) begin(ctx context.Context) {
	defer close(g.begun)
	life, stop := context.WithCancel(context.Background())
	g.stop = stop
	p := newPump(g)
	if g.err = p.begin(ctx); g.err != nil {
		close(g.ended)
		return
	}
	go func() {
		defer close(g.ended)
		p.run(life)
	}()
}

// leave returns, for the last who served the group, when its pump has ended.
func (b *Bus) leave(g *group) {
	b.mu.Lock()
	g.members--
	last := g.members == 0
	b.mu.Unlock()
	if !last {
		return
	}
	b.pace(context.Background(), g.name, -1)
	g.stop()
	<-g.ended
	b.mu.Lock()
	delete(b.groups, groupKey{g.topic, g.name})
	b.mu.Unlock()
}

// serve hands deliveries to handle, so many at once, until ctx ends, and
// returns when all have ended.
func (g *group) serve(ctx context.Context, atOnce int, handle handler) {
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, atOnce)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		select {
		case d := <-g.out:
			all.Go(func() {
				r := g.deliver(ctx, d, handle)
				g.b.pace(ctx, g.name, d.m.Offset)
				g.settled <- r
				<-slots
			})
		case <-ctx.Done():
			return
		}
	}
}

// handler has a message take effect. It may pass ack to the commit of that
// effect; an error has the message come again.
type handler func(ctx context.Context, d *delivery, ack func(*store.Tx) error) error

// deliver has handle take a message, and makes what became of it durable.
func (g *group) deliver(ctx context.Context, d *delivery, handle handler) result {
	acked := false
	ack := func(tx *store.Tx) error {
		acked = true
		return d.ack(tx)
	}
	had, err := g.had(ctx, d)
	if err == nil && !had {
		limited, cancel := context.WithTimeout(ctx, g.rules.ackWait)
		err = handle(limited, d, ack)
		cancel()
	}
	if err == nil && !acked && (g.rules.once && !had || d.kept) {
		err = g.b.db.Update(context.WithoutCancel(ctx), ack) // it has taken effect: this must not be cut off
	}
	switch {
	case err == nil:
		return result{d: d, kind: done}
	case ctx.Err() != nil:
		_ = g.b.db.Flush(context.Background()) // an ack that handle did not wait for: the inbox must know it before the next looks
		return result{d: d, kind: back}
	}
	return g.fail(d, err)
}

// had asks the inbox, last of all: what was read before may have been
// delivered meanwhile.
func (g *group) had(ctx context.Context, d *delivery) (bool, error) {
	if !g.rules.once {
		return false, nil
	}
	e := d.m.Event()
	return g.b.db.InInbox(ctx, inbox(g.topic, g.name), e.Source, e.ID)
}

// inbox is the name of a group's inbox.
func inbox(ns, group string) string { return "group " + ns + "/" + group }

// ack notes in a commit that the message has been delivered.
func (d *delivery) ack(tx *store.Tx) error {
	if d.g.rules.once {
		e := d.m.Event()
		if _, err := tx.Receive(inbox(d.g.topic, d.g.name), e.Source, e.ID); err != nil {
			return err
		}
	}
	return tx.Delivered(d.g.topic, d.g.name, d.m.Offset)
}

// fail puts a message off, or gives it up.
func (g *group) fail(d *delivery, cause error) result {
	now := time.Now()
	r := result{d: d, kind: failed}
	attempts := d.attempts + 1
	var write func(*store.Tx) error
	if g.rules.attempts > 0 && attempts >= g.rules.attempts {
		r.kind = done
		write = func(tx *store.Tx) error {
			return tx.Bury(store.DeadLetter{Topic: g.topic, Group: g.name, Offset: d.m.Offset, Attempts: attempts, Error: cause.Error(), Created: now.UnixMilli()})
		}
	} else {
		r.due = now.Add(pause(attempts, g.rules.retryMin, g.rules.retryMax, g.b.opts.Chance())).UnixMilli()
		row := d.row()
		row.Due, row.Attempts, row.Error = r.due, attempts, cause.Error()
		write = func(tx *store.Tx) error { return tx.Redeliver(row) }
	}
	if err := g.b.db.Update(context.Background(), write); err != nil {
		r.kind, r.due, r.unnoted = failed, now.Add(g.rules.retryMax).UnixMilli(), true // the disk: nothing is accepted until it has room, or a restart
		g.b.log.Error("redelivery not noted", "topic", g.topic, "group", g.name, "event", d.m.ID, "error", err)
	}
	g.b.log.Warn("event not delivered", "topic", g.topic, "group", g.name, "event", d.m.ID, "offset", d.m.Offset, "attempt", attempts,
		"dead", r.kind == done, "error", cause)
	return r
}

// pause is how long to wait after so many failures: somewhere up to a bound
// that doubles, so that what failed together does not come again together.
func pause(attempts int, least, most time.Duration, chance uint64) time.Duration {
	bound := most
	if n := attempts - 1; n < 32 && least<<n > 0 {
		bound = min(least<<n, most)
	}
	return time.Duration(chance % uint64(bound+1))
}

// row is the delivery as a redelivery row.
func (d *delivery) row() store.Redelivery {
	r := store.Redelivery{Topic: d.g.topic, Group: d.g.name, Offset: d.m.Offset, Key: d.key, Due: d.due, Attempts: d.attempts}
	if d.loose {
		r.Key = ""
	}
	return r
}
