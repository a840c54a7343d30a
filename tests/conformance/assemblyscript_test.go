package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAssemblyScript runs the tests of the SDK, which call a module in its host
// in memory.
func TestAssemblyScript(t *testing.T) {
	find := exec.Command("./find-npm-tool", "asc")
	find.Dir = guests
	found, err := find.Output()
	asc := strings.TrimSpace(string(found))
	if err != nil || asc == "" {
		t.Skip("missing: node and AssemblyScript (guests/toolchains/install)")
	}
	const sdk = "../../sdk/assemblyscript"
	module := filepath.Join(t.TempDir(), "sdk.wasm")
	build := exec.Command(asc, "tests/sdk.ts", "--config", "asconfig.json", "-o", module)
	build.Dir = sdk
	if text, err := build.CombinedOutput(); err != nil || len(text) > 0 {
		t.Fatalf("build: %v\n%s", err, text)
	}
	run := exec.Command("node", "--test", "tests/sdk.test.mjs")
	run.Dir, run.Env = sdk, append(os.Environ(), "WEFT_TEST_MODULE="+module)
	if text, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
