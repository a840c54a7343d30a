package hooks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/store"
)

// Options of hooks. The zero value of each field means its default.
type Options struct {
	Log    *slog.Logger
	Secret func(ns, name string) ([]byte, error) // asked at each call; default: there are none
	Shown  func(*http.Request, error) error      // what a caller may see of an error; default all
	Now    func() time.Time                      // default time.Now
}

// Hooks are those of a host. Its methods may be called by many goroutines at once.
type Hooks struct {
	db   *store.DB
	bus  *bus.Bus
	opts Options

	changes sync.Mutex // one change of what there is at a time; before mu
	mu      sync.Mutex
	all     map[key]*served // guarded by mu
	unknown int64           // guarded by mu: calls of hooks that there are not
}

type key struct{ ns, name string }

type served struct {
	hook     Hook
	counts   [outcomes]int64 // guarded by Hooks.mu
	troubled bool            // guarded by Hooks.mu: the log knows that its secrets cannot be used
}

// Outcome is what came of a call of a hook.
type Outcome int

// The outcomes.
const (
	Accepted Outcome = iota // its event is durable
	Repeated                // its event was there
	Refused                 // the signature does not hold
	Invalid                 // too large, or no event
	Failed                  // weft could not check it or take it
	outcomes
)

var outcomeNames = [outcomes]string{"accepted", "repeated", "refused", "invalid", "failed"}

// String is the outcome as metrics name it.
func (o Outcome) String() string { return outcomeNames[o] }

