package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/weftrun/weft/store"
)

// What is ready is not decided by lot: a context that has ended refuses each
// read, and hides from nobody what has been committed.
func TestAnEndedContextHasOneMeaning(t *testing.T) {
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ticket := db.Submit(func(*store.Tx) error { return nil })
	if err := ticket.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // by lot half of them would differ
		if err := db.Query(ctx, "select 1", nil, func(store.Row) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Fatalf("a read with an ended context: %v", err)
		}
		if err := ticket.Wait(ctx); err != nil {
			t.Fatalf("a commit that is durable, asked with an ended context: %v", err)
		}
	}
}
