package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// Bounds of one handler call.
const (
	WritesMax = 1_000    // keys written
	ValueMax  = 1 << 20  // bytes of one value
	EventsMax = 1_000    // events published
	EventMax  = 1 << 20  // bytes of one event's data
	KeptMax   = 16 << 20 // bytes of all that is written and published; they wait in memory for the commit
)

// txn is one call of a handler as a transaction: what it reads is remembered
// with its version, what it writes and publishes is kept until the call is
// committed. It is the handler's wasm.Env.
type txn struct {
	e   *Engine
	ns  string
	h   catalog.Handler
	log *slog.Logger
	out courier

	hide func(string) string // takes secrets out of what it logs; may be nil

	loss   int64 // Engine.losses when it began
	reads  map[store.StateKey]int64
	writes map[store.StateKey][]byte // nil: deleted
	events []weft.Event
	seen   store.Ticket // durable when all that was read is
	kept   int          // bytes of writes and events

	published int // events of the same call, in transactions before this
}

// courier carries a call of a handler to the outside.
type courier interface {
	// carry is called once all that the handler has seen is known to be durable
	// when seen is. An error that wraps *wasm.Abort ends the handler.
	carry(ctx context.Context, r weft.Request, seen store.Ticket) (weft.Response, error)
	// id is the prefix of the ids of the handler's events.
	id(sep string) string
}

func (t *txn) grants() *weft.Grants { return &t.h.Module.Grants }

func (t *txn) key(key, what string) (store.StateKey, error) {
	if !weft.Allows(t.grants().State, key) {
		return store.StateKey{}, t.denied("state", what+" state key "+strconv.Quote(key))
	}
	return store.StateKey{Namespace: t.ns, Module: t.h.Module.Name, Key: key}, nil
}

func (t *txn) denied(kind, what string) error {
	m := t.h.Module
	return weft.Errorf(weft.PermissionDenied, "engine.txn", "module %s:%s may not %s", m.Name, m.Version, what).
		WithHint("ask for it under grants.%s in the manifest, and grant it: weft module grant %s:%s", kind, m.Name, m.Version)
}

// StateGet reads the handler's own writes first, then what is committed.
func (t *txn) StateGet(key string) ([]byte, bool, error) {
	k, err := t.key(key, "read")
	if err != nil {
		return nil, false, err
	}
	if v, ok := t.writes[k]; ok {
		return v, v != nil, nil
	}
	v, err := t.e.db.State().Get(k)
	if err != nil {
		return nil, false, err
	}
	if old, ok := t.reads[k]; ok && old != v.Version {
		return nil, false, &wasm.Abort{Err: errStale}
	}
	if t.reads == nil {
		t.reads = map[store.StateKey]int64{}
	}
	t.reads[k] = v.Version
	if !v.Ticket.Done() {
		t.seen = t.e.db.Last() // keys are read in any order; the newest submission stands for all of them
	}
	return v.Bytes, v.Bytes != nil, nil
}

// errStale says that the handler must run again on newer state.
var errStale = errors.New("state changed under the handler")

// StateSet keeps a write for the commit.
func (t *txn) StateSet(key string, value []byte) error {
	if len(value) > ValueMax {
		return weft.Errorf(weft.ResourceExhausted, "engine.txn.StateSet", "value of %q has %d bytes, the limit is %d", key, len(value), ValueMax)
	}
	return t.write(key, append([]byte{}, value...))
}

// StateDelete keeps a deletion for the commit.
func (t *txn) StateDelete(key string) error { return t.write(key, nil) }

func (t *txn) write(key string, value []byte) error {
	k, err := t.key(key, "write")
	if err != nil {
		return err
	}
	if len(t.writes) >= WritesMax {
		return weft.Errorf(weft.ResourceExhausted, "engine.txn.write", "more than %d keys written in one call", WritesMax)
	}
	if err := t.keep("engine.txn.write", len(value)-len(t.writes[k])); err != nil {
		return err
	}
	if t.writes == nil {
		t.writes = map[store.StateKey][]byte{}
	}
	t.writes[k] = value
	return nil
}

// keep makes sure that there is room for n bytes until the commit.
func (t *txn) keep(op string, n int) error {
	if t.kept+n > KeptMax {
		return weft.Errorf(weft.ResourceExhausted, op, "more than %d bytes written and published in one call", KeptMax).WithHint("write less at once, or commit what is done by a message of a stream")
	}
	t.kept += n
	return nil
}

