package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// The sentences of docs/ABI.md about other ways in, and their tests.
func init() {
	const command, plugin, named = "TestACommandIsAHandlerOfItsInputAndOutput", "TestAPluginOfExtism", "TestACommandIsNamedByItsModuleOrItsManifest"
	maps.Copy(elsewhere, map[string]string{
		"A module that imports nothing": command, "`weft module inspect` and the upload": command, "A **command** is": command, "It has one handler": named,
		"The input is its standard": command, "Standard error goes": command, "Exit code 0": command, "After any other the call": "TestACommandOfGo",
		"Each call is a run": command, "Its one argument": command, "A **plug-in** is": plugin, "Its handlers are its exports": plugin, "A result other than 0": plugin,
		"Its memory for input": plugin, "configuration |": plugin, "variables |": plugin, "HTTP |": plugin, "log |": plugin,
		"functions of its host": "TestAPluginThatWantsMoreIsRefused", "files |": command, "Neither has streams": "TestOnlyHandlersOfWeftHaveStreams", "`_initialize`, else": plugin, "What is refused ends": plugin,
	})
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// called is one call that a guest answers as a table says.
type called struct {
	name, handler, in, out string
	code                   weft.Code
	said                   string // in the error
}

func (c called) run(t *testing.T, m *Module, env Env) {
	t.Helper()
	out, err := m.Call(context.Background(), env, c.handler, Input{Body: []byte(c.in)})
	if string(out.Body) != c.out || weft.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.said) {
		t.Errorf("%s: %q, %v", c.name, out.Body, err)
	}
}

func TestACommandIsAHandlerOfItsInputAndOutput(t *testing.T) {
	r := open(t, Options{})
	code := file(t, "command.wasm")
	report, err := r.Check(context.Background(), code)
	if err != nil || report.Way != Command || !slices.Equal(report.Handlers, []string{"_start"}) {
		t.Fatalf("%+v, %v", report, err)
	}
	if !slices.ContainsFunc(report.Doubts, func(d string) bool { return strings.Contains(d, "may open files") }) {
		t.Errorf("doubts: %q", report.Doubts)
	}
	m := loadIn(t, r, code, weft.Limits{OutputBytes: 64 << 10, Fuel: 200_000_000})
	env := newEnv()
	for _, c := range []called{
		{"what goes in comes out", "_start", "hello", "HELLO", weft.OK, ""},
		{"nothing is fine", "_start", "", "", weft.OK, ""},
		{"the last line of stderr is the message", "_start", "fail", "", weft.Unknown, "the till is empty"},
		{"one that says nothing", "_start", "mute", "", weft.Unknown, "the command exited with code 7"},
		{"each call is a run", "_start", "runs", "1", weft.OK, ""},
		{"and again", "_start", "runs", "1", weft.OK, ""},
		{"it has a name and no environment", "_start", "args", "1 handler 0", weft.OK, ""},
		{"it has no files", "_start", "file", "", weft.Unknown, "passwd: "},
		{"output has its limit", "_start", "flood", "", weft.ResourceExhausted, "limits.outputBytes"},
		{"and so has work", "_start", "spin", "", weft.ResourceExhausted, "limits.fuel"},
		{"and afterwards it goes on", "_start", "hello", "HELLO", weft.OK, ""},
		{"there is no other handler", "main", "", "", weft.Unimplemented, "no handler"},
	} {
		c.run(t, m, env)
	}
	if !slices.Contains(env.lines, "WARN it begins well") {
		t.Errorf("logged: %q", env.lines)
	}
	if m.live.Load() != 0 || m.traps.Load() != 0 {
		t.Errorf("%d instances are left, %d traps", m.live.Load(), m.traps.Load())
	}
}

func TestACommandOfGo(t *testing.T) {
	code, err := goGuest("command")
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, Options{})
	report, err := r.Check(context.Background(), code)
	if err != nil || report.Way != Command {
		t.Fatalf("%s, %v", report.Way, err)
	}
	m, err := r.Load(context.Background(), "command", bytesOf(code), Terms{Lifecycle: weft.Isolate, Isolation: isolation})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []called{
		{"input to output", "_start", "hello", "HELLO", weft.OK, ""},
		{"a panic", "_start", "", "", weft.Unknown, "panic: there is no input"},
	} {
		c.run(t, m, newEnv())
	}
}

// web answers HTTP as a host does.
type web struct {
	*memEnv
	asked string
}

func (w *web) HTTP(_ context.Context, request []byte) ([]byte, error) {
	w.asked = string(request)
	if w.fail != nil {
		return nil, w.fail
	}
	return json.Marshal(map[string]any{"status": 203, "headers": map[string]string{"x-from": "the web"}, "body": []byte("answer")})
}

