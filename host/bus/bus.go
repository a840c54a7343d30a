// Package bus is events in and out: a durable log in SQLite, groups of
// consumers on it, and CloudEvents over HTTP.
//
// The log is also a publisher and a subscriber of watermill, so any Go program
// can embed it, with no broker beside it:
//
//	db, err := store.Open(ctx, store.Options{Path: "events.db"})
//	b := bus.New(db, bus.Options{})
//	go b.Retain(ctx) // or the log grows for ever
//	router.AddConsumerHandler("mail", "orders", b.Subscriber(bus.SubscriberOptions{Group: "mail"}), sendMail)
//	err = b.Publisher().Publish("orders", message.NewMessage(watermill.NewUUID(), payload))
//
// A message is durable when Publish returns. Groups of weft and subscribers of
// watermill are served by the same code: see Group and SubscriberOptions for
// what each promises. An event of weft is a message whose metadata are its
// attributes, as ce_id, ce_source and so on, on the topic that its namespace
// names. Other messages on such a topic are no events, and groups of weft pass
// over them.
package bus

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Bounds of events and of their delivery.
const (
	DataMax       = 1 << 20 // bytes of an event's data
	BatchMax      = 1_000   // events in one Publish
	ExtensionsMax = 64
	TextMax       = 1 << 10         // bytes of one attribute
	InFlight      = 16              // deliveries at once of one group
	AttemptsMax   = 5               // then the event is a dead letter
	AckWait       = 5 * time.Minute // then a delivery that has not ended counts as failed
)

// Options of a bus. The zero value of each field means its default.
type Options struct {
	Log      *slog.Logger
	RetryMin time.Duration // a failed event comes again within this time, then within twice as much, and so on; default 1 s
	RetryMax time.Duration // but within this; default 30 s

	RetainAge   time.Duration // how long Retain keeps what everybody has had; default 7 days
	RetainBytes int64         // and how much of the log; default 4 GiB
	RetainEvery time.Duration // how often it looks; default a minute

	Chance func() uint64 // jitter; default math/rand

	// Pace, when not nil, may delay what a group does on a goroutine beside
	// others: look at what there is to do (offset 0), note what became of the
	// event at an offset, and end (offset -1). It returns when ctx ends. The
	// simulation has no two of them go on at one moment.
	Pace func(ctx context.Context, group string, offset int64)

	Shown func(*http.Request, error) error // what a caller over HTTP may see of an error; default all
}

// Bus is the log of one host. Its methods may be called by many goroutines at once.
type Bus struct {
	db   *store.DB
	log  *slog.Logger
	opts Options

	mu     sync.Mutex
	wakes  map[chan struct{}]string // guarded by mu: who waits for which topic
	groups map[groupKey]*group      // guarded by mu: those that are served
}

// New makes a bus on the log of db.
func New(db *store.DB, o Options) *Bus {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.RetryMin = cmp.Or(o.RetryMin, time.Second)
	o.RetryMax = cmp.Or(o.RetryMax, 30*time.Second)
	o.RetainAge = cmp.Or(o.RetainAge, RetainAge)
	o.RetainBytes = cmp.Or(o.RetainBytes, RetainBytes)
	o.RetainEvery = cmp.Or(o.RetainEvery, retainEvery)
	if o.Chance == nil {
		o.Chance = rand.Uint64
	}
	if o.Shown == nil {
		o.Shown = func(_ *http.Request, err error) error { return err }
	}
	b := &Bus{db: db, log: o.Log, opts: o, wakes: map[chan struct{}]string{}, groups: map[groupKey]*group{}}
	db.OnAppend(b.wake)
	return b
}

