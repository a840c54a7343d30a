// Package probe builds the module of guests/probe for tests and benchmarks.
package probe

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/weftrun/weft"
)

// Wasm is the module; it is built once a process, which takes Go alone.
func Wasm(tb testing.TB) []byte {
	tb.Helper()
	wasm, err := Build()
	if err != nil {
		tb.Fatal(err)
	}
	return wasm
}

// Build is Wasm for programs that are no tests.
var Build = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "weft-probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "probe.wasm")
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./probe")
	cmd.Dir = filepath.Join(filepath.Dir(here), "../../guests")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, &buildError{"guests/probe", err, string(text)}
	}
	return os.ReadFile(out)
})

// Check builds, into dir, the child that checks modules for tests under the
// race detector: with the detector it would compile for longer than it may. It
// is a test binary too, for compiled code is cached apart for those.
func Check(dir string) ([]string, error) {
	_, here, _, _ := runtime.Caller(0)
	out := filepath.Join(dir, "check")
	cmd := exec.Command("go", "test", "-c", "-o", out, "./runtime/wasm")
	cmd.Dir = filepath.Join(filepath.Dir(here), "../..")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, &buildError{"the check", err, string(text)}
	}
	return []string{out, "__check"}, nil
}

// Engine compiles the engine of scripts into the folder cache of dir, for the
// same reasons.
func Engine(dir string) error {
	_, here, _, _ := runtime.Caller(0)
	load := filepath.Join(dir, "load")
	cmd := exec.Command("go", "test", "-c", "-o", load, "./runtime/script")
	cmd.Dir = filepath.Join(filepath.Dir(here), "../..")
	if text, err := cmd.CombinedOutput(); err != nil {
		return &buildError{"the engine of scripts", err, string(text)}
	}
	if text, err := exec.Command(load, "__load", filepath.Join(dir, "cache")).CombinedOutput(); err != nil {
		return &buildError{"the engine of scripts", err, string(text)}
	}
	return nil
}

type buildError struct {
	what string
	err  error
	text string
}

func (e *buildError) Error() string { return "build " + e.what + ": " + e.err.Error() + "\n" + e.text }

// Manifest is what guests/probe/weft.yaml says.
func Manifest() *weft.Manifest {
	m := &weft.Manifest{Name: "probe", Version: "1.0.0",
		Subscriptions: []weft.Subscription{{Handler: "seen", Type: "probe.event"}},
		Grants:        weft.Grants{Peers: []string{"*"}, Events: []string{"probe.*"}, State: []string{"*"}}}
	for _, name := range []string{"noop", "echo", "count", "read", "seen", "ask", "tally", "fail", "boom", "spin"} {
		m.Handlers = append(m.Handlers, weft.HandlerSpec{Name: name})
	}
	return m
}
