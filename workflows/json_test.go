package workflows

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeJSON(t *testing.T) {
	huge, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	cases := []struct {
		text string
		want any
		same string // as it is written again
	}{
		{"", nil, "null"},
		{" null ", nil, "null"},
		{"true", true, "true"},
		{"1", 1, "1"},
		{"-0", 0, "0"},
		{"1.0", 1.0, "1"},
		{"0.1", 0.1, "0.1"},
		{"19.99", 19.99, "19.99"},
		{"1e2", 100.0, "100"},
		{"1E-7", 1e-7, "1e-07"},
		{"1e300", 1e300, "1e+300"},
		{"9223372036854775807", math.MaxInt, "9223372036854775807"},
		{"-9223372036854775808", math.MinInt, "-9223372036854775808"},
		{"123456789012345678901234567890", huge, "123456789012345678901234567890"},
		{`"a\"\\\/\b\f\n\r\tz"`, "a\"\\/\b\f\n\r\tz", `"a\"\\/\u0008\u000c\n\r\tz"`},
		{`"\u00e9\ud83d\ude00\ud83d!"`, "é😀\ufffd!", `"é😀` + "\ufffd" + `!"`},
		{`"größe"`, "größe", `"größe"`},
		{"\"a\xffb\"", "a\ufffdb", "\"a\ufffdb\""},
		{`[ ]`, []any{}, "[]"},
		{`[1, [2], {}]`, []any{1, []any{2}, map[string]any{}}, "[1,[2],{}]"},
		{`{"b": 1, "a": {"c": null}, "b": 2}`, map[string]any{"b": 2, "a": map[string]any{"c": nil}}, `{"a":{"c":null},"b":2}`},
	}
	for _, c := range cases {
		got, err := DecodeJSON([]byte(c.text))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s is %#v, %v", c.text, got, err)
		}
		if again := string(AppendJSON(nil, got)); again != c.same {
			t.Errorf("%s is written %s", c.text, again)
		}
	}
}

func TestDecodeJSONRefuses(t *testing.T) {
	for _, text := range []string{
		"nul", "tru", "+1", "01", "1.", ".5", "1e", "-", "[1,]", "[1", "[,1]", "{", `{"a"}`, `{"a":1,}`, `{a:1}`, `{"a" 1}`,
		`"a`, `"\x"`, `"\u12"`, "\"a\nb\"", "1 2", "[1 2]", `{"a":1 "b":2}`, "NaN", strings.Repeat("[", JSONDepthMax+1),
	} {
		if v, err := DecodeJSON([]byte(text)); err == nil {
			t.Errorf("%q is read as %#v", text, v)
		}
	}
}

func TestWhatIsNoNumberToJSON(t *testing.T) {
	got := string(AppendJSON(nil, []any{math.NaN(), math.Inf(1), math.Inf(-1), json.Number("1.50")}))
	if got != "[null,1.7976931348623157e+308,-1.7976931348623157e+308,1.50]" {
		t.Error(got)
	}
}

func TestSizeStopsCounting(t *testing.T) {
	v := any("xxxxxxxxxx")
	for range 60 { // 2^60 strings, if they were counted
		v = []any{v, v}
	}
	if got := Size(v, 1000); got <= 1000 || got > 2000 {
		t.Errorf("the size is %d", got)
	}
	text := `{"abc":[1,2,"three",null,true,{"d":{}}]}`
	value, _ := DecodeJSON([]byte(text))
	if got := Size(value, 1<<20); got < len(text)*2/3 || got > len(text)*2 {
		t.Errorf("the size of %d bytes is %d", len(text), got)
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x",null,true]}`, `"\ud83d\ude00"`, `-0.1e5`, `[[[]]]`, "12345678901234567890"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := DecodeJSON(text)
		if len(bytes.TrimSpace(text)) == 0 {
			return
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var want any
		standard := json.Valid(text) && d.Decode(&want) == nil
		if standard != (err == nil) {
			if standard && bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{")) > JSONDepthMax {
				return
			}
			t.Fatalf("the standard library says %v, not %v", standard, err)
		}
		if err != nil {
			return
		}
		written := AppendJSON(nil, got)
		if !json.Valid(written) {
			t.Fatalf("%q is written as %q", text, written)
		}
		again, err := DecodeJSON(written)
		if err != nil || !bytes.Equal(AppendJSON(nil, again), written) {
			t.Fatalf("%q becomes %q and then %q: %v", text, written, AppendJSON(nil, again), err)
		}
	})
}