func (b *Bus) pace(ctx context.Context, group string, offset int64) {
	if b.opts.Pace != nil {
		b.opts.Pace(ctx, group, offset)
	}
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
		if err := b.admit(&events[i]); err != nil {
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

// PublishOnce adds an event to the log of a namespace, unless one of its source and
// id has come by the same inbox within the time that inboxes are kept. It is durable
// when it returns; fresh is false where it was there.
func (b *Bus) PublishOnce(ctx context.Context, ns, inbox string, e weft.Event) (fresh bool, err error) {
	if err := b.admit(&e); err != nil {
		return false, err
	}
	err = b.db.Update(ctx, func(tx *store.Tx) (err error) {
		if fresh, err = tx.Receive(inbox, e.Source, e.ID); err == nil && fresh {
			_, err = tx.AppendEvent(ns, e)
		}
		return err
	})
	return fresh && err == nil, err
}

// admit completes an event, and refuses what cannot be published.
func (b *Bus) admit(e *weft.Event) error {
	if e.ID == "" {
		e.ID = ulid.Make().String()
	}
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	if err := Check(*e); err != nil {
		return err
	}
	return b.db.Room()
}

var extensionForm = regexp.MustCompile(`^[a-z0-9]{1,20}$`)

// Check refuses an event that is no CloudEvent, or one of weft itself; the error
// names the attribute.
func Check(e weft.Event) error {
	refuse := func(code weft.Code, format string, args ...any) error {
		return weft.Errorf(code, "bus.Check", format, args...)
	}
	for _, a := range []struct {
		name, value string
		must        bool
	}{{"id", e.ID, true}, {"source", e.Source, true}, {"type", e.Type, true}, {"subject", e.Subject, false},
		{"datacontenttype", e.DataContentType, false}, {"dataschema", e.DataSchema, false}} {
		if a.must && a.value == "" {
			return refuse(weft.InvalidArgument, "attribute %s is missing or empty", a.name)
		}
		if len(a.value) > TextMax {
			return refuse(weft.ResourceExhausted, "attribute %s has %d bytes, the limit is %d", a.name, len(a.value), TextMax)
		}
		if !isText(a.value) {
			return refuse(weft.InvalidArgument, "attribute %s has characters that no text has", a.name)
		}
	}
	if err := weft.CheckEventType(e.Type); err != nil {
		return err
	}
	if _, err := url.Parse(e.Source); err != nil {
		return refuse(weft.InvalidArgument, "attribute source is no URI reference: %q", e.Source)
	}
	if u, err := url.Parse(e.DataSchema); e.DataSchema != "" && (err != nil || !u.IsAbs()) {
		return refuse(weft.InvalidArgument, "attribute dataschema is no absolute URI: %q", e.DataSchema)
	}
	if len(e.Data) > DataMax {
		return refuse(weft.ResourceExhausted, "data has %d bytes, the limit is %d", len(e.Data), DataMax)
	}
	if len(e.Extensions) > ExtensionsMax {
		return refuse(weft.ResourceExhausted, "%d extensions, the limit is %d", len(e.Extensions), ExtensionsMax)
	}
	for name, v := range e.Extensions {
		if !extensionForm.MatchString(name) || name == "data" {
			return refuse(weft.InvalidArgument, "extension %q: a name has 1 to 20 lower-case letters and digits, and is not data", name)
		}
		if !isText(v) {
			return refuse(weft.InvalidArgument, "extension %s has characters that no text has", name)
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

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

// Tail calls fn with events as they become durable, from after an offset on;
// below zero means from now on, zero with the oldest that is kept. It ends when
// fn fails, when ctx ends, or with OutOfRange when events that it has not shown
// have been trimmed.
func (b *Bus) Tail(ctx context.Context, ns string, after int64, fn func(offset int64, e weft.Event) error) error {
	wake, stop := b.listen(ns)
	defer stop()
	begin := after // what was trimmed up to here is none of the reader's business
	var err error
	switch {
	case after < 0:
		after, err = b.db.Head(ctx, ns)
	case after == 0:
		begin, err = b.db.Trimmed(ctx, ns)
	}
	for err == nil {
		var list []store.Message
		if list, err = b.db.Messages(ctx, ns, after, page); err != nil {
			break
		}
		trimmed, err := b.db.Trimmed(ctx, ns) // after the page, or a hole in it would go unseen
		if err != nil {
			return err
		}
		if trimmed > max(after, begin) {
			return weft.Errorf(weft.OutOfRange, "bus.Bus.Tail", "events after offset %d were trimmed, up to offset %d", after, trimmed).
				WithHint("begin with the oldest that is kept (offset 0), or at offset %d", trimmed)
		}
		for _, m := range list {
			if err := fn(m.Offset, m.Event()); err != nil {
				return err
			}
			after = m.Offset
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}
