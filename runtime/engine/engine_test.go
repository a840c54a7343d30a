package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/probe"
	"github.com/weftrun/weft/workflows/machine"
)

func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "weft-engine-test"); err == nil {
		check, err = probe.Check(scratch)
	}
	if err == nil {
		err = probe.Engine(scratch)
	}
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(scratch)
	os.Exit(code)
}

// All tests share a folder of compiled modules and the child that checks them.
var (
	scratch string
	check   []string
)

const ns = "default"

// house is an engine with all below it, on a file that can be opened again.
type house struct {
	t    *testing.T
	path string
	sync string // of the store
	room int64  // of the store: SpaceMin
	mute bool   // it runs no scripts
	gate *fakeGate
	out  engine.Outbound
	opts engine.Options
	disk func(store.Moment) error
	db   *store.DB
	rt   *wasm.Runtime
	cat  *catalog.Catalog
	*engine.Engine
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, path: filepath.Join(t.TempDir(), "weft.db"), gate: &fakeGate{answer: `{"ok":true}`}}
	h.out = h.gate
	h.open()
	if _, err := h.cat.Push(t.Context(), ns, catalog.Push{Wasm: probe.Wasm(t), Manifest: probe.Manifest(), Grant: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h
}

func (h *house) open() {
	h.t.Helper()
	ctx := context.Background()
	var err error
	if h.db, err = store.Open(ctx, store.Options{Path: h.path, Sync: h.sync, SpaceMin: h.room, Fault: h.disk}); err != nil {
		h.t.Fatal(err)
	}
	if h.rt, err = wasm.Open(ctx, wasm.Options{CacheDir: filepath.Join(scratch, "cache"), Check: check, CheckMax: patience}); err != nil {
		h.t.Fatal(err)
	}
	if h.opts.Scripts = script.New(h.rt); h.mute {
		h.opts.Scripts = nil
	}
	if h.cat, err = catalog.Open(ctx, h.db, h.rt, catalog.Options{Scripts: h.opts.Scripts}); err != nil {
		h.t.Fatal(err)
	}
	h.Engine = engine.New(h.db, h.cat, h.out, h.opts)
	if err := h.Start(ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) close() {
	if err := errors.Join(h.Close(context.Background()), h.db.Close(), h.rt.Close(context.Background())); err != nil {
		h.t.Error(err)
	}
}

// restart closes everything and opens it again on the same file.
func (h *house) restart() { h.close(); h.open() }

func (h *house) deploy(name, do string) {
	h.t.Helper()
	src := "document: { dsl: '1.0.3', namespace: test, name: " + name + ", version: '1.0.0' }\n" + do
	if _, err := h.cat.Apply(h.t.Context(), ns, name+".yaml", []byte(src)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) start(workflow, input string) engine.Run {
	h.t.Helper()
	run, _, err := h.StartRun(h.t.Context(), engine.StartRun{Namespace: ns, Workflow: workflow, Input: []byte(input)})
	if err != nil {
		h.t.Fatal(err)
	}
	return run
}

func (h *house) wait(id string) engine.Run {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	run, err := h.Wait(ctx, ns, id)
	if err != nil {
		now, _ := h.Run(h.t.Context(), ns, id)
		h.t.Fatalf("run %s has not ended: %v (it is %s: %s)", id, err, now.Status, now.Reason)
	}
	return run
}

// until waits for a status.
func (h *house) until(id string, want engine.Status) engine.Run {
	h.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		run, err := h.Run(h.t.Context(), ns, id)
		if err != nil {
			h.t.Fatal(err)
		}
		if run.Status == want {
			return run
		}
	}
	run, _ := h.Run(h.t.Context(), ns, id)
	h.t.Fatalf("run %s is %s (%s) and not %s", id, run.Status, run.Reason, want)
	return run
}

func (h *house) count(key string) string {
	h.t.Helper()
	r, err := h.Call(h.t.Context(), weft.Call{Namespace: ns, Handler: weft.Ref{Name: "read"}, Input: []byte(`{"key":"` + key + `"}`)})
	if err != nil {
		h.t.Fatal(err)
	}
	return string(r.Output)
}

// fakeGate stands for the world: it answers, or is open.
type fakeGate struct {
	mu     sync.Mutex
	answer string
	open   *weft.OpenError
	err    error
	hang   bool
	keys   []string
	calls  atomic.Int64
}

func (g *fakeGate) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	g.mu.Lock()
	g.keys = append(g.keys, r.IdempotencyKey)
	open, err, hang, answer := g.open, g.err, g.hang, g.answer
	g.mu.Unlock()
	g.calls.Add(1)
	switch {
	case open != nil:
		return weft.Response{}, open
	case err != nil:
		return weft.Response{}, err
	case hang:
		<-ctx.Done()
		return weft.Response{}, ctx.Err()
	}
	return weft.Response{Status: 200, Headers: map[string]string{"content-type": "application/json"}, Body: []byte(answer)}, nil
}

func (g *fakeGate) set(fn func(*fakeGate)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn(g)
}

func TestAFailedDiskIsToldToAllWhoStart(t *testing.T) {
	h := newHouse(t)
	h.deploy("one", "do:\n  - it: { set: { a: 1 } }\n")
	fail, waiting := make(chan struct{}), make(chan struct{}, 9)
	h.close()
	h.disk = func(store.Moment) error { waiting <- struct{}{}; <-fail; return errors.New("no disk") }
	h.open()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, _, err := h.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: "one", Key: "once"})
			if weft.CodeOf(err) != weft.Unavailable {
				t.Errorf("told %v", err)
			}
		})
	}
	<-waiting
	close(fail)
	wg.Wait()
	if err := h.Close(t.Context()); weft.CodeOf(err) != weft.Unavailable {
		t.Errorf("close says %v", err)
	}
	if err := errors.Join(h.db.Close(), h.rt.Close(t.Context())); err != nil {
		t.Error(err)
	}
	h.disk = nil
	h.open()
}

