package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

const ns = "default"

func open(t *testing.T) (*bus.Bus, *store.DB) {
	return openWith(t, bus.Options{RetryMin: 50 * time.Millisecond})
}

func openWith(t *testing.T, o bus.Options) (*bus.Bus, *store.DB) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db"), Sync: "normal"}) // no power is cut here
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return bus.New(db, o), db
}

func event(id string) weft.Event {
	return weft.Event{ID: id, Source: "/test", Type: "test.happened", Data: []byte(`{"id":"` + id + `"}`), DataContentType: "application/json"}
}

// serve consumes until the test ends.
func serve(t *testing.T, b *bus.Bus, g bus.Group) {
	t.Helper()
	start(t, b, g)
}

// start consumes until stop is called or the test ends, and returns once the
// group has its place in the log.
func start(t *testing.T, b *bus.Bus, g bus.Group) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Consume(ctx, g) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	until(t, "the group is served", func() bool { return b.Served(g.Namespace, g.Name) })
	return stop
}

func TestEachGroupHasEachEventOnce(t *testing.T) {
	b, _ := open(t)
	var mu sync.Mutex
	got := map[string]int{}
	all := make(chan struct{}, 1000)
	for _, name := range []string{"a", "b"} {
		serve(t, b, bus.Group{Namespace: ns, Name: name, Handle: func(_ context.Context, e weft.Event, _ func(*store.Tx) error) error {
			mu.Lock()
			got[name+e.ID]++
			mu.Unlock()
			all <- struct{}{}
			return nil
		}})
	}
	for i := range 100 {
		if _, err := b.Publish(t.Context(), ns, event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for range 200 {
		<-all
	}
	mu.Lock()
	defer mu.Unlock()
	for k, n := range got {
		if n != 1 {
			t.Errorf("%s came %d times", k, n)
		}
	}
	if len(got) != 200 {
		t.Errorf("%d deliveries", len(got))
	}
}

func TestAnEventThatIsInTheLogManyTimesHasOneEffect(t *testing.T) {
	for name, ack := range map[string]bool{"acked in a commit of its own": false, "acked in the commit of its effect": true} {
		t.Run(name, func(t *testing.T) {
			b, db := open(t)
			var effects atomic.Int64
			failed := false // of one delivery at a time: the event is never out twice
			serve(t, b, bus.Group{Namespace: ns, Name: "g", Handle: func(ctx context.Context, _ weft.Event, commit func(*store.Tx) error) error {
				if !failed {
					failed = true
					return errors.New("the first time")
				}
				effects.Add(1)
				if ack {
					return db.Update(ctx, commit)
				}
				return nil
			}})
			same := make([]weft.Event, 100)
			for i := range same {
				same[i] = event("1")
			}
			for range 3 {
				if _, err := b.Publish(t.Context(), ns, same...); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "all are had", func() bool {
				at, _, err := db.Cursor(t.Context(), ns, "g")
				return err == nil && at == 300 && count(t, db, "select count(*) from redelivery") == 0
			})
			if n := effects.Load(); n != 1 {
				t.Errorf("%d effects", n)
			}
		})
	}
}

func TestADelayedEventIsNotEarly(t *testing.T) {
	b, _ := open(t)
	at := make(chan time.Time, 1)
	serve(t, b, bus.Group{Namespace: ns, Name: "g", Handle: func(context.Context, weft.Event, func(*store.Tx) error) error { at <- time.Now(); return nil }})
	e := event("1")
	due := time.Now().Add(300 * time.Millisecond)
	e.Extensions = map[string]string{weft.ExtNotBefore: due.Format(time.RFC3339Nano)}
	if _, err := b.Publish(t.Context(), ns, e); err != nil {
		t.Fatal(err)
	}
	if got := <-at; got.Before(due.Add(-time.Millisecond)) {
		t.Errorf("%s early", due.Sub(got))
	}
}

func TestEffectsHappenOnceThoughHandlersFailAtRandom(t *testing.T) {
	b, db := open(t)
	const events = 150
	var mu sync.Mutex
	failed := map[string]int{}
	unlucky := func(id string) bool { // at most twice, or the test would wait for the longest pauses
		mu.Lock()
		defer mu.Unlock()
		if failed[id] == 2 || rand.IntN(3) > 0 {
			return false
		}
		failed[id]++
		return true
	}
	serve(t, b, bus.Group{Namespace: ns, Name: "g", Handle: func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error {
		if unlucky(e.ID) {
			return errors.New("by chance")
		}
		return db.Update(ctx, func(tx *store.Tx) error {
			if _, err := tx.Exec("insert into breaker_policy(ns,service,policy) values('effect',?,x'01') on conflict do update set policy=policy||x'01'", e.ID); err != nil {
				return err
			}
			return ack(tx)
		})
	}})
	for i := range events {
		if _, err := b.Publish(t.Context(), ns, event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	// A row is an effect, and its length is how often it happened.
	var effects, longest int64
	for deadline := time.Now().Add(patience); effects < events && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		err := db.Query(t.Context(), "select count(*), max(length(policy)) from breaker_policy where ns='effect'", nil, func(r store.Row) error {
			effects, longest = r.Int(0), r.Int(1)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if effects != events || longest != 1 {
		t.Errorf("%d of %d effects, one of them %d times", effects, events, longest)
	}
}
