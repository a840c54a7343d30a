package catalog_test

import (
	"context"
	"os"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
)

// A command has one handler, by the name of the module unless the manifest has
// another, also after a restart.
func TestACommandIsNamedByItsModuleOrItsManifest(t *testing.T) {
	s := newShelf(t)
	code, err := os.ReadFile("../wasm/testdata/command.wasm")
	if err != nil {
		t.Fatal(err)
	}
	s.push(catalog.Push{Wasm: code, Name: "shout", Version: "1.0.0"})
	s.push(catalog.Push{Wasm: code, Manifest: manifest("loud", "1.0.0", "cry")})
	for range 2 {
		for _, name := range []string{"shout", "cry"} {
			h, err := s.Handler(context.Background(), weft.DefaultNamespace, weft.Ref{Name: name, Catalog: weft.DefaultCatalog})
			if err != nil {
				t.Fatal(err)
			}
			if out, err := h.Call(context.Background(), nil, wasm.Input{Body: []byte("hello")}); err != nil || string(out.Body) != "HELLO" {
				t.Errorf("%s: %q, %v", name, out.Body, err)
			}
		}
		s.close()
		s.open()
	}
}
