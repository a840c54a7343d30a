package bus_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

// The universal suite of watermill, for what each way to subscribe claims.
func TestWatermillSuite(t *testing.T) {
	for name, c := range map[string]struct {
		features tests.Features
		options  bus.SubscriberOptions
	}{
		"a group":                 {tests.Features{ConsumerGroups: true, Persistent: true}, bus.SubscriberOptions{Group: "test"}},
		"a group, many in flight": {tests.Features{ConsumerGroups: true, Persistent: true}, bus.SubscriberOptions{Group: "test", InFlight: 8}},
		"an ordered group":        {tests.Features{ConsumerGroups: true, Persistent: true, GuaranteedOrder: true}, bus.SubscriberOptions{Group: "test", Ordered: true}},
		// Short, for each of the suite's 50 subscribers has all 5,000 messages.
		"no group": {tests.Features{Persistent: true, NewSubscriberReceivesOldMessages: true, ForceShort: true}, bus.SubscriberOptions{}},
		"no group, ordered": {tests.Features{Persistent: true, NewSubscriberReceivesOldMessages: true, GuaranteedOrder: true, ForceShort: true},
			bus.SubscriberOptions{Ordered: true}},
	} {
		t.Run(name, func(t *testing.T) {
			b, _ := open(t)
			c.options.RetryMin, c.options.RetryMax, c.options.CloseWait = time.Millisecond, 10*time.Millisecond, 100*time.Millisecond
			inGroup := func(_ *testing.T, group string) (message.Publisher, message.Subscriber) {
				o := c.options
				o.Group = group
				return b.Publisher(), b.Subscriber(o)
			}
			tests.TestPubSub(t, c.features, func(t *testing.T) (message.Publisher, message.Subscriber) { return inGroup(t, c.options.Group) }, inGroup)
		})
	}
}

func publish(t *testing.T, b *bus.Bus, topic string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Publisher().Publish(topic, message.NewMessage(id, []byte(id))); err != nil {
			t.Fatal(err)
		}
	}
}

func subscribe(t *testing.T, s *bus.Subscriber, topic string) <-chan *message.Message {
	t.Helper()
	out, err := s.Subscribe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// next is the next message, or the end of the test.
func next(t *testing.T, out <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case m := <-out:
		if m != nil {
			return m
		}
		t.Fatal("the channel is closed")
	case <-time.After(patience):
		t.Fatal("no message")
	}
	return nil
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: ", what)
		}
	}
}

