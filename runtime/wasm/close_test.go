package wasm

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/weftrun/weft"
)

// TestCloseWaitsForWhoThrowsIdleInstancesAway: another call wants their memory, and is
// about to close them.
func TestCloseWaitsForWhoThrowsIdleInstancesAway(t *testing.T) {
	for _, where := range []weft.Isolation{weft.Inline, weft.Process} {
		t.Run(string(where), func(t *testing.T) {
			r := open(t, Options{Unfiltered: true})
			m, err := r.Load(context.Background(), t.Name(), bytesOf(guest), Terms{Isolation: where})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Call(context.Background(), newEnv(), "noop", Input{}); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				giving, goOn := make(chan struct{}, 1), make(chan struct{})
				r.memory.ask = func(n int64, _ bool) error {
					if n < 0 {
						giving <- struct{}{}
						<-goOn
					}
					return nil
				}
				defer func() { r.memory.ask = nil }()
				trimmed, closed := make(chan bool, 1), make(chan error, 1)
				go func() { trimmed <- r.trim() }()
				<-giving
				go func() { closed <- m.Close(context.Background()) }()
				synctest.Wait()
				select {
				case err := <-closed:
					t.Errorf("closed, with an instance that is not: %v", err)
				default:
				}
				close(goOn)
				if !<-trimmed {
					t.Error("there was nothing to throw away")
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
				if n := m.live.Load(); n != 0 {
					t.Errorf("%d instances live", n)
				}
			})
		})
	}
}
