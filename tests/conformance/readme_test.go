package conformance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/page"
)

// sdks are the folders of sdk with the tools that their READMEs use: each by the
// name it has there, what finds it from guests, and how it is got. own are the
// SDK's tests of itself, run in its folder; those of Go are make's.
var sdks = map[string]struct {
	tools []page.Tool
	own   string
}{
	"assemblyscript": {tools: []page.Tool{node, asc}},
	"c":              {[]page.Tool{cc, clang}, `cc -Wall -Wextra -Werror -I . -o "$OUT/host_test" host_test.c && "$OUT/host_test"`},
	"go":             {tools: []page.Tool{program}},
	"rust":           {[]page.Tool{rustc, rustdoc, cargo}, `CARGO_TARGET_DIR="$OUT" cargo test --offline`},
	"zig":            {[]page.Tool{zig}, "zig test host_test.zig"},
}

var (
	cc    = page.Tool{Name: "cc", Find: "command -v cc", Missing: "a C compiler (apt-get install gcc libc6-dev)"}
	clang = page.Tool{Name: "clang", Find: "./find-clang", Missing: "a clang that links for wasm32 (apt-get install clang lld)"}
	rustc = page.Tool{Name: "rustc", Find: "./find-rustc", Missing: "a rustc with the target wasm32-unknown-unknown (apt-get install rustc cargo libstd-rust-dev-wasm32)"}
	// Those of another rustc, first in the PATH, would not do.
	rustdoc = page.Tool{Name: "rustdoc", Find: `r=$(./find-rustc); command -v "${r%/*}/rustdoc"`, Missing: "the rustdoc of that rustc"}
	cargo   = page.Tool{Name: "cargo", Find: `r=$(./find-rustc); command -v "${r%/*}/cargo"`, Missing: "the cargo of that rustc (apt-get install cargo)"}

	program = page.Tool{Name: "weft", Find: `cd .. && go build -o .cache/weft ./cmd/weft && echo "$PWD/.cache/weft"`, Missing: "a weft that builds"}

	node = page.Tool{Name: "node", Find: "command -v node", Missing: "node 20 or newer (apt-get install nodejs npm)"}
	asc  = page.Tool{Name: "asc", Find: "./find-npm-tool asc", Missing: "node 20 or newer and AssemblyScript (apt-get install nodejs npm, then make toolchains)"}
	zig  = page.Tool{Name: "zig", Find: "./find-npm-tool zig", Missing: "Zig 0.11 (make toolchains)"}
)

// shell runs commands in dir with these tools before all others in the PATH.
// WEFT_SDK is the folder of the SDK, and OUT one of .cache.
func shell(t *testing.T, dir, sdk, commands string, tools []page.Tool) {
	t.Helper()
	bin := page.Path(t, guests, tools...)
	cache := absolute(t, "../../.cache")
	out := filepath.Join(cache, "sdk", filepath.Base(sdk))
	if err := os.MkdirAll(out, 0o700); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("sh", "-eu", "-c", commands)
	run.Dir = dir
	run.Env = append(os.Environ(), "WEFT_SDK="+absolute(t, sdk), "OUT="+out, "PATH="+bin+":"+os.Getenv("PATH"), "GOFLAGS=", "GOWORK=off",
		"ZIG_GLOBAL_CACHE_DIR="+filepath.Join(cache, "zig"), "ZIG_LOCAL_CACHE_DIR="+filepath.Join(cache, "zig"))
	if text, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", commands, err, text)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestREADMEs does what the README of each SDK says, from its first handler to a
// module, which must then answer as its test does.
func TestREADMEs(t *testing.T) {
	r := sandbox(t)
	readmes, err := filepath.Glob("../../sdk/*/README.md")
	if err != nil || len(readmes) < 5 {
		t.Fatal(readmes, err)
	}
	for _, readme := range readmes {
		folder := filepath.Dir(readme)
		language := filepath.Base(folder)
		if language == "peer" {
			continue // for programs that are no modules: tests/e2e runs their READMEs
		}
		t.Run(language, func(t *testing.T) {
			sdk, known := sdks[language]
			if !known {
				t.Fatalf("%s is not in the list of this test", folder)
			}
			text, err := os.ReadFile(readme)
			if err != nil {
				t.Fatal(err)
			}
			dir, ran := t.TempDir(), false
			for _, b := range page.Blocks(string(text)) {
				if name, is := b.File(); is {
					page.Write(t, filepath.Join(dir, name), b.Text)
				} else if b.Language+" "+b.Words == "sh run" {
					shell(t, dir, folder, b.Text, sdk.tools)
					ran = true
				} else {
					t.Errorf("a block is neither a file nor run: %s %s", b.Language, b.Words)
				}
			}
			if !ran {
				t.Fatal("the README has nothing to run")
			}
			greets(t, r, language, filepath.Join(dir, "greet.wasm"))
		})
	}
}

func greets(t *testing.T, r *wasm.Runtime, language, file string) {
	t.Helper()
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := r.Load(t.Context(), "greet."+language, func() ([]byte, error) { return code, nil }, wasm.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Call(t.Context(), &recorder{}, "greet", wasm.Input{Body: []byte(`{"name":"Ada"}`)})
	if err != nil || !same(true, string(out.Body), `{"name":"hello Ada"}`) {
		t.Errorf("answered %s, %v", out.Body, err)
	}
	if _, err := m.Call(t.Context(), &recorder{}, "greet", wasm.Input{}); weft.CodeOf(err) != weft.InvalidArgument {
		t.Errorf("without a name: %v, want code %v", err, weft.InvalidArgument)
	}
}

// TestSDKs runs what each SDK tests of itself outside Wasm, with the compilers
// of its language.
func TestSDKs(t *testing.T) {
	for language, sdk := range sdks {
		if sdk.own == "" {
			continue
		}
		t.Run(language, func(t *testing.T) {
			folder := filepath.Join("../../sdk", language)
			shell(t, folder, folder, sdk.own, sdk.tools)
		})
	}
}

// What installs the compilers names each that is missing in the end, and how it
// is got, on a machine where nothing can be installed.
func TestMissingToolchainsAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"find-clang", "find-rustc", "find-npm-tool", "toolchains/install"} {
		text, err := os.ReadFile(filepath.Join(guests, file))
		if err != nil {
			t.Fatal(err)
		}
		// A rustc is looked for outside the PATH too.
		page.Write(t, filepath.Join(dir, "guests", file), strings.ReplaceAll(string(text), "/usr/bin/rustc", ""))
		if err := os.Chmod(filepath.Join(dir, "guests", file), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"sh", "dirname", "mktemp", "rm"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		page.Write(t, filepath.Join(dir, "bin", ".keep"), "")
		if err := os.Symlink(path, filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command(filepath.Join(dir, "guests/toolchains/install"))
	install.Env = []string{"PATH=" + filepath.Join(dir, "bin")}
	said, err := install.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v, want 1", err)
	}
	want := []string{"missing: a clang", "missing: a rustc", "missing: node", "missing: Zig", "missing: Chromium", "missing: Python", "missing: curl"}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if len(lines) != len(want) {
		t.Fatalf("said %q", lines)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) || !strings.Contains(line, "apt-get install") {
			t.Errorf("said %q, want %q and how it is got", line, want[i])
		}
	}
}
