package wasm

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Way is how calls get into a module.
type Way string

const (
	Handlers Way = "handlers" // exports of the ABI weft/v1
	Command  Way = "command"  // a program of WASI: input and output are its standard ones, each call a run of it
	Extism   Way = "extism"   // a plug-in made for Extism
)

// CommandExport is the one handler of a Command.
const CommandExport = "_start"

// wayOf tells it by what the module has. One that imports of weft/v1 knows weft.
func wayOf(info meter.Info) Way {
	has := func(module string) bool {
		return slices.ContainsFunc(info.Imports, func(f meter.Function) bool { return f.Module == module })
	}
	switch {
	case has(hostModule):
		return Handlers
	case has(extismModule) && len(pluginHandlers(info)) > 0:
		return Extism
	case slices.ContainsFunc(info.Exports, func(f meter.Function) bool {
		return f.Name == CommandExport && len(f.Signature.Params) == 0 && len(f.Signature.Results) == 0
	}):
		return Command
	}
	return Handlers
}

// Streams reports whether handlers of a module with these imports can have a
// stream: one that imports nothing of weft/v1 has no words for it.
func Streams(imports []string) bool {
	return slices.ContainsFunc(imports, func(name string) bool { return strings.HasPrefix(name, hostModule+".") })
}

// noStreams is why a call with a stream is refused before anything is made for it.
func noStreams(w Way) error {
	what := "a command"
	if w == Extism {
		what = "a plug-in of Extism"
	}
	return weft.Errorf(weft.Unimplemented, opCall, "%s has one input and one output, and no streams", what).WithHint("write a handler of weft/v1 for it: docs/ABI.md")
}

// doubtsOf are lines about what a module counts on and does not get here.
func doubtsOf(info meter.Info) (doubts []string) {
	imports := map[string]bool{}
	for _, f := range info.Imports {
		imports[f.Module+"."+f.Name] = true
	}
	if wayOf(info) == Handlers { // its author knows weft
		return nil
	}
	for _, d := range []struct{ imported, doubt string }{
		{"wasi_snapshot_preview1.sock_accept", "it accepts connections: there is no network, and it gets an error"},
		{"wasi_snapshot_preview1.path_open", "it may open files: there are none, and it gets an error"},
		{extismModule + ".http_request", "it calls by HTTP: it reaches what grants.http allows"},
		{extismModule + ".var_set", "its variables are state, as var/NAME: it needs grants.state"},
		{extismModule + ".config_get", "it reads configuration: it needs grants.config"},
	} {
		if imports[d.imported] {
			doubts = append(doubts, d.doubt)
		}
	}
	return doubts
}

// starters are what runs once in a new instance.
func (m *Module) starters() []string {
	switch m.way {
	case Command:
		return nil
	case Extism:
		return []string{"_initialize", "__wasm_call_ctors", "hs_init"}
	}
	return []string{"_initialize"}
}

// startUp runs what a guest has to run before its first call.
func (i *instance) startUp(ctx context.Context) error {
	defer func() { i.f = nil }()
	for _, name := range append([]string{meter.StartExport}, i.m.starters()...) {
		f := i.mod.ExportedFunction(name)
		if f == nil || name == "__wasm_call_ctors" && i.mod.ExportedFunction("_initialize") != nil {
			continue
		}
		i.f = f
		if _, err := f.Call(ctx, make([]uint64, len(f.Definition().ParamTypes()))...); err != nil {
			return i.failure(strings.TrimPrefix(name, "weft:"), err)
		}
	}
	return nil
}

// dress gives a command its standard input and output.
func (i *instance) dress(c wazero.ModuleConfig) wazero.ModuleConfig {
	if i.m.way != Command {
		return c
	}
	return c.WithArgs("handler").WithStdin(&stdin{call: &i.call}).WithStdout(stdout{&i.call})
}

// stdin is the input of a call. Its instance serves no other.
type stdin struct {
	call *call
	at   int
}

func (in *stdin) Read(p []byte) (int, error) {
	rest := in.call.body[in.at:]
	if len(rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, rest)
	in.at += n
	in.call.charge(int64(n) / bytesPerFuel)
	return n, nil
}

// stdout is the output of a call.
type stdout struct{ call *call }

func (out stdout) Write(p []byte) (int, error) {
	out.call.charge(costHostCall + int64(len(p))/bytesPerFuel)
	out.call.write(p)
	return len(p), nil
}

// settle makes of how a call ended what it would have been of a handler: the
// result on the stack, and the output. Of the ABI it is that already.
func (i *instance) settle(err error) error {
	c := &i.call
	switch i.m.way {
	case Command:
		code := uint32(0)
		var exit *sys.ExitError
		if errors.As(err, &exit) {
			code, err = exit.ExitCode(), nil
		}
		i.stack[0] = uint64(weft.OK)
		if err == nil && code != 0 {
			i.stack[0], c.out = uint64(weft.Unknown), []byte(cmp.Or(firstLine(c.words), "the command exited with code "+itoa(code)))
			return nil
		}
		if err == nil {
			return c.kernel.finish(c, 0, false)
		}
	case Extism:
		if err == nil {
			return c.kernel.finish(c, uint32(i.stack[0]), true)
		}
	}
	return err
}

// pluginHandlers are the exports of a plug-in that can be called: without what
// compilers and languages put beside them.
func pluginHandlers(info meter.Info) (names []string) {
	for _, e := range info.Exports {
		s := e.Signature
		if len(s.Params) == 0 && slices.Equal(s.Results, types(i32)) && !strings.HasPrefix(e.Name, "_") && !strings.HasPrefix(e.Name, "asyncify_") {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names
}
