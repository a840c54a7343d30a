package bus

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// MetadataMax is how many bytes the metadata of one message may have.
const MetadataMax = 64 << 10

// Publisher is a message.Publisher on the log.
type Publisher struct {
	b *Bus

	mu     sync.RWMutex
	closed bool // guarded by mu
}

// Publisher makes a publisher. Those of one bus are all alike.
func (b *Bus) Publisher() *Publisher { return &Publisher{b: b} }

// Publish adds messages to the log of a topic; they are durable, all or none,
// when it returns. The context of the first bounds the wait. Metadata
// ce_notbefore, an RFC 3339 time, has a message delivered no earlier.
func (p *Publisher) Publish(topic string, messages ...*message.Message) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return weft.Errorf(weft.FailedPrecondition, "bus.Publisher.Publish", "the publisher is closed")
	}
	if len(messages) == 0 {
		return nil
	}
	if len(messages) > BatchMax {
		return weft.Errorf(weft.ResourceExhausted, "bus.Publisher.Publish", "%d messages at once, the limit is %d", len(messages), BatchMax)
	}
	rows := make([]store.Message, len(messages))
	for i, m := range messages {
		var err error
		if rows[i], err = rowOf(topic, m); err != nil {
			return err
		}
	}
	return p.b.db.Update(messages[0].Context(), func(tx *store.Tx) error {
		for _, m := range rows {
			if _, err := tx.AppendMessage(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// rowOf is a message as a row of the log.
func rowOf(topic string, m *message.Message) (store.Message, error) {
	refuse := func(what string, size, most int) error {
		return weft.Errorf(weft.ResourceExhausted, "bus.Publisher.Publish", "%s of message %s has %d bytes, the limit is %d", what, m.UUID, size, most)
	}
	size := len(m.UUID)
	for name, v := range m.Metadata {
		size += len(name) + len(v)
	}
	switch {
	case topic == "" || len(topic) > TextMax:
		return store.Message{}, weft.Errorf(weft.InvalidArgument, "bus.Publisher.Publish", "a topic has 1 to %d bytes, this one %d", TextMax, len(topic))
	case len(m.Payload) > DataMax:
		return store.Message{}, refuse("the payload", len(m.Payload), DataMax)
	case size > MetadataMax:
		return store.Message{}, refuse("the metadata", size, MetadataMax)
	}
	row := store.Message{Topic: topic, ID: m.UUID, Meta: m.Metadata, Data: m.Payload}
	if at := m.Metadata[store.MetaPrefix+weft.ExtNotBefore]; at != "" {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return row, weft.Errorf(weft.InvalidArgument, "bus.Publisher.Publish", "metadata %s%s of message %s: %q is no RFC 3339 time", store.MetaPrefix, weft.ExtNotBefore, m.UUID, at)
		}
		row.Due = t.UnixMilli()
	}
	return row, nil
}

// Close refuses further messages; there is nothing to flush. It is safe twice.
func (p *Publisher) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// SubscriberOptions say how a Subscriber is served. The zero value is useful.
type SubscriberOptions struct {
	// Group shares the messages of a topic among all who subscribe with the
	// same name, and the file remembers how far it is. Without a name every
	// Subscribe has all messages of the log, and nothing is remembered.
	Group string
	// FromNow has a new group begin with what comes from now on, and not with
	// the oldest message that is kept.
	FromNow bool
	// Ordered has a group take one message of the topic at a time, in the order
	// of the log: one that is nacked holds up those behind it. Otherwise only
	// messages with the same metadata ce_partitionkey wait for each other.
	Ordered bool
	// InFlight is how many messages one Subscribe gives out before the first is
	// acked; default 1.
	InFlight int
	// Attempts is how often a message is given out before it becomes a dead
	// letter; default 0, for ever.
	Attempts int
	// RetryMin and RetryMax: a nacked message comes again within RetryMin, then
	// within twice as much, and so on up to RetryMax; default 100 ms and 30 s.
	RetryMin, RetryMax time.Duration
	// AckWait is after how long a message that is neither acked nor nacked
	// counts as nacked; default 5 minutes.
	AckWait time.Duration
	// CloseWait is how long Close, and the end of a subscription's context,
	// wait for messages in hand; default 10 s. Those it does not wait for come
	// again.
	CloseWait time.Duration
}

// InFlightMax bounds SubscriberOptions.InFlight.
const InFlightMax = 256

// Subscriber is a message.Subscriber on the log. It gives a message at least
// once; after an ack again only when the process is killed at once.
type Subscriber struct {
	b *Bus
	o SubscriberOptions

	closing chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	closed  bool // guarded by mu
}

// Subscriber makes a subscriber.
func (b *Bus) Subscriber(o SubscriberOptions) *Subscriber {
	o.InFlight = min(cmp.Or(o.InFlight, 1), InFlightMax)
	o.RetryMin = cmp.Or(o.RetryMin, 100*time.Millisecond)
	o.RetryMax = cmp.Or(o.RetryMax, 30*time.Second)
	o.AckWait = cmp.Or(o.AckWait, AckWait)
	o.CloseWait = cmp.Or(o.CloseWait, 10*time.Second)
	return &Subscriber{b: b, o: o, closing: make(chan struct{})}
}

// SubscribeInitialize makes the group, so that it misses nothing from here on.
func (s *Subscriber) SubscribeInitialize(topic string) error {
	if s.o.Group == "" {
		return nil
	}
	ctx := context.Background()
	g, err := s.join(ctx, topic)
	if err == nil {
		s.b.leave(g)
	}
	return err
}

func (s *Subscriber) join(ctx context.Context, topic string) (*group, error) {
	name, reader := s.o.Group, false
	if name == "" {
		name, reader = readerPrefix+ulid.Make().String(), true
	}
	return s.b.join(ctx, topic, name, rules{fromNow: s.o.FromNow, ordered: s.o.Ordered, reader: reader, attempts: s.o.Attempts,
		retryMin: s.o.RetryMin, retryMax: s.o.RetryMax, ackWait: s.o.AckWait}, nil)
}

// readerPrefix begins the names of groups that nobody named.
const readerPrefix = "reader "

// Subscribe gives out the messages of a topic until ctx ends or the subscriber
// is closed; then it closes the channel.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, weft.Errorf(weft.FailedPrecondition, "bus.Subscriber.Subscribe", "the subscriber is closed")
	}
	g, err := s.join(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	serving, stop := context.WithCancel(ctx)
	s.all.Go(func() {
		defer stop()
		select {
		case <-s.closing:
		case <-serving.Done():
		}
	})
	s.all.Go(func() {
		defer close(out)
		defer s.b.leave(g)
		defer stop()
		g.serve(serving, s.o.InFlight, s.give(ctx, out))
	})
	return out, nil
}

// give hands a message out and waits for what becomes of it.
func (s *Subscriber) give(life context.Context, out chan<- *message.Message) handler {
	return func(ctx context.Context, d *delivery, _ func(*store.Tx) error) error {
		m := message.NewMessage(d.m.ID, bytes.Clone(d.m.Data)) // the window keeps its own for the next time
		for name, v := range d.m.Meta {
			m.Metadata[name] = v
		}
		// Close lets a message in hand go on for a while: its context is of the
		// subscription, not of ctx.
		own, cancel := context.WithTimeout(life, s.o.AckWait)
		defer cancel()
		m.SetContext(own)
		select {
		case out <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-m.Acked():
			return nil
		case <-m.Nacked():
			return errNacked
		case <-ctx.Done():
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return weft.Errorf(weft.DeadlineExceeded, "bus.Subscriber", "the message was neither acked nor nacked in %s", s.o.AckWait)
		}
		grace := time.NewTimer(s.o.CloseWait)
		defer grace.Stop()
		select {
		case <-m.Acked():
			return nil
		case <-m.Nacked():
			return errNacked
		case <-grace.C:
			return ctx.Err()
		}
	}
}

var errNacked = weft.Errorf(weft.Aborted, "bus.Subscriber", "the message was nacked")

// Close gives nothing more out, waits for the messages in hand, for CloseWait
// at most, and closes the channels. It is safe twice.
func (s *Subscriber) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.all.Wait()
	return nil
}

var (
	_ message.Publisher            = (*Publisher)(nil)
	_ message.Subscriber           = (*Subscriber)(nil)
	_ message.SubscribeInitializer = (*Subscriber)(nil)
)
