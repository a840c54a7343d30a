package wasm

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
)

// TestEveryLimitHasItsNameAndCode sets each limit low and goes over it.
func TestEveryLimitHasItsNameAndCode(t *testing.T) {
	// f(n) grows its table by 100 and answers with code 5 when it may not.
	table := program(code(0xd0, 0x70, 0x41, 0xe4, 0, 0xfc, 15, 0, 0x41, 0x7f, 0x46, 0x41, 5, 0x6c))
	for _, c := range []struct {
		limit   Limit
		limits  weft.Limits
		wasm    []byte
		handler string
		code    weft.Code
		says    string
	}{
		{LimitTimeout, weft.Limits{TimeoutMS: 30, Fuel: 60_000_000_000}, guest, "spin", weft.DeadlineExceeded, "took longer than its limit of 30 ms (limits.timeoutMs)"},
		{LimitFuel, weft.Limits{Fuel: 1_000_000}, guest, "spin", weft.ResourceExhausted, "used up its fuel of 1000000 (limits.fuel)"},
		{LimitOutput, weft.Limits{OutputBytes: 5_000}, guest, "flood", weft.ResourceExhausted, "over its limit of 5000 bytes (limits.outputBytes)"},
		{LimitHostCalls, weft.Limits{HostCalls: 7}, guest, "hostflood", weft.ResourceExhausted, "more calls to the host than its limit of 7 (limits.hostCalls)"},
		{"", weft.Limits{Table: 101}, table, "f", weft.OK, ""},
		{"", weft.Limits{Table: 100}, table, "f", weft.NotFound, ""}, // the guest is told, as WebAssembly has it
	} {
		t.Run(string(c.limit), func(t *testing.T) {
			_, err := load(t, c.wasm, c.limits).Call(context.Background(), newEnv(), c.handler, Input{})
			if weft.CodeOf(err) != c.code || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%v), want %v with %q", err, weft.CodeOf(err), c.code, c.says)
			}
			if limit := Limit(""); errors.As(err, &limit) != (c.limit != "") || limit != c.limit {
				t.Errorf("the error names limit %q", limit)
			}
		})
	}
}

func TestWhatAModuleNeedsAtItsStartIsWithinItsOwnLimits(t *testing.T) {
	r := open(t, Options{})
	for _, c := range []struct {
		limits weft.Limits
		says   string
	}{
		{weft.Limits{Table: 10}, "a table of 50 elements at its start, the limit is 10 (limits.table)"},
		{weft.Limits{MemoryMiB: 1}, "2048 KiB of memory at its start, the limit is 1 MiB (limits.memoryMiB)"},
		{weft.Limits{Table: -1}, "limits.table is -1"},
		{weft.Limits{MemoryMiB: 65}, "limits.memoryMiB is 65, at most 64 is allowed"},
		{weft.Limits{Queue: 10_001}, "limits.queue is 10001, at most 10000 is allowed"},
		{weft.Limits{Table: 50, MemoryMiB: 2}, ""},
	} {
		wasm := assemble(sec(4, vec([]byte{0x70, 0, 50}, []byte{0x70, 0, 3})), sec(5, vec([]byte{0, 32})))
		report, err := r.Check(context.Background(), wasm)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Admit(report, c.limits); (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.limits, err, c.says)
		}
		lowered := c.says != "" && strings.Contains(c.says, "the limit is")
		if _, err := r.Load(context.Background(), "x", bytesOf(wasm), Terms{Limits: c.limits, Isolation: isolation}); (err != nil) != lowered {
			t.Errorf("loaded with %+v: %v", c.limits, err)
		}
	}
}

func TestTheHostsLimitsAreACeilingAndNoDefault(t *testing.T) {
	r := open(t, Options{Limits: weft.Limits{MemoryMiB: 256, TimeoutMS: 100}})
	if got := loadIn(t, r, guest, weft.Limits{}).Limits(); got.MemoryMiB != 64 || got.TimeoutMS != 100 {
		t.Errorf("a module that asks for nothing has %+v", got)
	}
	if got := loadIn(t, r, guest, weft.Limits{MemoryMiB: 200, TimeoutMS: 500}).Limits(); got.MemoryMiB != 200 || got.TimeoutMS != 100 {
		t.Errorf("one that asks for more has %+v", got)
	}
	if _, err := Open(context.Background(), Options{CacheDir: t.TempDir(), Limits: weft.Limits{Table: 70_000}}); err == nil || !strings.Contains(err.Error(), "limits.table is 70000, at most 65536") {
		t.Errorf("what cannot be had: %v", err)
	}
}

