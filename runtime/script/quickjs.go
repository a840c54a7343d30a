package script

import (
	_ "embed" // see script.go
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
)

// quickjs is QuickJS-NG as a module without a main function. README.md says
// where it comes from.
//
//go:embed quickjs.wasm
var quickjs []byte

//go:embed prelude.js
var prelude string

//go:embed fs.js
var fsModule string

//go:embed process.js
var processModule string

// Flags of qjs_eval and qjs_compile, from quickjs.h.
const (
	evalScript = 0
	evalModule = 1
)

// stackMax is what the engine may use of its stack of 1 MiB before it throws: the
// rest is for its own functions.
const stackMax = 512 << 10

// fileName is what the code is called in stacks.
const fileName = "script"

// errExit ends a script that has called process.exit.
var errExit = errors.New("the script has exited")

// life is one script in an engine of its own. A value of JavaScript is a
// reference that the engine holds; they all go with the instance.
type life struct {
	g        *wasm.Guest
	source   string
	stdin    string
	code     int
	stdout   []byte
	stderr   []byte
	rejected map[uint64]rejection // by promise: those that nobody has handled yet
	n        int                  // rejections so far
	stray    *Fault               // of a module that is not there
}

type rejection struct {
	n      int // which one it is
	reason uint64
}

// imports are what the engine asks of the host.
var imports = []wasm.Import{
	{Module: "env", Name: "host_call", Params: 5, Result: true, Do: func(g *wasm.Guest, s []uint64) uint64 {
		l := g.Value.(*life)
		return l.call(string(g.Bytes(s[0], s[1])), l.list(s[4], s[3]))
	}},
	{Module: "env", Name: "host_module_load", Params: 2, Result: true, Do: func(g *wasm.Guest, s []uint64) uint64 {
		return g.Value.(*life).load(s[0], s[1])
	}},
	{Module: "env", Name: "host_module_normalize", Params: 2, Result: true, Do: func(g *wasm.Guest, s []uint64) uint64 {
		l := g.Value.(*life)
		return l.put(l.cString(s[1]))
	}},
	{Module: "env", Name: "host_promise_rejection", Params: 3, Do: func(g *wasm.Guest, s []uint64) uint64 {
		g.Value.(*life).reject(s[0], s[1], s[2] != 0)
		return 0
	}},
	// Scripts are metered, and live in UTC.
	{Module: "env", Name: "host_interrupt", Result: true, Do: func(*wasm.Guest, []uint64) uint64 { return 0 }},
	{Module: "env", Name: "host_get_timezone_offset", Params: 2, Result: true, Do: func(*wasm.Guest, []uint64) uint64 { return 0 }},
}

// begin makes an engine in a fresh instance.
func (l *life) begin() {
	if l.g.Call("qjs_init") != 0 {
		l.g.Stop(weft.Errorf(weft.ResourceExhausted, "script.life.begin", "the engine did not start: is the limit of memory very low?"))
	}
	l.g.Call("qjs_set_max_stack_size", stackMax)
	l.g.Call("qjs_set_module_loader", 1)
	l.g.Call("qjs_set_promise_rejection_handler", 1)
}

// alloc is memory of the guest, which it never gets back.
func (l *life) alloc(n int) uint64 {
	ptr := l.g.Call("wasm_malloc", uint64(n))
	if ptr == 0 {
		l.g.Stop(weft.Errorf(weft.ResourceExhausted, "script.life.alloc", "the memory of the script is used up: its limit is %d MiB", l.g.Limits().MemoryMiB))
	}
	return ptr
}

// put copies text into the guest, with a zero behind it.
func (l *life) put(s string) uint64 {
	ptr := l.alloc(len(s) + 1)
	b := l.g.Bytes(ptr, uint64(len(s)+1))
	copy(b, s)
	b[len(s)] = 0
	return ptr
}