func TestARefusalIsNotToldBeforeItsReasonIsDurable(t *testing.T) {
	h := newHouse(t)
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: shop.answer } } } } }\n")
	id := h.start("hear", "{}").ID
	h.until(id, engine.Parked)
	h.close()
	waiting, fail := make(chan struct{}, 9), make(chan struct{})
	h.disk = func(store.Moment) error { waiting <- struct{}{}; <-fail; return errors.New("no disk") }
	h.open()
	var wg sync.WaitGroup
	told := make([]error, 2)
	wg.Go(func() { _, told[0] = h.Cancel(context.Background(), ns, id, "first") })
	<-waiting // the cancel is decided, and on its way to the disk
	wg.Go(func() { _, told[1] = h.Cancel(context.Background(), ns, id, "second") })
	time.Sleep(50 * time.Millisecond) // a wrong answer would be there by now; a right one waits
	close(fail)
	wg.Wait()
	for _, err := range told {
		if weft.CodeOf(err) != weft.Unavailable {
			t.Errorf("told %v, and the run is not cancelled", err)
		}
	}
	_ = h.Close(t.Context()) // the disk is gone
	if err := errors.Join(h.db.Close(), h.rt.Close(t.Context())); err != nil {
		t.Error(err)
	}
	h.disk = nil
	h.open()
	if run, err := h.Run(t.Context(), ns, id); err != nil || run.Status != engine.Parked {
		t.Errorf("%s %v", run.Status, err)
	}
}

const tenSteps = `do:
  - start: { set: { key: ten } }
  - all:
      for: { each: i, in: '${ [range(10)] }' }
      do:
        - step: { call: count, with: { key: '${ $workflow.input.key }' } }
  - done: { set: { count: '${ .count }' } }
`

func TestTenHandlerStepsCountTenAndPublishTen(t *testing.T) {
	h := newHouse(t)
	h.deploy("ten", tenSteps)
	run := h.wait(h.start("ten", `{"key":"a"}`).ID)
	if run.Status != engine.Completed || string(run.Output) != `{"count":10}` {
		t.Fatalf("%s %s %v", run.Status, run.Output, run.Fault)
	}
	if got := h.count("a"); got != `{"key":"a","count":10}` {
		t.Errorf("state is %s", got)
	}
	events, err := h.db.Messages(t.Context(), ns, 0, 100)
	if err != nil || len(events) != 10 {
		t.Errorf("%d events, %v", len(events), err)
	}
	_, steps, err := h.Describe(t.Context(), ns, run.ID)
	if err != nil || len(steps) != 13 {
		t.Errorf("%d steps, %v", len(steps), err)
	}
}

