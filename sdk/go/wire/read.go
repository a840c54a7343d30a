// Package wire reads and writes protobuf's wire format, for the code that
// protoc-gen-weft and weft module generate write: without reflection, registries
// or tables. Messages are plain structs with a method each way.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Message is what generated code makes of a message: the pointer to its struct.
type Message interface {
	// FullName is its name in protobuf, such as google.protobuf.Duration.
	FullName() string
	// Read adds the fields that r has to those of the message.
	Read(r *Reader)
	// Write writes the fields of the message. Unknown ones were not kept.
	Write(w *Writer)
}

// Unmarshal adds what data says to m: a field that is there already is replaced,
// a list or map grows, and a message is added to in turn. What m has no field for,
// or one of another type, is passed over. Strings are copied, and so are bytes.
func Unmarshal(data []byte, m Message) error {
	r := Reader{in: data}
	m.Read(&r)
	if r.err != nil {
		return fmt.Errorf("%s: %w", m.FullName(), r.err)
	}
	return nil
}

// Kind is how a value lies in the bytes of a message.
type Kind uint8

// The kinds of the wire format.
const (
	Varint Kind = iota
	Fixed64
	Bytes
	group
	groupEnd
	Fixed32
)

// DepthMax is how deep messages may lie in each other.
const DepthMax = 100

// Errors of bytes that are no message.
var (
	errTruncated = errors.New("the message ends in the middle of a field")
	errVarint    = errors.New("a number has more than 64 bits")
	errField     = errors.New("a field has no valid number or type")
	errUTF8      = errors.New("a string is not UTF-8")
	errDepth     = fmt.Errorf("messages lie more than %d deep in each other", DepthMax)
)

// Reader reads a message, a field at a time.
type Reader struct {
	Num int32 // of the field that Next has found

	in      []byte // what is left of the message
	kind    Kind   // of the field
	waiting bool   // the field's value is still the next that in has
	depth   int
	err     error // the first
}

// Next goes to the next field, past the value of the one before if that was not
// taken. It is false at the end and after an error.
func (r *Reader) Next() bool {
	if r.waiting {
		r.skip(r.kind, r.Num, 0)
		r.waiting = false
	}
	if r.err != nil || len(r.in) == 0 {
		return false
	}
	tag := r.varint()
	if r.err != nil {
		return false
	}
	r.kind, r.waiting = Kind(tag&7), true
	if tag>>3 < 1 || tag>>3 > 1<<29-1 || r.kind > Fixed32 || r.kind == groupEnd {
		return r.fail(errField)
	}
	r.Num = int32(tag >> 3)
	return true
}

// Took says whether the field's value was taken: it was of the right type.
func (r *Reader) Took() bool { return !r.waiting && r.err == nil }

func (r *Reader) fail(err error) bool {
	if r.err == nil {
		r.err = err
	}
	r.in, r.waiting = nil, false
	return false
}

// take says whether the value is of that kind, and takes it.
func (r *Reader) take(kind Kind) bool {
	if !r.waiting || r.kind != kind {
		return false
	}
	r.waiting = false
	return true
}

func (r *Reader) varint() uint64 {
	v, n := binary.Uvarint(r.in)
	switch {
	case n == 0:
		r.fail(errTruncated)
		return 0
	case n < 0:
		r.fail(errVarint)
		return 0
	}
	r.in = r.in[n:]
	return v
}

// cut takes n bytes, nil when there are fewer.
func (r *Reader) cut(n uint64) []byte {
	if n > uint64(len(r.in)) {
		r.fail(errTruncated)
		return nil
	}
	b := r.in[:n:n]
	r.in = r.in[n:]
	return b
}

// skip passes over a value, which may be a group of fields.
func (r *Reader) skip(kind Kind, num int32, depth int) {
	switch kind {
	case Varint:
		r.varint()
	case Fixed64:
		r.cut(8)
	case Fixed32:
		r.cut(4)
	case Bytes:
		r.cut(r.varint())
	case group:
		for r.err == nil {
			tag := r.varint()
			inner, n := Kind(tag&7), tag>>3
			switch {
			case r.err != nil:
			case n < 1 || n > 1<<29-1 || inner > Fixed32:
				r.fail(errField)
			case inner == groupEnd && n == uint64(num):
				return
			case inner == groupEnd:
				r.fail(errField)
			case depth >= DepthMax:
				r.fail(errDepth)
			default:
				r.skip(inner, int32(n), depth+1)
			}
		}
	}
}

// The methods below take the field's value if it is of their type, and leave v as
// it is otherwise.

// Int64 takes an int64.
func (r *Reader) Int64(v *int64) {
	if r.take(Varint) {
		*v = int64(r.varint())
	}
}

// Int32 takes an int32.
func (r *Reader) Int32(v *int32) {
	if r.take(Varint) {
		*v = int32(r.varint())
	}
}

// Uint64 takes a uint64.
func (r *Reader) Uint64(v *uint64) {
	if r.take(Varint) {
		*v = r.varint()
	}
}

