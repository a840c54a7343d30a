package catalog_test

import (
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
)

func TestWhatIsNamedMostCloselyDecidesWhereAModuleRuns(t *testing.T) {
	inline, process := weft.Inline, weft.Process
	for _, c := range []struct {
		name     string
		operator map[string]weft.Isolation
		manifest weft.Isolation
		want     weft.Isolation
	}{
		{"nobody says anything", nil, "", inline},
		{"the manifest asks", nil, process, process},
		{"the operator demands it of all", map[string]weft.Isolation{"": process}, "", process},
		{"a namespace is named", map[string]weft.Isolation{"": process, ns: inline}, "", inline},
		{"another namespace is named", map[string]weft.Isolation{"acme": process}, "", inline},
		{"the module is named", map[string]weft.Isolation{"": inline, ns: inline, ns + "/order": process}, "", process},
		{"a module of the name is named elsewhere", map[string]weft.Isolation{"acme/order": process}, "", inline},
		{"the manifest asks for more than the operator", map[string]weft.Isolation{ns + "/order": inline}, process, process},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShelf(t)
			cat, err := catalog.Open(t.Context(), s.db, s.rt, catalog.Options{Isolation: c.operator})
			if err != nil {
				t.Fatal(err)
			}
			pushed, err := cat.Push(t.Context(), ns, catalog.Push{Wasm: tiny(2, "place"), Name: "order", Version: "1.0.0", Manifest: &weft.Manifest{Isolation: c.manifest}})
			if err != nil {
				t.Fatal(err)
			}
			if got := pushed.Module.Isolation; got != c.want {
				t.Errorf("it runs %s, want %s", got, c.want)
			}
			again, err := catalog.Open(t.Context(), s.db, s.rt, catalog.Options{Isolation: c.operator})
			if err != nil {
				t.Fatal(err)
			}
			kept, err := again.Module(ns, "order", "1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			if got := kept.Isolation; got != c.want {
				t.Errorf("after a restart it runs %s, want %s", got, c.want)
			}
		})
	}
}

// TestCodeIsUnloadedOnlyWhereNobodyUsesIt removes one of two modules with the
// same bytes, each in its own isolation.
func TestCodeIsUnloadedOnlyWhereNobodyUsesIt(t *testing.T) {
	s := newShelf(t)
	cat, err := catalog.Open(t.Context(), s.db, s.rt, catalog.Options{Isolation: map[string]weft.Isolation{"acme": weft.Process}})
	if err != nil {
		t.Fatal(err)
	}
	p := catalog.Push{Wasm: tiny(2, "place"), Name: "order", Version: "1.0.0"}
	var digest string
	for _, space := range []string{ns, "acme"} {
		pushed, err := cat.Push(t.Context(), space, p)
		if err != nil {
			t.Fatal(err)
		}
		digest = pushed.Module.Digest
	}
	loaded := func(want ...weft.Isolation) {
		t.Helper()
		for _, isolation := range []weft.Isolation{weft.Inline, weft.Process} {
			_, got := s.rt.Loaded(digest, wasm.Terms{Isolation: isolation})
			if should := len(want) > 0 && want[0] == isolation; got != should {
				t.Errorf("%s is loaded: %v", isolation, got)
			} else if should {
				want = want[1:]
			}
		}
	}
	cat.Preload(t.Context())
	loaded(weft.Inline, weft.Process)
	if err := cat.Remove(t.Context(), "acme", "order", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	loaded(weft.Inline)
	if err := cat.Remove(t.Context(), ns, "order", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	loaded()
}
