// Package e2e tests the real binary.
package e2e_test

import (
	"encoding/json"
	"flag"
	"log"
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

// weftPath is the binary, built once for all tests.
var weftPath string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weft-e2e")
	if err != nil {
		log.Fatal(err)
	}
	weftPath = filepath.Join(dir, "weft")
	build := exec.Command("go", "build", "-o", weftPath, "./cmd/weft")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("build weft: %v\n%s", err, out)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
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

var kills = flag.Int("kills", 8, "how often weft is killed: a little with each change, more with make test-kill")

func TestNothingIsLostOrDoubledWhenWeftIsKilled(t *testing.T) {
	manifest, err := json.Marshal(probe.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	r, err := kill.Loop(t.Context(), weftPath, t.TempDir(), probe.Wasm(t), manifest, *kills)
	t.Logf("%+v", r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost != 0 || r.Doubled != 0 {
		t.Errorf("%d lost, %d doubled: %q", r.Lost, r.Doubled, r.First)
	}
	if r.Kills != *kills || r.Acknowledged < r.Kills || r.Calls < r.Kills || r.Transitions < r.Acknowledged {
		t.Error("too little was tried")
	}
}

func TestNoRegistrationIsLostWhenWeftIsKilled(t *testing.T) {
	r, err := kill.LoopRegistry(t.Context(), weftPath, t.TempDir(), *kills)
	t.Logf("%+v", r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost != 0 {
		t.Errorf("%d lost: %q", r.Lost, r.First)
	}
	if r.Kills != *kills || r.Acknowledged < 10*r.Kills {
		t.Error("too little was tried")
	}
}