func count(t *testing.T, db *store.DB, query string, args ...any) (n int64) {
	t.Helper()
	if err := db.Query(t.Context(), query, args, func(r store.Row) error { n = r.Int(0); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCloseWaitsForTheMessageInHand(t *testing.T) {
	b, _ := open(t)
	publish(t, b, "t", "1", "2")
	s := b.Subscriber(bus.SubscriberOptions{Group: "g"})
	m := next(t, subscribe(t, s, "t"))
	closed := make(chan struct{})
	go func() { defer close(closed); _ = s.Close() }()
	select {
	case <-closed:
		t.Fatal("closed with a message in hand")
	case <-m.Context().Done():
		t.Fatal("the message in hand was cut off")
	case <-time.After(100 * time.Millisecond):
	}
	m.Ack()
	<-closed
	if m := next(t, subscribe(t, b.Subscriber(bus.SubscriberOptions{Group: "g"}), "t")); m.UUID != "2" {
		t.Errorf("%s came again although it was acked", m.UUID)
	}
	if _, err := s.Subscribe(t.Context(), "t"); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("subscribed after Close: %v", err)
	}
}

func TestWhatWasAckedOutOfOrderComesNotAgainAfterClose(t *testing.T) {
	b, _ := open(t)
	publish(t, b, "t", "1", "2", "3", "4")
	s := b.Subscriber(bus.SubscriberOptions{Group: "g", InFlight: 4, CloseWait: time.Millisecond})
	out := subscribe(t, s, "t")
	for range 4 {
		if m := next(t, out); m.UUID != "1" {
			m.Ack()
		}
	}
	_ = s.Close()
	publish(t, b, "t", "5")
	got := map[string]bool{}
	out = subscribe(t, b.Subscriber(bus.SubscriberOptions{Group: "g", InFlight: 4}), "t")
	for range 2 {
		m := next(t, out)
		got[m.UUID] = true
		m.Ack()
	}
	if !got["1"] || !got["5"] {
		t.Errorf("came again: %v", got)
	}
}

func TestAStuckMessageHoldsUpNeitherItsGroupNorTheCursor(t *testing.T) {
	b, db := open(t)
	s := b.Subscriber(bus.SubscriberOptions{Group: "g", InFlight: 2})
	out := subscribe(t, s, "t")
	publish(t, b, "t", "stuck")
	stuck := next(t, out)
	batch := make([]*message.Message, 500)
	for range 5 {
		for i := range batch {
			batch[i] = message.NewMessage("", nil)
		}
		if err := b.Publisher().Publish("t", batch...); err != nil {
			t.Fatal(err)
		}
		for range batch {
			next(t, out).Ack()
		}
	}
	until(t, "the cursor passes the stuck message", func() bool {
		at, _, err := db.Cursor(t.Context(), "t", "g")
		return err == nil && at == 2501
	})
	if n := count(t, db, "select count(*) from redelivery where offset=1"); n != 1 {
		t.Errorf("%d rows: a crash would lose the stuck message", n)
	}
	stuck.Ack()
	until(t, "its row is removed", func() bool { return count(t, db, "select count(*) from redelivery") == 0 })
	select {
	case m := <-out:
		t.Errorf("%q came again", m.UUID)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestAMessageThatNobodySettlesComesAgain(t *testing.T) {
	b, _ := open(t)
	publish(t, b, "t", "1")
	out := subscribe(t, b.Subscriber(bus.SubscriberOptions{Group: "g", Ordered: true, AckWait: 50 * time.Millisecond, RetryMin: time.Millisecond}), "t")
	first := next(t, out)
	<-first.Context().Done()
	if m := next(t, out); m.UUID != "1" {
		t.Errorf("%s came", m.UUID)
	}
}

func TestANackedMessageBecomesADeadLetterWhenAttemptsAreBounded(t *testing.T) {
	b, _ := open(t)
	publish(t, b, "t", "bad", "good")
	out := subscribe(t, b.Subscriber(bus.SubscriberOptions{Group: "g", Ordered: true, Attempts: 3, RetryMin: time.Millisecond}), "t")
	for i := range 3 {
		m := next(t, out)
		if m.UUID != "bad" {
			t.Fatalf("%s at attempt %d", m.UUID, i+1)
		}
		m.Nack()
	}
	if m := next(t, out); m.UUID != "good" {
		t.Errorf("%s after the dead letter", m.UUID)
	}
	if list, _, err := b.DeadLetters(t.Context(), bus.ListDeadLetters{Namespace: "t"}); err != nil || len(list) != 1 || list[0].Attempts != 3 {
		t.Errorf("%v %v", list, err)
	}
}

func TestAGroupIsServedByOneSetOfRules(t *testing.T) {
	b, _ := open(t)
	subscribe(t, b.Subscriber(bus.SubscriberOptions{Group: "g"}), "t")
	_, err := b.Subscriber(bus.SubscriberOptions{Group: "g", Ordered: true}).Subscribe(t.Context(), "t")
	if weft.CodeOf(err) != weft.FailedPrecondition {
		t.Error(err)
	}
}

func TestPublisherRefuses(t *testing.T) {
	b, _ := open(t)
	with := func(name, v string) *message.Message {
		m := message.NewMessage("1", nil)
		m.Metadata.Set(name, v)
		return m
	}
	for name, c := range map[string]struct {
		topic string
		list  []*message.Message
		says  string
	}{
		"a payload over the limit":      {"t", []*message.Message{message.NewMessage("1", make([]byte, bus.DataMax+1))}, "payload of message 1"},
		"metadata over the limit":       {"t", []*message.Message{with("x", strings.Repeat("x", bus.MetadataMax))}, "metadata of message 1"},
		"a batch over the limit":        {"t", make([]*message.Message, bus.BatchMax+1), "1001 messages"},
		"no topic":                      {"", []*message.Message{message.NewMessage("1", nil)}, "topic"},
		"a time that is none":           {"t", []*message.Message{with("ce_notbefore", "soon")}, "ce_notbefore"},
		"all, when one of them is none": {"t", []*message.Message{message.NewMessage("0", nil), with("ce_notbefore", "soon")}, "message 1"},
	} {
		if err := b.Publisher().Publish(c.topic, c.list...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := b.Publisher()
	_ = p.Close()
	if err := p.Publish("t", message.NewMessage("1", nil)); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("published after Close: %v", err)
	}
	if list, _ := messages(t, b, "t"); len(list) != 0 {
		t.Errorf("%d messages in the log", len(list))
	}
}

func messages(t *testing.T, b *bus.Bus, topic string) (ids []string, _ error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := b.Tail(ctx, topic, 0, func(_ int64, e weft.Event) error { ids = append(ids, e.ID); return nil })
	return ids, err
}

// Messages come from Publish and from commits of others, several subscribers
// share a group, and a tenth is nacked: nothing is lost, and what was acked
// comes not again.
func TestNothingIsLostWhenNacksAndForeignCommitsMeet(t *testing.T) {
	b, db := open(t)
	const publishers, each = 4, 300
	var mu sync.Mutex
	acked := map[string]int{}
	total := 0
	for range 3 {
		out := subscribe(t, b.Subscriber(bus.SubscriberOptions{Group: "g", InFlight: 4, RetryMin: time.Millisecond, RetryMax: 5 * time.Millisecond}), "t")
		for range 4 {
			go func() {
				for m := range out {
					if rand.IntN(10) == 0 {
						m.Nack()
						continue
					}
					mu.Lock()
					acked[m.UUID]++
					total++
					mu.Unlock()
					m.Ack()
				}
			}()
		}
	}
	var all sync.WaitGroup
	for p := range publishers {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprint(p, "-", i)
				var err error
				if p%2 == 0 {
					err = b.Publisher().Publish("t", message.NewMessage(id, nil))
				} else {
					err = db.Update(t.Context(), func(tx *store.Tx) error {
						_, err := tx.AppendMessage(store.Message{Topic: "t", ID: id})
						return err
					})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	until(t, "all are acked", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acked) == publishers*each
	})
	mu.Lock()
	defer mu.Unlock()
	if total != publishers*each {
		t.Errorf("%d acks of %d messages", total, publishers*each)
	}
}

func TestAWatermillMessageOnANamespaceIsNoEvent(t *testing.T) {
	b, _ := open(t)
	got := make(chan weft.Event, 10)
	serve(t, b, bus.Group{Namespace: ns, Name: "g", Handle: func(_ context.Context, e weft.Event, _ func(*store.Tx) error) error { got <- e; return nil }})
	publish(t, b, ns, "1", "2")
	m := message.NewMessage("3", []byte("data"))
	m.Metadata = message.Metadata{"ce_id": "3", "ce_source": "/s", "ce_type": "t", "ce_x": "y"}
	if err := b.Publisher().Publish(ns, m); err != nil {
		t.Fatal(err)
	}
	if e := <-got; e.ID != "3" || e.Source != "/s" || string(e.Data) != "data" || e.Extensions["x"] != "y" {
		t.Errorf("%+v", e)
	}
	out := subscribe(t, b.Subscriber(bus.SubscriberOptions{}), ns)
	if _, err := b.Publish(t.Context(), ns, event("4")); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2", "3", "4"} {
		m := next(t, out)
		if m.UUID != id {
			t.Errorf("%s and not %s", m.UUID, id)
		}
		if id == "4" && m.Metadata["ce_type"] != "test.happened" {
			t.Errorf("metadata of an event: %v", m.Metadata)
		}
		m.Ack()
	}
}
