package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/store"
)

// Options bounds the gate. The zero value of each field means its default.
type Options struct {
	Total       time.Duration // of a call with its retries; default 10 s
	Attempt     time.Duration // of one attempt; default 2 s
	Retries     int           // of calls that may be repeated; default 2
	RetryMin    time.Duration // default 100 ms, doubled, with full jitter
	RetryMax    time.Duration // default 2 s
	Bulkhead    int           // calls at once of one caller to one peer; default 64
	BodyMax     int64         // bytes of an answer; default 4 MiB
	HTTPAllow   []string      // host:port that workflows may reach although it is private
	Log         *slog.Logger
	OnAvailable func(ns, peer string) // the peer may answer again
}

func (o *Options) fill() {
	set(&o.Total, 10*time.Second)
	set(&o.Attempt, 2*time.Second)
	set(&o.Retries, 2)
	set(&o.RetryMin, 100*time.Millisecond)
	set(&o.RetryMax, 2*time.Second)
	set(&o.Bulkhead, 64)
	set(&o.BodyMax, 4<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
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
	db   *store.DB
	opts Options
	http *http.Transport // to registered peers
	open *http.Transport // to the world: addresses are checked
	grpc *http.Transport // the same, and HTTP/2 alone

	mu       sync.Mutex
	guards   map[guardKey]*guard           // guarded by mu
	policies map[serviceKey]breaker.Policy // guarded by mu
	busy     map[string]int                // guarded by mu: calls at once, by caller and peer

	stop context.CancelFunc
	done sync.WaitGroup
}

type guardKey struct{ ns, peer, instance string }

type guard struct {
	mu    sync.Mutex
	b     *breaker.Breaker
	timer *time.Timer
}

// guardsMax bounds the breakers in memory; plain HTTP hosts could be many.
const guardsMax = 20_000

// Open reads the registry and begins to serve.
func Open(ctx context.Context, db *store.DB, o Options) (*Gate, error) {
	o.fill()
	g := &Gate{db: db, opts: o, guards: map[guardKey]*guard{}, policies: map[serviceKey]breaker.Policy{}, busy: map[string]int{}}
	var err error
	if g.Registry, err = openRegistry(ctx, db, o.Log, o.OnAvailable); err != nil {
		return nil, err
	}
	err = db.BreakerPolicies(ctx, func(ns, service string, data []byte) error {
		var p breaker.Policy
		err := json.Unmarshal(data, &p)
		g.policies[serviceKey{ns, service}] = p
		return err
	})
	if err != nil {
		return nil, err
	}
	dial := &net.Dialer{Timeout: o.Attempt}
	g.http = &http.Transport{DialContext: dial.DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	g.open = &http.Transport{DialContext: g.checkedDial, DisableKeepAlives: true} // a kept connection would escape the check
	var two http.Protocols
	two.SetHTTP2(true)
	two.SetUnencryptedHTTP2(true)
	g.grpc = &http.Transport{DialContext: g.checkedDial, DisableKeepAlives: true, Protocols: &two}
	life, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.done.Go(func() { g.sweep(life) })
	return g, nil
}

// Close ends the sweeper and the timers.
func (g *Gate) Close() {
	g.stop()
	g.done.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, gd := range g.guards {
		gd.mu.Lock()
		if gd.timer != nil {
			gd.timer.Stop()
		}
		gd.mu.Unlock()
	}
	g.http.CloseIdleConnections()
}

// Do makes one outbound call: grants, then retries around a pick of an
// instance, its breaker and the attempt. An error that is a *weft.OpenError
// says that no attempt would be made now.
func (g *Gate) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, g.opts.Total)
	defer cancel()
	target, err := g.target(r)
	if err != nil {
		return weft.Response{}, err
	}
	release, err := g.enter(r, target)
	if err != nil {
		return weft.Response{}, err
	}
	defer release()
	var last error
	for try := 0; ; try++ {
		res, err := g.attempt(ctx, r, target)
		var open *weft.OpenError
		if err == nil || errors.As(err, &open) || !failure(err) || ctx.Err() != nil {
			return res, err
		}
		if last = err; try >= g.opts.Retries || !repeatable(r) {
			break
		}
		if err := g.backoff(ctx, try); err != nil {
			return weft.Response{}, last
		}
	}
	if open := g.allOpen(r, target); open != nil {
		return weft.Response{}, open
	}
	return weft.Response{}, last
}

