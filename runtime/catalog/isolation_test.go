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
	there := map[weft.Isolation]wasm.Terms{}
	var digest string
	for _, space := range []string{ns, "acme"} {
		pushed, err := cat.Push(t.Context(), space, p)
		if err != nil {
			t.Fatal(err)
		}
		digest = pushed.Module.Digest
		there[pushed.Module.Isolation] = termsOf(space, pushed.Module)
	}
	loaded := func(want ...weft.Isolation) {
		t.Helper()
		for _, isolation := range []weft.Isolation{weft.Inline, weft.Process} {
			_, got := s.rt.Loaded(digest, there[isolation])
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

// termsOf are those that a version of a module runs on.
func termsOf(ns string, m *catalog.Module) wasm.Terms {
	return wasm.Terms{Limits: m.Manifest.Limits, Lifecycle: m.Manifest.Lifecycle, Isolation: m.Isolation, Owner: ns + "/" + m.String()}
}

// TestTheSameBytesShareNothing calls one module in two namespaces, and under two names in
// one: each has its own memory.
func TestTheSameBytesShareNothing(t *testing.T) {
	s := newShelf(t)
	called := func(space, name, handler string) int {
		t.Helper()
		p := catalog.Push{Wasm: counting(), Name: name, Version: "1.0.0", Manifest: &weft.Manifest{Handlers: []weft.HandlerSpec{{Name: handler, Export: "count"}}}}
		if _, err := s.Push(t.Context(), space, p); err != nil {
			t.Fatal(err)
		}
		h, err := s.Handler(t.Context(), space, weft.Ref{Name: handler})
		if err != nil {
			t.Fatal(err)
		}
		_, err = h.Call(t.Context(), nil, wasm.Input{})
		return int(weft.CodeOf(err))
	}
	for _, c := range []struct{ space, name, handler string }{{ns, "first", "one"}, {"acme", "first", "one"}, {ns, "second", "two"}} {
		if n := called(c.space, c.name, c.handler); n != 1 {
			t.Errorf("%s of %s in %s: %d calls are counted before it", c.handler, c.name, c.space, n-1)
		}
	}
	if n := called(ns, "first", "one"); n != 2 {
		t.Errorf("the same again: %d", n)
	}
}

// counting is a module whose handler count returns how often its instance was called.
func counting() []byte {
	return []byte("\x00asm\x01\x00\x00\x00\x01\x06\x01\x60\x01\x7f\x01\x7f\x03\x02\x01\x00" +
		"\x06\x06\x01\x7f\x01\x41\x00\x0b\x07\x09\x01\x05count\x00\x00" +
		"\x0a\x0d\x01\x0b\x00\x23\x00\x41\x01\x6a\x24\x00\x23\x00\x0b")
}
