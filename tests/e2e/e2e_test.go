// Package e2e tests the real binary.
package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/kill"
	"github.com/weftrun/weft/tests/probe"
)

const root = "../.."

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(t.TempDir(), "weft"))
	if err != nil {
		t.Fatal(err)
	}
	command(t, "go", "build", "-o", path, "./cmd/weft")
	return path
}

func TestTheDemoRunsAsTheReadmeSays(t *testing.T) {
	out := command(t, "make", "demo")
	for _, want := range []string{
		"PARKED: peer payments is open until",
		"2 failures: connection refused",
		"timer until",
		"every order was carried out once",
		`"points":20`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
}

func TestNothingAcknowledgedIsLostWhenWeftIsKilled(t *testing.T) {
	kills := 8
	if testing.Short() {
		kills = 3
	}
	manifest, err := json.Marshal(probe.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	r, err := kill.Loop(t.Context(), binary(t), t.TempDir(), probe.Wasm(t), manifest, kills)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Lost != 0 || r.Acknowledged == 0 {
		t.Errorf("%d of %d acknowledged runs lost", r.Lost, r.Acknowledged)
	}
}

func TestWrongCallsSayWhatToDo(t *testing.T) {
	weft := binary(t)
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("document: { dsl: '1.0.3', namespace: a, name: b, version: '1.0.0' }\ndo:\n  - x: { sett: { a: 1 } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says string
		code int
		args []string
	}{
		{"start one with `weft dev`", 1, []string{"run", "list", "--server", "http://127.0.0.1:1"}},
		{bad + ":3:", 1, []string{"workflow", "validate", bad}},
		{"write table or json", 2, []string{"run", "list", "-o", "xml"}},
		{"no authentication yet", 2, []string{"serve", "--listen", "0.0.0.0:0"}},
	} {
		out, err := exec.Command(weft, c.args...).CombinedOutput()
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("weft %v: %v, %s", c.args, err, out)
		}
	}
}
