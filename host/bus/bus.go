// Package bus is events in and out: a durable log in SQLite, groups of
// consumers on it, and CloudEvents over HTTP.
package bus

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Bounds of events and of their delivery.
const (
	DataMax       = 1 << 20 // bytes of an event's data
	BatchMax      = 1_000   // events in one Publish
	ExtensionsMax = 64
	TextMax       = 1 << 10 // bytes of one attribute
	InFlight      = 16      // deliveries at once of one group
	AttemptsMax   = 5       // then the event is a dead letter
	retryMin      = 100 * time.Millisecond
	retryMax      = 30 * time.Second
	page          = 256
	idle          = time.Second // how often a group looks although nobody woke it
)

// Bus is the log of one host. Its methods may be called by many goroutines at once.
type Bus struct {
	db  *store.DB
	log *slog.Logger

	mu    sync.Mutex
	wakes map[chan struct{}]string // guarded by mu: who waits for which topic
}

// New makes a bus on the log of db.
func New(db *store.DB, log *slog.Logger) *Bus {
	b := &Bus{db: db, log: log, wakes: map[chan struct{}]string{}}
	db.OnAppend(b.wake)
	return b
}

func (b *Bus) wake(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch, t := range b.wakes {
		if t == topic {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

func (b *Bus) listen(topic string) (chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wakes[ch] = topic
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.wakes, ch)
	}
}

// Publish adds events to the log of a namespace; they are durable, all or
// none, when it returns their offsets. An empty id is filled in.
func (b *Bus) Publish(ctx context.Context, ns string, events ...weft.Event) ([]int64, error) {
	if len(events) > BatchMax {
		return nil, weft.Errorf(weft.ResourceExhausted, "bus.Bus.Publish", "%d events at once, the limit is %d", len(events), BatchMax)
	}
	for i := range events {
		if events[i].ID == "" {
			events[i].ID = ulid.Make().String()
		}
		if events[i].Time.IsZero() {
			events[i].Time = time.Now().UTC()
		}
		if err := Check(events[i]); err != nil {
			return nil, err
		}
	}
	offsets := make([]int64, len(events))
	err := b.db.Update(ctx, func(tx *store.Tx) (err error) {
		for i, e := range events {
			if offsets[i], err = tx.AppendEvent(ns, e); err != nil {
				return err
			}
		}
		return nil
	})
	return offsets, err
}

var extensionForm = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// Check refuses an event that is no CloudEvent; the error names the attribute.
func Check(e weft.Event) error {
	refuse := func(code weft.Code, format string, args ...any) error {
		return weft.Errorf(code, "bus.Check", format, args...)
	}
	for _, a := range []struct {
		name, value string
		must        bool
	}{{"id", e.ID, true}, {"source", e.Source, true}, {"type", e.Type, true}, {"subject", e.Subject, false}, {"datacontenttype", e.DataContentType, false}} {
		if a.must && a.value == "" {
			return refuse(weft.InvalidArgument, "attribute %s is missing or empty", a.name)
		}
		if len(a.value) > TextMax {
			return refuse(weft.ResourceExhausted, "attribute %s has %d bytes, the limit is %d", a.name, len(a.value), TextMax)
		}
	}
	if len(e.Data) > DataMax {
		return refuse(weft.ResourceExhausted, "data has %d bytes, the limit is %d", len(e.Data), DataMax)
	}
	if len(e.Extensions) > ExtensionsMax {
		return refuse(weft.ResourceExhausted, "%d extensions, the limit is %d", len(e.Extensions), ExtensionsMax)
	}
	for name, v := range e.Extensions {
		if !extensionForm.MatchString(name) {
			return refuse(weft.InvalidArgument, "extension %q: a name has 1 to 20 lower-case letters and digits", name)
		}
		if len(v) > TextMax {
			return refuse(weft.ResourceExhausted, "extension %s has %d bytes, the limit is %d", name, len(v), TextMax)
		}
	}
	if at, ok := e.Extensions[weft.ExtNotBefore]; ok {
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
			return refuse(weft.InvalidArgument, "extension %s: %q is no RFC 3339 time", weft.ExtNotBefore, at)
		}
	}
	return nil
}

