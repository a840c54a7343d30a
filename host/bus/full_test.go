package bus_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

// The disk refuses the row of its redelivery, and has room before the group ends.
func TestAnEventThatFailedWithTheDiskComesAgain(t *testing.T) {
	var full, well atomic.Bool
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db"), Sync: "normal", Fault: func(store.Moment) error {
		if full.Load() {
			return sqlite3.Error{Code: sqlite3.ErrFull}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var once sync.Once
	got := make(chan string, 8)
	g := bus.Group{Namespace: ns, Name: "g", Handle: func(_ context.Context, ev weft.Event, _ func(*store.Tx) error) error {
		if ev.ID == "a" && !well.Load() {
			once.Do(func() { full.Store(true) })
			return errors.New("not now")
		}
		got <- ev.ID
		return nil
	}}
	next := func(want string) {
		t.Helper()
		select {
		case id := <-got:
			if id != want {
				t.Fatalf("%s came, want %s", id, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s did not come", want)
		}
	}
	begin := func() (*bus.Bus, func()) {
		b := bus.New(db, bus.Options{RetryMin: 2 * time.Second, RetryMax: 2 * time.Second})
		return b, start(t, b, g)
	}
	b, end := begin()
	publishEvent := func(id string) {
		t.Helper()
		if _, err := b.Publish(t.Context(), ns, event(id)); err != nil {
			t.Fatal(err)
		}
	}
	publishEvent("a")
	until(t, "the disk is full", func() bool { return db.Err() != nil })
	full.Store(false)
	until(t, "the disk has room", func() bool { return db.Err() == nil })
	publishEvent("b")
	next("b")
	end()
	well.Store(true)
	begin()
	next("a")
}
