package catalog_test

import (
	"context"
	"testing"

	"github.com/weftrun/weft/runtime/catalog"
)

func TestPreloadTakesWhatIsLikelyToBeCalled(t *testing.T) {
	s := newShelf(t)
	old := s.push(catalog.Push{Wasm: tiny(1, "take"), Name: "stock", Version: "1.0.0"})
	called := s.push(catalog.Push{Wasm: tiny(2, "take"), Name: "stock", Version: "1.1.0"})
	if _, err := s.Apply(t.Context(), ns, "flow.yaml", flow("1.0.0", "take:1.1.0")); err != nil {
		t.Fatal(err)
	}
	latest := s.push(catalog.Push{Wasm: tiny(3, "take"), Name: "stock", Version: "1.2.0"})
	other := s.push(catalog.Push{Wasm: tiny(4, "look"), Name: "eyes", Version: "1.0.0"})
	s.close()
	s.open()
	loaded := func(m *catalog.Module) bool {
		_, ok := s.rt.Loaded(m.Digest, termsOf(ns, m))
		return ok
	}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Preload(ended); loaded(latest) || loaded(called) || loaded(other) {
		t.Error("something was loaded after the end")
	}
	s.Preload(t.Context())
	if !loaded(latest) || !loaded(called) || !loaded(other) {
		t.Errorf("the newest %v, one that a workflow calls %v, another module %v", loaded(latest), loaded(called), loaded(other))
	}
	if loaded(old) {
		t.Error("a version that nothing calls was loaded")
	}
}
