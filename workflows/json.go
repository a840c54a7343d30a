package workflows

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Values are what expressions work on: nil, bool, int, *big.Int, float64,
// json.Number (for some numbers written in an expression), string, []any and
// map[string]any. They are shared freely between steps and runs, so nobody
// writes to one.

// AppendJSON appends v as compact JSON with sorted keys, so that equal values
// give equal bytes. NaN becomes null and an infinity the largest float, as in
// jq. A float that is a whole number is written without a fraction.
func AppendJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case int:
		return strconv.AppendInt(dst, int64(v), 10)
	case float64:
		return appendFloat(dst, v)
	case *big.Int:
		return v.Append(dst, 10)
	case json.Number: // a literal inside an expression
		return append(dst, v...)
	case string:
		return appendString(dst, v)
	case []any:
		return appendArray(dst, v)
	case map[string]any:
		return appendObject(dst, v)
	}
	panic(fmt.Sprintf("workflows: %T is no value", v))
}

func appendArray(dst []byte, list []any) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendJSON(dst, v)
	}
	return append(dst, ']')
}

func appendObject(dst []byte, m map[string]any) []byte {
	var room [16]string
	keys := room[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, k), ':')
		dst = AppendJSON(dst, m[k])
	}
	return append(dst, '}')
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "null"...)
	case math.IsInf(f, 0):
		f = math.Copysign(math.MaxFloat64, f)
	case f == 0: // without the sign of -0
		return append(dst, '0')
	}
	if a := math.Abs(f); a >= 1e17 || a != 0 && a < 1e-5 {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, 64)
}

const hexDigits = "0123456789abcdef"

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			dst = append(append(dst, s[done:i]...), "\ufffd"...)
		} else {
			dst = appendEscape(append(dst, s[done:i]...), c)
		}
		i++
		done = i
	}
	return append(append(dst, s[done:]...), '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// Size is about the length of v as JSON. It stops counting once it passes
// max, so that a value that names one part many times costs no more.
func Size(v any, max int) int {
	switch v := v.(type) {
	case string:
		return len(v) + 2
	case []any:
		n := 2
		for _, e := range v {
			if n += 1 + Size(e, max-n); n > max {
				break
			}
		}
		return n
	case map[string]any:
		n := 2
		for k, e := range v {
			if n += len(k) + 4 + Size(e, max-n); n > max {
				break
			}
		}
		return n
	case *big.Int:
		return v.BitLen()/3 + 1
	}
	return 4
}

// isJSONType reports whether a content type is JSON; none is.
func isJSONType(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "" || media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// DecodeContent is the value of data with that content type: JSON is decoded,
// text is a string, anything else is base64.
func DecodeContent(data []byte, contentType string) (any, error) {
	if isJSONType(contentType) {
		return DecodeJSON(data)
	}
	if utf8.Valid(data) {
		return string(data), nil
	}
	return base64.StdEncoding.EncodeToString(data), nil
}

// EncodeContent is v as data of that content type: text that is not to be
// JSON stays as it is, everything else is JSON.
func EncodeContent(v any, contentType string) []byte {
	if s, ok := v.(string); ok && !isJSONType(contentType) {
		return []byte(s)
	}
	return AppendJSON(nil, v)
}
