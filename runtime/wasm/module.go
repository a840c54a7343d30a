package wasm

import (
	"container/list"
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
	compiled   wazero.CompiledModule // nil where it has a crew
	crew       *crew                 // runs its calls; nil where this process does
	limits     weft.Limits
	words      string // what it is in errors
	own        bool   // see Runtime.Own
	way        Way
	memory     bool // it has one
	grows      bool // it may grow a table
	isolated   bool // see weft.Isolate
	mutable    int  // globals that a reset restores
	memoryMark int  // an instance whose memory has grown past it is not used again
	handlers   map[string]int
	logs       minute
	counts

	imaging sync.Mutex
	imaged  bool   // there was an attempt at image; guarded by imaging
	file    int    // in a worker, for the image; 0 where it is made when it is needed
	image   *image // nil: an instance serves one call. Written before imaged, and then no more

	// next is an instance at rest that keeps its place among running, so that one
	// call after the other takes it and gives it back without mu. Nobody leaves it
	// there while others are beside it: who waits for a place, or closes the module.
	next   atomic.Pointer[instance]
	beside atomic.Int32

	mu      sync.Mutex
	idle    []*instance   // guarded by mu; the one used last is last
	running int           // calls, and 1 for next; guarded by mu
	waiting list.List     // of chan struct{}, calls for one of those to end; guarded by mu
	closed  bool          // guarded by mu
	closing chan struct{} // closed by Close
	quiet   chan struct{} // closed when no call is left, after closing
}

// Input is what a handler is called with.
type Input struct {
	Body    []byte
	Into    []byte // room for the output, from its beginning on; new room is made for what does not fit, and in workers
	Headers weft.Header
	// HeadersOf makes Headers when the guest asks for one, on the goroutine of the
	// call; nil where they are made.
	HeadersOf func() weft.Header
	Stream    Stream // nil for a call with one input and one output
}

// Output is what a handler has answered.
type Output struct {
	Body     []byte      // the caller's own, in Input.Into perhaps; empty for a call with a Stream
	Headers  weft.Header // those that Stream.SendHeaders has not sent
	Trailers weft.Header
}

// ErrTrap is wrapped by the error of a call that trapped: an unreachable
// instruction, memory out of bounds, a panic, an exit.
var ErrTrap = errors.New("the handler trapped")

const opCall = "wasm.Module.Call"

// IdleMax is how long an instance may lie unused while others serve.
const IdleMax = time.Minute

// turnMax is how many calls an instance serves until it lies down with the idle ones,
// and the clock is looked at for IdleMax.
const turnMax = 64

func newModule(r *Runtime, key loadKey, c wazero.CompiledModule, info meter.Info) *Module {
	m := &Module{rt: r, key: key, compiled: c, limits: key.Limits, words: "the handler", memory: info.Memory, grows: info.Grows,
		isolated: key.Lifecycle == weft.Isolate, mutable: info.Mutable, memoryMark: key.Limits.MemoryMiB << 20 / 4 * 3,
		handlers: map[string]int{}, closing: make(chan struct{}), quiet: make(chan struct{})}
	m.way = wayOf(info)
	m.isolated = m.isolated && m.way != Command // each of its instances serves one call as it is
	for n, name := range handlersOf(info) {
		m.handlers[name] = n
	}
	return m
}

// Limits are those of each call, with the host's defaults filled in.
func (m *Module) Limits() weft.Limits { return m.limits }

// Call runs one handler of the module. What the guest answered with a code is
// an error with that code, its output is the message, and the headers and trailers
// that it has set are beside the error. A trap is Internal
// and wraps ErrTrap; a limit is ResourceExhausted, or DeadlineExceeded when it
// is the wall clock; after these the instance is dropped. A handler that does
// not exist is Unimplemented. When as many calls as the module may have are in
// progress, Call waits, until ctx ends or the time of a call has passed. What a
// limit ended or refused wraps the Limit.
func (m *Module) Call(ctx context.Context, env Env, export string, in Input) (out Output, err error) {
	if in.Stream != nil && m.way != Handlers {
		return Output{}, noStreams(m.way)
	}
	if m.crew != nil {
		if _, ok := m.handlers[export]; !ok {
			return Output{}, errHandler(export)
		}
		if _, err := m.enter(ctx); err != nil {
			return Output{}, err
		}
		defer m.give(nil)
		return m.crew.call(ctx, env, export, in)
	}
	i, err := m.take(ctx, env, export)
	if err != nil {
		return out, err
	}
	defer m.give(i)
	err = i.run(ctx, env, &in, &out)
	return out, err
}

