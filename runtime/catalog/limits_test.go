package catalog_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
)

func TestAModuleThatAsksForTooMuchIsRefused(t *testing.T) {
	s := newShelf(t)
	p := catalog.Push{Wasm: tiny(1, "take"), Name: "stock", Version: "1.0.0", Manifest: &weft.Manifest{Limits: weft.Limits{MemoryMiB: 65}}}
	if _, err := s.Push(t.Context(), ns, p); weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "limits.memoryMiB is 65, at most 64 is allowed") {
		t.Errorf("got %v", err)
	}
	p.Manifest.Limits.MemoryMiB = 64
	if _, err := s.Push(t.Context(), ns, p); err != nil {
		t.Error(err)
	}
}

// TestAThousandModulesAreThereAtOnce: a start reads what is deployed, and
// compiles and loads nothing of it before it is needed.
func TestAThousandModulesAreThereAtOnce(t *testing.T) {
	s := newShelf(t)
	first := s.push(catalog.Push{Wasm: tiny(1, "take"), Name: "stock", Version: "1.0.0"})
	var row store.Module
	if err := s.db.Modules(t.Context(), func(m store.Module) error { row = m; return nil }); err != nil {
		t.Fatal(err)
	}
	err := s.db.Update(t.Context(), func(tx *store.Tx) error {
		for i := range 999 {
			m := row
			m.Name, m.Digest = fmt.Sprintf("stock-%d", i), fmt.Sprintf("%064d", i)
			m.Manifest = fmt.Appendf(nil, `{"name":"stock-%d","version":"1.0.0","handlers":[{"name":"take-%d","export":"take"}]}`, i, i)
			if err := tx.InsertModule(m, tiny(1, "take")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	begun := time.Now()
	s.open()
	if d := time.Since(begun); d > 15*time.Second { // a look at each module's code takes minutes
		t.Errorf("the start took %v", d)
	}
	if n := len(s.Handlers(ns)); n != 1_000 {
		t.Errorf("%d handlers are there", n)
	}
	if _, ok := s.rt.Loaded(first.Digest, termsOf(ns, first)); ok {
		t.Error("a module is loaded that nobody has called")
	}
	h, err := s.Handler(t.Context(), ns, weft.Ref{Name: "take-7"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Call(t.Context(), nil, wasm.Input{}); err != nil {
		t.Errorf("a call: %v", err)
	}
}
