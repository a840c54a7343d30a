// Package wasm is the sandbox: it checks uploaded modules in a child process,
// compiles them, and calls their handlers within limits. It is the only room
// that sees wazero.
package wasm

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Options says where compiled code is kept and what a module may use at most.
// The zero value of each field means its default. Of what all modules share, memory,
// workers, checks, calls that wait and places for scripts, a namespace gets no more
// while it has seven times what is left, and what is waited for goes to namespaces in turn.
type Options struct {
	CacheDir   string         // compiled code; made with mode 0700. Its owner is trusted: keep it out of others' reach
	CacheMax   int64          // bytes of it, above which it is made anew; default 8 GiB
	Check      []string       // command of the child that checks uploads, which calls Child or CheckMain; default this binary with __check
	CheckMax   time.Duration  // how long a check may take, on a busy machine too; default 2 min
	ChecksMax  int            // checks at once; default 2
	ModuleMax  int            // bytes of an upload; default 16 MiB
	UsesMax    int            // calls that one instance serves before a fresh one takes its place; default 100,000
	MemoryMax  int64          // bytes of all instances together; default 4 GiB
	Worker     []string       // command of a worker, which calls Child or WorkerMain; default this binary with __worker
	WorkerMax  int            // worker processes at once; default 128
	Unfiltered bool           // workers start also where the kernel cannot filter their system calls
	Limits     weft.Limits    // that a module may ask for at most; default DefaultLimits
	Lifecycle  weft.Lifecycle // weft.Isolate isolates every module; default what each asks for
	Log        *slog.Logger   // default none

	MemoryOf  map[string]int64 // bytes of the instances of a namespace; none but the rule for all
	WorkersOf map[string]int64 // worker processes of a namespace; the same
	QueueMax  int              // calls of all modules that wait; default 50,000
}

// self is this program, also when another version lies in its place by now.
const self = "/proc/self/exe"

func (o *Options) fill() error {
	if o.CacheDir == "" {
		return weft.Errorf(weft.InvalidArgument, "wasm.Open", "no folder for compiled modules")
	}
	dir, err := filepath.Abs(o.CacheDir)
	if err != nil {
		return weft.Errorf(weft.Unavailable, "wasm.Open", "the folder for compiled modules: %w", err).WithHint("give its whole path")
	}
	o.CacheDir = dir // a child that is locked cannot ask where it is
	if len(o.Check) == 0 {
		o.Check = []string{self, checkArg}
	}
	if o.CheckMax <= 0 {
		o.CheckMax = 2 * time.Minute
	}
	if len(o.Worker) == 0 {
		o.Worker = []string{self, workerArg}
	}
	o.CacheMax = bound(o.CacheMax, 8<<30, math.MaxInt64)
	o.WorkerMax = bound(o.WorkerMax, 128, math.MaxInt)
	o.QueueMax = bound(o.QueueMax, 50_000, math.MaxInt)
	o.ChecksMax = bound(o.ChecksMax, 2, math.MaxInt)
	o.ModuleMax = bound(o.ModuleMax, 16<<20, math.MaxInt)
	o.UsesMax = bound(o.UsesMax, 100_000, math.MaxInt)
	o.MemoryMax = bound(o.MemoryMax, 4<<30, math.MaxInt64)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := allowed("wasm.Open", o.Limits, possible); err != nil {
		return err
	}
	if err := o.Lifecycle.Check("wasm.Open"); err != nil {
		return err
	}
	o.Limits = within(o.Limits, possible)
	return nil
}

