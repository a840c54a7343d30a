package wasm

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

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
	references int  // bytes of the tables, segments and globals of an instance, where they are worth counting
	isolated   bool // see weft.Isolate
	mutable    int  // globals that a reset restores
	memoryMark int  // an instance whose memory has grown past it is not used again
	handlers   map[string]int
	logs       minute
	counts

	imaging sync.Mutex
	file    int    // in a worker, for the image; 0 where it is made when it is needed
	image   *image // nil until there is memory for it; guarded by imaging

	// resident is an instance that keeps its place among running, so that one call
	// after the other has it without mu. resting is 1 while no call has it, and who
	// lowers that has it. Who would have its place instead adds 2: then it is given
	// back with mu, where those are seen who wait.
	resident *instance // written with mu locked, by who has it or makes it so
	resting  atomic.Int32

	mu      sync.Mutex
	idle    []*instance   // guarded by mu; the one used last is last
	running int           // calls, and 1 for a resident at rest; guarded by mu
	waiting list.List     // of chan struct{}, calls for one of those to end; guarded by mu
	closed  bool          // guarded by mu
	closing chan struct{} // closed by Close
	quiet   chan struct{} // closed when no call is left, after closing

	thrown sync.WaitGroup // of idle instances that somebody closes; begun with mu locked, and not after closing

	share  *share // of the memory of all guests, that its namespace has
	queued *share // of the calls that wait, the same

	making int64 // fuel that it takes to make an instance, beside what runs there
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
	Body []byte  // the caller's own, in Input.Into perhaps; empty for a call with a Stream
	With *Fields // nil for none
}

// Fields are what an answer has beside its body.
type Fields struct {
	Headers  weft.Header // those that Stream.SendHeaders has not sent
	Trailers weft.Header
}

// Fields of the output.
func (o Output) Fields() Fields {
	if o.With == nil {
		return Fields{}
	}
	return *o.With
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
	m := &Module{rt: r, key: key, share: r.memory.of(namespaceOf(key.Owner)), queued: r.queue.of(namespaceOf(key.Owner)), compiled: c, limits: key.Limits, words: "the handler", memory: info.Memory, grows: info.Grows,
		isolated: key.Lifecycle == weft.Isolate, mutable: info.Mutable, memoryMark: key.Limits.MemoryMiB << 20 / 4 * 3,
		handlers: map[string]int{}, closing: make(chan struct{}), quiet: make(chan struct{})}
	m.references, m.making = referencesOf(info, key.Limits), makingOf(info)
	m.way = wayOf(info)
	m.isolated = m.isolated && m.way != Command // each of its instances serves one call as it is
	for n, name := range handlersOf(info) {
		m.handlers[name] = n
	}
	return m
}

// What the engine makes for each of them in an instance, in bytes.
const (
	referenceCost = 8
	segmentCost   = 24
	globalCost    = 128
)

// referencesOf is what the tables, segments and globals of an instance come to, in bytes. What
// is usual is not counted.
func referencesOf(info meter.Info, limits weft.Limits) int {
	table := info.Table
	if info.Grows {
		table = limits.Table
	}
	bytes := referenceCost*(info.Tables*table+info.Elements) + segmentCost*info.Segments + globalCost*info.Globals
	if bytes <= 64<<10 {
		return 0
	}
	return bytes
}

// What an instance burns for each of them when it is made.
const (
	placeFuel   = 1   // in a table
	globalFuel  = 100 // takes the engine 100 ns
	segmentFuel = 100 // the same, of data
	listFuel    = 500 // takes it five times as long
)