func TestEveryLimitHasADefaultAndAName(t *testing.T) {
	names := map[Limit]bool{LimitMemory: true, LimitTable: true, LimitTimeout: true, LimitFuel: true, LimitOutput: true, LimitLog: true, LimitLogMinute: true,
		LimitHostCalls: true, LimitConcurrency: true, LimitQueue: true}
	usual, most := reflect.ValueOf(within(weft.Limits{}, possible)), reflect.ValueOf(possible)
	for i := range usual.NumField() {
		name, _, _ := strings.Cut(usual.Type().Field(i).Tag.Get("json"), ",")
		if !names[Limit(name)] || usual.Field(i).Int() <= 0 || usual.Field(i).Int() > most.Field(i).Int() {
			t.Errorf("%s: %d of %d", name, usual.Field(i).Int(), most.Field(i).Int())
		}
	}
	if usual.NumField() != len(names) {
		t.Errorf("%d names for %d limits", len(names), usual.NumField())
	}
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	m, env := load(t, guest, weft.Limits{Concurrency: 1, Queue: 2}), newEnv()
	env.block = true
	ctx, release := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for range 3 { // one runs, two wait
		calls.Go(func() { m.Call(ctx, env, "call", Input{}) })
	}
	for m.Stats().Waiting < 2 {
		time.Sleep(time.Millisecond)
	}
	limit := Limit("")
	_, err := m.Call(context.Background(), nil, "noop", Input{})
	if weft.CodeOf(err) != weft.ResourceExhausted || !errors.As(err, &limit) || limit != LimitQueue || !strings.Contains(err.Error(), "2 calls of the module wait already") {
		t.Errorf("got %v", err)
	}
	release()
	calls.Wait()
	if _, err := m.Call(context.Background(), nil, "noop", Input{}); err != nil {
		t.Errorf("when the queue is empty again: %v", err)
	}
	hold, free := context.WithCancel(context.Background())
	calls.Go(func() { m.Call(hold, env, "call", Input{}) })
	for m.Stats().Running < 1 {
		time.Sleep(time.Millisecond)
	}
	busy, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Call(busy, nil, "noop", Input{}); !errors.As(err, &limit) || limit != LimitConcurrency {
		t.Errorf("a call that waited in vain: %v", err)
	}
	free()
	calls.Wait()
}

func TestTheLogOfACallEndsAtItsLimit(t *testing.T) {
	m, env := load(t, guest, weft.Limits{LogBytes: 100}), newEnv()
	for _, size := range []int{50, 200, 50} {
		if _, err := m.Call(context.Background(), env, "say", Input{Body: bytes.Repeat([]byte("x"), size)}); err != nil {
			t.Fatal(err)
		}
	}
	x := "WARN " + strings.Repeat("x", 50)
	if want := []string{x, "WARN the handler logs more than its limit of 100 bytes: the rest is dropped (limits.logBytes)", x}; !slices.Equal(env.lines, want) {
		t.Errorf("logged %q, want %q", env.lines, want)
	}
}

func TestAMinutesLogEndsAtItsLimitAndBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m minute
		for _, c := range []struct {
			wait time.Duration
			n    int
			ok   bool
			says bool
		}{
			{0, 60, true, false}, {0, 40, true, false}, {0, 1, false, true}, {59 * time.Second, 1, false, false}, {time.Second, 100, true, false}, {0, 1, false, true},
		} {
			time.Sleep(c.wait)
			ok, say := m.take(c.n, 100, time.Now())
			if ok != c.ok || (say != "") != c.says || c.says && !strings.Contains(say, "100 bytes a minute: the rest of it is dropped (limits.logMinuteBytes)") {
				t.Errorf("%d after %v: %v %q", c.n, c.wait, ok, say)
			}
		}
	})
	m, env := load(t, guest, weft.Limits{LogMinuteBytes: 1_000}), newEnv()
	for range 20 {
		if _, err := m.Call(context.Background(), env, "say", Input{Body: bytes.Repeat([]byte("x"), 200)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(env.lines); env.bytes > 1_300 || !strings.HasSuffix(env.lines[n-1], "(limits.logMinuteBytes)") {
		t.Errorf("%d bytes: %q", env.bytes, env.lines)
	}
}

// An import costs a hundred units: ten thousand of them a million.
func TestAnImportCostsAHundredUnits(t *testing.T) {
	const body = "const64 10000 local1= loop const 0 const 0 const 0 call input drop local1 const64 1 sub64 local1= const64 0 local1 lt64 if br 1 end end const 0"
	for fuel, code := range map[int64]weft.Code{900_000: weft.ResourceExhausted, 1_400_000: weft.OK} {
		if _, err := load(t, tiny("input", body), weft.Limits{Fuel: fuel}).Call(context.Background(), nil, "f", Input{}); weft.CodeOf(err) != code {
			t.Errorf("with %d: %v", fuel, err)
		}
	}
}

// Of the slice that ends first in a call those before it have burnt: nobody pays for
// another, and nobody runs on for two slices more.
func TestACallDoesNotPayForTheFuelOfAnother(t *testing.T) {
	turns := func(n int) string {
		return "const64 " + strconv.Itoa(n) + " local1= loop local1 const64 1 sub64 local1= const64 0 local1 lt64 if br 1 end end const 0"
	}
	for _, c := range []struct {
		turns int
		code  weft.Code
	}{{4_000, weft.OK}, {60_000, weft.ResourceExhausted}} { // of ten units or so
		m := load(t, tiny("", turns(c.turns)), weft.Limits{Fuel: 60_000})
		for n := range 50 {
			if _, err := m.Call(context.Background(), nil, "f", Input{}); weft.CodeOf(err) != c.code {
				t.Fatalf("call %d of %d turns: %v", n, c.turns, err)
			}
		}
	}
}

// Its context learns that later than the clock says it, and then the limit of the module
// was told, and counted.
func TestTheDeadlineOfACallerIsNoLimitOfTheModule(t *testing.T) {
	for _, where := range []weft.Isolation{weft.Inline, weft.Process} {
		m, err := open(t, Options{}).Load(context.Background(), "endless", bytesOf(tiny("", "loop br 0 end unreachable")), Terms{Limits: weft.Limits{Fuel: 1 << 50}, Isolation: where})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			_, err := m.Call(ctx, nil, "f", Input{})
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || weft.CodeOf(err) != weft.DeadlineExceeded {
				t.Errorf("%s: %v", where, err)
			}
		}
		if n := m.Stats().Limits[LimitTimeout]; n != 0 {
			t.Errorf("%s: %d calls are counted as over the limit", where, n)
		}
	}
}