// target is the peer's name as breakers and grants know it.
func (g *Gate) target(r weft.Request) (string, error) {
	const op = "peers.Gate.Do"
	denied := func(kind, name string) error {
		return weft.Errorf(weft.PermissionDenied, op, "%s may not reach %s %s", r.Caller, kind, name).WithHint("ask for it under grants in the manifest, and grant it")
	}
	if r.Peer != "" {
		if r.Grants != nil && !weft.Allows(r.Grants.Peers, r.Peer) {
			return "", denied("peer", r.Peer)
		}
		if !strings.HasPrefix(r.Procedure, "/") {
			return "", weft.Errorf(weft.InvalidArgument, op, "procedure %q does not begin with a slash", r.Procedure)
		}
		return r.Peer, nil
	}
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", weft.Errorf(weft.InvalidArgument, op, "%q is not an http or https address", r.URL)
	}
	if r.Grants != nil && !weft.Allows(r.Grants.HTTP, hostPort(u)) {
		return "", denied("host", hostPort(u))
	}
	return u.Scheme + "://" + hostPort(u), nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// enter counts a call against its bulkhead.
func (g *Gate) enter(r weft.Request, target string) (func(), error) {
	k := r.Namespace + "\x00" + r.Caller + "\x00" + target
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy[k] >= g.opts.Bulkhead {
		return nil, weft.Errorf(weft.ResourceExhausted, "peers.Gate.Do", "%s has %d calls to %s in progress, the limit", r.Caller, g.opts.Bulkhead, target)
	}
	g.busy[k]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.busy[k]--; g.busy[k] == 0 {
			delete(g.busy, k)
		}
	}, nil
}

// failure reports whether err says that the callee is not well, so that another
// attempt could help. What an application answers is no failure.
func failure(err error) bool {
	switch weft.CodeOf(err) {
	case weft.Unavailable, weft.DeadlineExceeded, weft.Internal, weft.Unknown, weft.DataLoss:
		return true
	}
	return false
}

