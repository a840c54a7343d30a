package host

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/rpc"
	"github.com/weftrun/weft/host/services"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
)

// register makes the API, and the set of what modules serve beside it.
func (h *Host) register() {
	h.server = connect.NewServer(h.edge.Intercept)
	rpc.Register(h.server, rpc.Rooms{Catalog: h.cat, Engine: h.engine, Gate: h.gate, Events: h.bus, Hooks: h.hooks, ModuleMax: int64(h.opts.ModuleMax), Ready: h.ready, Drain: h.drain,
		Live:    func(ns, service string) bool { return h.typed.Serves(ns, service) },
		Methods: func(ns, module, version string) []string { return h.typed.Methods(ns, module, version) },
		Offers:  func(ns string) ([]services.Offer, error) { return h.typed.Offers(ns) }})
	own := map[string]bool{}
	for spec := range h.server.Specs() {
		service, _, _ := strings.Cut(spec.Procedure[1:], "/")
		own[service] = true
	}
	names := slices.Collect(maps.Keys(own))
	h.typed = services.New(services.Options{MessageMax: h.opts.MessageMax, BodyTime: h.opts.BodyTime, Own: names, Paths: slices.Concat(plainPaths, names), Place: h.edge.Streams.Take, Shown: h.edge.Shown})
	context.AfterFunc(h.drain, func() { h.typed.Drain(rpc.ErrDraining) })
}

// admit refuses an upload whose services cannot be served. No other comes in meanwhile.
func (h *Host) admit(ns string, m *catalog.Module) error {
	served, err := served(h, ns, m)
	if err != nil {
		return err
	}
	h.changes.Lock()
	defer h.changes.Unlock()
	for _, s := range h.cat.Services(ns) { // one that came just before may still be on its way
		if h.typed.Live(ns, s.Name, s.Version) {
			continue
		}
		if before, err := h.linked(ns, s.Module); err == nil {
			_ = h.typed.Add(before) // what cannot be is told by offer
		}
	}
	h.admitted = served
	return h.typed.Check(served)
}

// served is a version of a module as it serves in h, or, without one, would.
func served(h *Host, ns string, m *catalog.Module) (services.Module, error) {
	schema, err := services.Link(m.Name, m.Descriptors)
	if err == nil && !wasm.Streams(m.Imports) && len(schema.Streaming()) > 0 {
		return services.Module{}, weft.Errorf(weft.InvalidArgument, "host.served", "%s streams, and module %s is not made for weft/v1, where handlers can", schema.Streaming()[0], m.Name).
			WithHint("write a handler of weft/v1 for it (docs/ABI.md), or leave the method out of the descriptors")
	}
	return services.Module{Namespace: ns, Name: m.Name, Version: m.Version, Schema: schema, Impl: methods{h, ns, m}, Bound: boundOf(m), Plain: routesOf(h, ns, m)}, err
}

// offer makes what modules serve what the catalog has. A version that has gone
// ends its calls; those that take longer than DrainMax are cancelled.
func (h *Host) offer() {
	drain := h.reoffer()
	ctx, cancel := context.WithTimeout(context.Background(), DrainMax)
	defer cancel()
	drain(ctx)
}

func (h *Host) reoffer() (drain func(context.Context)) {
	h.changes.Lock()
	defer h.changes.Unlock()
	var wanted []services.Wanted
	var failed error
	for _, ns := range h.cat.Namespaces() {
		for _, s := range h.cat.Services(ns) {
			m := services.Module{Namespace: ns, Name: s.Name, Version: s.Version}
			if !h.typed.Live(ns, s.Name, s.Version) {
				var err error
				if m, err = h.linked(ns, s.Module); err != nil {
					failed = errors.Join(failed, err)
					continue
				}
			}
			wanted = append(wanted, services.Wanted{Module: m, Current: s.Current})
		}
	}
	h.admitted = services.Module{}
	drain, err := h.typed.Keep(wanted)
	if failed = errors.Join(failed, err); failed != nil {
		h.log.Error("services of modules are not served", "error", failed)
	}
	return drain
}

