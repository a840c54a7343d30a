package wasm

import (
	"bytes"
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// twice is a function that calls two others in turn, which do the same: no
// loop, no deep stack, and 2^30 calls.
func twice() []byte {
	var bodies [][]byte
	for k := range byte(30) {
		bodies = append(bodies, code(0x20, 0, 0x10, k+1, 0x1a, 0x20, 0, 0x10, k+1))
	}
	return program(append(bodies, code(0x20, 0))...)
}

func TestHostileHandlersAreStopped(t *testing.T) {
	endless := program(code(0x03, 0x40, 0x0c, 0, 0x0b, 0x00))                                                    // loop br 0 end
	recursion := program(code(0x20, 0, 0x10, 1), code(0x20, 0, 0x10, 0))                                         // each calls the other
	indirect := program(code(0x20, 0, 0x41, 0, 0x11, 0, 0))                                                      // through the table
	tableGrow := program(code(0x03, 0x40, 0xd0, 0x70, 0x41, 0xe8, 0x07, 0xfc, 15, 0, 0x1a, 0x0c, 0, 0x0b, 0x00)) // a thousand at a time
	tables := program(code(0xd0, 0x70, 0x41, 0x80, 0x80, 0x80, 0x08, 0xfc, 15, 0))                               // 16 million at once
	for _, c := range []struct {
		name, handler string
		wasm          []byte
		code          weft.Code
		says          string
	}{
		{"an endless loop", "spin", guest, weft.ResourceExhausted, "used up its fuel of 50000000"},
		{"an empty endless loop", "f", endless, weft.ResourceExhausted, "used up its fuel"},
		{"2^30 calls without a loop", "f", twice(), weft.ResourceExhausted, "used up its fuel"},
		{"two functions that call each other", "f", recursion, weft.ResourceExhausted, "nested too deep"},
		{"a function that calls itself through the table", "f", indirect, weft.ResourceExhausted, "nested too deep"},
		{"a table that grows without end", "f", tableGrow, weft.ResourceExhausted, "used up its fuel"},
		{"a table of 16 million", "f", tables, weft.Unknown, "4294967295"},
		{"memory filled again and again", "fill", guest, weft.ResourceExhausted, "used up its fuel"},
		{"a trap", "trap", guest, weft.Internal, "trapped: wasm error: unreachable"},
		{"a wild pointer of its own", "wild", guest, weft.Internal, "out of bounds memory access"},
		{"a recursion that fills its stack", "recurse", guest, weft.Internal, "out of bounds memory access"},
		{"a pointer outside its memory", "badptr", guest, weft.Internal, "256 bytes at 0xfffffff0, which are not in its memory"},
		{"a length outside its memory", "badlen", guest, weft.Internal, "which are not in its memory"},
		{"a key of 2 GiB", "badkey", guest, weft.ResourceExhausted, "2147483647 bytes, the limit is 1024"},
		{"output without end", "flood", guest, weft.ResourceExhausted, "over its limit of 1048576 bytes"},
		{"host calls without end", "hostflood", guest, weft.ResourceExhausted, "its limit of 1000"},
		{"reading its input without end", "inputflood", guest, weft.ResourceExhausted, "used up its fuel"},
		{"logging without end", "logflood", guest, weft.ResourceExhausted, "used up its fuel"},
		{"headers without end", "headerflood", guest, weft.ResourceExhausted, "more than 100 headers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, env := load(t, c.wasm, weft.Limits{Fuel: 50_000_000}), newEnv()
			began := time.Now()
			_, err := m.Call(context.Background(), env, c.handler, Input{Body: bytes.Repeat([]byte("x"), 60_000)})
			if weft.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v (%v), want %v with %q", err, weft.CodeOf(err), c.code, c.says)
			}
			if trapped := errors.Is(err, ErrTrap); trapped != strings.Contains(err.Error(), "trapped") {
				t.Errorf("is a trap: %v: %v", trapped, err)
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("stopped after %v", d)
			}
			if env.bytes > DefaultLimits.LogBytes+1024 {
				t.Errorf("%d bytes were logged, the limit is %d", env.bytes, DefaultLimits.LogBytes)
			}
			if m.Stats().Idle != 0 && c.code != weft.Unknown {
				t.Error("the instance was kept")
			}
			if bytes.Equal(c.wasm, guest) {
				if _, err := m.Call(context.Background(), env, "noop", Input{}); err != nil {
					t.Errorf("the next call: %v", err)
				}
			}
		})
	}
}

func TestMemoryGrowsToItsLimitOnly(t *testing.T) {
	m := load(t, guest, weft.Limits{MemoryMiB: 8})
	out, err := m.Call(context.Background(), nil, "grow", Input{})
	if err != nil {
		t.Fatal(err)
	}
	if pages := int(out.Body[0]) + int(out.Body[1])<<8; pages > 128 || pages < 100 {
		t.Errorf("it has %d pages, the limit is 128", pages)
	}
	if m.Stats().Idle != 0 {
		t.Error("an instance whose memory is used up was kept")
	}
}

