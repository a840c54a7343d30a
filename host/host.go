// Package host is one process, assembled: it opens the rooms, wires them, and
// serves the API on one port.
package host

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/hooks"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/host/port"
	"github.com/weftrun/weft/host/rpc"
	"github.com/weftrun/weft/host/services"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/graph"
	"github.com/weftrun/weft/workflows/machine"
	"github.com/weftrun/weft/workflows/trial"
)

// Options of a host. The zero value of each field but DB means its default.
type Options struct {
	DB         string                    // the SQLite file
	Sync       string                    // see store.Options
	CacheDir   string                    // compiled modules; default: beside the file
	HTTPAllow  []string                  // private host:port that workflows may call
	Secrets    string                    // folder with DIR/NAMESPACE/NAME for each secret; default: there are none
	Zone       string                    // where this host is; calls prefer peers of the zone
	Registries []string                  // addresses of other hosts, in whose registries this one is too
	ModuleMax  int                       // bytes of an upload; default 16 MiB
	MessageMax int                       // bytes of a message to a module's service; default 4 MiB
	Origins    []string                  // whose pages may call what modules serve, such as https://shop.example; * is all, default none
	Limits     weft.Limits               // that a module may ask for at most; see wasm.DefaultLimits
	Lifecycle  weft.Lifecycle            // weft.Isolate of every module, whatever its manifest says; default what that says
	Isolation  map[string]weft.Isolation // see catalog.Options
	Trusted    map[string][]catalog.Key  // the same
	Signed     bool                      // uploads that no trusted key has signed are refused
	Unfiltered bool                      // workers start also where the kernel has no seccomp
	GuestMiB   map[string]int64          // memory of the instances of a namespace, of all under ""; default 4,096 of all
	Workers    map[string]int64          // worker processes at once, the same; default 128 of all
	TLS        port.TLS                  // files of who serves; none without TLS
	BodyTime   time.Duration             // for the body of a request to arrive; default 2 minutes
	Streams    int                       // callers who hold a stream of the API; default 20,000
	StreamsOf  int                       // of those, in one namespace; default 10,000
	// How long events are kept that every group has had, and how many bytes of
	// them; default 7 days and 4 GiB.
	RetainEvents time.Duration
	RetainBytes  int64
	// RegistryOver makes the calls to Registries; default http.DefaultTransport. Who
	// gives it closes its connections.
	RegistryOver http.RoundTripper
	Log          *slog.Logger
	Engine       engine.Options
}

// Host is an open host.
type Host struct {
	opts   Options
	log    *slog.Logger
	db     *store.DB
	wasm   *wasm.Runtime
	cat    *catalog.Catalog
	gate   *peers.Gate
	engine *engine.Engine
	bus    *bus.Bus
	hooks  *hooks.Hooks
	server *connect.Server // of the API
	tls    *tls.Config     // nil without
	typed  *services.Set   // what modules serve

	life   context.Context // of consumers, and of the loading of modules
	end    context.CancelFunc
	groups sync.WaitGroup // what lives so long

	edge       rpc.Edge
	drain      context.Context // ended when no more calls are taken
	beginDrain context.CancelFunc
	closing    sync.Once
	closed     error // what closing came to

	mu         sync.Mutex
	serving    map[string]context.CancelFunc // guarded by mu: groups, by name and version
	announcers []*announcer                  // guarded by mu: while it serves
	ended      map[string]chan struct{}      // guarded by mu: closed when the latest consumer of a group has ended

	changes  sync.Mutex      // one change of what is typed at a time
	admitted services.Module // guarded by changes: the latest that was asked for
}

