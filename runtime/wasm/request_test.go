package wasm

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// requests is a guest that sends its input by http, or calls with it, and returns the code.
func requests(by string) []byte {
	var f hostFunc
	for _, f = range hostFuncs {
		if f.name == by {
			break
		}
	}
	name := []byte{}
	if by == "call" {
		name = []byte{0x41, 0, 0x41, 0}
	}
	body := cat(
		[]byte{0x41, 0, 0x20, 0, 0x41, 0, 0x10, 1, 0x1a}, // input, to 0
		[]byte{0x41, 0}, name, []byte{0x41, 0, 0x20, 0, 0x41, 0, 0x41, 0, 0x10, 0, 0xa7, 0x6b})
	imports := func(name string, kind byte) []byte {
		return cat(sized([]byte(hostModule)), sized([]byte(name)), []byte{0, kind})
	}
	return assemble(
		sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, cat([]byte{0x60}, sized(f.params), sized(f.results)), []byte{0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f})),
		sec(2, vec(imports(by, 1), imports("input", 2))),
		sec(3, vec([]byte{0})),
		sec(5, vec([]byte{0, 0xa0, 1})),
		sec(7, vec(cat(sized([]byte("memory")), []byte{2, 0}), []byte{1, 'f', 0, 2})),
		sec(10, vec(sized(code(body...)))))
}

// TestARequestIsBounded: the host copies it, and reads one of HTTP as JSON, whose texts
// become much more than they were.
func TestARequestIsBounded(t *testing.T) {
	for _, c := range []struct {
		name, by string
		in       []byte
		refused  bool
	}{
		{"a request of HTTP", "http", []byte(`{"url":"http://a/"}`), false},
		{"one of 9 MiB", "http", make([]byte, 9<<20), true},
		{"one of 100,000 headers", "http", []byte(`{"headers":{` + strings.Repeat(`"a":"",`, 100_000)), true},
		{"a call of 9 MiB", "call", make([]byte, 9<<20), true},
		{"a call of 1 MiB", "call", make([]byte, 1<<20), false},
	} {
		_, err := load(t, requests(c.by), weft.Limits{}).Call(context.Background(), newEnv(), "f", Input{Body: c.in})
		if refused := weft.CodeOf(err) == weft.ResourceExhausted; refused != c.refused { // else it is minus the length of the answer
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := load(t, requests("http"), weft.Limits{Fuel: 10_000_000}).Call(context.Background(), newEnv(), "f", Input{Body: bytes.Repeat([]byte(" "), 4<<20)})
	if !errors.Is(err, LimitFuel) {
		t.Errorf("4 MiB of JSON with fuel for less: %v", err)
	}
}
