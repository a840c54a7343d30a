package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// call is one call of a step, in flight.
type call struct {
	a   *actor
	c   machine.Command
	ctx context.Context
	end context.CancelFunc

	known   []outcome // of outbound calls, from before a restart or a park
	ordinal int       // of the next outbound call
	marks   []mark    // of the secrets that the workflow reads
	reached bool      // the world has been asked in this try

	message func(arguments []byte) ([]byte, error) // encodes what a gRPC method is given; nil for all else
}

// begin notes that c is in flight. The caller holds mu.
func (a *actor) begin(c machine.Command) *call {
	k := &call{a: a, c: c}
	if c.Deadline != 0 {
		k.ctx, k.end = context.WithDeadline(a.e.life, time.UnixMicro(c.Deadline))
	} else {
		k.ctx, k.end = context.WithCancel(a.e.life)
	}
	for _, path := range a.def.Secrets() {
		k.marks = append(k.marks, mark{path: path, text: a.m.SecretMark(path)})
	}
	if s := a.steps[c.Step]; s != nil {
		k.known = s.outcomes
	}
	if a.cancels == nil {
		a.cancels = map[uint32]context.CancelFunc{}
	}
	a.cancels[c.Step] = k.end
	return k
}

// make makes the call and gives its outcome to the run.
func (k *call) make() {
	defer k.end()
	k.a.e.pace(k.ctx, k.a.id, k.c.Step)
	switch k.c.Kind {
	case machine.CallHTTP:
		k.http()
		return
	case machine.RunWorkflow:
		k.run()
		return
	case machine.RunScript:
		k.script()
		return
	}
	if k.c.Handler.Elsewhere() {
		k.peer()
		return
	}
	for try := 0; ; try++ {
		k.ordinal, k.reached = 0, false
		stale := k.handler()
		if !stale {
			return
		}
		if k.reached || try >= k.a.e.opts.StaleMax {
			k.fail(weft.Errorf(weft.Aborted, "engine.call.make", "the state that %s read changed while it ran", k.c.Handler))
			return
		}
	}
}

// handler runs the handler once; stale means that it must run again.
func (k *call) handler() (stale bool) {
	a := k.a
	h, err := a.e.cat.Handler(k.ctx, a.row.Namespace, k.c.Handler)
	if err != nil {
		k.fail(err)
		return false
	}
	t := &txn{e: a.e, loss: a.e.losses.Load(), ns: a.row.Namespace, h: h, log: a.e.log, out: k}
	input, err := k.input(t)
	if err != nil {
		k.fail(err)
		return false
	}
	out, err := h.Typed(true).Call(k.ctx, t, wasm.Input{Body: input, Headers: k.headers()})
	if errors.Is(err, errStale) {
		return true
	}
	if err != nil {
		k.fail(err)
		return false
	}
	if len(out.Body) > 0 && !json.Valid(out.Body) {
		k.fail(weft.Errorf(weft.Internal, "engine.call.handler", "the output of %s is not JSON", h.Ref).WithHint("a step's output must be JSON, or empty for null"))
		return false
	}
	for i := range t.events {
		t.events[i].Data = k.hidden(t.events[i].Data)
	}
	return k.finish(k.hidden(out.Body), t)
}

// peer calls a method of a peer, in JSON.
func (k *call) peer() {
	input := k.c.Input
	if len(input) == 0 || string(input) == "null" {
		input = []byte("{}")
	}
	r := weft.Request{Namespace: k.a.row.Namespace, Caller: k.a.row.Workflow + "/" + k.c.Name, Peer: k.c.Handler.Catalog, Procedure: "/" + k.c.Handler.Name, Headers: map[string]string{}, Body: input}
	res, err := k.ask(k.ctx, r, store.Ticket{}, func(res weft.Response) (weft.Response, error) {
		if !json.Valid(res.Body) {
			return weft.Response{}, weft.Errorf(weft.Internal, "engine.call.peer", "the answer of %s is not JSON", k.c.Handler).WithHint("a peer that a step calls answers in JSON, as Connect does")
		}
		return res, nil
	}, nil)
	k.conclude(res.Body, err)
}

// conclude ends a call that is no handler's.
func (k *call) conclude(output []byte, err error) {
	var abort *wasm.Abort
	if errors.As(err, &abort) {
		err = abort.Err
	}
	if err != nil {
		k.fail(err)
		return
	}
	k.finish(output, &txn{e: k.a.e, loss: k.a.e.losses.Load()})
}

