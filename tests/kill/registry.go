package kill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Registrations is what a loop of kills found of the registry.
type Registrations struct {
	Kills        int
	Acknowledged int // registrations and deregistrations that were answered
	Lost         int // of these, what was not so after a kill
	First        []string
}

const (
	names   = 40 // instances of each worker
	acksMin = 10 // answers after which weft is killed, at least
	acksMax = 300
)

// registered is what a worker knows of one of its instances. A request that had
// no answer may have taken effect or not.
type registered struct {
	epoch   string // "" for not registered
	unknown bool
}

// LoopRegistry kills the binary so many times while workers register and
// deregister, and looks after each start whether all that was answered is so.
func LoopRegistry(ctx context.Context, binary, dir string, kills int) (r Registrations, err error) {
	l := newLoop()
	l.binary, l.dir = binary, dir
	defer l.client.CloseIdleConnections()
	known := make([]map[string]registered, workers)
	for w := range known {
		known[w] = map[string]registered{}
	}
	for range kills {
		if err := l.start(ctx); err != nil {
			return r, err
		}
		if err := l.compareRegistry(known, &r); err != nil {
			l.kill()
			return r, err
		}
		life, end := context.WithCancel(ctx)
		var all sync.WaitGroup
		var acks atomic.Int64
		for w := range workers {
			all.Go(func() { l.register(life, w, known[w], &acks) })
		}
		enough := acksMin + rand.Int64N(acksMax-acksMin)
		err := until(ctx, func() bool { return acks.Load() >= enough })
		l.kill()
		end()
		all.Wait()
		if err != nil {
			return r, err
		}
		r.Acknowledged += int(acks.Load())
		r.Kills++
	}
	if err := l.start(ctx); err != nil {
		return r, err
	}
	defer l.kill()
	return r, l.compareRegistry(known, &r)
}

// register registers and deregisters until weft is dead.
func (l *loop) register(ctx context.Context, worker int, known map[string]registered, acks *atomic.Int64) {
	for ctx.Err() == nil {
		id := fmt.Sprintf("w%d-%d", worker, rand.IntN(names))
		was := known[id]
		in := map[string]any{"service": "load", "instance": id, "url": "http://127.0.0.1:1", "ttl": "3600s"}
		method := "RegistryService/Register"
		if was.epoch != "" && !was.unknown && rand.IntN(2) == 0 {
			method, in = "RegistryService/Deregister", map[string]any{"service": "load", "instance": id, "epoch": was.epoch}
		}
		var out struct{ Epoch string }
		if err := l.post(method, in, &out); err != nil {
			known[id] = registered{unknown: true}
			return // it is dead: no other answer is an error here
		}
		known[id] = registered{epoch: out.Epoch}
		acks.Add(1)
	}
}

// compareRegistry looks whether what was answered is so; what it finds of
// requests without an answer is what is known from then on.
func (l *loop) compareRegistry(known []map[string]registered, r *Registrations) error {
	var out struct {
		Instances []struct{ Instance, Epoch string }
	}
	if err := l.post("RegistryService/Lookup", map[string]any{"service": "load"}, &out); err != nil {
		return err
	}
	live := map[string]string{}
	for _, i := range out.Instances {
		live[i.Instance] = i.Epoch
	}
	for _, mine := range known {
		for id, k := range mine {
			if !k.unknown && k.epoch != live[id] {
				r.Lost++
				if len(r.First) < 5 {
					r.First = append(r.First, fmt.Sprintf("%s has epoch %q, and %q was answered", id, live[id], k.epoch))
				}
			}
			mine[id] = registered{epoch: live[id]}
		}
	}
	return nil
}
