// Package peers is the only door out: the registry that knows where peers are,
// and the gate through which every outbound call goes.
package peers

import (
	"context"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Bounds of a lease and of the registry.
const (
	TTLDefault   = 15 * time.Second
	TTLMin       = time.Second
	TTLMax       = time.Hour
	InstancesMax = 10_000 // of one host
	sweepEvery   = 500 * time.Millisecond
	sweepLate    = time.Second // a sweep that comes so late expires nobody: the host itself has stalled
)

// Instance is one address of a service, held by a lease.
type Instance struct {
	Namespace, Service, ID string
	Epoch                  int64
	URL, Zone              string
	TTL                    time.Duration
}

type serviceKey struct{ ns, service string }

// Registry knows the live instances of every service. SQLite is the truth at
// start; answers come from memory, and so do heartbeats.
type Registry struct {
	db  *store.DB
	log *slog.Logger
	up  func(Instance) // an instance has come, or anew; called without the lock
	off func(Instance) // an instance has gone; called without the lock

	mu       sync.Mutex
	services map[serviceKey][]*lease      // guarded by mu
	known    map[serviceKey]bool          // guarded by mu: ever registered
	watchers map[chan struct{}]serviceKey // guarded by mu
	count    int                          // guarded by mu
}

type lease struct {
	Instance
	ends time.Time // monotonic
}

func openRegistry(ctx context.Context, db *store.DB, log *slog.Logger, up, off func(Instance)) (*Registry, error) {
	r := &Registry{db: db, log: log, up: up, off: off, services: map[serviceKey][]*lease{}, known: map[serviceKey]bool{}, watchers: map[chan struct{}]serviceKey{}}
	now := time.Now()
	err := db.Instances(ctx, func(i store.Instance) { // every lease has its whole time again
		ttl := time.Duration(i.TTL) * time.Millisecond
		r.put(&lease{Instance{i.Namespace, i.Service, i.Instance, i.Epoch, i.URL, i.Zone, ttl}, now.Add(ttl)})
	})
	if err != nil {
		return nil, err
	}
	return r, db.KnownServices(ctx, func(ns, service string) { r.known[serviceKey{ns, service}] = true })
}

// put adds or replaces a lease. The caller holds mu.
func (r *Registry) put(l *lease) {
	k := serviceKey{l.Namespace, l.Service}
	r.known[k] = true
	list := slices.DeleteFunc(slices.Clone(r.services[k]), func(o *lease) bool { return o.ID == l.ID })
	r.count += 1 + len(list) - len(r.services[k])
	r.services[k] = append(list, l)
}

// drop removes a lease. The caller holds mu.
func (r *Registry) drop(l *lease) {
	k := serviceKey{l.Namespace, l.Service}
	r.services[k] = slices.DeleteFunc(slices.Clone(r.services[k]), func(o *lease) bool { return o == l })
	r.count--
}

// changed tells those who watch a service. The caller holds mu.
func (r *Registry) changed(k serviceKey) {
	for ch, watched := range r.watchers {
		if watched == k {
			select {
			case ch <- struct{}{}:
			default:
			}
		}
	}
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (i *Instance) check() error {
	const op = "peers.Registry.Register"
	if i.TTL == 0 {
		i.TTL = TTLDefault
	}
	u, err := url.Parse(i.URL)
	switch {
	case !nameForm.MatchString(i.Service), !nameForm.MatchString(i.ID):
		return weft.Errorf(weft.InvalidArgument, op, "service %q, instance %q: a name has letters, digits, dots, dashes and underscores, at most 128", i.Service, i.ID)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return weft.Errorf(weft.InvalidArgument, op, "url %q is not an http or https address", i.URL)
	case i.TTL < TTLMin || i.TTL > TTLMax:
		return weft.Errorf(weft.InvalidArgument, op, "ttl %s is not between %s and %s", i.TTL, TTLMin, TTLMax)
	}
	i.URL = strings.TrimSuffix(i.URL, "/")
	return nil
}

// Register adds an instance; it is durable when Register returns. Its epoch
// fences off an earlier registration of the same name.
func (r *Registry) Register(ctx context.Context, i Instance) (Instance, error) {
	if err := i.check(); err != nil {
		return Instance{}, err
	}
	r.mu.Lock()
	full := r.count >= InstancesMax
	r.mu.Unlock()
	if full {
		return Instance{}, weft.Errorf(weft.ResourceExhausted, "peers.Registry.Register", "%d instances are registered, the limit", InstancesMax)
	}
	err := r.db.Update(ctx, func(tx *store.Tx) (err error) {
		i.Epoch, err = tx.Register(store.Instance{Namespace: i.Namespace, Service: i.Service, Instance: i.ID, URL: i.URL, Zone: i.Zone, TTL: i.TTL.Milliseconds()}, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return Instance{}, err
	}
	r.mu.Lock()
	if old := r.find(i.Namespace, i.Service, i.ID); old == nil || old.Epoch < i.Epoch {
		r.put(&lease{i, time.Now().Add(i.TTL)})
	}
	r.changed(serviceKey{i.Namespace, i.Service})
	r.mu.Unlock()
	r.log.Info("peer registered", "namespace", i.Namespace, "service", i.Service, "instance", i.ID, "url", i.URL)
	r.up(i)
	return i, nil
}

// find is the lease of an instance, or nil. The caller holds mu.
func (r *Registry) find(ns, service, id string) *lease {
	for _, l := range r.services[serviceKey{ns, service}] {
		if l.ID == id {
			return l
		}
	}
	return nil
}

// held is the lease with that epoch, or why there is none. The caller holds mu.
func (r *Registry) held(op, ns, service, id string, epoch int64) (*lease, error) {
	l := r.find(ns, service, id)
	switch {
	case l == nil:
		return nil, weft.Errorf(weft.NotFound, op, "instance %s of %s has no lease", id, service).WithHint("register again")
	case l.Epoch != epoch:
		return nil, weft.Errorf(weft.FailedPrecondition, op, "fenced: instance %s of %s was registered again with epoch %d", id, service, l.Epoch).WithHint("register again")
	}
	return l, nil
}

// Heartbeat renews a lease; nothing is written.
func (r *Registry) Heartbeat(ns, service, id string, epoch int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.held("peers.Registry.Heartbeat", ns, service, id, epoch)
	if err != nil {
		return err
	}
	l.ends = time.Now().Add(l.TTL)
	return nil
}

// Deregister removes an instance; it is durable when Deregister returns.
func (r *Registry) Deregister(ctx context.Context, ns, service, id string, epoch int64) error {
	r.mu.Lock()
	l, err := r.held("peers.Registry.Deregister", ns, service, id, epoch)
	if err == nil {
		r.drop(l)
		r.changed(serviceKey{ns, service})
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.forget(ctx, l, "deregistered")
}

func (r *Registry) forget(ctx context.Context, l *lease, why string) error {
	r.log.Info("peer gone", "namespace", l.Namespace, "service", l.Service, "instance", l.ID, "why", why)
	r.off(l.Instance)
	return r.db.Update(ctx, func(tx *store.Tx) error {
		return tx.Deregister(l.Namespace, l.Service, l.ID, l.Epoch, time.Now().UnixMilli())
	})
}

// Lookup lists the live instances of a service; known is false when it was
// never registered.
func (r *Registry) Lookup(ns, service string) (live []Instance, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := serviceKey{ns, service}
	for _, l := range r.services[k] {
		live = append(live, l.Instance)
	}
	return live, r.known[k]
}

// List lists all live instances of a namespace, by service.
func (r *Registry) List(ns string) []Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Instance
	for k, list := range r.services {
		for _, l := range list {
			if k.ns == ns {
				all = append(all, l.Instance)
			}
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return strings.Compare(a.Service+"\x00"+a.ID, b.Service+"\x00"+b.ID) })
	return all
}

// Watch calls fn with the live instances of a service at once and after every
// change, until fn fails or ctx ends. Changes that come faster than fn are seen together.
func (r *Registry) Watch(ctx context.Context, ns, service string, fn func([]Instance) error) error {
	ch := make(chan struct{}, 1)
	r.mu.Lock()
	r.watchers[ch] = serviceKey{ns, service}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watchers, ch)
		r.mu.Unlock()
	}()
	for {
		live, _ := r.Lookup(ns, service)
		if err := fn(live); err != nil {
			return err
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sweep expires leases until ctx ends.
func (r *Registry) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		late := now.Sub(last) > sweepEvery+sweepLate
		if last = now; late {
			continue
		}
		for _, l := range r.expired(now) {
			if err := r.forget(ctx, l, "its lease has ended"); err != nil && ctx.Err() == nil {
				r.log.Error("lease not removed", "service", l.Service, "instance", l.ID, "error", err)
			}
		}
	}
}

// expired takes out the leases that have ended. At most half of a service goes
// in one sweep, and never fewer than three may.
func (r *Registry) expired(now time.Time) []*lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []*lease
	for k, list := range r.services {
		left := max(3, len(list)/2)
		for _, l := range list {
			if left > 0 && l.ends.Before(now) {
				left--
				gone = append(gone, l)
				r.drop(l)
			}
		}
		if left < max(3, len(list)/2) {
			r.changed(k)
		}
	}
	return gone
}
