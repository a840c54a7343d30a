package catalog_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"testing"

	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/probe"
)

func TestScriptsAreReadWhenTheyAreDeployed(t *testing.T) {
	s := newShelf(t)
	if err := probe.Engine(s.dir); err != nil {
		t.Fatal(err)
	}
	const src = `document: { dsl: '1.0.3', namespace: test, name: scripts, version: '1.0.0' }
do:
  - fine: { run: { script: { language: js, code: "throw new Error('not yet')" } } }
  - slip:
      run:
        script:
          language: js
          code: |
            const a = 1

            const b = a +;
  - stranger:
      run:
        script:
          language: js
          code: |
            import _ from 'lodash'
`
	const want = `flow.yaml:11:26: SyntaxError: unexpected token in expression: ';'
flow.yaml:17:27: Error: a script can import node:fs and node:process, not lodash`
	if _, err := s.Apply(t.Context(), ns, "flow.yaml", []byte(src)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if n := len(s.Workflows(ns)); n != 0 {
		t.Errorf("%d workflows are live", n)
	}
	const good = `document: { dsl: '1.0.3', namespace: test, name: scripts, version: '1.0.0' }
do:
  - fine: { run: { script: { language: js, code: "throw new Error('not yet')" } } }
`
	if _, err := s.Apply(t.Context(), ns, "flow.yaml", []byte(good)); err != nil {
		t.Error(err)
	}
	// After a start the engine is loaded before it is needed.
	s.close()
	s.open()
	code, err := os.ReadFile("../script/quickjs.wasm")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(code)
	digest := hex.EncodeToString(sum[:])
	if _, ok := s.rt.Loaded(digest, wasm.Terms{}); ok {
		t.Error("the engine is loaded before anybody asked")
	}
	s.Preload(t.Context())
	if _, ok := s.rt.Loaded(digest, wasm.Terms{}); !ok {
		t.Error("the engine is not loaded")
	}
}
