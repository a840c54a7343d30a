package services

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fromJSON appends a message in JSON to dst, as protobuf. Not ok means that it
// declines.
func (p *plan) fromJSON(dst, text []byte) (out []byte, ok bool) {
	r := reader{in: text}
	out, ok = p.read(dst, &r, 0)
	return out, ok && r.peek() == 0 && r.at == len(text)
}

// read appends the message that r is at.
func (p *plan) read(dst []byte, r *reader, depth int) ([]byte, bool) {
	switch p.form {
	case timestamp:
		return readTimestamp(dst, r)
	case duration:
		return readDuration(dst, r)
	case foreign:
		r.peek()
		from := r.at
		if !r.skip(depth) {
			return dst, false
		}
		out, err := p.byMessage(dst, r.in[from:r.at])
		return out, err == nil
	}
	var seen, oneofs marks
	ok := depth < depthMax && r.each('{', func() bool {
		key, ok := r.text()
		if !ok {
			return false
		}
		i, known := p.byName[string(key)]
		if !known && len(key) > 0 && key[0] == '[' || !r.take(':') {
			return false // the first: perhaps an extension
		}
		if !known {
			return r.skip(depth)
		}
		f := &p.fields[i]
		if f.decline || !seen.set(i) {
			return false
		}
		if r.peek() == 'n' && !(f.sub != nil && f.sub.desc.FullName() == "google.protobuf.Value") {
			return r.word("null")
		}
		if f.oneof > 0 && !oneofs.set(f.oneof) {
			return false
		}
		dst, ok = f.read(dst, r, depth)
		return ok
	})
	return dst, ok
}

// read appends the field whose value r is at.
func (f *planField) read(dst []byte, r *reader, depth int) ([]byte, bool) {
	switch {
	case f.isMap:
		return f.readMap(dst, r, depth)
	case f.list:
		return f.readList(dst, r, depth)
	}
	start := len(dst)
	dst = protowire.AppendTag(dst, f.number, f.wire)
	body := len(dst)
	dst, ok := f.readOne(dst, r, depth)
	if ok && !f.presence && zero(dst[body:]) {
		return dst[:start], true
	}
	return dst, ok
}

// zero reports whether an encoded value is that of a field that is not there.
func zero(value []byte) bool {
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}

func (f *planField) readList(dst []byte, r *reader, depth int) ([]byte, bool) {
	start, at := len(dst), 0
	if f.packed {
		dst, at = open(protowire.AppendTag(dst, f.number, protowire.BytesType))
	}
	body := len(dst)
	ok := r.each('[', func() bool {
		if r.peek() == 'n' {
			return false
		}
		if !f.packed {
			dst = protowire.AppendTag(dst, f.number, f.wire)
		}
		var ok bool
		dst, ok = f.readOne(dst, r, depth)
		return ok
	})
	if f.packed {
		if len(dst) == body {
			return dst[:start], ok
		}
		dst = closed(dst, at)
	}
	return dst, ok
}

func (f *planField) readMap(dst []byte, r *reader, depth int) ([]byte, bool) {
	key, value := &f.sub.fields[0], &f.sub.fields[1]
	if value.decline {
		return dst, false
	}
	seen := map[string]struct{}{}
	ok := r.each('{', func() bool {
		text, ok := r.text()
		if !ok {
			return false
		}
		var at int
		dst, at = open(protowire.AppendTag(dst, f.number, protowire.BytesType))
		from := len(dst)
		if dst, ok = key.readKey(protowire.AppendTag(dst, key.number, key.wire), text); !ok {
			return false
		}
		if _, twice := seen[string(dst[from:])]; twice || !r.take(':') || r.peek() == 'n' {
			return false
		}
		seen[string(dst[from:])] = struct{}{}
		if dst, ok = value.readOne(protowire.AppendTag(dst, value.number, value.wire), r, depth); ok {
			dst = closed(dst, at)
		}
		return ok
	})
	return dst, ok
}

// open leaves room for a length, closed fills it in.
func open(dst []byte) (out []byte, at int) { return append(dst, 0), len(dst) }

func closed(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	for range more {
		dst = append(dst, 0)
	}
	copy(dst[at+1+more:], dst[at+1:at+1+n])
	protowire.AppendVarint(dst[:at], uint64(n))
	return dst
}

func (f *planField) readKey(dst, text []byte) ([]byte, bool) {
	switch f.kind {
	case protoreflect.StringKind:
		return protowire.AppendBytes(dst, text), true
	case protoreflect.BoolKind:
		return readBool(dst, string(text))
	}
	return f.readInteger(dst, text)
}

func readBool(dst []byte, text string) ([]byte, bool) {
	switch text {
	case "true":
		return append(dst, 1), true
	case "false":
		return append(dst, 0), true
	}
	return dst, false
}

