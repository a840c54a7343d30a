package wasm

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// tiny is a guest of one handler, f, written as words: an instruction each, its
// number behind it. It has one page of memory, in which text lies from 0 on, and a
// second local, an i64.
func tiny(imports, body string, text ...string) []byte {
	return tinyWith(nil, nil, imports, body, text...)
}

// mailing is tiny with a mailbox at an address.
func mailing(at int32, imports, body string, text ...string) []byte {
	return tinyWith(cat([]byte{0x60, 0}, sized(types(i32))), code(cat([]byte{0x41}, signed(at))...), imports, body, text...)
}

// tinyWith is tiny with the export weft_mailbox, of a type and with a body, if any.
func tinyWith(mailboxType, mailbox []byte, imports, body string, text ...string) []byte {
	names := strings.Fields(imports)
	kinds, funcs := [][]byte{cat([]byte{0x60}, sized(types(i32)), sized(types(i32)))}, [][]byte{}
	index := map[string]int{}
	for i, name := range names {
		for _, h := range hostFuncs {
			if h.name == name {
				kinds = append(kinds, cat([]byte{0x60}, sized(h.params), sized(h.results)))
			}
		}
		funcs = append(funcs, cat(sized([]byte(hostModule)), sized([]byte(name)), []byte{0}, u32(i+1)))
		index[name] = i
	}
	own, exports := [][]byte{{0}}, [][]byte{cat(sized([]byte("memory")), []byte{2, 0}), cat([]byte{1, 'f', 0}, u32(len(names)))}
	bodies := [][]byte{sized(cat([]byte{1, 1, 0x7e}, encode(strings.Fields(body), index), []byte{0x0b}))}
	if mailbox != nil {
		own, kinds = append(own, u32(len(kinds))), append(kinds, mailboxType)
		exports, bodies = append(exports, cat(sized([]byte(MailboxExport)), []byte{0}, u32(len(names)+1))), append(bodies, sized(mailbox))
	}
	return assemble(
		sec(1, vec(kinds...)), sec(2, vec(funcs...)), sec(3, vec(own...)), sec(5, vec([]byte{0, 1})),
		sec(7, vec(exports...)),
		sec(10, vec(bodies...)),
		sec(11, vec(cat([]byte{0, 0x41, 0, 0x0b}, sized([]byte(strings.Join(text, "")))))))
}

// words are the instructions without an operand.
var words = map[string][]byte{"loop": {0x03, 0x40}, "if": {0x04, 0x40}, "end": {0x0b}, "return": {0x0f}, "drop": {0x1a}, "select": {0x1b}, "unreachable": {0},
	"n": {0x20, 0}, "local1": {0x20, 1}, "local1=": {0x21, 1}, "lt64": {0x53}, "sub64": {0x7d}, "wrap": {0xa7}, "extend": {0xad}, "eq": {0x46}, "ne": {0x47},
	"add": {0x6a}, "sub": {0x6b}, "load": {0x28, 0, 0}, "store": {0x36, 0, 0}, "store64": {0x37, 0, 0}}

func encode(body []string, index map[string]int) (b []byte) {
	for i := 0; i < len(body); i++ {
		if w, ok := words[body[i]]; ok {
			b = append(b, w...)
			continue
		}
		i++
		v, _ := strconv.ParseInt(body[i], 0, 64)
		switch body[i-1] {
		case "const":
			b = append(append(b, 0x41), signed(int32(v))...)
		case "const64":
			b = append(append(b, 0x42), signed(int32(v))...)
		case "br":
			b = append(b, 0x0c, byte(v))
		case "call":
			b = binary.AppendUvarint(append(b, 0x10), uint64(index[body[i]]))
		default:
			panic("no such word: " + body[i-1])
		}
	}
	return b
}
