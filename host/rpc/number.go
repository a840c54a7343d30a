package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"connectrpc.com/connect/v2/connectproto"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// codec reads JSON as Connect does, and refuses a number that a
// google.protobuf.Value, which holds doubles, would change.
type codec struct{ *connectproto.JSONCodec }

func (c codec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	var instead string
	switch msg.(type) {
	case *weftv1.StartRequest:
		instead = "input_json"
	case *weftv1.CallRequest:
		instead = "body"
	case *weftv1.PublishRequest:
		instead = "binary, with content_type application/json"
	default:
		return c.JSONCodec.UnmarshalRead(ctx, src, msg)
	}
	data, err := io.ReadAll(src)
	if err != nil {
		return err
	}
	if err := c.JSONCodec.UnmarshalRead(ctx, bytes.NewReader(data), msg); err != nil {
		return err
	}
	values, err := valuesIn(data, msg)
	if err != nil {
		return err
	}
	for _, v := range values {
		if n := misfit(v); n != "" {
			return fmt.Errorf("%.80s has more digits than a double, which this field holds; send the JSON in %s", n, instead)
		}
	}
	return nil
}

// valuesIn are the texts of the values in a request.
func valuesIn(data []byte, msg any) (values []json.RawMessage, err error) {
	if _, ok := msg.(*weftv1.PublishRequest); !ok {
		var q struct{ Input json.RawMessage }
		err = json.Unmarshal(data, &q)
		return []json.RawMessage{q.Input}, err
	}
	var q struct {
		Events []struct{ Data json.RawMessage }
	}
	err = json.Unmarshal(data, &q)
	for _, e := range q.Events {
		values = append(values, e.Data)
	}
	return values, err
}

// misfit is the first number of a JSON text that a double would change, empty for none.
func misfit(data []byte) string {
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case c == '-' || c >= '0' && c <= '9':
			from := i
			for i < len(data) && strings.IndexByte("+-.0123456789Ee", data[i]) >= 0 {
				i++
			}
			if n := string(data[from:i]); !fits(n) {
				return n
			}
			i--
		}
	}
	return ""
}

// digitsSafe is how many digits every double keeps.
const digitsSafe = 15

// fits reports whether a double, written out again, is the same number.
func fits(number string) bool {
	if len(number) <= digitsSafe && !strings.ContainsAny(number, "eE") {
		return true
	}
	f, err := strconv.ParseFloat(number, 64)
	return err == nil && decimalOf(number) == decimalOf(strconv.FormatFloat(f, 'e', -1, 64))
}

// decimal is digits times ten to the power of exp; equal numbers are equal.
type decimal struct {
	negative bool
	digits   string // no zeros at either end
	exp      int
}

func decimalOf(number string) (d decimal) {
	number, d.negative = strings.CutPrefix(number, "-")
	mantissa, exp, _ := strings.Cut(strings.ToLower(number), "e")
	d.exp, _ = strconv.Atoi(exp) // out of range: then the double is zero or there is none
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exp -= len(fraction)
	all := whole + fraction
	d.digits = strings.TrimRight(all, "0")
	d.exp += len(all) - len(d.digits)
	if d.digits = strings.TrimLeft(d.digits, "0"); d.digits == "" {
		d.exp = 0
	}
	return d
}