func (k *call) headers() weft.Header {
	v := []string{k.a.id, k.c.Name, strconv.Itoa(int(k.c.Attempt)), k.id("/")}
	return weft.Header{"weft-run": v[0:1:1], "weft-step": v[1:2:2], "weft-attempt": v[2:3:3], "idempotency-key": v[3:4:4]}
}

// trace is what a peer is told that an outbound call belongs to: a trace for each
// run, and a part of it for each call, the same after a restart.
// Source: https://www.w3.org/TR/trace-context/#traceparent-header
func (k *call) trace(ordinal int) string {
	run, call := sha256.Sum256([]byte(k.a.id)), sha256.Sum256([]byte(k.id("/")+"/"+strconv.Itoa(ordinal)))
	return fmt.Sprintf("00-%x-%x-00", run[:16], call[:8])
}

// id names this attempt of this step; the same after a restart.
func (k *call) id(sep string) string {
	return k.a.id + sep + strconv.Itoa(int(k.c.Step)) + sep + strconv.Itoa(int(k.c.Attempt))
}

// finish commits what the handler did together with its step; stale means that
// it must run again instead.
func (k *call) finish(output []byte, t *txn) (stale bool) {
	a := k.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.m.Awaits(k.c.Step) {
		a.answered(k.c.Step) // too late: nothing of it stays
		return false
	}
	change, ok, err := t.prepare()
	if err != nil {
		a.answered(k.c.Step)
		_ = a.stop(err)
		return false
	}
	if !ok {
		return true
	}
	a.answered(k.c.Step)
	events := len(a.events)
	a.events = append(a.events, t.events...)
	eff, err := a.apply(machine.Entry{Kind: machine.Finished, At: a.e.now().UnixMicro(), Step: k.c.Step, Data: output})
	switch {
	case err != nil || !eff.Accepted: // too late: the run or the step has ended
		a.events = slices.Delete(a.events, events, events+len(t.events))
		if change != nil {
			change.Discard()
		}
	case change != nil && len(t.writes) > 0:
		a.flushWith(change)
	case change != nil:
		change.Discard()
	}
	return false
}

// answered notes that a call is no longer in flight. The caller holds mu.
func (a *actor) answered(step uint32) { delete(a.cancels, step) }

// fail gives the run the error of its step; an open breaker parks it instead,
// and the end of the process leaves the step to the next one.
func (k *call) fail(err error) {
	var open *weft.OpenError
	errors.As(err, &open)
	k.failWith(k.fault(err), open)
}

// failWith is fail with the fault that the run is told; open may be nil.
func (k *call) failWith(f *machine.Fault, open *weft.OpenError) {
	a := k.a
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered(k.c.Step)
	if a.e.life.Err() != nil || !a.m.Awaits(k.c.Step) {
		return
	}
	if open != nil && a.park(k.c, open) {
		return
	}
	_, _ = a.apply(machine.Entry{Kind: machine.Failed, At: a.e.now().UnixMicro(), Step: k.c.Step, Fault: f})
}

// carry makes an outbound call of the step. It waits until all that led here is
// durable, asks the world only what the journal does not know yet, and notes
// the answer.
func (k *call) carry(ctx context.Context, r weft.Request, seen store.Ticket) (weft.Response, error) {
	return k.ask(ctx, r, seen, nil, nil)
}

// ask is carry; keep, when not nil, makes of an answer what is noted of it, and
// token asks for one that the call needs.
func (k *call) ask(ctx context.Context, r weft.Request, seen store.Ticket, keep func(weft.Response) (weft.Response, error), token *machine.TokenRequest) (weft.Response, error) {
	n := k.ordinal
	k.ordinal++
	hash := hashOf(r)
	if n < len(k.known) {
		return k.replay(n, hash)
	}
	if err := inside(&r, k.a.row.Depth, k.trace(n)); err != nil {
		return weft.Response{}, err
	}
	if err := k.barrier(ctx, seen); err != nil {
		return weft.Response{}, &wasm.Abort{Err: err}
	}
	r.IdempotencyKey = k.id("/") + "/" + strconv.Itoa(n)
	r, token, err := k.unsealed(r, token)
	if err != nil {
		return weft.Response{}, err // nothing has been asked
	}
	res, err := k.do(ctx, r, token)
	k.seal(&res)
	var open *weft.OpenError
	if errors.As(err, &open) {
		return weft.Response{}, &wasm.Abort{Err: open}
	}
	if ctx.Err() != nil {
		return res, err // cut off: nobody knows how it ended
	}
	if wentThrough(res, err) {
		k.a.e.parked.answered(r.Namespace, r.Target())
	}
	if err == nil && keep != nil {
		res, err = keep(res)
	}
	err = k.sealedError(err)
	k.record(outcome{hash: hash, res: res, err: err})
	return res, err
}

