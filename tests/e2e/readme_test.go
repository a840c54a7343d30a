package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/ask"
)

// The quickstart runs as it is written, but on a free port and a file of its own.
func TestTheQuickstartRunsAsTheReadmeSays(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -eu\ntrap 'kill $(jobs -p); wait' EXIT\n")
	blocks := regexp.MustCompile("(?s)```sh quickstart\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d blocks of the quickstart were found", len(blocks))
	}
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	address, err := ask.Address()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.ReplaceAll(script.String(), "127.0.0.1:8787", address))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "WEFT_LISTEN="+address, "WEFT_SERVER=http://"+address, "WEFT_DB="+filepath.Join(t.TempDir(), "weft.db"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"handlers  validate-order",
		`"status":"accepted"`,
		`{"order":{"orderId":"o-1"`,
		`"status":"ORDER_STATUS_ACCEPTED"`,
		"shop/remind-later:1.0.0 is live",
		"PARKED: timer until",
		"COMPLETED",
		"published at offset",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the quickstart does not say %q:\n%s", want, out)
		}
	}
}
