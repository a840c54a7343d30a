package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
)

// count is how many calls the instance that serves this one has had.
func count(t *testing.T, m *Module) int {
	t.Helper()
	out, err := m.Call(context.Background(), nil, "count", Input{})
	if err != nil {
		t.Fatal(err)
	}
	return int(binary.LittleEndian.Uint32(out.Body))
}

func TestAnInstanceServesManyCallsAndIsRetired(t *testing.T) {
	m := loadIn(t, open(t, Options{UsesMax: 3}), guest, weft.Limits{})
	for i, want := range []int{1, 2, 3, 1, 2, 3, 1} {
		if got := count(t, m); got != want {
			t.Errorf("call %d was number %d of its instance, want %d", i, got, want)
		}
	}
}

func TestAnInstanceThatFailedIsNotUsedAgain(t *testing.T) {
	m := load(t, guest, weft.Limits{Fuel: 20_000_000})
	for _, handler := range []string{"trap", "spin", "flood", "badptr"} {
		count(t, m)
		if _, err := m.Call(context.Background(), newEnv(), handler, Input{}); err == nil {
			t.Errorf("%s: no error", handler)
		}
		if got := count(t, m); got != 1 {
			t.Errorf("after %s the same instance served on", handler)
		}
	}
	count(t, m)
	if _, err := m.Call(context.Background(), nil, "fail", Input{}); weft.CodeOf(err) != weft.NotFound {
		t.Error(err)
	}
	if got := count(t, m); got != 3 {
		t.Errorf("after an error of its own an instance was dropped: call %d", got)
	}
}

func TestCallsOverTheLimitWait(t *testing.T) {
	m, env := load(t, guest, weft.Limits{Concurrency: 2, TimeoutMS: 5_000}), newEnv()
	env.block = true
	busy, release := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() { m.Call(busy, env, "call", Input{}) })
	}
	for m.Stats().Running < 2 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.Call(ctx, nil, "noop", Input{}); weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "limit of 2 calls at once is reached") {
		t.Errorf("a caller whose deadline passed: %v", err)
	}
	gone, leave := context.WithCancel(context.Background())
	leave()
	if _, err := m.Call(gone, nil, "noop", Input{}); weft.CodeOf(err) != weft.Canceled {
		t.Errorf("a caller that left: %v", err)
	}
	time.AfterFunc(20*time.Millisecond, release)
	if _, err := m.Call(context.Background(), nil, "noop", Input{}); err != nil {
		t.Errorf("a caller that waited: %v", err)
	}
	calls.Wait()
}

func TestCloseDrains(t *testing.T) {
	r := open(t, Options{})
	m, env := loadIn(t, r, guest, weft.Limits{}), newEnv()
	env.block = true
	busy, release := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := m.Call(busy, env, "call", Input{})
		ended <- err
	}()
	for m.Stats().Running < 1 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := m.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close with a call in progress: %v", err)
	}
	if _, err := m.Call(context.Background(), nil, "noop", Input{}); weft.CodeOf(err) != weft.Unavailable {
		t.Errorf("a call after close: %v", err)
	}
	release()
	if err := m.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Errorf("close again: %v", err)
	}
	if err := <-ended; weft.CodeOf(err) != weft.Canceled {
		t.Errorf("the call in progress: %v", err)
	}
	again := loadIn(t, r, guest, weft.Limits{})
	if again == m {
		t.Error("a closed module was given out again")
	}
	if _, err := again.Call(context.Background(), nil, "noop", Input{}); err != nil {
		t.Errorf("loaded again: %v", err)
	}
}

