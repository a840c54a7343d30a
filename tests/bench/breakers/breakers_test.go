// Package breakers measures weft's breaker and gate beside libraries that do parts
// of the same. It is a module of its own, so that weft needs none of them.
package breakers

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/store"
)

// breakers are ways to ask a breaker for one call and to tell it that it went
// well. All count the calls of the last ten seconds, in tenths.
var breakers = []struct {
	name string
	make func() func()
}{
	{"weft", func() func() {
		var mu sync.Mutex // as the gate holds it
		b := breaker.New(breaker.Policy{}, rand.Float64, time.Now())
		return func() {
			mu.Lock()
			call, _ := b.Allow(time.Now())
			mu.Unlock()
			mu.Lock()
			b.Done(&call, nil, time.Now(), true)
			mu.Unlock()
		}
	}},
	{"gobreaker", func() func() {
		b := gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{Interval: 10 * time.Second, BucketPeriod: time.Second})
		return func() {
			if done, err := b.Allow(); err == nil {
				done(nil)
			}
		}
	}},
	{"failsafe-go", func() func() {
		b := circuitbreaker.NewBuilder[any]().WithFailureRateThreshold(0.5, 20, 10*time.Second).Build()
		return func() {
			if b.TryAcquirePermit() {
				b.RecordSuccess()
			}
		}
	}},
}

func BenchmarkBreaker(b *testing.B) {
	for _, o := range breakers {
		b.Run("alone/"+o.name, func(b *testing.B) {
			one := o.make()
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
		b.Run("16/"+o.name, func(b *testing.B) {
			one := o.make()
			sixteen(b, one)
		})
	}
}

// sixteen has 16 goroutines do it.
func sixteen(b *testing.B, one func()) {
	b.ReportAllocs()
	b.SetParallelism(max(1, 16/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			one()
		}
	})
}

// A call that takes no time, within all that bounds a call: weft's gate with its
// grants, registry, pick, rate, budget and log of transitions, and the same of
// failsafe-go that it has.
func BenchmarkCall(b *testing.B) {
	for _, o := range []struct {
		name string
		make func(*testing.B) func()
	}{{"weft", gate}, {"failsafe-go", composed}} {
		b.Run("alone/"+o.name, func(b *testing.B) {
			one := o.make(b)
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
		})
		b.Run("16/"+o.name, func(b *testing.B) { sixteen(b, o.make(b)) })
	}
}

func gate(b *testing.B) func() {
	db, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "weft.db")})
	if err != nil {
		b.Fatal(err)
	}
	answer := weft.Response{Status: 200}
	g, err := peers.Open(b.Context(), db, peers.Options{Send: func(context.Context, weft.Request, string, int64) (weft.Response, error) { return answer, nil }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { g.Close(); db.Close() })
	if _, err := g.Register(b.Context(), peers.Instance{Namespace: "default", Service: "bank", ID: "one", URL: "http://127.0.0.1:1", TTL: time.Hour}); err != nil {
		b.Fatal(err)
	}
	r := weft.Request{Namespace: "default", Caller: "bench", Grants: &weft.Grants{Peers: []string{"bank"}}, Peer: "bank", Procedure: "/x", IdempotencyKey: "k"}
	return func() {
		if _, err := g.Do(b.Context(), r); err != nil {
			panic(err)
		}
	}
}

func composed(b *testing.B) func() {
	run := failsafe.With(
		retrypolicy.NewBuilder[weft.Response]().WithMaxRetries(2).WithBackoff(100*time.Millisecond, 2*time.Second).Build(),
		bulkhead.New[weft.Response](64),
		circuitbreaker.NewBuilder[weft.Response]().WithFailureRateThreshold(0.5, 20, 10*time.Second).Build(),
		timeout.New[weft.Response](2*time.Second),
	).WithContext(b.Context())
	answer := weft.Response{Status: 200}
	return func() {
		if _, err := run.GetWithExecution(func(e failsafe.Execution[weft.Response]) (weft.Response, error) { return answer, e.Context().Err() }); err != nil {
			panic(err)
		}
	}
}
