package peers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Options bounds the gate, where a policy says nothing else. The zero value of
// each field means its default.
type Options struct {
	Total       time.Duration // of a call with its retries; default 10 s
	Attempt     time.Duration // of one attempt; default 2 s
	Retries     int           // of calls that may be repeated; default 2
	RetryMin    time.Duration // default 100 ms, doubled, with full jitter
	RetryMax    time.Duration // default 2 s
	Bulkhead    int           // calls at once of one caller to one peer; default 64
	BodyMax     int64         // bytes of an answer; default 4 MiB
	Peers       int           // services and plain HTTP hosts whose breakers are kept; default 20,000
	HTTPAllow   []string      // host:port that workflows may reach although it is private
	Zone        string        // of this host; calls prefer instances of it
	Log         *slog.Logger
	OnAvailable func(ns, peer string) // the peer may answer again

	// Here serves a service that this host has itself, nil where it has none of that
	// name. It is called before the instances in the registry, in process, and has a
	// breaker like them, under the name Self: that by which this host registers.
	Here func(ns, service string) http.Handler
	Self string // default here

	// Secret gives a secret that the TLS of a peer names. Default: there are none.
	Secret func(ns, name string) ([]byte, error)

	// Send makes one attempt, at base if it is to a registered peer, and reads at
	// most so many bytes of its answer; default: over the network.
	Send func(ctx context.Context, r weft.Request, base string, bodyMax int64) (weft.Response, error)
}