// What the engine passes is not trusted: a script may have got hold of it.
const (
	cStringMax = 1 << 10 // bytes of the name of a module
	argsMax    = 16      // of a function of the host
)

func (l *life) cString(ptr uint64) string {
	n := min(l.g.Call("strlen", ptr), cStringMax)
	return string(l.g.Bytes(ptr, n))
}

func (l *life) list(ptr, n uint64) []uint64 {
	n = min(n, argsMax)
	b := l.g.Bytes(ptr, 4*n)
	values := make([]uint64, n)
	for i := range values {
		values[i] = uint64(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return values
}

// text is a value as String makes it, which may run code of the script; ok is
// false when that threw.
func (l *life) text(v uint64) (s string, ok bool) {
	length := l.alloc(4)
	ptr := l.g.Call("qjs_get_string_len", v, length)
	if ptr == 0 {
		l.g.Call("qjs_get_exception")
		return "", false
	}
	n := uint64(binary.LittleEndian.Uint32(l.g.Bytes(length, 4)))
	s = string(l.g.Bytes(ptr, n))
	l.g.Call("qjs_free_cstring", ptr)
	l.g.Call("wasm_free", length)
	return s, true
}

// text is valid UTF-8: a string of JavaScript need not be.
func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// eval runs code, and gives its value.
func (l *life) eval(code string, flags uint64) (uint64, error) {
	v := l.g.Call("qjs_eval", l.put(code), uint64(len(code)), l.put(fileName), flags)
	if l.g.Call("qjs_is_exception", v) != 0 {
		return 0, l.exception()
	}
	return v, nil
}

// compile reads code without running it.
func (l *life) compile(code string) error {
	length := l.alloc(4)
	if l.g.Call("qjs_compile", l.put(code), uint64(len(code)), l.put(fileName), evalModule, 0, length) == 0 {
		return l.exception()
	}
	return nil
}

// run runs code to its end: until nothing is left that it has begun.
func (l *life) run(code, given string) error {
	start, err := l.eval(prelude, evalScript)
	if err != nil {
		return err
	}
	values := []uint64{l.function("write"), l.function("exit"), l.function("code"), l.g.Call("qjs_new_string", l.put(given), uint64(len(given)))}
	argv := l.alloc(4 * len(values))
	b := l.g.Bytes(argv, uint64(4*len(values)))
	for i, v := range values {
		binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
	}
	if v := l.g.Call("qjs_call", start, l.g.Call("qjs_get_undefined"), uint64(len(values)), argv); l.g.Call("qjs_is_exception", v) != 0 {
		return l.exception()
	}
	main, err := l.eval(code, evalModule)
	if err != nil {
		return err
	}
	for l.g.Call("qjs_is_job_pending") != 0 {
		if int32(l.g.Call("qjs_execute_pending_job")) < 0 {
			return l.exception()
		}
	}
	const pending, rejected = 0, 2
	switch l.g.Call("qjs_promise_state", main) {
	case rejected:
		return l.fault(l.g.Call("qjs_promise_result", main))
	case pending:
		return &Fault{Message: "the script waits for a promise that nothing fulfils"}
	}
	first := rejection{n: l.n + 1}
	for _, r := range l.rejected {
		if r.n < first.n {
			first = r
		}
	}
	if first.n <= l.n {
		return l.fault(first.reason)
	}
	return nil
}

func (l *life) function(name string) uint64 {
	return l.g.Call("qjs_new_host_function", l.put(name), uint64(len(name)), 0)
}

// call serves the functions that the prelude is given.
func (l *life) call(name string, args []uint64) uint64 {
	switch {
	case name == "write" && len(args) == 2:
		fd, _ := l.text(args[0])
		s, _ := l.text(args[1])
		l.write(fd, s)
	case name == "exit" && len(args) == 1:
		l.code = l.status(args[0])
		l.g.Stop(errExit)
	case name == "code" && len(args) == 1:
		l.code = l.status(args[0])
	}
	return l.g.Call("qjs_dup_value", l.g.Call("qjs_get_undefined"))
}

// status is an exit code, as a process has it: the lowest eight bits.
func (l *life) status(v uint64) int {
	s, _ := l.text(v)
	n, _ := strconv.ParseFloat(s, 64) // what is no number is 0
	return int(int64(n)) & 0xff
}

func (l *life) write(fd, s string) {
	if len(l.stdout)+len(l.stderr)+len(s) > OutputMax {
		l.g.Stop(weft.Errorf(weft.ResourceExhausted, "script.life.write", "the script wrote more than its limit of %d bytes", OutputMax))
	}
	if fd == "2" {
		l.stderr = append(l.stderr, s...)
	} else {
		l.stdout = append(l.stdout, s...)
	}
}

// load gives the source of a module that a script imports.
func (l *life) load(name, length uint64) uint64 {
	var source string
	switch s := l.cString(name); strings.TrimPrefix(s, "node:") {
	case "fs":
		given, _ := json.Marshal(l.stdin) // a string: cannot fail
		source = "const stdin = " + string(given) + ";" + fsModule
	case "process":
		source = processModule
	default:
		err := l.g.Call("qjs_new_error")
		message := "a script can import node:fs and node:process, not " + s
		l.stray = &Fault{Message: "Error: " + message}
		l.stray.Line, l.stray.Column = find(l.source, s)
		l.g.Call("qjs_set_prop_string", err, l.put("message"), l.g.Call("qjs_new_string", l.put(message), uint64(len(message))))
		l.g.Call("qjs_throw", err)
		return 0
	}
	binary.LittleEndian.PutUint32(l.g.Bytes(length, 4), uint32(len(source)))
	return l.put(source)
}

// find is where a module is named in code. The engine does not tell: 0 when it
// is not found.
func find(code, module string) (line, column int) {
	for _, quote := range []string{"'", `"`} {
		if before, _, ok := strings.Cut(code, quote+module+quote); ok {
			return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndex(before, "\n")+1:]) + 1
		}
	}
	return 0, 0
}

