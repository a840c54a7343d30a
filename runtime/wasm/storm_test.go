package wasm

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// TestWhateverCallsDoTheirPlacesComeBack has calls end in all ways at once, while
// others look at the module and close its idle instances.
func TestWhateverCallsDoTheirPlacesComeBack(t *testing.T) {
	for _, life := range []weft.Lifecycle{weft.Pool, weft.Isolate} {
		for _, concurrency := range []int{1, 2} {
			for _, uses := range []int{1, 3, 70} {
				t.Run(fmt.Sprintf("%s, %d at once, %d calls of an instance", life, concurrency, uses), func(t *testing.T) {
					r := open(t, Options{UsesMax: uses, CacheDir: filepath.Join(scratch, "places")})
					m := loadAs(t, r, life, guest, weft.Limits{Concurrency: concurrency, Fuel: 1_000_000, Queue: 4})
					storm(t, r, m)
					if s := m.Stats(); s.Running != 0 || s.Waiting != 0 || int(s.Live) != s.Idle || s.Idle > concurrency {
						t.Errorf("afterwards %+v", s)
					}
					fill(t, m, concurrency)
					closeBusy(t, m)
					if s := m.Stats(); r.memory.used.Load() != 0 || s.Live != 0 || s.Bytes != 0 || s.Running != 0 || s.Idle != 0 {
						t.Errorf("closed %+v, %d bytes of all guests", s, r.memory.used.Load())
					}
				})
			}
		}
	}
}

func storm(t *testing.T, r *Runtime, m *Module) {
	const callers, calls = 6, 60
	ctx, busy := context.Background(), weft.ResourceExhausted
	gone, leave := context.WithCancel(ctx)
	leave()
	var all sync.WaitGroup
	for caller := range callers {
		random := rand.New(rand.NewPCG(uint64(caller), 1))
		all.Go(func() {
			for n := range calls {
				in, env := Input{Body: fmt.Appendf(nil, "%d-%d", caller, n), Into: make([]byte, random.IntN(5))}, newEnv()
				call := func(ctx context.Context, env Env, handler string, codes ...weft.Code) {
					out, err := m.Call(ctx, env, handler, in)
					ends(t, err, append(codes, busy)...)
					if err == nil && !bytes.Equal(out.Body, in.Body) {
						t.Errorf("%q answers %q", out.Body, in.Body)
					}
				}
				switch random.IntN(14) {
				case 0:
					call(ctx, env, "trap", weft.Internal)
				case 1:
					call(ctx, nil, "fail", weft.NotFound)
				case 2:
					call(ctx, nil, "none", weft.Unimplemented)
				case 3:
					in.HeadersOf = func() weft.Header { panic("no headers") }
					call(ctx, nil, "header", weft.Internal)
				case 4:
					env.kill = func() error { panic("no state") }
					call(ctx, env, "get", weft.Internal)
				case 5:
					short, stop := context.WithTimeout(ctx, time.Duration(random.IntN(300))*time.Microsecond)
					call(short, nil, "spin", weft.DeadlineExceeded, weft.Canceled)
					stop()
				case 6:
					call(gone, nil, "echo", weft.OK, weft.Canceled)
				case 7:
					r.trim()
				case 8:
					m.Stats()
				default:
					call(ctx, nil, "echo", weft.OK)
				}
			}
		})
	}
	all.Wait()
}

// fill has as many calls in progress as the module may have.
func fill(t *testing.T, m *Module, concurrency int) {
	t.Helper()
	env := newEnv()
	env.block = true
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range concurrency {
		all.Go(func() { m.Call(ctx, env, "call", Input{}) })
	}
	for until := time.Now().Add(time.Minute); m.Stats().Running < concurrency; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Errorf("places are lost: %+v", m.Stats())
			break
		}
	}
	cancel()
	all.Wait()
}

// closeBusy closes the module under calls.
func closeBusy(t *testing.T, m *Module) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	for range 3 {
		all.Go(func() {
			for {
				if _, err := m.Call(context.Background(), nil, "echo", Input{}); weft.CodeOf(err) == weft.Unavailable {
					return
				}
			}
		})
	}
	for before := m.Stats().Calls; m.Stats().Calls < before+10; {
		time.Sleep(time.Microsecond)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