func TestManyRunsShareOneCounterWithoutLosingAny(t *testing.T) {
	h := newHouse(t)
	h.deploy("ten", tenSteps)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			run, _, err := h.StartRun(context.Background(), engine.StartRun{Namespace: ns, Workflow: "ten", Input: []byte(`{"key":"shared"}`)})
			if err != nil {
				t.Error(err)
				return
			}
			if run, err = h.Wait(context.Background(), ns, run.ID); err != nil || run.Status != engine.Completed {
				t.Error(run.Status, run.Fault, err)
			}
		})
	}
	wg.Wait()
	if got := h.count("shared"); got != `{"key":"shared","count":200}` {
		t.Errorf("state is %s", got)
	}
}

func TestAFailedHandlerLeavesNothing(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		call  string
		fault string
		code  int
	}{
		{"call: fail\n      with: { code: 9 }", "asked to fail", 0},
		{"call: boom", "boom", 500},
	} {
		name := fmt.Sprintf("f%d", c.code)
		h.deploy(name, "do:\n  - it:\n      "+c.call+"\n")
		run := h.wait(h.start(name, "{}").ID)
		if run.Status != engine.Faulted || !strings.Contains(run.Fault.Detail, c.fault) {
			t.Errorf("%s: %s %+v", c.call, run.Status, run.Fault)
		}
	}
	if got := h.count("failed"); got != `{"key":"failed","count":0}` {
		t.Errorf("the write of a failed handler is there: %s", got)
	}
}

func TestTheSameKeyStartsOneRun(t *testing.T) {
	h := newHouse(t)
	h.deploy("ten", tenSteps)
	ids := make([]string, 30)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			run, _, err := h.StartRun(context.Background(), engine.StartRun{Namespace: ns, Workflow: "ten", Input: []byte(`{"key":"k"}`), Key: "once"})
			if err != nil {
				t.Error(err)
			}
			ids[i] = run.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two runs: %s and %s", ids[0], id)
		}
	}
	h.wait(ids[0])
	if got := h.count("k"); got != `{"key":"k","count":10}` {
		t.Errorf("state is %s", got)
	}
}

func TestARunWaitsAndGoesOnAfterARestart(t *testing.T) {
	h := newHouse(t)
	h.deploy("later", "do:\n  - pause: { wait: { seconds: 3 } }\n  - go: { call: count, with: { key: late } }\n")
	id := h.start("later", "{}").ID
	if run := h.until(id, engine.Parked); run.Wake.IsZero() || !strings.Contains(run.Reason, "timer") {
		t.Errorf("parked until %v because %q", run.Wake, run.Reason)
	}
	h.restart()
	if run := h.wait(id); run.Status != engine.Completed || string(run.Output) != `{"count":1,"key":"late"}` {
		t.Fatalf("%s %s %v", run.Status, run.Output, run.Fault)
	}
}

func TestAnOpenBreakerParksAndBurnsNoAttempt(t *testing.T) {
	h := newHouse(t)
	h.deploy("ask", "do:\n  - it: { call: ask, with: { procedures: [bank/Charge] } }\n")
	h.gate.set(func(g *fakeGate) {
		g.open = &weft.OpenError{Namespace: ns, Peer: "bank", Until: time.Now().Add(time.Hour), Reason: "5 failures: connection refused"}
	})
	var ids []string
	for range 5 {
		ids = append(ids, h.start("ask", "{}").ID)
	}
	for _, id := range ids {
		run := h.until(id, engine.Parked)
		if run.Peer != "bank" || !strings.Contains(run.Reason, "5 failures: connection refused") {
			t.Errorf("parked on %q because %q", run.Peer, run.Reason)
		}
	}
	h.restart() // parked runs are rows; the restart tries one of them
	h.until(ids[0], engine.Parked)
	h.gate.set(func(g *fakeGate) { g.open = nil })
	h.Wake(ns, "bank")
	for _, id := range ids {
		run := h.wait(id)
		if run.Status != engine.Completed {
			t.Fatalf("%s %+v", run.Status, run.Fault)
		}
		_, steps, err := h.Describe(t.Context(), ns, id)
		if err != nil || len(steps) != 1 || steps[0].Attempt > 1 {
			t.Errorf("%+v %v", steps, err)
		}
	}
}

