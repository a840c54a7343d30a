// Package peers measures a call of a guest in weft and in what else a program in Go
// runs the code of others with. Those that run Wasm in Go do so on one version of wazero.
package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	extism "github.com/extism/go-sdk"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/bench/peers/echo"
)

// The test binary is also the child that checks modules, and a worker.
func TestMain(m *testing.M) {
	wasm.Child()
	os.Exit(m.Run())
}

// built is the file of a guest built from source: one of C, or a folder of Go.
func built(t testing.TB, source string) string {
	t.Helper()
	if source == "process" { // is no Wasm
		return source
	}
	to := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.Command("go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", to, "./guests/"+source)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if strings.HasSuffix(source, ".c") {
		clang, err := exec.Command("../../../guests/find-clang").Output()
		if err != nil || len(clang) == 0 {
			t.Skip("a clang that links for wasm32 is missing: apt-get install clang lld")
		}
		build = exec.Command(strings.TrimSpace(string(clang)), "--target=wasm32-unknown-unknown", "-O2", "-ffreestanding", "-fno-builtin", "-nostdlib",
			"-Wl,--no-entry", "-Wl,--strip-all", "-I", "../../../sdk/c", "-o", to, "guests/"+source)
	}
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", source, err, out)
	}
	return to
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// callee calls a guest's noop or echo.
type callee func(export string, in []byte) ([]byte, error)

func inWeft(t testing.TB, file string) callee { return inWeftAs(t, file, nil) }

func inWeftAs(t testing.TB, file string, env wasm.Env) callee {
	return inWeftOn(t, file, env, wasm.Terms{Limits: weft.Limits{Fuel: 1 << 50}})
}

func inWeftOn(t testing.TB, file string, env wasm.Env, terms wasm.Terms) callee {
	t.Helper()
	ctx := context.Background()
	r, err := wasm.Open(ctx, wasm.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(ctx) })
	m, err := r.Load(ctx, file, func() ([]byte, error) { return os.ReadFile(file) }, terms)
	if err != nil {
		t.Fatal(err)
	}
	return func(export string, in []byte) ([]byte, error) {
		out, err := m.Call(ctx, env, export, wasm.Input{Body: in})
		return out.Body, err
	}
}

func inExtism(t testing.TB, file string) callee {
	t.Helper()
	ctx := context.Background()
	p, err := extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: read(t, file)}}}, extism.PluginConfig{EnableWasi: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(ctx) })
	return func(export string, in []byte) ([]byte, error) {
		_, out, err := p.Call(export, in)
		return out, err
	}
}

func inGoPlugin(t testing.TB, file string) callee {
	t.Helper()
	ctx := context.Background()
	host, err := echo.NewEchoPlugin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p, err := host.Load(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close(ctx) })
	return func(export string, in []byte) ([]byte, error) {
		call := p.Echo
		if export == "noop" {
			call = p.Noop
		}
		out, err := call(ctx, &echo.Data{Body: in})
		return out.GetBody(), err
	}
}

var rivals = []struct {
	name, source string
	in           func(testing.TB, string) callee
}{
	{"weft/c", "weft.c", inWeft},
	{"weft/go", "weft", inWeft},
	{"weft/extism-c", "extism.c", inWeft},
	{"extism/c", "extism.c", inExtism},
	{"go-plugin/c", "goplugin.c", inGoPlugin},
	{"go-plugin/go", "goplugin", inGoPlugin},
	{"wasmtime/c", "weft.c", inWasmtime(false)},
	{"wasmtime/metered-c", "weft.c", inWasmtime(true)},
	{"weft/worker-c", "weft.c", inWorker},
	{"hashicorp/go", "process", inProcess},
}

func TestEachGuestDoesWhatIsMeasured(t *testing.T) {
	for _, r := range rivals {
		t.Run(r.name, func(t *testing.T) {
			call := r.in(t, built(t, r.source))
			in := bytes.Repeat([]byte("abcdefg"), 147)[:1<<10]
			if out, err := call("echo", in); err != nil || !bytes.Equal(out, in) {
				t.Errorf("echo: %d bytes, %v", len(out), err)
			}
			if out, err := call("noop", nil); err != nil || len(out) > 0 {
				t.Errorf("noop: %q, %v", out, err)
			}
		})
	}
}

func BenchmarkCall(b *testing.B) {
	for _, r := range rivals {
		b.Run(r.name, func(b *testing.B) {
			call := r.in(b, built(b, r.source))
			for _, c := range []struct {
				name, export string
				in           []byte
			}{{"noop", "noop", nil}, {"echo1k", "echo", make([]byte, 1<<10)}} {
				b.Run(c.name, func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if _, err := call(c.export, c.in); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}

// world is what plug-ins reach.
type world struct {
	wasm.Env
	state map[string][]byte
	lines []string
}

func (w *world) StateGet(key string) ([]byte, bool, error) {
	v, ok := w.state[key]
	return v, ok, nil
}

func (w *world) StateSet(key string, value []byte) error {
	w.state[key] = bytes.Clone(value)
	return nil
}

func (w *world) Config(key string) (string, bool, error) {
	v, ok := map[string]string{"thing": "hello", "vowels": "aeiou"}[key]
	return v, ok, nil
}

func (w *world) HTTP(context.Context, []byte) ([]byte, error) {
	return json.Marshal(map[string]any{"status": 200, "headers": map[string]string{"x-from": "the web"}, "body": []byte("{}")})
}

func (w *world) Log(_ slog.Level, message string) { w.lines = append(w.lines, message) }

// Plug-ins that the authors of Extism built, in Rust, Go, C and by hand, run as they are.
func TestPluginsOfExtismRunAsTheyAre(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/extism/go-sdk").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "wasm")
	for _, c := range []struct{ file, export, in, want, fault string }{
		{"hello.wasm", "run_test", "", "Hello, world!", ""},
		{"count_vowels.wasm", "count_vowels", "hello world", `{"count":3,"total":3,"vowels":"aeiou"}`, ""},
		{"config.wasm", "run_test", "", `{"config": "hello"}`, ""},
		{"var.wasm", "run_test", "", "a: 0", ""},
		{"replace.wasm", "run_test", "baa", "baa", ""},
		{"input_offset.wasm", "input_offset_length", "hello", "\x05\x00\x00\x00\x00\x00\x00\x00", ""},
		{"alloc.wasm", "run_test", "", "", ""},
		{"log.wasm", "run_test", "", "", ""},
		{"fail.wasm", "run_test", "", "", "Some error message"},
		{"std_command.wasm", "_start", "Benjamin", "hello Benjamin", ""},
		{"count_vowels_std.wasm", "_start", "hello world", `{"count": 3, "config": "hello", "a": "this is var a"}`, ""},
		{"http_headers.wasm", "http_get", `{"url":"http://example.com"}`, `{"x-from":"the web"}`, ""},
	} {
		t.Run(c.file, func(t *testing.T) {
			w := &world{state: map[string][]byte{}}
			got, err := inWeftAs(t, filepath.Join(dir, c.file), w)(c.export, []byte(c.in))
			fault := ""
			if err != nil {
				fault = err.Error()
			}
			if string(got) != c.want || fault != c.fault {
				t.Errorf("%q, %v", got, err)
			}
			if c.file == "log.wasm" && len(w.lines) != 4 {
				t.Errorf("logged %q", w.lines)
			}
		})
	}
}