// makingOf is the fuel that the engine's work for an instance comes to. What takes no
// longer than to look is not counted.
func makingOf(info meter.Info) int64 {
	fuel := placeFuel*info.Tables*info.Table + globalFuel*info.Globals + segmentFuel*(info.Segments-info.Lists) + listFuel*info.Lists
	if fuel <= lookAfter {
		return 0
	}
	return int64(fuel)
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
func (m *Module) Call(ctx context.Context, env Env, export string, in Input) (Output, error) {
	if in.Stream != nil && m.way != Handlers {
		return Output{}, noStreams(m.way)
	}
	i := m.first()
	if i == nil || !same(i.export, export) {
		if m.crew != nil {
			return m.delegate(ctx, env, export, in)
		}
		var err error
		if i, err = m.prepare(ctx, env, export, i); err != nil {
			return Output{}, err
		}
	}
	if said, err := i.run(ctx, env, &in); said {
		return m.end(i, err)
	}
	if !m.rest(i) {
		m.give(i)
	}
	return Output{}, nil
}

// end is what a call has at its end whose guest has done anything that the host sees.
func (m *Module) end(i *instance, err error) (Output, error) {
	defer func() { // also when something of the caller's panics
		i.call.finish()
		if !m.rest(i) {
			m.give(i)
		}
	}()
	return i.answer(err)
}

// delegate has a worker serve a call.
func (m *Module) delegate(ctx context.Context, env Env, export string, in Input) (Output, error) {
	if _, ok := m.handlers[export]; !ok {
		return Output{}, errHandler(export)
	}
	if _, err := m.enter(ctx); err != nil {
		return Output{}, err
	}
	defer m.give(nil)
	return m.crew.call(ctx, env, export, in)
}

// same reports whether two strings are one in memory, as the name of a handler is from
// call to call. To look at its letters, or to hash them, takes longer.
func same(a, b string) bool { return len(a) == len(b) && unsafe.StringData(a) == unsafe.StringData(b) }

// first is the resident, if it is at rest and nobody would have its place. rest or give
// ends its call.
func (m *Module) first() *instance {
	if m.resting.CompareAndSwap(1, 0) {
		return m.resident
	}
	return nil
}

// rest ends a call of the resident, unless somebody would have its place, or it is time
// to look at it; then give does.
func (m *Module) rest(i *instance) bool {
	return !i.broken && i.uses < i.turn && m.resting.CompareAndSwap(0, 1)
}

// prepare is an instance ready to run a handler, for one of the calls that the module
// may have at once: i, the resident, or if it is nil an idle or a new one. give ends it.
func (m *Module) prepare(ctx context.Context, env Env, export string, i *instance) (_ *instance, err error) {
	handler, ok := m.handlers[export]
	if !ok {
		if i != nil {
			m.give(i)
		}
		return nil, errHandler(export)
	}
	if i == nil {
		if i, err = m.enter(ctx); i == nil && err == nil {
			i, err = m.fresh(ctx, env, m.share)
		}
		if err != nil {
			return nil, err
		}
		i.counted++
	}
	i.pick(export, handler)
	return i, nil
}

// enter lets a call in, to an idle instance if there is one.
func (m *Module) enter(ctx context.Context) (*instance, error) {
	m.resting.Add(2)
	defer m.resting.Add(-2)
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, errClosed()
	}
	if i := m.seize(); i != nil { // and the place with it
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
func (m *Module) fresh(ctx context.Context, env Env, s *share) (i *instance, err error) {
	defer func() {
		if i == nil {
			m.give(nil)
		}
	}()
	if i, err = m.instantiate(ctx, env, s); errors.Is(err, errFull) {
		err = m.rt.squeeze(s, err, func() (err error) {
			i, err = m.instantiate(ctx, env, s)
			return err
		})
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
	if err := m.queued.take(1, true); err != nil {
		m.mu.Unlock()
		m.over(LimitQueue)
		return refusal(err, "the call cannot wait for its turn (%w)", LimitQueue)
	}
	defer m.queued.give(1)
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

// trim closes the idle instances and workers whose shares these are, or all where none is
// named, and reports whether there was one.
func (r *Runtime) trim(whose ...*share) (any bool) {
	for _, m := range r.loaded() {
		if len(whose) > 0 && !slices.Contains(whose, m.share) && (m.crew == nil || !slices.Contains(whose, m.crew.staff)) {
			continue
		}
		if m.crew != nil {
			any = m.crew.trim(false) || any
			continue
		}
		m.vacate()
		m.mu.Lock()
		throw := m.empty()
		m.mu.Unlock()
		any = throw() || any
	}
	return any
}

// empty takes all idle instances. throw closes them, without a lock, and reports whether
// there was one; Close waits for that. It is called with mu locked.
func (m *Module) empty() (throw func() bool) {
	idle := m.idle
	if m.idle = nil; len(idle) == 0 {
		return func() bool { return false }
	}
	m.thrown.Add(1)
	return func() bool {
		defer m.thrown.Done()
		for _, i := range idle {
			m.drop(i)
		}
		return true
	}
}

// seize is the resident, if it is at rest.
func (m *Module) seize() *instance {
	for {
		v := m.resting.Load()
		if v&1 == 0 {
			return nil
		}
		if m.resting.CompareAndSwap(v, v-1) {
			return m.resident
		}
	}
}

// vacate frees the place that the resident holds: it is idle then, or closed.
func (m *Module) vacate() {
	m.resting.Add(2)
	defer m.resting.Add(-2)
	if i := m.seize(); i != nil {
		m.leave(i, true, false)
	}
}

// give ends a call. It takes its instance back, if it has one, and closes it or
// one that has not been needed for long.
func (m *Module) give(i *instance) {
	fit := i != nil && !i.worn() && (!m.isolated || i.reset())
	m.leave(i, fit, fit && i.uses%turnMax != 0)
}

// leave gives up the place of a call, and its instance when it is fit for others. One
// that stays may become the resident and keep the place, when nobody waits for it.
func (m *Module) leave(i *instance, fit, stays bool) {
	drop := i
	m.mu.Lock()
	if i != nil {
		m.calls += int64(i.uses - i.counted)
		i.counted, i.turn = i.uses, 0
		if m.resident == i {
			m.resident = nil
		}
	}
	if stays && !m.closed && m.waiting.Len() == 0 && m.resident == nil {
		if m.resident = i; !m.isolated { // those are reset after each call
			i.turn = min(i.uses-i.uses%turnMax+turnMax, m.rt.opts.UsesMax)
		}
		m.resting.Add(1)
		m.mu.Unlock()
		return
	}
	if fit && !m.closed {
		drop = m.keep(i)
	}
	if drop != nil { // while the place is taken: Close waits for it
		m.mu.Unlock()
		m.drop(drop)
		m.mu.Lock()
	}
	if next := m.waiting.Front(); next != nil {
		m.waiting.Remove(next)
		close(next.Value.(chan struct{}))
	} else if m.running--; m.closed && m.running == 0 {
		close(m.quiet)
	}
	m.mu.Unlock()
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
	i.shed()
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
		m.resting.Add(2) // for good
	}
	throw := m.empty()
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
	throw()
	select {
	case <-m.quiet:
	case <-ctx.Done():
		return ctx.Err()
	}
	m.thrown.Wait()
	if m.crew != nil {
		return m.crew.close()
	}
	m.imaging.Lock()
	m.image.close()
	m.imaging.Unlock()
	return m.compiled.Close(ctx)
}
