package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// StartRun asks for a run. Key, when not empty, makes it happen once: the same
// key for the same workflow answers with the run that the first start made.
type StartRun struct {
	Namespace string
	Workflow  string // name, or space/name
	Version   string // empty for the newest
	Input     []byte // JSON; empty for null
	Key       string
	Depth     int // calls of handlers and runs that the start is inside of

	id   string                // of the run; empty for a new one
	also func(*store.Tx) error // rows of the commit that makes the run durable
}

// KeyMax bounds an idempotency key, in bytes.
const KeyMax = 256

// StartRun starts a run; it is durable when StartRun returns. existed reports
// that the key had started it before.
func (e *Engine) StartRun(ctx context.Context, s StartRun) (run Run, existed bool, err error) {
	end, err := e.begin("engine.Engine.StartRun")
	if err != nil {
		return Run{}, false, err
	}
	defer end()
	if err := e.checkStart(&s); err != nil {
		return Run{}, false, err
	}
	if err := e.db.Room(); err != nil {
		return Run{}, false, err
	}
	def, err := e.cat.Workflow(s.Namespace, s.Workflow, s.Version)
	if err != nil {
		return Run{}, false, err
	}
	if err := e.holdsSecrets(s.Namespace, def); err != nil {
		return Run{}, false, err
	}
	a, id, err := e.create(ctx, def, s)
	if err != nil {
		return Run{}, false, err
	}
	if a == nil {
		run, err := e.Run(ctx, s.Namespace, id)
		return run, true, err
	}
	row, err := a.acknowledge(ctx)
	if err != nil {
		if e.db.Err() != nil {
			e.unreserve(&row) // it will never be durable: others with the key must not wait for it
		}
		return Run{}, false, err
	}
	run, err = fromRow(row)
	return run, false, err
}

func (e *Engine) checkStart(s *StartRun) error {
	if len(s.Input) == 0 {
		s.Input = []byte("null")
	}
	switch {
	case len(s.Input) > e.opts.InputMax:
		return weft.Errorf(weft.ResourceExhausted, "engine.Engine.StartRun", "the input has %d bytes, the limit is %d", len(s.Input), e.opts.InputMax).
			WithHint("put large data where handlers can fetch it, and pass a reference")
	case !json.Valid(s.Input):
		return weft.Errorf(weft.InvalidArgument, "engine.Engine.StartRun", "the input is not JSON")
	case len(s.Key) > KeyMax:
		return weft.Errorf(weft.InvalidArgument, "engine.Engine.StartRun", "the idempotency key has %d bytes, the limit is %d", len(s.Key), KeyMax)
	case strings.HasPrefix(s.Key, scheduleKey):
		return weft.Errorf(weft.InvalidArgument, "engine.Engine.StartRun", "idempotency keys that begin with %q are for runs that time starts", scheduleKey)
	}
	return nil
}

// create makes the run in memory and gives it its first turn. A nil actor means
// that the key has started the run of this id before.
func (e *Engine) create(ctx context.Context, def *workflows.Definition, s StartRun) (*actor, string, error) {
	now := e.now()
	if s.id == "" {
		s.id = e.opts.NewID()
	}
	row := e.newRow(s.Namespace, s.id, def)
	row.Key, row.Depth = s.Key, s.Depth
	if s.Key != "" {
		if other, err := e.reserve(ctx, &row); err != nil || other != "" {
			return nil, other, err
		}
	}
	a := newActor(e, def, row)
	a.fresh, a.started = true, make(chan struct{})
	if s.also != nil {
		a.also = append(a.also, s.also)
	}
	err := e.adoptNew(a)
	if err == nil {
		a.mu.Lock()
		_, err = a.apply(machine.Entry{Kind: machine.Started, At: now.UnixMicro(), Data: s.Input, Seed: e.opts.Chance()})
		if err == nil {
			a.carryOn()
		}
		a.mu.Unlock()
	}
	if err != nil {
		e.unreserve(&row)
		return nil, "", err
	}
	return a, a.id, nil
}

// newRow is the row of a run that starts now.
func (e *Engine) newRow(ns, id string, def *workflows.Definition) store.Run {
	space, name, version := def.ID()
	return store.Run{ID: id, Namespace: ns, Part: partOf(id), Space: space, Workflow: name, Version: version,
		Status: int(Running), Started: e.now().UnixMilli(), Quiet: quiet(def)}
}