// take is an idle instance or a new one, ready to run a handler, for one of the
// calls that the module may have at once. give ends it.
func (m *Module) take(ctx context.Context, env Env, export string) (*instance, error) {
	i := m.next.Swap(nil)
	if i != nil && i.export == export { // to hash the name would take as long as all the rest
		i.in++
		return i, nil
	}
	return m.prepare(ctx, env, export, i)
}

// prepare is take where i, the next instance if there is one, has run another handler.
func (m *Module) prepare(ctx context.Context, env Env, export string, i *instance) (_ *instance, err error) {
	handler, ok := m.handlers[export]
	if driven := m.own && export == ""; !ok && !driven {
		if i != nil {
			m.leave(i, true)
		}
		return nil, errHandler(export)
	}
	if i != nil {
		i.in++
	} else if i, err = m.enter(ctx); i == nil && err == nil {
		i, err = m.fresh(ctx, env)
	}
	if err == nil && ok {
		i.pick(export, handler)
	}
	return i, err
}

// enter lets a call in, to an idle instance if there is one.
func (m *Module) enter(ctx context.Context) (*instance, error) {
	m.beside.Add(1)
	defer m.beside.Add(-1)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errClosed()
	}
	if i := m.next.Swap(nil); i != nil { // and the place with it
		m.calls++
		m.mu.Unlock()
		return i, nil
	}
	if m.running < m.limits.Concurrency {
		m.running++
	} else if err := m.wait(ctx); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	m.calls++
	n := len(m.idle)
	if n == 0 {
		return nil, nil
	}
	i := m.idle[n-1]
	m.idle[n-1], m.idle = nil, m.idle[:n-1]
	return i, nil
}

// fresh is a new instance, for a call that has been let in.
func (m *Module) fresh(ctx context.Context, env Env) (i *instance, err error) {
	defer func() {
		if i == nil {
			m.give(nil)
		}
	}()
	i, err = m.instantiate(ctx, env)
	if errors.Is(err, errFull) && m.rt.trim() {
		i, err = m.instantiate(ctx, env)
	}
	if err == nil {
		m.made.Add(1)
		m.live.Add(1)
	}
	return i, err
}

// wait stands in the queue until one of the calls in progress hands its place
// over. It is called with mu locked, and returns so when it returns no error.
func (m *Module) wait(ctx context.Context) error {
	if m.waiting.Len() >= m.limits.Queue {
		m.mu.Unlock()
		m.over(LimitQueue)
		return weft.Errorf(weft.ResourceExhausted, opCall, "%d calls of the module wait already, its limit (%w)", m.limits.Queue, LimitQueue).
			WithHint("call it less often, or raise limits.queue")
	}
	place := make(chan struct{})
	at := m.waiting.PushBack(place)
	m.mu.Unlock()
	patience := time.NewTimer(time.Duration(m.limits.TimeoutMS) * time.Millisecond)
	defer patience.Stop()
	var err error
	select {
	case <-place:
	case <-m.closing:
	case <-patience.C:
		err = errors.New("none ended in the time of a call")
	case <-ctx.Done():
		err = ctx.Err()
	}
	m.mu.Lock()
	closed, mine := m.closed, false
	select {
	case <-place: // perhaps in the meantime
		mine = true
	default:
		m.waiting.Remove(at)
	}
	if mine && !closed {
		return nil
	}
	m.mu.Unlock()
	if mine {
		m.give(nil)
	}
	switch {
	case closed:
		return errClosed()
	case errors.Is(err, context.Canceled):
		return &weft.Error{Code: weft.Canceled, Op: opCall, Err: fmt.Errorf("waiting for one of %d calls to end: %w", m.limits.Concurrency, err)}
	}
	m.over(LimitConcurrency)
	return weft.Errorf(weft.ResourceExhausted, opCall, "the module's limit of %d calls at once is reached: %w (%w)", m.limits.Concurrency, err, LimitConcurrency).
		WithHint("call it less often, or raise limits.concurrency")
}

