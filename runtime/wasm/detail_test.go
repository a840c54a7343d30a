package wasm

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// A guest that asks for three details of the error of its call, and then calls again.
func TestAGuestReadsTheDetailsOfAnErrorOfACall(t *testing.T) {
	read := func(n string) string { // what does not fit is not there, and its length is told
		return "const " + n + " const 100 const 50 call call_detail local1=" + tell + "const 100 const 3 call output "
	}
	asks := "const 0 const 1 const 0 const 0 const 0 const 0 call call drop "
	for _, c := range []struct {
		name    string
		details []weft.Detail
		want    string
	}{
		{"two", []weft.Detail{{Type: "a", Value: []byte("\xff")}, {Type: "b"}}, d(3) + "a\x00\xff" + d(2) + "b\x00\xff" + d(-5) + "b\x00\xff"},
		{"one that does not fit", []weft.Detail{{Type: "a", Value: make([]byte, 60)}}, d(62) + "\x00\x00\x00" + d(-5) + "\x00\x00\x00" + d(-5) + "\x00\x00\x00"},
		{"none", nil, d(-5) + "\x00\x00\x00" + d(-5) + "\x00\x00\x00" + d(-5) + "\x00\x00\x00"},
		{"names that are none", []weft.Detail{{Type: strings.Repeat("a", KeyMax+1)}, {Type: "a\x00"}, {Type: "b"}}, d(2) + "b\x00\x00" + d(-5) + "b\x00\x00" + d(-5) + "b\x00\x00"},
		{"more than a guest could give", []weft.Detail{{Type: "a"}, {Type: "b", Value: make([]byte, DetailsBytesMax)}, {Type: "c"}}, d(2) + "a\x00\x00" + d(-5) + "a\x00\x00" + d(-5) + "a\x00\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := load(t, tiny("call call_detail output", asks+read("0")+read("1")+read("2")+"const 0", "p"), weft.Limits{})
			env := newEnv()
			env.fail = &weft.Error{Code: weft.Aborted, Op: "peer", Details: c.details}
			if out, err := m.Call(context.Background(), env, "f", Input{}); err != nil || string(out.Body) != c.want {
				t.Errorf("got %q, %v, want %q", out.Body, err, c.want)
			}
		})
	}
}

func TestTheNextCallHasItsOwnDetails(t *testing.T) {
	asks := "const 0 const 1 const 0 const 0 const 0 const 0 call call drop "
	m := load(t, tiny("call call_detail output", asks+"const 0 const 0 const 0 call call_detail local1="+tell+"const 0", "p"), weft.Limits{})
	env := newEnv()
	env.fail = &weft.Error{Code: weft.Aborted, Details: []weft.Detail{{Type: "a"}}}
	for _, want := range []string{d(2), d(-5)} {
		if out, err := m.Call(context.Background(), env, "f", Input{}); err != nil || !bytes.Equal(out.Body, []byte(want)) {
			t.Errorf("got %q, %v, want %q", out.Body, err, want)
		}
		env.fail = nil
	}
}
