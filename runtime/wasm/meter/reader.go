package meter

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/weftrun/weft"
)

// reader walks the bytes of an untrusted module. What does not fit ends the
// walk by a panic with a refusal, which Rewrite turns into its error; so the
// code that walks reads like the specification.
type reader struct {
	b []byte
	p int
}

// refusal is why a module is refused; which function it is about is known above.
type refusal struct {
	code weft.Code
	text string
}

// malformed ends the walk: the module is not valid.
func malformed(format string, args ...any) {
	panic(refusal{weft.InvalidArgument, fmt.Sprintf(format, args...)})
}

// over ends the walk when a count is over its limit.
func over(what string, n uint64, limit int) {
	if n > uint64(limit) {
		panic(refusal{weft.ResourceExhausted, fmt.Sprintf("too many %s: %d, the limit is %d", what, n, limit)})
	}
}

// within ends the walk when an index is not below n: what Rewrite adds has
// indices of its own, which a guest must not reach.
func within(what string, i uint32, n int) uint32 {
	if uint64(i) >= uint64(n) {
		malformed("%s %d does not exist, there are %d", what, i, n)
	}
	return i
}

func (r *reader) byte() byte {
	if r.p >= len(r.b) {
		malformed("it ends in the middle")
	}
	r.p++
	return r.b[r.p-1]
}

// u32 is an unsigned LEB128 of at most five bytes.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v > 1<<32-1 {
				malformed("a number is over 32 bits")
			}
			return uint32(v)
		}
	}
	malformed("a number is over 32 bits")
	return 0
}

// vectorOp is the number of a vector instruction, in its shortest form: the compiler reads
// one byte of it, and what follows as other instructions. Of a number in two bytes the
// second is 1 so, a nop.
func (r *reader) vectorOp() uint32 {
	start := r.p
	op := r.u32()
	if long := r.p - start; op > 255 || long > 2 || long == 2 && op < 128 {
		malformed("instruction 0xfd %d in %d bytes is not one of WebAssembly 2.0", op, long)
	}
	return op
}

// skip passes over a LEB128 of at most max bytes.
func (r *reader) skip(max int) {
	for range max {
		if r.byte() < 0x80 {
			return
		}
	}
	malformed("a number has more than %d bytes", max)
}

// take is the next n bytes, which are there: a count is never believed.
func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)-r.p) {
		malformed("it says that %d bytes follow, but %d do", n, len(r.b)-r.p)
	}
	r.p += int(n)
	return r.b[r.p-int(n) : r.p]
}

// valueType is a value type of WebAssembly 2.0. Later ones take more bytes,
// which the code that walks would take for something else.
func (r *reader) valueType() byte {
	t := r.byte()
	if !(t >= v128Type && t <= i32Type || t == funcrefType || t == externrefType) {
		malformed("value type %#x is not one of WebAssembly 2.0", t)
	}
	return t
}

// valueTypes are n of them.
func (r *reader) valueTypes(n uint32) []byte {
	start := r.p
	for range n {
		r.valueType()
	}
	return r.since(start)
}

// refType is a value type that refers to something.
func (r *reader) refType() byte {
	t := r.byte()
	if t != funcrefType && t != externrefType {
		malformed("reference type %#x is not one of WebAssembly 2.0", t)
	}
	return t
}

func (r *reader) name(limit int) string {
	s := string(r.take(r.count("bytes of a name", limit)))
	if !utf8.ValidString(s) {
		malformed("the name %q is not UTF-8", s[:min(len(s), 100)])
	}
	return s
}

// count is the length of a vector, at most limit.
func (r *reader) count(what string, limit int) uint32 {
	n := r.u32()
	over(what, uint64(n), limit)
	return n
}

// since is what has been read from position p on.
func (r *reader) since(p int) []byte { return r.b[p:r.p] }

func appendU32(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// appendSigned appends a signed LEB128 of a number that is not negative.
func appendSigned(b []byte, v uint32) []byte {
	for ; v >= 0x40; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func appendName(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendSection(b []byte, id byte, body []byte) []byte {
	return append(appendU32(append(b, id), uint32(len(body))), body...)
}

// Value types.
const (
	i32Type       = 0x7f
	i64Type       = 0x7e
	f32Type       = 0x7d
	f64Type       = 0x7c
	v128Type      = 0x7b
	funcrefType   = 0x70
	externrefType = 0x6f
)

var typeNames = map[byte]string{i32Type: "i32", i64Type: "i64", f32Type: "f32", f64Type: "f64", v128Type: "v128", funcrefType: "funcref", externrefType: "externref"}