// acknowledge returns the run as it was queued, when that is durable. It waits a
// moment for the first turn, so that the start and the turn share a commit.
func (a *actor) acknowledge(ctx context.Context) (store.Run, error) {
	wait := time.NewTimer(a.e.opts.AckDelay)
	defer wait.Stop()
	select {
	case <-a.started:
	case <-wait.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	t, row := a.flush(), a.row
	a.mu.Unlock()
	return row, t.Wait(ctx)
}

type startKey struct{ ns, space, workflow, key string }

func keyOf(r *store.Run) startKey { return startKey{r.Namespace, r.Space, r.Workflow, r.Key} }

// reserve claims the row's idempotency key. Another run's id means that the key
// is taken, by a run that is durable.
func (e *Engine) reserve(ctx context.Context, row *store.Run) (other string, err error) {
	for {
		e.mu.Lock()
		r, busy := e.starting[keyOf(row)]
		if !busy {
			e.starting[keyOf(row)] = &reservation{id: row.ID, done: make(chan struct{})}
		}
		e.mu.Unlock()
		if !busy {
			break
		}
		select { // the other start is about to be durable, or to fail
		case <-r.done:
			e.pace(ctx, row.ID, 0) // after a loss the disk takes work again in a moment
		case <-ctx.Done():
			return "", ctx.Err()
		case <-e.life.Done():
			return "", e.life.Err()
		}
	}
	was, ok, err := e.db.RunByKey(ctx, row.Namespace, row.Space, row.Workflow, row.Key)
	if err != nil || ok {
		e.unreserve(row)
		return was.ID, err
	}
	return "", nil
}

// reservation is a start on its way to the disk.
type reservation struct {
	id   string
	done chan struct{}
}

func (e *Engine) unreserve(row *store.Run) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r := e.starting[keyOf(row)]; r != nil && r.id == row.ID {
		close(r.done)
		delete(e.starting, keyOf(row))
	}
}

// Cancel ends a run: timers and waits are dropped, calls in flight are cut off,
// and their writes are not committed.
func (e *Engine) Cancel(ctx context.Context, ns, id, reason string) (Run, error) {
	return e.command(ctx, ns, id, machine.Entry{Kind: machine.Cancelled, Data: []byte(reason)})
}

// Pause stops a run after the calls in flight; what happens meanwhile is kept.
func (e *Engine) Pause(ctx context.Context, ns, id, reason string) (Run, error) {
	return e.command(ctx, ns, id, machine.Entry{Kind: machine.Paused, Data: []byte(reason)})
}

// Resume lets a paused run go on.
func (e *Engine) Resume(ctx context.Context, ns, id string) (Run, error) {
	return e.command(ctx, ns, id, machine.Entry{Kind: machine.Resumed})
}

// command gives a run what a person wants, and answers with the run once it is durable.
func (e *Engine) command(ctx context.Context, ns, id string, en machine.Entry) (Run, error) {
	end, err := e.begin("engine.Engine.command")
	if err != nil {
		return Run{}, err
	}
	defer end()
	if row, err := e.row(ctx, ns, id); err != nil {
		return Run{}, err
	} else if s := Status(row.Status); s.Ended() {
		return Run{}, weft.Errorf(weft.FailedPrecondition, "engine.Engine.command", "run %s has ended: it is %s", id, s)
	}
	var t store.Ticket
	err = e.touch(ctx, id, func(a *actor) error {
		defer func() { t = a.flush() }()
		if err := a.checkCommand(en.Kind); err != nil {
			return err
		}
		en.At = e.now().UnixMicro()
		_, err := a.apply(en)
		return err
	})
	// A refusal waits too: its reason must not be lost after it was told.
	if lost := t.Wait(ctx); lost != nil {
		return Run{}, lost
	}
	if err != nil {
		return Run{}, err
	}
	return e.Run(ctx, ns, id)
}

func (a *actor) checkCommand(kind machine.Kind) error {
	paused := a.m.Status() == machine.StatusPaused
	switch {
	case kind == machine.Paused && paused:
		return weft.Errorf(weft.FailedPrecondition, "engine.Engine.Pause", "run %s is paused already", a.id)
	case kind == machine.Resumed && !paused:
		return weft.Errorf(weft.FailedPrecondition, "engine.Engine.Resume", "run %s is not paused: it is %s", a.id, a.status())
	}
	return nil
}