func TestAModuleThatWantsTooMuchMemoryIsRefused(t *testing.T) {
	r := open(t, Options{})
	wasm := assemble(sec(5, vec(cat([]byte{0}, u32(2000)))))
	for _, limits := range []weft.Limits{{}, {MemoryMiB: 100}} { // a module cannot raise the host's limit
		if _, err := r.Load(context.Background(), "x", bytesOf(wasm), Terms{Limits: limits, Isolation: isolation}); weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "the limit is 64 MiB") {
			t.Errorf("got %v", err)
		}
	}
}

func TestTheWallClockStopsAHandler(t *testing.T) {
	m, env := load(t, guest, weft.Limits{TimeoutMS: 50, Fuel: 60_000_000_000}), newEnv()
	env.block = true
	for _, handler := range []string{"spin", "inputflood", "call"} {
		began := time.Now()
		_, err := m.Call(context.Background(), env, handler, Input{Body: []byte("x")})
		if weft.CodeOf(err) != weft.DeadlineExceeded {
			t.Errorf("%s: got %v", handler, err)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("%s took %v", handler, d)
		}
	}
}

func TestACanceledCallerStopsAHandler(t *testing.T) {
	m := load(t, guest, weft.Limits{Fuel: 60_000_000_000})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(30*time.Millisecond, cancel)
	if _, err := m.Call(ctx, newEnv(), "spin", Input{}); weft.CodeOf(err) != weft.Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestInitializeIsLimitedToo(t *testing.T) {
	// _initialize loops, or calls the host; f is a handler.
	with := func(name string, body []byte) []byte {
		return assemble(
			sec(1, vec([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 1, 0x7f})),
			sec(2, vec(cat(sized([]byte("weft/v1")), sized([]byte("state_delete")), []byte{0, 2}))),
			sec(3, vec([]byte{0}, []byte{1})),
			sec(7, vec(cat(sized([]byte(name)), []byte{0, 1}), []byte{1, 'f', 0, 2})),
			sec(10, vec(sized(body), sized(code(0x20, 0)))),
		)
	}
	loop, call := code(0x03, 0x40, 0x0c, 0, 0x0b), code(0x41, 0, 0x41, 0, 0x10, 0, 0x1a)
	for _, c := range []struct {
		name string
		wasm []byte
		says string
	}{
		{"an endless loop", with("_initialize", loop), "used up its fuel"},
		{"a host call", with("_initialize", call), "state_delete was called outside a handler"},
		{"a trap", with("_initialize", code(0x00)), "unreachable"},
	} {
		m := load(t, c.wasm, weft.Limits{Fuel: 20_000_000})
		if _, err := m.Call(context.Background(), newEnv(), "f", Input{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	start := func(body []byte) []byte { // the same as the start function
		return assemble(
			sec(1, vec([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f})),
			sec(3, vec([]byte{0}, []byte{1})),
			sec(7, vec([]byte{1, 'f', 0, 1})),
			sec(8, []byte{0}),
			sec(10, vec(sized(body), sized(code(0x20, 0)))),
		)
	}
	m := load(t, start(loop), weft.Limits{Fuel: 20_000_000})
	if _, err := m.Call(context.Background(), newEnv(), "f", Input{}); err == nil || !strings.Contains(err.Error(), "used up its fuel") {
		t.Errorf("a start function: got %v", err)
	}
	m = load(t, start(code(0x01)), weft.Limits{})
	if _, err := m.Call(context.Background(), newEnv(), "f", Input{}); err != nil {
		t.Errorf("a start function that ends: %v", err)
	}
}

func TestARecursionGivesItsDepthBack(t *testing.T) {
	// f calls g many times in a loop, g returns early: were the depth lost at
	// each return, the module would be stopped.
	g := code(0x20, 0, 0x10, 2, 0x0f) // calls h, returns
	f := cat([]byte{1, 1, 0x7f}, []byte{
		0x03, 0x40, // loop
		0x41, 0, 0x10, 1, 0x1a, // g(0)
		0x20, 1, 0x41, 1, 0x6a, 0x22, 1, 0x41}, []byte{0xc0, 0x84, 0x3d}, []byte{0x48, 0x0d, 0, 0x0b, // ++i < 1,000,000
		0x41, 0, 0x0b})
	m := load(t, program(f, g, code(0x20, 0)), weft.Limits{})
	if _, err := m.Call(context.Background(), nil, "f", Input{}); err != nil {
		t.Errorf("got %v", err)
	}
	i := m.atRest()
	if left := int64(i.depth.Get()); left != meter.DepthMax {
		t.Errorf("%d of the depth is left after the call", left)
	}
	if math.MaxInt64 == i.fuel.Get() {
		t.Error("no fuel was burnt")
	}
}