// Uint32 takes a uint32.
func (r *Reader) Uint32(v *uint32) {
	if r.take(Varint) {
		*v = uint32(r.varint())
	}
}

// Sint64 takes an sint64.
func (r *Reader) Sint64(v *int64) {
	if r.take(Varint) {
		u := r.varint()
		*v = int64(u>>1) ^ -int64(u&1)
	}
}

// Sint32 takes an sint32.
func (r *Reader) Sint32(v *int32) {
	if r.take(Varint) {
		u := uint32(r.varint())
		*v = int32(u>>1) ^ -int32(u&1)
	}
}

// Bool takes a bool.
func (r *Reader) Bool(v *bool) {
	if r.take(Varint) {
		*v = r.varint() != 0
	}
}

// Fixed64 takes a fixed64.
func (r *Reader) Fixed64(v *uint64) {
	if r.take(Fixed64) {
		if b := r.cut(8); b != nil {
			*v = binary.LittleEndian.Uint64(b)
		}
	}
}

// Fixed32 takes a fixed32.
func (r *Reader) Fixed32(v *uint32) {
	if r.take(Fixed32) {
		if b := r.cut(4); b != nil {
			*v = binary.LittleEndian.Uint32(b)
		}
	}
}

// Sfixed64 takes an sfixed64.
func (r *Reader) Sfixed64(v *int64) {
	u := uint64(*v)
	r.Fixed64(&u)
	*v = int64(u)
}

// Sfixed32 takes an sfixed32.
func (r *Reader) Sfixed32(v *int32) {
	u := uint32(*v)
	r.Fixed32(&u)
	*v = int32(u)
}

// Double takes a double.
func (r *Reader) Double(v *float64) {
	u := math.Float64bits(*v)
	r.Fixed64(&u)
	*v = math.Float64frombits(u)
}

// Float takes a float.
func (r *Reader) Float(v *float32) {
	u := math.Float32bits(*v)
	r.Fixed32(&u)
	*v = math.Float32frombits(u)
}

// String takes a string.
func (r *Reader) String(v *string) {
	if !r.take(Bytes) {
		return
	}
	b := r.cut(r.varint())
	if !utf8.Valid(b) {
		r.fail(errUTF8)
		return
	}
	*v = string(b)
}

// Bytes takes bytes: not nil, also where there are none.
func (r *Reader) Bytes(v *[]byte) {
	if r.take(Bytes) {
		*v = append([]byte{}, r.cut(r.varint())...)
	}
}

// TakeEnum takes a value of an enum, one without a name too.
func TakeEnum[E ~int32](r *Reader, v *E) {
	n := int32(*v)
	r.Int32(&n)
	*v = E(n)
}

// TakeMessage takes a message, or adds it to the one that is there.
func TakeMessage[T any, M interface {
	*T
	Message
}](r *Reader, v **T) {
	if !r.take(Bytes) {
		return
	}
	body := r.cut(r.varint())
	if *v == nil {
		*v = new(T)
	}
	r.within(body, func() { M(*v).Read(r) })
}

// within reads body, and goes on behind it.
func (r *Reader) within(body []byte, read func()) {
	if r.err != nil {
		return
	}
	if r.depth++; r.depth > DepthMax {
		r.fail(errDepth)
		return
	}
	rest := r.in
	r.in = body
	read()
	r.depth--
	if r.err == nil {
		r.in, r.waiting = rest, false
	}
}

// TakePtr takes a value whose presence matters.
func TakePtr[T any](r *Reader, v **T, take func(*Reader, *T)) {
	one := new(T)
	if take(r, one); r.Took() {
		*v = one
	}
}

// TakeList takes one more value of a list.
func TakeList[T any](r *Reader, list *[]T, take func(*Reader, *T)) {
	var one T
	if take(r, &one); r.Took() {
		*list = append(*list, one)
	}
}

// TakePacked takes one more value of a list of numbers, or several at once.
func TakePacked[T any](r *Reader, list *[]T, kind Kind, take func(*Reader, *T)) {
	if !r.take(Bytes) {
		TakeList(r, list, take)
		return
	}
	r.within(r.cut(r.varint()), func() {
		for len(r.in) > 0 {
			r.kind, r.waiting = kind, true
			TakeList(r, list, take)
		}
	})
}

// TakeMap takes one entry of a map.
func TakeMap[K comparable, V any](r *Reader, m *map[K]V, key func(*Reader, *K), value func(*Reader, *V)) {
	if !r.take(Bytes) {
		return
	}
	r.within(r.cut(r.varint()), func() {
		var k K
		var v V
		given := false
		for r.Next() {
			switch r.Num {
			case 1:
				key(r, &k)
			case 2:
				value(r, &v)
				given = given || r.Took()
			}
		}
		if !given && r.err == nil { // a message is an empty one
			r.in, r.kind, r.waiting = []byte{0}, Bytes, true
			value(r, &v)
		}
		if r.err != nil {
			return
		}
		if *m == nil {
			*m = map[K]V{}
		}
		(*m)[k] = v
	})
}
