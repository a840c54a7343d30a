package wasm

import (
	"context"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// loud panics when it is to take a line.
type loud struct{ *memEnv }

func (loud) Log(slog.Level, string) { panic("no room for a line") }

// unended is a guest that writes an x to standard output and does not end the line, in
// its start function or in each call.
func unended(atStart bool) []byte {
	says := []byte{0x41, 1, 0x41, 16, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a}
	start, f := code(), code(0x41, 0)
	if atStart {
		start = code(says...)
	} else {
		f = code(cat(says, []byte{0x41, 0})...)
	}
	return assemble(
		sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f}, []byte{0x60, 0, 0})),
		sec(2, vec(cat(sized([]byte("wasi_snapshot_preview1")), sized([]byte("fd_write")), []byte{0, 1}))),
		sec(3, vec([]byte{0}, []byte{2})),
		sec(5, vec([]byte{0, 16})),
		sec(7, vec(cat(sized([]byte("memory")), []byte{2, 0}), []byte{1, 'f', 0, 1})),
		sec(8, []byte{2}),
		sec(10, vec(sized(f), sized(start))),
		sec(11, vec(cat([]byte{0, 0x41, 16, 0x0b}, sized([]byte{32, 0, 0, 0, 1, 0, 0, 0, 'x'})))))
}

// outOfBounds is a guest of 16 pages, with a byte of data beyond them.
var outOfBounds = assemble(
	sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})),
	sec(3, vec([]byte{0})),
	sec(5, vec([]byte{0, 16})),
	sec(7, vec([]byte{1, 'f', 0, 0})),
	sec(10, vec(sized(code(0x41, 0)))),
	sec(11, vec(cat([]byte{0, 0x41}, signed(16*wasmPage), []byte{0x0b}, sized([]byte("x"))))))

// unready is a plug-in of Extism whose hs_init traps.
var unready = assemble(
	sec(1, vec([]byte{0x60, 0, 1, 0x7f}, []byte{0x60, 2, 0x7f, 0x7f, 0}, []byte{0x60, 0, 1, 0x7e})),
	sec(2, vec(cat(sized([]byte(extismModule)), sized([]byte("input_length")), []byte{0, 2}))),
	sec(3, vec([]byte{0}, []byte{1})),
	sec(5, vec([]byte{0, 16})),
	sec(7, vec([]byte{1, 'f', 0, 1}, cat(sized([]byte("hs_init")), []byte{0, 2}))),
	sec(10, vec(sized(code(0x41, 0)), sized(code(0)))))

// TestACallThatTrapsLeavesNothing: neither a place that is taken, nor memory or a
// worker, wherever it does.
func TestACallThatTrapsLeavesNothing(t *testing.T) {
	asks := tiny("header_get", "const 0 const 1 const 8 const 8 call header_get drop const 0", "x")
	for _, c := range []struct {
		name string
		wasm []byte
		in   Input
	}{
		{"data outside of memory", outOfBounds, Input{}},
		{"hs_init", unready, Input{}},
		{"a panic over what a start has written", unended(true), Input{}},
		{"a panic over what a call has written", unended(false), Input{}},
		{"a panic where headers are made", asks, Input{HeadersOf: func() weft.Header { panic("no headers") }}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, Options{})
			m := loadIn(t, r, c.wasm, weft.Limits{Concurrency: 1, TimeoutMS: 1_000})
			for range 3 {
				if _, err := m.Call(context.Background(), loud{newEnv()}, "f", c.in); err == nil || !strings.Contains(err.Error(), ErrTrap.Error()) {
					t.Errorf("got %v", err)
				}
			}
			r.trim()
			if s := m.Stats(); s.Live != 0 || s.Bytes != 0 || s.Running != 0 || s.Traps != 3 || r.memory.used.Load() != 0 || r.staff.used.Load() != 0 {
				t.Errorf("it leaves %+v, %d bytes of all guests, %d workers", s, r.memory.used.Load(), r.staff.used.Load())
			}
		})
	}
}

// TestAnInstanceAtRestHasNothingOfACaller: no context, body, room or headers.
func TestAnInstanceAtRestHasNothingOfACaller(t *testing.T) {
	for _, life := range []weft.Lifecycle{weft.Pool, weft.Isolate} {
		for _, c := range []struct {
			wasm    []byte
			handler string
			stream  Stream
		}{
			{guest, "noop", nil}, {guest, "echo", nil}, {guest, "fail", nil}, {guest, "header", nil}, {guest, "get", nil}, {guest, "left", nil},
			{echoAll, "f", &script{in: []string{"a", "b"}}}, {file(t, "plugin.wasm"), "echo", nil},
		} {
			m := loadAs(t, open(t, Options{CacheDir: filepath.Join(scratch, "places")}), life, c.wasm, weft.Limits{})
			in := Input{Body: []byte("body"), Into: make([]byte, 9), HeadersOf: func() weft.Header { return weft.Header{"x": {"y"}} }, Stream: c.stream}
			if _, err := m.Call(t.Context(), newEnv(), c.handler, in); err != nil && weft.CodeOf(err) != weft.NotFound {
				t.Errorf("%s: %v", c.handler, err)
			}
			i := m.atRest()
			if i.call.i = nil; !reflect.ValueOf(i.call).IsZero() || len(i.written[0].rest)+len(i.written[1].rest) > 0 {
				t.Errorf("%s, %s: %+v", life, c.handler, i.call)
			}
		}
	}
}
