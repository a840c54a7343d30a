// Package peers is the only door out: the registry that knows where peers are,
// and the gate through which every outbound call goes.
package peers

import (
	"cmp"
	"context"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// Bounds of a lease and of the registry.
const (
	TTLDefault    = 15 * time.Second
	TTLMin        = time.Second
	TTLMax        = time.Hour
	WeightDefault = 100
	WeightMax     = 1000
	InstancesMax  = 10_000 // of one host
)

// Status is what an instance is for.
type Status int

// An active instance takes calls; a draining one ends those that it has.
const (
	Active Status = iota + 1
	Draining
)

// String is the status as people read it.
func (s Status) String() string { return [...]string{"", "active", "draining"}[s] }

// Instance is one address of a service, held by a lease.
type Instance struct {
	Namespace, Service, ID string
	Epoch                  int64
	URL, Zone              string
	Weight                 int    // its share of calls; default 100
	Health                 string // path of an HTTP check, or grpc or grpc:SERVICE for gRPC's; empty for none
	TTL                    time.Duration
	Status                 Status
}

type serviceKey struct{ ns, service string }

// Registry knows the live instances of every service. SQLite is the truth, and
// what is in memory is changed only by what has been committed, in that order.
// Answers come from memory, and heartbeats write nothing.
type Registry struct {
	db    *store.DB
	log   *slog.Logger
	zone  string         // of this host
	up    func(Instance) // an instance has come, or anew; called without the lock
	off   func(Instance) // an instance has gone; called without the lock
	begun time.Time      // what leases count from
	lost  atomic.Int64   // leases that ended by themselves

	mu       sync.RWMutex
	services map[serviceKey]*service // guarded by mu: ever registered; what it points to never changes
	watchers map[*watcher]struct{}   // guarded by mu
	count    int                     // guarded by mu
	revision int64                   // guarded by mu: of the latest change
}

func openRegistry(ctx context.Context, db *store.DB, o Options, up, off func(Instance)) (*Registry, error) {
	r := &Registry{db: db, log: o.Log, zone: o.Zone, up: up, off: off, begun: time.Now(), services: map[serviceKey]*service{}, watchers: map[*watcher]struct{}{}}
	err := db.KnownServices(ctx, func(ns, name string) { r.services[serviceKey{ns, name}] = &service{} })
	if err != nil {
		return nil, err
	}
	if err := db.Instances(ctx, func(i store.Instance) { r.put(newLease(instanceOf(i), r.now())) }); err != nil { // every lease has its whole time again
		return nil, err
	}
	r.revision, err = db.Revision(ctx)
	return r, err
}

func instanceOf(i store.Instance) Instance {
	return Instance{Namespace: i.Namespace, Service: i.Service, ID: i.Instance, Epoch: i.Epoch, URL: i.URL, Zone: i.Zone, Weight: i.Weight,
		Health: i.Health, TTL: time.Duration(i.TTL) * time.Millisecond, Status: Status(i.Status)}
}

// now is the time on the monotonic clock.
func (r *Registry) now() time.Duration { return time.Since(r.begun) }

// put adds or replaces a lease. The caller holds mu, or is alone.
func (r *Registry) put(l *lease) {
	k := serviceKey{l.Namespace, l.Service}
	was := r.services[k].leases()
	list := slices.DeleteFunc(slices.Clone(was), func(o *lease) bool { return o.ID == l.ID })
	r.count += 1 + len(list) - len(was)
	r.services[k] = newService(append(list, l), r.zone)
}

// drop removes a lease. The caller holds mu.
func (r *Registry) drop(l *lease) {
	k := serviceKey{l.Namespace, l.Service}
	was := r.services[k].leases()
	list := slices.DeleteFunc(slices.Clone(was), func(o *lease) bool { return o == l })
	r.count += len(list) - len(was)
	r.services[k] = newService(list, r.zone)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func (i *Instance) check() error {
	const op = "peers.Registry.Register"
	i.TTL = cmp.Or(i.TTL, TTLDefault)
	i.Weight = cmp.Or(i.Weight, WeightDefault)
	u, err := url.Parse(i.URL)
	switch {
	case !nameForm.MatchString(i.Service), !nameForm.MatchString(i.ID):
		return weft.Errorf(weft.InvalidArgument, op, "service %q, instance %q: a name has letters, digits, dots, dashes and underscores, at most 128", i.Service, i.ID)
	case i.Zone != "" && !nameForm.MatchString(i.Zone):
		return weft.Errorf(weft.InvalidArgument, op, "zone %q: a name has letters, digits, dots, dashes and underscores, at most 128", i.Zone)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return weft.Errorf(weft.InvalidArgument, op, "url %q is not an http or https address", i.URL)
	case i.TTL < TTLMin || i.TTL > TTLMax:
		return weft.Errorf(weft.InvalidArgument, op, "ttl %s is not between %s and %s", i.TTL, TTLMin, TTLMax)
	case i.Weight < 1 || i.Weight > WeightMax:
		return weft.Errorf(weft.InvalidArgument, op, "weight %d is not between 1 and %d", i.Weight, WeightMax)
	case i.Health != "" && !strings.HasPrefix(i.Health, "/") && i.Health != healthGRPC && !strings.HasPrefix(i.Health, healthGRPC+":"):
		return weft.Errorf(weft.InvalidArgument, op, "health %q is neither a path nor grpc", i.Health)
	}
	i.URL, i.Status = strings.TrimSuffix(i.URL, "/"), Active
	return nil
}

// Register adds an instance; it is durable when Register returns. Its epoch
// fences off an earlier registration of the same name.
func (r *Registry) Register(ctx context.Context, i Instance) (Instance, error) {
	if err := i.check(); err != nil {
		return Instance{}, err
	}
	r.mu.RLock()
	full := r.count >= InstancesMax
	r.mu.RUnlock()
	if full {
		return Instance{}, weft.Errorf(weft.ResourceExhausted, "peers.Registry.Register", "%d instances are registered, the limit", InstancesMax)
	}
	err := r.db.Update(ctx, func(tx *store.Tx) (err error) {
		i.Epoch, err = tx.Register(store.Instance{Namespace: i.Namespace, Service: i.Service, Instance: i.ID, URL: i.URL, Zone: i.Zone,
			Weight: i.Weight, Status: int(i.Status), Health: i.Health, TTL: i.TTL.Milliseconds()}, time.Now().UnixMilli())
		l := newLease(i, r.now())
		tx.OnCommit(func() {
			r.committed(i, Change{Revision: i.Epoch, Kind: Registered, Instance: i.ID, Epoch: i.Epoch}, func() { r.put(l) })
		})
		return err
	})
	if err != nil {
		return Instance{}, err
	}
	r.log.Info("peer registered", "namespace", i.Namespace, "service", i.Service, "instance", i.ID, "url", i.URL, "epoch", i.Epoch)
	r.up(i)
	return i, nil
}

// committed takes a change that is durable into memory, on the writer's
// goroutine and so in the order of commits, and tells it to those who watch.
func (r *Registry) committed(i Instance, c Change, change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.revision = c.Revision
	for w := range r.watchers {
		if w.ns == i.Namespace && w.service == i.Service {
			w.add(c)
		}
	}
}

// held is the lease with that epoch, or why there is none.
func (r *Registry) held(op, ns, name, id string, epoch int64) (*lease, error) {
	l := r.service(ns, name).find(id)
	switch {
	case l == nil || l.ended.Load():
		return nil, weft.Errorf(weft.NotFound, op, "instance %s of %s has no lease", id, name).WithHint("register again")
	case l.Epoch != epoch:
		return nil, weft.Errorf(weft.FailedPrecondition, op, "fenced: instance %s of %s was registered again with epoch %d", id, name, l.Epoch).WithHint("register again")
	}
	return l, nil
}

// Heartbeat renews a lease; nothing is written.
func (r *Registry) Heartbeat(ns, name, id string, epoch int64) error {
	l, err := r.held("peers.Registry.Heartbeat", ns, name, id, epoch)
	if err == nil {
		l.renew(r.now())
	}
	return err
}

// Drain has an instance take no new calls. It is durable when Drain returns; a
// new registration ends it.
func (r *Registry) Drain(ctx context.Context, ns, name, id string, epoch int64) error {
	l, err := r.held("peers.Registry.Drain", ns, name, id, epoch)
	if err != nil || l.Status == Draining {
		return err
	}
	drained := newLease(l.Instance, r.now())
	drained.Status = Draining
	return r.change(ctx, l, Draining, Drained, func() { r.put(drained) })
}

// Deregister removes an instance; it is durable when Deregister returns.
func (r *Registry) Deregister(ctx context.Context, ns, name, id string, epoch int64) error {
	l, err := r.held("peers.Registry.Deregister", ns, name, id, epoch)
	if err != nil {
		return err
	}
	return r.remove(ctx, l, Deregistered)
}

func (r *Registry) remove(ctx context.Context, l *lease, kind ChangeKind) error {
	err := r.change(ctx, l, 0, kind, func() { r.drop(r.services[serviceKey{l.Namespace, l.Service}].find(l.ID)) })
	if err == nil {
		if kind == Expired {
			r.lost.Add(1)
		}
		r.log.Info("peer gone", "namespace", l.Namespace, "service", l.Service, "instance", l.ID, "why", kind.String())
		r.off(l.Instance)
	}
	return err
}

// change commits what happens to an instance, if it still has its epoch then; a
// status of 0 removes it.
func (r *Registry) change(ctx context.Context, l *lease, status Status, kind ChangeKind, apply func()) error {
	return r.db.Update(ctx, func(tx *store.Tx) error {
		rev, err := tx.ChangeInstance(l.Namespace, l.Service, l.ID, l.Epoch, int(status), int(kind), time.Now().UnixMilli())
		if err == nil && rev == 0 {
			err = weft.Errorf(weft.FailedPrecondition, "peers.Registry", "fenced: instance %s of %s has gone or was registered again", l.ID, l.Service).WithHint("register again")
		}
		if err == nil {
			tx.OnCommit(func() {
				r.committed(l.Instance, Change{Revision: rev, Kind: kind, Instance: l.ID, Epoch: l.Epoch}, apply)
			})
		}
		return err
	})
}

// service is what is known of a service, nil when it was never registered.
func (r *Registry) service(ns, name string) *service {
	r.mu.RLock()
	s := r.services[serviceKey{ns, name}]
	r.mu.RUnlock()
	return s
}

// Lookup lists the live instances of a service; known is false when it was
// never registered.
func (r *Registry) Lookup(ns, name string) (live []Instance, known bool) {
	s := r.service(ns, name)
	for _, l := range s.leases() {
		live = append(live, l.Instance)
	}
	return live, s != nil
}

// List lists all live instances of a namespace, by service.
func (r *Registry) List(ns string) []Instance {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []Instance
	for k, s := range r.services {
		for _, l := range s.leases() {
			if k.ns == ns {
				all = append(all, l.Instance)
			}
		}
	}
	slices.SortFunc(all, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.ID, b.ID))
	})
	return all
}
