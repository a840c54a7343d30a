package workflows

import (
	"fmt"
	"math/big"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/weftrun/weft"
)

// Bounds of one JSON text.
const (
	JSONDepthMax  = 512  // arrays and objects inside each other
	JSONDigitsMax = 1000 // of one number; a longer one becomes a float
)

// DecodeJSON reads one JSON text. A whole number stays one, however long; a
// number with a fraction or an exponent becomes a float64. Of a key that
// stands twice the last wins. An empty text is null.
func DecodeJSON(src []byte) (any, error) {
	d := jsonDecoder{src: src}
	if len(src) <= sharedTextMax {
		d.text = string(src)
	}
	d.space()
	if d.at == len(src) {
		return nil, nil
	}
	v, err := d.value()
	if err != nil {
		return nil, err
	}
	if d.space(); d.at < len(src) {
		return nil, d.fail("more text after the value")
	}
	return v, nil
}

// sharedTextMax is the length up to which the strings of a value are parts of
// one copy of its text, so that a small string keeps no large text in memory.
const sharedTextMax = 4 << 10

type jsonDecoder struct {
	src   []byte
	text  string // src, where strings may be parts of it
	at    int
	depth int
}

func (d *jsonDecoder) fail(what string) error {
	return weft.Errorf(weft.InvalidArgument, "workflows.DecodeJSON", "not JSON: %s at byte %d of %d", what, d.at, len(d.src))
}