// Open reads the hooks that there are.
func Open(ctx context.Context, db *store.DB, b *bus.Bus, o Options) (*Hooks, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Secret == nil {
		o.Secret = func(_, name string) ([]byte, error) {
			return nil, weft.Errorf(weft.NotFound, "hooks.Hooks", "there is no secret %s", name).WithHint("start weft serve with --secrets DIR")
		}
	}
	if o.Shown == nil {
		o.Shown = func(_ *http.Request, err error) error { return err }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Hooks{db: db, bus: b, opts: o, all: map[key]*served{}}
	err := db.Hooks(ctx, func(ns, name string, data []byte) error {
		s := &served{}
		if err := json.Unmarshal(data, &s.hook); err != nil {
			return weft.Errorf(weft.DataLoss, "hooks.Open", "hook %s of namespace %s cannot be read: %w", name, ns, err)
		}
		h.all[key{ns, name}] = s
		return nil
	})
	return h, err
}

// Set gives each of these hooks its definition, whole, and leaves others as they
// are. They are durable when Set returns.
func (h *Hooks) Set(ctx context.Context, ns string, hooks []Hook) error {
	h.changes.Lock()
	defer h.changes.Unlock()
	after := map[string]bool{}
	for _, hook := range slices.Concat(h.List(ns), hooks) {
		after[hook.Name] = true
	}
	if len(after) > HooksMax {
		return weft.Errorf(weft.ResourceExhausted, "hooks.Hooks.Set", "namespace %s would have %d hooks, the limit is %d", ns, len(after), HooksMax).WithHint("remove some: weft hook rm")
	}
	err := h.db.Update(ctx, func(tx *store.Tx) error {
		for _, hook := range hooks {
			data, err := json.Marshal(hook)
			if err == nil {
				err = tx.SetHook(ns, hook.Name, data)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hook := range hooks {
		next := &served{hook: hook}
		if was := h.all[key{ns, hook.Name}]; was != nil {
			next.counts = was.counts
		}
		h.all[key{ns, hook.Name}] = next
	}
	return nil
}

// List are the hooks of a namespace, by name.
func (h *Hooks) List(ns string) (list []Hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k, s := range h.all {
		if k.ns == ns {
			list = append(list, s.hook)
		}
	}
	slices.SortFunc(list, func(a, b Hook) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Get finds a hook.
func (h *Hooks) Get(ns, name string) (Hook, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.all[key{ns, name}]; s != nil {
		return s.hook, nil
	}
	return Hook{}, weft.Errorf(weft.NotFound, "hooks.Hooks.Get", "there is no hook %.80q in namespace %s", name, ns).WithHint("weft hook list has those that there are")
}

// Doubts are lines about the secrets of a hook that cannot be used now, and what to
// do about it.
func (h *Hooks) Doubts(ns string, hook Hook) (doubts []string) {
	for _, name := range hook.Secrets {
		if _, err := h.key(ns, &hook, name); err != nil {
			doubts = append(doubts, err.Error())
		}
	}
	return doubts
}

// Delete removes a hook. What it has taken in stays.
func (h *Hooks) Delete(ctx context.Context, ns, name string) error {
	h.changes.Lock()
	defer h.changes.Unlock()
	if _, err := h.Get(ns, name); err != nil {
		return err
	}
	if err := h.db.Update(ctx, func(tx *store.Tx) error { return tx.DeleteHook(ns, name) }); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, key{ns, name})
	return nil
}

// ServeHTTP takes a call of the hook of the path's name, in the namespace of the
// path, or of the header. The answer is 202 once its event is durable; a call whose
// event was there is answered the same and changes nothing.
func (h *Hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ns := weft.NamespaceOr(cmp.Or(r.PathValue("namespace"), r.Header.Get("Weft-Namespace")))
	k := key{ns, r.PathValue("name")}
	h.mu.Lock()
	s := h.all[k]
	if s == nil {
		h.unknown++
	}
	h.mu.Unlock()
	if s == nil {
		bus.Refuse(w, weft.Errorf(weft.NotFound, "hooks.Hooks.ServeHTTP", "there is no such hook"))
		return
	}
	outcome, err := h.take(w, r, ns, s)
	h.mu.Lock()
	if now := h.all[k]; now != nil {
		now.counts[outcome]++
	}
	h.mu.Unlock()
	if err != nil {
		bus.Refuse(w, h.opts.Shown(r, err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprintf(w, `{"accepted":%d}`, map[bool]int{true: 1}[outcome == Accepted]) // the caller has gone
}

func (h *Hooks) take(w http.ResponseWriter, r *http.Request, ns string, s *served) (Outcome, error) {
	const op = "hooks.Hooks.ServeHTTP"
	hook := &s.hook
	body, err := bus.BodyOf(w, r, bus.DataMax)
	if err != nil {
		return Invalid, err
	}
	fits, err := h.signed(ns, hook, r.Header, body)
	if fits || err != nil { // else there was perhaps no signature, and no secret was asked for
		h.tell(ns, s, err)
	}
	switch {
	case fits:
	case err != nil:
		return Failed, weft.Errorf(weft.Unavailable, op, "the signature cannot be checked now").WithHint("send it again later")
	default:
		return Refused, weft.Errorf(weft.Unauthenticated, op, "the signature does not hold")
	}
	e, err := hook.event(r.Header, body)
	if err == nil {
		err = bus.Check(e)
	}
	if err != nil {
		return Invalid, weft.Errorf(weft.InvalidArgument, op, "no event comes of it: %w", err)
	}
	fresh, err := h.bus.PublishOnce(r.Context(), ns, "hook "+ns+"/"+hook.Name, e)
	switch {
	case err != nil:
		return Failed, err
	case !fresh:
		return Repeated, nil
	}
	return Accepted, nil
}

// tell has the log know once that a hook cannot use its secrets: who calls is not
// to fill it.
func (h *Hooks) tell(ns string, s *served, err error) {
	h.mu.Lock()
	news := err != nil && !s.troubled
	s.troubled = err != nil
	h.mu.Unlock()
	if news {
		h.opts.Log.Error("a hook cannot use a secret", "namespace", ns, "hook", s.hook.Name, "error", err)
	}
}

// signed reports whether one of the secrets has signed a call. An error is why some
// could not be tried.
func (h *Hooks) signed(ns string, hook *Hook, header http.Header, body []byte) (fits bool, failed error) {
	s := hook.read(header, h.opts.Now())
	if len(s.signatures) == 0 {
		return false, nil
	}
	for _, name := range hook.Secrets {
		key, err := h.key(ns, hook, name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		fits = s.by(key, body) || fits
	}
	return fits, failed
}

// key is the key that a secret of a hook holds now.
func (h *Hooks) key(ns string, hook *Hook, name string) (key []byte, err error) {
	secret, err := h.opts.Secret(ns, name)
	if err == nil {
		key, err = hook.key(secret)
	}
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", name, err)
	}
	return key, nil
}

// event is what a call becomes.
func (h *Hook) event(header http.Header, body []byte) (e weft.Event, err error) {
	e = weft.Event{Source: h.Source, DataContentType: header.Get("Content-Type"), Data: body}
	if e.Type, err = h.Type.fill(header, body); err != nil {
		return e, err
	}
	if h.ID == "" {
		sum := sha256.Sum256(body)
		e.ID = hex.EncodeToString(sum[:])
		return e, nil
	}
	e.ID, err = h.ID.fill(header, body)
	return e, err
}

// Stats are what hooks have counted since Open.
type Stats struct {
	Hooks   []HookStats // by namespace and name
	Unknown int64       // calls of hooks that there are not
}

// HookStats are those of one hook.
type HookStats struct {
	Namespace, Name string
	Outcomes        [outcomes]int64
}

// Stats are what has been counted.
func (h *Hooks) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{Unknown: h.unknown}
	for _, k := range slices.SortedFunc(maps.Keys(h.all), func(a, b key) int { return cmp.Or(cmp.Compare(a.ns, b.ns), cmp.Compare(a.name, b.name)) }) {
		s.Hooks = append(s.Hooks, HookStats{k.ns, k.name, h.all[k].counts})
	}
	return s
}
