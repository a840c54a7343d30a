package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// switchboard stands for a world of peers, each of which answers, hangs or is open.
type switchboard struct {
	mu    sync.Mutex
	hang  map[string]chan struct{} // answers when it is closed
	open  map[string]time.Time     // takes no calls until then
	asked map[string][]string      // idempotency keys of the calls, by peer
	cut   map[string]int           // calls that were cut off
	now   int                      // calls in flight
	most  int                      // that were in flight at once
}

func (s *switchboard) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	s.mu.Lock()
	s.asked[r.Peer] = append(s.asked[r.Peer], r.IdempotencyKey)
	s.now++
	s.most = max(s.most, s.now)
	hang, until := s.hang[r.Peer], s.open[r.Peer]
	s.mu.Unlock()
	defer s.set(func() { s.now-- })
	if !until.IsZero() {
		return weft.Response{}, &weft.OpenError{Namespace: ns, Peer: r.Peer, Until: until, Reason: "down"}
	}
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			s.set(func() { s.cut[r.Peer]++ })
			return weft.Response{}, ctx.Err()
		}
	}
	return weft.Response{Status: 200, Body: []byte(`"` + r.Peer + `"`)}, nil
}

func (s *switchboard) set(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

func (s *switchboard) calls(peer string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked[peer])
}

// hangs makes peers hang until the answer is called.
func (s *switchboard) hangs(peers ...string) (answer func()) {
	c := make(chan struct{})
	s.set(func() {
		for _, p := range peers {
			s.hang[p] = c
		}
	})
	return sync.OnceFunc(func() { close(c) })
}

// newSwitched is a house whose world is a switchboard.
func newSwitched(t *testing.T, o engine.Options) (*house, *switchboard) {
	t.Helper()
	h := newHouse(t)
	s := &switchboard{hang: map[string]chan struct{}{}, open: map[string]time.Time{}, asked: map[string][]string{}, cut: map[string]int{}}
	h.out, h.opts = s, o
	h.restart()
	return h, s
}

// holds waits until something is so.
func holds(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if so() {
			return
		}
	}
	t.Fatalf("it never came that %s", what)
}

// forked is a fork of branches that each ask a peer.
func forked(compete string, peers ...string) string {
	var b strings.Builder
	b.WriteString("do:\n  - all:\n      fork:\n        compete: " + compete + "\n        branches:\n")
	for _, p := range peers {
		b.WriteString("          - " + p + ": { call: ask, with: { procedures: [" + p + "/Do] } }\n")
	}
	return b.String()
}

func TestBranchesCallAtTheSameTime(t *testing.T) {
	h, world := newSwitched(t, engine.Options{})
	answer := world.hangs("a", "b", "c")
	h.deploy("all", forked("false", "a", "b", "c"))
	id := h.start("all", "{}").ID
	holds(t, "all three are asked", func() bool { return world.calls("a")+world.calls("b")+world.calls("c") == 3 })
	answer()
	if run := h.wait(id); string(run.Output) != `[["a"],["b"],["c"]]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}

func TestTheCallsOfOneRunAreBounded(t *testing.T) {
	h, world := newSwitched(t, engine.Options{Calls: 2})
	peers := []string{"a", "b", "c", "d", "e"}
	answer := world.hangs(peers...)
	h.deploy("all", forked("false", peers...))
	id := h.start("all", "{}").ID
	holds(t, "two are asked", func() bool { return world.calls("a") == 1 && world.calls("b") == 1 })
	answer()
	if run := h.wait(id); string(run.Output) != `[["a"],["b"],["c"],["d"],["e"]]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	if world.most != 2 {
		t.Errorf("%d calls were in flight at once", world.most)
	}
}

