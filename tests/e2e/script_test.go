package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/ask"
	"github.com/weftrun/weft/tests/authority"
	"github.com/weftrun/weft/tests/probe"
)

// patience is how long a script waits for what must come.
const patience = 3 * time.Minute

// TestScripts runs what a person types and sees: testdata/*.txtar, each with a
// weft of its own. Besides the commands of testscript there are
//
//	serve [FLAG...]           starts `weft dev`, and returns when it is ready
//	signal TERM|KILL          ends it; after TERM it must exit with 0
//	fails CODE PROGRAM ...    runs a program that must exit with CODE
//	until PATTERN PROGRAM ... runs a program until its output matches
//	let NAME PATTERN          keeps what the group of PATTERN matches in the output
//	json weft ...             runs weft with --json: its output must be JSON
//	terminal PROGRAM ...      runs a program on a terminal
//	post PATH JSON [HEADER VALUE]...  asks a method; with ! it must fail
//	json -                    the latest output must be JSON
//	sign KEY FILE [COMMENT]   does what minisign -S -p KEY.pub -m FILE does, and makes the key first if need be
//	killworkers               kills the worker processes of weft, of which there must be some
func TestScripts(t *testing.T) {
	shared := t.TempDir()
	lay(t, shared)
	goCache, tools := output(t, "go", "env", "GOCACHE"), ""
	for _, tool := range []string{"zig", "asc"} {
		if path := output(t, filepath.Join(root, "guests/find-npm-tool"), tool); path != "" {
			tools += ":" + filepath.Dir(path)
		}
	}
	rust := filepath.Dir(output(t, filepath.Join(root, "guests/find-rustc")))
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(language string) (bool, error) {
			find, ok := map[string][]string{"clang": {"find-clang"}, "rust": {"find-rustc"}, "asc": {"find-npm-tool", "asc"}, "zig": {"find-npm-tool", "zig"}}[language]
			if !ok {
				return false, fmt.Errorf("no condition %s", language)
			}
			return output(t, filepath.Join(root, "guests", find[0]), find[1:]...) != "", nil
		},
		Setup: func(e *testscript.Env) error {
			address, err := ask.Address()
			if err != nil {
				return err
			}
			e.Setenv("PATH", filepath.Dir(weftPath)+":"+e.Getenv("PATH"))
			e.Setenv("WEFT_LISTEN", address)
			e.Setenv("WEFT_SERVER", "http://"+address)
			e.Setenv("WEFT_DB", filepath.Join(e.WorkDir, "weft.db"))
			examples, err := filepath.Abs(filepath.Join(root, "workflows/examples"))
			if err != nil {
				return err
			}
			e.Setenv("EXAMPLES", examples)
			e.Setenv("WEFT_CACHE", filepath.Join(shared, "cache"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(shared, "cache"))
			e.Setenv("WEFT_BIN", filepath.Dir(weftPath))
			e.Setenv("GOCACHE", goCache)
			e.Setenv("RUST", rust) // where its cargo is too
			e.Setenv("PATH", e.Getenv("PATH")+tools)
			e.Values[server{}] = &server{}
			return os.CopyFS(e.WorkDir, os.DirFS(filepath.Join(shared, "files")))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":    serve,
			"signal":   signal,
			"fails":    fails,
			"until":    until,
			"let":      let,
			"json":     speaksJSON,
			"terminal": terminal,
			"post":     post,

			"killworkers": killWorkers,
			"sign":        sign(),
		},
	})
}

// output is what a program says, without the line's end.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return strings.TrimSpace(string(out))
}