func TestLoadIsOncePerDigestAndLimits(t *testing.T) {
	r := open(t, Options{})
	var mu sync.Mutex
	all := map[*Module]int{}
	var loads sync.WaitGroup
	for i := range 16 {
		loads.Go(func() {
			m, err := r.Load(context.Background(), "d", bytesOf(guest), Terms{Limits: weft.Limits{MemoryMiB: 8 + i%2}, Isolation: isolation})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			all[m]++
		})
	}
	loads.Wait()
	if len(all) != 2 {
		t.Errorf("%d modules for 2 sets of limits", len(all))
	}
	// They share their compiled code: closing one leaves the other whole.
	for m := range all {
		if got, ok := r.Loaded("d", Terms{Limits: m.limits, Isolation: isolation}); !ok || got != m {
			t.Error("Loaded does not find it")
		}
		if _, err := m.Call(context.Background(), nil, "noop", Input{}); err != nil {
			t.Error(err)
		}
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if _, ok := r.Loaded("d", Terms{Limits: m.limits, Isolation: isolation}); ok {
			t.Error("Loaded finds a closed module")
		}
	}
	if _, err := r.Load(context.Background(), "bad", bytesOf([]byte("x")), Terms{Isolation: isolation}); err == nil {
		t.Error("what is no module was loaded")
	}
	if _, err := r.Load(context.Background(), "bad", bytesOf(guest), Terms{Isolation: isolation}); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

func TestLimitsOfAModuleAreWithinTheHosts(t *testing.T) {
	r := open(t, Options{Limits: weft.Limits{TimeoutMS: 100, Fuel: 10_000_000}})
	m := loadIn(t, r, guest, weft.Limits{TimeoutMS: 500, Fuel: 5_000_000, OutputBytes: 10})
	want := DefaultLimits
	want.TimeoutMS, want.Fuel, want.OutputBytes = 100, 5_000_000, 10
	if m.Limits() != want {
		t.Errorf("got %+v, want %+v", m.Limits(), want)
	}
}

func ends(t *testing.T, err error, codes ...weft.Code) {
	t.Helper()
	if !slices.Contains(codes, weft.CodeOf(err)) {
		t.Errorf("got %v, want one of %v", err, codes)
	}
}

func TestHammer(t *testing.T) {
	m := loadIn(t, open(t, Options{UsesMax: 50}), guest, weft.Limits{Concurrency: 8, Fuel: 20_000_000})
	env := newEnv()
	var workers sync.WaitGroup
	for w := range 16 {
		workers.Go(func() {
			for i := range 100 {
				body := fmt.Sprintf("%d-%d", w, i)
				out, err := m.Call(context.Background(), env, "echo", Input{Body: []byte(body)})
				if err != nil || string(out.Body) != body {
					t.Errorf("got %q, %v; want %q", out.Body, err, body)
					return
				}
				switch i % 25 {
				case 3:
					_, err = m.Call(context.Background(), env, "trap", Input{})
					ends(t, err, weft.Internal)
				case 7:
					_, err = m.Call(context.Background(), env, "get", Input{Body: []byte("k")})
					ends(t, err, weft.OK, weft.NotFound)
				case 9:
					_, err = m.Call(context.Background(), env, "set", Input{Body: []byte(body)})
					ends(t, err, weft.OK)
				case 11:
					ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
					_, err = m.Call(ctx, env, "spin", Input{})
					ends(t, err, weft.DeadlineExceeded, weft.ResourceExhausted)
					cancel()
				}
			}
		})
	}
	workers.Wait()
	if n := m.Stats().Idle; n > 8 {
		t.Errorf("%d idle instances for 8 calls at once", n)
	}
}

func TestAModuleWithoutHandlersHasNone(t *testing.T) {
	m := load(t, assemble(), weft.Limits{})
	for _, name := range []string{"", "f"} {
		if _, err := m.Call(context.Background(), nil, name, Input{}); weft.CodeOf(err) != weft.Unimplemented {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestAnInstanceThatNobodyNeedsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, unused, busy := &Module{}, &instance{}, &instance{}
		m.keep(unused)
		serve := func(calls int) (stale *instance) {
			for range calls {
				if s := m.keep(busy); s != nil {
					stale = s
				}
				m.idle = m.idle[:len(m.idle)-1] // used again
			}
			return stale
		}
		if serve(2*turnMax) != nil {
			t.Error("closed at once")
		}
		time.Sleep(IdleMax)
		if serve(2*turnMax) != nil {
			t.Error("closed before its time")
		}
		time.Sleep(time.Second)
		if serve(turnMax) != unused || len(m.idle) != 0 {
			t.Error("it was kept")
		}
	})
}

// atRest is the only instance, which has served its call.
func (m *Module) atRest() *instance {
	m.vacate()
	return m.idle[0]
}

// TestTheNextInstanceIsNeverLost: calls take it and give it back without a lock,
// while others wait for its place, look at it and close it.
func TestTheNextInstanceIsNeverLost(t *testing.T) {
	const callers, calls = 8, 300
	for _, concurrency := range []int{1, 2} {
		r := open(t, Options{})
		m := loadIn(t, r, guest, weft.Limits{Concurrency: concurrency})
		var all sync.WaitGroup
		ended := make(chan struct{})
		all.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
					r.trim()
					if s := m.Stats(); s.Running < 0 || s.Idle > concurrency {
						t.Errorf("%+v", s)
					}
				}
			}
		})
		var served sync.WaitGroup
		for range callers {
			served.Go(func() {
				for n := range calls {
					if _, err := m.Call(context.Background(), nil, []string{"noop", "echo"}[n%2], Input{}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		served.Wait()
		close(ended)
		all.Wait()
		if s := m.Stats(); s.Calls != callers*calls || s.Running != 0 || s.Waiting != 0 || int(s.Live) != s.Idle {
			t.Errorf("at the end %+v", s)
		}
		for range callers {
			served.Go(func() {
				for {
					if _, err := m.Call(context.Background(), nil, "noop", Input{}); weft.CodeOf(err) == weft.Unavailable {
						return
					}
				}
			})
		}
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		served.Wait()
		if s := m.Stats(); s.Live != 0 || s.Idle != 0 || s.Running != 0 {
			t.Errorf("closed %+v", s)
		}
	}
}
