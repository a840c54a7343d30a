package wasm

import (
	"context"
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

func TestAShareLeavesSomethingForOthers(t *testing.T) {
	type taken struct {
		ns   string
		want int64 // that it gets, one by one, until it is refused
		says string
	}
	for _, c := range []struct {
		name  string
		steps []taken
	}{
		{"who is alone has seven eighths", []taken{{"a", 112, "namespace a has so much of the 128 workers of all guests that what is left is for others; call it less often, or serve with --workers N for more"}}},
		{"who comes next has seven eighths of the rest", []taken{{"a", 112, "namespace a"}, {"b", 14, "namespace b"}, {"c", 2, "all guests together have their limit of 128 workers; call it less often, or serve with --workers N for more"}}},
		{"an operator's limit", []taken{{"small", 5, "namespace small has its limit of 5 workers; call it less often, or serve with --workers small=N for more"}, {"a", 108, "namespace a"}}},
		{"an operator's limit that others leave no room for", []taken{{"a", 112, ""}, {"large", 14, "namespace large has so much"}}},
		{"the host itself has all", []taken{{"", 128, "all guests together"}, {"a", 0, "all guests together"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pot{what: "workers", unit: 1, flag: "workers", max: 128, most: map[string]int64{"": 7, "small": 5, "large": 100}}
			for _, s := range c.steps {
				var err error
				var got int64
				for err = p.of(s.ns).take(1, true); err == nil; err = p.of(s.ns).take(1, true) {
					got++
				}
				if said := refusal(err, "no").Error(); got != s.want || !errors.Is(err, errFull) || !strings.HasPrefix(said, "no: "+s.says) {
					t.Errorf("%q got %d, want %d: %s", s.ns, got, s.want, said)
				}
				if share := p.of(s.ns); share.used != got || share.refused != 1 {
					t.Errorf("%q has %d and was refused %d times", s.ns, share.used, share.refused)
				}
			}
		})
	}
}

// Of a few there are no eighths.
func TestNoNamespaceHasAllOfAFew(t *testing.T) {
	for max, want := range map[int64]int64{1: 1, 2: 1, 4: 3, 7: 6, 8: 7} {
		p := pot{what: "workers", unit: 1, max: max}
		var err error
		for err = p.of("greedy").take(1, true); err == nil; err = p.of("greedy").take(1, true) {
		}
		if got := p.of("greedy").used; got != want {
			t.Errorf("of %d one has %d, want %d: %v", max, got, want, err)
		}
		if err := p.of("other").take(1, true); (err == nil) != (max > 1) {
			t.Errorf("of %d another: %v", max, err)
		}
	}
}

// TestTwoWhoTakeAllTheyCanHaveTheSame: what one holds more than the other it does not get
// again.
func TestTwoWhoTakeAllTheyCanHaveTheSame(t *testing.T) {
	p := pot{what: "MiB", unit: 1 << 20, max: 4 << 30}
	a, b := p.of("a"), p.of("b")
	const piece = 1 << 20
	for a.take(piece, true) == nil {
	}
	for range 10_000 {
		for _, s := range []*share{a, b} {
			if s.used >= piece {
				s.give(piece)
			}
		}
		for _, s := range []*share{b, a} {
			for range 2 {
				_ = s.take(piece, true)
			}
		}
	}
	if left := p.max - p.used.Load(); max(a.used, b.used)-min(a.used, b.used) > 2*piece || left < p.max/16 {
		t.Errorf("they have %d and %d MiB, %d are left", a.used>>20, b.used>>20, left>>20)
	}
}

// owned is a module of an owner.
func owned(t *testing.T, r *Runtime, owner string, limits weft.Limits) *Module {
	t.Helper()
	m, err := r.Load(context.Background(), "guest", bytesOf(guest), Terms{Limits: limits, Isolation: isolation, Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// waits is an Env whose calls to the outside last until their context ends.
type waits struct {
	*memEnv
	in chan struct{} // has one for each
}

func (w waits) Call(ctx context.Context, _ string, _ []byte) ([]byte, error) {
	w.in <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// hold has calls in progress until release, as many as there may be: the next one is refused.
func hold(m *Module) (release func(), refused error) {
	ctx, cancel := context.WithCancel(context.Background())
	env, failed := waits{newEnv(), make(chan struct{})}, make(chan error, 1)
	var calls sync.WaitGroup
	for {
		calls.Go(func() {
			if _, err := m.Call(ctx, env, "call", Input{}); weft.CodeOf(err) == weft.ResourceExhausted {
				failed <- err
			}
		})
		select {
		case <-env.in:
		case err := <-failed:
			return func() { cancel(); calls.Wait() }, err
		}
	}
}

// used is what a namespace has of something that all share, and how often it was refused.
func used(r *Runtime, ns, of string) (used, refused int64) {
	for _, s := range r.Stats().Shares {
		if s.Namespace == ns && s.Of == of {
			return s.Used, s.Refused
		}
	}
	return 0, 0
}

func TestANamespaceThatTakesAllItCanLeavesOthersTheirs(t *testing.T) {
	many := weft.Limits{Concurrency: 1000}
	one := loadIn(t, open(t, Options{}), guest, weft.Limits{})
	count(t, one)
	size := one.Stats().Bytes
	for _, c := range []struct {
		name    string
		process bool
		of      string
		options Options
		says    string
	}{
		{"memory", false, "memory_bytes", Options{MemoryMax: 16 * size}, "there is no memory for another instance: namespace greedy has so much of the"},
		{"memory, by the operator", false, "memory_bytes", Options{MemoryOf: map[string]int64{"greedy": 4 * size}}, "there is no memory for another instance: namespace greedy has its limit of"},
		{"memory in workers", true, "memory_bytes", Options{MemoryMax: 16 * size}, "there is no memory for another instance: namespace greedy has so much of the"},
		{"workers", true, "workers", Options{WorkerMax: 16}, "there is no worker process for the call: namespace greedy has so much of the 16 worker processes"},
		{"workers, by the operator", true, "workers", Options{WorkersOf: map[string]int64{"greedy": 3}}, "there is no worker process for the call: namespace greedy has its limit of 3 worker processes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.process {
				inWorkers(t)
			}
			r := open(t, c.options)
			greedy, quiet := owned(t, r, "greedy/all:1.0.0", many), owned(t, r, "quiet/shop:1.0.0", many)
			count(t, quiet)
			release, refused := hold(greedy)
			defer release()
			if !strings.Contains(refused.Error(), c.says) || !strings.Contains(refused.Error(), "; call it less often, or serve with --") {
				t.Errorf("the greedy one is told: %v", refused)
			}
			if n := count(t, quiet); n != 2 {
				t.Errorf("the idle instance of the other was given up: call %d", n)
			}
			if n := count(t, owned(t, r, "third/shop:1.0.0", many)); n != 1 {
				t.Errorf("call %d of a new instance", n)
			}
			if n, no := used(r, "greedy", c.of); n == 0 || no == 0 {
				t.Errorf("it has %d and was refused %d times", n, no)
			}
			if n, no := used(r, "quiet", c.of); n == 0 || no != 0 {
				t.Errorf("the other has %d and was refused %d times", n, no)
			}
		})
	}
}

// What lies idle makes room for who has less, and not for who has more.
func TestIdleInstancesMakeRoomForWhoHasLess(t *testing.T) {
	one := loadIn(t, open(t, Options{}), guest, weft.Limits{})
	count(t, one)
	r := open(t, Options{MemoryMax: 16 * one.Stats().Bytes})
	many := weft.Limits{Concurrency: 1000}
	large, small := owned(t, r, "large/all:1.0.0", many), owned(t, r, "small/shop:1.0.0", many)
	release, _ := hold(large)
	n := count(t, small)
	release()
	if n != 1 {
		t.Errorf("call %d of a new instance", n)
	}
	large.vacate()
	release, refused := hold(small)
	defer release()
	if s := large.Stats(); !strings.Contains(refused.Error(), "namespace small") || s.Live != 0 || small.Stats().Live != 14 {
		t.Errorf("%d of large, %d of small: %v", s.Live, small.Stats().Live, refused)
	}
}

// What others have does not help who has what the operator allows it.
func TestIdleInstancesMakeNoRoomForWhoHasItsLimit(t *testing.T) {
	one := loadIn(t, open(t, Options{}), guest, weft.Limits{})
	count(t, one)
	size := one.Stats().Bytes
	r := open(t, Options{MemoryMax: 16 * size, MemoryOf: map[string]int64{"small": 3 * size, "large": 5 * size}})
	many := weft.Limits{Concurrency: 1000}
	large, small := owned(t, r, "large/all:1.0.0", many), owned(t, r, "small/shop:1.0.0", many)
	release, _ := hold(large)
	release()
	large.vacate()
	release, refused := hold(small)
	defer release()
	if l, s := large.Stats().Live, small.Stats().Live; l != 5 || s != 3 || !strings.Contains(refused.Error(), "namespace small has its limit") {
		t.Errorf("%d of large, %d of small: %v", l, s, refused)
	}
}

func TestWhatOthersHaveMayNotBeWhyThereIsNoMore(t *testing.T) {
	p := pot{what: "MiB", unit: 1, max: 16, most: map[string]int64{"small": 3}}
	if err := p.of("other").take(8, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, ns string
		n        int64
		own      bool
	}{
		{"what is left now", "a", 9, false},
		{"what would be left for others", "a", 8, false},
		{"all but what is for others", "a", 14, false},
		{"what is for others", "a", 15, true},
		{"more than there is", "a", 17, true},
		{"more than the operator says", "small", 4, true},
		{"all, for the host itself", "", 16, false},
		{"more than all, for the host itself", "", 17, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var full *fullError
			if err := p.of(c.ns).take(c.n, true); !errors.As(err, &full) || full.own != c.own {
				t.Errorf("got %+v", err)
			}
		})
	}
}

// Anybody may name a namespace, and have a module refused or a script run there.
func TestNamespacesThatHaveNothingAreForgotten(t *testing.T) {
	r := open(t, Options{Limits: weft.Limits{Concurrency: 1}})
	m, err := r.Own(context.Background(), guest, "the script", nil, weft.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	owned(t, r, "has/modules:1.0.0", weft.Limits{})
	gone, leave := context.WithCancel(context.Background())
	leave()
	for _, ns := range []string{"a", "b", "c", "has"} {
		if _, err := r.CheckFor(context.Background(), ns, nil); weft.CodeOf(err) != weft.InvalidArgument {
			t.Errorf("a check: %v", err)
		}
		err := m.Drive(context.Background(), ns, nil, func(*Guest) error {
			if err := m.Drive(gone, ns+"-left", nil, nil); weft.CodeOf(err) != weft.Canceled {
				t.Errorf("who has left: %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for of, p := range map[string]*pot{"memory": &r.memory, "queue": &r.queue} {
		if _, has := p.shares["has"]; !has || len(p.shares) != 2 { // and of the host's own
			t.Errorf("%s: %d shares", of, len(p.shares))
		}
	}
	for of, p := range map[string]*pot{"checks": &r.checks.pot, "checks that wait": &r.checks.queue, "scripts": &r.driven.pot, "scripts that wait": &r.driven.queue} {
		if len(p.shares) != 0 {
			t.Errorf("%s: %d shares", of, len(p.shares))
		}
	}
	p := pot{unit: 1}
	for n := range sharesMax + 10 {
		s := p.of(fmt.Sprint(n))
		if s.take(1, true) == nil {
			t.Fatal("there is something")
		}
		s.letGo()
	}
	if len(p.shares) != sharesMax {
		t.Errorf("%d shares of those that were refused", len(p.shares))
	}
}

func TestCallsThatWaitHaveALimitForAllModules(t *testing.T) {
	r := open(t, Options{QueueMax: 8})
	one := weft.Limits{Concurrency: 1}
	greedy, quiet := owned(t, r, "greedy/all:1.0.0", one), owned(t, r, "quiet/shop:1.0.0", one)
	ctx, cancel := context.WithCancel(context.Background())
	var calls sync.WaitGroup
	defer calls.Wait()
	defer cancel()
	env := newEnv()
	env.block = true
	wait := func(m *Module, n int) {
		for range n + 1 {
			calls.Go(func() { m.Call(ctx, env, "call", Input{}) })
		}
		for m.Stats().Waiting < n {
			time.Sleep(time.Millisecond)
		}
	}
	wait(greedy, 7)
	_, err := greedy.Call(ctx, nil, "noop", Input{})
	if weft.CodeOf(err) != weft.ResourceExhausted || !errors.Is(err, LimitQueue) || !strings.Contains(err.Error(), "namespace greedy has so much of the 8 calls that wait of all guests that what is left is for others; call it less often") {
		t.Errorf("the greedy one is told: %v", err)
	}
	if n, no := used(r, "greedy", "calls_waiting"); n != 7 || no != 1 {
		t.Errorf("%d wait, %d were refused", n, no)
	}
	wait(quiet, 1)
}

func TestPlacesGoToNamespacesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := newTurns("places", 1, 100)
		var mu sync.Mutex
		var order []string // guarded by mu
		var all sync.WaitGroup
		enter := func(ctx context.Context, ns, name string) {
			all.Go(func() {
				if err := places.enter(ctx, ns, nil); err != nil {
					name += " left"
				} else {
					defer places.leave(ns)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				time.Sleep(time.Second)
			})
			synctest.Wait()
		}
		gone, leave := context.WithCancel(t.Context())
		for _, name := range []string{"a1", "a2", "a3", "a4"} {
			enter(t.Context(), "a", name)
		}
		enter(t.Context(), "b", "b1")
		enter(gone, "b", "b2")
		enter(t.Context(), "c", "c1")
		enter(t.Context(), "b", "b3")
		leave()
		all.Wait()
		if want := []string{"a1", "b2 left", "a2", "b1", "c1", "a3", "b3", "a4"}; !slices.Equal(order, want) {
			t.Errorf("got %v, want %v", order, want)
		}
		if places.used.Load() != 0 || places.queue.used.Load() != 0 || len(places.lines) != 0 {
			t.Errorf("%d have a place, %d wait, %d lines", places.used.Load(), places.queue.used.Load(), len(places.lines))
		}
	})
}

func TestNamespacesHaveThePlacesThatOthersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := newTurns("places", 8, 8)
		took := map[string]int{} // each by one goroutine that runs
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		enter := func(ns string) {
			go func() {
				if places.enter(ctx, ns, nil) == nil {
					took[ns]++
				}
			}()
			synctest.Wait()
		}
		for range 20 {
			enter("a")
		}
		if _, waiting := places.of("a").used, places.queue.used.Load(); took["a"] != 7 || waiting != 7 {
			t.Fatalf("it has %d places, %d wait", took["a"], waiting)
		}
		enter("b")
		if took["b"] != 1 {
			t.Error("another has no place")
		}
		enter("b")
		places.leave("a")
		synctest.Wait()
		if took["a"] != 7 || took["b"] != 2 {
			t.Errorf("a place that was given back went to %v", took)
		}
		places.leave("b")
		places.leave("b")
		synctest.Wait()
		if took["a"] != 8 || places.of("a").used != 7 {
			t.Errorf("nobody else wants places, and one is left: %v", took)
		}
	})
}

// TestAnUploadIsCheckedBetweenThoseOfAnother uploads one module while another namespace has
// many waiting.
func TestAnUploadIsCheckedBetweenThoseOfAnother(t *testing.T) {
	r := open(t, Options{ChecksMax: 1})
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const many = 40
	for range many {
		all.Go(func() { r.CheckFor(ctx, "greedy", guest) })
	}
	for n, _ := used(r, "greedy", "checks_waiting"); n < many-1; n, _ = used(r, "greedy", "checks_waiting") {
		time.Sleep(time.Millisecond)
	}
	before, _ := used(r, "greedy", "checks_waiting")
	if _, err := r.CheckFor(ctx, "quiet", guest); err != nil {
		t.Fatal(err)
	}
	if after, _ := used(r, "greedy", "checks_waiting"); before-after > 3 {
		t.Errorf("%d of another's were checked before it", before-after)
	}
}

// TestWhoHasNoTurnIsToldWhy drives a module of the host's own, of which one call is allowed
// at once and one may wait.
func TestWhoHasNoTurnIsToldWhy(t *testing.T) {
	r := open(t, Options{Limits: weft.Limits{Concurrency: 1, Queue: 1, TimeoutMS: 2_000}})
	m, err := r.Own(context.Background(), guest, "the script", nil, weft.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	in, goOn := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 2)
	drive := func(ctx context.Context, ns string, do func(*Guest) error) error { return m.Drive(ctx, ns, nil, do) }
	nothing := func(*Guest) error { return nil }
	waiting := func() {
		go func() { ended <- drive(context.Background(), "b", nothing) }()
		for m.Stats().Waiting < 1 {
			time.Sleep(time.Millisecond)
		}
	}
	go func() {
		ended <- drive(context.Background(), "a", func(*Guest) error { close(in); <-goOn; return nil })
	}()
	<-in
	gone, leave := context.WithCancel(context.Background())
	leave()
	if err := drive(gone, "b", nothing); weft.CodeOf(err) != weft.Canceled {
		t.Errorf("who has left: %v", err)
	}
	waiting()
	if err := drive(context.Background(), "c", nothing); !errors.Is(err, LimitQueue) || weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "the script cannot wait for its turn (limits.queue): all guests together have their limit of 1 scripts that wait; call it less often") {
		t.Errorf("one too many: %v", err)
	}
	if err := <-ended; !errors.Is(err, LimitConcurrency) || weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "the script did not have its turn in time: others did not end") {
		t.Errorf("who has waited for as long as a call may take: %v", err)
	}
	if s := m.Stats(); s.Limits[LimitQueue] != 1 || s.Limits[LimitConcurrency] != 1 || s.Running != 1 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	waiting()
	closed := make(chan error, 1)
	go func() { closed <- m.Close(context.Background()) }()
	if err := <-ended; weft.CodeOf(err) != weft.Unavailable {
		t.Errorf("who waits when all is closed: %v", err)
	}
	close(goOn)
	if err := errors.Join(<-ended, <-closed); err != nil {
		t.Error(err)
	}
}

func TestChecksThatWaitHaveALimit(t *testing.T) {
	r := open(t, Options{})
	r.checks = newTurns("checks of uploads", 1, 1)
	if err := r.checks.enter(context.Background(), "a", nil); err != nil {
		t.Fatal(err)
	}
	first := make(chan error)
	go func() {
		_, err := r.CheckFor(context.Background(), "b", guest)
		first <- err
	}()
	for r.checks.queue.used.Load() < 1 {
		time.Sleep(time.Millisecond)
	}
	_, err := r.CheckFor(context.Background(), "c", guest)
	if weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "the module cannot be checked now: all guests together have their limit of 1 checks of uploads that wait; try it again later") {
		t.Errorf("one too many: %v", err)
	}
	r.checks.leave("a")
	if err := <-first; err != nil {
		t.Error(err)
	}
}
