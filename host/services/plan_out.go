package services

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// there is a field that is there, as it is on the wire.
type there struct {
	field int32
	wire  protowire.Type
	value []byte
}

// toJSON appends an encoded message to dst, as JSON. Not ok means that it
// declines.
func (p *plan) toJSON(dst, data []byte, depth int) (out []byte, ok bool) {
	switch p.form {
	case timestamp, duration:
		return p.timeJSON(dst, data)
	case foreign:
		out, err := p.byMessageJSON(dst, data)
		return out, err == nil
	}
	var room [24]there
	all, ok := p.scan(room[:0], data)
	if !ok || depth == depthMax {
		return dst, false
	}
	dst = append(dst, '{')
	first := len(dst)
	var oneofs marks
	for len(all) > 0 {
		f := &p.fields[all[0].field]
		n := 1
		for n < len(all) && all[n].field == all[0].field {
			n++
		}
		if f.oneof > 0 && !oneofs.set(f.oneof) {
			return dst, false
		}
		mark := len(dst)
		if mark > first {
			dst = append(dst, ',')
		}
		dst = append(dst, f.name...)
		var shown bool
		if dst, shown, ok = f.toJSON(dst, all[:n], depth); !ok {
			return dst, false
		}
		if !shown {
			dst = dst[:mark]
		}
		all = all[n:]
	}
	return append(dst, '}'), true
}

// scan lists the fields of data in the order of JSON.
func (p *plan) scan(all []there, data []byte) ([]there, bool) {
	sorted := true
	var last int32
	for len(data) > 0 {
		num, wire, n := protowire.ConsumeTag(data)
		if n < 0 || num > protowire.MaxValidNumber {
			return nil, false
		}
		m := protowire.ConsumeFieldValue(num, wire, data[n:])
		if m < 0 {
			return nil, false
		}
		if i, ok := p.index(num, last); ok {
			sorted = sorted && i >= last
			last = i
			all = append(all, there{i, wire, data[n : n+m]})
		}
		data = data[n+m:]
	}
	if !sorted {
		slices.SortStableFunc(all, func(a, b there) int { return cmp.Compare(a.field, b.field) })
	}
	return all, true
}

// index is that of a field. It is mostly the last one, or the one after it.
func (p *plan) index(num protowire.Number, last int32) (int32, bool) {
	for i := last; i < last+2 && int(i) < len(p.fields); i++ {
		if p.fields[i].number == num {
			return i, true
		}
	}
	i, ok := p.byNumber[num]
	return i, ok
}

// toJSON appends what there is of a field; it is not shown where it is zero and
// has no presence.
func (f *planField) toJSON(dst []byte, all []there, depth int) (out []byte, shown, ok bool) {
	switch {
	case f.decline:
		return dst, false, false
	case f.isMap:
		return f.mapJSON(dst, all, depth)
	case f.list:
		return f.listJSON(dst, all, depth)
	case len(all) > 1 || all[0].wire != f.wire: // to be merged, or not known
		return dst, false, false
	}
	dst, ok = f.oneJSON(dst, all[0].value, depth)
	return dst, f.presence || !f.isZero(all[0].value), ok
}

// isZero reports whether a value is zero, however long it is written.
func (f *planField) isZero(value []byte) bool {
	if f.wire == protowire.BytesType {
		b, _ := protowire.ConsumeBytes(value)
		return len(b) == 0
	}
	switch n := f.raw(value); f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		return uint32(n) == 0
	default:
		return n == 0
	}
}

func (f *planField) listJSON(dst []byte, all []there, depth int) (out []byte, shown, ok bool) {
	dst = append(dst, '[')
	first := len(dst)
	for _, t := range all {
		value := t.value
		switch {
		case t.wire == f.wire:
		case t.wire == protowire.BytesType: // packed
			value, _ = protowire.ConsumeBytes(t.value)
		default:
			return dst, false, false
		}
		for len(value) > 0 {
			n := protowire.ConsumeFieldValue(f.number, f.wire, value)
			if n < 0 {
				return dst, false, false
			}
			if len(dst) > first {
				dst = append(dst, ',')
			}
			if dst, ok = f.oneJSON(dst, value[:n], depth); !ok {
				return dst, false, false
			}
			value = value[n:]
		}
	}
	return append(dst, ']'), len(dst) > first, true
}

