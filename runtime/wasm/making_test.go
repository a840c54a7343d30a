package wasm

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// turning is a body that turns a loop so often, of 7 instructions, by its local 1.
func turning(n int, last ...byte) []byte {
	return cat(u32(1), u32(2), []byte{0x7f, 0x03, 0x40, 0x20, 1, 0x41, 1, 0x6a, 0x22, 1, 0x41}, u32(n), []byte{0x49, 0x0d, 0, 0x0b}, last, []byte{0x0b})
}

// TestMakingAnInstanceHasLimitsOfItsOwn: neither the start of a guest nor the call that
// needs it pays for the other, and each is stopped.
func TestMakingAnInstanceHasLimitsOfItsOwn(t *testing.T) {
	module := func(start, handler []byte) []byte {
		return assemble(
			sec(1, vec([]byte{0x60, 0, 0}, []byte{0x60, 1, 0x7f, 1, 0x7f})),
			sec(3, vec([]byte{0}, []byte{1})),
			sec(7, vec(cat(sized([]byte("_initialize")), []byte{0, 0}), []byte{1, 'f', 0, 1})),
			sec(10, vec(sized(start), sized(handler))),
		)
	}
	const most, over = 100_000, 400_000 // turns: of two thirds of the fuel, and of more than it
	endless := code(0x03, 0x40, 0x0c, 0, 0x0b)
	for _, c := range []struct {
		name   string
		wasm   []byte
		limits weft.Limits
		code   weft.Code
	}{
		{"two thirds of the fuel each", module(turning(most), turning(most, 0x41, 0)), weft.Limits{Fuel: 1_050_000}, weft.OK},
		{"a start that wants more fuel", module(turning(over), turning(most, 0x41, 0)), weft.Limits{Fuel: 1_050_000}, weft.ResourceExhausted},
		{"a call that wants more fuel", module(turning(most), turning(over, 0x41, 0)), weft.Limits{Fuel: 1_050_000}, weft.ResourceExhausted},
		{"a start that wants more time", module(endless, turning(1, 0x41, 0)), weft.Limits{TimeoutMS: 20, Fuel: 60_000_000_000}, weft.DeadlineExceeded},
	} {
		_, err := load(t, c.wasm, c.limits).Call(context.Background(), nil, "f", Input{})
		if weft.CodeOf(err) != c.code {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// TestMakingAnInstanceBurnsWhatThePageSays: the engine's work burns of what making may,
// together with what runs then, and of nothing that a call has.
func TestMakingAnInstanceBurnsWhatThePageSays(t *testing.T) {
	many := func(n int, b ...byte) []byte { return cat(u32(n), slices.Repeat(b, n)) }
	// module has a handler that does nothing, and a start function where it starts.
	module := func(starts bool, places, globals, lists, data int) []byte {
		start := []byte{}
		if starts {
			start = sec(8, u32(1))
		}
		return assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 0, 0})), sec(3, vec([]byte{0}, []byte{1})), sec(4, vec(cat([]byte{0x70, 0}, u32(places)))), sec(5, vec([]byte{0, 1})),
			sec(6, many(globals, 0x7f, 1, 0x41, 0, 0x0b)), sec(7, vec([]byte{1, 'f', 0, 0})), start, sec(9, many(lists, 1, 0, 0)),
			sec(10, vec(sized(code(0x41, 0)), sized(turning(100_000)))), sec(11, many(data, 1, 0)))
	}
	for _, c := range []struct {
		name                         string
		places, globals, lists, data int
		burns                        int64
	}{
		{"a few of all", 10_000, 300, 100, 100, 0},
		{"places", 65_536, 1_000, 0, 0, 165_536},
		{"globals", 0, 4_000, 0, 0, 400_000},
		{"segments of elements", 0, 0, 3_000, 0, 1_500_000},
		{"segments of data", 0, 0, 0, 3_000, 300_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			wasm := module(false, c.places, c.globals, c.lists, c.data)
			codes := map[int64]weft.Code{c.burns: weft.OK, c.burns - 1: weft.ResourceExhausted}
			if c.burns == 0 {
				codes = map[int64]weft.Code{100: weft.OK}
			}
			for fuel, want := range codes {
				m := load(t, wasm, weft.Limits{Fuel: fuel})
				_, err := m.Call(context.Background(), nil, "f", Input{})
				if weft.CodeOf(err) != want || want != weft.OK && (m.Stats().Limits[LimitFuel] != 1 || !strings.Contains(err.Error(), "have fewer segments")) {
					t.Errorf("with %d of fuel: %v", fuel, err)
				}
			}
		})
	}
	for fuel, want := range map[int64]weft.Code{2_500_000: weft.OK, 2_000_000: weft.ResourceExhausted} { // it starts with 700,000 or so
		m := load(t, module(true, 0, 0, 3_000, 0), weft.Limits{Fuel: fuel})
		if _, err := m.Call(context.Background(), nil, "f", Input{}); weft.CodeOf(err) != want {
			t.Errorf("a start function, with %d of fuel: %v", fuel, err)
		}
	}
}
