package hostile

import (
	"bytes"
	"encoding/binary"
)

// A module is put together from the parts that a case cares about.

func u32(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func repeat(n int, b ...byte) []byte { return bytes.Repeat(b, n) }

// times is b, n times.
func times(n int, b []byte) []byte { return bytes.Repeat(b, n) }

func sized(b []byte) []byte { return cat(u32(len(b)), b) }

func text(s string) []byte { return sized([]byte(s)) }

func vec(items ...[]byte) []byte { return cat(u32(len(items)), cat(items...)) }

func sec(id byte, content []byte) []byte { return cat([]byte{id}, sized(content)) }

func assemble(sections ...[]byte) []byte {
	return cat([]byte("\x00asm\x01\x00\x00\x00"), cat(sections...))
}

const (
	i32 = 0x7f
	i64 = 0x7e
	end = 0x0b
)

// konst is an i32 constant.
func konst(v int32) []byte {
	b := []byte{0x41}
	for {
		c := byte(v) & 0x7f
		if v >>= 7; v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// code is a function's body without locals of its own.
func code(instructions ...[]byte) []byte { return cat([]byte{0}, cat(instructions...), []byte{end}) }

// locals is a body with n locals of type i32.
func locals(n int, instructions ...[]byte) []byte {
	return cat([]byte{1}, u32(n), []byte{i32}, cat(instructions...), []byte{end})
}

// loop is an endless loop around the instructions.
func loop(instructions ...[]byte) []byte {
	return cat([]byte{0x03, 0x40}, cat(instructions...), []byte{0x0c, 0, end, 0x00})
}

// one is a module with a function () -> () of that body.
func one(body []byte) []byte {
	return assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(10, vec(sized(body))))
}

// frame is a module with a memory, a table and functions (i32) -> i32, the
// first of which is the handler f.
type frame struct {
	pages      int      // of memory; one where it is 0
	imports    []string // of weft/v1, which signatures has
	start      bool     // the last function is () -> (), and runs at the start
	initialize bool     // the same as _initialize
	data       []byte   // at the beginning of memory
}

// signatures of what the cases import.
var signatures = map[string][]byte{
	"input": {0x60, 3, i32, i32, i32, 1, i32}, "output": {0x60, 2, i32, i32, 0}, "log": {0x60, 3, i32, i32, i32, 0},
	"header_set": {0x60, 4, i32, i32, i32, i32, 0}, "state_get": {0x60, 4, i32, i32, i32, i32, 1, i64},
	"state_set": {0x60, 4, i32, i32, i32, i32, 1, i32}, "publish": {0x60, 4, i32, i32, i32, i32, 1, i32},
	"call": {0x60, 6, i32, i32, i32, i32, i32, i32, 1, i64}, "state_delete": {0x60, 2, i32, i32, 1, i32},
}

// handler assembles the frame around the bodies. Imported functions have the
// first indices.
func (f frame) handler(bodies ...[]byte) []byte {
	types, imports, kinds, codes := [][]byte{{0x60, 1, i32, 1, i32}, {0x60, 0, 0}}, [][]byte{}, [][]byte{}, [][]byte{}
	for i, name := range f.imports {
		types = append(types, signatures[name])
		imports = append(imports, cat(text("weft/v1"), text(name), []byte{0}, u32(2+i)))
	}
	for i, b := range bodies {
		kind := byte(0)
		if i == len(bodies)-1 && (f.start || f.initialize) {
			kind = 1
		}
		kinds, codes = append(kinds, []byte{kind}), append(codes, sized(b))
	}
	memory := cat([]byte{0}, u32(max(f.pages, 1)))
	first, last := len(imports), len(imports)+len(bodies)-1
	exports := [][]byte{cat(text("memory"), []byte{2, 0}), cat(text("f"), []byte{0}, u32(first))}
	if f.initialize {
		exports = append(exports, cat(text("_initialize"), []byte{0}, u32(last)))
	}
	sections := [][]byte{sec(1, vec(types...)), sec(2, vec(imports...)), sec(3, vec(kinds...)), sec(4, vec([]byte{0x70, 0, 1})), sec(5, vec(memory)), sec(7, vec(exports...))}
	if f.start {
		sections = append(sections, sec(8, u32(last)))
	}
	sections = append(sections, sec(9, vec(cat([]byte{0, 0x41, 0, end}, vec(u32(first))))), sec(10, vec(codes...)))
	if f.data != nil {
		sections = append(sections, sec(11, vec(cat([]byte{0, 0x41, 0, end}, sized(f.data)))))
	}
	return assemble(sections...)
}
