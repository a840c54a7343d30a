// A guest in Go that keeps what it is told, which TestNothingOfACallIsLeft
// builds.
package main

import (
	crand "crypto/rand"
	"fmt"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"unsafe"
)

//go:wasmimport weft/v1 input
func input(dst unsafe.Pointer, size, off uint32) uint32

//go:wasmimport weft/v1 output
func output(src unsafe.Pointer, n uint32)

func write(b []byte) { output(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))) }

var told []string

// own is a generator that the guest seeds itself, at its start.
var own = randv2.New(randv2.NewPCG(randv2.Uint64(), randv2.Uint64()))

//go:wasmexport count
func count(n uint32) uint32 {
	b := make([]byte, n)
	input(unsafe.Pointer(unsafe.SliceData(b)), n, 0)
	told = append(told, string(b))
	write([]byte{byte(len(told)), 0, 0, 0})
	return 0
}

//go:wasmexport random
func random(uint32) uint32 {
	b := make([]byte, 8)
	crand.Read(b)
	write(fmt.Appendf(nil, "%d %d %x", rand.Int63(), randv2.Uint64(), b))
	return 0
}

//go:wasmexport throw
func throw(uint32) uint32 {
	write(fmt.Appendf(nil, "%d", own.Uint64()))
	return 0
}

//go:wasmexport mutter
func mutter(uint32) uint32 {
	os.Stdout.WriteString("half a line")
	return 0
}

//go:wasmexport swell
func swell(uint32) uint32 {
	told = append(told, string(make([]byte, 16<<20)))
	return 0
}

//go:wasmexport hush
func hush(uint32) uint32 {
	os.Stdout.Close()
	return 0
}

//go:wasmexport noop
func noop(uint32) uint32 { return 0 }

func main() {}
