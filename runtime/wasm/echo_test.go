package wasm

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/weftrun/weft"
)

// echoes are the languages of guests/echo, whose guests all have the handlers
// noop, echo and loop; make -C guests echo builds them.
var echoes = []string{"c", "rust", "zig", "assemblyscript", "go"}

// echoGuest is the guest of a language. Where nobody could build it, the benchmark
// says so and has no figure.
func echoGuest(b *testing.B, language string) []byte {
	b.Helper()
	wasm, err := os.ReadFile(filepath.Join("../../guests/echo", language, "echo.wasm"))
	if err != nil {
		b.Skip("not built by make -C guests echo: ", err)
	}
	return wasm
}

// BenchmarkEcho is what a call costs each language, pooled and isolated; into is with
// room that the caller has for the output.
func BenchmarkEcho(b *testing.B) {
	kib := bytes.Repeat([]byte("x"), 1<<10)
	for _, language := range echoes {
		for _, life := range []weft.Lifecycle{weft.Pool, weft.Isolate} {
			for _, c := range []struct {
				name, handler string
				in            Input
			}{{"noop", "noop", Input{}}, {"1KiB", "echo", Input{Body: kib}}, {"1KiB-into", "echo", Input{Body: kib, Into: make([]byte, 1<<10)}}} {
				b.Run(language+"/"+string(life)+"/"+c.name, func(b *testing.B) {
					m := loadAs(b, open(b, Options{CacheDir: filepath.Join(scratch, "echo")}), life, echoGuest(b, language), weft.Limits{Fuel: 1 << 50})
					ctx := context.Background()
					if out, err := m.Call(ctx, nil, c.handler, c.in); err != nil || !bytes.Equal(out.Body, c.in.Body) {
						b.Fatalf("it answers %.40q, %v", out.Body, err)
					}
					b.ReportAllocs()
					for b.Loop() {
						if _, err := m.Call(ctx, nil, c.handler, c.in); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkWazero is what the engine alone takes for the same calls of the guest in
// C: not metered, without limits, pool or context, the output written over the last one.
func BenchmarkWazero(b *testing.B) {
	ctx, in, out := context.Background(), bytes.Repeat([]byte("x"), 1<<10), make([]byte, 0, 1<<10)
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	defer engine.Close(ctx)
	host := engine.NewHostModuleBuilder(hostModule)
	for _, f := range hostFuncs {
		fn := func(_ context.Context, m api.Module, s []uint64) {
			switch memory := m.Memory(); f.name {
			case "input":
				to, _ := memory.Read(uint32(s[0]), uint32(len(in)))
				s[0] = uint64(copy(to, in))
			case "output":
				from, _ := memory.Read(uint32(s[0]), uint32(s[1]))
				out = append(out[:0], from...)
			}
		}
		host = host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(fn), f.params, f.results).Export(f.name)
	}
	if _, err := host.Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	mod, err := engine.Instantiate(ctx, echoGuest(b, "c"))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, handler string
		size          uint64
	}{{"noop", "noop", 0}, {"1KiB", "echo", 1 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			f, stack := mod.ExportedFunction(c.handler), make([]uint64, 4)
			for b.Loop() {
				stack[0] = c.size
				if err := f.CallWithStack(ctx, stack); err != nil || stack[0] != 0 {
					b.Fatal(err, stack[0])
				}
			}
		})
	}
	if !bytes.Equal(in, out) {
		b.Fatal("it has not answered what it was asked")
	}
}

// loopTurns are enough to forget the call around them.
const loopTurns = 2_000_000

// BenchmarkLoop runs the same loop metered and as it was uploaded, in turns. ratio
// is that of the shortest times: what others do on the machine only adds.
func BenchmarkLoop(b *testing.B) {
	in := Input{Body: []byte(strconv.Itoa(loopTurns))}
	for _, language := range echoes {
		b.Run(language, func(b *testing.B) {
			m := loadIn(b, open(b, Options{CacheDir: filepath.Join(scratch, "echo")}), echoGuest(b, language), weft.Limits{Fuel: 1 << 50})
			plain := unmetered(b, m, echoGuest(b, language))
			plain.pick("loop", m.handlers["loop"])
			shortest := func(least *time.Duration, f func(in Input) (Output, error)) []byte {
				begun := time.Now()
				out, err := f(in)
				if err != nil {
					b.Fatal(err)
				}
				*least = min(*least, time.Since(begun))
				return out.Body
			}
			ours, theirs := time.Hour, time.Hour
			for b.Loop() {
				a := shortest(&ours, func(in Input) (Output, error) { return m.Call(context.Background(), nil, "loop", in) })
				if c := shortest(&theirs, func(in Input) (Output, error) {
					return plain.serve(in)
				}); !slices.Equal(a, c) {
					b.Fatalf("%q metered, %q unmetered", a, c)
				}
			}
			b.ReportMetric(float64(ours)/float64(theirs), "ratio")
			b.ReportMetric(float64(ours)/loopTurns, "ns/turn")
			b.ReportMetric(float64(theirs)/loopTurns, "ns/turn-unmetered")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// unmetered is an instance of a module as it was uploaded, for comparison: it
// cannot be stopped.
func unmetered(b *testing.B, m *Module, wasm []byte) *instance {
	ctx := context.Background()
	engine, cache, err := newEngine(ctx, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		engine.Close(ctx)
		cache.Close(ctx)
	})
	compiled, err := engine.CompileModule(ctx, wasm)
	if err != nil {
		b.Fatal(err)
	}
	i := &instance{m: m, share: m.share, exports: make([]api.Function, len(m.handlers))}
	i.call.i = i
	i.call.begin(ctx, nil, &Input{})
	config := wazero.NewModuleConfig().WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime()
	withMemory := experimental.WithMemoryAllocator(&i.call, allocator{uint64(m.limits.MemoryMiB) << 20, i})
	if i.mod, err = engine.InstantiateModule(withMemory, compiled, config); err != nil {
		b.Fatal(err)
	}
	i.call.finish()
	return i
}

// serve runs the handler that was picked, as Module.Call does.
func (i *instance) serve(in Input) (out Output, err error) {
	said, err := i.run(context.Background(), nil, &in)
	if said {
		out, err = i.answer(err)
		i.call.finish()
	}
	return out, err
}

// BenchmarkIdle says what an idle instance holds, as the process grows for a
// hundred of them that have served a call.
func BenchmarkIdle(b *testing.B) {
	const instances = 100
	for _, language := range echoes {
		for _, life := range []weft.Lifecycle{weft.Pool, weft.Isolate} {
			b.Run(language+"/"+string(life), func(b *testing.B) {
				m := loadAs(b, open(b, Options{CacheDir: filepath.Join(scratch, "echo"), Limits: weft.Limits{Concurrency: instances + 1}}), life, echoGuest(b, language), weft.Limits{Concurrency: instances + 1})
				serve := func(n int) { // that many at once, one in the other
					var all []*instance
					for range n {
						i, err := m.prepare(context.Background(), nil, "echo", m.first())
						if err != nil {
							b.Fatal(err)
						}
						if _, err := i.serve(Input{Body: make([]byte, 1<<10)}); err != nil {
							b.Fatal(err)
						}
						all = append(all, i)
					}
					for _, i := range all {
						m.give(i)
					}
				}
				serve(1)
				before := resident(b)
				serve(instances + 1)
				for b.Loop() {
				}
				b.ReportMetric(float64(resident(b)-before)/instances/1024, "KiB/instance")
				b.ReportMetric(float64(m.Stats().Bytes)/float64(m.Stats().Idle)/1024, "KiB-of-memory")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// resident is the memory of this process, garbage left out.
func resident(b *testing.B) int64 {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(status))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
