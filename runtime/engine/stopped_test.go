package engine_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/logbook"
)

// spoil makes the journal of a run one that no machine follows.
func (h *house) spoil(id string) {
	h.t.Helper()
	err := h.db.Update(h.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("update journal set data=cast(x'01ff' || substr(data,3) as blob) where run=?", id)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// due makes the timer of a parked run one that the next start finds due.
func (h *house) due(id string) {
	h.t.Helper()
	err := h.db.Update(h.t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("update run set wake=1 where id=?", id)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestARunThatCannotBeWokenIsToldOnceAndHoldsNoOther(t *testing.T) {
	h := newHouse(t)
	h.deploy("nap", "do:\n  - nap: { wait: { hours: 1 } }\n")
	h.deploy("ask", "do:\n  - it: { call: ask, with: { procedures: [bank/Charge] } }\n")
	h.gate.set(func(g *fakeGate) {
		g.open = &weft.OpenError{Namespace: ns, Peer: "bank", Until: time.Now().Add(time.Hour), Reason: "down"}
	})
	bad, good := h.start("ask", "{}").ID, h.start("ask", "{}").ID
	if bad > good {
		bad, good = good, bad // the older is the first of a wave
	}
	nap := h.start("nap", "{}").ID
	for _, id := range []string{bad, good, nap} {
		h.until(id, engine.Parked)
	}
	h.spoil(bad)
	h.spoil(nap)
	h.due(nap)
	log := &logbook.Book{}
	h.opts.Log = slog.New(slog.NewTextHandler(log, nil))
	h.restart()

	h.gate.set(func(g *fakeGate) { g.open = nil })
	h.Wake(ns, "bank")
	if run := h.wait(good); run.Status != engine.Completed {
		t.Errorf("the run behind it is %s: %s", run.Status, run.Reason)
	}
	holds(t, "its timer is told", func() bool { return strings.Contains(log.String(), "timer not fired") })
	for i := range 3 { // looks go on for the timers of others
		h.deploy(fmt.Sprint("later", i), "do:\n  - nap: { wait: { milliseconds: 150 } }\n")
		if run := h.wait(h.start(fmt.Sprint("later", i), "{}").ID); run.Status != engine.Completed {
			t.Errorf("another timer: %s", run.Status)
		}
	}
	if n := strings.Count(log.String(), "timer not fired"); n != 1 {
		t.Errorf("its timer was told %d times", n)
	}
}