// readOne appends one value, without its tag.
func (f *planField) readOne(dst []byte, r *reader, depth int) ([]byte, bool) {
	switch f.kind {
	case protoreflect.MessageKind:
		dst, at := open(dst)
		dst, ok := f.sub.read(dst, r, depth+1)
		return closed(dst, at), ok
	case protoreflect.StringKind:
		s, ok := r.text()
		return protowire.AppendBytes(dst, s), ok
	case protoreflect.BytesKind:
		return readBytes(dst, r)
	case protoreflect.BoolKind:
		if r.peek() == 't' {
			return append(dst, 1), r.word("true")
		}
		return append(dst, 0), r.word("false")
	case protoreflect.EnumKind:
		if r.peek() != '"' {
			s, ok := r.number()
			n, err := strconv.ParseInt(string(s), 10, 32)
			return protowire.AppendVarint(dst, uint64(n)), ok && err == nil
		}
		s, ok := r.text()
		n, known := f.enum.values[string(s)]
		return protowire.AppendVarint(dst, uint64(int64(n))), ok && known
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return f.readFloat(dst, r)
	}
	s, ok := r.numberOrText()
	if !ok {
		return dst, false
	}
	return f.readInteger(dst, s)
}

func readBytes(dst []byte, r *reader) ([]byte, bool) {
	s, ok := r.text()
	if !ok {
		return dst, false
	}
	code := base64.StdEncoding
	for _, c := range s {
		if c == '-' || c == '_' {
			code = base64.URLEncoding
			break
		}
	}
	if len(s)%4 != 0 {
		code = code.WithPadding(base64.NoPadding)
	}
	dst, at := open(dst)
	dst, err := code.AppendDecode(dst, s)
	if err != nil {
		return dst, false
	}
	return closed(dst, at), true
}

func (f *planField) readFloat(dst []byte, r *reader) ([]byte, bool) {
	s, ok := r.numberOrText()
	if !ok {
		return dst, false
	}
	var x float64
	switch string(s) {
	case "NaN":
		x = math.NaN()
	case "Infinity":
		x = math.Inf(1)
	case "-Infinity":
		x = math.Inf(-1)
	default:
		if inner := (reader{in: s}); !inner.isNumber() {
			return dst, false
		}
		bits := 64
		if f.kind == protoreflect.FloatKind {
			bits = 32
		}
		var err error
		if x, err = strconv.ParseFloat(string(s), bits); err != nil {
			return dst, false
		}
	}
	if f.kind == protoreflect.FloatKind {
		return protowire.AppendFixed32(dst, math.Float32bits(float32(x))), true
	}
	return protowire.AppendFixed64(dst, math.Float64bits(x)), true
}

// readInteger takes plain digits. What else may be one, such as 1.0, is rare.
func (f *planField) readInteger(dst, s []byte) ([]byte, bool) {
	digits := strings.TrimPrefix(string(s), "-")
	if digits == "" || digits[0] == '0' && len(digits) > 1 || digits[0] == '+' {
		return dst, false
	}
	bits := 64
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		bits = 32
	}
	switch f.kind {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(string(s), 10, bits)
		return f.appendInteger(dst, n), err == nil
	}
	n, err := strconv.ParseInt(string(s), 10, bits)
	if f.kind == protoreflect.Sint32Kind || f.kind == protoreflect.Sint64Kind {
		return protowire.AppendVarint(dst, protowire.EncodeZigZag(n)), err == nil
	}
	return f.appendInteger(dst, uint64(n)), err == nil
}

func (f *planField) appendInteger(dst []byte, n uint64) []byte {
	switch f.wire {
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(dst, uint32(n))
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(dst, n)
	}
	return protowire.AppendVarint(dst, n)
}

// Bounds of a Timestamp and a Duration.
const (
	secondsMin  = -62135596800 // year 1
	secondsMax  = 253402300799 // year 9999
	durationMax = 315576000000 // seconds, 10,000 years
	nanosMax    = 999999999
)

func readTimestamp(dst []byte, r *reader) ([]byte, bool) {
	text, ok := r.text()
	if !ok {
		return dst, false
	}
	s := string(text)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Unix() < secondsMin || t.Unix() > secondsMax {
		return dst, false
	}
	dot, zone := strings.LastIndexByte(s, '.'), strings.LastIndexAny(s, "Z-+")
	if dot >= 0 && zone-dot > len(".999999999") {
		return dst, false
	}
	return appendTime(dst, t.Unix(), int64(t.Nanosecond())), true
}

func readDuration(dst []byte, r *reader) ([]byte, bool) {
	text, ok := r.text()
	if !ok {
		return dst, false
	}
	s, seconds := strings.CutSuffix(string(text), "s")
	s, negative := strings.CutPrefix(s, "-")
	whole, part, hasPart := strings.Cut(s, ".")
	if !seconds || !isDigits(whole) || whole[0] == '0' && len(whole) > 1 || hasPart && (!isDigits(part) || len(part) > 9) {
		return dst, false
	}
	secs, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || secs > durationMax {
		return dst, false
	}
	nanos, err := strconv.ParseInt((part + "000000000")[:9], 10, 64)
	if err != nil {
		return dst, false
	}
	if negative {
		secs, nanos = -secs, -nanos
	}
	return appendTime(dst, secs, nanos), true
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func appendTime(dst []byte, secs, nanos int64) []byte {
	if secs != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(secs))
	}
	if nanos != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.VarintType), uint64(nanos))
	}
	return dst
}

