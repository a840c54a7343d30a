package host

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"unicode/utf8"

	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/metrics"
	"github.com/weftrun/weft/host/rpc"
	"github.com/weftrun/weft/host/services"
)

// plainPaths are those that the port has beside the services: no rule of a module
// may begin with one.
var plainPaths = []string{"/-", "/events", "/handlers", "/healthz", "/hooks", "/metrics", "/readyz", "/workflows"}

// Handler serves the API: Connect, gRPC and gRPC-Web, CloudEvents at /events,
// handlers at /handlers/{name}, methods too, workflows at /workflows/{name}, webhooks at
// /hooks, health, metrics and reflection, and what modules
// serve at all other paths.
func (h *Host) Handler() http.Handler {
	mux := http.NewServeMux()
	own := impatient{h, mux}
	modules := services.CORS(h.opts.Origins, h.typed) // not the API: a page that may call a module is not to upload one
	connecthttp.Mount(own, h.server, rpc.MountOptions()...)
	own.Handle("POST /events", h.plain(h.bus.ServeHTTP))
	own.Handle("POST /handlers/{name...}", h.plain(h.call))
	own.Handle("POST /workflows/{name...}", h.plain(h.run))
	own.Handle("POST /hooks/{name}", h.plain(h.hooks.ServeHTTP))
	own.Handle("POST /hooks/{namespace}/{name}", h.plain(h.hooks.ServeHTTP))
	for _, path := range []string{"/events", "/handlers/{name...}", "/workflows/{name...}", "/hooks/{name}", "/hooks/{namespace}/{name}"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		})
	}
	mux.Handle("GET /metrics", metrics.Handler(metrics.Rooms{Gate: h.gate, Wasm: h.wasm, Engine: h.engine, Hooks: h.hooks, Store: h.db, Streams: h.edge.Streams, Calls: h.typed.Calls()}))
	mux.HandleFunc(onlyPath+"{service}/", func(w http.ResponseWriter, r *http.Request) {
		service := r.PathValue("service")
		http.StripPrefix(onlyPath+service, only(service, h.typed)).ServeHTTP(w, r)
	})
	mux.Handle("/", modules)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	for _, path := range []string{"/readyz", onlyPath + "{service}/readyz"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			if err := h.ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			_, _ = io.WriteString(w, "ready\n")
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.typed.Has(r.URL.Path) { // to ask the mux takes longer than most else of such a call
			modules.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// parting has whoever calls while the host drains leave the connection. One that
// the server closes by itself may just carry a call, and then nobody could say
// whether that was begun.
func (h *Host) parting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.drain.Err() != nil {
			w.Header().Set("Connection", "close") // of HTTP/2: no further calls on it
		}
		next.ServeHTTP(w, r)
	})
}

// ready is nil while the host takes work.
func (h *Host) ready() error {
	if h.drain.Err() != nil {
		return rpc.ErrDraining
	}
	return h.db.Err()
}

// impatient gives a request's body BodyTime to arrive. What modules serve sees to
// that itself: a stream has no such limit.
type impatient struct {
	*Host
	mux *http.ServeMux
}

// Handle has next serve what fits the pattern.
func (h impatient) Handle(pattern string, next http.Handler) {
	h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r, over := services.BodyWithin(w, r, h.opts.BodyTime)
		defer over()
		next.ServeHTTP(w, r)
	})
}

// sameSite refuses what a browser sends on behalf of another site's page: a plain
// body needs no leave of ours.
var sameSite http.CrossOriginProtection

// plain guards what is not Connect as the edge guards what is.
func (h *Host) plain(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				h.refuse(w, r, rpc.Panicked(p))
			}
		}()
		err := weft.CheckNamespace(r.Header.Get("Weft-Namespace"))
		if sameSite.Check(r) != nil {
			err = weft.Errorf(weft.PermissionDenied, "host.Host.plain", "a page of another site may not ask for this").WithHint("call a service: --cors-origin is for its callers")
		}
		if h.drain.Err() != nil {
			err = rpc.ErrDraining
		}
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		next(w, r)
	})
}

// refuse answers with an error as Connect writes it.
func (h *Host) refuse(w http.ResponseWriter, r *http.Request, err error) {
	bus.Refuse(w, h.shown(r, err))
}

// shown is what a caller may see of an error.
func (h *Host) shown(r *http.Request, err error) error {
	if context.Cause(r.Context()) == rpc.ErrDraining {
		err = rpc.ErrDraining
	}
	return h.edge.Shown(r.URL.Path, err)
}

// call is a handler over plain HTTP: any body in, its output out.
func (h *Host) call(w http.ResponseWriter, r *http.Request) {
	res, err := h.callHandler(w, r)
	w.Header().Set("Content-Type", contentType(res.Output))
	for name, values := range res.Headers {
		if !services.Framing(name) {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	for name, values := range res.Trailers { // as Connect has those of an answer that is one message
		w.Header()[http.CanonicalHeaderKey("trailer-"+name)] = values
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(res.Output)
}

// contentType is that of an answer whose handler names none. It is never one
// that a browser runs.
func contentType(output []byte) string {
	switch {
	case json.Valid(output):
		return "application/json"
	case utf8.Valid(output):
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

func (h *Host) callHandler(w http.ResponseWriter, r *http.Request) (weft.Result, error) {
	ref, err := weft.ParseRef(r.PathValue("name"))
	if err != nil {
		return weft.Result{}, err
	}
	body, err := bus.Body(w, r)
	if err != nil {
		return weft.Result{}, err
	}
	headers := weft.Header{}
	for _, name := range []string{"content-type", "idempotency-key", "traceparent", weft.HeaderDepth} {
		if v := r.Header.Get(name); v != "" {
			headers.Set(name, v)
		}
	}
	return h.engine.Call(r.Context(), weft.Call{Namespace: weft.NamespaceOr(r.Header.Get("Weft-Namespace")), Handler: ref, Input: body, Headers: headers})
}
