package bus_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

func keyed(key, id string) weft.Event {
	e := event(id)
	if key != "" {
		e.Extensions = map[string]string{weft.ExtPartitionKey: key}
	}
	return e
}

// record keeps what has been handled, by key, and who is being handled now.
type record struct {
	mu    sync.Mutex
	got   map[string][]string // guarded by mu
	now   map[string]int      // guarded by mu
	wrong []string            // guarded by mu
	most  int                 // guarded by mu: at once
	total int                 // guarded by mu
}

func newRecord() *record { return &record{got: map[string][]string{}, now: map[string]int{}} }

func (r *record) enter(e weft.Event) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := e.Extensions[weft.ExtPartitionKey]
	if r.now[key]++; key != "" && r.now[key] > 1 {
		r.wrong = append(r.wrong, "two of "+key+" at once")
	}
	r.total++
	r.most = max(r.most, r.total)
	return key
}

func (r *record) leave(key string, e weft.Event, handled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[key]--
	r.total--
	if handled {
		r.got[key] = append(r.got[key], e.ID)
	}
}

func (r *record) handled(key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got[key])
}

// Many keys, many at once, a fifth of the deliveries fails, some for good, and
// the consumer is stopped and started: each key keeps its order.
func TestAKeyKeepsItsOrderUnderFire(t *testing.T) {
	b, db := openWith(t, bus.Options{RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond})
	const keys, each = 12, 60
	want := map[string][]string{}
	var events []weft.Event
	for i := range each {
		for k := range keys {
			key := ""
			if k > 0 {
				key = fmt.Sprint("k", k)
			}
			id := fmt.Sprint(k, "-", i)
			if k > 0 && k%4 == 0 && i%20 == 10 {
				id += "-doomed"
			} else {
				want[key] = append(want[key], id)
			}
			events = append(events, keyed(key, id))
		}
	}
	r := newRecord()
	g := bus.Group{Namespace: ns, Name: "g", Handle: func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error {
		key := r.enter(e)
		if strings.HasSuffix(e.ID, "doomed") || rand.IntN(5) == 0 && ctx.Err() == nil && lucky(e.ID) {
			r.leave(key, e, false)
			return errors.New("by chance")
		}
		// The order is that of the effects: note it before the next may begin.
		err := db.Update(context.WithoutCancel(ctx), ack)
		r.leave(key, e, err == nil)
		return err
	}}
	stop := start(t, b, g)
	go func() {
		for batch := range slices.Chunk(events, 40) {
			if _, err := b.Publish(context.WithoutCancel(t.Context()), ns, batch...); err != nil {
				t.Error(err)
			}
		}
	}()
	all := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		n := 0
		for _, list := range r.got {
			n += len(list)
		}
		return n == total(want)
	}
	for range 5 {
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond) // at any moment
		stop()
		stop = start(t, b, g)
	}
	until(t, "all events are handled", all)
	stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wrong {
		t.Error(w)
	}
	for key, list := range want {
		if key == "" {
			slices.Sort(list)
			slices.Sort(r.got[key])
		}
		if !slices.Equal(r.got[key], list) {
			t.Errorf("key %q: %v\nand not %v", key, r.got[key], list)
		}
	}
	if r.most < 2 {
		t.Error("nothing was handled at once")
	}
	if n := count(t, db, "select count(*) from dead_letter"); n != 2*3 {
		t.Errorf("%d dead letters and not 6", n)
	}
	if n := count(t, db, "select count(*) from redelivery"); n != 0 {
		t.Errorf("%d redeliveries are left", n)
	}
}

var (
	luckMu sync.Mutex
	luck   = map[string]int{} // guarded by luckMu
)

// lucky lets an event fail three times, and no more: one that is not doomed must not die.
func lucky(id string) bool {
	luckMu.Lock()
	defer luckMu.Unlock()
	luck[id]++
	return luck[id] <= 3
}

func total(m map[string][]string) (n int) {
	for _, list := range m {
		n += len(list)
	}
	return n
}

// A key that never succeeds has more events than the window holds; those of
// others, and without a key, go on meanwhile.
func TestAKeyThatIsStuckHoldsUpNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		options bus.Options
		handle  func(ctx context.Context) error
	}{
		"its handler hangs": {bus.Options{}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		"its handler fails": {bus.Options{RetryMin: time.Hour, RetryMax: time.Hour}, func(context.Context) error { return errors.New("no") }},
	} {
		t.Run(name, func(t *testing.T) {
			b, db := openWith(t, c.options)
			r := newRecord()
			bad := c.handle
			var mu sync.Mutex
			g := bus.Group{Namespace: ns, Name: "g", Handle: func(ctx context.Context, e weft.Event, _ func(*store.Tx) error) error {
				mu.Lock()
				handle := bad
				mu.Unlock()
				key := r.enter(e)
				if key == "bad" && handle != nil {
					r.leave(key, e, false)
					return handle(ctx)
				}
				r.leave(key, e, true)
				return nil
			}}
			stop := start(t, b, g)
			const n = 3 * 512 // more than a window
			var want []string
			for i := range n / 512 {
				batch := make([]weft.Event, 512)
				for j := range batch {
					id := fmt.Sprint(i, "-", j)
					batch[j] = keyed("bad", id)
					want = append(want, id)
				}
				if _, err := b.Publish(t.Context(), ns, append(batch, keyed("good", fmt.Sprint("g", i)), keyed("", fmt.Sprint("n", i)))...); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "the others are handled", func() bool { return r.handled("good") == n/512 && r.handled("") == n/512 })
			head, err := db.Head(t.Context(), ns)
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the cursor reaches the head", func() bool { at, _, err := db.Cursor(t.Context(), ns, "g"); return err == nil && at == head })
			if r.handled("bad") != 0 {
				t.Error("the bad key went on")
			}
			stop()
			// Mended, the key goes on in its order.
			mu.Lock()
			bad = nil
			mu.Unlock()
			if _, err := b.Publish(t.Context(), ns, keyed("bad", "last")); err != nil {
				t.Fatal(err)
			}
			if err := db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec("update redelivery set due=0"); return err }); err != nil {
				t.Fatal(err)
			}
			start(t, b, g)
			until(t, "the bad key is handled", func() bool { return r.handled("bad") == n+1 })
			if !slices.Equal(r.got["bad"], append(want, "last")) {
				t.Error("its order is lost")
			}
			until(t, "no row is left", func() bool { return count(t, db, "select count(*) from redelivery") == 0 })
		})
	}
}

func TestADelayedEventHoldsItsKeyOnlyWhenItIsDue(t *testing.T) {
	b, _ := open(t)
	r := newRecord()
	serve(t, b, bus.Group{Namespace: ns, Name: "g", Handle: func(_ context.Context, e weft.Event, _ func(*store.Tx) error) error {
		r.leave(r.enter(e), e, true)
		return nil
	}})
	late := keyed("k", "late")
	late.Extensions[weft.ExtNotBefore] = time.Now().Add(3 * time.Second).Format(time.RFC3339Nano)
	if _, err := b.Publish(t.Context(), ns, late, keyed("k", "soon")); err != nil {
		t.Fatal(err)
	}
	until(t, "both are handled", func() bool { return r.handled("k") == 2 })
	if !slices.Equal(r.got["k"], []string{"soon", "late"}) {
		t.Error(r.got["k"])
	}
}