func TestAPluginOfExtism(t *testing.T) {
	r := open(t, Options{})
	code := file(t, "plugin.wasm")
	report, err := r.Check(context.Background(), code)
	if err != nil || report.Way != Extism || slices.Contains(report.Handlers, "_hidden") || slices.Contains(report.Handlers, "add") || !slices.Contains(report.Handlers, "echo") {
		t.Fatalf("%+v, %v", report, err)
	}
	if len(report.Doubts) != 3 {
		t.Errorf("doubts: %q", report.Doubts)
	}
	m := loadIn(t, r, code, weft.Limits{MemoryMiB: 16, OutputBytes: 1 << 20, HostCalls: 100})
	env := &web{memEnv: newEnv()}
	for _, c := range []called{
		{"input to output", "echo", "hello", "hello", weft.OK, ""},
		{"the input itself is the output", "same", "hello", "hello", weft.OK, ""},
		{"no input", "echo", "", "", weft.OK, ""},
		{"no output", "silent", "x", "", weft.OK, ""},
		{"an error", "fail", "the till is empty", "", weft.Unknown, "the till is empty"},
		{"an error without words", "mute", "", "", weft.Unknown, "the plug-in returned 5"},
		{"configuration", "config", "level", "high", weft.OK, ""},
		{"configuration that is not there", "config", "depth", "none", weft.OK, ""},
		{"a variable that is not there", "swap", "one", "none", weft.OK, ""},
		{"a variable is there in the next call", "swap", "two", "one", weft.OK, ""},
		{"it can be forgotten", "swap", "", "two", weft.OK, ""},
		{"and is gone", "swap", "", "none", weft.OK, ""},
		{"eight bytes at a time", "words", "12345678", "12345678", weft.OK, ""},
		{"what is freed is given out again, empty", "reuse", "", "", weft.OK, ""},
		{"what a new instance has to run has run", "started", "", "", weft.OK, ""},
		{"and not again", "started", "", "", weft.OK, ""},
		{"a line of log", "log", "low on mugs", "", weft.OK, ""},
		{"HTTP", "http", `{"url":"http://example.com/","headers":{"x-a":"b"}}`, "answer", weft.OK, ""},
		{"a request that is none", "http", "{", "", weft.InvalidArgument, "no JSON"},
		{"memory that is not there", "outside", "", "", weft.Internal, "1 bytes at 0x40000000"},
		{"input that is not there", "past", "12345678", "", weft.Internal, "8 bytes at 8 of an input of 8"},
		{"blocks without end", "greedy", "", "", weft.ResourceExhausted, "limits.memoryMiB"},
		{"crumbs without end", "crumbs", "", "", weft.ResourceExhausted, "limits.memoryMiB"},
		{"too much output", "large", "", "", weft.ResourceExhausted, "limits.outputBytes"},
		{"and afterwards it goes on", "echo", "hello", "hello", weft.OK, ""},
	} {
		c.run(t, m, env)
	}
	if env.asked != `{"url":"http://example.com/","method":"GET","headers":{"x-a":"b"},"body":"c2VudA=="}` {
		t.Errorf("asked for %s", env.asked)
	}
	if !slices.Contains(env.lines, "WARN low on mugs") || !slices.Contains(env.lines, "DEBUG all of it") {
		t.Errorf("logged: %q", env.lines)
	}
	if m.traps.Load() != 0 {
		t.Errorf("%d traps", m.traps.Load())
	}
	env.fail = weft.Errorf(weft.PermissionDenied, "test", "ask for it under grants.state")
	for _, handler := range []string{"config", "swap", "http"} {
		called{"refused " + handler, handler, "{}", "", weft.PermissionDenied, "grants.state"}.run(t, m, env)
	}
	env.fail = errors.New("the disk is gone")
	called{"what is the host's own affair", "swap", "x", "", weft.Unknown, ""}.run(t, m, env)
	called{"an instance is there", "echo", "", "", weft.OK, ""}.run(t, m, newEnv())
	used := r.memory.used.Load()
	called{"memory is given back", "echo", strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20), weft.OK, ""}.run(t, m, newEnv())
	if now := r.memory.used.Load(); now != used {
		t.Errorf("%d bytes more are in use", now-used)
	}
}

func TestOnlyHandlersOfWeftHaveStreams(t *testing.T) {
	r := open(t, Options{})
	for _, c := range []struct{ file, handler, says string }{
		{"command.wasm", "_start", "a command has one input and one output, and no streams"},
		{"plugin.wasm", "echo", "a plug-in of Extism has one input and one output, and no streams"},
	} {
		m, err := r.Load(context.Background(), c.file, bytesOf(file(t, c.file)), Terms{Isolation: isolation})
		if err != nil {
			t.Fatal(err)
		}
		stream := &script{in: []string{"hello"}}
		out, err := m.Call(context.Background(), newEnv(), c.handler, Input{Stream: stream})
		if weft.CodeOf(err) != weft.Unimplemented || !strings.Contains(err.Error(), c.says) || len(stream.told) != 0 || len(stream.in) != 1 || out.Body != nil {
			t.Errorf("%s: %v, told %q", c.file, err, stream.told)
		}
		if s := m.Stats(); s.Made != 0 {
			t.Errorf("%s: %d instances were made for it", c.file, s.Made)
		}
	}
}

// What a plug-in wants of its own host's functions is refused by its name.
func TestAPluginThatWantsMoreIsRefused(t *testing.T) {
	r := open(t, Options{})
	code := []byte(strings.Replace(string(file(t, "plugin.wasm")), "\x0fextism:host/env\x05alloc", "\x10extism:host/user\x04mine", 1))
	_, err := r.Check(context.Background(), code)
	if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "extism:host/user.mine, which this host does not offer") {
		t.Errorf("%v", err)
	}
}
