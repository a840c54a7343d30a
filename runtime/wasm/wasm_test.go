package wasm_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/probe"
)

// The test binary is also the child that checks modules.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "__check" {
		wasm.CheckMain()
	}
	os.Exit(m.Run())
}

// nowhere is an environment with nothing in it.
type nowhere struct{}

func (nowhere) StateGet(string) ([]byte, bool, error) { return nil, false, nil }
func (nowhere) StateSet(string, []byte) error         { return nil }
func (nowhere) StateDelete(string) error              { return nil }
func (nowhere) Publish(string, []byte) error          { return nil }
func (nowhere) Call(context.Context, string, []byte) ([]byte, error) {
	return nil, &wasm.Abort{Err: errParked}
}
func (nowhere) HTTP(context.Context, []byte) ([]byte, error) { return nil, nil }
func (nowhere) Config(string) (string, bool, error)          { return "", false, nil }
func (nowhere) Secret(string) ([]byte, error)                { return nil, nil }
func (nowhere) Log(slog.Level, string)                       {}

var errParked = errors.New("parked")

func open(t testing.TB, l weft.Limits) *wasm.Runtime {
	t.Helper()
	rt, err := wasm.Open(t.Context(), wasm.Options{CacheDir: filepath.Join(t.TempDir(), "cache"), Limits: l})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rt.Close(context.Background()) })
	return rt
}

func TestAHarmfulUploadIsRefusedWithItsCause(t *testing.T) {
	rt := open(t, weft.Limits{})
	const head = "\x00asm\x01\x00\x00\x00"
	loop := strings.Repeat("\x02\x40", 6000) + strings.Repeat("\x0b", 6001)
	body := "\x00" + loop
	uleb := func(n int) string { return string([]byte{byte(n&0x7f | 0x80), byte(n>>7&0x7f | 0x80), byte(n >> 14)}) }
	nested := head + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x0a" + uleb(len(body)+4) + "\x01" + uleb(len(body)) + body
	for name, c := range map[string]struct{ module, says string }{
		"no module at all":          {"hello", "does not begin"},
		"cut off":                   {head + "\x01\x7f", "bytes follow"},
		"a false count of code":     {head + "\x0a\x05\xff\xff\xff\xff\x0f", "functions"},
		"four billion locals":       {head + "\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b", "locals"},
		"six thousand blocks deep":  {nested, "blocks inside each other"},
		"an unknown import":         {head + "\x01\x04\x01\x60\x00\x00\x02\x0b\x01\x03env\x03run\x00\x00", "env.run"},
		"an import of another type": {head + "\x01\x04\x01\x60\x00\x00\x02\x10\x01\x07weft/v1\x04call\x00\x00", "weft/v1.call"},
		"an imported memory":        {head + "\x02\x0a\x01\x03env\x01m\x02\x00\x01", "no function"},
		"a reserved export":         {head + "\x07\x0d\x01\x09weft:fuel\x03\x00", "weft:"},
		"a huge table":              {head + "\x04\x07\x01\x70\x00\xff\xff\xff\x7f", "table"},
	} {
		if _, err := rt.Check(t.Context(), []byte(c.module)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := rt.Check(t.Context(), make([]byte, 17<<20)); weft.CodeOf(err) != weft.ResourceExhausted {
		t.Errorf("too large: %v", err)
	}
}

func load(t testing.TB, l weft.Limits) *wasm.Module {
	t.Helper()
	rt := open(t, l)
	module := probe.Wasm(t)
	report, err := rt.Check(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	m, err := rt.Load(t.Context(), report.Digest, func() ([]byte, error) { return module, nil }, weft.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAGuestCannotHarmTheHost(t *testing.T) {
	m := load(t, weft.Limits{CPUMS: 200, OutputBytes: 1000})
	call := func(export, input string) error {
		begun := time.Now()
		_, err := m.Call(t.Context(), nowhere{}, export, wasm.Input{Body: []byte(input)})
		if d := time.Since(begun); d > 20*time.Second {
			t.Errorf("%s took %s", export, d)
		}
		return err
	}
	if err := call("spin", ""); weft.CodeOf(err) != weft.ResourceExhausted {
		t.Errorf("an endless loop: %v", err)
	}
	if err := call("boom", ""); !errors.Is(err, wasm.ErrTrap) || !strings.Contains(err.Error(), "boom") {
		t.Errorf("a panic: %v", err)
	}
	if err := call("echo", strings.Repeat("x", 2000)); weft.CodeOf(err) != weft.ResourceExhausted {
		t.Errorf("too much output: %v", err)
	}
	if err := call("nothing", ""); weft.CodeOf(err) != weft.Unimplemented {
		t.Errorf("no such handler: %v", err)
	}
	if err := call("ask", `{"procedures":["a/b"]}`); err != errParked {
		t.Errorf("an abort: %v", err)
	}
	if err := call("fail", `{"code":5}`); weft.CodeOf(err) != weft.NotFound || err.Error() != "asked to fail" {
		t.Errorf("a handler's own error: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := m.Call(ctx, nowhere{}, "spin", wasm.Input{}); weft.CodeOf(err) != weft.DeadlineExceeded {
		t.Errorf("a deadline: %v", err)
	}
	if err := call("echo", "still alive"); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func BenchmarkNoop(b *testing.B) {
	m := load(b, weft.Limits{})
	in := wasm.Input{Body: make([]byte, 1024)}
	for b.Loop() {
		if _, err := m.Call(b.Context(), nowhere{}, "noop", in); err != nil {
			b.Fatal(err)
		}
	}
}