// Open opens everything and goes on with the runs that were in progress.
func Open(ctx context.Context, o Options) (*Host, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CacheDir == "" {
		o.CacheDir = filepath.Join(filepath.Dir(o.DB), ".weft-cache")
	}
	if o.ModuleMax <= 0 {
		o.ModuleMax = 16 << 20
	}
	if o.BodyTime <= 0 {
		o.BodyTime = 2 * time.Minute
	}
	h := &Host{opts: o, log: o.Log, serving: map[string]context.CancelFunc{}, ended: map[string]chan struct{}{}}
	h.life, h.end = context.WithCancel(context.Background())
	h.drain, h.beginDrain = context.WithCancel(context.Background())
	h.edge = rpc.Edge{Log: h.log, Drain: h.drain, Streams: rpc.NewStreams(o.Streams, o.StreamsOf)}
	if err := h.open(ctx); err != nil {
		h.close(ctx)
		return nil, err
	}
	h.cat.OnChange(h.subscribe)
	h.cat.OnChange(h.retract)
	h.cat.OnChange(h.offer)
	h.cat.OnChange(h.declare)
	h.cat.OnChange(h.engine.Rescheduled)
	h.subscribe()
	h.offer()
	h.groups.Go(func() { h.cat.Preload(h.life) })
	h.groups.Go(func() { h.bus.Retain(h.life) })
	return h, nil
}

func (h *Host) open(ctx context.Context) (err error) {
	if h.opts.TLS != (port.TLS{}) {
		if h.tls, err = h.opts.TLS.Config(h.log); err != nil {
			return err
		}
	}
	if h.db, err = store.Open(ctx, store.Options{Path: h.opts.DB, Sync: h.opts.Sync, Log: h.log}); err != nil {
		return err
	}
	if h.wasm, err = wasm.Open(ctx, wasm.Options{CacheDir: h.opts.CacheDir, ModuleMax: h.opts.ModuleMax, Limits: h.opts.Limits, Lifecycle: h.opts.Lifecycle, Unfiltered: h.opts.Unfiltered, Log: h.log,
		MemoryMax: h.opts.GuestMiB[""] << 20, MemoryOf: bytesOf(h.opts.GuestMiB), WorkerMax: int(h.opts.Workers[""]), WorkersOf: h.opts.Workers}); err != nil {
		return err
	}
	h.opts.Engine.Scripts = script.New(h.wasm)
	if h.opts.Secrets != "" {
		h.opts.Engine.Secret = secretsIn(h.opts.Secrets)
	}
	if h.gate, err = peers.Open(ctx, h.db, peers.Options{Secret: h.opts.Engine.Secret, Here: h.here, Self: hostID(), HTTPAllow: h.opts.HTTPAllow, Zone: h.opts.Zone, Log: h.log, OnAvailable: h.available}); err != nil {
		return err
	}
	if h.cat, err = catalog.Open(ctx, h.db, h.wasm, catalog.Options{Log: h.log, Scripts: h.opts.Engine.Scripts, Out: h.gate, Admit: h.admit, Isolation: h.opts.Isolation, Trusted: h.opts.Trusted, RequireSignature: h.opts.Signed}); err != nil {
		return err
	}
	h.opts.Engine.Log = h.log
	h.mu.Lock()
	h.engine = engine.New(h.db, h.cat, h.gate, h.opts.Engine)
	h.mu.Unlock()
	h.bus = bus.New(h.db, bus.Options{Log: h.log, RetainAge: h.opts.RetainEvents, RetainBytes: h.opts.RetainBytes, Shown: h.shown})
	if h.hooks, err = hooks.Open(ctx, h.db, h.bus, hooks.Options{Log: h.log, Secret: h.opts.Engine.Secret, Shown: h.shown}); err != nil {
		return err
	}
	h.register()
	return h.engine.Start(ctx)
}

// available wakes the runs that are parked on a peer.
func (h *Host) available(ns, peer string) {
	h.mu.Lock()
	e := h.engine
	h.mu.Unlock()
	if e != nil {
		e.Wake(ns, peer)
	}
}

