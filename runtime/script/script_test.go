package script_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/probe"
)

var (
	cache   string // where the engine lies compiled
	sandbox *wasm.Runtime
	scripts *script.Engine
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "__load" { // a child of probe.Engine
		open(os.Args[2])
		if err := scripts.Load(context.Background()); err != nil {
			panic(err)
		}
		return
	}
	dir, err := os.MkdirTemp("", "weft-script")
	if err == nil {
		err = probe.Engine(dir)
	}
	if err != nil {
		panic(err)
	}
	open(filepath.Join(dir, "cache"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func open(dir string) {
	var err error
	cache = dir
	if sandbox, err = wasm.Open(context.Background(), wasm.Options{CacheDir: cache}); err != nil {
		panic(err)
	}
	scripts = script.New(sandbox)
}

func run(t *testing.T, code string) (script.Result, error) {
	t.Helper()
	return scripts.Run(t.Context(), "", script.Program{Code: code, Arguments: []string{"hello", "world"}, Environment: map[string]string{"foo": "bar"}, Stdin: "Grüße\n"})
}

func TestEngineIsTheOneOfTheReadme(t *testing.T) {
	code, err := os.ReadFile("quickjs.wasm")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(code)
	if want := "sha256 " + hex.EncodeToString(sum[:]) + "\n"; !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not say %s", want)
	}
}

func TestScriptGives(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       script.Result
	}{
		{"what it logs", `console.log('a', 1, null, undefined, true, 3n); console.info('b'); console.debug('c')`, script.Result{Stdout: "a 1 null undefined true 3n\nb\nc\n"}},
		{"objects as JSON", `console.log({ a: [1, { b: 'c' }] }, [2n])`, script.Result{Stdout: `{"a":[1,{"b":"c"}]} ["2"]` + "\n"}},
		{"an object that holds itself by its name", `const o = {}; o.o = o; console.log(o)`, script.Result{Stdout: "[object Object]\n"}},
		{"an error with its stack", `console.log(new TypeError('no'))`, script.Result{Stdout: "TypeError: no\n    at <anonymous> (script:1:17)\n"}},
		{"errors and warnings on the other stream", `console.error('a'); console.warn('b'); console.trace('c')`, script.Result{Stderr: "a\nb\nc\n"}},
		{"what it writes, without a line break", `process.stdout.write('a'); process.stderr.write('b'); process.stdout.write(1)`, script.Result{Stdout: "a1", Stderr: "b"}},
		{"its arguments", `const [, , one, two] = process.argv; console.log(one, two, process.argv.length)`, script.Result{Stdout: "hello world 4\n"}},
		{"its environment", `console.log(process.env.foo, process.env.none)`, script.Result{Stdout: "bar undefined\n"}},
		{"its standard input", `import { readFileSync } from 'node:fs'; process.stdout.write(readFileSync(process.stdin.fd, 'utf8'))`, script.Result{Stdout: "Grüße\n"}},
		{"the same by another name", `import fs from 'fs'; fs.writeFileSync('/dev/stderr', fs.readFileSync('/dev/stdin').toString()); fs.writeSync(1, 'x')`, script.Result{Stdout: "x", Stderr: "Grüße\n"}},
		{"the module of the process", `import p, { argv } from 'node:process'; console.log(p === process, argv[2])`, script.Result{Stdout: "true hello\n"}},
		{"an import while it runs", `const fs = await import('node:fs'); console.log(fs.readFileSync(0).length)`, script.Result{Stdout: "6\n"}},
		{"what comes after it has awaited", `const v = await Promise.resolve(7); (async () => { await null; console.log(v) })()`, script.Result{Stdout: "7\n"}},
		{"a rejection that is handled", `Promise.reject(new Error('a')).catch(() => console.log('ok'))`, script.Result{Stdout: "ok\n"}},
		{"a rejection that is handled later", `const p = Promise.reject(1); await null; p.catch(() => console.log('ok'))`, script.Result{Stdout: "ok\n"}},
		{"its exit code", `console.log('a'); process.exit(3); console.log('b')`, script.Result{Code: 3, Stdout: "a\n"}},
		{"its exit code without an exit", `process.exitCode = 4; console.log(process.exitCode)`, script.Result{Code: 4, Stdout: "4\n"}},
		{"an exit that is no exception", `try { process.exit() } catch { console.log('caught') } finally { console.log('finally') }`, script.Result{}},
		{"an exit code of eight bits", `process.exit(-1)`, script.Result{Code: 255}},
		{"the time, in UTC", `const d = new Date(); console.log(d.getTimezoneOffset(), d.getTime() > 1.7e12)`, script.Result{Stdout: "0 true\n"}},
		{"ES2024", `console.log(Object.groupBy([1, 2], n => n % 2 ? 'odd' : 'even'), 'x'.isWellFormed(), /[\p{L}--[a-z]]/v.test('A'), [3, 1].toSorted(), typeof Promise.withResolvers)`,
			script.Result{Stdout: `{"odd":[1],"even":[2]} true true [1,3] function` + "\n"}},
		{"nothing of a text that is no Unicode", `console.log('\ud800')`, script.Result{Stdout: "\uFFFD\n"}},
		{"nothing", ``, script.Result{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := run(t, c.code)
			if err != nil || got != c.want {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestScriptFails(t *testing.T) {
	for _, c := range []struct {
		name, code string
		line       int
		message    string
	}{
		{"by what is not there", "\n\nnull.x", 3, "TypeError: cannot read property 'x' of null"},
		{"in a function", "function f() {\n  throw new RangeError('boom')\n}\nf()", 2, "RangeError: boom"},
		{"in an asynchronous function that nobody awaits", "async function main() {\n  await 1\n  throw new Error('late')\n}\nmain()", 3, "Error: late"},
		{"by a rejection that nobody handles", "Promise.reject(new Error('a'))", 1, "Error: a"},
		{"by what is no error", "throw 'text'", 0, "text"},
		{"by what cannot be shown", "throw { toString() { throw 1 } }", 0, "what it threw cannot be shown"},
		{"for it never ends to wait", "await new Promise(() => {})", 0, "the script waits for a promise that nothing fulfils"},
		{"for it has no such function", "setTimeout(() => {}, 1)", 1, "ReferenceError: setTimeout is not defined"},
		{"for it has no such module", "1\nimport _ from 'lodash'", 2, "Error: a script can import node:fs and node:process, not lodash"},
		{"for it has no files", "import { readFileSync } from 'node:fs'\nreadFileSync('/etc/passwd')", 0, "Error: a script has no files: it reads 0 or /dev/stdin, and writes 1 or 2, not /etc/passwd"},
		{"for its text is wrong", "let a = 1\nlet b = ;", 2, "SyntaxError: unexpected token in expression: ';'"},
		{"for it is strict, as every module is", "x = 1", 1, "ReferenceError: x is not defined"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := run(t, c.code)
			var f *script.Fault
			if !errors.As(err, &f) || c.line != 0 && f.Line != c.line || f.Message != c.message {
				t.Errorf("%v (%+v), want line %d: %s", err, f, c.line, c.message)
			}
		})
	}
}

func TestCheckRunsNothing(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       string // "" for nothing
	}{
		{"a script that would never end", "while (true) {}", ""},
		{"a script that would fail", "throw new Error('no')", ""},
		{"a script that imports", "import { readFileSync } from 'node:fs'", ""},
		{"a module that is not there", "import x from 'lodash'", "line 1: Error: a script can import node:fs and node:process, not lodash"},
		{"a slip", "const a = 1\nconst a = 2", "line 2: SyntaxError: invalid redefinition of global identifier"},
		{"a text that has no end", "if (true) {", "line 1: SyntaxError: unexpected token in expression: ''"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := scripts.Check(t.Context(), "", c.code)
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// Whatever a script does, it ends in time with an error that says why, and the
// next one does not notice.
func TestHostileScripts(t *testing.T) {
	for _, c := range []struct{ name, code, want string }{
		{"an endless loop", "while (true) {}", "computed for longer than its limit of 2000 ms (limits.fuel)"},
		{"an endless loop that catches all", "while (true) try { while (true) {} } catch {}", "computed for longer"},
		{"an endless chain of promises", "const f = () => Promise.resolve().then(f); f()", "computed for longer"},
		{"an endless queue of rejections", "while (true) Promise.reject(1)", "more than its limit of 1000 rejected promises"},
		{"an endless message", "throw 'x'.repeat(1e7)", strings.Repeat("x", script.MessageMax)},
		{"a pattern that tries for ever", "/(x+x+)+y/.exec('x'.repeat(40))", "computed for longer"},
		{"an endless toString of what it throws", "throw { toString() { while (true) {} } }", "computed for longer"},
		{"memory without end", "const a = []; while (true) a.push(new Uint8Array(1 << 20))", "out of memory"},
		{"a string without end", "let s = 'x'; while (true) s += s", "InternalError: string too long"},
		{"recursion without end", "function f() { f() } f()", "RangeError: Maximum call stack size exceeded"},
		{"recursion without end in the engine", "let a = []; a[0] = a; a.toString = a.join; for (let i = 0; i < 1e5; i++) a = [a]; `${a.flat(Infinity)}`", "Maximum call stack size exceeded"},
		{"nested text without end", "eval('('.repeat(1e6))", "the calls of the script are nested too deep"},
		{"output without end", "while (true) console.log('x'.repeat(1e4))", "the script wrote more than its limit of 1048576 bytes"},
		{"much output at once", "console.log('x'.repeat(2 ** 21))", "the script wrote more than its limit"},
		{"a prelude that is broken", "Array.prototype.map = Array.prototype.join = () => { while (true) {} }; console.log(1)", "computed for longer"},
	} {
		t.Run(c.name, func(t *testing.T) { // one by one: its fuel has to be burnt before its time is over
			begun, before := time.Now(), processor(t)
			_, err := run(t, c.code)
			starved := err != nil && strings.Contains(err.Error(), "(limits.timeoutMs)") && processor(t)-before < 10*time.Second
			if err == nil || !strings.Contains(err.Error(), c.want) && !starved {
				t.Errorf("%v, want %s", err, c.want)
			}
			if d := time.Since(begun); d > 3*time.Minute {
				t.Errorf("it took %s", d)
			}
			if r, err := run(t, "console.log('fine')"); err != nil || r.Stdout != "fine\n" {
				t.Errorf("the next script gave %+v, %v", r, err)
			}
		})
	}
}

// processor is the time that this process had the processor for.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestNothingIsLeftForTheNext(t *testing.T) {
	leave := `globalThis.left = 'secret'; Object.prototype.left = 'secret'; Array.prototype.map = () => ['secret'];
		process.env.left = 'secret'; JSON.parse = () => ({ args: ['secret'], env: { left: 'secret' } }); console.log('secret')`
	find := `console.log(globalThis.left, {}.left, process.env.left, process.argv.length, [1].map(n => n + 1))`
	if _, err := run(t, leave); err != nil {
		t.Fatal(err)
	}
	if r, err := run(t, find); err != nil || r.Stdout != "undefined undefined undefined 4 [2]\n" {
		t.Errorf("%+v, %v", r, err)
	}
}

// The functions that the engine has of the host are for it alone.
func TestAnUploadCannotImportWhatTheEngineMay(t *testing.T) {
	code, err := os.ReadFile("quickjs.wasm")
	if err != nil {
		t.Fatal(err)
	}
	_, err = sandbox.Load(t.Context(), "engine", func() ([]byte, error) { return code, nil }, wasm.Terms{})
	if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "env.host_") {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for n := range 64 {
		all.Go(func() {
			code := "let n = 0; for (let i = 0; i < 100; i++) n += i; console.log(n, process.argv[2])"
			arg := strings.Repeat("x", n)
			r, err := scripts.Run(t.Context(), "", script.Program{Code: code, Arguments: []string{arg}})
			if err != nil || r.Stdout != "4950 "+arg+"\n" {
				t.Errorf("%d: %+v, %v", n, r, err)
			}
		})
	}
	all.Wait()
}

// One namespace has all the places for scripts that it can get, with scripts that do not
// end, and more of them wait; those of another run meanwhile.
func TestScriptsOfANamespaceLeavePlacesForOthers(t *testing.T) {
	rt, err := wasm.Open(t.Context(), wasm.Options{CacheDir: cache, Limits: weft.Limits{Concurrency: 8}})
	if err != nil {
		t.Fatal(err)
	}
	scripts := script.New(rt)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for range 20 {
		all.Go(func() { scripts.Run(ctx, "greedy", script.Program{Code: "while (true) {}"}) })
	}
	of := func(what string) int64 {
		for _, s := range rt.Stats().Shares {
			if s.Namespace == "greedy" && s.Of == what {
				return s.Used
			}
		}
		return 0
	}
	for of("scripts") < 7 || of("memory_bytes") == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		r, err := scripts.Run(t.Context(), "quiet", script.Program{Code: "console.log(1)"})
		if err != nil || r.Stdout != "1\n" {
			t.Errorf("%+v, %v", r, err)
		}
		if err := scripts.Check(t.Context(), "quiet", "console.log(1)"); err != nil {
			t.Error(err)
		}
	}
	if of("scripts") > 7 || of("scripts_waiting") == 0 {
		t.Errorf("the other has %d places, and %d of its scripts wait", of("scripts"), of("scripts_waiting"))
	}
}

func TestScriptEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := scripts.Run(ctx, "", script.Program{Code: "while (true) {}"})
	if weft.CodeOf(err) != weft.DeadlineExceeded {
		t.Errorf("%v", err)
	}
}
