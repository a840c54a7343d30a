// Package services serves the protobuf services of modules from their
// descriptors alone, over Connect, gRPC and gRPC-Web, in protobuf and JSON.
package services

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect/v2"

	"github.com/weftrun/weft"
)

// Options of a set. The zero value of each field means its default.
type Options struct {
	MessageMax int           // bytes of one message that comes in, unpacked; default 4 MiB
	HeadersMax int           // bytes of the headers and trailers of one answer; default 64 KiB
	CallsMax   int           // calls at once, streams among them; default 20,000
	CallsOf    int           // of those, in one namespace; default 10,000
	BodyTime   time.Duration // for the one message of a call that does not stream to arrive; default 2 minutes

	// Own are the services that the process serves beside the modules. No module
	// may have one of these names, and reflection describes them too.
	Own []string

	// Paths are those that the process serves beside the modules, such as
	// /handlers. No rule of REST may begin with one.
	Paths []string

	// Place is taken by who holds a stream of reflection, and given back by leave;
	// default none.
	Place func(namespace string) (leave func(), err error)

	// Shown is what a caller may see of an error, and where it is to be logged;
	// default the error itself. Of what is no weft.Error callers see the code.
	Shown func(procedure string, err error) error
}

func (o Options) withDefaults() Options {
	if o.MessageMax <= 0 {
		o.MessageMax = 4 << 20
	}
	if o.HeadersMax <= 0 {
		o.HeadersMax = 64 << 10
	}
	if o.CallsMax <= 0 {
		o.CallsMax = 20_000
	}
	if o.CallsOf <= 0 {
		o.CallsOf = 10_000
	}
	if o.BodyTime <= 0 {
		o.BodyTime = 2 * time.Minute
	}
	if o.Place == nil {
		o.Place = func(string) (func(), error) { return func() {}, nil }
	}
	if o.Shown == nil {
		o.Shown = func(_ string, err error) error { return err }
	}
	return o
}

// Module is one version of a module.
type Module struct {
	Namespace string // the default where empty
	Name      string
	Version   string
	Schema    *Schema
	Impl      Implementation
	Bound     map[string]Binding // by procedure: methods that a workflow answers
	Plain     []Plain
}

// Binding is what answers a method instead of a handler, for those who ask what
// a service is.
type Binding struct {
	Workflow string // space/name:version
	Async    bool   // calls do not wait for the run
}

// Implementation runs the methods of one version of a module. Its methods are
// called by many goroutines at once.
type Implementation interface {
	// Implements reports whether there is a handler for the method. It is asked
	// before the version goes live.
	Implements(procedure string) bool
	// Call serves one call. A weft.Error comes to the caller with its code, text
	// and details; of other errors comes that there was one. The context ends with
	// the caller, with the deadline, or when the version has been removed.
	Call(ctx context.Context, c *Call) error
}

// Set is what is live. Its methods may be called by many goroutines at once.
type Set struct {
	opts  Options
	http  []connecthttp.Option
	now   atomic.Pointer[snapshot]
	calls *weft.Places // of those in progress
	life  context.Context
	end   context.CancelCauseFunc

	mu     sync.Mutex
	live   map[id]*version   // guarded by mu
	chosen map[module]string // guarded by mu: the version that is called where none is named
}

// id names a version, module a module.
type (
	module struct{ namespace, name string }
	id     struct {
		module
		version string
	}
)

// snapshot is all that a call is routed by. It does not change. Its keys are
// namespaces, and elsewhere.
type snapshot map[string]*space

// elsewhere stands for the namespaces in which nothing is live: there is
// reflection, of what the process itself serves.
const elsewhere = ""

// space is what is live in one namespace.
type space struct {
	chosen   routes
	rest     *tree               // of those that are chosen
	versions map[string]*version // by name@version
}

func newSpace() *space {
	return &space{chosen: routes{}, rest: &tree{}, versions: map[string]*version{}}
}

// routes are by procedure, and by /pkg.Service/ for methods that there are not.
type routes map[string]route

type route struct {
	http.Handler
	v       *version // nil for reflection, which holds nothing
	streams bool     // the caller sends a stream
	unary   bool     // nobody sends one
	allowed []string // without a handler: the methods that the path has
}

// New is a set that serves nothing yet.
func New(o Options) *Set {
	s := &Set{opts: o.withDefaults(), live: map[id]*version{}, chosen: map[module]string{}}
	s.calls = weft.NewPlaces("services.ServeHTTP", "calls are in progress", "try again in a moment", s.opts.CallsMax, s.opts.CallsOf)
	s.life, s.end = context.WithCancelCause(context.Background())
	s.http = []connecthttp.Option{
		connecthttp.WithCodecs(binaryCodec{connectproto.NewBinaryCodec()}, jsonCodec{connectproto.NewJSONCodec()}),
		connecthttp.WithCompressMinBytes(compressMin),
		connecthttp.WithReadMaxBytes(s.opts.MessageMax),
		connecthttp.WithSendMaxBytes(answerMax),
	}
	s.publish()
	return s
}

const (
	answerMax   = 4 << 20 // bytes of one message that goes out, before it is packed
	compressMin = 1024    // bytes that are worth packing
)

