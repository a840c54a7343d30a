package peers

import (
	"net/rpc"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bytecodealliance/wasmtime-go/v39"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
)

// inWorker is weft with a process for the guest.
func inWorker(t testing.TB, file string) callee {
	return inWeftOn(t, file, nil, wasm.Terms{Isolation: weft.Process, Limits: weft.Limits{Fuel: 1 << 50}})
}

// inWasmtime is the guest for weft in Wasmtime, which is written in Rust and called by
// cgo: with the two imports that it has, and no limit but, where metered, fuel.
func inWasmtime(metered bool) func(testing.TB, string) callee {
	return func(t testing.TB, file string) callee {
		t.Helper()
		config := wasmtime.NewConfig()
		config.SetConsumeFuel(metered)
		engine := wasmtime.NewEngineWithConfig(config)
		store, linker := wasmtime.NewStore(engine), wasmtime.NewLinker(engine)
		var memory *wasmtime.Memory
		var in, out []byte
		input := func(dst, most, from int32) int32 {
			return int32(copy(memory.UnsafeData(store)[dst:][:most], in[from:]))
		}
		output := func(ptr, n int32) { out = append(out, memory.UnsafeData(store)[ptr:][:n]...) }
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if metered {
			must(store.SetFuel(1 << 60))
		}
		must(linker.FuncWrap("weft/v1", "input", input))
		must(linker.FuncWrap("weft/v1", "output", output))
		module, err := wasmtime.NewModule(engine, read(t, file))
		must(err)
		instance, err := linker.Instantiate(store, module)
		must(err)
		memory = instance.GetExport(store, "memory").Memory()
		functions := map[string]*wasmtime.Func{"noop": instance.GetFunc(store, "noop"), "echo": instance.GetFunc(store, "echo")}
		return func(export string, data []byte) ([]byte, error) {
			in, out = data, nil
			_, err := functions[export].Call(store, int32(len(data)))
			return out, err
		}
	}
}

// inProcess is hashicorp/go-plugin: a program in Go, called by net/rpc.
func inProcess(t testing.TB, source string) callee {
	t.Helper()
	program := filepath.Join(t.TempDir(), "plugin")
	if out, err := exec.Command("go", "build", "-o", program, "./guests/"+source).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", source, err, out)
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "WEFT_BENCH", MagicCookieValue: "echo"},
		Plugins:         map[string]plugin.Plugin{"handlers": process{}},
		Cmd:             exec.Command(program),
		Logger:          hclog.NewNullLogger(),
	})
	t.Cleanup(client.Kill)
	speaks, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	handlers, err := speaks.Dispense("handlers")
	if err != nil {
		t.Fatal(err)
	}
	return func(export string, in []byte) (out []byte, err error) {
		err = handlers.(*rpc.Client).Call("Plugin."+strings.ToUpper(export[:1])+export[1:], in, &out)
		return out, err
	}
}

// process is the host's side of the plug-in.
type process struct{}

func (process) Server(*plugin.MuxBroker) (any, error) { return nil, nil }

func (process) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }
