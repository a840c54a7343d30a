package wasm

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/weftrun/weft"
)

// goGuest is the program of testdata/NAME/main.go in Wasm. With -buildmode=c-shared
// it is a module of handlers, without it a command.
func goGuest(name string, flags ...string) ([]byte, error) {
	dir, err := os.MkdirTemp(scratch, name)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "guest.wasm")
	build := exec.Command("go", append(append([]string{"build", "-ldflags=-s -w", "-o", file}, flags...), "testdata/"+name+"/main.go")...)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, weft.Errorf(weft.Internal, "build", "%w: %s", err, out)
	}
	return os.ReadFile(file)
}

// A module is assembled here from the parts that a test cares about.

func u32(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func cat(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func sized(b []byte) []byte { return cat(u32(len(b)), b) }

func vec(items ...[]byte) []byte { return cat(u32(len(items)), cat(items...)) }

func sec(id byte, content []byte) []byte { return cat([]byte{id}, sized(content)) }

func assemble(sections ...[]byte) []byte {
	return cat([]byte("\x00asm\x01\x00\x00\x00"), cat(sections...))
}

// program is a module with a memory of 1 page, a table of 1 function and the
// functions of the given bodies, all (i32) -> i32; the first is exported as f.
// An extra section goes before the exports.
func program(bodies ...[]byte) []byte {
	var kinds, codes [][]byte
	for _, b := range bodies {
		kinds = append(kinds, []byte{0})
		codes = append(codes, sized(b))
	}
	return assemble(
		sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})),
		sec(3, vec(kinds...)),
		sec(4, vec([]byte{0x70, 0, 1})),
		sec(5, vec([]byte{0, 1})),
		sec(7, vec([]byte{1, 'f', 0, 0})),
		sec(9, vec([]byte{0, 0x41, 0, 0x0b, 1, 0})),
		sec(10, vec(codes...)),
	)
}

// code is the body of a function without locals of its own.
func code(instructions ...byte) []byte { return cat([]byte{0}, instructions, []byte{0x0b}) }