// Runtime compiles and holds modules. Its methods may be called by many
// goroutines at once.
type Runtime struct {
	opts   Options
	engine wazero.Runtime
	cache  wazero.CompilationCache
	memory pot // of all instances
	staff  pot // worker processes
	queue  pot // calls that wait
	checks *turns
	driven *turns // modules of the host that are driven, such as the engine of scripts

	mu      sync.Mutex
	modules map[loadKey]*loading // guarded by mu; nil when closed

	nesting sync.Mutex
	nest    *nest      // guarded by nesting; where workers are started, nil until one is
	repair  sync.Mutex // of the cache
	locks   sync.Once  // to say once what workers are locked down with

	checkLocks sync.Once // the same of checks

	codeDir string // where the engine keeps compiled code, in the folder of the cache
	keeping sync.Mutex
	kept    int64 // bytes in the cache; guarded by keeping
	counted bool  // guarded by keeping
}

// Terms are how the calls of a module run. The zero value of each field means its
// default.
type Terms struct {
	Limits    weft.Limits
	Lifecycle weft.Lifecycle // default weft.Pool
	Isolation weft.Isolation // default weft.Inline
	Owner     string         // whose they are, namespace/name: calls of two owners share no instance and no limit
}

type loadKey struct {
	digest string
	Terms
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
	codeDir, err := openCache(o.CacheDir, o.Log)
	if err != nil {
		return nil, err
	}
	engine, cache, err := newEngine(ctx, o.CacheDir)
	if err != nil {
		return nil, err
	}
	r := &Runtime{opts: o, engine: engine, cache: cache, codeDir: codeDir, modules: map[loadKey]*loading{},
		memory: pot{what: "MiB", unit: 1 << 20, flag: "guest-memory-mib", max: o.MemoryMax, most: o.MemoryOf},
		staff:  pot{what: "worker processes", unit: 1, flag: "workers", max: int64(o.WorkerMax), most: o.WorkersOf},
		queue:  pot{what: "calls that wait", unit: 1, max: int64(o.QueueMax)},
		checks: newTurns("checks of uploads", o.ChecksMax, checksWaitMax)}
	usual := within(weft.Limits{}, o.Limits)
	r.driven = newTurns("scripts", usual.Concurrency, usual.Queue)
	return r, nil
}

// newEngine is the same in the host and in the child that checks, so that
// what the child compiles is found by the host in the cache.
func newEngine(ctx context.Context, cacheDir string) (wazero.Runtime, wazero.CompilationCache, error) {
	if err := os.MkdirAll(cacheDir, 0o700); err != nil {
		return nil, nil, weft.Errorf(weft.Unavailable, "wasm.Open", "make the folder for compiled modules: %w", err)
	}
	cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
	if err != nil {
		return nil, nil, weft.Errorf(weft.Unavailable, "wasm.Open", "open the folder for compiled modules: %w", err)
	}
	engine, err := engineOf(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
	return engine, cache, err
}

func engineOf(ctx context.Context, c wazero.RuntimeConfig) (wazero.Runtime, error) {
	engine := wazero.NewRuntimeWithConfig(ctx, c.WithDebugInfoEnabled(false))
	if err := installHost(ctx, engine); err != nil {
		return nil, weft.Errorf(weft.Internal, "wasm.Open", "host functions: %w", err)
	}
	return engine, nil
}

// Close closes every module, which waits for the calls in progress, and frees
// everything. When ctx ends before they do, nothing more is freed.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.modules))
	r.modules = nil
	r.mu.Unlock()
	for _, l := range all {
		<-l.done // compiling cannot be stopped; it is short for what has been checked
		if l.err != nil {
			continue
		}
		if err := l.module.Close(ctx); err != nil {
			return err
		}
	}
	r.nesting.Lock()
	if r.nest != nil {
		r.nest.close()
		r.nest = nil
	}
	r.nesting.Unlock()
	return errors.Join(r.engine.Close(ctx), r.cache.Close(ctx))
}

func (r *Runtime) key(digest string, t Terms) loadKey {
	t.Limits = within(t.Limits, r.opts.Limits)
	if t.Lifecycle != weft.Isolate {
		t.Lifecycle = cmp.Or(r.opts.Lifecycle, weft.Pool)
	}
	if t.Isolation != weft.Process {
		t.Isolation = weft.Inline
	}
	return loadKey{digest, t}
}

