// Command orders is the service in Go. An EchoRequest reads as an EchoResponse,
// and a HoldRequest as a HoldResponse.
package main

import (
	"io"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport orders.v1.OrderService/Nothing
func nothing(n uint32) uint32 {
	return weft.Handle(n, func(*weft.Context) error { return nil })
}

//go:wasmexport orders.v1.OrderService/Echo
func echo(n uint32) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error { _, err := ctx.Write(ctx.Input()); return err })
}

//go:wasmexport orders.v1.OrderService/Hold
func hold(n uint32) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error {
		for {
			message, err := ctx.Recv()
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = ctx.Send(message)
			}
			if err != nil {
				return err
			}
		}
	})
}

func main() {}
