// Package outage lets many runs meet a peer that is away, in virtual time: the
// whole engine and the whole gate, on a real file and a network in memory.
package outage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// Result is what became of the runs.
type Result struct {
	Completed, Dead int
	Calls           int           // that reached the peer
	Peak            int           // at once
	Late            time.Duration // from the end of the outage to the end of the last run
}

// Peer is what the runs call, when it is there: it answers after a while, and
// bears so many calls at once; more fail.
type Peer struct {
	Answer time.Duration
	Room   int
}

// The outage: one run begins every gap, and the peer is away from the start on.
const (
	gap    = 100 * time.Millisecond
	away   = 10 * time.Minute
	within = 2 * time.Hour
)

// pay has five attempts, after 1, 2, 4 and 8 seconds.
const pay = `document: { dsl: '1.0.3', namespace: outage, name: pay, version: '1.0.0' }
do:
  - pay:
      try:
        - charge: { call: http, with: { method: post, endpoint: 'https://payments.example/charge', body: { amount: 1 } } }
      catch:
        retry: { delay: PT1S, backoff: { exponential: {} }, limit: { attempt: { count: 5 } } }
`

// Run starts so many runs, and returns when none goes on. It must be called in
// a bubble of testing/synctest. Where burn is true an open breaker is an error
// like any other, as it is where nobody parks.
func Run(ctx context.Context, dir string, runs int, peer Peer, burn bool) (r Result, err error) {
	p := &payments{Peer: peer, begun: time.Now()}
	db, err := store.Open(ctx, store.Options{Path: filepath.Join(dir, "weft.db"), Sync: "normal"})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var e *engine.Engine
	gate, err := peers.Open(ctx, db, peers.Options{Send: p.send, OnAvailable: func(ns, peer string) { e.Wake(ns, peer) }})
	if err != nil {
		return r, err
	}
	defer gate.Close()
	var out engine.Outbound = gate
	if burn {
		out = burning{gate}
	}
	def, err := workflows.Parse("pay.yaml", []byte(pay))
	if err != nil {
		return r, err
	}
	e = engine.New(db, one{def}, out, engine.Options{})
	if err := e.Start(ctx); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	for range runs {
		if _, _, err := e.StartRun(ctx, engine.StartRun{Namespace: weft.DefaultNamespace, Workflow: "pay"}); err != nil {
			return r, err
		}
		time.Sleep(gap)
	}
	if err := settle(ctx, db, &r, runs, p.begun); err != nil {
		return r, err
	}
	r.Calls, r.Peak = int(p.calls.Load()), int(p.peak.Load())
	return r, nil
}

// settle waits until all runs have ended, and counts them.
func settle(ctx context.Context, db *store.DB, r *Result, runs int, begun time.Time) error {
	for time.Since(begun) < within {
		r.Completed, r.Dead = 0, 0
		err := db.Query(ctx, "select status,count(*) from run group by status", nil, func(row store.Row) error {
			switch engine.Status(row.Int(0)) {
			case engine.Completed:
				r.Completed = int(row.Int(1))
			case engine.Faulted:
				r.Dead = int(row.Int(1))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if r.Completed+r.Dead == runs {
			r.Late = time.Since(begun) - away
			return nil
		}
		time.Sleep(time.Second)
	}
	return fmt.Errorf("some runs go on for ever: %+v", *r)
}

// payments is the peer.
type payments struct {
	Peer
	begun             time.Time
	calls, busy, peak atomic.Int64
}

func (p *payments) send(context.Context, weft.Request, string, int64) (weft.Response, error) {
	p.calls.Add(1)
	now := p.busy.Add(1)
	defer p.busy.Add(-1)
	for was := p.peak.Load(); now > was && !p.peak.CompareAndSwap(was, now); was = p.peak.Load() {
	}
	time.Sleep(p.Answer)
	if time.Since(p.begun) < away || int(now) > p.Room {
		return weft.Response{}, weft.Errorf(weft.Unavailable, "outage", "connection refused")
	}
	return weft.Response{Status: 200, Headers: map[string]string{}, Body: []byte(`{}`)}, nil
}

// burning tells of an open breaker as of any failure.
type burning struct{ *peers.Gate }

func (b burning) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	res, err := b.Gate.Do(ctx, r)
	var open *weft.OpenError
	if errors.As(err, &open) {
		err = weft.Errorf(weft.Unavailable, "outage", "%s", open.Error())
	}
	return res, err
}

// one is a catalog of one workflow.
type one struct{ def *workflows.Definition }

func (o one) Workflow(string, string, string) (*workflows.Definition, error) { return o.def, nil }

func (one) Triggered(string, weft.Event) []*workflows.Definition { return nil }

func (one) Handler(context.Context, string, weft.Ref) (catalog.Handler, error) {
	return catalog.Handler{}, weft.Errorf(weft.NotFound, "outage", "no handler")
}