func TestABranchGoesOnWhileAnotherIsSlow(t *testing.T) {
	h, world := newSwitched(t, engine.Options{})
	answer := world.hangs("slow")
	h.deploy("all", `do:
  - all:
      fork:
        branches:
          - slow: { call: ask, with: { procedures: [slow/Do] } }
          - steps: { for: { in: '${ [range(5)] }' }, do: [ { one: { call: count, with: { key: steps } } } ] }
          - timer: { do: [ { nap: { wait: { milliseconds: 50 } } }, { one: { call: count, with: { key: timer } } } ] }
          - event: { do: [ { told: { listen: { to: { one: { with: { type: told } } } } } }, { one: { call: count, with: { key: event } } } ] }
      output: { as: '${ .[0] }' }
`)
	id := h.start("all", "{}").ID
	holds(t, "the slow peer is asked", func() bool { return world.calls("slow") == 1 })
	if err := h.Accept(t.Context(), ns, weft.Event{ID: "1", Source: "/t", Type: "told"}, nil); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"steps": "5", "timer": "1", "event": "1"} {
		holds(t, "the branch "+key+" is done", func() bool { return strings.HasSuffix(h.count(key), ":"+want+"}") })
	}
	if run, err := h.Run(t.Context(), ns, id); err != nil || run.Status != engine.Running {
		t.Errorf("%+v %v", run, err)
	}
	answer()
	if run := h.wait(id); string(run.Output) != `["slow"]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}

func TestARunIsParkedWhenAllItsBranchesWait(t *testing.T) {
	h, world := newSwitched(t, engine.Options{})
	answer := world.hangs("slow")
	world.open["bank"] = time.Now().Add(time.Hour)
	world.open["post"] = time.Now().Add(2 * time.Hour)
	h.deploy("all", forked("false", "bank", "slow", "quick", "post"))
	id := h.start("all", "{}").ID
	holds(t, "the run says what it waits for while a call is in flight", func() bool {
		run, err := h.Run(t.Context(), ns, id)
		return err == nil && run.Status == engine.Running && run.Peer == "bank" && strings.Contains(run.Reason, "peer bank") &&
			strings.Contains(run.Reason, "peer post") && strings.Contains(run.Reason, "handler ask")
	})
	answer()
	run := h.until(id, engine.Parked)
	if run.Peer != "bank" || !strings.Contains(run.Reason, "peer bank") || !strings.Contains(run.Reason, "peer post") || strings.Contains(run.Reason, "handler") {
		t.Errorf("parked on %q because %q", run.Peer, run.Reason)
	}
	h.restart()
	world.set(func() { delete(world.open, "bank") })
	h.Wake(ns, "bank")
	holds(t, "the run waits for the other peer", func() bool {
		run, err := h.Run(t.Context(), ns, id)
		return err == nil && run.Status == engine.Parked && run.Peer == "post" && !strings.Contains(run.Reason, "bank")
	})
	world.set(func() { delete(world.open, "post") })
	h.Wake(ns, "post")
	if run := h.wait(id); string(run.Output) != `[["bank"],["slow"],["quick"],["post"]]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	if world.calls("quick") != 1 || world.calls("slow") != 1 {
		t.Errorf("what was answered was asked again: %v", world.asked)
	}
}

// The row of a run names one peer. When another is back earlier, and nobody tries
// this run for the first, it goes on with the other all the same.
func TestARunThatWaitsForTwoPeersGoesOnWithWhicheverIsBack(t *testing.T) {
	for name, between := range map[string]func(*house){"at once": func(*house) {}, "after a restart": (*house).restart} {
		t.Run(name, func(t *testing.T) {
			h, world := newSwitched(t, engine.Options{})
			world.open["bank"] = time.Now().Add(300 * time.Millisecond)
			world.open["post"] = time.Now().Add(600 * time.Millisecond)
			h.deploy("one", forked("false", "bank"))
			h.deploy("two", forked("false", "bank", "post"))
			first := h.start("one", "{}").ID // it is the one that tries the bank
			h.until(first, engine.Parked)
			second := h.start("two", "{}").ID
			h.until(second, engine.Parked)
			world.set(func() {
				world.open["bank"] = time.Now().Add(time.Hour)
				delete(world.open, "post")
			})
			between(h)
			holds(t, "the post is called, and the bank waited for", func() bool {
				run, err := h.Run(t.Context(), ns, second)
				return err == nil && run.Status == engine.Parked && run.Peer == "bank" && !strings.Contains(run.Reason, "post")
			})
			world.set(func() { delete(world.open, "bank") })
			h.Wake(ns, "bank")
			if run := h.wait(second); string(run.Output) != `[["bank"],["post"]]` {
				t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
			}
		})
	}
}

func TestALoserIsCutOffAndLeavesNothing(t *testing.T) {
	h, world := newSwitched(t, engine.Options{})
	world.hangs("loser")
	h.deploy("race", forked("true", "loser")+`          - winner: { listen: { to: { one: { with: { type: won } } } } }
          - later: { do: [ { never: { wait: PT1H } }, { count: { call: count, with: { key: loser } } } ] }
  - after: { set: '${ {won: .} }' }
`)
	id := h.start("race", "{}").ID
	holds(t, "the loser has called", func() bool { return world.calls("loser") == 1 })
	if err := h.Accept(t.Context(), ns, weft.Event{ID: "1", Source: "/t", Type: "won", Data: []byte("7")}, nil); err != nil {
		t.Fatal(err)
	}
	if run := h.wait(id); string(run.Output) != `{"won":[7]}` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	holds(t, "the loser's call is cut off", func() bool {
		world.mu.Lock()
		defer world.mu.Unlock()
		return world.cut["loser"] == 1
	})
	v, err := h.db.State().Get(store.StateKey{Namespace: ns, Module: "probe", Key: "asked"})
	if err != nil || v.Bytes != nil {
		t.Errorf("the loser has written %q %v", v.Bytes, err)
	}
}

