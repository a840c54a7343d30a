package catalog_test

import (
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
)

func TestAWorkflowThatAnswersAMethodStays(t *testing.T) {
	s := newShelf(t)
	apply := func(version string) {
		t.Helper()
		_, err := s.Apply(t.Context(), ns, "place.yaml", []byte("document: { dsl: '1.0.3', namespace: shop, name: place, version: '"+version+"' }\ndo:\n  - a: { set: { b: 1 } }\n"))
		if err != nil {
			t.Fatal(err)
		}
	}
	apply("1.0.0")
	desk := func() catalog.Push {
		return catalog.Push{Wasm: tiny(1), Descriptors: []byte{}, Manifest: &weft.Manifest{Name: "desk", Version: "1.0.0", Bind: []weft.Binding{{Method: "shop.v1.OrderService/Place", Workflow: "place"}}}}
	}
	m := s.push(desk())
	apply("1.1.0")
	if again, err := s.Push(t.Context(), ns, desk()); err != nil || !again.Unchanged {
		t.Errorf("the same again: %v, %v", again, err)
	}
	if b, ok := m.BoundTo("shop.v1.OrderService/Place"); !ok || b.Pinned != "shop/place:1.0.0" {
		t.Errorf("bound to %v", b)
	}
	err := s.RemoveWorkflow(t.Context(), ns, "shop/place", "1.0.0", [2]int{0, 1})
	if weft.CodeOf(err) != weft.FailedPrecondition || !strings.Contains(err.Error(), "module desk:1.0.0 answers shop.v1.OrderService/Place by shop/place:1.0.0; remove that version of the module first") {
		t.Errorf("got %v", err)
	}
	if err := s.RemoveWorkflow(t.Context(), ns, "shop/place", "1.1.0", [2]int{0, 1}); err != nil {
		t.Errorf("a version that nobody is bound to: %v", err)
	}
	if err := s.Remove(t.Context(), ns, "desk", "1.0.0"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveWorkflow(t.Context(), ns, "shop/place", "1.0.0", [2]int{0, 1}); err != nil {
		t.Error(err)
	}
}

func TestAMethodIsAnsweredByOneModule(t *testing.T) {
	s := newShelf(t)
	if _, err := s.Apply(t.Context(), ns, "place.yaml", []byte("document: { dsl: '1.0.3', namespace: shop, name: place, version: '1.0.0' }\ndo:\n  - a: { set: { b: 1 } }\n")); err != nil {
		t.Fatal(err)
	}
	const method = "shop.v1.OrderService/Place"
	binding := catalog.Push{Wasm: tiny(1), Descriptors: []byte{}, Manifest: &weft.Manifest{Name: "desk", Version: "1.0.0", Bind: []weft.Binding{{Method: method, Workflow: "place"}}}}
	handling := catalog.Push{Wasm: tiny(2, "place"), Manifest: &weft.Manifest{Name: "clerk", Version: "1.0.0", Handlers: []weft.HandlerSpec{{Name: method, Export: "place"}}}}
	for _, c := range []struct {
		first, second catalog.Push
		owner         string
	}{{binding, handling, "desk"}, {handling, binding, "clerk"}} {
		s.push(c.first)
		if _, err := s.Push(t.Context(), ns, c.second); weft.CodeOf(err) != weft.AlreadyExists || !strings.Contains(err.Error(), method+" belongs to module "+c.owner) {
			t.Errorf("beside %s: %v", c.owner, err)
		}
		if err := s.Remove(t.Context(), ns, c.owner, "1.0.0"); err != nil {
			t.Fatal(err)
		}
	}
}
