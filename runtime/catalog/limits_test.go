package catalog_test

import (
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
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
