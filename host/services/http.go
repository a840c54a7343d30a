package services

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
)

// Headers that choose what is called. A path may begin with /name@version
// instead of the second.
const (
	NamespaceHeader = "Weft-Namespace"
	ModuleHeader    = "Weft-Module" // name@version
)

// NamedBy is the namespace that the headers of a call of Connect name, empty for none.
func NamedBy(ctx context.Context) string {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		return info.RequestHeader().Get(NamespaceHeader)
	}
	return ""
}

// ServeHTTP serves a call. Where none of the modules has the path, Connect gets
// a plain 404 and gRPC its code unimplemented.
func (s *Set) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.life.Err() != nil {
		refuse(w, r, context.Cause(s.life))
		return
	}
	s.Inside(w, r)
}

// Inside is ServeHTTP for calls from within the process: what is in progress makes
// them also while no more calls are taken.
func (s *Set) Inside(w http.ResponseWriter, r *http.Request) {
	leave, err := s.calls.Take(weft.NamespaceOr(r.Header.Get(NamespaceHeader)))
	if err != nil {
		refuse(w, r, err)
		return
	}
	defer leave()
	if r.URL.Path == openAPIPath || strings.HasPrefix(r.URL.Path, openAPIPath+"/") {
		s.serveOpenAPI(w, r)
		return
	}
	for {
		to, path, err := s.route(r)
		switch {
		case err != nil:
			refuse(w, r, err)
			return
		case to.Handler == nil:
			unknown(w, r, path, to.allowed)
			return
		case to.v == nil || to.v.enter():
			s.serve(w, at(r, path), to)
			return
		} // the version went away meanwhile: look again
	}
}

// Has reports whether a path is that of a method of a module which is called where
// neither namespace nor version is named. It may be served by the set without a look
// at what the process serves beside: that has other paths.
func (s *Set) Has(path string) bool {
	sp := (*s.now.Load())[weft.DefaultNamespace]
	return sp != nil && sp.chosen[path].v != nil
}

// route finds who serves r, and at which path. No handler and no error means
// that nobody does.
func (s *Set) route(r *http.Request) (to route, path string, err error) {
	path = r.URL.Path
	cut := false // path is what comes after the first part
	sp := (*s.now.Load())[weft.NamespaceOr(r.Header.Get(NamespaceHeader))]
	wanted := r.Header.Get(ModuleHeader)
	if first, rest, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/"); ok && strings.Contains(first, "@") {
		wanted, path, cut = first, "/"+rest, true
	}
	if sp == nil {
		sp = (*s.now.Load())[elsewhere]
	}
	from, rest := sp.chosen, sp.rest
	if wanted != "" {
		v := sp.versions[wanted]
		if v == nil {
			return route{}, path, weft.Errorf(weft.NotFound, "services.ServeHTTP", "module %.120q is not live", wanted).WithHint("write name@version; without it the version is called that was promoted")
		}
		from, rest = v.routes, v.rest
	}
	to, ok := from[path]
	if !ok { // a service may be known and its method not: connect has the answer
		to, ok = from[path[:strings.LastIndexByte(path, '/')+1]]
	}
	if !ok {
		raw := r.URL.EscapedPath()
		if cut {
			_, raw, _ = strings.Cut(strings.TrimPrefix(raw, "/"), "/")
		}
		f := rest.find(r.Method, raw)
		if to.allowed = f.allowed; f.rule != nil {
			to = route{Handler: f, v: f.v, unary: f.rule.plain != nil || !f.rule.method.IsStreamingServer()}
		}
	}
	return to, path, nil
}

// at is r at another path.
func at(r *http.Request, path string) *http.Request {
	if r.URL.Path == path {
		return r
	}
	moved := *r
	moved.URL = &url.URL{}
	*moved.URL = *r.URL
	moved.URL.Path, moved.URL.RawPath = path, ""
	return &moved
}

// serve hands r over. Its one message has to come in time; a stream may be
// silent as long as it likes.
func (s *Set) serve(w http.ResponseWriter, r *http.Request, to route) {
	if to.v != nil {
		defer to.v.leave()
	}
	waits := to.streams || to.v == nil
	if !to.unary {
		r = r.WithContext(context.WithValue(r.Context(), connKey{}, conn{http.NewResponseController(w), waits}))
	}
	if !waits {
		var over func()
		r, over = BodyWithin(w, r, s.opts.BodyTime)
		defer over()
	}
	to.ServeHTTP(told(w, r, to), r)
}

// BodyWithin is r with a body that has so long to arrive from now on. over has to be
// called before the server has r back.
func BodyWithin(w http.ResponseWriter, r *http.Request, d time.Duration) (_ *http.Request, over func()) {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return r, func() {}
	}
	t := &timed{ReadCloser: r.Body, w: w}
	t.timer = time.AfterFunc(d, t.end) // a deadline of h2 is two messages to its connection, for each call
	own := *r                          // the server looks at the body of its own request, to know whether the connection can be used again
	own.Body = t
	return &own, t.stop
}

// timed is a body whose time is over when all of it has come: the call may go on,
// and a connection that waits must not end by it.
type timed struct {
	io.ReadCloser
	w     http.ResponseWriter
	timer *time.Timer

	mu   sync.Mutex
	over bool // guarded by mu
}

func (t *timed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == io.EOF {
		t.stop()
	}
	return n, err
}

// stop has the time be over; then end does nothing more.
func (t *timed) stop() {
	if t.timer.Stop() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// end ends the read that is under way, and those to come.
func (t *timed) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.over { // a server without deadlines has none to set
		_ = http.NewResponseController(t.w).SetReadDeadline(time.Unix(1, 0))
	}
}

// conn is what a call came by; waits says that somebody may wait for a message.
type conn struct {
	*http.ResponseController
	waits bool
}

// connKey is the key under which a context has it.
type connKey struct{}

func connOf(ctx context.Context) conn {
	c, _ := ctx.Value(connKey{}).(conn)
	return c
}

// interrupt ends a read in progress when ctx ends: the deadline of a call, and
// the end of its version, hold for those too who wait for a message. It is over
// when what it returns has returned.
func interrupt(ctx context.Context) (over func()) {
	c := connOf(ctx)
	if !c.waits {
		return func() {}
	}
	return during(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
}

// during has fn called when ctx ends, and never after over has returned: what
// the server lends for a call is gone then.
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

// errorWriter writes what is wrong before there is a call.
var errorWriter = connecthttp.NewErrorWriter()

// refuse answers with an error in the protocol of the caller.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	_ = errorWriter.Write(w, r, wire(err)) // the caller has gone
}

// unknown answers where there is nothing.
func unknown(w http.ResponseWriter, r *http.Request, path string, allowed []string) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		refuse(w, r, weft.Errorf(weft.Unimplemented, "services.ServeHTTP", "no module serves %.200q", path))
		return
	}
	if len(allowed) > 0 {
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(slices.Compact(allowed), ", "))
		http.Error(w, "this path has other methods", http.StatusMethodNotAllowed)
		return
	}
	http.Error(w, "no module serves this path", http.StatusNotFound)
}
