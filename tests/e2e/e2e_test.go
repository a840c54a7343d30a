// Package e2e tests the real binary.
package e2e_test

import (
	"encoding/json"
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	recorded := between(t, string(read(t, filepath.Join(root, "docs/PEERS.md"))), "```text recorded\n", "```")
	if got, want := lasting(between(t, out, "== 6. ", "\n== 8. ")), lasting(between(t, recorded, "== 6. ", "\n== 8. ")); got != want {
		t.Errorf("docs/PEERS.md has another record of the demo:\n%s\nthan what it says:\n%s", want, got)
	}
}

func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, text, found := strings.Cut(text, from)
	text, _, ended := strings.Cut(text, to)
	if !found || !ended {
		t.Fatalf("no text between %q and %q", from, to)
	}
	return text
}

// passing is what another day and another machine say otherwise.
var passing = regexp.MustCompile(`\b[0-9A-Z]{26}\b|\d\d:\d\d:\d\d|\b[0-9.]+(µs|ms|s)\b|payments-[\w.-]+| +`)

// lasting is a text without what passes.
func lasting(text string) string {
	return strings.ReplaceAll(passing.ReplaceAllString(strings.TrimSpace(text), " "), " \n", "\n")
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
