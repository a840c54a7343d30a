package peers

import (
	"context"

	"github.com/weftrun/weft/store"
)

// ChangeKind is what happened to an instance.
type ChangeKind int

// What happens to instances.
const (
	Registered ChangeKind = iota + 1
	Drained
	Deregistered
	Expired
)

// String is the kind as people read it.
func (k ChangeKind) String() string {
	return [...]string{"", "registered", "draining", "deregistered", "its lease has ended"}[k]
}

// Change is one change of a service.
type Change struct {
	Revision int64 // grows with every change of any service
	Kind     ChangeKind
	Instance string
	Epoch    int64
}

// View is a service at a revision, and what led there.
type View struct {
	Revision  int64
	Instances []Instance
	Changes   []Change // since the view before, or since the revision that was asked for
	Reset     bool     // Changes has not all of them
}

// changesMax bounds the changes that wait for one who watches; more make a reset.
const changesMax = 1024

// watcher is one who watches a service.
type watcher struct {
	serviceKey
	wake    chan struct{}
	changes []Change // guarded by Registry.mu
	reset   bool     // guarded by Registry.mu
}

// add notes a change. The caller holds the registry's lock.
func (w *watcher) add(c Change) {
	if len(w.changes) == changesMax {
		w.changes, w.reset = nil, true
	}
	w.changes = append(w.changes, c)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Watch calls fn with a service at once and after every change, until fn fails
// or ctx ends. With a revision from a view before, the first call has the
// changes since then and comes when there are any. Changes that come faster
// than fn are seen together; of too many, or of ones that retention has
// removed, the view is a reset: its instances are right, its changes not all.
func (r *Registry) Watch(ctx context.Context, ns, name string, revision int64, fn func(View) error) error {
	w := &watcher{serviceKey: serviceKey{ns, name}, wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.watchers[w] = struct{}{}
	at := r.revision
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watchers, w)
		r.mu.Unlock()
	}()
	missed, reset, err := r.since(ctx, w.serviceKey, revision, at)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		v := r.view(w)
		if first {
			v.Changes, v.Reset = append(missed, v.Changes...), v.Reset || reset
		}
		if !first || revision == 0 || len(v.Changes) > 0 || v.Reset {
			if err := fn(v); err != nil {
				return err
			}
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// since are the changes of a service after a revision, up to another.
func (r *Registry) since(ctx context.Context, k serviceKey, after, upto int64) (list []Change, reset bool, err error) {
	if after == 0 {
		return nil, false, nil
	}
	whole, err := r.db.InstanceEvents(ctx, k.ns, k.service, after, upto, changesMax, func(e store.InstanceEvent) {
		list = append(list, Change{Revision: e.Revision, Kind: ChangeKind(e.Kind), Instance: e.Instance, Epoch: e.Epoch})
	})
	if !whole || after > upto {
		return nil, true, err
	}
	return list, false, err
}

func (r *Registry) view(w *watcher) View {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := View{Revision: r.revision, Changes: w.changes, Reset: w.reset}
	w.changes, w.reset = nil, false
	for _, l := range r.services[w.serviceKey].leases() {
		v.Instances = append(v.Instances, l.Instance)
	}
	return v
}
