package catalog

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/grpc"
)

// Handler is one handler of one version of a module, ready to be called.
type Handler struct {
	Ref    weft.Ref // pinned
	Spec   weft.HandlerSpec
	Module *Module
	Code   Code
	Method *grpc.Method // whose messages it takes and gives; nil where these are any bytes
}

// Code runs handlers: a *wasm.Module, or functions of a simulator.
type Code interface {
	Call(ctx context.Context, env wasm.Env, export string, in wasm.Input) (wasm.Output, error)
}

// HandlerInfo describes a handler that can be called.
type HandlerInfo struct {
	Ref    weft.Ref
	Spec   weft.HandlerSpec
	Module *Module
}

// Subscriber is a handler that wants events.
type Subscriber struct {
	Handler      weft.Ref
	Subscription weft.Subscription
}

// Handler finds the handler that ref means, and loads its module on first use. That
// of a method which streams is an error.
func (c *Catalog) Handler(ctx context.Context, ns string, ref weft.Ref) (Handler, error) {
	info, err := c.find(ns, ref)
	if err != nil {
		return Handler{}, err
	}
	method, err := info.Module.method(ref.Name)
	if err != nil {
		return Handler{}, err
	}
	code, err := c.load(ctx, info.Module)
	return Handler{Ref: info.Ref, Spec: info.Spec, Module: info.Module, Code: code, Method: method}, err
}

func (c *Catalog) find(ns string, ref weft.Ref) (HandlerInfo, error) {
	const op = "catalog.Catalog.Handler"
	if ref.Elsewhere() {
		return HandlerInfo{}, weft.Errorf(weft.NotFound, op, "no catalog %q", ref.Catalog).WithHint("handlers on this host are in the catalog %s", weft.DefaultCatalog)
	}
	s := c.space(ns)
	with := s.handlers[ref.Name]
	if m, ok := current(with, ref.Version); ok {
		if err := s.dropped(m, ref); err != nil {
			return HandlerInfo{}, err
		}
		if b, bound := m.BoundTo(ref.Name); bound { // whatever handler an older version has
			service, _, _ := strings.Cut(ref.Name, "/")
			return HandlerInfo{}, weft.Errorf(weft.NotFound, op, "%s is no handler: the workflow %s answers it in %s", ref.Name, b.Pinned, m).
				WithHint("run that workflow: a step does by run; or call %s@%s", ref.Name, service)
		}
		return HandlerInfo{Ref: weft.Ref{Name: ref.Name, Version: m.Version, Catalog: weft.DefaultCatalog}, Spec: *specOf(m, ref.Name), Module: m}, nil
	}
	if len(with) > 0 {
		return HandlerInfo{}, weft.Errorf(weft.NotFound, op, "handler %s has no version %s", ref.Name, ref.Version).WithHint("it has %s", strings.Join(versions(with), ", "))
	}
	err := weft.Errorf(weft.NotFound, op, "no handler %q in namespace %s", ref.Name, ns)
	if near := workflows.Nearest(ref.Name, slices.Sorted(maps.Keys(s.handlers))); near != "" {
		return HandlerInfo{}, err.WithHint("did you mean %s?", near)
	}
	if service, _, method := strings.Cut(ref.Name, "/"); method {
		return HandlerInfo{}, err.WithHint("push the module that serves it: weft module push; a step calls a peer's as %s@%s", ref.Name, service)
	}
	return HandlerInfo{}, err.WithHint("push the module that has it: weft module push")
}

func specOf(m *Module, handler string) *weft.HandlerSpec {
	for i := range m.Manifest.Handlers {
		if h := &m.Manifest.Handlers[i]; h.Name == handler {
			return h
		}
	}
	return nil
}

// terms are those that a module runs on. Its instances are its own: the same bytes in
// another namespace, under another name or version have other grants and another
// configuration, and a guest may keep in its memory what it has read of them.
func (m *Module) terms() wasm.Terms {
	return wasm.Terms{Limits: m.Manifest.Limits, Lifecycle: m.Manifest.Lifecycle, Isolation: m.Isolation, Owner: m.owner}
}

func (c *Catalog) load(ctx context.Context, m *Module) (*wasm.Module, error) {
	terms := m.terms()
	if code, ok := c.rt.Loaded(m.Digest, terms); ok {
		return code, nil
	}
	return c.rt.Load(ctx, m.Digest, func() ([]byte, error) {
		data, err := c.db.Blob(context.WithoutCancel(ctx), m.Digest)
		if err == nil && data == nil {
			err = weft.Errorf(weft.DataLoss, "catalog.Catalog.load", "the bytes of module %s are gone (digest %.12s)", m, m.Digest)
		}
		return data, err
	}, terms)
}

// unload frees the code of a version that has been removed, unless another uses it.
func (c *Catalog) unload(ctx context.Context, gone *Module) error {
	code, ok := c.rt.Loaded(gone.Digest, gone.terms())
	if !ok {
		return nil
	}
	for _, s := range c.now.Load().spaces {
		for _, list := range s.modules {
			for _, m := range list {
				if other, _ := c.rt.Loaded(m.Digest, m.terms()); other == code {
					return nil
				}
			}
		}
	}
	return code.Close(ctx)
}

// Call runs the handler.
func (h Handler) Call(ctx context.Context, env wasm.Env, in wasm.Input) (wasm.Output, error) {
	return h.Code.Call(ctx, env, exportOf(h.Spec), in)
}

// Handlers lists every handler of a namespace that Handler finds, by name, each in
// the version that is called where none is named. Methods that stream are none.
func (c *Catalog) Handlers(ns string) []HandlerInfo {
	var all []HandlerInfo
	for name := range c.space(ns).handlers {
		info, err := c.find(ns, weft.Ref{Name: name})
		if err == nil {
			_, err = info.Module.method(name)
		}
		if err == nil {
			all = append(all, info)
		}
	}
	return byName(all, func(h HandlerInfo) string { return h.Ref.Name })
}

// Subscriptions lists what each module subscribes to, in the version that is
// called where none is named.
func (c *Catalog) Subscriptions(ns string) []Subscriber {
	var all []Subscriber
	for _, list := range c.space(ns).modules {
		m, ok := current(list, "")
		if !ok {
			continue
		}
		for _, s := range m.Manifest.Subscriptions {
			all = append(all, Subscriber{weft.Ref{Name: s.Handler, Version: m.Version, Catalog: weft.DefaultCatalog}, s})
		}
	}
	return byName(all, func(s Subscriber) string { return s.Handler.Name })
}