func errHandler(export string) error {
	return weft.Errorf(weft.Unimplemented, opCall, "the module has no handler %q", export)
}

func errClosed() error {
	return weft.Errorf(weft.Unavailable, opCall, "the module has been unloaded")
}

// trim closes all idle instances and workers, and reports whether there was one.
func (r *Runtime) trim() (any bool) {
	for _, m := range r.loaded() {
		if m.crew != nil {
			any = m.crew.trim(false) || any
			continue
		}
		m.vacate()
		m.mu.Lock()
		idle := m.idle
		m.idle = nil
		m.mu.Unlock()
		for _, i := range idle {
			any = true
			m.drop(i)
		}
	}
	return any
}

// vacate frees the place that next holds: its instance is idle then, or closed.
func (m *Module) vacate() {
	m.beside.Add(1)
	defer m.beside.Add(-1)
	if i := m.next.Swap(nil); i != nil {
		m.leave(i, true)
	}
}

// give ends a call. It takes its instance back, if it has one, and closes it or
// one that has not been needed for long.
func (m *Module) give(i *instance) {
	fit := i != nil && !i.worn() && (!m.isolated || i.reset())
	if fit && i.uses%turnMax != 0 && m.next.CompareAndSwap(nil, i) {
		// Who has come beside it before this is seen here, and who comes later sees it.
		if m.beside.Load() == 0 || !m.next.CompareAndSwap(i, nil) {
			return
		}
	}
	m.leave(i, fit)
}

// leave gives up the place of a call, and its instance when it is fit for others.
func (m *Module) leave(i *instance, fit bool) {
	drop := i
	m.mu.Lock()
	if i != nil {
		m.calls += int64(i.in)
		i.in = 0
	}
	if fit && !m.closed {
		drop = m.keep(i)
	}
	if next := m.waiting.Front(); next != nil {
		m.waiting.Remove(next)
		close(next.Value.(chan struct{}))
	} else if m.running--; m.closed && m.running == 0 {
		close(m.quiet)
	}
	m.mu.Unlock()
	if drop != nil {
		m.drop(drop)
	}
}

// keep makes an instance idle and returns one to close, if there is one. No
// more are ever idle than may run at once, for each call takes one before it
// makes one.
func (m *Module) keep(i *instance) (stale *instance) {
	if i.uses%turnMax == 0 && len(m.idle) > 0 {
		now, last := time.Now(), m.idle[len(m.idle)-1]
		if first := m.idle[0]; !first.covered.IsZero() && now.Sub(first.covered) > IdleMax {
			stale = first
			m.idle = append(m.idle[:0], m.idle[1:]...)
		} else if last.covered.IsZero() {
			for _, other := range m.idle {
				if other.covered.IsZero() {
					other.covered = now
				}
			}
		}
	}
	i.covered = time.Time{}
	m.idle = append(m.idle, i)
	return stale
}

func (m *Module) drop(i *instance) {
	i.close()
	m.live.Add(-1)
}

// Close refuses new calls, waits for those in progress and frees the module.
// When ctx ends before they do, it may be called again.
func (m *Module) Close(ctx context.Context) error {
	m.mu.Lock()
	first := !m.closed
	if m.closed = true; first {
		m.beside.Add(1) // for good
	}
	idle := m.idle
	m.idle = nil
	if first && m.running == 0 {
		close(m.quiet)
	}
	m.mu.Unlock()
	if first {
		close(m.closing)
		m.rt.forget(m.key)
	}
	m.vacate()
	if m.crew != nil {
		m.crew.trim(true)
	}
	for _, i := range idle {
		m.drop(i)
	}
	select {
	case <-m.quiet:
	case <-ctx.Done():
		return ctx.Err()
	}
	if m.crew != nil {
		return m.crew.close()
	}
	m.imaging.Lock()
	m.image.close()
	m.imaging.Unlock()
	return m.compiled.Close(ctx)
}