// Tail calls fn with events as they become durable, from after an offset on;
// below zero means from now on. It ends when fn fails or ctx ends.
func (b *Bus) Tail(ctx context.Context, ns string, after int64, fn func(offset int64, e weft.Event) error) error {
	wake, stop := b.listen(ns)
	defer stop()
	if after < 0 {
		head, err := b.db.Head(ctx, ns)
		if err != nil {
			return err
		}
		after = head
	}
	for {
		list, err := b.db.Messages(ctx, ns, after, page)
		if err != nil {
			return err
		}
		for _, m := range list {
			if err := fn(m.Offset, m.Event()); err != nil {
				return err
			}
			after = m.Offset
		}
		if len(list) == page {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Group is a set of consumers that share the events of a namespace: each event
// that Wants takes reaches Handle once, and again after an error.
type Group struct {
	Namespace, Name string
	Wants           func(weft.Event) bool // nil: all
	// Handle has the event take effect. It passes ack to the commit of that
	// effect, so that both happen or neither.
	Handle func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error
}

// Consume serves a group until ctx ends, and returns when its deliveries have
// ended. A new group begins with what comes from now on.
func (b *Bus) Consume(ctx context.Context, g Group) error {
	c := &consumer{b: b, g: g, slots: make(chan struct{}, InFlight), flying: map[int64]bool{}}
	defer c.all.Wait()
	wake, stop := b.listen(g.Namespace)
	defer stop()
	if err := c.begin(ctx); err != nil {
		return err
	}
	for {
		more, err := c.round(ctx)
		if err != nil && ctx.Err() == nil {
			b.log.Error("group stopped for a moment", "namespace", g.Namespace, "group", g.Name, "error", err)
			more = false
		}
		if more {
			continue
		}
		timer := time.NewTimer(c.nap(ctx))
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

type consumer struct {
	b     *Bus
	g     Group
	read  int64 // all up to here has been handed out
	saved int64
	slots chan struct{}
	all   sync.WaitGroup

	mu     sync.Mutex
	flying map[int64]bool // guarded by mu: handed out and not done
}

// begin finds where the group is.
func (c *consumer) begin(ctx context.Context) error {
	at, ok, err := c.b.db.Cursor(ctx, c.g.Namespace, c.g.Name)
	if err != nil {
		return err
	}
	if !ok {
		if at, err = c.b.db.Head(ctx, c.g.Namespace); err != nil {
			return err
		}
		if err := c.b.db.Update(ctx, func(tx *store.Tx) error { return tx.SetCursor(c.g.Namespace, c.g.Name, at) }); err != nil {
			return err
		}
	}
	c.read, c.saved = at, at
	return nil
}

// round hands out what is due and what is new; more says that there is more at once.
func (c *consumer) round(ctx context.Context) (more bool, err error) {
	due, err := c.b.db.Redeliveries(ctx, c.g.Namespace, c.g.Name, time.Now().UnixMilli(), page)
	if err != nil {
		return false, err
	}
	for _, r := range due {
		m, ok, err := c.b.db.Message(ctx, r.Offset)
		if err != nil {
			return false, err
		}
		if !ok || c.isFlying(m.Offset) {
			continue
		}
		handed, err := c.offer(ctx, m, r.Attempts)
		if err == nil && !handed {
			err = c.b.db.Update(ctx, func(tx *store.Tx) error { return tx.Delivered(m.Topic, c.g.Name, m.Offset) })
		}
		if err != nil {
			return false, err
		}
	}
	list, err := c.b.db.Messages(ctx, c.g.Namespace, c.read, page)
	if err != nil {
		return false, err
	}
	for _, m := range list {
		if err := c.take(ctx, m); err != nil {
			return false, err
		}
		c.read = m.Offset
	}
	return len(list) == page, c.save(ctx)
}

// take hands a new message out, or puts it off until it is due.
func (c *consumer) take(ctx context.Context, m store.Message) error {
	e := m.Event()
	if c.g.Wants != nil && !c.g.Wants(e) {
		return nil
	}
	if m.Due > time.Now().UnixMilli() {
		return c.b.db.Update(ctx, func(tx *store.Tx) error {
			return tx.Redeliver(store.Redelivery{Topic: m.Topic, Group: c.g.Name, Offset: m.Offset, Due: m.Due})
		})
	}
	_, err := c.offer(ctx, m, 0)
	return err
}

// offer hands a message out, unless the group has had its event. What was read
// before may have been delivered meanwhile, so the inbox is asked here, last.
func (c *consumer) offer(ctx context.Context, m store.Message, attempts int) (handed bool, err error) {
	e := m.Event()
	had, err := c.b.db.InInbox(ctx, c.inbox(), e.Source, e.ID)
	if err != nil || had {
		return false, err
	}
	c.hand(ctx, m, attempts)
	return true, nil
}

func (c *consumer) inbox() string { return "group " + c.g.Namespace + "/" + c.g.Name }

func (c *consumer) isFlying(offset int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flying[offset]
}

func (c *consumer) hand(ctx context.Context, m store.Message, attempts int) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	c.mu.Lock()
	c.flying[m.Offset] = true
	c.mu.Unlock()
	c.all.Go(func() {
		c.deliver(ctx, m, attempts)
		c.mu.Lock()
		delete(c.flying, m.Offset)
		c.mu.Unlock()
		<-c.slots
	})
}

func (c *consumer) deliver(ctx context.Context, m store.Message, attempts int) {
	e, used := m.Event(), false
	ack := func(tx *store.Tx) error {
		used = true
		if _, err := tx.Receive(c.inbox(), e.Source, e.ID); err != nil {
			return err
		}
		return tx.Delivered(m.Topic, c.g.Name, m.Offset)
	}
	err := c.g.Handle(ctx, e, ack)
	if err == nil && !used {
		err = c.b.db.Update(ctx, ack)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	c.fail(ctx, m, attempts+1, err)
}

// fail puts a message off, or gives it up.
func (c *consumer) fail(ctx context.Context, m store.Message, attempts int, cause error) {
	now := time.Now()
	err := c.b.db.Update(ctx, func(tx *store.Tx) error {
		if attempts >= AttemptsMax {
			return tx.Bury(store.DeadLetter{Topic: m.Topic, Group: c.g.Name, Offset: m.Offset, Attempts: attempts, Error: cause.Error(), Created: now.UnixMilli()})
		}
		wait := min(retryMin<<(2*attempts), retryMax)
		wait = wait/2 + rand.N(wait)
		return tx.Redeliver(store.Redelivery{Topic: m.Topic, Group: c.g.Name, Offset: m.Offset, Due: now.Add(wait).UnixMilli(), Attempts: attempts, Error: cause.Error()})
	})
	c.b.log.Warn("event not delivered", "group", c.g.Name, "event", m.ID, "attempt", attempts, "error", errors.Join(cause, err))
}

// save moves the cursor up to the oldest message in flight. What is between
// the cursor and the crash is known by the inbox.
func (c *consumer) save(ctx context.Context) error {
	low := c.read
	c.mu.Lock()
	for offset := range c.flying {
		low = min(low, offset-1)
	}
	c.mu.Unlock()
	if low <= c.saved {
		return nil
	}
	c.saved = low
	return c.b.db.Update(ctx, func(tx *store.Tx) error { return tx.SetCursor(c.g.Namespace, c.g.Name, low) })
}

// nap is how long to wait when nobody wakes the group.
func (c *consumer) nap(ctx context.Context) time.Duration {
	due, err := c.b.db.NextRedelivery(ctx, c.g.Namespace, c.g.Name)
	if err != nil {
		return idle
	}
	return max(min(idle, time.Until(time.UnixMilli(min(due, time.Now().Add(idle).UnixMilli())))), 10*time.Millisecond)
}
