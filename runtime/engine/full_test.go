package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// The disk is full in the middle of much work, and has room again after a while.
func TestAFullDiskLosesNothingAndWeftGoesOnByItself(t *testing.T) {
	h := newHouse(t)
	var full atomic.Bool
	h.close()
	h.disk = func(store.Moment) error {
		if full.Load() {
			return sqlite3.Error{Code: sqlite3.ErrFull}
		}
		return nil
	}
	h.open()
	h.deploy("ten", tenSteps)
	h.deploy("nap", "do:\n  - nap: { wait: PT0.2S }\n  - n: { call: count, with: { key: naps } }\n")
	var all sync.WaitGroup
	var mu sync.Mutex
	var begun []string
	var refused, called atomic.Int64
	stop, end := context.WithCancel(t.Context())
	defer end()
	for worker := range 8 {
		all.Go(func() {
			for i := 0; stop.Err() == nil; i++ {
				var err error
				if i%4 == 3 {
					if _, err = h.Call(stop, weft.Call{Namespace: ns, Handler: weft.Ref{Name: "count"}, Input: []byte(`{"key":"direct"}`)}); err == nil {
						called.Add(1)
					}
				} else {
					var run engine.Run
					name := []string{"ten", "nap"}[i%2]
					run, _, err = h.StartRun(stop, engine.StartRun{Namespace: ns, Workflow: name, Input: []byte(`{"key":"tens"}`), Key: fmt.Sprint(worker, "/", i)})
					if err == nil {
						mu.Lock()
						begun = append(begun, run.ID)
						mu.Unlock()
					}
				}
				if err != nil && stop.Err() == nil {
					refused.Add(1)
					if code := weft.CodeOf(err); code != weft.Unavailable && code != weft.Aborted {
						t.Errorf("told %v: %v", code, err)
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	acknowledged := func() int { mu.Lock(); defer mu.Unlock(); return len(begun) }
	for range 3 {
		for before := acknowledged(); acknowledged() < before+10; {
			time.Sleep(10 * time.Millisecond)
		}
		full.Store(true)
		for h.db.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := h.db.Err(); weft.CodeOf(err) != weft.Unavailable || !strings.Contains(err.Error(), "free some space, and weft goes on by itself") {
			t.Errorf("a full disk says %v", err)
		}
		mu.Lock()
		known := begun[0]
		mu.Unlock()
		if _, err := h.Run(t.Context(), ns, known); err != nil {
			t.Errorf("reading while the disk is full: %v", err)
		}
		full.Store(false)
		for h.db.Err() != nil {
			time.Sleep(time.Millisecond)
		}
	}
	time.Sleep(100 * time.Millisecond)
	end()
	all.Wait()
	h.restart() // now every start is durable or none
	if refused.Load() == 0 {
		t.Error("the full disk was met by nobody")
	}
	naps, tens := 0, 0
	runs, next, err := h.List(t.Context(), engine.ListRuns{Namespace: ns, PageSize: 1000})
	for len(runs) > 0 && err == nil {
		for _, r := range runs {
			if r = h.wait(r.ID); r.Status != engine.Completed {
				t.Fatalf("run %s is %s: %+v", r.ID, r.Status, r.Fault)
			}
			if r.Workflow == "ten" {
				tens++
			} else {
				naps++
			}
		}
		if next == "" {
			break
		}
		runs, next, err = h.List(t.Context(), engine.ListRuns{Namespace: ns, PageSize: 1000, PageToken: next})
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range begun {
		if err := h.found(id); err != nil {
			t.Errorf("an acknowledged run is lost: %v", err)
		}
	}
	if got, want := h.count("tens")+h.count("naps"), fmt.Sprintf(`{"key":"tens","count":%d}{"key":"naps","count":%d}`, 10*tens, naps); got != want {
		t.Errorf("state is %s, want %s", got, want)
	}
	var direct int64
	if _, err := fmt.Sscanf(h.count("direct"), `{"key":"direct","count":%d}`, &direct); err != nil || direct < called.Load() {
		t.Errorf("%d calls were acknowledged, %d are counted, %v", called.Load(), direct, err)
	}
	t.Logf("%d runs, %d acknowledged; %d requests refused", naps+tens, len(begun), refused.Load())
}

// A child that begins while the disk is full is in no commit, nor will it be.
func TestARunThatCouldNotBeWrittenDoesNotGoOn(t *testing.T) {
	h := newHouse(t)
	h.close()
	var full atomic.Bool
	var probes atomic.Int64
	h.disk = func(m store.Moment) error {
		if full.Load() && m == store.BeforeCommit {
			probes.Add(1)
			return sqlite3.Error{Code: sqlite3.ErrFull}
		}
		return nil
	}
	ready := make(chan struct{})
	var mu sync.Mutex
	went := map[string]bool{} // who went on while nothing could be written
	h.opts.Pace = func(_ context.Context, who string, step uint32) {
		if step != 0 {
			<-ready // the parent, before it runs its child
		}
		mu.Lock()
		defer mu.Unlock()
		went[who] = went[who] || h.db.Err() != nil
	}
	h.open()
	h.deploy("ten", tenSteps)
	h.deploy("parent", fmt.Sprintf(runsChild, "ten"))
	run := h.start("parent", `{}`)
	full.Store(true)
	if _, err := h.Call(t.Context(), weft.Call{Namespace: ns, Handler: weft.Ref{Name: "count"}, Input: []byte(`{"key":"direct"}`)}); err == nil {
		t.Fatal("a full disk took a commit")
	}
	close(ready)
	for before := probes.Load(); probes.Load() < before+2; {
		time.Sleep(10 * time.Millisecond)
	}
	full.Store(false)
	for h.db.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	if run = h.wait(run.ID); run.Status != engine.Completed {
		t.Fatalf("%s %+v", run.Status, run.Fault)
	}
	child := h.children(run.ID)[0].ID
	mu.Lock()
	defer mu.Unlock()
	if !went[run.ID] || went[child] {
		t.Errorf("the parent went on while the disk was full: %v, want true; its child: %v, want false", went[run.ID], went[child])
	}
	if got := h.count("family"); got != `{"key":"family","count":10}` {
		t.Errorf("state is %s", got)
	}
}

func TestNewWorkIsRefusedBeforeTheDiskIsFull(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	run := h.start("nap", `{}`)
	h.until(run.ID, engine.Parked)
	h.room = 1 << 60
	h.restart()
	_, _, err := h.StartRun(t.Context(), engine.StartRun{Namespace: ns, Workflow: "nap"})
	if weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "weft.db has") {
		t.Errorf("a start: %v", err)
	}
	if _, err := h.Cancel(t.Context(), ns, run.ID, ""); err != nil {
		t.Errorf("a cancel: %v", err)
	}
	if _, err := h.Rerun(t.Context(), ns, run.ID, 0); weft.CodeOf(err) != weft.ResourceExhausted {
		t.Errorf("a rerun: %v", err)
	}
}

// A commit that cannot be written for another reason than the disk ends the
// run in this process, loudly, and nothing that needs it is acknowledged.
func TestWhatCannotBeWrittenIsNotAcknowledged(t *testing.T) {
	h := newHouse(t)
	h.deploy("hear", "do:\n  - it: { listen: { to: { one: { with: { type: go } } } } }\n")
	run := h.start("hear", `{}`)
	h.until(run.ID, engine.Parked)
	other := h.start("hear", `{}`)
	h.until(other.ID, engine.Parked)
	err := h.db.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("create trigger poison before insert on journal when new.run='" + run.ID + "' begin select raise(abort, 'poisoned'); end")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	acked := false
	ev := weft.Event{ID: "1", Source: "/t", Type: "go", Data: []byte(`{}`), DataContentType: "application/json"}
	if err := h.Accept(t.Context(), ns, ev, func(*store.Tx) error { acked = true; return nil }); err == nil || !strings.Contains(err.Error(), "poisoned") || acked {
		t.Errorf("accepted with %v, acknowledged %v", err, acked)
	}
	if got := h.until(other.ID, engine.Completed); got.Fault != nil {
		t.Errorf("the other run: %+v", got.Fault)
	}
	if err := h.db.Err(); err != nil {
		t.Errorf("the database takes no more: %v", err)
	}
}

func TestWhoWaitsIsToldThatTheDiskHasFailed(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: PT1H }\n")
	run := h.start("nap", `{}`)
	h.until(run.ID, engine.Parked)
	h.close()
	h.disk = func(store.Moment) error { return errors.New("the arm is broken") }
	h.open()
	waited := make(chan error, 1)
	go func() { _, err := h.Wait(t.Context(), ns, run.ID); waited <- err }()
	if _, err := h.Cancel(t.Context(), ns, run.ID, ""); weft.CodeOf(err) != weft.Unavailable {
		t.Errorf("a cancel: %v", err)
	}
	if err := <-waited; weft.CodeOf(err) != weft.Unavailable || !strings.Contains(err.Error(), "the arm is broken") {
		t.Errorf("who waits: %v", err)
	}
	_ = h.Engine.Close(t.Context()) // says so, too
	_, _ = h.db.Close(), h.rt.Close(t.Context())
	h.disk = nil
	h.open()
}
