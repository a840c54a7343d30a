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

// calls measures f after it has answered right.
func calls(b *testing.B, input, want []byte, f func(in Input) (Output, error)) {
	out, err := f(Input{Body: input})
	if err != nil || want != nil && !bytes.Equal(out.Body, want) {
		b.Fatalf("it answers %.40q, %v", out.Body, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f(Input{Body: input}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEcho is what a call costs each language, pooled and isolated.
func BenchmarkEcho(b *testing.B) {
	kib := bytes.Repeat([]byte("x"), 1<<10)
	for _, language := range echoes {
		for _, life := range []weft.Lifecycle{weft.Pool, weft.Isolate} {
			for _, c := range []struct {
				name, handler string
				in, want      []byte
			}{{"noop", "noop", nil, nil}, {"1KiB", "echo", kib, kib}} {
				b.Run(language+"/"+string(life)+"/"+c.name, func(b *testing.B) {
					m := loadAs(b, open(b, Options{CacheDir: filepath.Join(scratch, "echo")}), life, echoGuest(b, language), weft.Limits{Fuel: 1 << 50})
					calls(b, c.in, c.want, func(in Input) (Output, error) { return m.Call(context.Background(), nil, c.handler, in) })
				})
			}
		}
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
					return plain.run(context.Background(), nil, "loop", m.handlers["loop"], in)
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
	i := &instance{m: m, exports: make([]api.Function, len(m.handlers)), fuel: noFuel{}}
	i.call.begin(i, ctx, nil, Input{})
	config := wazero.NewModuleConfig().WithStartFunctions("_initialize").WithSysWalltime().WithSysNanotime()
	withMemory := experimental.WithMemoryAllocator(&i.call, allocator{uint64(m.limits.MemoryMiB) << 20, i})
	if i.mod, err = engine.InstantiateModule(withMemory, compiled, config); err != nil {
		b.Fatal(err)
	}
	i.call.finish()
	return i
}

// noFuel is a global of a module without a meter.
type noFuel struct{ api.MutableGlobal }

func (noFuel) Set(uint64) {}

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
						i, handler, err := m.take(context.Background(), nil, "echo")
						if err != nil {
							b.Fatal(err)
						}
						if _, err := i.run(context.Background(), nil, "echo", handler, Input{Body: make([]byte, 1<<10)}); err != nil {
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
