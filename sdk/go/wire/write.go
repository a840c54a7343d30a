package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// Marshal is the encoding of m. The same message has the same one each time.
func Marshal(m Message) []byte { return Append(nil, m) }

// Append appends the encoding of m.
func Append(to []byte, m Message) []byte {
	w := Writer{out: to}
	m.Write(&w)
	return w.out
}

// Writer writes a message. The number 0 is that of a value without a field: one
// of a packed list.
type Writer struct{ out []byte }

func (w *Writer) tag(num int32, kind Kind) {
	if num != 0 {
		w.varint(uint64(num)<<3 | uint64(kind))
	}
}

func (w *Writer) varint(v uint64) { w.out = binary.AppendUvarint(w.out, v) }

// within writes a field of bytes whose length is known afterwards.
func (w *Writer) within(num int32, write func()) {
	w.tag(num, Bytes)
	at := len(w.out)
	w.out = append(w.out, 0) // most lengths are short
	write()
	n := len(w.out) - at - 1
	if n < 0x80 {
		w.out[at] = byte(n)
		return
	}
	var length [binary.MaxVarintLen64]byte
	size := binary.PutUvarint(length[:], uint64(n))
	w.out = slices.Replace(w.out, at, at+1, length[:size]...)
}

// Int64 writes an int64.
func (w *Writer) Int64(num int32, v int64) { w.Uint64(num, uint64(v)) }

// Int32 writes an int32.
func (w *Writer) Int32(num int32, v int32) { w.Uint64(num, uint64(v)) }

// Uint64 writes a uint64.
func (w *Writer) Uint64(num int32, v uint64) {
	w.tag(num, Varint)
	w.varint(v)
}

// Uint32 writes a uint32.
func (w *Writer) Uint32(num int32, v uint32) { w.Uint64(num, uint64(v)) }

// Sint64 writes an sint64.
func (w *Writer) Sint64(num int32, v int64) { w.Uint64(num, uint64(v<<1)^uint64(v>>63)) }

// Sint32 writes an sint32.
func (w *Writer) Sint32(num int32, v int32) { w.Uint64(num, uint64(uint32(v<<1)^uint32(v>>31))) }

// Bool writes a bool.
func (w *Writer) Bool(num int32, v bool) {
	n := uint64(0)
	if v {
		n = 1
	}
	w.Uint64(num, n)
}

// Fixed64 writes a fixed64.
func (w *Writer) Fixed64(num int32, v uint64) {
	w.tag(num, Fixed64)
	w.out = binary.LittleEndian.AppendUint64(w.out, v)
}

// Fixed32 writes a fixed32.
func (w *Writer) Fixed32(num int32, v uint32) {
	w.tag(num, Fixed32)
	w.out = binary.LittleEndian.AppendUint32(w.out, v)
}

// Sfixed64 writes an sfixed64.
func (w *Writer) Sfixed64(num int32, v int64) { w.Fixed64(num, uint64(v)) }

// Sfixed32 writes an sfixed32.
func (w *Writer) Sfixed32(num int32, v int32) { w.Fixed32(num, uint32(v)) }

// Double writes a double.
func (w *Writer) Double(num int32, v float64) { w.Fixed64(num, math.Float64bits(v)) }

// Float writes a float.
func (w *Writer) Float(num int32, v float32) { w.Fixed32(num, math.Float32bits(v)) }

// String writes a string, which is UTF-8.
func (w *Writer) String(num int32, v string) {
	w.tag(num, Bytes)
	w.varint(uint64(len(v)))
	w.out = append(w.out, v...)
}

// Bytes writes bytes.
func (w *Writer) Bytes(num int32, v []byte) {
	w.tag(num, Bytes)
	w.varint(uint64(len(v)))
	w.out = append(w.out, v...)
}

// PutEnum writes a value of an enum.
func PutEnum[E ~int32](w *Writer, num int32, v E) { w.Int32(num, int32(v)) }

// PutMessage writes a message, an empty one for nil.
func PutMessage[T any, M interface {
	*T
	Message
}](w *Writer, num int32, v *T) {
	w.within(num, func() {
		if v != nil {
			M(v).Write(w)
		}
	})
}

// PutList writes each value of a list as a field.
func PutList[T any](w *Writer, num int32, list []T, put func(*Writer, int32, T)) {
	for _, v := range list {
		put(w, num, v)
	}
}

// PutPacked writes a list of numbers as one field.
func PutPacked[T any](w *Writer, num int32, list []T, put func(*Writer, int32, T)) {
	if len(list) == 0 {
		return
	}
	w.within(num, func() {
		for _, v := range list {
			put(w, 0, v)
		}
	})
}

// PutMap writes the entries of a map, in the order of their bytes.
func PutMap[K comparable, V any](w *Writer, num int32, m map[K]V, key func(*Writer, int32, K), value func(*Writer, int32, V)) {
	entries := make([][]byte, 0, len(m))
	for k, v := range m {
		var e Writer
		key(&e, 1, k)
		value(&e, 2, v)
		entries = append(entries, e.out)
	}
	slices.SortFunc(entries, bytes.Compare)
	PutList(w, num, entries, (*Writer).Bytes)
}

// Get is what v points to, or an empty message: also where a message is missing
// its fields can be read.
func Get[T any](v *T) *T {
	if v == nil {
		return new(T)
	}
	return v
}

// Or is what v points to, or the default of an absent field.
func Or[T any](v *T, absent T) T {
	if v == nil {
		return absent
	}
	return *v
}