// Add makes a version live. It is called by its own name; where it is the first
// of its module, also where no version is named. A method without a handler, a
// service that another module of the namespace has, and a version that is live
// are refused.
func (s *Set) Add(m Module) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.add(m); err != nil {
		return err
	}
	if of := m.id(); s.chosen[of.module] == "" {
		s.chosen[of.module] = of.version
	}
	s.publish()
	return nil
}

// add is Add before anybody sees it. It is called with the lock.
func (s *Set) add(m Module) error {
	if err := s.check(m); err != nil {
		return err
	}
	m.Namespace = weft.NamespaceOr(m.Namespace)
	s.live[m.id()] = s.version(m)
	return nil
}

// Check is the error that Add would give.
func (s *Set) Check(m Module) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.check(m)
}

// check is called with the lock.
func (s *Set) check(m Module) error {
	if err := m.check(); err != nil {
		return err
	}
	return s.clash(m)
}

func (m Module) id() id { return id{module{weft.NamespaceOr(m.Namespace), m.Name}, m.Version} }

func (m Module) check() error {
	if m.Name == "" || m.Version == "" || strings.ContainsAny(m.Name+m.Version, "/@") {
		return weft.Errorf(weft.InvalidArgument, "services.Add", "%q is no name of a module and its version", m.Name+"@"+m.Version)
	}
	if len(m.Schema.services) == 0 && len(m.Plain) == 0 {
		return weft.Errorf(weft.InvalidArgument, "services.Add", "the descriptors of %s have no service", m.Name)
	}
	bound := maps.Clone(m.Bound)
	for method := range m.Schema.methods() {
		p := procedure(method)
		if _, is := bound[p]; is && (method.IsStreamingClient() || method.IsStreamingServer()) {
			return weft.Errorf(weft.InvalidArgument, "services.Add", "module %s binds %s to a workflow, and it streams", m.Name, p).WithHint("a workflow has one input and one output")
		}
		delete(bound, p)
		if !m.Impl.Implements(p) {
			return weft.Errorf(weft.InvalidArgument, "services.Add", "module %s has no handler for %s", m.Name, p).WithHint("export one, bind it to a workflow, or leave the method out of the descriptors")
		}
	}
	for _, p := range slices.Sorted(maps.Keys(bound)) {
		return weft.Errorf(weft.InvalidArgument, "services.Add", "module %s binds %s, which its descriptors do not have", m.Name, p).WithHint("write package.Service/Method as the descriptors do")
	}
	return nil
}

// clash is called with the lock.
func (s *Set) clash(m Module) error {
	if s.live[m.id()] != nil {
		return weft.Errorf(weft.AlreadyExists, "services.Add", "%s is live", m.id())
	}
	taken := map[string]string{}
	for _, name := range slices.Concat(system, s.opts.Own) {
		taken[name] = "weft itself"
	}
	for of, other := range s.live {
		if of.namespace == m.id().namespace && of.name != m.Name {
			for _, name := range other.Schema.Services() {
				taken[name] = "module " + of.name
			}
		}
	}
	for _, name := range m.Schema.Services() {
		if by := taken[name]; by != "" {
			return weft.Errorf(weft.AlreadyExists, "services.Add", "service %s of module %s is served by %s", name, m.Name, by).WithHint("a service has one module in a namespace; give the package another name")
		}
	}
	return s.clashREST(m)
}

// Wanted is a version that is to be live.
type Wanted struct {
	Module
	Current bool // it is called where no version is named
}

// Keep makes live what is wanted and nothing else, at one moment: there is none
// in which a call finds nobody. A version that is live stays as it is, and needs no
// schema. What cannot be served is left out, and err says why. Calls in progress
// end where they began: drain waits for those of what has gone, and when its
// context ends they are cancelled, with ErrRemoved. On its return there are none.
func (s *Set) Keep(wanted []Wanted) (drain func(context.Context), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stays := map[id]bool{}
	for _, w := range wanted {
		stays[w.id()] = true
	}
	var gone []*version
	for of, v := range s.live {
		if !stays[of] {
			delete(s.live, of)
			gone = append(gone, v)
		}
	}
	clear(s.chosen)
	for _, w := range wanted {
		if s.live[w.id()] == nil {
			if failed := s.add(w.Module); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
		}
		if of := w.id(); w.Current || s.chosen[of.module] == "" {
			s.chosen[of.module] = of.version
		}
	}
	s.publish()
	return func(ctx context.Context) {
		for _, v := range gone {
			v.drain(ctx, ErrRemoved)
		}
	}, err
}

// Live reports whether a version is.
func (s *Set) Live(namespace, name, version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[Module{Namespace: namespace, Name: name, Version: version}.id()] != nil
}

// Calls are the places of calls in progress.
func (s *Set) Calls() *weft.Places { return s.calls }

// Drain takes no more calls: each gets why, and so do the streams of reflection.
// What is in progress goes on. It is safe twice.
func (s *Set) Drain(why error) { s.end(why) }

