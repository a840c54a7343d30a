package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

// failing is a group whose handler fails until it is mended.
type failing struct {
	mu     sync.Mutex
	mended bool           // guarded by mu
	calls  map[string]int // guarded by mu
}

func (f *failing) group(name string) bus.Group {
	return bus.Group{Namespace: ns, Name: name, Handle: func(_ context.Context, e weft.Event, _ func(*store.Tx) error) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.calls[e.ID]++; !f.mended {
			return errors.New("no: " + e.ID)
		}
		return nil
	}}
}

func (f *failing) mend(mended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mended = mended
}

func (f *failing) count(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[id]
}

func letters(t *testing.T, b *bus.Bus, l bus.ListDeadLetters) (list []bus.DeadLetter, next string) {
	t.Helper()
	l.Namespace = ns
	list, next, err := b.DeadLetters(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return list, next
}

func TestAFailingEventComesFiveTimesAndIsThenADeadLetter(t *testing.T) {
	b, _ := openWith(t, bus.Options{RetryMin: time.Millisecond})
	f := &failing{calls: map[string]int{}}
	start(t, b, f.group("g"))
	if _, err := b.Publish(t.Context(), ns, event("1")); err != nil {
		t.Fatal(err)
	}
	var list []bus.DeadLetter
	until(t, "it is a dead letter", func() bool { list, _ = letters(t, b, bus.ListDeadLetters{}); return len(list) == 1 })
	if d := list[0]; f.count("1") != bus.AttemptsMax || d.Attempts != bus.AttemptsMax || d.Group != "g" || d.Event.ID != "1" || d.Error != "no: 1" || time.Since(d.Time) > time.Minute {
		t.Errorf("%d deliveries, %+v", f.count("1"), d)
	}
}

func TestAReplayedEventReachesItsGroupAgainWithFreshAttempts(t *testing.T) {
	for name, c := range map[string]struct {
		served bool // while it is replayed
		key    string
	}{
		"while the group is served":  {true, ""},
		"while it is not":            {false, ""},
		"with a partition key":       {true, "k"},
		"with a key, and not served": {false, "k"},
	} {
		t.Run(name, func(t *testing.T) {
			b, db := openWith(t, bus.Options{RetryMin: time.Millisecond})
			f, other := &failing{calls: map[string]int{}}, &failing{calls: map[string]int{}, mended: true}
			stop := start(t, b, f.group("g"))
			start(t, b, other.group("other"))
			offsets, err := b.Publish(t.Context(), ns, keyed(c.key, "1"))
			if err != nil {
				t.Fatal(err)
			}
			buried := func() bool { list, _ := letters(t, b, bus.ListDeadLetters{}); return len(list) == 1 }
			until(t, "it is a dead letter", buried)
			// The same event was had meanwhile: the inbox must not swallow the replay.
			f.mend(true)
			if _, err := b.Publish(t.Context(), ns, keyed(c.key, "1")); err != nil {
				t.Fatal(err)
			}
			until(t, "the second is had", func() bool { return f.count("1") == bus.AttemptsMax+1 })
			f.mend(false)
			if !c.served {
				stop()
			}
			if err := b.Replay(t.Context(), ns, "g", offsets[0]); err != nil {
				t.Fatal(err)
			}
			if !c.served {
				start(t, b, f.group("g"))
			}
			until(t, "it is given up again", func() bool { return f.count("1") == 2*bus.AttemptsMax+1 && buried() })
			f.mend(true)
			if err := b.Replay(t.Context(), ns, "g", offsets[0]); err != nil {
				t.Fatal(err)
			}
			until(t, "it is delivered", func() bool { return f.count("1") == 2*bus.AttemptsMax+2 })
			until(t, "nothing is left of it", func() bool {
				return count(t, db, "select (select count(*) from dead_letter) + (select count(*) from redelivery)") == 0
			})
			if other.count("1") != 1 {
				t.Errorf("another group had it %d times", other.count("1"))
			}
			if err := b.Replay(t.Context(), ns, "g", offsets[0]); weft.CodeOf(err) != weft.NotFound {
				t.Errorf("replayed what is no dead letter: %v", err)
			}
		})
	}
}

func TestDeadLettersAreListedInPagesAndDropped(t *testing.T) {
	b, db := open(t)
	for i := range 7 {
		offsets, err := b.Publish(t.Context(), ns, event(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), func(tx *store.Tx) error {
			for _, g := range []string{"a", "b"} {
				if err := tx.Bury(store.DeadLetter{Topic: ns, Group: g, Offset: offsets[0], Attempts: 5, Error: "no"}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(group string) (seen []string) {
		token := ""
		for {
			var list []bus.DeadLetter
			if list, token = letters(t, b, bus.ListDeadLetters{Group: group, PageSize: 3, PageToken: token}); len(list) > 3 {
				t.Fatalf("%d in a page of 3", len(list))
			}
			for _, d := range list {
				seen = append(seen, d.Event.ID+d.Group)
			}
			if token == "" {
				return seen
			}
		}
	}
	if got := fmt.Sprint(pages("")); got != "[6b 6a 5b 5a 4b 4a 3b 3a 2b 2a 1b 1a 0b 0a]" {
		t.Error(got)
	}
	if got := fmt.Sprint(pages("a")); got != "[6a 5a 4a 3a 2a 1a 0a]" {
		t.Error(got)
	}
	if err := b.Drop(t.Context(), ns, "a", 7); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(pages("a")); got != "[5a 4a 3a 2a 1a 0a]" {
		t.Error(got)
	}
	for name, err := range map[string]error{
		"dropped twice":           b.Drop(t.Context(), ns, "a", 7),
		"of another group":        b.Drop(t.Context(), ns, "c", 6),
		"of another namespace":    b.Replay(t.Context(), "x", "a", 6),
		"of an event that is not": b.Replay(t.Context(), ns, "a", 99),
	} {
		if weft.CodeOf(err) != weft.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := b.DeadLetters(t.Context(), bus.ListDeadLetters{Namespace: ns, PageToken: "x"}); weft.CodeOf(err) != weft.InvalidArgument {
		t.Error(err)
	}
}
