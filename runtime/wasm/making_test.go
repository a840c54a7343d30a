package wasm

import (
	"context"
	"testing"

	"github.com/weftrun/weft"
)

// TestMakingAnInstanceHasLimitsOfItsOwn: neither the start of a guest nor the call that
// needs it pays for the other, and each is stopped.
func TestMakingAnInstanceHasLimitsOfItsOwn(t *testing.T) {
	// turns is a body that turns a loop so often, of 7 instructions, by its local 1.
	turns := func(n int, last ...byte) []byte {
		return cat(u32(1), u32(2), []byte{0x7f, 0x03, 0x40, 0x20, 1, 0x41, 1, 0x6a, 0x22, 1, 0x41}, u32(n), []byte{0x49, 0x0d, 0, 0x0b}, last, []byte{0x0b})
	}
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
		{"two thirds of the fuel each", module(turns(most), turns(most, 0x41, 0)), weft.Limits{Fuel: 1_050_000}, weft.OK},
		{"a start that wants more fuel", module(turns(over), turns(most, 0x41, 0)), weft.Limits{Fuel: 1_050_000}, weft.ResourceExhausted},
		{"a call that wants more fuel", module(turns(most), turns(over, 0x41, 0)), weft.Limits{Fuel: 1_050_000}, weft.ResourceExhausted},
		{"a start that wants more time", module(endless, turns(1, 0x41, 0)), weft.Limits{TimeoutMS: 20, Fuel: 60_000_000_000}, weft.DeadlineExceeded},
	} {
		_, err := load(t, c.wasm, c.limits).Call(context.Background(), nil, "f", Input{})
		if weft.CodeOf(err) != c.code {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