func (o *Options) fill() {
	set(&o.Total, 10*time.Second)
	set(&o.Attempt, 2*time.Second)
	set(&o.Retries, 2)
	set(&o.RetryMin, 100*time.Millisecond)
	set(&o.RetryMax, 2*time.Second)
	set(&o.Bulkhead, 64)
	set(&o.BodyMax, 4<<20)
	set(&o.Peers, 20_000)
	o.Self = cmp.Or(o.Self, "here")
	if o.Here == nil {
		o.Here = func(string, string) http.Handler { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Secret == nil {
		o.Secret = func(string, string) ([]byte, error) {
			return nil, weft.Errorf(weft.NotFound, "peers.Gate.Do", "there are no secrets").WithHint("weft serve --secrets DIR")
		}
	}
	if o.OnAvailable == nil {
		o.OnAvailable = func(string, string) {}
	}
}

func set[T ~int | ~int64](field *T, v T) {
	if *field <= 0 {
		*field = v
	}
}

// Gate is the only door out of a guest and of a workflow's HTTP calls.
type Gate struct {
	*Registry
	db    *store.DB
	opts  Options
	http  http.RoundTripper // to registered peers
	grpc  http.RoundTripper // to registered peers that are asked for their health by gRPC
	world func(grants *weft.Grants, grpc bool) http.RoundTripper
	out   *outside
	ways  ways

	mu       sync.Mutex
	peers    map[serviceKey]*peer       // guarded by mu
	made     int64                      // guarded by mu: peers so far
	uses     int64                      // guarded by mu: of peers so far
	policies map[serviceKey]Policy      // guarded by mu
	watchers map[*breakerWatch]struct{} // guarded by mu

	forgets sync.Mutex // one at a time makes room for peers; taken before the others

	closed atomic.Bool
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// Open reads the registry and begins to serve.
func Open(ctx context.Context, db *store.DB, o Options) (*Gate, error) {
	o.fill()
	g := &Gate{db: db, opts: o, peers: map[serviceKey]*peer{}, policies: map[serviceKey]Policy{}, watchers: map[*breakerWatch]struct{}{}}
	g.ways = ways{secret: o.Secret, byPeer: map[serviceKey]*way{}}
	var err error
	if g.opts.Send == nil {
		g.opts.Send = g.send
	}
	if g.Registry, err = openRegistry(ctx, db, o, g.came, g.left); err != nil {
		return nil, err
	}
	if err = g.loadBreakers(ctx); err != nil {
		return nil, err
	}
	dial := &net.Dialer{Timeout: o.Attempt}
	g.http = newTransport(dial.DialContext, nil)
	g.grpc = onlyHTTP2(newTransport(dial.DialContext, nil))
	g.out = &outside{attempt: o.Attempt, allow: o.HTTPAllow}
	g.world = func(grants *weft.Grants, grpc bool) http.RoundTripper { return g.out.transport(grants, grpc) }
	life, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.done.Go(func() { g.sweep(life, g.check) })
	g.done.Go(func() { g.watchHealth(life) })
	return g, nil
}

// Close ends the sweeper and the timers of the breakers.
func (g *Gate) Close() {
	g.closed.Store(true)
	g.stop()
	g.done.Wait()
	for _, p := range g.all() {
		p.mu.Lock()
		for _, gd := range p.guards {
			gd.timer.Stop()
		}
		p.mu.Unlock()
	}
	g.out.close()
	g.ways.close()
	for _, rt := range []http.RoundTripper{g.http, g.grpc} {
		if t, ok := rt.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// Do makes one outbound call: grants, then retries around the limits of the
// peer, a pick of an instance, its breaker and the attempt. An error that is a
// *weft.OpenError says that no attempt would be made now.
func (g *Gate) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	target, err := g.target(r)
	if err != nil {
		return weft.Response{}, err
	}
	p, err := g.peer(r.Namespace, target)
	if err != nil {
		return weft.Response{}, err
	}
	p.counts.calls.Add(1)
	o := p.policy.Load().of(r)
	ends := time.Now().Add(o.Total)
	var last error
	for try := 0; ; try++ {
		if try > 0 {
			p.counts.retries.Add(1)
		}
		res, err := g.attempt(ctx, r, p, try, ends)
		if err == nil || isOpen(err) || !weft.CodeOf(err).Unwell() || ctx.Err() != nil {
			return res, err
		}
		if last = err; try >= o.Retries || !repeatable(r) || !p.mayRetry(o) {
			break
		}
		wait := rand.N(min(o.RetryMin<<try, o.RetryMax)) // full jitter (Amazon Builders' Library, Timeouts, retries, and backoff with jitter)
		if time.Until(ends) <= wait || sleep(ctx, wait) != nil {
			return weft.Response{}, last
		}
	}
	if open := g.closedTo(r, target); open != nil {
		return weft.Response{}, open
	}
	return weft.Response{}, last
}

func isOpen(err error) bool {
	var open *weft.OpenError
	return errors.As(err, &open)
}

// target is the peer's name as breakers and grants know it.
func (g *Gate) target(r weft.Request) (string, error) {
	const op = "peers.Gate.Do"
	denied := func(kind, name string) error {
		return weft.Errorf(weft.PermissionDenied, op, "%s may not reach %s %s", r.Caller, kind, name).WithHint("ask for it under grants in the manifest, and grant it")
	}
	if r.Peer != "" {
		if names := r.Names(); r.Grants != nil && !weft.Allows(r.Grants.Peers, names[0]) && !weft.Allows(r.Grants.Peers, names[1]) {
			return "", denied("peer", names[1])
		}
		if !strings.HasPrefix(r.Procedure, "/") {
			return "", weft.Errorf(weft.InvalidArgument, op, "procedure %q does not begin with a slash", r.Procedure)
		}
		return r.Peer, nil
	}
	name := r.Target()
	if name == "" {
		return "", weft.Errorf(weft.InvalidArgument, op, "%q is not an http or https address", r.URL)
	}
	if _, host, _ := strings.Cut(name, "://"); r.Grants != nil && !weft.Allows(r.Grants.HTTP, host) {
		return "", denied("host", host)
	}
	return name, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

var (
	errPanicked = errors.New("the call panicked")
	errNothing  = errors.New("it says nothing about the callee")
	errDenied   = errors.New("is not a public address") // and nothing was sent
)

// attempt waits for its place, picks an instance whose breaker lets it through
// and calls it.
func (g *Gate) attempt(ctx context.Context, r weft.Request, p *peer, try int, ends time.Time) (res weft.Response, err error) {
	o := p.policy.Load().of(r)
	if err := p.enter(ctx, r.Caller, o, try, ends); err != nil {
		return weft.Response{}, err
	}
	defer p.leave(r.Caller, o)
	now := time.Now()
	base, pass, err := g.pick(r, p, now)
	if err != nil {
		if isOpen(err) {
			p.counts.attempts[RefusedOpen].Add(1)
		}
		return weft.Response{}, err
	}
	sick := errPanicked // unless it returns
	defer func() { g.settle(&pass, o, sick) }()
	at := now.Add(o.Attempt)
	if ends.Before(at) {
		at = ends
	}
	tryCtx, cancel := context.WithDeadline(ctx, at)
	defer cancel()
	res, err = g.opts.Send(tryCtx, r, base, o.BodyMax)
	if sick = diagnose(r, res, err); errors.Is(ctx.Err(), context.Canceled) {
		sick = errNothing
		return res, ctx.Err()
	}
	return res, err
}

// diagnose is why an answer says that the callee is not well, or nil.
func diagnose(r weft.Request, res weft.Response, err error) error {
	switch {
	case errors.Is(err, errDenied):
		return errDenied
	case err == nil && r.Peer == "" && res.Status >= 500:
		return fmt.Errorf("status %d", res.Status)
	case weft.CodeOf(err).Unwell():
		return err
	}
	return nil
}

// pick is an address and the leave to call it once. No instance, or only ones
// whose breakers are open, is a *weft.OpenError.
func (g *Gate) pick(r weft.Request, p *peer, now time.Time) (base string, c pass, err error) {
	if r.Peer == "" {
		if c, ok := g.allow(p, &lease{}, now); ok {
			return "", c, nil
		}
		return "", c, g.notNow(r, p.service)
	}
	here := g.opts.Here(r.Namespace, p.service) != nil
	if here {
		if c, ok := g.allow(p, &lease{Instance: Instance{ID: g.opts.Self}}, now); ok {
			return hereURL, c, nil
		}
	}
	s := g.service(r.Namespace, p.service)
	if s == nil && here {
		return "", c, g.notNow(r, p.service)
	}
	if s == nil {
		return "", c, weft.Errorf(weft.NotFound, "peers.Gate.Do", "no peer %q was ever registered in namespace %s", p.service, r.Namespace).WithHint("weft peer list shows what there is")
	}
	if l := s.pick(now.Sub(g.begun)); l != nil && l.sick.Load() == nil {
		if c, ok := g.allow(p, l, now); ok {
			return l.URL, c, nil
		}
	}
	for _, list := range [][]*lease{s.near, s.far} { // whoever is well, then
		first := rand.IntN(max(1, len(list)))
		for i := range list {
			if l := list[(first+i)%len(list)]; l.sick.Load() == nil {
				if c, ok := g.allow(p, l, now); ok {
					return l.URL, c, nil
				}
			}
		}
	}
	return "", c, g.notNow(r, p.service)
}

// notNow is why no call can be made now.
func (g *Gate) notNow(r weft.Request, target string) error {
	if open := g.closedTo(r, target); open != nil {
		return open
	}
	return &weft.OpenError{Namespace: r.Namespace, Peer: target, Until: time.Now().Add(probeWait), Reason: "a probe is on its way"}
}

// send makes one HTTP request.
func (g *Gate) send(ctx context.Context, r weft.Request, base string, bodyMax int64) (weft.Response, error) {
	const op = "peers.Gate.Do"
	method, address := r.Method, r.URL
	if r.Peer != "" {
		method, address = http.MethodPost, base+r.Procedure
	}
	transport, err := g.over(r, base)
	if err != nil {
		return weft.Response{}, err
	}
	if method == "" {
		method = http.MethodGet
	}
	payload := r.Body
	if r.GRPC {
		payload = framed(r.Body)
	}
	q, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(payload))
	if err != nil {
		return weft.Response{}, weft.Errorf(weft.InvalidArgument, op, "%w", err)
	}
	if r.Peer != "" {
		q.Header.Set("Content-Type", "application/json")
		if !weft.IsJSON(r.Body) {
			q.Header.Set("Content-Type", "application/proto")
		}
	}
	for name, v := range r.Headers {
		q.Header.Set(name, v)
	}
	if r.IdempotencyKey != "" {
		q.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	if at, _ := ctx.Deadline(); r.GRPC {
		askGRPC(q, at)
	} else if r.Peer != "" {
		propagate(ctx, r, q.Header)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		return g.redirect(r, next, via)
	}}
	res, err := client.Do(q)
	if err != nil {
		return weft.Response{}, callError(cmp.Or(r.Peer, q.URL.Host), q, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, bodyMax+1))
	if err != nil {
		return weft.Response{}, sendError(err)
	}
	if int64(len(body)) > bodyMax {
		return weft.Response{}, weft.Errorf(weft.ResourceExhausted, op, "the answer of %s is over %d bytes", res.Request.URL.Host, bodyMax)
	}
	if r.GRPC {
		return answerGRPC(res, body)
	}
	out := weft.Response{Status: res.StatusCode, Headers: map[string]string{}, Body: body}
	for name, values := range res.Header {
		out.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if r.Peer != "" && res.StatusCode != http.StatusOK {
		return weft.Response{}, answered(res.StatusCode, body)
	}
	return out, nil
}

// propagate tells a peer how much time there is, who calls, and which trace the
// call belongs to: its own where the caller has none.
// Source: https://www.w3.org/TR/trace-context/#traceparent-header
func propagate(ctx context.Context, r weft.Request, h http.Header) {
	if at, ok := ctx.Deadline(); ok {
		h.Set("Connect-Timeout-Ms", strconv.FormatInt(max(1, time.Until(at).Milliseconds()), 10))
	}
	h.Set("Weft-Caller", r.Caller)
	h.Set("Weft-Namespace", r.Namespace)
	if r.Depth > 0 {
		h.Set(weft.HeaderDepth, strconv.Itoa(r.Depth))
	}
	if h.Get("Traceparent") == "" {
		h.Set("Traceparent", fmt.Sprintf("00-%016x%016x-%016x-00", rand.Uint64(), rand.Uint64()|1, rand.Uint64()|1))
	}
}

// redirect lets a plain HTTP call go where it may, and a peer's call nowhere.
func (g *Gate) redirect(r weft.Request, next *http.Request, via []*http.Request) error {
	if r.Peer != "" || r.NoRedirect {
		return http.ErrUseLastResponse
	}
	if len(via) >= 5 {
		return weft.Errorf(weft.Unavailable, "peers.Gate.Do", "more than 5 redirects")
	}
	if r.Grants != nil && !weft.Allows(r.Grants.HTTP, hostPort(next.URL)) {
		return weft.Errorf(weft.PermissionDenied, "peers.Gate.Do", "%s may not be redirected to %s", r.Caller, hostPort(next.URL))
	}
	return nil
}

// sendError classifies what net/http says.
func sendError(err error) error {
	var e *weft.Error
	if errors.As(err, &e) {
		return e
	}
	code := weft.Unavailable
	if errors.Is(err, context.DeadlineExceeded) {
		code = weft.DeadlineExceeded
	}
	cause := err
	var op *net.OpError
	var sys syscall.Errno
	var at *url.Error
	switch {
	case errors.As(err, &sys):
		cause = sys
	case errors.As(err, &op):
		cause = op.Err
	case errors.As(err, &at):
		cause = at.Err
	}
	return weft.Errorf(code, "peers.Gate.Do", "%w", cause)
}

// answered is a peer's error: what Connect writes as JSON, or what the status
// says; but a limit of rates, unlike there, says nothing of the peer's health.
// Source: https://connectrpc.com/docs/protocol#error-codes
func answered(status int, body []byte) error {
	var e struct {
		Code, Message string
		Details       []struct{ Type, Value string }
	}
	if json.Unmarshal(body, &e) == nil && e.Code != "" {
		out := weft.Errorf(weft.ParseCode(e.Code), "peers.Gate.Do", "%s", e.Message)
		for _, d := range e.Details {
			if value, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(d.Value, "=")); err == nil && d.Type != "" {
				out.Details = append(out.Details, weft.Detail{Type: d.Type, Value: value})
			}
		}
		return out
	}
	if status == http.StatusUnsupportedMediaType || status == http.StatusHTTPVersionNotSupported {
		return weft.Errorf(weft.Unimplemented, "peers.Gate.Do", "it takes no message of this kind (status %d)", status).WithHint("call a method that takes and gives one message: one that streams cannot be called from here")
	}
	code := map[int]weft.Code{400: weft.Internal, 401: weft.Unauthenticated, 403: weft.PermissionDenied, 404: weft.Unimplemented,
		429: weft.ResourceExhausted, 502: weft.Unavailable, 503: weft.Unavailable, 504: weft.Unavailable}[status]
	if code == weft.OK {
		code = weft.Unknown
	}
	return weft.Errorf(code, "peers.Gate.Do", "status %d", status)
}
