package host

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/runtime/catalog"
)

// Trial is a call of a handler without a server.
type Trial struct {
	Wasm, Manifest []byte // the manifest beside the module, as JSON; nil for that in it
	Handler        string // empty: the only one
	Input          []byte
	Headers        weft.Header
	Config         map[string]string // over the manifest's
	Secrets        string            // folder, see Options.Secrets
	Peers          map[string]string // that it may call: the URL of each
	HTTP           []string          // host:port that it may reach
	Limits         weft.Limits       // that the host allows, see Upload.Limits
	Log            *slog.Logger      // what the handler logs
}

// Tried is what came of a Trial.
type Tried struct {
	Result   weft.Result
	Handler  string    // that was called
	Code     weft.Code // of the error that the call ended with
	Events   []weft.Event
	Withheld weft.Grants // what the manifest asks for, and the trial does not allow
}

// TryModule runs a handler in a host of its own, which begins empty and is gone
// afterwards: the same rules, grants and limits. Granted is what the manifest
// asks for, but of the outside only what the trial names. Beside the error of the
// handler is what else came of the call.
func TryModule(ctx context.Context, t Trial) (out Tried, err error) {
	const op = "host.TryModule"
	temp, err := os.MkdirTemp("", "weft-run")
	if err != nil {
		return out, weft.Errorf(weft.Unavailable, op, "a folder for the run: %w", err)
	}
	defer os.RemoveAll(temp)
	cache, done, err := cacheDir()
	if err != nil {
		return out, err
	}
	defer done()
	h, err := Open(ctx, Options{DB: filepath.Join(temp, "weft.db"), Sync: "normal", CacheDir: cache, Limits: t.Limits, HTTPAllow: t.HTTP, Secrets: t.Secrets, Log: slog.New(handlersOnly{t.Log.Handler()})})
	if err != nil {
		return out, err
	}
	defer func() {
		if closed := h.Close(context.WithoutCancel(ctx)); err == nil {
			err = closed
		}
	}()
	m, err := h.lay(ctx, t)
	if err != nil {
		return out, err
	}
	grants := m.Manifest.Grants
	out.Withheld = weft.Grants{Peers: without(grants.Peers, slices.Collect(maps.Keys(t.Peers))), HTTP: without(grants.HTTP, t.HTTP)}
	name := t.Handler
	if name == "" {
		if len(m.Manifest.Handlers) > 1 {
			var names []string
			for _, h := range m.Manifest.Handlers {
				names = append(names, h.Name)
			}
			return out, weft.Errorf(weft.InvalidArgument, op, "the module has the handlers %s", strings.Join(names, ", ")).WithHint("name one with --handler")
		}
		name = m.Manifest.Handlers[0].Name
	}
	if !slices.ContainsFunc(m.Manifest.Handlers, func(h weft.HandlerSpec) bool { return h.Name == name }) {
		return out, weft.Errorf(weft.NotFound, op, "the module has no handler %q", name).WithHint("weft module inspect lists them")
	}
	out.Result, err = h.engine.Call(ctx, weft.Call{Namespace: weft.DefaultNamespace, Handler: weft.Ref{Name: name, Catalog: weft.DefaultCatalog}, Input: t.Input, Headers: t.Headers})
	out.Handler, out.Code = name, weft.CodeOf(err)
	if err != nil {
		return out, err
	}
	out.Events, err = h.published(ctx)
	return out, err
}

// published are all events so far.
func (h *Host) published(ctx context.Context) (events []weft.Event, err error) {
	last, err := h.db.Head(ctx, weft.DefaultNamespace)
	if err != nil || last == 0 {
		return nil, err
	}
	errLast := errors.New("that was the last one")
	err = h.bus.Tail(ctx, weft.DefaultNamespace, 0, func(offset int64, e weft.Event) error {
		events = append(events, e)
		if offset >= last {
			return errLast
		}
		return nil
	})
	if errors.Is(err, errLast) {
		err = nil
	}
	return events, err
}

// lay puts the module and the peers of a trial into the host.
func (h *Host) lay(ctx context.Context, t Trial) (*catalog.Module, error) {
	p, err := pushOf(t.Wasm, t.Manifest)
	if err != nil {
		return nil, err
	}
	report, err := h.wasm.Check(ctx, t.Wasm)
	if err != nil {
		return nil, err
	}
	own := *cmp.Or(p.Manifest, report.Manifest, &weft.Manifest{})
	own.Name, own.Version = cmp.Or(own.Name, "module"), cmp.Or(own.Version, "0.0.0")
	own.Subscriptions = nil // an event that the handler publishes is shown, and calls nobody
	p.Manifest, p.Config = &own, t.Config
	pushed, err := h.cat.Push(ctx, weft.DefaultNamespace, p)
	if err != nil {
		return nil, err
	}
	grants := own.Grants
	grants.Peers, grants.HTTP = slices.Sorted(maps.Keys(t.Peers)), t.HTTP
	for _, name := range grants.Peers {
		if _, err := h.gate.Registry.Register(ctx, peers.Instance{Namespace: weft.DefaultNamespace, Service: name, ID: "trial", URL: t.Peers[name], TTL: time.Hour}); err != nil {
			return nil, err
		}
	}
	return h.cat.SetGrants(ctx, weft.DefaultNamespace, pushed.Module.Name, pushed.Module.Version, grants)
}

// without are the patterns that allow something beyond the names.
func without(patterns, names []string) []string {
	return slices.DeleteFunc(slices.Clone(patterns), func(p string) bool { return slices.Contains(names, p) })
}

// handlersOnly passes on what handlers log, and not what the host does.
type handlersOnly struct{ slog.Handler }

// Handle drops a record that names no handler.
func (h handlersOnly) Handle(ctx context.Context, r slog.Record) error {
	ours := true
	r.Attrs(func(a slog.Attr) bool { ours = a.Key != "handler"; return ours })
	if ours {
		return nil
	}
	return h.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, r.Message, 0))
}

// WithAttrs and WithGroup keep the filter.
func (h handlersOnly) WithAttrs(a []slog.Attr) slog.Handler {
	return handlersOnly{h.Handler.WithAttrs(a)}
}
func (h handlersOnly) WithGroup(name string) slog.Handler {
	return handlersOnly{h.Handler.WithGroup(name)}
}
