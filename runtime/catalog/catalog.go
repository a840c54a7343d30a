// Package catalog is what is deployed: modules with their versions, handlers,
// subscriptions and grants, and workflows. Answers come from memory; SQLite is
// the truth at start.
package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/semver"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// Options of a catalog. The zero value is useful.
type Options struct {
	Log     *slog.Logger
	Scripts *script.Engine // reads the scripts of workflows; nil for none
	Out     Gate           // fetches what workflows have elsewhere; nil for nothing

	// Admit is asked before a version with descriptors goes live, one at a time;
	// its error refuses the upload. It must not call the catalog. Nil admits all.
	Admit func(ns string, m *Module) error

	// Isolation is what the operator demands: by "namespace/module", "namespace",
	// or "" for all. What is named most closely counts; default weft.Inline.
	// ProcessUnlessSigned may be demanded, too.
	Isolation map[string]weft.Isolation

	Trusted          map[string][]Key // keys whose signatures count, by the same names; all that name a module count
	RequireSignature bool             // uploads that none of them has signed are refused
}

// Gate is the way out of the host.
type Gate interface {
	Do(ctx context.Context, r weft.Request) (weft.Response, error)
}

// Catalog is what is deployed on this host. Its methods may be called by many
// goroutines at once.
type Catalog struct {
	db      *store.DB
	rt      *wasm.Runtime
	log     *slog.Logger
	scripts *script.Engine // nil for none
	out     Gate           // nil for none
	admit   func(ns string, m *Module) error
	now     atomic.Pointer[snapshot] // what is deployed; never changed, only replaced

	// What the operator says of modules; never changed.
	isolation        map[string]weft.Isolation
	trusted          map[string][]Key
	requireSignature bool

	mu       sync.Mutex // one change at a time
	onChange []func()   // guarded by mu
}

// snapshot is all that is deployed at one moment.
type snapshot struct {
	spaces map[string]*space // by tenant namespace
}

// space is what is deployed in one tenant namespace. Versions are in ascending order.
type space struct {
	modules   map[string][]*Module
	handlers  map[string][]*Module   // by handler name: the versions that have it, or have bound the method of that name
	workflows map[string][]*workflow // by document.namespace/name
}

type workflow struct {
	def     *workflows.Definition
	digest  string
	created time.Time
}

// Open reads what is deployed. A workflow that no longer parses is an error:
// runs may depend on it.
func Open(ctx context.Context, db *store.DB, rt *wasm.Runtime, o Options) (*Catalog, error) {
	c := &Catalog{db: db, rt: rt, log: o.Log, scripts: o.Scripts, out: o.Out, admit: o.Admit, isolation: o.Isolation, trusted: o.Trusted, requireSignature: o.RequireSignature}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	s := &snapshot{spaces: map[string]*space{}}
	err := db.Modules(ctx, func(row store.Module) error {
		m, err := c.moduleOf(row)
		if err == nil {
			s.of(row.Namespace).addModule(m)
		}
		return err
	})
	if err == nil {
		err = db.Workflows(ctx, func(row store.Workflow) error {
			def, err := stored(row)
			if err != nil {
				return weft.Errorf(weft.DataLoss, "catalog.Open", "workflow %s/%s:%s cannot be read any more: %w", row.Space, row.Name, row.Version, err)
			}
			s.of(row.Namespace).addWorkflow(&workflow{def, row.Digest, time.UnixMilli(row.Created)})
			return nil
		})
	}
	if err != nil {
		return nil, err
	}
	for _, space := range s.spaces {
		space.index()
	}
	c.now.Store(s)
	return c, nil
}

func (s *snapshot) of(ns string) *space {
	if s.spaces[ns] == nil {
		s.spaces[ns] = &space{modules: map[string][]*Module{}, handlers: map[string][]*Module{}, workflows: map[string][]*workflow{}}
	}
	return s.spaces[ns]
}

// space is what is deployed in a namespace, empty when there is nothing.
func (c *Catalog) space(ns string) *space {
	if s := c.now.Load().spaces[ns]; s != nil {
		return s
	}
	return (&snapshot{spaces: map[string]*space{}}).of(ns)
}

func (s *space) addModule(m *Module) {
	s.modules[m.Name] = sorted(append(s.modules[m.Name], m), (*Module).version)
}

// index makes the handlers of the modules findable. Those of one name are of one module.
func (s *space) index() {
	for name, list := range s.modules {
		if len(list) == 0 {
			delete(s.modules, name)
		}
		for _, m := range list {
			for _, name := range m.names() {
				s.handlers[name] = append(s.handlers[name], m)
			}
		}
	}
}

func (s *space) addWorkflow(w *workflow) {
	s.workflows[w.key()] = sorted(append(slices.Clone(s.workflows[w.key()]), w), (*workflow).version)
}

func (m *Module) version() string { return m.Version }

func (w *workflow) version() string {
	_, _, v := w.def.ID()
	return v
}

func (w *workflow) key() string {
	ns, name, _ := w.def.ID()
	return ns + "/" + name
}

func sorted[T any](list []T, version func(T) string) []T {
	slices.SortFunc(list, func(a, b T) int { return semver.Compare("v"+version(a), "v"+version(b)) })
	return list
}

// newest is the last of list, which is in ascending order, whose version is
// wanted, begins with it (2 means 2.x.y), or is any when it is empty. A
// pre-release is taken only where nothing else fits or it is named in full.
func newest[T any](list []T, wanted string, version func(T) string) (found T, ok bool) {
	for _, preview := range []bool{false, true} {
		for i := len(list) - 1; i >= 0; i-- {
			v := version(list[i])
			if v == wanted || (semver.Prerelease("v"+v) != "") == preview && (wanted == "" || strings.HasPrefix(v, wanted+".")) {
				return list[i], true
			}
		}
	}
	return found, false
}

// update replaces the snapshot by one in which fn has changed one namespace,
// and tells those who asked. The caller holds mu.
func (c *Catalog) update(ns string, fn func(*space)) {
	old := c.now.Load()
	next := &snapshot{spaces: map[string]*space{}}
	for k, v := range old.spaces {
		next.spaces[k] = v
	}
	fresh := (&snapshot{spaces: map[string]*space{}}).of(ns)
	if was := old.spaces[ns]; was != nil {
		for name, list := range was.modules {
			fresh.modules[name] = slices.Clone(list)
		}
		maps.Copy(fresh.workflows, was.workflows)
	}
	fn(fresh)
	fresh.index()
	next.spaces[ns] = fresh
	c.now.Store(next)
}

// changed calls the functions of OnChange, without the lock.
func (c *Catalog) changed() {
	c.mu.Lock()
	fns := slices.Clone(c.onChange)
	c.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

// OnChange has fn called after every change of what is deployed, by the
// goroutine that made the change and with no lock held.
func (c *Catalog) OnChange(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onChange = append(c.onChange, fn)
}

// Namespaces lists the tenant namespaces in which something is deployed.
func (c *Catalog) Namespaces() []string {
	var all []string
	for ns := range c.now.Load().spaces {
		all = append(all, ns)
	}
	slices.Sort(all)
	return all
}

func byName[T any](list []T, name func(T) string) []T {
	slices.SortStableFunc(list, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return list
}

func jsonOf(v any) []byte {
	data, _ := json.Marshal(v) // plain data: cannot fail
	return data
}