// Who calls a handler outside a workflow hears at once that its peer is open, and
// when to come again.
func TestAHandlerWhosePeerIsOpenSaysWhenToComeAgain(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		open *weft.OpenError
		want []string
	}{
		"until a time":           {&weft.OpenError{Namespace: ns, Peer: "bank", Until: time.Now().Add(time.Hour), Reason: "down"}, []string{"3600"}},
		"until somebody says so": {&weft.OpenError{Namespace: ns, Peer: "bank", Reason: "by hand"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h.gate.set(func(g *fakeGate) { g.open = c.open })
			res, err := h.Call(t.Context(), weft.Call{Namespace: ns, Handler: weft.Ref{Name: "ask"}, Input: []byte(`{"procedures":["bank/Charge"]}`)})
			if weft.CodeOf(err) != weft.Unavailable || !strings.Contains(err.Error(), c.open.Reason) {
				t.Errorf("%v", err)
			}
			if got := res.Headers["retry-after"]; len(got) != len(c.want) || len(got) > 0 && !near(got[0], c.want[0]) {
				t.Errorf("retry-after %q, want %q", got, c.want)
			}
		})
	}
}

// near reports whether seconds are a minute less at most.
func near(got, most string) bool {
	g, err := strconv.Atoi(got)
	m, _ := strconv.Atoi(most)
	return err == nil && g <= m && g >= m-60
}

func TestAPatientStepGivesUpAfterItsLimit(t *testing.T) {
	h := newHouse(t)
	h.deploy("ask", "do:\n  - it: { call: ask, with: { procedures: [bank/Charge] }, metadata: { weft: { park: PT0.3S } } }\n")
	h.gate.set(func(g *fakeGate) {
		g.open = &weft.OpenError{Namespace: ns, Peer: "bank", Until: time.Now().Add(time.Hour), Reason: "gone"}
	})
	if run := h.wait(h.start("ask", "{}").ID); run.Status != engine.Faulted || run.Fault.Status != 503 {
		t.Fatalf("%s %+v", run.Status, run.Fault)
	}
}

func TestWhatTheWorldAnsweredIsNotAskedAgainAfterARestart(t *testing.T) {
	h := newHouse(t)
	h.deploy("ask", "do:\n  - it: { call: ask, with: { procedures: [bank/One, bank/Two] } }\n")
	// The second call parks: by then the answer to the first is noted.
	gate := &secondOpen{}
	h.close()
	h.out = gate
	h.open()
	id := h.start("ask", "{}").ID
	h.until(id, engine.Parked)
	h.close()
	gate.heal.Store(true)
	h.open()
	if run := h.wait(id); run.Status != engine.Completed || string(run.Output) != `[{"n":1},{"n":2}]` {
		t.Fatalf("%s %s %+v", run.Status, run.Output, run.Fault)
	}
	if n := gate.ones.Load(); n != 1 {
		t.Errorf("the first call was made %d times", n)
	}
}

type secondOpen struct {
	heal atomic.Bool
	ones atomic.Int64
}

func (g *secondOpen) Do(_ context.Context, r weft.Request) (weft.Response, error) {
	if strings.HasSuffix(r.Procedure, "One") {
		g.ones.Add(1)
		return weft.Response{Status: 200, Body: []byte(`{"n":1}`)}, nil
	}
	if !g.heal.Load() {
		return weft.Response{}, &weft.OpenError{Namespace: ns, Peer: "bank", Until: time.Now().Add(100 * time.Millisecond), Reason: "down"}
	}
	return weft.Response{Status: 200, Body: []byte(`{"n":2}`)}, nil
}