// subscribe serves a group for each subscribed handler, and one a namespace for
// workflows.
func (h *Host) subscribe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	wanted := map[string]bus.Group{}
	for _, ns := range append(h.cat.Namespaces(), weft.DefaultNamespace) {
		wanted[ns+" workflows"] = bus.Group{Namespace: ns, Name: "workflows",
			Handle: func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error {
				return h.engine.Accept(ctx, ns, e, ack)
			}}
		for _, s := range h.cat.Subscriptions(ns) {
			name := "handler " + s.Handler.Name + " " + s.Subscription.Type
			wanted[ns+" "+name+" "+s.Handler.Version] = bus.Group{Namespace: ns, Name: name, Wants: s.Subscription.Matches,
				Handle: func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error {
					return h.engine.Deliver(ctx, ns, s.Handler, e, ack)
				}}
		}
	}
	for name, stop := range h.serving {
		if _, ok := wanted[name]; !ok {
			stop()
			delete(h.serving, name)
		}
	}
	for name, g := range wanted {
		if h.serving[name] == nil && h.life.Err() == nil {
			ctx, stop := context.WithCancel(h.life)
			h.serving[name] = stop
			before, ended := h.ended[g.Namespace+" "+g.Name], make(chan struct{})
			h.ended[g.Namespace+" "+g.Name] = ended
			h.groups.Go(func() {
				defer close(ended)
				if before != nil {
					<-before // what an older version has in its hands would come twice
				}
				if err := h.bus.Consume(ctx, g); err != nil && ctx.Err() == nil {
					h.log.Error("group ended", "group", name, "error", err)
				}
			})
		}
	}
}

// heapFloor are bytes that are reserved while a host serves, and never touched. The
// collector of Go lets garbage grow to what is alive before it looks for it: a small
// host would have it look all the time, for a tenth of the time of a call.
const heapFloor = 32 << 20

// DrainMax is how long Serve lets calls in progress end. partTime of it is for
// those who are connected to hear that they are refused, if they call meanwhile.
const (
	DrainMax = 10 * time.Second
	partTime = 250 * time.Millisecond
)

