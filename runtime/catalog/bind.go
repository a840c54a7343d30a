package catalog

import (
	"slices"
	"strings"

	"github.com/weftrun/weft"
)

// checkBindings refuses what cannot be bound, whatever workflows there are.
func checkBindings(all []weft.Binding, handlers map[string]bool) error {
	refuse := func(hint, format string, args ...any) error {
		return weft.Errorf(weft.InvalidArgument, "catalog.Catalog.Push", format, args...).WithHint("%s", hint)
	}
	bound := map[string]bool{}
	for _, b := range all {
		name, _, _ := strings.Cut(b.Workflow, ":")
		switch {
		case (b.Method == "") == (b.Route == ""):
			return refuse("write method: or route:", "a binding to %.200q has not one method or one route", b.Workflow)
		case b.Method != "" && !weft.IsProcedure(b.Method):
			return refuse("write package.Service/Method", "%.200q is bound, and no method", b.Method)
		case name == "":
			return refuse("write workflow: with its name", "%s is bound to no workflow", b.Of())
		case b.Mode != "" && b.Mode != weft.BindWait && b.Mode != weft.BindAsync:
			return refuse("write wait or async", "the mode of %s is %.80q", b.Of(), string(b.Mode))
		case b.Pinned != "":
			return refuse("leave pinned out: weft finds it", "%s is bound to %.200q by hand", b.Of(), b.Pinned)
		case bound[b.Of()]:
			return refuse("bind it once", "%s is bound twice", b.Of())
		case handlers[b.Method]:
			return refuse("leave the handler or the binding out", "%s has a handler and is bound to a workflow", b.Method)
		}
		bound[b.Of()] = true
	}
	return nil
}

// bind pins what the methods of m are bound to. The caller holds mu.
func (c *Catalog) bind(ns string, m *Module) error {
	if m.Descriptors == nil && slices.ContainsFunc(m.Manifest.Bind, func(b weft.Binding) bool { return b.Method != "" }) {
		return weft.Errorf(weft.InvalidArgument, "catalog.Catalog.Push", "module %s binds methods and has no descriptors of them", m.Name).
			WithHint("give them with --descriptors, or have weft module build put them in")
	}
	m.Manifest.Bind = slices.Clone(m.Manifest.Bind)
	for i, b := range m.Manifest.Bind {
		name, version, _ := strings.Cut(b.Workflow, ":")
		w, err := c.workflow(ns, name, version)
		if err != nil {
			return weft.Errorf(weft.CodeOf(err), "catalog.Catalog.Push", "%s is bound to %s: %w", b.Of(), b.Workflow, err)
		}
		m.Manifest.Bind[i].Pinned = w.key() + ":" + w.version()
	}
	return nil
}

// written is a manifest without what the host has found.
func written(m weft.Manifest) weft.Manifest {
	m.Bind = slices.Clone(m.Bind)
	for i := range m.Bind {
		m.Bind[i].Pinned = ""
	}
	return m
}

// names are those of the handlers of m, and of the methods that it has bound.
func (m *Module) names() (names []string) {
	for _, h := range m.Manifest.Handlers {
		names = append(names, h.Name)
	}
	for _, b := range m.Manifest.Bind {
		if b.Method != "" {
			names = append(names, b.Method)
		}
	}
	return names
}

// BoundTo is what answers calls of a method instead of a handler, if m has bound it.
func (m *Module) BoundTo(method string) (b weft.Binding, ok bool) {
	i := slices.IndexFunc(m.Manifest.Bind, func(b weft.Binding) bool { return b.Method == method && method != "" })
	if i < 0 {
		return b, false
	}
	return m.Manifest.Bind[i], true
}

// serves reports whether m has something that is called without naming it: services,
// or routes.
func (m *Module) serves() bool { return m.Descriptors != nil || len(m.Manifest.Bind) > 0 }

// binds names a module that has bound a method, or a route, to a version of a workflow.
func (s *space) binds(w *workflow) (module, bound string) {
	for _, list := range s.modules {
		for _, m := range list {
			for _, b := range m.Manifest.Bind {
				if b.Pinned == w.key()+":"+w.version() {
					return m.String(), b.Of()
				}
			}
		}
	}
	return "", ""
}