// linked is served, without linking again what has just been admitted. It is
// called with the lock of changes.
func (h *Host) linked(ns string, m *catalog.Module) (services.Module, error) {
	if h.admitted.Impl == (methods{h, ns, m}) {
		return h.admitted, nil
	}
	return served(h, ns, m)
}

// methods runs those of a version of a module: each by the handler of its name, or
// by a run of the workflow that it is bound to.
type methods struct {
	h  *Host
	ns string
	m  *catalog.Module
}

func (i methods) Implements(procedure string) bool {
	_, bound := i.m.BoundTo(procedure[1:])
	return bound || i.m.Has(procedure[1:])
}

func (i methods) Call(ctx context.Context, c *services.Call) error {
	if b, ok := i.m.BoundTo(c.Procedure[1:]); ok {
		return i.start(ctx, c, b)
	}
	timeout := timeoutOf(ctx) // before there is an instance
	handler, err := i.h.cat.HandlerOf(ctx, i.ns, i.m, c.Procedure[1:])
	if err != nil {
		return err
	}
	call := weft.Call{Namespace: i.ns, Handler: handler.Ref, Key: c.Header("Idempotency-Key"),
		HeadersOf: func() weft.Header { return headersOf(c, timeout) }}
	if !c.Unary {
		res, err := i.h.engine.Serve(ctx, handler, call, conversation{c})
		return ended(c, res, err)
	}
	if call.Input, err = c.Recv(); err != nil {
		return err
	}
	room := rooms.Get().(*[]byte)
	defer rooms.Put(room)
	call.Into = *room
	res, err := i.h.engine.Serve(ctx, handler, call, nil)
	if err := ended(c, res, err); err != nil {
		return err
	}
	if n := cap(res.Output); n > cap(*room) && n <= roomMax {
		*room = res.Output[:0] // free when it has been sent
	}
	return c.Send(res.Output)
}

// rooms are for the answers of methods with one message: what is sent is free again.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// roomMax is how large a room is kept.
const roomMax = 64 << 10

// timeoutOf are the milliseconds that a call has left, "" where it has no end.
func timeoutOf(ctx context.Context) string {
	at, ok := ctx.Deadline()
	if !ok {
		return ""
	}
	return strconv.FormatInt(max(0, time.Until(at).Milliseconds()), 10)
}

// headersOf are the headers of a call as a handler sees them.
func headersOf(c *services.Call, timeout string) weft.Header {
	headers := weft.Header{weft.HeaderProcedure: {c.Procedure}}
	for name, values := range c.Headers() {
		if name = strings.ToLower(name); name != "" && name[0] != ':' {
			headers[name] = values
		}
	}
	if q := c.Query(); q != nil {
		headers.Set(weft.HeaderQuery, q.Encode())
	}
	if timeout != "" {
		headers.Set(weft.HeaderTimeout, timeout)
	}
	return headers
}

// ended adds to an answer what its handler has left for it.
func ended(c *services.Call, res weft.Result, err error) error {
	for _, f := range []struct {
		fields weft.Header
		add    func(name, value string) error
	}{{res.Headers, c.AddHeader}, {res.Trailers, c.AddTrailer}} {
		for name, values := range f.fields {
			for _, v := range values {
				if add := f.add(name, v); add != nil && err == nil {
					err = add
				}
			}
		}
	}
	return err
}

// conversation is a call that streams, as a handler sees it.
type conversation struct{ *services.Call }

func (c conversation) Recv(ctx context.Context) ([]byte, error) {
	return c.RecvWithin(ctx)
}

func (c conversation) Send(ctx context.Context, message []byte) error {
	return c.SendWithin(ctx, message)
}

func (c conversation) SendHeaders(_ context.Context, headers weft.Header) error {
	if err := ended(c.Call, weft.Result{Headers: headers}, nil); err != nil {
		return err
	}
	return c.Call.SendHeaders()
}