// Call calls a handler outside a workflow. Its writes and events are durable
// when Call returns, and so is all that it has read. An Idempotency-Key header
// goes to the peers that the handler calls. A method of a service takes JSON, and
// gives it, or protobuf.
func (e *Engine) Call(ctx context.Context, c weft.Call) (weft.Result, error) {
	end, err := e.begin("engine.Engine.Call")
	if err != nil {
		return weft.Result{}, err
	}
	defer end()
	key, err := e.keyOf(c)
	if err != nil {
		return weft.Result{}, err
	}
	return e.transact(ctx, c, key, nil)
}

// keyOf is the idempotency key of a call, empty where it names none. It has the name
// of the handler: whoever has one key for all that belongs to an order may call
// several, and what these ask for is not the same.
func (e *Engine) keyOf(c weft.Call) (string, error) {
	key := cmp.Or(c.Key, c.Headers.Get("idempotency-key"))
	if len(key) > KeyMax {
		return "", weft.Errorf(weft.InvalidArgument, "engine.Engine.Call", "the idempotency key has %d bytes, the limit is %d", len(key), KeyMax)
	}
	if key == "" {
		return "", nil
	}
	return c.Handler.Name + "-" + key, nil
}

// transact runs a handler and commits what it did, with ack, as one
// transaction; again when its state changed meanwhile.
func (e *Engine) transact(ctx context.Context, c weft.Call, key string, ack func(*store.Tx) error) (weft.Result, error) {
	ctx, cut := e.within(ctx)
	defer cut(nil)
	h, err := e.cat.Handler(ctx, c.Namespace, c.Handler)
	if err != nil {
		return weft.Result{}, err
	}
	return e.perform(ctx, h.Typed(speaksJSON(c)), c, key, ack, nil)
}

// speaksJSON reports whether a call of a method is one in JSON: as its content type
// says, or else as it looks.
func speaksJSON(c weft.Call) bool {
	kind, _, _ := strings.Cut(c.Headers.Get("content-type"), ";")
	switch strings.TrimSpace(kind) {
	case "application/json":
		return true
	case "application/proto", "application/protobuf", "application/x-protobuf":
		return false
	}
	return len(c.Input) == 0 || weft.IsJSON(c.Input)
}

// perform is transact with a handler that has been found; k is nil where there is
// no stream, and key is empty for a new one.
func (e *Engine) perform(ctx context.Context, h catalog.Handler, c weft.Call, key string, ack func(*store.Tx) error, k *talk) (weft.Result, error) {
	out := &direct{e: e, key: key, from: c}
	for try := 0; ; try++ {
		out.calls = 0
		t := &txn{e: e, loss: e.losses.Load(), ns: c.Namespace, h: h, log: e.log, out: out}
		in := wasm.Input{Body: c.Input, Into: c.Into, Headers: c.Headers, HeadersOf: c.HeadersOf}
		if k != nil {
			k.begin(t)
			in.Stream = k
		}
		res, err := h.Call(ctx, t, in)
		if k != nil {
			err = k.outcome(err)
		}
		if err == nil {
			var ok bool
			if ok, err = t.commit(ctx, ack); ok || err != nil {
				return weft.Result{Output: res.Body, Headers: res.Fields().Headers, Trailers: res.Fields().Trailers}, err
			}
			err = errStale
		}
		if err != errStale {
			if lost := t.seen.Wait(ctx); lost != nil {
				return weft.Result{}, lost // what it read, and perhaps gave as its reason, was lost
			}
			return weft.Result{Headers: out.retryAfter(res.Fields().Headers, err), Trailers: res.Fields().Trailers}, err
		}
		if out.calls > 0 || k != nil && k.passed || try >= e.opts.StaleMax {
			return weft.Result{}, weft.Errorf(weft.Aborted, "engine.Engine.Call", "the state that %s read changed while it ran", h.Ref).
				WithHint("call it again")
		}
	}
}

// commit makes what a handler did durable; ok is false when it must run again.
func (t *txn) commit(ctx context.Context, ack func(*store.Tx) error) (ok bool, err error) {
	change, ok, err := t.prepare()
	if !ok || err != nil {
		return false, err
	}
	if len(t.writes) == 0 && len(t.events) == 0 && ack == nil {
		if change != nil {
			change.Discard()
		}
		return true, t.seen.Wait(ctx) // nobody may see what could still be lost
	}
	write := func(tx *store.Tx) error {
		for _, ev := range t.events {
			if _, err := tx.AppendEvent(t.ns, ev); err != nil {
				return err
			}
		}
		if ack != nil {
			return ack(tx)
		}
		return nil
	}
	if change == nil {
		return true, t.e.db.Update(ctx, write)
	}
	return true, change.Submit(write).Wait(ctx)
}
