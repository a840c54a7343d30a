package wasm

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// TestEveryLimitIsCounted goes over each limit once, and finds it counted and
// no other.
func TestEveryLimitIsCounted(t *testing.T) {
	table := program(code(0xd0, 0x70, 0x41, 0xe4, 0, 0xfc, 15, 0, 0x1a, 0x41, 0)) // 100 more
	big := Input{Body: bytes.Repeat([]byte("x"), 300)}
	for _, c := range []struct {
		limit   Limit
		limits  weft.Limits
		wasm    []byte
		handler string
		in      Input
	}{
		{LimitMemory, weft.Limits{MemoryMiB: 8}, guest, "grow", Input{}},
		{LimitTable, weft.Limits{Table: 50}, table, "f", Input{}},
		{LimitTimeout, weft.Limits{TimeoutMS: 20, Fuel: 60_000_000_000}, guest, "spin", Input{}},
		{LimitFuel, weft.Limits{Fuel: 1_000_000}, guest, "spin", Input{}},
		{LimitOutput, weft.Limits{OutputBytes: 5_000}, guest, "flood", Input{}},
		{LimitLog, weft.Limits{LogBytes: 100}, guest, "say", big},
		{LimitLogMinute, weft.Limits{LogMinuteBytes: 100}, guest, "say", big},
		{LimitHostCalls, weft.Limits{HostCalls: 7}, guest, "hostflood", Input{}},
	} {
		t.Run(string(c.limit), func(t *testing.T) {
			m := load(t, c.wasm, c.limits)
			m.Call(context.Background(), newEnv(), c.handler, c.in)
			for l, n := range m.Stats().Limits {
				if want := l == c.limit; n > 0 != want {
					t.Errorf("%s was counted %d times", l, n)
				}
			}
		})
	}
	t.Run("calls at once and in the queue", func(t *testing.T) {
		m, env := load(t, guest, weft.Limits{Concurrency: 1, Queue: 1}), newEnv()
		env.block = true
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := m.Call(ctx, env, "call", Input{})
			ended <- err
		}()
		for m.Stats().Running < 1 {
			time.Sleep(time.Millisecond)
		}
		short, stop := context.WithTimeout(context.Background(), 2*time.Second) // long enough to be seen waiting
		defer stop()
		go func() {
			_, err := m.Call(short, nil, "noop", Input{})
			ended <- err
		}()
		for m.Stats().Waiting < 1 {
			time.Sleep(time.Millisecond)
		}
		m.Call(context.Background(), nil, "noop", Input{})
		<-ended
		cancel()
		<-ended
		if s := m.Stats(); s.Limits[LimitQueue] != 1 || s.Limits[LimitConcurrency] != 1 || s.Running != 0 || s.Waiting != 0 || s.Calls != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestStatsSayWhatARuntimeHolds(t *testing.T) {
	r := open(t, Options{})
	m := loadIn(t, r, guest, weft.Limits{})
	for _, handler := range []string{"noop", "trap", "noop", "noop", "fail"} {
		m.Call(context.Background(), newEnv(), handler, Input{})
	}
	all := r.Stats()
	if len(all.Modules) != 1 || all.MemoryRefused != 0 {
		t.Fatalf("%+v", all)
	}
	s := all.Modules[0]
	if s.Digest != t.Name() || s.Calls != 5 || s.Traps != 1 || s.Made != 2 || s.Live != 1 || s.Idle != 1 || s.Bytes == 0 || s.Bytes != all.MemoryBytes {
		t.Errorf("%+v of %+v", s, all)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if s := m.Stats(); s.Live != 0 || s.Bytes != 0 || len(r.Stats().Modules) != 0 {
		t.Errorf("after its end: %+v", s)
	}
}