// barrier makes the run durable up to here, with a note that the world may now
// be asked.
func (k *call) barrier(ctx context.Context, seen store.Ticket) error {
	if k.reached {
		if err := k.a.e.db.Err(); err != nil {
			return err // the answer could not be kept, and would be asked for again and again
		}
		return k.durable(ctx, seen)
	}
	a := k.a
	a.mu.Lock()
	_, err := a.apply(machine.Entry{Kind: machine.Attempted, At: a.e.now().UnixMicro(), Step: k.c.Step})
	t := a.flush() // after seen, which was submitted earlier
	a.mu.Unlock()
	if err != nil {
		return err
	}
	k.reached = true
	return k.durable(ctx, t)
}

// durable waits for t. All who wait for a commit wake at one moment, and who is
// cut off wakes when the run has gone on to other calls.
func (k *call) durable(ctx context.Context, t store.Ticket) error {
	err := t.Wait(ctx)
	k.a.e.pace(ctx, k.a.id, k.c.Step)
	return err
}

// wentThrough reports that whoever was called is well, whatever it said.
func wentThrough(res weft.Response, err error) bool {
	return !weft.CodeOf(err).Unwell() && (err != nil || res.Status < 500)
}

func (k *call) record(o outcome) {
	a := k.a
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = a.apply(machine.Entry{Kind: machine.Outcome, At: a.e.now().UnixMicro(), Step: k.c.Step, Ordinal: uint32(k.ordinal - 1), Data: o.encode()})
}

// replay hands back what the world answered before a restart.
func (k *call) replay(n int, hash uint64) (weft.Response, error) {
	o := k.known[n]
	if o.hash != hash {
		err := weft.Errorf(weft.FailedPrecondition, "engine.call.replay", "outbound call %d of %s differs from the one it made before the restart", n, k.c.Handler).
			WithHint("a handler must make the same calls for the same input and the same answers")
		return weft.Response{}, &wasm.Abort{Err: err}
	}
	k.reached = true
	return o.res, o.err
}

// outcome is what came of one outbound call.
type outcome struct {
	hash uint64
	res  weft.Response
	err  error
}

// hashOf identifies a request: FNV-1a over its target, its body and its headers
// but authorization.
func hashOf(r weft.Request) uint64 {
	h := fnv.New64a()
	for _, s := range []string{r.Peer, r.Procedure, r.Method, r.URL} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
		if name == "authorization" || name == headerModule {
			continue // who calls is no part of what is asked, and a hash of it would tell; a newer version is no other call
		}
		fmt.Fprintf(h, "%d:%s=%d:%s", len(name), name, len(r.Headers[name]), r.Headers[name])
	}
	h.Write(r.Body)
	return h.Sum64()
}

// storedOutcome is the tail of an outcome in the journal, as JSON.
type storedOutcome struct {
	Code    weft.Code         `json:"code,omitempty"`
	Error   string            `json:"error,omitempty"`
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    []byte            `json:"body,omitempty"`
}

func (o outcome) encode() []byte {
	s := storedOutcome{Status: o.res.Status, Headers: o.res.Headers, Body: o.res.Body}
	if o.err != nil {
		s.Code, s.Error = weft.CodeOf(o.err), o.err.Error()
	}
	data, _ := json.Marshal(s) // strings, bytes and ints: cannot fail
	return append(binary.LittleEndian.AppendUint64(nil, o.hash), data...)
}

func decodeOutcome(data []byte) (outcome, error) {
	if len(data) < 8 {
		return outcome{}, weft.Errorf(weft.DataLoss, "engine.decodeOutcome", "an outcome has %d bytes", len(data))
	}
	var s storedOutcome
	if err := json.Unmarshal(data[8:], &s); err != nil {
		return outcome{}, weft.Errorf(weft.DataLoss, "engine.decodeOutcome", "an outcome cannot be read: %w", err)
	}
	o := outcome{hash: binary.LittleEndian.Uint64(data), res: weft.Response{Status: s.Status, Headers: s.Headers, Body: s.Body}}
	if s.Code != weft.OK {
		o.err = &weft.Error{Code: s.Code, Op: "peers.Gate.Do", Err: errors.New(s.Error)}
	}
	return o, nil
}
