// Goplugin is the guest in Go for go-plugin.
package main

import (
	"context"

	"github.com/weftrun/weft/tests/bench/peers/echo"
)

func main() {}

func init() { echo.RegisterEcho(guest{}) }

type guest struct{}

func (guest) Noop(context.Context, *echo.Data) (*echo.Data, error) { return &echo.Data{}, nil }

func (guest) Echo(_ context.Context, in *echo.Data) (*echo.Data, error) { return in, nil }