// entry is one of a map.
type entry struct {
	number     uint64 // of the key, so that greater ones are
	text       []byte // of the key
	key, value []byte
}

func (f *planField) mapJSON(dst []byte, all []there, depth int) (out []byte, shown, ok bool) {
	key, value := &f.sub.fields[0], &f.sub.fields[1]
	if value.decline {
		return dst, false, false
	}
	var room [8]entry
	entries := room[:0]
	for _, t := range all {
		if t.wire != protowire.BytesType {
			return dst, false, false
		}
		data, _ := protowire.ConsumeBytes(t.value)
		e, ok := f.entry(data)
		if !ok {
			return dst, false, false
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.number, b.number), bytes.Compare(a.text, b.text))
	})
	dst = append(dst, '{')
	first := len(dst)
	for i, e := range entries {
		if i+1 < len(entries) && e.number == entries[i+1].number && bytes.Equal(e.text, entries[i+1].text) {
			if dst, ok = value.valid(dst, e.value, depth); !ok {
				return dst, false, false
			}
			continue // the last one counts
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		if dst, ok = key.keyJSON(dst, e.key); !ok {
			return dst, false, false
		}
		if dst, ok = value.oneJSON(append(dst, ':'), e.value, depth); !ok {
			return dst, false, false
		}
	}
	return append(dst, '}'), true, true
}

// valid is dst, if the value has a form in JSON.
func (f *planField) valid(dst, value []byte, depth int) ([]byte, bool) {
	_, ok := f.oneJSON(dst, value, depth)
	return dst, ok
}

// none is a value that is not there, whatever its type on the wire.
var none [8]byte

// entry reads one of a map, once both of its fields at most.
func (f *planField) entry(data []byte) (e entry, ok bool) {
	all, ok := f.sub.scan(nil, data)
	if !ok {
		return e, false
	}
	got := [2][]byte{}
	for _, t := range all {
		of := &f.sub.fields[t.field]
		if t.wire != of.wire || got[t.field] != nil {
			return e, false
		}
		got[t.field] = t.value
	}
	for i := range got {
		if got[i] == nil {
			got[i] = none[:max(1, protowire.ConsumeFieldValue(1, f.sub.fields[i].wire, none[:]))]
		}
	}
	e.key, e.value = got[0], got[1]
	if key := &f.sub.fields[0]; key.kind == protoreflect.StringKind {
		e.text, _ = protowire.ConsumeBytes(e.key)
	} else {
		e.number = key.ordered(e.key)
	}
	return e, true
}

