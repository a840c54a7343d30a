package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weftrun/weft/tests/ask"
	"github.com/weftrun/weft/tests/page"
)

// docs/SERVICES.md is done as it is written, but on a free port.
func TestServicesAreMadeAsThePageSays(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/SERVICES.md"))
	if err != nil {
		t.Fatal(err)
	}
	address, err := ask.Address()
	if err != nil {
		t.Fatal(err)
	}
	w := &talking{t: t, dir: t.TempDir(), address: address, isolation: "inline"}
	w.start()
	t.Cleanup(func() { _ = w.end(syscall.SIGKILL) })
	here := strings.ReplaceAll(string(text), "127.0.0.1:8787", address)
	if err := page.Do(t.Context(), here, w.dir, "PATH="+filepath.Dir(weftPath)+":"+os.Getenv("PATH"), "WEFT_SERVER=http://"+address, "GOFLAGS=", "GOWORK=off"); err != nil {
		t.Error(err)
	}
}