// reject notes a promise that was rejected while nobody handled it, or that
// somebody handles after all.
func (l *life) reject(promise, reason uint64, handled bool) {
	which := l.g.Call("qjs_get_value_ptr", promise)
	if handled {
		delete(l.rejected, which)
		return
	}
	if l.rejected == nil {
		l.rejected = map[uint64]rejection{}
	}
	l.n++
	l.rejected[which] = rejection{l.n, reason}
	if len(l.rejected) > RejectedMax {
		l.g.Stop(weft.Errorf(weft.ResourceExhausted, "script.life.reject", "the script left more than its limit of %d rejected promises unhandled", RejectedMax))
	}
}

func (l *life) exception() error { return l.fault(l.g.Call("qjs_get_exception")) }

// place is where a stack names the script.
var place = regexp.MustCompile(`\b` + fileName + `:(\d+):(\d+)`)

// fault is what was thrown.
func (l *life) fault(v uint64) error {
	f := &Fault{}
	if l.g.Call("qjs_is_error", v) != 0 {
		stack, _ := l.text(l.g.Call("qjs_get_prop_string", v, l.put("stack")))
		if m := place.FindStringSubmatch(stack); m != nil {
			f.Line, _ = strconv.Atoi(m[1])
			f.Column, _ = strconv.Atoi(m[2])
		}
	}
	s, ok := l.text(v)
	if !ok {
		s = "what it threw cannot be shown"
	}
	if f.Message = text([]byte(s[:min(len(s), MessageMax)])); f.Message == "InternalError: out of memory" {
		f.Message += fmt.Sprintf(": its limit is %d MiB", l.g.Limits().MemoryMiB)
	}
	if l.stray != nil && f.Message == l.stray.Message {
		return l.stray
	}
	return f
}
