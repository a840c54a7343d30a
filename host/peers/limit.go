package peers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weftrun/weft"
)

// limits are what bounds the calls to one peer. The lock of the peer guards it.
type limits struct {
	next    time.Time            // when the next attempt fits the rate
	own     map[string]time.Time // the same of modules with rates of their own
	callers map[string]*bulkhead
	retries share
	back    recovery
}

// mayRetry reports whether a failed call may be tried again: retries are a
// share of the calls, or they would multiply the load of a peer that is slow
// because of its load (Google SRE book, Handling Overload).
func (p *peer) mayRetry(o *Policy) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits.retries.take(o, time.Now())
}

// share counts the calls of a window, and those that were tried again.
type share struct {
	begun          time.Time
	calls, retries [2]int // of this window and of the one before
}

const shareWindow = 5 * time.Second // two make the ten seconds

func (s *share) slide(now time.Time) {
	switch n := now.Sub(s.begun) / shareWindow; {
	case n >= 2:
		*s = share{begun: now}
	case n == 1:
		s.begun = s.begun.Add(shareWindow)
		s.calls, s.retries = [2]int{0, s.calls[0]}, [2]int{0, s.retries[0]}
	}
}

func (s *share) called(now time.Time) {
	s.slide(now)
	s.calls[0]++
}

func (s *share) take(o *Policy, now time.Time) bool {
	s.slide(now)
	if s.retries[0]+s.retries[1] >= max(o.BudgetMin, o.Budget*(s.calls[0]+s.calls[1])/100) {
		return false
	}
	s.retries[0]++
	return true
}

// enter waits until ends for a place in the rate of a peer, and then for one in
// the bulkhead of the caller. leave gives that back. Waiting is not failing: of
// many runs that are let go at once, the last must not burn an attempt.
func (p *peer) enter(ctx context.Context, caller string, o *Policy, try int, ends time.Time) error {
	p.mu.Lock()
	now := time.Now()
	if try == 0 {
		p.limits.retries.called(now)
	}
	wait, ok := p.limits.reserve(o, now, ends)
	if !ok {
		p.mu.Unlock()
		p.counts.attempts[RefusedRate].Add(1)
		return errNoRoom("calls to %s are limited to %s, and there is no place before the deadline", p.service, o.rates())
	}
	if wait > 0 {
		p.mu.Unlock()
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		p.mu.Lock()
	}
	next, ok := p.place(caller, o)
	p.mu.Unlock()
	if !ok {
		p.counts.attempts[RefusedBulkhead].Add(1)
		return errNoRoom("%s has %d calls to %s in progress and %d that wait, the limit", caller, o.Bulkhead, p.service, queueMax)
	}
	if next == nil {
		return nil
	}
	late := time.NewTimer(time.Until(ends))
	defer late.Stop()
	var err error
	select {
	case <-next:
		return nil
	case <-late.C:
		p.counts.attempts[RefusedBulkhead].Add(1)
		if err = p.recovering(); err == nil {
			err = errNoRoom("%s has %d calls to %s in progress, the limit, and none ended before the deadline", caller, o.Bulkhead, p.service)
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.giveUp(caller, o, next)
	return err
}

// bulkhead is what one caller has in progress.
type bulkhead struct {
	busy  int
	queue []chan struct{} // closed when the place is theirs
}

const (
	queueMax    = 10_000 // attempts of one caller that wait for a place
	callersKept = 256    // callers without a call in progress that are remembered, for they come again
)

// place takes a place in the bulkhead, or gives what tells that it is there; ok
// is false when too many wait. The caller holds mu.
func (p *peer) place(caller string, o *Policy) (next chan struct{}, ok bool) {
	if p.limits.callers == nil {
		p.limits.callers = map[string]*bulkhead{}
	}
	b := p.limits.callers[caller]
	if b == nil {
		b = &bulkhead{}
		p.limits.callers[caller] = b
	}
	switch {
	case b.busy < p.limits.back.bound(o.Bulkhead):
		b.busy++
		return nil, true
	case len(b.queue) >= queueMax:
		return nil, false
	}
	next = make(chan struct{})
	b.queue = append(b.queue, next)
	return next, true
}

// giveUp leaves the queue, and the place if it has just come.
func (p *peer) giveUp(caller string, o *Policy, next chan struct{}) {
	p.mu.Lock()
	b := p.limits.callers[caller]
	i := slices.Index(b.queue, next)
	if i >= 0 {
		b.queue = slices.Delete(b.queue, i, i+1)
	}
	p.mu.Unlock()
	if i < 0 {
		p.leave(caller, o)
	}
}

// leave hands the places that there are on to those who have waited longest.
func (p *peer) leave(caller string, o *Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.limits.callers[caller]
	b.busy--
	for bound := p.limits.back.bound(o.Bulkhead); len(b.queue) > 0 && b.busy < bound; b.busy++ {
		close(b.queue[0])
		b.queue = b.queue[1:]
	}
	if b.busy == 0 && len(p.limits.callers) > callersKept {
		delete(p.limits.callers, caller)
	}
}

// reserve takes the next place in the rate of the peer, and in that of the
// caller if it has one, and is how long to wait for both. ok is false when that
// is too late; then no place is taken.
func (l *limits) reserve(o *Policy, now, ends time.Time) (wait time.Duration, ok bool) {
	all, next, ok := due(l.next, o.Rate, o.Burst, now, ends)
	if !ok {
		return 0, false
	}
	own, mine, ok := due(l.own[o.own.module], o.own.rate, o.own.burst, now, ends)
	if !ok {
		return 0, false
	}
	l.next = next
	if o.own.rate > 0 {
		if l.own == nil {
			l.own = map[string]time.Time{}
		}
		l.own[o.own.module] = mine
	}
	return max(all, own), true
}

// due is how long to wait for the next place in a rate, and when the one after
// it is (GCRA, ITU-T I.371). A rate of 0 has no bounds.
func due(next time.Time, rate, burst int, now, ends time.Time) (wait time.Duration, then time.Time, ok bool) {
	if rate == 0 {
		return 0, next, true
	}
	each := time.Second / time.Duration(rate)
	if floor := now.Add(-each * time.Duration(burst-1)); next.Before(floor) {
		next = floor
	}
	if next.After(ends) {
		return 0, next, false
	}
	return max(next.Sub(now), 0), next.Add(each), true
}

// rates are the rates of a policy, for people.
func (p *Policy) rates() string {
	switch {
	case p.own.rate == 0:
		return fmt.Sprintf("%d a second", p.Rate)
	case p.Rate == 0:
		return fmt.Sprintf("%d a second of %s", p.own.rate, p.own.module)
	}
	return fmt.Sprintf("%d a second, and to %d of %s", p.Rate, p.own.rate, p.own.module)
}

func sleep(ctx context.Context, d time.Duration) error {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// repeatable reports whether a call may be made twice: it has a key, or its
// method is idempotent (RFC 9110, 9.2.2).
func repeatable(r weft.Request) bool {
	if r.IdempotencyKey != "" {
		return true
	}
	switch r.Method {
	case "", "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return r.Peer == ""
	}
	return false
}
