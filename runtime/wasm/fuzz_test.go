package wasm

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	"github.com/weftrun/weft"
)

// FuzzManifest: what is taken can be written and taken again, and is then the
// same for good. An empty list is written as none, so the first time may differ.
func FuzzManifest(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"name":"shop","version":"1.2.0","handlers":[{"name":"echo","export":"e","input":{"type":"object"}}]}`,
		`{"limits":{"memoryMiB":8,"fuel":1,"queue":-1}}`, `{"grants":{"state":["orders/*"],"http":[]},"config":{"a":"b"}}`,
		`{"subscriptions":[{"handler":"h","type":"t*","match":{"source":"/a"}}]}`, `{"name":"\ud800"}`, `{"Name":"x","name":"y"}`, `[]`, `{}{}`, `{"x":1}`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			if code := weft.CodeOf(err); code != weft.InvalidArgument && code != weft.ResourceExhausted {
				t.Errorf("refused with %v", err)
			}
			return
		}
		var texts []string
		for range 3 {
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > ManifestMax {
				return // escapes may make it longer
			}
			if m, err = ParseManifest(text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			texts = append(texts, string(text))
		}
		if texts[1] != texts[2] {
			t.Errorf("%s became %s", texts[1], texts[2])
		}
	})
}

// FuzzABI has a guest call the host with whatever arguments: a byte for the
// import and four for each parameter, again and again. No function of the host
// may panic, and the next call must be answered.
func FuzzABI(f *testing.F) {
	args := func(op byte, list ...uint32) []byte {
		b := []byte{op}
		for _, a := range list {
			b = binary.LittleEndian.AppendUint32(b, a)
		}
		return b
	}
	for i, h := range hostFuncs {
		for _, a := range [][]uint32{{0, 8, 0, 8, 0, 8}, {0xfffffff0, 0x100, 0xffffffff, 0xffffffff, 0, 0}, {0, 0xffffffff, 1, 0x7fffffff, 0x10000, 1}, {65_530, 6, 65_536, 0, 65_535, 1}} {
			f.Add(cat(args(byte(i), a[:len(h.params)]...), args(1, 0, 64, 0)))
		}
	}
	broken := &witness{Handler: slog.DiscardHandler}
	r := open(f, Options{Log: slog.New(broken), Limits: weft.Limits{Fuel: 50_000_000, MemoryMiB: 4}})
	f.Fuzz(func(t *testing.T, data []byte) {
		wasm := caller(data[:min(len(data), 4096)])
		m, err := r.compile(r.key(t.Name(), Terms{Isolation: isolation}), wasm, meterOptions(), true) // it needs no child
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := m.Call(context.Background(), newEnv(), "f", Input{Body: []byte("an input"), Headers: weft.Header{"a": {"b"}}})
			var e *weft.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%T: %v", err, err)
			}
		}
		if broken.said != "" {
			t.Fatal(broken.said)
		}
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// witness keeps what is logged as an error.
type witness struct {
	slog.Handler
	said string
}

func (w *witness) Enabled(context.Context, slog.Level) bool { return true }

func (w *witness) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		w.said = r.Message
		r.Attrs(func(a slog.Attr) bool { w.said += " " + a.String(); return true })
	}
	return nil
}

// caller is a module whose handler f makes the calls that data lists.
func caller(data []byte) []byte {
	kinds, imports := [][]byte{{0x60, 1, 0x7f, 1, 0x7f}}, [][]byte{}
	for i, h := range hostFuncs {
		kinds = append(kinds, cat([]byte{0x60}, sized(h.params), sized(h.results)))
		imports = append(imports, cat(sized([]byte(hostModule)), sized([]byte(h.name)), []byte{0}, u32(i+1)))
	}
	var calls []byte
	for len(data) > 0 {
		i := int(data[0]) % len(hostFuncs)
		data = data[1:]
		for range hostFuncs[i].params {
			var word [4]byte
			data = data[copy(word[:], data):]
			calls = append(append(calls, 0x41), signed(int32(binary.LittleEndian.Uint32(word[:])))...)
		}
		calls = cat(calls, []byte{0x10}, u32(i), repeat(len(hostFuncs[i].results), 0x1a))
	}
	return assemble(
		sec(1, vec(kinds...)), sec(2, vec(imports...)), sec(3, vec([]byte{0})), sec(5, vec([]byte{1, 1, 2})),
		sec(7, vec(cat(sized([]byte("memory")), []byte{2, 0}), cat([]byte{1, 'f', 0}, u32(len(hostFuncs))))),
		sec(10, vec(sized(code(append(calls, 0x41, 0)...)))))
}

// signed is a signed LEB128.
func signed(v int32) (b []byte) {
	for {
		c := byte(v) & 0x7f
		if v >>= 7; v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