// Publish keeps an event for the commit.
func (t *txn) Publish(eventType string, data []byte) error {
	if !weft.Allows(t.grants().Events, eventType) {
		return t.denied("events", "publish events of type "+strconv.Quote(eventType))
	}
	if eventType == "" {
		return weft.Errorf(weft.InvalidArgument, "engine.txn.Publish", "an event must have a type").WithHint("name one, such as shop.order.placed")
	}
	if err := weft.CheckEventType(eventType); err != nil {
		return err
	}
	if len(t.events) >= EventsMax {
		return weft.Errorf(weft.ResourceExhausted, "engine.txn.Publish", "more than %d events in one call", EventsMax)
	}
	if len(data) > EventMax {
		return weft.Errorf(weft.ResourceExhausted, "engine.txn.Publish", "the data of an event %q has %d bytes, the limit is %d", eventType, len(data), EventMax)
	}
	if err := t.keep("engine.txn.Publish", len(data)); err != nil {
		return err
	}
	content := "application/octet-stream"
	if json.Valid(data) {
		content = "application/json"
	}
	t.events = append(t.events, weft.Event{ID: t.out.id("-") + "-" + strconv.Itoa(t.published+len(t.events)), Source: "/modules/" + t.h.Module.Name, Type: eventType,
		Time: t.e.now().UTC(), DataContentType: content, Data: append([]byte{}, data...)})
	return nil
}

// Call reaches a peer through the gate, or a method of a service, by the name that a
// step has for it too.
func (t *txn) Call(ctx context.Context, procedure string, request []byte) ([]byte, error) {
	r := weft.Request{Namespace: t.ns, Caller: t.caller(), Grants: t.grants(), Headers: map[string]string{}, Body: request}
	var err error
	if ref, no := weft.ParseRef(strings.TrimPrefix(procedure, "/")); no == nil && weft.IsProcedure(ref.Name) {
		err = t.method(ctx, ref, &r)
	} else {
		r.Peer, r.Procedure, err = weft.SplitProcedure(procedure)
	}
	if err != nil {
		return nil, err
	}
	res, err := t.out.carry(ctx, r, t.seen)
	return res.Body, err
}

// method makes r a call of a method. A version is one of this host's.
func (t *txn) method(ctx context.Context, ref weft.Ref, r *weft.Request) error {
	r.Peer, _, _ = strings.Cut(ref.Name, "/")
	r.Procedure = "/" + ref.Name
	if ref.Elsewhere() {
		r.Peer = ref.Catalog
	}
	if ref.Version == "" {
		return nil
	}
	h, err := t.e.cat.Handler(ctx, t.ns, ref)
	if err == nil {
		r.Headers[headerModule] = h.Module.Name + "@" + h.Module.Version
	}
	return err
}

// headerModule says which version of a module is called.
const headerModule = "weft-module"

func (t *txn) caller() string { return t.h.Module.Name + "@" + t.h.Module.Version }

// httpCall is what a guest writes to and reads from the import http, as JSON.
type httpCall struct {
	Method  string            `json:"method,omitempty"`
	URL     string            `json:"url,omitempty"`
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    []byte            `json:"body,omitempty"` // base64
}

// HTTP makes a plain HTTP call through the gate.
func (t *txn) HTTP(ctx context.Context, request []byte) ([]byte, error) {
	var q httpCall
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "engine.txn.HTTP", "the request is not the JSON that docs/ABI.md describes: %w", err)
	}
	res, err := t.out.carry(ctx, weft.Request{Namespace: t.ns, Caller: t.caller(), Grants: t.grants(), Method: q.Method, URL: q.URL,
		Headers: q.Headers, Body: q.Body}, t.seen)
	if err != nil {
		return nil, err
	}
	return json.Marshal(httpCall{Status: res.Status, Headers: res.Headers, Body: res.Body})
}

// Config is a setting of the module.
func (t *txn) Config(key string) (string, bool, error) {
	if !weft.Allows(t.grants().Config, key) {
		return "", false, t.denied("config", "read config key "+strconv.Quote(key))
	}
	v, ok := t.h.Module.Config[key]
	return v, ok, nil
}

// Secret is a secret of the host.
func (t *txn) Secret(name string) ([]byte, error) {
	if !weft.Allows(t.grants().Secrets, name) {
		return nil, t.denied("secrets", "read secret "+strconv.Quote(name))
	}
	return t.e.opts.Secret(t.ns, name)
}

