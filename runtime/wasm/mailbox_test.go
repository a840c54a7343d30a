package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// words32 are numbers as they lie in memory.
func words32(n ...uint32) string {
	var b []byte
	for _, v := range n {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return string(b)
}

func TestAMailboxCarriesInputAndOutput(t *testing.T) {
	const (
		echo    = "const 16 const 100 store const 20 const 12 load store const 0"
		askThen = "const 200 const 99 const 0 call input drop const 16 const 200 store const 20 n store const 0"
	)
	room := words32(0, 100, 10, 0, 0, 0)
	for _, c := range []struct {
		name          string
		at            int32
		imports, body string
		box           string
		in, out       string
		limits        weft.Limits
		code          weft.Code
		says          string
	}{
		{name: "an input that fits", body: echo, box: room, in: "hello", out: "hello"},
		{name: "an input that fills the room", body: echo, box: room, in: "helloworld", out: "helloworld"},
		{name: "an input that does not fit", body: echo, box: room, in: "hello world"},
		{name: "an input that does not fit, by input", imports: "input", body: askThen, box: room, in: "hello world", out: "hello world"},
		{name: "no input", body: echo, box: room},
		{name: "no room", imports: "input", body: askThen, box: words32(0, 0, 0, 0, 0, 0), in: "hello", out: "hello"},
		{name: "room that is not in memory", imports: "input", body: askThen, box: words32(0, 65530, 1<<31, 0, 0, 0), in: "hello wor", out: "hello wor"},
		{name: "a host that looks", body: "const 16 const 0 store const 20 const 1 store const 0", box: room, out: "\x01"},
		{name: "output of the last call", body: "const 0", box: words32(0, 100, 10, 0, 0, 4)},
		{name: "output besides", imports: "output", body: "const 100 const 1 call output " + echo, box: room, in: "ab", out: "aab"},
		{name: "a message of an error", body: strings.TrimSuffix(echo, "0") + "5", box: room, in: "no such", code: weft.NotFound, says: "no such"},
		{name: "output that is not in memory", body: "const 16 const -4 store const 20 const 8 store const 0", box: room, code: weft.Internal, says: "left 8 bytes of output at 0xfffffffc"},
		{name: "output over its limit", body: "const 16 const 0 store const 20 const 11 store const 0", box: room, limits: weft.Limits{OutputBytes: 10}, code: weft.ResourceExhausted, says: "limit of 10 bytes"},
		{name: "output before a trap", body: "const 20 const 4 store unreachable", box: room, code: weft.Internal, says: "trap"},
		{name: "a mailbox that is not in memory", at: 65530, body: echo, box: room, code: weft.Internal, says: "mailbox is at 0xfffa, which is not in its memory"},
		{name: "a mailbox with room above itself", body: "const 16 const 0 store const 20 const 4 store const 0", box: words32(0, 0, 10, 0, 0, 0), in: "\xff\xff\xff\xff", out: "\xff\xff\xff\xff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := load(t, mailing(c.at, c.imports, c.body, c.box), c.limits)
			for range 3 {
				out, err := m.Call(context.Background(), nil, "f", Input{Body: []byte(c.in)})
				if weft.CodeOf(err) != c.code || string(out.Body) != c.out || err != nil && !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %q, %v", out.Body, err)
				}
			}
		})
	}
}

// The words of an isolated guest stay as it has made them: it sees that nobody looks.
func TestAnIsolatedGuestHasNoMailbox(t *testing.T) {
	body := "const 20 const 5 store const 0 const 24 call output const 0"
	m := loadAs(t, open(t, Options{}), weft.Isolate, mailing(0, "output", body, words32(0, 100, 10, 0, 0, 0)), weft.Limits{})
	for range 3 {
		if out, err := m.Call(context.Background(), nil, "f", Input{Body: []byte("hello")}); err != nil || string(out.Body) != words32(0, 100, 10, 0, 0, 5) {
			t.Errorf("got %q, %v", out.Body, err)
		}
	}
}

func TestARoomMayBeMovedByACall(t *testing.T) {
	body := "const 4 const 300 store const 8 const 10 store const 16 const 300 store const 20 const 12 load store const 0"
	m := load(t, mailing(0, "", body, words32(0, 0, 0, 0, 0, 0)), weft.Limits{})
	for i, want := range []string{"", "hello", "hello"} {
		if out, err := m.Call(context.Background(), nil, "f", Input{Body: []byte("hello")}); err != nil || string(out.Body) != want {
			t.Errorf("call %d: got %q, %v, want %q", i, out.Body, err, want)
		}
	}
}

func TestAMailboxBurnsNoFuel(t *testing.T) {
	body := "const 16 const 100 store const 20 n store const 0"
	m := load(t, mailing(0, "", body, words32(0, 100, 60_000, 0, 0, 0)), weft.Limits{Fuel: 1000})
	in := Input{Body: bytes.Repeat([]byte("x"), 60_000)}
	for range 100 {
		if out, err := m.Call(context.Background(), nil, "f", in); err != nil || !bytes.Equal(out.Body, in.Body) {
			t.Fatalf("got %.10q, %v", out.Body, err)
		}
	}
}

func TestACheckTellsOfAMailbox(t *testing.T) {
	for _, c := range []struct {
		name string
		wasm []byte
		want bool
	}{
		{"a module with one", mailing(0, "", "const 0"), true},
		{"a module without", tiny("", "const 0"), false},
	} {
		if r, err := open(t, Options{}).Check(context.Background(), c.wasm); err != nil || r.Mailbox != c.want {
			t.Errorf("%s: %t, %v", c.name, r.Mailbox, err)
		}
	}
	plugin := meter.Info{Imports: []meter.Function{{Module: extismModule}}, Exports: []meter.Function{{Name: MailboxExport, Signature: meter.Signature{Results: types(i32)}}}}
	if hasMailbox(plugin) {
		t.Error("in a plug-in nobody looks")
	}
}

func TestAMailboxOfAnotherSignatureIsRefused(t *testing.T) {
	_, err := open(t, Options{}).Check(context.Background(), tinyWith([]byte{0x60, 0, 0}, code(), "", "const 0"))
	if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "the export weft_mailbox is () -> (), it must be () -> (i32)") {
		t.Errorf("got %v", err)
	}
}
