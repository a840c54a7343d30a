package peers_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/store"
)

// asked is an operation on one instance, answered what came of it.
type asked struct {
	what  string // register, deregister, drain, heartbeat, lookup
	id    string
	epoch int64
}

type answered struct {
	epoch    int64 // of register and lookup; 0 for none
	draining bool
	code     weft.Code
	unknown  bool // the host died before it answered
}

// lived is what one instance is: unsure is an epoch that nobody was told.
type lived struct {
	epoch, highest int64
	draining       bool
}

const unsure = -1

// registryModel says what a registry may answer, when every operation takes
// effect at one moment between its call and its answer. One whose host died may
// have taken effect or not.
var registryModel = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byID := map[string][]porcupine.Operation{}
		for _, o := range history {
			id := o.Input.(asked).id
			byID[id] = append(byID[id], o)
		}
		for _, p := range byID {
			parts = append(parts, p)
		}
		return parts
	},
	Init:  func() []any { return []any{lived{}} },
	Equal: func(a, b any) bool { return a == b },
	Step: func(state, input, output any) []any {
		s, q, a := state.(lived), input.(asked), output.(answered)
		next := s
		switch {
		case q.what == "register" && a.unknown:
			return []any{s, lived{epoch: unsure, highest: s.highest}}
		case q.what == "register":
			if a.epoch <= s.highest {
				return nil // an epoch is never used again
			}
			return []any{lived{epoch: a.epoch, highest: a.epoch}}
		case q.what == "lookup" && s.epoch == unsure && a.epoch > s.highest:
			return []any{lived{epoch: a.epoch, highest: a.epoch, draining: a.draining}}
		case q.what == "lookup":
			if a.unknown || a.epoch == s.epoch && a.draining == s.draining {
				return []any{s}
			}
			return nil
		}
		code := weft.OK
		switch {
		case s.epoch == 0:
			code = weft.NotFound
		case s.epoch != q.epoch:
			code = weft.FailedPrecondition
		case q.what == "deregister":
			next = lived{highest: s.highest}
		case q.what == "drain":
			next.draining = true
		}
		if a.unknown {
			return []any{s, next}
		}
		if a.code != code && (code == weft.OK || a.code == weft.OK) {
			return nil
		}
		return []any{next}
	},
}

// registry is what a client asks; bugs are planted in front of the true one.
type registry interface {
	Register(context.Context, peers.Instance) (peers.Instance, error)
	Heartbeat(ns, service, id string, epoch int64) error
	Drain(ctx context.Context, ns, service, id string, epoch int64) error
	Deregister(ctx context.Context, ns, service, id string, epoch int64) error
	Lookup(ns, service string) ([]peers.Instance, bool)
}

// recorder makes a history of many clients, over hosts that die.
type recorder struct {
	mu      sync.Mutex
	history []porcupine.Operation
	begun   time.Time
}

// client asks a host, which says nothing any more once its disk has failed.
func (r *recorder) client(n int, reg registry, dead func() error, ops int, chance *rand.Rand, held map[string]int64) {
	whats := []string{"register", "deregister", "drain", "heartbeat", "heartbeat", "lookup", "lookup", "lookup"}
	for range ops {
		q := asked{what: whats[chance.IntN(len(whats))], id: fmt.Sprint("i", chance.IntN(4))}
		if q.epoch = held[q.id]; q.epoch == 0 && q.what != "register" {
			q.what = "lookup"
		}
		called := time.Since(r.begun)
		a := ask(reg, q)
		a.unknown = a.unknown || dead() != nil
		if q.what == "register" && !a.unknown {
			held[q.id] = a.epoch
		}
		r.mu.Lock()
		r.history = append(r.history, porcupine.Operation{ClientId: n, Input: q, Output: a, Call: int64(called), Return: int64(time.Since(r.begun))})
		r.mu.Unlock()
	}
}

func ask(reg registry, q asked) (a answered) {
	ctx, err := context.Background(), error(nil)
	switch q.what {
	case "register":
		var i peers.Instance
		i, err = reg.Register(ctx, peers.Instance{Namespace: ns, Service: "bank", ID: q.id, URL: "http://127.0.0.1:1", TTL: time.Hour})
		a.epoch = i.Epoch
	case "deregister":
		err = reg.Deregister(ctx, ns, "bank", q.id, q.epoch)
	case "drain":
		err = reg.Drain(ctx, ns, "bank", q.id, q.epoch)
	case "heartbeat":
		err = reg.Heartbeat(ns, "bank", q.id, q.epoch)
	case "lookup":
		live, _ := reg.Lookup(ns, "bank")
		for _, i := range live {
			if i.ID == q.id {
				a.epoch, a.draining = i.Epoch, i.Status == peers.Draining
			}
		}
	}
	a.code = weft.CodeOf(err)
	a.unknown = err != nil && a.code != weft.NotFound && a.code != weft.FailedPrecondition
	return a
}