func TestCancelCutsACallOffAndPauseHoldsARun(t *testing.T) {
	h := newHouse(t)
	h.gate.set(func(g *fakeGate) { g.hang = true })
	h.deploy("ask", "do:\n  - it: { call: ask, with: { procedures: [bank/Charge] } }\n")
	id := h.start("ask", "{}").ID
	for h.gate.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if run, err := h.Cancel(t.Context(), ns, id, "not wanted"); err != nil || run.Status != engine.Cancelled || run.Reason != "not wanted" {
		t.Fatalf("%+v %v", run, err)
	}
	if _, err := h.Cancel(t.Context(), ns, id, ""); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("second cancel: %v", err)
	}
	h.deploy("later", "do:\n  - pause: { wait: { seconds: 2 } }\n  - go: { set: { ok: true } }\n")
	id = h.start("later", "{}").ID
	if run, err := h.Pause(t.Context(), ns, id, "by hand"); err != nil || run.Status != engine.Parked {
		t.Fatalf("%+v %v", run, err)
	}
	time.Sleep(2100 * time.Millisecond) // its time has come
	if run, _ := h.Run(t.Context(), ns, id); run.Status != engine.Parked {
		t.Errorf("a paused run went on: %s", run.Status)
	}
	if _, err := h.Resume(t.Context(), ns, id); err != nil {
		t.Fatal(err)
	}
	if run := h.wait(id); string(run.Output) != `{"ok":true}` {
		t.Errorf("%s", run.Output)
	}
}

func TestAnEventStartsARunAndReachesAListeningOneOnce(t *testing.T) {
	h := newHouse(t)
	h.deploy("on", "schedule: { on: { one: { with: { type: shop.in } } } }\ndo:\n  - it: { call: count, with: { key: started } }\n")
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: shop.answer } } } } }\n")
	id := h.start("hear", "{}").ID
	h.until(id, engine.Parked)
	in := weft.Event{ID: "1", Source: "/test", Type: "shop.in", Data: []byte(`{"a":1}`), DataContentType: "application/json"}
	answer := weft.Event{ID: "2", Source: "/test", Type: "shop.answer", Data: []byte(`{"b":2}`), DataContentType: "application/json"}
	for range 3 { // as after a crash between the commit and the ack
		for _, ev := range []weft.Event{in, answer} {
			if err := h.Accept(t.Context(), ns, ev, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if run := h.wait(id); string(run.Output) != `[{"b":2}]` {
		t.Errorf("the listening run has %s", run.Output)
	}
	runs, _, err := h.List(t.Context(), engine.ListRuns{Namespace: ns, Workflow: "on"})
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	h.wait(runs[0].ID)
	if got := h.count("started"); got != `{"key":"started","count":1}` {
		t.Error(got)
	}
}

// Runs leave memory and come back while events for all of them arrive. One that
// came back as it had been before lost the events that it was given.
func TestEventsThatComeAtOnceAllReachTheirRuns(t *testing.T) {
	h := newHouse(t)
	h.sync = "normal" // more of them at once
	h.restart()
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: shop.answer }, correlate: { run: { from: '${ .subject }', expect: '${ $workflow.id }' } } } } } }\n")
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for round := range 60 {
				run, _, err := h.StartRun(t.Context(), engine.StartRun{Namespace: ns, Workflow: "hear"})
				if err != nil {
					t.Error(err)
					return
				}
				ev := weft.Event{ID: fmt.Sprint(worker, "-", round), Source: "/test", Type: "shop.answer", Subject: run.ID, Data: []byte(`1`), DataContentType: "application/json"}
				if err := h.Accept(t.Context(), ns, ev, nil); err != nil {
					t.Error(err)
					return
				}
				if run, err = h.Run(t.Context(), ns, run.ID); err != nil || run.Status != engine.Completed {
					t.Errorf("after its event was accepted, the run is %s: %v", run.Status, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestAnEventThatAFullInboxDropsIsInTheLog(t *testing.T) {
	h := newHouse(t)
	var log bytes.Buffer
	h.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	h.restart()
	h.deploy("busy", "do:\n  - later: { wait: PT1H }\n  - it: { listen: { to: { one: { with: { type: shop.answer } } } } }\n")
	id := h.start("busy", "{}").ID
	h.until(id, engine.Parked)
	for i := range machine.InboxBytesMax>>20 + 1 {
		ev := weft.Event{ID: fmt.Sprint("e", i), Source: "/test", Type: "shop.answer", Data: make([]byte, 1<<20)}
		if err := h.Accept(t.Context(), ns, ev, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.opts.Log = nil
	h.restart() // nothing writes to it any more
	if n := strings.Count(log.String(), "event dropped"); n != 1 || !strings.Contains(log.String(), "event=e16") || !strings.Contains(log.String(), "run="+id) {
		t.Errorf("the log says %d times that an event was dropped: %s", n, &log)
	}
}

func TestAnEventThatIsHandedInByManyAtOnceIsHeardOnce(t *testing.T) {
	h := newHouse(t)
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: shop.answer } } } } }\n"+
		"  - again: { listen: { to: { one: { with: { type: shop.answer } } } } }\n")
	id := h.start("hear", "{}").ID
	h.until(id, engine.Parked)
	for n := range 5 {
		ev := weft.Event{ID: fmt.Sprint(n / 4), Source: "/test", Type: "shop.answer", Data: []byte(`{}`), DataContentType: "application/json"}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := h.Accept(context.Background(), ns, ev, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		want := engine.Parked
		if n == 4 {
			want = engine.Completed
		}
		if run, err := h.Run(t.Context(), ns, id); err != nil || run.Status != want {
			t.Fatalf("after event %s the run is %s, %v", ev.ID, run.Status, err)
		}
	}
}

