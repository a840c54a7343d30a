// Weft is the guest in Go for weft.
package main

import weft "github.com/weftrun/weft/sdk/go"

//go:wasmexport noop
func noop(uint32) uint32 { return 0 }

//go:wasmexport echo
func echo(n uint32) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error {
		ctx.Write(ctx.Input())
		return nil
	})
}

func main() {}
