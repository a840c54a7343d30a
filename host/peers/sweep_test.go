package peers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// quiet is a registry that nobody sweeps but the test.
func quiet(t *testing.T, instances int) *Registry {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db"), Sync: "normal"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	o := Options{}
	o.fill()
	r, err := openRegistry(t.Context(), db, o, func(Instance) {}, func(Instance) {})
	if err != nil {
		t.Fatal(err)
	}
	for n := range instances {
		if _, err := r.Register(t.Context(), Instance{Namespace: "default", Service: "bank", ID: fmt.Sprint("i", n), URL: "http://127.0.0.1:1"}); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *Registry) ids() (ids []string) {
	for _, l := range r.service("default", "bank").leases() {
		ids = append(ids, l.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestSweep(t *testing.T) {
	for _, c := range []struct {
		name                string
		live, late, answers int // how many there are, sent no heartbeat, and answer although they are late
		left, asked         int
	}{
		{"of ten five that are late go unasked", 10, 5, 5, 5, 0},
		{"of ten six that are late are asked, and go if they do not answer", 10, 6, 0, 4, 6},
		{"of ten eight that are late are asked, and five that answer stay", 10, 8, 5, 7, 8},
		{"when all are late and answer, the fault is here", 10, 10, 10, 10, 10},
		{"all three go", 3, 3, 0, 0, 0},
		{"a single one goes", 1, 1, 1, 0, 0},
		{"of four all four are asked", 4, 4, 1, 1, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := quiet(t, c.live)
			var mu sync.Mutex
			asked := 0
			s := &sweeper{Registry: r, check: func(_ context.Context, l *lease) error {
				mu.Lock()
				defer mu.Unlock()
				if asked++; asked <= c.answers {
					return nil
				}
				return errors.New("no answer")
			}}
			now := r.now() + time.Minute
			s.last = now - sweepEvery
			for _, l := range r.service("default", "bank").leases()[c.late:] {
				l.renew(now)
			}
			s.at(t.Context(), now)
			if left := len(r.ids()); left != c.left || asked != c.asked {
				t.Errorf("%d are left and %d were asked, not %d and %d", left, asked, c.left, c.asked)
			}
		})
	}
}

func TestScalingInLeavesNoTrap(t *testing.T) {
	r := quiet(t, 20)
	for _, l := range r.service("default", "bank").leases()[:18] {
		if err := r.Deregister(t.Context(), "default", "bank", l.ID, l.Epoch); err != nil {
			t.Fatal(err)
		}
	}
	s := &sweeper{Registry: r, check: func(context.Context, *lease) error { t.Error("asked"); return nil }}
	now := r.now() + time.Minute
	s.last = now - sweepEvery
	if s.at(t.Context(), now); len(r.ids()) != 0 {
		t.Errorf("left: %v", r.ids())
	}
}

func TestAStalledHostExpiresNobody(t *testing.T) {
	r := quiet(t, 3)
	s := &sweeper{Registry: r, check: func(context.Context, *lease) error { return errors.New("no answer") }}
	s.last = r.now()
	now := s.last + time.Minute
	s.at(t.Context(), now)
	for range 25 { // and not half a second later either
		now += sweepEvery
		s.at(t.Context(), now)
	}
	if len(r.ids()) != 3 {
		t.Fatalf("left: %v", r.ids())
	}
	for range 10 {
		now += sweepEvery
		s.at(t.Context(), now)
	}
	if len(r.ids()) != 0 {
		t.Errorf("the lease never ends: %v", r.ids())
	}
}

func TestAHeartbeatAfterTheEndIsRefused(t *testing.T) {
	r := quiet(t, 1)
	l := r.service("default", "bank").find("i0")
	l.ended.Store(true)
	if err := r.Heartbeat("default", "bank", "i0", l.Epoch); weft.CodeOf(err) != weft.NotFound {
		t.Error(err)
	}
}

func TestPick(t *testing.T) {
	at := func(zone string, weight int) *lease {
		return newLease(Instance{ID: zone, Zone: zone, Weight: weight, Status: Active, TTL: time.Minute}, 0)
	}
	share := func(s *service, l *lease) float64 {
		n := 0
		for range 10_000 {
			if s.pick(0) == l {
				n++
			}
		}
		return float64(n) / 10_000
	}
	near, far, draining := at("north", 100), at("south", 100), at("north", 100)
	draining.Status = Draining
	if s := newService([]*lease{far, near, draining}, "north"); share(s, near) != 1 {
		t.Error("its own zone comes first, and draining ones not at all")
	}
	if s := newService([]*lease{far, draining}, "north"); share(s, far) != 1 {
		t.Error("another zone is better than none")
	}
	if s := newService([]*lease{draining}, "north"); s.pick(0) != nil {
		t.Error("a draining one was picked")
	}
	light, heavy := at("", 100), at("", 300)
	if got := share(newService([]*lease{light, heavy}, ""), heavy); got < 0.55 || got > 0.95 {
		t.Errorf("three times the weight has %v of the calls", got)
	}
	a, b, c := at("", 100), at("", 100), at("", 100)
	s := newService([]*lease{a, b, c}, "")
	for _, l := range []*lease{a, b, c} {
		l.took(10*time.Millisecond, 0)
	}
	if got := share(s, b); got < 0.2 || got > 0.46 {
		t.Errorf("one of three equals has %v of the calls", got)
	}
	b.busy.Store(5)
	if got := share(s, b); got != 0 {
		t.Errorf("the busiest has %v of the calls", got)
	}
	b.busy.Store(0)
	b.took(time.Second, 0)
	if got := share(s, b); got != 0 {
		t.Errorf("the slowest has %v of the calls", got)
	}
	if b.load(time.Hour) > 3*a.load(0) {
		t.Error("an hour later it is still shunned")
	}
}

func TestALatencyRisesAtOnceAndFallsSlowly(t *testing.T) {
	l := newLease(Instance{}, 0)
	l.took(100*time.Millisecond, 0)
	l.took(10*time.Millisecond, 0)
	if got := time.Duration(l.latency.Load()); got != 91*time.Millisecond {
		t.Error(got)
	}
}

func BenchmarkLookup(b *testing.B) {
	r := &Registry{services: map[serviceKey]*service{}}
	for n := range 1000 {
		r.services[serviceKey{"default", fmt.Sprint("service", n)}] = &service{}
	}
	for b.Loop() {
		r.service("default", "service500")
	}
}

func BenchmarkPick(b *testing.B) {
	var list []*lease
	for n := range 10 {
		list = append(list, newLease(Instance{ID: fmt.Sprint(n), Status: Active, Weight: 100}, 0))
	}
	s, begun := newService(list, ""), time.Now()
	for b.Loop() {
		s.pick(time.Since(begun))
	}
}

// idleGate is a gate whose calls take no time.
func idleGate(b testing.TB) (*Gate, weft.Request) {
	db, err := store.Open(b.Context(), store.Options{Path: filepath.Join(b.TempDir(), "weft.db"), Sync: "normal"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	answer := weft.Response{Status: 200}
	g, err := Open(b.Context(), db, Options{Send: func(context.Context, weft.Request, string, int64) (weft.Response, error) { return answer, nil }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(g.Close)
	for n := range 10 {
		if _, err := g.Register(b.Context(), Instance{Namespace: "default", Service: "bank", ID: fmt.Sprint("i", n), URL: "http://127.0.0.1:1", TTL: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
	r := weft.Request{Namespace: "default", Caller: "bench", Grants: &weft.Grants{Peers: []string{"bank"}}, Peer: "bank", Procedure: "/x", IdempotencyKey: "k"}
	return g, r
}

func TestACallThroughTheGateMakesAtMostFiveAllocations(t *testing.T) {
	g, r := idleGate(t)
	n := testing.AllocsPerRun(1000, func() {
		if _, err := g.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	})
	if n > 5 {
		t.Errorf("%g allocations", n)
	}
}

// What the gate costs by itself.
func BenchmarkGate(b *testing.B) {
	g, r := idleGate(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Do(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
