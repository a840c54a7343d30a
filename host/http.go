package host

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/metrics"
	"github.com/weftrun/weft/host/rpc"
)

// Bounds of a request.
const (
	headerMax  = 64 << 10         // bytes of all headers
	headerTime = 10 * time.Second // to send them
)

// Handler serves the API: Connect, gRPC and gRPC-Web, CloudEvents at /events,
// handlers at /handlers/{name}, health, metrics and reflection.
func (h *Host) Handler() http.Handler {
	server := connect.NewServer(h.edge.Intercept)
	rpc.Register(server, rpc.Rooms{Catalog: h.cat, Engine: h.engine, Gate: h.gate, Events: h.bus, ModuleMax: int64(h.opts.ModuleMax), Ready: h.ready, Drain: h.drain})
	grpcreflect.Register(server)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server, rpc.MountOptions()...)
	mux.Handle("POST /events", h.plain(h.bus.ServeHTTP))
	mux.Handle("POST /handlers/{name}", h.plain(h.call))
	mux.Handle("GET /metrics", metrics.Handler(metrics.Rooms{Gate: h.gate, Catalog: h.cat, Wasm: h.wasm, Engine: h.engine, Store: h.db}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	return h.impatient(mux)
}

// ready is nil while the host takes work.
func (h *Host) ready() error {
	if h.drain.Err() != nil {
		return rpc.ErrDraining
	}
	return h.db.Err()
}

// impatient gives a request's body BodyTime to arrive. Reflection has no such
// limit, for its client may think between two questions; it ends with the drain.
func (h *Host) impatient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w) // a server without deadlines has none to set
		switch {
		case strings.HasPrefix(r.URL.Path, "/grpc.reflection."):
			defer during(h.drain, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })()
		case r.Body != nil && r.Body != http.NoBody:
			_ = c.SetReadDeadline(time.Now().Add(h.opts.BodyTime))
			own := *r // the server looks at the body of its own request, to know whether the connection can be used again
			own.Body, r = &timed{r.Body, c}, &own
		}
		next.ServeHTTP(w, r)
	})
}

// during has fn called when ctx ends, and never after over has returned.
func during(ctx context.Context, fn func()) (over func()) {
	var mu sync.Mutex
	done := false
	stop := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			fn()
		}
	})
	return func() {
		stop()
		mu.Lock()
		defer mu.Unlock()
		done = true
	}
}

// timed is a body whose deadline is taken off when all of it has come: the call
// may go on, and a connection that waits must not end by it.
type timed struct {
	io.ReadCloser
	c *http.ResponseController
}

func (t *timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		_ = t.c.SetReadDeadline(time.Time{})
	}
	return n, err
}

// plain guards what is not Connect as the edge guards what is.
func (h *Host) plain(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				h.refuse(w, r, rpc.Panicked(p))
			}
		}()
		err := weft.CheckNamespace(r.Header.Get("Weft-Namespace"))
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
		if !slices.Contains(framing, name) {
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

// framing are the headers that are the server's alone to write.
var framing = []string{"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

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
	for _, name := range []string{"content-type", "idempotency-key", "traceparent"} {
		if v := r.Header.Get(name); v != "" {
			headers.Set(name, v)
		}
	}
	return h.engine.Call(r.Context(), weft.Call{Namespace: weft.NamespaceOr(r.Header.Get("Weft-Namespace")), Handler: ref, Input: body, Headers: headers})
}
