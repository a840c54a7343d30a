package hostile

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/tests/probe"
)

// TestMain is also the child that checks uploads, and the one that runs calls.
func TestMain(m *testing.M) {
	wasm.Child()
	os.Exit(m.Run())
}

func open(t *testing.T, o wasm.Options) *wasm.Runtime {
	t.Helper()
	check, err := probe.Check(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o.CacheDir, o.Check, o.Worker, o.Limits.Fuel = t.TempDir(), check, []string{check[0], "__worker"}, 50_000_000
	r, err := wasm.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestHostileModules uploads what must be refused, and calls what must be
// stopped, while another module is called and garbage is collected, for which
// every goroutine must stop. It prints what it saw.
func TestHostileModules(t *testing.T) {
	hostileModules(t, weft.Inline, Uploads())
}

// docs/SECURITY.md says how many there are.
func TestThePageSaysHowManyModulesThereAre(t *testing.T) {
	page, err := os.ReadFile("../../../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	uploads, runs := len(Uploads()), len(Runs())
	for _, says := range []string{fmt.Sprintf("makes %d modules", uploads+runs), fmt.Sprintf("%d must be refused at upload", uploads), fmt.Sprintf("The %d that run", runs)} {
		if !strings.Contains(string(page), says) {
			t.Errorf("the page does not say: %s", says)
		}
	}
}

// TestHostileModulesInWorkers calls the same modules in worker processes.
func TestHostileModulesInWorkers(t *testing.T) {
	hostileModules(t, weft.Process, nil)
}

func hostileModules(t *testing.T, isolation weft.Isolation, uploads []Upload) {
	r, runs := open(t, wasm.Options{}), Runs()
	h := watch(t, r, isolation)
	var accepted []string
	for _, u := range uploads {
		h.during(t, u.Name, func() {
			_, err := r.Check(context.Background(), u.Wasm)
			if err == nil {
				accepted = append(accepted, u.Name)
			} else if code := weft.CodeOf(err); code != weft.InvalidArgument && code != weft.ResourceExhausted || !strings.Contains(err.Error(), u.Says) {
				t.Errorf("%s: got %q (%v), want %q in it", u.Name, err, code, u.Says)
			}
		})
	}
	for _, c := range runs {
		if _, err := r.Check(context.Background(), c.Wasm); err != nil {
			t.Errorf("%s: refused at upload: %v", c.Name, err)
			continue
		}
		m, err := r.Load(context.Background(), c.Name, func() ([]byte, error) { return c.Wasm, nil }, wasm.Terms{Isolation: isolation})
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		h.during(t, c.Name, func() {
			begun := time.Now()
			_, err := m.Call(context.Background(), env{}, "f", wasm.Input{Body: bytes.Repeat([]byte("x"), 60_000)})
			if c.Code != weft.Unknown && weft.CodeOf(err) != c.Code || c.Says != "" && (err == nil || !strings.Contains(err.Error(), c.Says)) {
				t.Errorf("%s: got %v (%v), want %v with %q", c.Name, err, weft.CodeOf(err), c.Code, c.Says)
			}
			if d := time.Since(begun); d > endMax {
				t.Errorf("%s: it ended after %v", c.Name, d)
			}
		})
		if err := m.Close(context.Background()); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	h.end()
	peak := peakMemory(t)
	fmt.Printf("isolation %s\nhostile_cases %d\nhostile_accepted %d\nfreeze_ms_max %.1f (%s)\nmemory_mib_max %d\n",
		isolation, len(uploads)+len(runs), len(accepted), float64(h.worst.Microseconds())/1000, h.worstAt, peak>>20)
	if len(accepted) > 0 {
		t.Errorf("taken at upload: %q", accepted)
	}
	if len(uploads)+len(runs) < 60 && isolation == weft.Inline {
		t.Errorf("%d cases", len(uploads)+len(runs))
	}
	if h.worst > freezeMax {
		t.Errorf("%s froze other goroutines for %v", h.worstAt, h.worst)
	}
	if peak > memoryMax {
		t.Errorf("this process had %d MiB", peak>>20)
	}
}

// TestGreedyCallsAtOnceShareOneBudget has 32 calls fill 60 MiB each. The host
// gives 128 to all together, and memory that lies idle when there is no more.
func TestGreedyCallsAtOnceShareOneBudget(t *testing.T) {
	for _, isolation := range []weft.Isolation{weft.Inline, weft.Process} {
		t.Run(string(isolation), func(t *testing.T) { greedyCalls(t, isolation) })
	}
}

func greedyCalls(t *testing.T, isolation weft.Isolation) {
	r := open(t, wasm.Options{MemoryMax: 128 << 20})
	var greedy []byte
	for _, c := range Runs() {
		if c.Name == "60 MiB filled again and again" {
			greedy = c.Wasm
		}
	}
	load := func(name string, module []byte) *wasm.Module {
		m, err := r.Load(context.Background(), name, func() ([]byte, error) { return module, nil }, wasm.Terms{Isolation: isolation})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := load("greedy", greedy)
	var calls sync.WaitGroup
	var ran, refused atomic.Int64
	for range 32 {
		calls.Go(func() {
			_, err := m.Call(context.Background(), env{}, "f", wasm.Input{})
			switch {
			case err != nil && strings.Contains(err.Error(), "all guests together have their limit of 128 MiB"):
				refused.Add(1)
			case err != nil && strings.Contains(err.Error(), fuel):
				ran.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if ran.Load() < 2 || refused.Load() == 0 {
		t.Errorf("%d calls ran, %d were refused", ran.Load(), refused.Load())
	}
	if peak := peakMemory(t); peak > memoryMax {
		t.Errorf("this process had %d MiB", peak>>20)
	}
	idle := frame{pages: 1024}.handler(code(konst(0)))
	for i := range 5 { // of 64 MiB each
		if _, err := load(fmt.Sprint("idle ", i), idle).Call(context.Background(), env{}, "f", wasm.Input{}); err != nil {
			t.Errorf("module %d: %v", i, err)
		}
	}
}

// host is a process at work, watched while something hostile is done to it.
type host struct {
	stop    context.CancelFunc
	work    sync.WaitGroup
	gap     atomic.Int64 // the longest time that a goroutine which only sleeps did not run
	calls   atomic.Int64 // of a module that does no harm
	worst   time.Duration
	worstAt string
}

func watch(t *testing.T, r *wasm.Runtime, isolation weft.Isolation) *host {
	good := frame{imports: []string{"output"}}.handler(code(konst(0), konst(8), []byte{0x10, 0}, konst(0)))
	m, err := r.Load(context.Background(), "good", func() ([]byte, error) { return good, nil }, wasm.Terms{Isolation: isolation})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &host{stop: stop}
	h.work.Go(func() {
		queued := inQueue(t)
		for ctx.Err() == nil {
			begun := time.Now()
			time.Sleep(time.Millisecond)
			gap, now := time.Since(begun)-time.Millisecond, inQueue(t)
			if gap -= max(0, now-queued); int64(gap) > h.gap.Load() {
				h.gap.Store(int64(gap))
			}
			queued = now
		}
	})
	h.work.Go(func() {
		for ctx.Err() == nil {
			runtime.GC()
			time.Sleep(2 * time.Millisecond)
		}
	})
	h.work.Go(func() {
		for ctx.Err() == nil {
			if out, err := m.Call(context.Background(), env{}, "f", wasm.Input{}); err != nil || len(out.Body) != 8 {
				t.Errorf("a call of another module: %q, %v", out.Body, err)
				return
			}
			h.calls.Add(1)
			time.Sleep(time.Millisecond)
		}
	})
	return h
}

func (h *host) end() {
	h.stop()
	h.work.Wait()
}

// inQueue is how long the threads of this process stood ready to run while the
// kernel ran others: the work of other programs, and no freeze.
func inQueue(t *testing.T) (all time.Duration) {
	files, err := filepath.Glob("/proc/self/task/*/schedstat")
	if err != nil || len(files) == 0 {
		t.Errorf("no threads: %v", err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file) // time that it ran, time in the queue, how often
		if fields := strings.Fields(string(line)); err == nil && len(fields) == 3 {
			ns, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Error(err)
			}
			all += time.Duration(ns)
		} // else the thread has ended
	}
	return all
}

// during does something and sees how the host fares. What is over the bar is
// done again: a freeze that comes of the case comes back.
func (h *host) during(t *testing.T, name string, do func()) {
	t.Helper()
	least := time.Duration(1 << 62)
	for range 3 {
		h.gap.Store(0)
		before := h.calls.Load()
		do()
		for h.calls.Load() == before { // the other module is called on: were it not, the test would time out
			runtime.Gosched()
		}
		if least = min(least, time.Duration(h.gap.Load())); least < freezeMax {
			break
		}
	}
	if least > h.worst {
		h.worst, h.worstAt = least, name
	}
}

// peakMemory is the most that this process has had.
func peakMemory(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	line, _, _ = strings.Cut(line, "kB")
	kib, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// env is a world in which everything is there and nothing is kept.
type env struct{}

func (env) StateGet(string) ([]byte, bool, error)                { return []byte("value"), true, nil }
func (env) StateSet(string, []byte) error                        { return nil }
func (env) StateDelete(string) error                             { return nil }
func (env) Publish(string, []byte) error                         { return nil }
func (env) Call(context.Context, string, []byte) ([]byte, error) { return nil, nil }
func (env) HTTP(context.Context, []byte) ([]byte, error)         { return nil, nil }
func (env) Config(string) (string, bool, error)                  { return "", false, nil }
func (env) Secret(string) ([]byte, error)                        { return nil, nil }
func (env) Log(slog.Level, string)                               {}