func TestTheCallOfALoserIsNotMadeOnceTheWinnerIsKnown(t *testing.T) {
	h, world := newSwitched(t, engine.Options{Calls: 1})
	h.deploy("race", forked("true", "winner", "loser"))
	if run := h.wait(h.start("race", "{}").ID); string(run.Output) != `["winner"]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	if n := world.calls("loser"); n != 0 {
		t.Errorf("the loser was asked %d times", n)
	}
}

func TestBranchesGoOnAfterARestart(t *testing.T) {
	h, world := newSwitched(t, engine.Options{DrainMax: 50 * time.Millisecond})
	world.hangs("slow", "slower")
	h.deploy("all", forked("false", "quick", "slow", "slower")+"  - after: { call: count, with: { key: after } }\n")
	id := h.start("all", "{}").ID
	holds(t, "the quick one is answered and the slow ones are asked", func() bool {
		_, steps, err := h.Describe(t.Context(), ns, id)
		return err == nil && len(steps) == 4 && steps[1].Status == "completed" && world.calls("slow") == 1 && world.calls("slower") == 1
	})
	h.close()
	world.set(func() { clear(world.hang) })
	h.open()
	if run := h.wait(id); string(run.Output) != `{"count":1,"key":"after"}` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	for peer, want := range map[string]int{"quick": 1, "slow": 2, "slower": 2} {
		keys := world.asked[peer]
		if len(keys) != want || len(slices.Compact(slices.Clone(keys))) != 1 {
			t.Errorf("%s was asked with the keys %q", peer, keys)
		}
	}
}

func TestARaceCancelsTheRunsOfItsLosers(t *testing.T) {
	h, world := newSwitched(t, engine.Options{DrainMax: 50 * time.Millisecond})
	answer := world.hangs("winner")
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	child := "{ run: { workflow: { namespace: test, name: nap, version: '1.0.0' } } }"
	h.deploy("race", forked("true", "winner")+"          - one: "+child+"\n          - two: { do: [ { inner: "+child+" } ] }\n")
	id := h.start("race", "{}").ID
	holds(t, "both runs have begun", func() bool { return len(h.children(id)) == 2 })
	h.restart()
	children := h.children(id)
	answer()
	if run := h.wait(id); string(run.Output) != `["winner"]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	for _, c := range children {
		h.until(c.ID, engine.Cancelled)
	}
}

// TestManyForksAtOnce lets many runs with many branches write to one counter;
// the race detector watches.
func TestManyForksAtOnce(t *testing.T) {
	h, _ := newSwitched(t, engine.Options{Calls: 4, StaleMax: 1000})
	var b strings.Builder
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		b.WriteString("          - " + name + ": { for: { in: '${ [range(3)] }' }, do: [ { one: { call: count, with: { key: many } } } ] }\n")
	}
	h.deploy("many", "do:\n  - all:\n      fork:\n        branches:\n"+b.String())
	var ids []string
	for range 8 {
		ids = append(ids, h.start("many", "{}").ID)
	}
	for _, id := range ids {
		if run := h.wait(id); run.Status != engine.Completed {
			t.Fatalf("%s %+v", run.Status, run.Fault)
		}
	}
	if got := h.count("many"); got != `{"key":"many","count":144}` {
		t.Errorf("the count is %s", got)
	}
}

func TestAListenToSeveralEventsGoesOnAfterARestart(t *testing.T) {
	h, _ := newSwitched(t, engine.Options{DrainMax: 50 * time.Millisecond})
	h.deploy("talk", `do:
  - talk:
      listen:
        to:
          any: [ { with: { type: said }, correlate: { room: { from: .room } } } ]
          until: { one: { with: { type: left }, correlate: { room: { from: .room } } } }
      foreach: { do: [ { one: { call: count, with: { key: '${ $item }' } } } ], output: { as: .count } }
`)
	id := h.start("talk", "{}").ID
	for i, e := range []struct{ kind, room, data string }{
		{"said", "a", `"x"`}, {"said", "b", `"x"`}, {"left", "b", `0`}, {"said", "a", `"x"`}, {"said", "a", `"x"`}, {"left", "a", `0`},
	} {
		h.until(id, engine.Parked)
		ev := weft.Event{ID: string(rune('0' + i)), Source: "/t", Type: e.kind, Data: []byte(e.data), Extensions: map[string]string{"room": e.room}}
		if err := h.Accept(t.Context(), ns, ev, nil); err != nil {
			t.Fatal(err)
		}
		h.restart()
	}
	if run := h.wait(id); string(run.Output) != `[1,2,3]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
}
