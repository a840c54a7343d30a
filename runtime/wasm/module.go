package wasm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// UsesMax is how many calls one instance serves before a fresh one takes its
// place: a leak in a guest ends there.
const UsesMax = 10_000

// Module is compiled code with a pool of instances. Call may be used by many
// goroutines at once.
type Module struct {
	rt       *Runtime
	key      loadKey
	compiled wazero.CompiledModule
	limits   weft.Limits
	ctx      context.Context // carries the allocator for new instances
	handlers map[string]bool
	slots    chan struct{} // one token for each call at once

	mu     sync.Mutex
	idle   []*instance // guarded by mu
	closed bool        // guarded by mu
	made   atomic.Int64
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
// instruction, memory out of bounds, too deep a recursion.
var ErrTrap = errors.New("the handler trapped")

func newModule(r *Runtime, key loadKey, c wazero.CompiledModule, info meter.Info) *Module {
	m := &Module{rt: r, key: key, compiled: c, limits: key.limits, handlers: map[string]bool{}, slots: make(chan struct{}, key.limits.Concurrency)}
	for _, name := range handlersOf(info) {
		m.handlers[name] = true
	}
	m.ctx = experimental.WithMemoryAllocator(context.Background(), allocator{max: uint64(m.limits.MemoryMiB) << 20})
	return m
}

// Call runs one handler of the module. What the guest answered with a code is
// an error with that code; a trap is Internal and wraps ErrTrap; a limit is
// ResourceExhausted, or DeadlineExceeded when it is time. After any of those
// but the first the instance is dropped.
func (m *Module) Call(ctx context.Context, env Env, export string, in Input) (Output, error) {
	if !m.handlers[export] {
		return Output{}, weft.Errorf(weft.Unimplemented, "wasm.Module.Call", "the module has no handler %q", export)
	}
	if err := m.acquire(ctx); err != nil {
		return Output{}, err
	}
	defer func() { <-m.slots }()
	i, err := m.take(ctx, env)
	if err != nil {
		return Output{}, err
	}
	out, err := i.call(ctx, env, export, in)
	if i.broken || i.uses >= UsesMax {
		i.close()
	} else {
		m.give(i)
	}
	return out, err
}

// acquire waits for one of the calls that the module may have at once.
func (m *Module) acquire(ctx context.Context) error {
	select {
	case m.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case m.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return weft.Errorf(weft.ResourceExhausted, "wasm.Module.Call", "%d calls of the module are in progress, its limit, and none ended in time", cap(m.slots)).
			WithHint("call it less, or raise limits.concurrency")
	}
}

func (m *Module) take(ctx context.Context, env Env) (*instance, error) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil, weft.Errorf(weft.Unavailable, "wasm.Module.Call", "the module has been removed")
	}
	if n := len(m.idle); n > 0 {
		i := m.idle[n-1]
		m.idle = m.idle[:n-1]
		m.mu.Unlock()
		return i, nil
	}
	m.mu.Unlock()
	return m.instantiate(ctx, env)
}

func (m *Module) give(i *instance) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		i.close()
		return
	}
	m.idle = append(m.idle, i) // at most as many as there are slots
	m.mu.Unlock()
}

// Close waits for the calls in progress and frees the module.
func (m *Module) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	idle := m.idle
	m.idle = nil
	m.mu.Unlock()
	for _, i := range idle {
		i.close()
	}
	for range cap(m.slots) {
		select {
		case m.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.rt.forget(m.key)
	return m.compiled.Close(ctx)
}

// instance is one guest with its memory; it serves one call at a time.
type instance struct {
	m      *Module
	mod    api.Module
	fns    map[string]api.Function
	fuel   api.MutableGlobal
	call_  call
	stack  [4]uint64
	uses   int
	broken bool // it must not be called again
}

// instantiate makes an instance; its _initialize runs within the limits of a call.
func (m *Module) instantiate(ctx context.Context, env Env) (*instance, error) {
	i := &instance{m: m, fns: map[string]api.Function{}}
	c := &i.call_
	c.begin(i, ctx, env, Input{})
	c.starting = true
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithSysWalltime().WithSysNanotime().WithRandSource(rand.Reader).
		WithStdout(&lines{c: c, level: levelInfo}).WithStderr(&lines{c: c, level: levelWarn})
	mod, err := m.rt.rt.InstantiateModule(m.ctx, m.compiled, config)
	if err != nil {
		return nil, weft.Errorf(weft.ResourceExhausted, "wasm.Module.instantiate", "make an instance: %w", err)
	}
	i.mod = mod
	i.fuel, _ = mod.ExportedGlobal(meter.FuelExport).(api.MutableGlobal)
	m.made.Add(1)
	if f := mod.ExportedFunction("_initialize"); f != nil {
		i.refuel()
		if _, err := f.Call(c); err != nil {
			i.close()
			return nil, i.failure("_initialize", err)
		}
	}
	c.starting = false
	return i, nil
}

func (i *instance) close() { _ = i.mod.Close(context.Background()) } // frees memory; an exit code is no news

func (i *instance) refuel() {
	i.call_.spent = 0
	if i.fuel != nil {
		i.fuel.Set(slice)
	}
}

func (i *instance) call(ctx context.Context, env Env, export string, in Input) (Output, error) {
	f := i.fns[export]
	if f == nil {
		f = i.mod.ExportedFunction(export)
		i.fns[export] = f
	}
	c := &i.call_
	c.begin(i, ctx, env, in)
	defer c.finish()
	i.uses++
	i.refuel()
	i.stack[0] = uint64(len(in.Body))
	if err := f.CallWithStack(c, i.stack[:]); err != nil {
		i.broken = true
		return Output{}, i.failure(export, err)
	}
	switch code := uint32(i.stack[0]); {
	case code == 0:
		return Output{Body: append([]byte(nil), c.out...), Headers: c.outHeaders}, nil
	case code <= uint32(weft.Unauthenticated):
		return Output{}, &weft.Error{Code: weft.Code(code), Op: "handler " + export, Err: errors.New(c.message(weft.Code(code)))}
	default:
		return Output{}, &weft.Error{Code: weft.Unknown, Op: "handler " + export, Err: fmt.Errorf("the handler returned %d, which is no code: %s", code, c.message(weft.Unknown))}
	}
}

// failure is what ended a call that did not return.
func (i *instance) failure(export string, err error) error {
	var stop *stopped
	if errors.As(err, &stop) {
		return stop.err
	}
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return weft.Errorf(weft.Internal, "handler "+export, "%w: it exited with code %d%s", ErrTrap, exit.ExitCode(), i.call_.lastLine())
	}
	return weft.Errorf(weft.Internal, "handler "+export, "%w: %s%s", ErrTrap, firstLine(err.Error()), i.call_.lastLine())
}

// remaining is the time left for the call, for the guest and for its calls out.
func (c *call) remaining() time.Duration { return time.Until(c.deadline) }
