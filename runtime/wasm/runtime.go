// Package wasm is the sandbox: it checks uploaded modules in a child process,
// compiles them, and calls their handlers within limits. It is the only room
// that sees wazero.
package wasm

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Options says where compiled code is kept and what a module may use at most.
// The zero value of each field means its default.
type Options struct {
	CacheDir  string        // compiled code; made with mode 0700. Its owner is trusted: keep it out of others' reach
	Check     []string      // command of the child that checks uploads, which calls CheckMain; default this binary with __check
	CheckMax  time.Duration // how long a check may take; default 30 s
	ModuleMax int           // bytes of an upload; default 16 MiB
	Limits    weft.Limits   // of every call; a module may ask for less
	Log       *slog.Logger
}

// DefaultLimits are those of a host whose Options name none.
var DefaultLimits = weft.Limits{MemoryMiB: 64, TimeoutMS: 30_000, CPUMS: 1_000, OutputBytes: 1 << 20, HostCalls: 1_000, Concurrency: 32}

func (o *Options) fill() error {
	if o.CacheDir == "" {
		return weft.Errorf(weft.InvalidArgument, "wasm.Open", "no folder for compiled modules")
	}
	if len(o.Check) == 0 {
		self, err := os.Executable()
		if err != nil {
			return weft.Errorf(weft.Internal, "wasm.Open", "find this program: %w", err)
		}
		o.Check = []string{self, "__check"}
	}
	if o.CheckMax <= 0 {
		o.CheckMax = 30 * time.Second
	}
	if o.ModuleMax <= 0 {
		o.ModuleMax = 16 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Limits = within(o.Limits, DefaultLimits, false)
	return nil
}

// within fills the zero fields of l from host and, when capped, lowers the others to host's.
func within(l, host weft.Limits, capped bool) weft.Limits {
	l.MemoryMiB = bound(l.MemoryMiB, host.MemoryMiB, capped)
	l.TimeoutMS = bound(l.TimeoutMS, host.TimeoutMS, capped)
	l.CPUMS = bound(l.CPUMS, host.CPUMS, capped)
	l.OutputBytes = bound(l.OutputBytes, host.OutputBytes, capped)
	l.HostCalls = bound(l.HostCalls, host.HostCalls, capped)
	l.Concurrency = bound(l.Concurrency, host.Concurrency, capped)
	return l
}

func bound[T int | int64](v, host T, capped bool) T {
	if v <= 0 || capped && v > host {
		return host
	}
	return v
}

// Runtime compiles and holds modules. Its methods may be called by many
// goroutines at once.
type Runtime struct {
	opts  Options
	log   *slog.Logger
	rt    wazero.Runtime
	cache wazero.CompilationCache

	mu      sync.Mutex
	modules map[loadKey]*loading // guarded by mu
}

type loadKey struct {
	digest string
	limits weft.Limits
}

// loading is a module that is loaded, or about to be: done says which.
type loading struct {
	done   chan struct{}
	module *Module
	err    error
}

// Open makes a runtime with an empty set of modules.
func Open(ctx context.Context, o Options) (*Runtime, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	rt, cache, err := newRuntime(ctx, o.CacheDir)
	if err != nil {
		return nil, err
	}
	return &Runtime{opts: o, log: o.Log, rt: rt, cache: cache, modules: map[loadKey]*loading{}}, nil
}

// newRuntime is the same in the host and in the child that checks, so that
// what the child compiles is found by the host in the cache.
func newRuntime(ctx context.Context, cacheDir string) (wazero.Runtime, wazero.CompilationCache, error) {
	if err := os.MkdirAll(cacheDir, 0o700); err != nil {
		return nil, nil, weft.Errorf(weft.Unavailable, "wasm.Open", "make the folder for compiled modules: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
	if err != nil {
		return nil, nil, weft.Errorf(weft.Unavailable, "wasm.Open", "open the folder for compiled modules: %w", err)
	}
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache).WithDebugInfoEnabled(false))
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, rt); err != nil {
		return nil, nil, weft.Errorf(weft.Internal, "wasm.Open", "WASI: %w", err)
	}
	if err := installHost(ctx, rt); err != nil {
		return nil, nil, weft.Errorf(weft.Internal, "wasm.Open", "host functions: %w", err)
	}
	return rt, cache, nil
}

// Close frees everything. Calls in flight must have ended.
func (r *Runtime) Close(ctx context.Context) error {
	if err := r.rt.Close(ctx); err != nil {
		return err
	}
	return r.cache.Close(ctx)
}

// Load makes a checked module ready for calls, from the cache of compiled code
// where it is there. The same digest with the same limits is loaded once,
// whoever asks meanwhile; fetch gives its bytes.
func (r *Runtime) Load(ctx context.Context, digest string, fetch func() ([]byte, error), limits weft.Limits) (*Module, error) {
	key := loadKey{digest, within(limits, r.opts.Limits, true)}
	r.mu.Lock()
	l, ok := r.modules[key]
	if !ok {
		l = &loading{done: make(chan struct{})}
		r.modules[key] = l
	}
	r.mu.Unlock()
	if ok {
		select {
		case <-l.done:
			return l.module, l.err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.module, l.err = r.load(key, fetch)
	close(l.done)
	if l.err != nil {
		r.forget(key)
	}
	return l.module, l.err
}

// Loaded is a module that has been loaded with these limits before.
func (r *Runtime) Loaded(digest string, limits weft.Limits) (*Module, bool) {
	r.mu.Lock()
	l := r.modules[loadKey{digest, within(limits, r.opts.Limits, true)}]
	r.mu.Unlock()
	if l == nil {
		return nil, false
	}
	select {
	case <-l.done:
		return l.module, l.err == nil
	default:
		return nil, false
	}
}

func (r *Runtime) forget(key loadKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.modules, key)
}

func (r *Runtime) load(key loadKey, fetch func() ([]byte, error)) (*Module, error) {
	wasm, err := fetch()
	if err != nil {
		return nil, err
	}
	metered, info, err := meter.Rewrite(wasm, meterOptions())
	if err != nil {
		return nil, err
	}
	// The compiled code lives longer than the call that asked for it.
	compiled, err := r.rt.CompileModule(context.Background(), metered)
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "wasm.Runtime.Load", "compile: %w", err)
	}
	return newModule(r, key, compiled, info), nil
}
