package wasm

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/weftrun/weft"
)

// asks is a guest that calls a function of WASI with these arguments, without end or,
// where once is set, returning what it gives. It has 62 MiB of memory that begins with
// data.
func asks(name string, once bool, data []byte, args ...int) []byte {
	body := []byte{}
	for _, a := range args {
		body = cat(body, []byte{0x41}, signed(int32(a)))
	}
	if body = cat(body, []byte{0x10, 0}); !once {
		body = cat([]byte{0x03, 0x40}, body, []byte{0x1a, 0x0c, 0, 0x0b, 0x00})
	}
	params := bytes.Repeat(types(i32), len(args))
	return assemble(
		sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, cat([]byte{0x60}, sized(params), []byte{1, 0x7f}))),
		sec(2, vec(cat(sized([]byte("wasi_snapshot_preview1")), sized([]byte(name)), []byte{0, 1}))),
		sec(3, vec([]byte{0})),
		sec(5, vec(cat([]byte{0}, u32(992)))),
		sec(7, vec(cat(sized([]byte("memory")), []byte{2, 0}), []byte{1, 'f', 0, 1})),
		sec(10, vec(sized(code(body...)))),
		sec(11, vec(cat([]byte{0, 0x41, 0, 0x0b}, sized(data)))))
}

// TestWhatWASIDoesForAGuestIsPaidByItsLength: each of these has the host work for long, and
// once burnt what an import costs.
func TestWhatWASIDoesForAGuestIsPaidByItsLength(t *testing.T) {
	newlines := slices.Concat([]byte{16, 0, 0, 0, 0, 0xe0, 0, 0}, bytes.Repeat([]byte("\n"), 60_000)) // an iovec before them
	for name, wasm := range map[string][]byte{
		"60 MiB of randomness":  asks("random_get", false, nil, 0, 60<<20),
		"7 million empty parts": asks("fd_write", false, nil, 1, 16, 7<<20, 8),
		"reads into as many":    asks("fd_read", false, nil, 0, 16, 7<<20, 8),
		"lines of nothing":      asks("fd_write", false, newlines, 1, 0, 1, 8),
		"a million clocks":      asks("poll_oneoff", false, nil, 0, 0, 1_000_000, 8),
	} {
		_, err := load(t, wasm, weft.Limits{Fuel: 20_000_000}).Call(context.Background(), newEnv(), "f", Input{})
		if !errors.Is(err, LimitFuel) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTimesOfFilesAreSetOfNone: the engine panics over them, and the log said so at each call.
func TestTimesOfFilesAreSetOfNone(t *testing.T) {
	body := code(0x41, 0, 0x42, 0, 0x42, 0, 0x41, 0, 0x10, 0)
	module := assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 4, 0x7f, 0x7e, 0x7e, 0x7f, 1, 0x7f})),
		sec(2, vec(cat(sized([]byte("wasi_snapshot_preview1")), sized([]byte("fd_filestat_set_times")), []byte{0, 1}))),
		sec(3, vec([]byte{0})), sec(7, vec([]byte{1, 'f', 0, 1})), sec(10, vec(sized(body))))
	_, err := load(t, module, weft.Limits{}).Call(context.Background(), nil, "f", Input{})
	if weft.CodeOf(err) != weft.ResourceExhausted { // as of a path
		t.Errorf("got %v", err)
	}
}

func TestThereAreNoPathsHoweverLong(t *testing.T) {
	_, err := load(t, asks("path_unlink_file", true, nil, 3, 0, 60<<20), weft.Limits{}).Call(context.Background(), nil, "f", Input{})
	if weft.CodeOf(err) != weft.ResourceExhausted { // 8 is EBADF, and as a result of a handler that code
		t.Errorf("got %v", err)
	}
}