// Load makes a checked module ready for calls, from the cache of compiled code;
// where it is not there a child compiles it first. fetch gives its bytes. The
// same digest on the same terms is loaded once, however many ask meanwhile.
func (r *Runtime) Load(ctx context.Context, digest string, fetch func() ([]byte, error), terms Terms) (*Module, error) {
	key := r.key(digest, terms)
	return r.once(ctx, key, func() (*Module, error) {
		wasm, err := fetch()
		if err != nil {
			return nil, err
		}
		return r.compile(key, wasm, meterOptions(), false)
	})
}

// once makes a module, or waits for the one who does.
func (r *Runtime) once(ctx context.Context, key loadKey, produce func() (*Module, error)) (*Module, error) {
	r.mu.Lock()
	if r.modules == nil {
		r.mu.Unlock()
		return nil, weft.Errorf(weft.Unavailable, "wasm.Runtime.Load", "the runtime is closed")
	}
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
			return nil, &weft.Error{Code: weft.CodeOf(ctx.Err()), Op: "wasm.Runtime.Load", Err: ctx.Err()}
		}
	}
	if l.module, l.err = produce(); l.err != nil {
		r.forget(key)
	}
	close(l.done)
	return l.module, l.err
}

// Loaded is a module that has been loaded so before.
func (r *Runtime) Loaded(digest string, terms Terms) (*Module, bool) {
	r.mu.Lock()
	l := r.modules[r.key(digest, terms)]
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

// loaded lists the modules that are ready for calls.
func (r *Runtime) loaded() (all []*Module) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.modules {
		select {
		case <-l.done:
			if l.err == nil {
				all = append(all, l.module)
			}
		default:
		}
	}
	return all
}

func (r *Runtime) forget(key loadKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.modules, key) // of nil: nothing
}

// compile makes a module. One that is own comes with the host, and is compiled
// here.
func (r *Runtime) compile(key loadKey, wasm []byte, o meter.Options, own bool) (*Module, error) {
	const op = "wasm.Runtime.Load"
	metered, info, err := meter.Rewrite(wasm, o)
	if err != nil {
		return nil, err
	}
	if err := fits(op, info.MemoryPages, info.Table, key.Limits); err != nil {
		return nil, err
	}
	// What a child had to be limited for must not be compiled here, should the
	// cache be gone or the engine be a new one.
	if !own && !inCache(r.codeDir, entryOf(metered)) {
		if _, err := r.check(context.Background(), namespaceOf(key.Owner), wasm); err != nil {
			return nil, err
		}
	}
	if key.Isolation == weft.Process {
		m := newModule(r, key, nil, info)
		m.crew, err = newCrew(m, metered, info)
		return m, err
	}
	compiled, err := r.fromCache(wasm, metered, own)
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, op, "compile the module: %w", err)
	}
	return newModule(r, key, compiled, info), nil
}

// hatch is where workers are started.
func (r *Runtime) hatch() (*nest, error) {
	r.nesting.Lock()
	defer r.nesting.Unlock()
	var err error
	if r.nest == nil {
		if r.nest, err = newNest(r.opts.CacheDir, readRights, r.opts.Worker[0]); err != nil {
			r.nest = nil
			return nil, err
		}
	}
	return r.nest, nil
}

// noteLocks says once what the kernel gave to lock workers, or checks, down.
func (r *Runtime) noteLocks(once *sync.Once, who string, seccomp bool, landlock int) {
	once.Do(func() {
		level, text := slog.LevelInfo, who+" are locked down"
		if !seccomp || landlock == 0 {
			level, text = slog.LevelWarn, who+" are not locked down whole: what breaks out there reaches more"
		}
		r.opts.Log.Log(context.Background(), level, text, "seccomp", seccomp, "landlock", landlock)
	})
}
