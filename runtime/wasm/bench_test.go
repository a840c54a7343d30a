package wasm

import (
	"context"
	"strconv"
	"testing"

	"github.com/weftrun/weft"
)

func BenchmarkCall(b *testing.B) {
	m, env := load(b, guest, weft.Limits{Fuel: 1 << 50}), newEnv()
	ctx := context.Background()
	run := func(name, handler string, size int) {
		b.Run(name, func(b *testing.B) {
			in := Input{Body: make([]byte, size)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Call(ctx, env, handler, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("noop", "noop", 0)
	for _, size := range []int{0, 1 << 10, 64 << 10} {
		run("echo/"+strconv.Itoa(size), "echo", size)
	}
	run("state", "set", 64)
	run("work/1M", "work", 0) // iterations of a loop of five instructions
}

func BenchmarkCallParallel(b *testing.B) {
	m := load(b, guest, weft.Limits{})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Call(context.Background(), nil, "noop", Input{}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkWorker calls through a worker process, and starts and ends one.
func BenchmarkWorker(b *testing.B) {
	inWorkers(b)
	r, env := open(b, Options{}), newEnv()
	m := loadIn(b, r, guest, weft.Limits{})
	for _, c := range []struct {
		name, handler string
		size          int
	}{{"noop", "noop", 0}, {"echo/1024", "echo", 1 << 10}, {"state", "set", 64}} {
		b.Run(c.name, func(b *testing.B) {
			in := Input{Body: make([]byte, c.size)}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Call(context.Background(), env, c.handler, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("spawn and kill", func(b *testing.B) {
		for b.Loop() {
			w, err := m.crew.spawn(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			w.kill()
		}
	})
}

func BenchmarkInstantiate(b *testing.B) {
	m := load(b, guest, weft.Limits{})
	for b.Loop() {
		i, err := m.instantiate(context.Background(), nil, m.share)
		if err != nil {
			b.Fatal(err)
		}
		i.close()
	}
}

// BenchmarkIsolate is a call that does nothing, and one that writes to memory,
// with the reset after it. KiB is what an instance holds while it is idle.
func BenchmarkIsolate(b *testing.B) {
	for _, c := range []struct {
		language string
		wasm     []byte
		handlers []string
	}{{"c", guest, []string{"noop", "echo"}}, {"go", goKeeper(b), []string{"noop", "count"}}} {
		for _, handler := range c.handlers {
			b.Run(c.language+"/"+handler, func(b *testing.B) {
				m := loadAs(b, open(b, Options{}), weft.Isolate, c.wasm, weft.Limits{})
				in := Input{Body: make([]byte, 1<<10)}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := m.Call(context.Background(), nil, handler, in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