// ordered is an integer key as a number that is greater where the key is.
func (f *planField) ordered(value []byte) uint64 {
	n := f.raw(value)
	switch f.kind {
	case protoreflect.BoolKind:
		return min(n, 1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return uint64(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return n
	}
	return uint64(f.signed(n)) ^ 1<<63
}

// raw are the bits of a number on the wire.
func (f *planField) raw(value []byte) uint64 {
	switch f.wire {
	case protowire.Fixed32Type:
		n, _ := protowire.ConsumeFixed32(value)
		return uint64(n)
	case protowire.Fixed64Type:
		n, _ := protowire.ConsumeFixed64(value)
		return n
	}
	n, _ := protowire.ConsumeVarint(value)
	return n
}

// signed is the number that raw is.
func (f *planField) signed(raw uint64) int64 {
	switch f.kind {
	case protoreflect.Sint32Kind:
		return int64(int32(protowire.DecodeZigZag(raw & math.MaxUint32)))
	case protoreflect.Sint64Kind:
		return protowire.DecodeZigZag(raw)
	case protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		return int64(raw)
	}
	return int64(int32(raw))
}

func (f *planField) keyJSON(dst, value []byte) ([]byte, bool) {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return f.oneJSON(dst, value, 0)
	}
	dst, ok := f.oneJSON(append(dst, '"'), value, 0)
	return append(dst, '"'), ok
}

// oneJSON appends one value; its type on the wire is right.
func (f *planField) oneJSON(dst, value []byte, depth int) ([]byte, bool) {
	if f.wire == protowire.BytesType {
		b, _ := protowire.ConsumeBytes(value)
		switch f.kind {
		case protoreflect.StringKind:
			return appendText(dst, b)
		case protoreflect.BytesKind:
			return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"'), true
		}
		return f.sub.toJSON(dst, b, depth+1)
	}
	n := f.raw(value)
	switch f.kind {
	case protoreflect.BoolKind:
		return strconv.AppendBool(dst, n != 0), true
	case protoreflect.FloatKind:
		return appendFloat(dst, float64(math.Float32frombits(uint32(n))), 32), true
	case protoreflect.DoubleKind:
		return appendFloat(dst, math.Float64frombits(n), 64), true
	case protoreflect.EnumKind:
		if name, ok := f.enum.names[int32(n)]; ok {
			return append(dst, name...), true
		}
		return strconv.AppendInt(dst, int64(int32(n)), 10), true
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(dst, uint64(uint32(n)), 10), true
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return append(strconv.AppendUint(append(dst, '"'), n, 10), '"'), true
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return append(strconv.AppendInt(append(dst, '"'), f.signed(n), 10), '"'), true
	}
	return strconv.AppendInt(dst, f.signed(n), 10), true
}

// appendFloat writes as ECMAScript does.
func appendFloat(dst []byte, x float64, bits int) []byte {
	switch {
	case math.IsNaN(x):
		return append(dst, `"NaN"`...)
	case math.IsInf(x, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(x, -1):
		return append(dst, `"-Infinity"`...)
	}
	style, abs := byte('f'), math.Abs(x)
	if abs != 0 && (bits == 64 && (abs < 1e-6 || abs >= 1e21) || bits == 32 && (float32(abs) < 1e-6 || float32(abs) >= 1e21)) {
		style = 'e'
	}
	dst = strconv.AppendFloat(dst, x, style, -1, bits)
	if n := len(dst); style == 'e' && string(dst[n-4:n-1]) == "e-0" {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

// appendText appends a string in quotes, if it is UTF-8.
func appendText(dst, s []byte) ([]byte, bool) {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from, ascii := 0, true
	for i, c := range s {
		if c >= utf8.RuneSelf {
			ascii = false
		}
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"'), ascii || utf8.Valid(s)
}

// timeJSON appends a Timestamp or a Duration.
func (p *plan) timeJSON(dst, data []byte) ([]byte, bool) {
	var parts [3]int64 // by number
	for len(data) > 0 {
		num, wire, n := protowire.ConsumeTag(data)
		if n < 0 || num > 2 || wire != protowire.VarintType {
			return dst, false
		}
		v, m := protowire.ConsumeVarint(data[n:])
		if m < 0 {
			return dst, false
		}
		parts[num] = int64(v)
		data = data[n+m:]
	}
	secs, nanos := parts[1], int64(int32(parts[2]))
	if p.form == timestamp {
		if secs < secondsMin || secs > secondsMax || nanos < 0 || nanos > nanosMax {
			return dst, false
		}
		dst = time.Unix(secs, 0).UTC().AppendFormat(append(dst, '"'), "2006-01-02T15:04:05")
		return append(appendNanos(dst, nanos), 'Z', '"'), true
	}
	if max(secs, -secs) > durationMax || max(nanos, -nanos) > nanosMax || secs > 0 && nanos < 0 || secs < 0 && nanos > 0 {
		return dst, false
	}
	dst = append(dst, '"')
	if secs < 0 || nanos < 0 {
		dst, secs, nanos = append(dst, '-'), -secs, -nanos
	}
	return append(appendNanos(strconv.AppendInt(dst, secs, 10), nanos), 's', '"'), true
}

// appendNanos appends a fraction of three, six or nine digits, or none.
func appendNanos(dst []byte, n int64) []byte {
	if n == 0 {
		return dst
	}
	digits := strconv.AppendInt(nil, n+1e9, 10)[1:]
	for bytes.HasSuffix(digits, []byte("000")) {
		digits = digits[:len(digits)-3]
	}
	return append(append(dst, '.'), digits...)
}
