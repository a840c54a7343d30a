package conformance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
)

// TestAssemblyScript runs the tests of the SDK, which call a module in its host
// in memory; and of that module what guests/echo has not, in the real one.
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
	t.Run("in memory", func(t *testing.T) {
		run := exec.Command("node", "--test", "tests/sdk.test.mjs")
		run.Dir, run.Env = sdk, append(os.Environ(), "WEFT_TEST_MODULE="+module)
		if text, err := run.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	})
	t.Run("in weft", func(t *testing.T) { talks(t, module) })
}

func talks(t *testing.T, module string) {
	r := sandbox(t)
	m, err := r.Load(t.Context(), "sdk", func() ([]byte, error) { return os.ReadFile(module) }, wasm.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	s := &talk{in: []string{"a", "", strings.Repeat("b", 5000)}}
	out, err := m.Call(t.Context(), &recorder{}, "shout", wasm.Input{Stream: s})
	if err != nil || !slices.Equal(s.out, []string{"A", "", strings.Repeat("B", 5000)}) {
		t.Errorf("sent %.100q, %v", s.out, err)
	}
	if !reflect.DeepEqual(s.headers, weft.Header{"x-first": {"1"}}) || !reflect.DeepEqual(out.Fields().Trailers, weft.Header{"x-last": {"a", "b"}}) {
		t.Errorf("headers %q, trailers %q", s.headers, out.Fields().Trailers)
	}

	env := &recorder{state: map[string]string{"stock": `{"left":0}`}}
	_, err = m.Call(t.Context(), env, "reserve", wasm.Input{})
	if weft.CodeOf(err) != weft.Internal || !strings.Contains(err.Error(), "answer of prices/get is no JSON") {
		t.Errorf("the first failure: %v", err) // the recorder answers no JSON
	}
	want := []weft.Detail{{Type: "google.rpc.RetryInfo", Value: []byte("soon")}}
	if got := weft.DetailsOf(err); !reflect.DeepEqual(got, want) {
		t.Errorf("details %q, want %q", got, want)
	}

	env = &recorder{state: map[string]string{}}
	if _, err := m.Call(t.Context(), env, "broken", wasm.Input{}); !errors.Is(err, wasm.ErrTrap) {
		t.Errorf("what is thrown: %v, want a trap", err)
	}
	if len(env.logs) != 1 || !strings.HasPrefix(env.logs[0], "ERROR no way on in ") {
		t.Errorf("logged %q", env.logs)
	}
}
