package catalog

import (
	"context"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Service is a version of a module that has descriptors, or routes.
type Service struct {
	*Module
	Current bool // it is called where no version is named
}

// Services lists the versions with descriptors or routes of a namespace, by name.
func (c *Catalog) Services(ns string) []Service {
	var all []Service
	for _, list := range c.space(ns).modules {
		list = serving(list)
		chosen, _ := current(list, "")
		for _, m := range list {
			all = append(all, Service{m, m == chosen})
		}
	}
	return byName(all, func(s Service) string { return s.Name })
}

// serving are the versions of list with descriptors or routes.
func serving(list []*Module) []*Module {
	return slices.DeleteFunc(slices.Clone(list), func(m *Module) bool { return !m.serves() })
}

// HandlerOf is a handler of m, with the grants that m has now. A version that has
// just been removed still has its handlers for those who came before.
func (c *Catalog) HandlerOf(ctx context.Context, ns string, m *Module, name string) (Handler, error) {
	for _, now := range c.space(ns).modules[m.Name] {
		if now.Version == m.Version && now.Digest == m.Digest {
			m = now
		}
	}
	spec := specOf(m, name)
	if spec == nil {
		return Handler{}, weft.Errorf(weft.NotFound, "catalog.Catalog.HandlerOf", "module %s has no handler %q", m, name)
	}
	code, err := c.load(ctx, m)
	return Handler{Ref: weft.Ref{Name: name, Version: m.Version, Catalog: weft.DefaultCatalog}, Spec: *spec, Module: m, Code: code}, err
}

// Has reports whether m has a handler of that name.
func (m *Module) Has(handler string) bool { return specOf(m, handler) != nil }

// Promote makes a version the one that is called where none is named, whatever
// else is uploaded, until it is removed or another is promoted. An empty version
// leaves it to the newest again. Subscriptions go with it. It is how a module goes
// back: no byte is moved.
func (c *Catalog) Promote(ctx context.Context, ns, name, version string) (*Module, error) {
	m, err := c.promote(ctx, ns, name, version)
	if err != nil {
		return nil, err
	}
	c.log.Info("module is promoted", "namespace", ns, "module", name, "version", m.Version)
	c.changed()
	return m, nil
}

func (c *Catalog) promote(ctx context.Context, ns, name, version string) (*Module, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != "" || len(c.space(ns).modules[name]) == 0 {
		m, err := c.Module(ns, name, version)
		if err != nil {
			return nil, err
		}
		version = m.Version
	}
	if err := c.db.Update(ctx, func(tx *store.Tx) error { return tx.PromoteModule(ns, name, version) }); err != nil {
		return nil, err
	}
	c.update(ns, func(s *space) {
		for i, m := range s.modules[name] {
			changed := *m
			changed.Promoted = m.Version == version
			s.modules[name][i] = &changed
		}
	})
	return c.Module(ns, name, "")
}

// current is the version that is wanted, as newest finds it; where none is, the
// one that has been promoted.
func current(list []*Module, wanted string) (*Module, bool) {
	if i := slices.IndexFunc(list, func(m *Module) bool { return m.Promoted }); i >= 0 && wanted == "" {
		return list[i], true
	}
	return newest(list, wanted, (*Module).version)
}