// lay makes the files that every script finds: two modules with their manifests, a
// program of WASI, a plug-in of Extism, modules that must be refused, and certificates.
func lay(t *testing.T, dir string) {
	t.Helper()
	loyalty, err := os.ReadFile(filepath.Join(root, "guests/loyalty/loyalty.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"probe.wasm":   probe.Wasm(t),
		"loyalty.wasm": loyalty,
		"other.wasm":   wasm.AppendSection(loyalty, "note", []byte("other bytes")),
		// (import "env" "open" (func)) and nothing else
		"stranger.wasm": []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02\x0c\x01\x03env\x04open\x00\x00"),
		// what it is stands in the module itself
		"inside.wasm": wasm.AppendSection(loyalty, wasm.ManifestSection, []byte(`{"name":"inside","version":"1.0.0"}`)),
		"torn.wasm":   loyalty[:len(loyalty)/2],
	}
	maps.Copy(files, talker(t))
	for _, name := range []string{"command.wasm", "plugin.wasm", "guest.wasm"} {
		if files[name], err = os.ReadFile(filepath.Join(root, "runtime/wasm/testdata", name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, manifest := range map[string]string{"probe": "probe", "loyalty": "loyalty", "other": "loyalty"} {
		if files[name+".yaml"], err = os.ReadFile(filepath.Join(root, "guests", manifest, "weft.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"files", "cache"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, "files", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority.New(t, filepath.Join(dir, "files"), "ca").Pair("server")
	authority.New(t, filepath.Join(dir, "files"), "clients").Pair("ada")
}

// server is the weft of a script.
type server struct{ cmd *exec.Cmd }

func serverOf(ts *testscript.TestScript) *server { return ts.Value(server{}).(*server) }

func serve(ts *testscript.TestScript, _ bool, args []string) {
	s := serverOf(ts)
	if s.cmd != nil {
		ts.Fatalf("weft serves already")
	}
	log, err := os.OpenFile(ts.MkAbs("weft.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd := program(ts, append([]string{"weft", "dev"}, args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	ts.Check(cmd.Start())
	s.cmd = cmd
	ts.Defer(func() {
		if s.cmd == cmd {
			s.end(syscall.SIGKILL)
		}
	})
	if !within(func() bool { return ask.Ready(ts.Getenv("WEFT_SERVER")) }) {
		ts.Fatalf("weft is not ready: %s", ts.ReadFile("weft.log"))
	}
}

// program is a call as the script itself would make it.
func program(ts *testscript.TestScript, args ...string) *exec.Cmd {
	name := args[0]
	if name == "weft" {
		name = weftPath
	}
	cmd := exec.Command(name, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "WEFT_LISTEN", "WEFT_SERVER", "WEFT_DB", "WEFT_CACHE", "NO_COLOR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

func (s *server) end(sig syscall.Signal) error {
	cmd := s.cmd
	s.cmd = nil
	if err := cmd.Process.Signal(sig); err != nil {
		return err
	}
	return cmd.Wait()
}

func signal(ts *testscript.TestScript, _ bool, args []string) {
	sig, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[0]]
	s := serverOf(ts)
	if !ok || s.cmd == nil {
		ts.Fatalf("usage: signal TERM|KILL, while weft serves")
	}
	if err := s.end(sig); sig == syscall.SIGTERM && err != nil {
		ts.Fatalf("weft ended with %v: %s", err, ts.ReadFile("weft.log"))
	}
}

// sign signs with keys of its own, for minisign is not everywhere.
func sign() func(*testscript.TestScript, bool, []string) {
	var mu sync.Mutex
	keys := map[string]minisign.PrivateKey{} // by file of the public one
	return func(ts *testscript.TestScript, _ bool, args []string) {
		mu.Lock()
		defer mu.Unlock()
		file := ts.MkAbs(args[0] + ".pub")
		key, known := keys[file]
		if !known {
			public, private, err := minisign.GenerateKey(nil)
			ts.Check(err)
			text, err := public.MarshalText()
			ts.Check(errors.Join(err, os.WriteFile(file, text, 0o600)))
			keys[file], key = private, private
		}
		r := minisign.NewReader(strings.NewReader(ts.ReadFile(args[1])))
		_, err := io.Copy(io.Discard, r)
		ts.Check(errors.Join(err, os.WriteFile(ts.MkAbs(args[1]+".minisig"), r.SignWithComments(key, strings.Join(args[2:], " "), "signature of a script"), 0o600)))
	}
}

func killWorkers(ts *testscript.TestScript, _ bool, _ []string) {
	var found []int
	if !within(func() bool {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", serverOf(ts).cmd.Process.Pid))
		for _, f := range files {
			pids, _ := os.ReadFile(f) // of a thread that may have ended
			for _, word := range strings.Fields(string(pids)) {
				pid, err := strconv.Atoi(word)
				ts.Check(err)
				if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); strings.Contains(string(line), "__worker") {
					found = append(found, pid)
				}
			}
		}
		return len(found) > 0
	}) {
		ts.Fatalf("weft has no workers: %s", ts.ReadFile("weft.log"))
	}
	for _, pid := range found {
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	}
	if !within(func() bool {
		return !slices.ContainsFunc(found, func(pid int) bool { return syscall.Kill(pid, 0) == nil })
	}) {
		ts.Fatalf("weft has not noticed that its workers ended: %v", found)
	}
}

func fails(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("%v: %v, and not exit status %d", args[1:], err, want)
	}
}

// until looks quietly, and once more for the script to see.
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	var out []byte
	if !within(func() (ok bool) {
		out, _ = program(ts, args[1:]...).CombinedOutput()
		return pattern.Match(out)
	}) {
		ts.Fatalf("waited %s in vain for %q of %v: %s", patience, args[0], args[1:], out)
	}
	ts.Check(ts.Exec(args[1], args[2:]...))
}

func let(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("the output does not match %q", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func speaksJSON(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] != "-" {
		ts.Check(ts.Exec(args[0], append(args[1:], "--json")...))
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	for n := 0; ; n++ {
		var v map[string]any
		err := d.Decode(&v)
		if err == io.EOF && n > 0 {
			return
		}
		if err != nil {
			ts.Fatalf("message %d is not JSON: %v", n+1, err)
		}
	}
}

// The scripts, json.txtar above all, leave no command out.
func TestEveryCommandIsAskedForJSON(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var script []byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		script = append(script, data...)
	}
	names := 0
	for _, noun := range commands(t) {
		verbs := commands(t, noun)
		if len(verbs) == 0 {
			verbs = []string{""}
		}
		for _, verb := range verbs {
			name := strings.TrimSpace(noun + " " + verb)
			if noun == "help" || noun == "completion" {
				continue
			}
			names++
			if !regexp.MustCompile(`(?m)^(json weft ` + name + `\b|exec .*weft ` + name + ` .*--json)`).Match(script) {
				t.Errorf("no script asks weft %s", name)
			}
		}
	}
	if names < 20 {
		t.Errorf("%d commands were found", names)
	}
}

// commands are those below the given ones, as the shell would complete them.
func commands(t *testing.T, above ...string) (names []string) {
	t.Helper()
	out, err := exec.Command(weftPath, append(append([]string{"__complete"}, above...), "")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if name, _, ok := strings.Cut(line, "\t"); ok {
			names = append(names, name)
		}
	}
	return names
}

// within reports whether ok became true.
func within(ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}
