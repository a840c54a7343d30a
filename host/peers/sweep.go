package peers

import (
	"context"
	"sync"
	"time"
)

const (
	sweepEvery = 500 * time.Millisecond
	sweepLate  = time.Second // by which a sweep may be late before the host has stalled
	expireMin  = 3           // leases of a service that may end at once, however few it has
	checksMax  = 16          // health checks at once
)

// sweeper ends leases.
type sweeper struct {
	*Registry
	check func(context.Context, *lease) error
	last  time.Duration // of the latest sweep
}

// sweep ends leases until ctx ends.
func (r *Registry) sweep(ctx context.Context, check func(context.Context, *lease) error) {
	s := &sweeper{r, check, r.now()}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.at(ctx, r.now())
		}
	}
}

// at ends the leases that are over.
func (s *sweeper) at(ctx context.Context, now time.Duration) {
	gap := now - s.last - sweepEvery
	if s.last = now; gap > sweepLate {
		s.pardon(gap) // nobody could send a heartbeat meanwhile
		return
	}
	ended, doubtful := s.overdue(now)
	for _, l := range ended {
		s.expire(ctx, l)
	}
	begun := s.now()
	each(doubtful, func(l *lease) {
		if err := s.check(ctx, l); err == nil {
			l.renew(s.now())
		} else if ctx.Err() == nil && l.ends.Load() < int64(now) { // and no heartbeat came while it was asked
			l.ended.Store(true)
			s.expire(ctx, l)
		}
	})
	s.last += s.now() - begun // what the checks took is no stall
}

func (r *Registry) expire(ctx context.Context, l *lease) {
	if err := r.remove(ctx, l, Expired); err != nil && ctx.Err() == nil {
		r.log.Error("lease not removed", "service", l.Service, "instance", l.ID, "error", err)
	}
}

// pardon gives every lease the time for which the host stood still.
func (r *Registry) pardon(gap time.Duration) {
	r.log.Warn("the host has stalled; all leases are longer by that", "stalled", gap)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.services {
		for _, l := range s.leases() {
			l.ends.Add(int64(gap))
		}
	}
}

// overdue are the leases whose time is up. Where those are more than half of a
// service, the fault may be on the way here or in this host: they are doubtful,
// and go only if they do not answer. The count is that of the live instances,
// so scaling in leaves no trap.
func (r *Registry) overdue(now time.Duration) (ended, doubtful []*lease) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.services {
		var late []*lease
		for _, l := range s.leases() {
			if l.ends.Load() < int64(now) {
				late = append(late, l)
			}
		}
		if len(late) > max(expireMin, len(s.list)/2) {
			doubtful = append(doubtful, late...)
			continue
		}
		for _, l := range late {
			l.ended.Store(true) // from here on a heartbeat is refused
		}
		ended = append(ended, late...)
	}
	return ended, doubtful
}

// each calls fn with every lease, checksMax at once.
func each(list []*lease, fn func(*lease)) {
	var all sync.WaitGroup
	room := make(chan struct{}, checksMax)
	for _, l := range list {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			fn(l)
		})
	}
	all.Wait()
}
