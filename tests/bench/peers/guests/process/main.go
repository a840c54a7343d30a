// Process is the plug-in in Go for hashicorp/go-plugin: a program of its own.
package main

import (
	"net/rpc"

	"github.com/hashicorp/go-plugin"
)

// Handlers are what the host calls.
type Handlers struct{}

// Noop does nothing.
func (Handlers) Noop([]byte, *[]byte) error { return nil }

// Echo gives back what came in.
func (Handlers) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

type served struct{}

func (served) Server(*plugin.MuxBroker) (any, error) { return Handlers{}, nil }

func (served) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "WEFT_BENCH", MagicCookieValue: "echo"},
		Plugins:         map[string]plugin.Plugin{"handlers": served{}},
	})
}
