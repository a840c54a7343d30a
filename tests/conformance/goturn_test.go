package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
)

// littering is a module in Go whose handlers leave something behind in each call. They
// answer with the number of the call, and how many goroutines have not run.
const littering = `package main

import (
	"fmt"

	weft "github.com/weftrun/weft/sdk/go"
)

func main() {}

type node struct {
	next *node
	_    [6]uint64
}

var calls, ran int
var last *node

func answer() ([]byte, error) {
	calls++
	return fmt.Appendf(nil, "call %d, %d have not run", calls, calls-ran), nil
}

//go:wasmexport nodes
func nodes(n uint32) uint32 {
	return weft.Bytes(n, func(*weft.Context) ([]byte, error) {
		last = nil
		for range 400 {
			last = &node{next: last}
		}
		ran++
		return answer()
	})
}

//go:wasmexport goroutines
func goroutines(n uint32) uint32 {
	return weft.Bytes(n, func(*weft.Context) ([]byte, error) {
		kept := make([]byte, 16<<10)
		go func() { ran += 1 + int(kept[0]) }()
		return answer()
	})
}

//go:wasmexport failures
func failures(n uint32) uint32 {
	return weft.Handle(n, func(*weft.Context) error {
		kept := make([]byte, 16<<10)
		go func() { ran += 1 + int(kept[0]) }()
		said, _ := answer()
		return weft.Errorf(weft.Aborted, "%s", said)
	})
}
`

// TestAnInstanceInGoLivesWithWhatItsCallsLeave has one instance serve thousands of
// calls. It may have 16 MiB, and would be replaced, to count from one, at 12: what the
// calls leave is 25 MB of nodes, or 160 MB that goroutines hold until they have run.
func TestAnInstanceInGoLivesWithWhatItsCallsLeave(t *testing.T) {
	dir := t.TempDir()
	sdk, err := filepath.Abs("../../sdk/go")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"main.go": littering,
		"go.mod":  "module littering\n\ngo 1.26\n\nrequire github.com/weftrun/weft/sdk/go v0.0.0\n\nreplace github.com/weftrun/weft/sdk/go => " + sdk + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "guest.wasm", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := sandbox(t)
	for _, c := range []struct {
		handler string
		calls   int
		behind  int // goroutines that have not run; a turn may come to nothing
	}{{"nodes", 1_000, 0}, {"goroutines", 10_000, 40}, {"failures", 10_000, 40}} {
		t.Run(c.handler, func(t *testing.T) {
			m, err := r.Load(t.Context(), "littering."+c.handler, func() ([]byte, error) { return os.ReadFile(filepath.Join(dir, "guest.wasm")) }, wasm.Terms{Limits: weft.Limits{MemoryMiB: 16}})
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.calls {
				out, err := m.Call(t.Context(), &recorder{}, c.handler, wasm.Input{})
				said := string(out.Body)
				var failed *weft.Error
				if weft.CodeOf(err) == weft.Aborted && errors.As(err, &failed) {
					said, err = failed.Err.Error(), nil
				}
				if err != nil {
					t.Fatal(err)
				}
				var call, behind int
				if _, err := fmt.Sscanf(said, "call %d, %d have not run", &call, &behind); err != nil || call != i+1 || behind > c.behind {
					t.Fatalf("call %d: %q, %v", i+1, said, err)
				}
			}
		})
	}
}