// reader reads JSON. All that it accepts is JSON.
type reader struct {
	in  []byte
	at  int
	own []byte // a text that had escapes
}

// peek is the next byte that is not space, 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.in); r.at++ {
		switch c := r.in[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (r *reader) take(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.at++
	return true
}

// each reads an object or a list; one reads what is between the commas.
func (r *reader) each(opening byte, one func() bool) bool {
	closing := opening + 2
	if !r.take(opening) {
		return false
	}
	if r.take(closing) {
		return true
	}
	for one() {
		if r.take(closing) {
			return true
		}
		if !r.take(',') {
			return false
		}
	}
	return false
}

func (r *reader) word(w string) bool {
	if r.peek() == 0 || len(r.in)-r.at < len(w) || string(r.in[r.at:r.at+len(w)]) != w {
		return false
	}
	r.at += len(w)
	return r.ended()
}

// ended reports whether a word or a number ends here.
func (r *reader) ended() bool {
	return r.at == len(r.in) || strings.IndexByte(" \t\n\r,:]}", r.in[r.at]) >= 0
}

// skip passes over a value.
func (r *reader) skip(depth int) bool {
	switch c := r.peek(); c {
	case '{':
		return depth < depthMax && r.each(c, func() bool {
			_, ok := r.text()
			return ok && r.take(':') && r.skip(depth+1)
		})
	case '[':
		return depth < depthMax && r.each(c, func() bool { return r.skip(depth + 1) })
	case '"':
		_, ok := r.text()
		return ok
	case 't':
		return r.word("true")
	case 'f':
		return r.word("false")
	case 'n':
		return r.word("null")
	}
	_, ok := r.number()
	return ok
}

func (r *reader) numberOrText() ([]byte, bool) {
	if r.peek() == '"' {
		return r.text()
	}
	return r.number()
}

func (r *reader) number() ([]byte, bool) {
	r.peek()
	from := r.at
	ok := r.scanNumber() && r.ended()
	return r.in[from:r.at], ok
}

// isNumber reports whether r is at a number and nothing more.
func (r *reader) isNumber() bool { return r.scanNumber() && r.at == len(r.in) }

func (r *reader) scanNumber() bool {
	r.skipByte("-")
	if !r.skipByte("0") && !r.digits() {
		return false
	}
	if r.skipByte(".") && !r.digits() {
		return false
	}
	if r.skipByte("eE") {
		r.skipByte("+-")
		return r.digits()
	}
	return true
}

func (r *reader) skipByte(of string) bool {
	if r.at == len(r.in) || strings.IndexByte(of, r.in[r.at]) < 0 {
		return false
	}
	r.at++
	return true
}

func (r *reader) digits() bool {
	from := r.at
	for r.at < len(r.in) && r.in[r.at] >= '0' && r.in[r.at] <= '9' {
		r.at++
	}
	return r.at > from
}

// text is the string that r is at. It is good until the next one.
func (r *reader) text() ([]byte, bool) {
	if !r.take('"') {
		return nil, false
	}
	from, ascii := r.at, true
	for ; r.at < len(r.in); r.at++ {
		switch c := r.in[r.at]; {
		case c == '"':
			s := r.in[from:r.at]
			r.at++
			return s, ascii || utf8.Valid(s)
		case c == '\\':
			return r.escaped(from)
		case c < ' ':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

func (r *reader) escaped(from int) ([]byte, bool) {
	r.own = append(r.own[:0], r.in[from:r.at]...)
	for r.at < len(r.in) {
		c := r.in[r.at]
		r.at++
		switch {
		case c == '"':
			return r.own, utf8.Valid(r.own)
		case c < ' ':
			return nil, false
		case c != '\\':
			r.own = append(r.own, c)
		case !r.escape():
			return nil, false
		}
	}
	return nil, false
}

// escape reads what follows a backslash.
func (r *reader) escape() bool {
	if r.at == len(r.in) {
		return false
	}
	c := r.in[r.at]
	r.at++
	if c == 'u' {
		one, ok := r.hex()
		if ok && utf16.IsSurrogate(one) {
			if !r.skipByte(`\`) || !r.skipByte("u") {
				return false
			}
			var two rune
			two, ok = r.hex()
			one = utf16.DecodeRune(one, two)
			ok = ok && one != utf8.RuneError
		}
		r.own = utf8.AppendRune(r.own, one)
		return ok
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return false
	}
	r.own = append(r.own, "\"\\/\b\f\n\r\t"[i])
	return true
}

func (r *reader) hex() (rune, bool) {
	if len(r.in)-r.at < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.in[r.at:r.at+4]), 16, 16)
	r.at += 4
	return rune(n), err == nil
}
