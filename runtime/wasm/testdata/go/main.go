// A guest in Go without an SDK, which TestGoGuest builds.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"
)

//go:wasmimport weft/v1 input
func input(dst unsafe.Pointer, size, off uint32) uint32

//go:wasmimport weft/v1 output
func output(src unsafe.Pointer, n uint32)

func read(n uint32) []byte {
	b := make([]byte, n)
	return b[:input(unsafe.Pointer(unsafe.SliceData(b)), n, 0)]
}

func write(b []byte) { output(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))) }

//go:wasmexport double
func double(n uint32) uint32 {
	defer runtime.Gosched()
	var v struct{ N int }
	if err := json.Unmarshal(read(n), &v); err != nil {
		write([]byte(err.Error()))
		return 3
	}
	write(fmt.Appendf(nil, `{"n":%d}`, 2*v.N))
	return 0
}

//go:wasmexport world
func world(uint32) uint32 {
	b := make([]byte, 8)
	rand.Read(b)
	_, err := os.ReadFile("/etc/passwd")
	write(fmt.Appendf(nil, "%d args, %d env, file %v, year %d, random %v", len(os.Args), len(os.Environ()), err != nil, time.Now().Year(), b[0]|b[1]|b[2]|b[3] != 0))
	fmt.Println("to stdout")
	fmt.Fprintln(os.Stderr, "to stderr")
	return 0
}

//go:wasmexport sleep
func sleep(uint32) uint32 { time.Sleep(30 * time.Millisecond); return 0 }

//go:wasmexport slumber
func slumber(uint32) uint32 { time.Sleep(time.Hour); return 0 }

//go:wasmexport panics
func panics(uint32) uint32 { panic("boom") }

//go:wasmexport exits
func exits(uint32) uint32 { os.Exit(7); return 0 }

func main() {}