// Log writes a line of the handler to the host's log.
func (t *txn) Log(level slog.Level, message string) {
	if t.hide != nil {
		message = t.hide(message)
	}
	t.log.Log(context.Background(), level, message, "handler", t.h.Ref.String())
}

// sets are the writes with the versions they build on.
func (t *txn) sets() []store.Set {
	keys := slices.SortedFunc(maps.Keys(t.writes), func(a, b store.StateKey) int { return strings.Compare(a.Key, b.Key) })
	sets := make([]store.Set, 0, len(keys))
	for _, k := range keys {
		seen, read := t.reads[k]
		sets = append(sets, store.Set{Key: k, Bytes: t.writes[k], Seen: seen, Blind: !read})
	}
	return sets
}

// prepare checks the transaction against the state as it is now. There is no
// change when it touched no state.
func (t *txn) prepare() (change *store.Change, ok bool, err error) {
	if len(t.reads) == 0 && len(t.writes) == 0 {
		return nil, true, nil
	}
	change, ok, err = t.e.db.State().Prepare(t.reads, t.sets())
	if ok && t.loss != t.e.losses.Load() { // it may have read what is lost, under a version that is used again
		change.Discard()
		return nil, false, nil
	}
	return change, ok, err
}

// direct carries the calls of a handler that runs outside a workflow.
type direct struct {
	e     *Engine
	key   string // idempotency key of the whole call; empty until somebody asks for it
	from  weft.Call
	calls int
	open  *weft.OpenError // that it met last
}

func (d *direct) id(string) string {
	if d.key == "" {
		d.key = d.e.opts.NewID()
	}
	return d.key
}

func (d *direct) carry(ctx context.Context, r weft.Request, seen store.Ticket) (weft.Response, error) {
	if d.from.HeadersOf != nil {
		d.from.Headers, d.from.HeadersOf = d.from.HeadersOf(), nil
	}
	if err := inside(&r, DepthOf(d.from.Headers.Get(weft.HeaderDepth)), d.from.Headers.Get(headerTrace)); err != nil {
		return weft.Response{}, err
	}
	if err := seen.Wait(ctx); err != nil {
		return weft.Response{}, err
	}
	r.IdempotencyKey = short(d.id("/") + "/" + strconv.Itoa(d.calls))
	d.calls++
	res, err := d.e.out.Do(ctx, r)
	errors.As(err, &d.open)
	return res, err
}

// short is a key that a method of weft takes: of those inside each other, each is
// longer than the one before.
func short(key string) string {
	if len(key) <= KeyMax {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// retryAfter adds to the headers of a call that ended with err when its peer may
// be tried again, in seconds, where the handler gave up for that and says nothing
// of it itself (RFC 9110, 10.2.3).
func (d *direct) retryAfter(headers weft.Header, err error) weft.Header {
	if d.open == nil || d.open.Until.IsZero() || weft.CodeOf(err) != weft.Unavailable || headers["retry-after"] != nil {
		return headers
	}
	all := weft.Header{"retry-after": {strconv.Itoa(max(1, int(math.Ceil(d.open.Until.Sub(d.e.now()).Seconds()))))}}
	maps.Copy(all, headers)
	return all
}

// CallDepthMax bounds how deep calls of handlers are inside each other, on one host or
// on several.
const CallDepthMax = machine.RunDepthMax

// DepthOf reads the header weft.HeaderDepth; without it a call is the outermost. It is
// CallDepthMax at most: who may have sent more must not have it wrap around.
func DepthOf(header string) int {
	depth, _ := strconv.Atoi(header)
	return min(max(depth, 0), CallDepthMax)
}

const headerTrace = "traceparent"

// inside makes r a call from within one that is so deep, and has its peer told of
// the trace.
func inside(r *weft.Request, depth int, trace string) error {
	if r.Peer == "" {
		return nil
	}
	if r.Depth = depth + 1; r.Depth >= CallDepthMax {
		return weft.Errorf(weft.ResourceExhausted, "engine.inside", "%d calls are inside each other, and no more may be", CallDepthMax).WithHint("look for handlers that call each other in a circle")
	}
	if trace != "" {
		headers := map[string]string{headerTrace: trace}
		maps.Copy(headers, r.Headers)
		r.Headers = headers
	}
	return nil
}