func TestADeliveredEventIsOneCommitWithItsAck(t *testing.T) {
	h := newHouse(t)
	acked := false
	ev := weft.Event{ID: "1", Source: "/test", Type: "probe.event", Data: []byte(`{"key":"x"}`), DataContentType: "application/json"}
	err := h.Deliver(t.Context(), ns, weft.Ref{Name: "seen"}, ev, func(tx *store.Tx) error { acked = true; _, err := tx.Receive("g", ev.Source, ev.ID); return err })
	if err != nil || !acked {
		t.Fatal(acked, err)
	}
	if got := h.count("seen-x"); got != `{"key":"seen-x","count":1}` {
		t.Error(got)
	}
}

func TestListPagesThroughTheNewestFirst(t *testing.T) {
	h := newHouse(t)
	h.deploy("one", "do:\n  - it: { set: { a: 1 } }\n")
	for range 5 {
		h.wait(h.start("one", "{}").ID)
	}
	var seen []string
	token := ""
	for {
		runs, next, err := h.List(t.Context(), engine.ListRuns{Namespace: ns, PageSize: 2, PageToken: token, Statuses: []engine.Status{engine.Completed}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range runs {
			seen = append(seen, r.ID)
		}
		if token = next; token == "" {
			break
		}
	}
	if len(seen) != 5 || seen[0] < seen[4] {
		t.Error(seen)
	}
	if runs, _, _ := h.List(t.Context(), engine.ListRuns{Namespace: "other"}); len(runs) != 0 {
		t.Error("another namespace sees the runs")
	}
	if _, err := h.Run(t.Context(), "other", seen[0]); weft.CodeOf(err) != weft.NotFound {
		t.Error("another namespace finds the run")
	}
}

func TestWatchSeesTheEnd(t *testing.T) {
	h := newHouse(t)
	h.deploy("later", "do:\n  - a: { wait: { seconds: 2 } }\n  - b: { set: { x: 1 } }\n")
	id := h.start("later", "{}").ID
	var last engine.Run
	n := 0
	err := h.Watch(t.Context(), ns, id, func(r engine.Run, _ []machine.Step) error { last = r; n++; return nil })
	if err != nil || last.Status != engine.Completed || n < 2 {
		t.Errorf("%d looks, last %s, %v", n, last.Status, err)
	}
}

func TestHowDeepACallSaysItIs(t *testing.T) {
	for header, want := range map[string]int{"": 0, "7": 7, "-1": 0, "deep": 0, "9223372036854775807": engine.CallDepthMax, "99999999999999999999": engine.CallDepthMax} {
		if got := engine.DepthOf(header); got != want {
			t.Errorf("%q: %d and not %d", header, got, want)
		}
	}
}
