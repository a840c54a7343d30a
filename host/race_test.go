//go:build race

package host_test

import (
	"os"
	"sync"
	"testing"

	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/tests/probe"
)

var child = sync.OnceValues(func() ([]string, error) {
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, err
	}
	return probe.Check(cache)
})

// checks has the modules of a test compiled without the race detector, with
// which the compiler has neither the time nor the memory for a guest in Go.
func checks(t *testing.T) {
	command, err := child()
	if err != nil {
		t.Fatal(err)
	}
	host.CheckBy(command)
	t.Cleanup(func() { host.CheckBy(nil) })
}
