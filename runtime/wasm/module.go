package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Module is compiled code with a pool of instances. Call may be used by many
// goroutines at once.
type Module struct {
	rt         *Runtime
	key        loadKey
	compiled   wazero.CompiledModule
	limits     weft.Limits
	words      string // what it is in errors
	own        bool   // see Runtime.Own
	memory     bool   // it has one
	memoryMark uint64 // an instance whose memory has grown past it is not used again
	handlers   map[string]bool
	slots      chan struct{} // one token for each call at once
	closing    chan struct{} // closed by Close
	made       atomic.Int64  // instances, ever
	waiting    atomic.Int64  // calls for a slot
	logs       minute

	mu     sync.Mutex
	idle   []*instance // guarded by mu; the one used last is last
	closed bool        // guarded by mu
}

// Input is what a handler is called with.
type Input struct {
	Body    []byte
	Headers map[string]string // lower-case names
}

// Output is what a handler has answered.
type Output struct {
	Body    []byte // the caller's own
	Headers map[string]string
}

// ErrTrap is wrapped by the error of a call that trapped: an unreachable
// instruction, memory out of bounds, a panic, an exit.
var ErrTrap = errors.New("the handler trapped")

const opCall = "wasm.Module.Call"

// IdleMax is how long an instance may lie unused while others serve.
const IdleMax = time.Minute

func newModule(r *Runtime, key loadKey, c wazero.CompiledModule, info meter.Info) *Module {
	m := &Module{rt: r, key: key, compiled: c, limits: key.limits, words: "the handler", memory: info.Memory, memoryMark: uint64(key.limits.MemoryMiB) << 20 / 4 * 3,
		handlers: map[string]bool{}, slots: make(chan struct{}, key.limits.Concurrency), closing: make(chan struct{})}
	for _, name := range handlersOf(info) {
		m.handlers[name] = true
	}
	return m
}

// Limits are those of each call, with the host's defaults filled in.
func (m *Module) Limits() weft.Limits { return m.limits }

// Call runs one handler of the module. What the guest answered with a code is
// an error with that code, and its output is the message. A trap is Internal
// and wraps ErrTrap; a limit is ResourceExhausted, or DeadlineExceeded when it
// is the wall clock; after these the instance is dropped. A handler that does
// not exist is Unimplemented. When as many calls as the module may have are in
// progress, Call waits, until ctx ends or the time of a call has passed. What a
// limit ended or refused wraps the Limit.
func (m *Module) Call(ctx context.Context, env Env, export string, in Input) (Output, error) {
	if !m.handlers[export] {
		return Output{}, weft.Errorf(weft.Unimplemented, opCall, "the module has no handler %q", export)
	}
	if err := m.acquire(ctx); err != nil {
		return Output{}, err
	}
	defer func() { <-m.slots }()
	i, err := m.take(ctx, env)
	if err != nil {
		return Output{}, err
	}
	out, err := i.run(ctx, env, export, in)
	m.give(i)
	return out, err
}

// acquire waits for one of the calls that the module may have at once.
func (m *Module) acquire(ctx context.Context) error {
	select {
	case m.slots <- struct{}{}: // should the module be closed, take says so
		return nil
	default:
	}
	defer m.waiting.Add(-1)
	if m.waiting.Add(1) > int64(m.limits.Queue) {
		return weft.Errorf(weft.ResourceExhausted, opCall, "%d calls of the module wait already, its limit (%w)", m.limits.Queue, LimitQueue).
			WithHint("call it less often, or raise limits.queue")
	}
	patience := time.NewTimer(time.Duration(m.limits.TimeoutMS) * time.Millisecond)
	defer patience.Stop()
	var err error
	select {
	case m.slots <- struct{}{}:
		return nil
	case <-m.closing:
		return errClosed()
	case <-patience.C:
		err = errors.New("none ended in the time of a call")
	case <-ctx.Done():
		err = ctx.Err()
		if errors.Is(err, context.Canceled) {
			return &weft.Error{Code: weft.Canceled, Op: opCall, Err: fmt.Errorf("waiting for one of %d calls to end: %w", cap(m.slots), err)}
		}
	}
	return weft.Errorf(weft.ResourceExhausted, opCall, "the module's limit of %d calls at once is reached: %w (%w)", cap(m.slots), err, LimitConcurrency).
		WithHint("call it less often, or raise limits.concurrency")
}

func errClosed() error {
	return weft.Errorf(weft.Unavailable, opCall, "the module has been unloaded")
}

// take is an idle instance, or a new one.
func (m *Module) take(ctx context.Context, env Env) (*instance, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errClosed()
	}
	if n := len(m.idle); n > 0 {
		i := m.idle[n-1]
		m.idle[n-1], m.idle = nil, m.idle[:n-1]
		m.mu.Unlock()
		return i, nil
	}
	m.mu.Unlock()
	i, err := m.instantiate(ctx, env)
	if errors.Is(err, errFull) && m.rt.trim() {
		i, err = m.instantiate(ctx, env)
	}
	return i, err
}

// trim closes all idle instances, and reports whether there was one.
func (r *Runtime) trim() (any bool) {
	for _, m := range r.loaded() {
		m.mu.Lock()
		idle := m.idle
		m.idle = nil
		m.mu.Unlock()
		for _, i := range idle {
			any = true
			i.close()
		}
	}
	return any
}

// give takes an instance back, and closes it or one that has not been needed
// for long.
func (m *Module) give(i *instance) {
	drop := i
	if !i.worn() {
		drop = m.keep(i)
	}
	if drop != nil {
		drop.close()
	}
}

// keep makes an instance idle and returns one to close, if there is one. No
// more than slots are ever idle, for each call takes one before it makes one.
func (m *Module) keep(i *instance) *instance {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return i
	}
	var stale *instance
	if len(m.idle) > 0 && i.call.began.Sub(m.idle[0].call.began) > IdleMax {
		stale = m.idle[0]
		m.idle = append(m.idle[:0], m.idle[1:]...)
	}
	m.idle = append(m.idle, i)
	return stale
}

// Close refuses new calls, waits for those in progress and frees the module.
// When ctx ends before they do, it may be called again.
func (m *Module) Close(ctx context.Context) error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	idle := m.idle
	m.idle = nil
	m.mu.Unlock()
	if first {
		close(m.closing)
		m.rt.forget(m.key)
	}
	for _, i := range idle {
		i.close()
	}
	for taken := range cap(m.slots) {
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			for range taken {
				<-m.slots
			}
			return ctx.Err()
		}
	}
	defer func() {
		for range cap(m.slots) {
			<-m.slots
		}
	}()
	return m.compiled.Close(ctx)
}