// history lets clients work on one file while its host dies again and again:
// before or after a commit, of which nobody is told.
func history(t *testing.T, seed uint64, plant func(registry) registry) []porcupine.Operation {
	t.Helper()
	const clients, hosts, ops = 8, 8, 120
	r := &recorder{begun: time.Now()}
	path := filepath.Join(t.TempDir(), "weft.db")
	held := make([]map[string]int64, clients)
	for n := range held {
		held[n] = map[string]int64{}
	}
	for host := range uint64(hosts) {
		chance := rand.New(rand.NewPCG(seed, host))
		dies, when := int64(20+chance.IntN(100)), store.Moment(chance.IntN(2))
		var commits atomic.Int64
		db, err := store.Open(t.Context(), store.Options{Path: path, Sync: "normal", Fault: func(m store.Moment) error {
			if m == when && commits.Add(1) > dies {
				return errors.New("the host dies")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		g, err := peers.Open(t.Context(), db, peers.Options{})
		if err != nil {
			t.Fatal(err)
		}
		reg := plant(g)
		var all sync.WaitGroup
		for n := range clients {
			all.Go(func() {
				r.client(int(host)*clients+n, reg, db.Err, ops, rand.New(rand.NewPCG(seed, host<<8|uint64(n))), held[n])
			})
		}
		all.Wait()
		g.Close()
		_ = db.Close() // it may have died
	}
	return r.history
}

func TestHistoriesOfTheRegistryAreLinearizable(t *testing.T) {
	for seed := range uint64(3) {
		h := history(t, seed, func(r registry) registry { return r })
		if got := porcupine.CheckOperationsTimeout(registryModel.ToModel(), h, time.Minute); got != porcupine.Ok {
			t.Errorf("seed %d, %d operations: %s", seed, len(h), got)
		}
	}
}

// Registries with a bug.
type (
	cached  struct{ *planted }
	eager   struct{ *planted }
	unfence struct{ *planted }
	zombie  struct{ *planted }
)

type planted struct {
	registry
	mu   sync.Mutex
	last []peers.Instance
	n    int
}

func (c cached) Lookup(ns, service string) ([]peers.Instance, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n%16 == 1 {
		c.last, _ = c.registry.Lookup(ns, service)
	}
	return c.last, true
}

func (e eager) Register(ctx context.Context, i peers.Instance) (peers.Instance, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.n++; e.n%10 > 0 {
		return e.registry.Register(ctx, i)
	}
	i.Epoch = 1<<40 + int64(e.n)
	return i, nil
}

func (u unfence) Heartbeat(ns, service, id string, _ int64) error {
	for _, i := range list(u.registry, ns, service) {
		if i.ID == id {
			return nil
		}
	}
	return weft.Errorf(weft.NotFound, "test", "gone")
}

func (z zombie) Deregister(ctx context.Context, ns, service, id string, epoch int64) error {
	for _, i := range list(z.registry, ns, service) {
		if i.ID == id {
			epoch = i.Epoch
		}
	}
	return z.registry.Deregister(ctx, ns, service, id, epoch)
}

func list(r registry, ns, service string) []peers.Instance {
	live, _ := r.Lookup(ns, service)
	return live
}

func TestPlantedBugsOfARegistryAreFound(t *testing.T) {
	for name, plant := range map[string]func(registry) registry{
		"a lookup from a cache":                          func(r registry) registry { return cached{&planted{registry: r}} },
		"a registration that is told and not stored":     func(r registry) registry { return eager{&planted{registry: r}} },
		"a heartbeat that does not look at the epoch":    func(r registry) registry { return unfence{&planted{registry: r}} },
		"a deregistration of whoever is registered then": func(r registry) registry { return zombie{&planted{registry: r}} },
	} {
		h := history(t, 1, plant)
		if got := porcupine.CheckOperationsTimeout(registryModel.ToModel(), h, time.Minute); got != porcupine.Illegal {
			t.Errorf("%s: %s", name, got)
		}
	}
}
