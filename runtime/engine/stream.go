package engine

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
)

// AgainMax bounds the bytes of messages that are kept so that a handler can be run
// again before it has sent anything.
const AgainMax = 1 << 20

// Serve is Call of a handler that has been found, by one who exchanges messages
// with it; s is nil where input and output are all there is. Each message that
// passes is a commit of what the handler did before it, and the end is one of the
// rest: what somebody has been told is durable. Where the state changed that the
// handler had read since, it is run again on the messages it has had, unless one of
// its own has passed: then it is Aborted, and what was committed stays.
func (e *Engine) Serve(ctx context.Context, h catalog.Handler, c weft.Call, s wasm.Stream) (weft.Result, error) {
	end, err := e.begin("engine.Engine.Serve")
	if err != nil {
		return weft.Result{}, err
	}
	defer end()
	ctx, cut := e.within(ctx)
	defer cut(nil)
	key, err := e.keyOf(c)
	if err != nil {
		return weft.Result{}, err
	}
	var k *talk
	if s != nil {
		k = &talk{s: s}
	}
	return e.perform(ctx, h, c, key, nil, k)
}

// talk is the stream of a call, with commits between its messages.
type talk struct {
	s      wasm.Stream
	t      *txn
	had    [][]byte // messages, while the handler may run again
	next   int      // of them, that the handler has not had in this run
	bytes  int      // of them
	ended  bool     // the last message has come
	passed bool     // the handler cannot run again
	failed error    // of a commit
}

// begin is before each run.
func (k *talk) begin(t *txn) { k.t, k.next, k.failed = t, 0, nil }

// outcome is err, of the handler, or of a commit that failed before.
func (k *talk) outcome(err error) error {
	if k.failed != nil {
		return k.failed
	}
	return err
}

// Recv is the next message.
func (k *talk) Recv(ctx context.Context) ([]byte, error) {
	if k.next < len(k.had) {
		k.next++
		return k.had[k.next-1], nil
	}
	if k.ended {
		return nil, io.EOF
	}
	m, err := k.s.Recv(ctx)
	switch {
	case errors.Is(err, io.EOF):
		k.ended = true
	case err == nil && !k.passed:
		if k.bytes += len(m); k.bytes > AgainMax {
			k.pass()
			break
		}
		k.had = append(k.had, bytes.Clone(m))
		k.next++
	}
	return m, err
}

// pass notes that nothing can be taken back. What the handler has not had again
// is still to come.
func (k *talk) pass() { k.passed, k.had, k.next = true, k.had[k.next:], 0 }

// Send commits what the message may tell of, and sends it.
func (k *talk) Send(ctx context.Context, message []byte) error {
	if err := k.commit(ctx); err != nil {
		return err
	}
	return k.s.Send(ctx, message)
}

// SendHeaders does the same with headers.
func (k *talk) SendHeaders(ctx context.Context, headers weft.Header) error {
	if err := k.commit(ctx); err != nil {
		return err
	}
	return k.s.SendHeaders(ctx, headers)
}

func (k *talk) commit(ctx context.Context) error {
	ok, err := k.t.commit(ctx, nil)
	if err == nil && !ok {
		err = errStale
	}
	if err != nil {
		k.failed = err
		return &wasm.Abort{Err: err}
	}
	k.pass()
	k.t.renew()
	return nil
}

// renew begins the next transaction of a call.
func (t *txn) renew() {
	t.published += len(t.events)
	t.loss, t.reads, t.writes, t.events, t.seen, t.kept = t.e.losses.Load(), nil, nil, nil, store.Ticket{}, 0
}