// Close removes all that is live, and drains it as Keep does. It is safe twice.
func (s *Set) Close(ctx context.Context) {
	drain, _ := s.Keep(nil) // nothing is added
	s.end(ErrRemoved)
	drain(ctx)
}

// Methods are those of a version that is live, such as orders.v1.OrderService/Place,
// and its plain routes, such as POST /v1/checkout.
func (s *Set) Methods(namespace, name, version string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.live[Module{Namespace: namespace, Name: name, Version: version}.id()]; v != nil {
		for m := range v.Schema.methods() {
			all = append(all, procedure(m)[1:])
		}
		for _, r := range v.plain {
			all = append(all, r.plain.Route)
		}
	}
	return all
}

// Serves reports whether a service is live where no version is named.
func (s *Set) Serves(namespace, service string) bool {
	now := *s.now.Load()
	sp := now[weft.NamespaceOr(namespace)]
	if sp == nil {
		sp = now[elsewhere]
	}
	return sp.chosen["/"+service+"/"].Handler != nil
}

// publish makes the snapshot anew. It is called with the lock.
func (s *Set) publish() {
	snap, views := snapshot{elsewhere: newSpace()}, map[string]view{elsewhere: {own: s.opts.Own}}
	for of, v := range s.live {
		sp := snap[of.namespace]
		if sp == nil {
			sp = newSpace()
			snap[of.namespace] = sp
		}
		sp.versions[of.String()] = v
		if s.chosen[of.module] == of.version {
			maps.Copy(sp.chosen, v.routes)
			sp.rest.add(v)
			views[of.namespace] = view{modules: append(views[of.namespace].modules, v.Schema), own: s.opts.Own}
		}
	}
	for namespace, sp := range snap {
		s.reflected(s.life, views[namespace], sp.chosen)
	}
	s.now.Store(&snap)
}

func (of id) String() string { return of.name + "@" + of.version }

// system are services that no module may have: the set's own, and health.
var system = []string{grpcreflect.ReflectV1ServiceName, grpcreflect.ReflectV1AlphaServiceName, "grpc.health.v1.Health"}

// version is a live version of a module.
type version struct {
	Module
	opts   *Options
	server *connect.Server
	routes routes
	rest   *tree
	plain  []*rule

	described   func() ([]byte, error)      // by OpenAPI
	descriptors func() ([]byte, error)      // for who generates code
	explained   func() (explanation, error) // to people

	life    context.Context
	end     context.CancelCauseFunc
	calls   atomic.Int64 // in progress
	retired atomic.Bool
	quiet   chan struct{} // closed when it is retired and there is no call
	once    sync.Once     // to close it
}

func (s *Set) version(m Module) *version {
	v := &version{Module: m, opts: &s.opts, server: connect.NewServer(), routes: routes{}, rest: &tree{}, quiet: make(chan struct{})}
	v.life, v.end = context.WithCancelCause(context.Background())
	v.plain, _ = m.plainRules() // it has been checked
	v.rest.add(v)
	v.described = sync.OnceValues(func() ([]byte, error) { return m.Schema.OpenAPI(m.Name, m.Version, m.Bound, v.plain...) })
	v.descriptors = sync.OnceValues(m.Schema.Descriptors)
	v.explained = sync.OnceValues(func() (e explanation, err error) {
		e.services, e.schemas, err = m.Schema.Describe()
		for _, s := range e.services {
			for i := range s.Methods {
				s.Methods[i].Bound = m.Bound[s.Methods[i].Procedure]
			}
		}
		return e, err
	})
	streams, unary := map[string]bool{}, map[string]bool{}
	for method := range m.Schema.methods() {
		v.server.Register(v.method(method))
		streams[procedure(method)] = method.IsStreamingClient()
		unary[procedure(method)] = !method.IsStreamingClient() && !method.IsStreamingServer()
	}
	connecthttp.Mount(mounted(func(path string, h http.Handler) {
		v.routes[path] = route{Handler: h, v: v, streams: streams[path], unary: unary[path]}
	}), v.server, s.http...)
	s.reflected(v.life, view{modules: []*Schema{m.Schema}}, v.routes)
	return v
}

// mounted is what connect hands its handlers to.
type mounted func(path string, h http.Handler)

func (m mounted) Handle(path string, h http.Handler) { m(path, h) }

// enter begins a call, unless the version takes none: then there is a newer
// snapshot to look in.
func (v *version) enter() bool {
	v.calls.Add(1)
	if v.retired.Load() {
		v.leave()
		return false
	}
	return true
}

func (v *version) leave() {
	if v.calls.Add(-1) == 0 && v.retired.Load() {
		v.once.Do(func() { close(v.quiet) })
	}
}

// drain waits for the calls in progress, and cancels them when ctx ends.
func (v *version) drain(ctx context.Context, why error) {
	v.calls.Add(1) // so that the last to leave may be this
	v.retired.Store(true)
	v.leave()
	select {
	case <-v.quiet:
	case <-ctx.Done():
	}
	v.end(why)
	<-v.quiet
}

// ErrRemoved is what calls get that outlast their version.
var ErrRemoved = weft.Errorf(weft.Unavailable, "services.Keep", "this version of the module was removed").WithHint("call again: another version may serve it")