func (d *jsonDecoder) space() {
	for d.at < len(d.src) {
		switch d.src[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

func (d *jsonDecoder) value() (any, error) {
	if d.at == len(d.src) {
		return nil, d.fail("the text ends early")
	}
	switch c := d.src[d.at]; {
	case c == '"':
		s, err := d.string()
		if err != nil {
			return nil, err
		}
		return s, nil
	case c == '{':
		return d.nested((*jsonDecoder).object)
	case c == '[':
		return d.nested((*jsonDecoder).array)
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	switch {
	case d.word("null"):
		return nil, nil
	case d.word("true"):
		return true, nil
	case d.word("false"):
		return false, nil
	}
	return nil, d.fail("unexpected character")
}

func (d *jsonDecoder) word(w string) bool {
	if len(d.src)-d.at < len(w) || string(d.src[d.at:d.at+len(w)]) != w {
		return false
	}
	d.at += len(w)
	return true
}

func (d *jsonDecoder) nested(read func(*jsonDecoder) (any, error)) (any, error) {
	if d.depth++; d.depth > JSONDepthMax {
		return nil, d.fail(fmt.Sprintf("more than %d levels", JSONDepthMax))
	}
	d.at++
	v, err := read(d)
	d.depth--
	return v, err
}

// next reports whether another element follows in a list that ends in end.
func (d *jsonDecoder) next(end byte, first bool) (bool, error) {
	d.space()
	if d.at == len(d.src) {
		return false, d.fail("the text ends early")
	}
	switch c := d.src[d.at]; {
	case c == end:
		d.at++
		return false, nil
	case first:
		return true, nil
	case c == ',':
		d.at++
		d.space()
		if d.at < len(d.src) && d.src[d.at] == end {
			return false, d.fail("a comma before the end")
		}
		return true, nil
	}
	return false, d.fail("a comma is missing")
}

func (d *jsonDecoder) array() (any, error) {
	list := make([]any, 0, 4)
	for first := true; ; first = false {
		if more, err := d.next(']', first); err != nil || !more {
			return list, err
		}
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (d *jsonDecoder) object() (any, error) {
	m := map[string]any{}
	for first := true; ; first = false {
		if more, err := d.next('}', first); err != nil || !more {
			return m, err
		}
		if d.at == len(d.src) || d.src[d.at] != '"' {
			return nil, d.fail("a key is missing")
		}
		key, err := d.string()
		if err != nil {
			return nil, err
		}
		if d.space(); d.at == len(d.src) || d.src[d.at] != ':' {
			return nil, d.fail("a colon is missing")
		}
		d.at++
		d.space()
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		m[key] = v
	}
}

func (d *jsonDecoder) string() (string, error) {
	d.at++
	start := d.at
	for d.at < len(d.src) {
		switch c := d.src[d.at]; {
		case c == '"':
			d.at++
			if d.text != "" {
				return d.text[start : d.at-1], nil
			}
			return string(d.src[start : d.at-1]), nil
		case c == '\\' || c >= utf8.RuneSelf:
			return d.longString(start)
		case c < ' ':
			return "", d.fail("a control character in a string")
		}
		d.at++
	}
	return "", d.fail("a string without an end")
}

// longString reads on from the first escape or the first character outside
// ASCII. Bytes that are no UTF-8 become U+FFFD.
func (d *jsonDecoder) longString(start int) (string, error) {
	buf := append(make([]byte, 0, 2*(d.at-start)+32), d.src[start:d.at]...)
	for d.at < len(d.src) {
		switch c := d.src[d.at]; {
		case c == '"':
			d.at++
			return string(buf), nil
		case c == '\\':
			var err error
			if buf, err = d.escape(buf); err != nil {
				return "", err
			}
		case c < ' ':
			return "", d.fail("a control character in a string")
		case c < utf8.RuneSelf:
			buf = append(buf, c)
			d.at++
		default:
			r, size := utf8.DecodeRune(d.src[d.at:])
			buf = utf8.AppendRune(buf, r)
			d.at += size
		}
	}
	return "", d.fail("a string without an end")
}

func (d *jsonDecoder) escape(buf []byte) ([]byte, error) {
	d.at++
	if d.at == len(d.src) {
		return nil, d.fail("a string without an end")
	}
	c := d.src[d.at]
	d.at++
	switch c {
	case '"', '\\', '/':
		return append(buf, c), nil
	case 'b':
		return append(buf, '\b'), nil
	case 'f':
		return append(buf, '\f'), nil
	case 'n':
		return append(buf, '\n'), nil
	case 'r':
		return append(buf, '\r'), nil
	case 't':
		return append(buf, '\t'), nil
	case 'u':
		r, ok := d.hex()
		if !ok {
			return nil, d.fail("a broken \\u escape")
		}
		if utf16.IsSurrogate(r) {
			r = d.surrogate(r)
		}
		return utf8.AppendRune(buf, r), nil
	}
	return nil, d.fail("an unknown escape")
}

// surrogate is the character of a pair whose first half was read; a half
// alone is U+FFFD.
func (d *jsonDecoder) surrogate(first rune) rune {
	back := d.at
	if d.word(`\u`) {
		if second, ok := d.hex(); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return r
			}
		}
	}
	d.at = back
	return utf8.RuneError
}

func (d *jsonDecoder) hex() (rune, bool) {
	if len(d.src)-d.at < 4 {
		return 0, false
	}
	var r rune
	for _, c := range d.src[d.at : d.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	d.at += 4
	return r, true
}

func (d *jsonDecoder) number() (any, error) {
	start, whole := d.at, true
	if d.src[d.at] == '-' {
		d.at++
	}
	lead := d.at
	if d.digits() == 0 || d.src[lead] == '0' && d.at > lead+1 {
		return nil, d.fail("a broken number")
	}
	if d.at < len(d.src) && d.src[d.at] == '.' {
		d.at++
		if whole = false; d.digits() == 0 {
			return nil, d.fail("a broken number")
		}
	}
	if d.at < len(d.src) && d.src[d.at]|0x20 == 'e' {
		d.at++
		if d.at < len(d.src) && (d.src[d.at] == '+' || d.src[d.at] == '-') {
			d.at++
		}
		if whole = false; d.digits() == 0 {
			return nil, d.fail("a broken number")
		}
	}
	return number(string(d.src[start:d.at]), whole), nil
}

func (d *jsonDecoder) digits() int {
	start := d.at
	for d.at < len(d.src) && d.src[d.at] >= '0' && d.src[d.at] <= '9' {
		d.at++
	}
	return d.at - start
}

// number is the value of a well-formed number.
func number(s string, whole bool) any {
	if whole && len(s) < 19 {
		n, _ := strconv.Atoi(s)
		return n
	}
	if whole && len(s) <= JSONDigitsMax {
		if n, err := strconv.Atoi(s); err == nil {
			return n
		}
		n, _ := new(big.Int).SetString(s, 10)
		return n
	}
	f, _ := strconv.ParseFloat(s, 64)
	return f
}