func repeatable(r weft.Request) bool {
	return r.IdempotencyKey != "" || r.Peer == "" && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// backoff waits before another attempt: full jitter (Amazon Builders' Library,
// Timeouts, retries, and backoff with jitter).
func (g *Gate) backoff(ctx context.Context, try int) error {
	wait := time.NewTimer(rand.N(min(g.opts.RetryMin<<try, g.opts.RetryMax)))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt picks an instance whose breaker lets it through and calls it.
func (g *Gate) attempt(ctx context.Context, r weft.Request, target string) (weft.Response, error) {
	base, guard, call, err := g.pick(r, target)
	if err != nil {
		return weft.Response{}, err
	}
	tryCtx, cancel := context.WithTimeout(ctx, g.opts.Attempt)
	defer cancel()
	res, err := g.send(tryCtx, r, base)
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		guard.forget(call)
		return res, ctx.Err()
	}
	sick := err
	if err == nil && r.Peer == "" && res.Status >= 500 {
		sick = fmt.Errorf("status %d", res.Status)
	}
	if sick != nil && !failure(sick) {
		sick = nil
	}
	g.settle(r.Namespace, target, guard, call, sick)
	return res, err
}

// pick is an address and its guard. No instance, or only ones whose breakers
// are open, is a *weft.OpenError.
func (g *Gate) pick(r weft.Request, target string) (base string, gd *guard, c breaker.Call, err error) {
	if r.Peer == "" {
		gd, err = g.guard(guardKey{r.Namespace, target, ""})
		if err != nil {
			return "", nil, c, err
		}
		c, ok := gd.allow()
		if !ok {
			return "", nil, c, g.allOpen(r, target)
		}
		return "", gd, c, nil
	}
	live, known := g.Lookup(r.Namespace, r.Peer)
	if len(live) == 0 {
		if !known {
			return "", nil, c, weft.Errorf(weft.NotFound, "peers.Gate.Do", "no peer %q was ever registered in namespace %s", r.Peer, r.Namespace).WithHint("weft peer list shows what there is")
		}
		return "", nil, c, &weft.OpenError{Namespace: r.Namespace, Peer: r.Peer, Reason: "all have deregistered or lost their lease"}
	}
	rand.Shuffle(len(live), func(i, j int) { live[i], live[j] = live[j], live[i] })
	for _, i := range live {
		gd, err := g.guard(guardKey{r.Namespace, r.Peer, i.ID})
		if err != nil {
			return "", nil, c, err
		}
		if c, ok := gd.allow(); ok {
			return i.URL, gd, c, nil
		}
	}
	if open := g.allOpen(r, target); open != nil {
		return "", nil, c, open
	}
	// Half-open, and the probes are on their way: soon known.
	return "", nil, c, &weft.OpenError{Namespace: r.Namespace, Peer: target, Until: time.Now().Add(time.Second), Reason: "a probe is on its way"}
}

// allOpen says when a peer may be tried again, nil when it may be tried now.
func (g *Gate) allOpen(r weft.Request, target string) error {
	ids := []string{""}
	if r.Peer != "" {
		ids = nil
		live, _ := g.Lookup(r.Namespace, r.Peer)
		for _, i := range live {
			ids = append(ids, i.ID)
		}
		if len(ids) == 0 {
			return &weft.OpenError{Namespace: r.Namespace, Peer: target, Reason: "all have deregistered or lost their lease"}
		}
	}
	open := &weft.OpenError{Namespace: r.Namespace, Peer: target}
	for _, id := range ids {
		gd, err := g.guard(guardKey{r.Namespace, target, id})
		if err != nil {
			return err
		}
		gd.mu.Lock()
		state, until, reason := gd.b.State(time.Now()), gd.b.Until(), gd.b.Reason()
		gd.mu.Unlock()
		if state != breaker.Open {
			if r.Peer == "" && state == breaker.HalfOpen {
				return &weft.OpenError{Namespace: r.Namespace, Peer: target, Until: time.Now().Add(time.Second), Reason: "a probe is on its way"}
			}
			return nil
		}
		if open.Reason = reason; open.Until.IsZero() || until.Before(open.Until) {
			open.Until = until
		}
	}
	return open
}

func (g *Gate) guard(k guardKey) (*guard, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gd := g.guards[k]
	if gd == nil {
		if len(g.guards) >= guardsMax {
			return nil, weft.Errorf(weft.ResourceExhausted, "peers.Gate.Do", "%d hosts have breakers, the limit", guardsMax)
		}
		gd = &guard{b: breaker.New(g.policies[serviceKey{k.ns, k.peer}], time.Now())}
		g.guards[k] = gd
	}
	return gd, nil
}

func (gd *guard) allow() (breaker.Call, bool) {
	gd.mu.Lock()
	defer gd.mu.Unlock()
	return gd.b.Allow(time.Now())
}

func (gd *guard) forget(c breaker.Call) {
	gd.mu.Lock()
	defer gd.mu.Unlock()
	gd.b.Forget(c)
}

// settle tells a breaker how a call went, and whoever waits when it may close.
func (g *Gate) settle(ns, peer string, gd *guard, c breaker.Call, sick error) {
	now := time.Now()
	gd.mu.Lock()
	was := gd.b.State(now)
	gd.b.Done(c, sick, now, 2*rand.Float64()-1)
	is := gd.b.State(now)
	if is == breaker.Open && was != breaker.Open {
		in := gd.b.Until().Sub(now)
		if gd.timer != nil {
			gd.timer.Stop()
		}
		gd.timer = time.AfterFunc(in, func() { g.opts.OnAvailable(ns, peer) })
	}
	reason := gd.b.Reason()
	gd.mu.Unlock()
	if is != was {
		g.opts.Log.Info("breaker changed", "namespace", ns, "peer", peer, "from", was.String(), "to", is.String(), "reason", reason)
		if is == breaker.Closed {
			g.opts.OnAvailable(ns, peer)
		}
	}
}

// send makes one HTTP request.
func (g *Gate) send(ctx context.Context, r weft.Request, base string) (weft.Response, error) {
	const op = "peers.Gate.Do"
	method, address, transport := r.Method, r.URL, g.open
	if r.Peer != "" {
		method, address, transport = http.MethodPost, base+r.Procedure, g.http
	}
	if method == "" {
		method = http.MethodGet
	}
	payload := r.Body
	if r.GRPC {
		transport, payload = g.grpc, framed(r.Body)
	}
	ctx = context.WithValue(ctx, grantsKey{}, r.Grants)
	q, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(payload))
	if err != nil {
		return weft.Response{}, weft.Errorf(weft.InvalidArgument, op, "%w", err)
	}
	if r.Peer != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	for name, v := range r.Headers {
		q.Header.Set(name, v)
	}
	if r.IdempotencyKey != "" {
		q.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	if at, ok := ctx.Deadline(); r.GRPC {
		askGRPC(q, at)
	} else if ok && r.Peer != "" {
		q.Header.Set("Connect-Timeout-Ms", strconv.FormatInt(max(1, time.Until(at).Milliseconds()), 10))
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		return g.redirect(r, next, via)
	}}
	res, err := client.Do(q)
	if err != nil {
		return weft.Response{}, sendError(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, g.opts.BodyMax+1))
	if err != nil {
		return weft.Response{}, sendError(err)
	}
	if int64(len(body)) > g.opts.BodyMax {
		return weft.Response{}, weft.Errorf(weft.ResourceExhausted, op, "the answer of %s is over %d bytes", res.Request.URL.Host, g.opts.BodyMax)
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

// answered is a peer's error: what Connect writes as JSON, or what the status says.
// Source: https://connectrpc.com/docs/protocol#error-codes
func answered(status int, body []byte) error {
	var e struct{ Code, Message string }
	if json.Unmarshal(body, &e) == nil && e.Code != "" {
		return weft.Errorf(weft.ParseCode(e.Code), "peers.Gate.Do", "%s", e.Message)
	}
	code := map[int]weft.Code{400: weft.Internal, 401: weft.Unauthenticated, 403: weft.PermissionDenied, 404: weft.Unimplemented,
		429: weft.Unavailable, 502: weft.Unavailable, 503: weft.Unavailable, 504: weft.Unavailable}[status]
	if code == weft.OK {
		code = weft.Unknown
	}
	return weft.Errorf(code, "peers.Gate.Do", "status %d", status)
}

type grantsKey struct{}

// checkedDial refuses addresses that are not public, unless they were allowed
// by name. The check sees the address that is really dialled.
func (g *Gate) checkedDial(ctx context.Context, network, address string) (net.Conn, error) {
	grants, _ := ctx.Value(grantsKey{}).(*weft.Grants)
	named := grants != nil && weft.Allows(exact(grants.HTTP), address) || weft.Allows(g.opts.HTTPAllow, address)
	d := &net.Dialer{Timeout: g.opts.Attempt, ControlContext: func(_ context.Context, _, real string, _ syscall.RawConn) error {
		if named {
			return nil
		}
		if ap, err := netip.ParseAddrPort(real); err != nil || !public(ap.Addr()) {
			return weft.Errorf(weft.PermissionDenied, "peers.Gate.Do", "%s is not a public address", real).
				WithHint("allow it by name: weft dev --http-allow %s", address)
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// exact leaves out patterns: only a host that is named in full may be private.
func exact(patterns []string) (names []string) {
	for _, p := range patterns {
		if !strings.HasSuffix(p, "*") {
			names = append(names, p)
		}
	}
	return names
}

var special = func() (all []netip.Prefix) {
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16"} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()

// public reports whether an address is one of the open internet: IANA
// special-purpose registries, RFC 6890.
func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// BreakerState is one breaker, for people.
type BreakerState struct {
	Peer, Instance, State, Reason string
	Forced                        bool
	Until, Since                  time.Time
}

// Breakers lists the breakers of a namespace.
func (g *Gate) Breakers(ns string) []BreakerState {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []BreakerState
	for k, gd := range g.guards {
		if k.ns != ns {
			continue
		}
		gd.mu.Lock()
		s := gd.b.State(time.Now())
		b := BreakerState{Peer: k.peer, Instance: k.instance, State: s.String(), Reason: gd.b.Reason(), Forced: gd.b.Forced(), Since: gd.b.Since()}
		if s == breaker.Open {
			b.Until = gd.b.Until()
		}
		gd.mu.Unlock()
		all = append(all, b)
	}
	return all
}

// Force holds all breakers of a peer open or closed, or with reset lets them
// decide by themselves again.
func (g *Gate) Force(ns, peer string, state breaker.State, reset bool) error {
	ids := []string{}
	live, known := g.Lookup(ns, peer)
	for _, i := range live {
		ids = append(ids, i.ID)
	}
	if strings.Contains(peer, "://") {
		ids, known = []string{""}, true
	}
	if !known || len(ids) == 0 {
		return weft.Errorf(weft.NotFound, "peers.Gate.Force", "peer %q has no live instance in namespace %s", peer, ns)
	}
	for _, id := range ids {
		gd, err := g.guard(guardKey{ns, peer, id})
		if err != nil {
			return err
		}
		gd.mu.Lock()
		if reset {
			gd.b.Reset(time.Now())
		} else {
			gd.b.Force(state, time.Now())
		}
		gd.mu.Unlock()
	}
	if reset || state == breaker.Closed {
		g.opts.OnAvailable(ns, peer)
	}
	return nil
}

// SetPolicy changes the breakers of a peer, durably.
func (g *Gate) SetPolicy(ctx context.Context, ns, peer string, p breaker.Policy) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := g.db.Update(ctx, func(tx *store.Tx) error { return tx.SetBreakerPolicy(ns, peer, data) }); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.policies[serviceKey{ns, peer}] = p
	for k, gd := range g.guards {
		if k.ns == ns && k.peer == peer {
			gd.mu.Lock()
			gd.b.SetPolicy(p)
			gd.mu.Unlock()
		}
	}
	return nil
}
