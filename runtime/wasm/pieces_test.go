package wasm

import (
	"bytes"
	"context"
	"testing"

	"github.com/weftrun/weft"
)

// gone is the context of a caller who goes away when it has been asked for a number of times.
type gone struct {
	context.Context
	after, asked int
}

func (g *gone) Err() error {
	if g.asked++; g.asked > g.after {
		return context.Canceled
	}
	return nil
}

func TestACanceledCallerStopsWhatWorksOnAllOfMemory(t *testing.T) {
	const size = 60 << 20
	k := func(n int32) []byte { return cat([]byte{0x41}, signed(n)) }
	for _, c := range []struct {
		name         string
		instructions []byte
	}{
		{"a fill", cat(k(0), k(7), k(size), []byte{0xfc, 11, 0})},
		{"a copy downwards", cat(k(0), k(1), k(size-1), []byte{0xfc, 10, 0, 0})},
		{"a copy upwards", cat(k(1), k(0), k(size-1), []byte{0xfc, 10, 0, 0})},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := load(t, program(code(cat(k(size>>16), []byte{0x40, 0, 0x1a}, c.instructions, k(0))...)), weft.Limits{})
			all := &gone{Context: context.Background(), after: 1_000}
			if _, err := m.Call(all, nil, "f", Input{}); err != nil || all.asked < size>>18-1 {
				t.Fatalf("got %v, after %d looks at the caller", err, all.asked)
			}
			half := &gone{Context: context.Background(), after: all.asked / 2}
			if _, err := m.Call(half, nil, "f", Input{}); weft.CodeOf(err) != weft.Canceled || half.asked != half.after+1 {
				t.Errorf("got %v after %d of %d looks", err, half.asked, all.asked)
			}
		})
	}
}

// What a long range costs is paid before its first piece, and once.
func TestALongRangeIsPaidOnce(t *testing.T) {
	const size, fills = 3 << 20, 100 // bytes, of which 8 are a unit
	k := func(n int32) []byte { return cat([]byte{0x41}, signed(n)) }
	wasm := program(code(cat(k(size>>16), []byte{0x40, 0, 0x1a}, // more memory
		[]byte{0x03, 0x40}, k(0), k(7), k(size), []byte{0xfc, 11, 0}, // a fill for each byte of input
		[]byte{0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b}, k(0))...))
	for _, c := range []struct {
		fuel int64
		code weft.Code
	}{{fills*size/8 - 10_000, weft.ResourceExhausted}, {fills*size/8 + 10_000, weft.OK}} {
		m := load(t, wasm, weft.Limits{Fuel: c.fuel})
		if _, err := m.Call(context.Background(), nil, "f", Input{Body: bytes.Repeat([]byte("x"), fills)}); weft.CodeOf(err) != c.code {
			t.Errorf("%d fills with fuel of %d: %v", fills, c.fuel, err)
		}
	}
}