// Serve serves until ctx ends, then drains and closes the host: it refuses new
// calls, ends streams, stops consuming events, lets what is in flight end, and
// makes everything durable. While it serves it is a peer itself, and so
// is each service of its modules.
func (h *Host) Serve(ctx context.Context, l net.Listener) error {
	defer runtime.KeepAlive(make([]byte, heapFloor))
	calls, cut := context.WithCancelCause(context.Background())
	defer cut(nil)
	s := services.Server(h.parting(h.Handler()))
	s.ErrorLog = slog.NewLogLogger(h.log.Handler(), slog.LevelWarn)
	s.BaseContext = func(net.Listener) context.Context { return calls }
	var open atomic.Int64 // connections
	s.ConnState = func(_ net.Conn, is http.ConnState) {
		switch is {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	err := h.announce(context.WithoutCancel(ctx), l.Addr())
	if err != nil {
		return errors.Join(err, l.Close(), h.Close(ctx))
	}
	failed := make(chan error, 1)
	go func() { failed <- h.serve(s, port.Join(l)) }()
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	h.log.Info("weft drains")
	drain, cancel := context.WithTimeout(context.Background(), DrainMax)
	defer cancel()
	h.withdraw(drain)
	h.beginDrain()
	late := time.AfterFunc(DrainMax/2, func() { cut(rpc.ErrDraining) })
	defer late.Stop()
	for end := time.Now().Add(partTime); err == nil && open.Load() > 0 && time.Now().Before(end); {
		time.Sleep(partTime / 50)
	}
	if s.Shutdown(drain) != nil {
		s.Close()
	}
	h.depart(drain)
	return errors.Join(err, h.Close(drain))
}

// serve serves at l, with TLS where the host has it.
func (h *Host) serve(s *http.Server, l net.Listener) error {
	if h.tls == nil {
		return s.Serve(l)
	}
	s.TLSConfig = h.tls
	return s.ServeTLS(l, "", "")
}

// Close stops consuming, lets calls end, and closes every room. What was in
// progress goes on at the next Open. It is safe twice.
func (h *Host) Close(ctx context.Context) error {
	h.closing.Do(func() {
		h.beginDrain()
		h.end()
		h.groups.Wait()
		h.closed = h.close(ctx)
	})
	return h.closed
}

func (h *Host) close(ctx context.Context) error {
	var errs []error
	if h.typed != nil {
		within, cancel := context.WithTimeout(ctx, DrainMax)
		h.typed.Close(within)
		cancel()
	}
	if h.engine != nil {
		errs = append(errs, h.engine.Close(ctx))
	}
	if h.gate != nil {
		h.gate.Close()
	}
	if h.db != nil {
		errs = append(errs, h.db.Close())
	}
	if h.wasm != nil {
		errs = append(errs, h.wasm.Close(ctx))
	}
	return errors.Join(errs...)
}

// Child is what a program begins with that opens a Host: where it has been started to
// check an upload, or to run calls of a module whose isolation is process, it does that
// and exits.
func Child() { wasm.Child() }

// ClientCertificate is that of port: it takes up new files.
func ClientCertificate(cert, key string, log *slog.Logger) (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	return port.ClientCertificate(cert, key, log)
}

// Manifest is a module's manifest in YAML as JSON.
func Manifest(yaml []byte) ([]byte, error) { return workflows.JSONOf(yaml) }

// Workflow is the name of a workflow, as space/name; it checks it as Validate does.
func Workflow(file string, source []byte) (string, error) {
	def, err := workflows.Parse(file, source)
	if err != nil {
		return "", err
	}
	space, name, _ := def.ID()
	return space + "/" + name, nil
}

// WithVersion is a workflow's text as that of another version.
func WithVersion(file string, source []byte, version string) ([]byte, error) {
	return workflows.WithVersion(file, source, version)
}

// Validate checks a workflow offline. Doubts are lines about what runs and is
// probably not meant.
func Validate(ctx context.Context, file string, source []byte) (doubts []string, err error) {
	def, err := workflows.Parse(file, source)
	if err != nil {
		return nil, err
	}
	for _, p := range def.Doubts() {
		doubts = append(doubts, p.Error())
	}
	if len(def.Scripts()) == 0 {
		return doubts, nil
	}
	return doubts, offline(ctx, func(scripts *script.Engine) error { return catalog.CheckScripts(ctx, scripts, "", def) })
}

// offline lends an engine of scripts to what runs without a host.
func offline(ctx context.Context, do func(*script.Engine) error) error {
	return sandbox(ctx, weft.Limits{}, func(rt *wasm.Runtime) error { return do(script.New(rt)) })
}

// cacheDir is where compiled code is kept without a host: where the user's
// caches are, if there is such a place. done ends its use.
func cacheDir() (dir string, done func(), err error) {
	dir, err = os.UserCacheDir()
	if err == nil {
		dir = filepath.Join(dir, "weft")
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		return dir, func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "weft"); err != nil {
		return "", nil, weft.Errorf(weft.Unavailable, "host.cacheDir", "a folder for compiled code: %w", err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

// GraphFormats are what Graph draws.
var GraphFormats = []string{"svg", "mermaid"}

// Graph is a picture of a workflow, offline, in one of GraphFormats.
func Graph(file string, source []byte, format string) (string, error) {
	def, err := workflows.Parse(file, source)
	if err != nil {
		return "", err
	}
	if format == "mermaid" {
		return graph.Mermaid(def), nil
	}
	return graph.SVG(def)
}

// Outcome is what came of a case of a test, Step one of its steps.
type (
	Outcome = trial.Outcome
	Step    = machine.Step
)

// Test runs the cases of a test of workflows, offline, each also with crashes
// where that is asked for, and hands over what came of each. The workflows are
// where the test says, seen from its file.
func Test(ctx context.Context, file string, source []byte, crashes bool, done func(Outcome) error) error {
	t, err := trial.Parse(file, source, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		return os.ReadFile(name)
	})
	if err != nil {
		return err
	}
	cases := func() error {
		for _, c := range t.Cases {
			if err := done(c.Run(crashes)); err != nil {
				return err
			}
		}
		return nil
	}
	if !t.Scripted() {
		return cases()
	}
	return offline(ctx, func(scripts *script.Engine) error {
		t.RunScripts(func(c machine.Command) machine.Entry { return engine.RunScript(ctx, scripts, "", c) })
		return cases()
	})
}
