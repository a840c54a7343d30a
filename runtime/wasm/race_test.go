//go:build race

package wasm

import (
	"sync"

	"github.com/weftrun/weft/tests/probe"
)

var checkArgs = sync.OnceValue(func() []string {
	command, err := probe.Check(scratch)
	if err != nil {
		panic(err)
	}
	return command
})
