package peers

import (
	"context"
	"time"

	"github.com/weftrun/weft"
)

// limits are what bounds the calls to one peer. The lock of the peer guards it.
type limits struct {
	next    time.Time      // when the next attempt fits the rate
	busy    map[string]int // attempts in progress, by caller
	retries share
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

// enter takes a place in the bulkhead of a caller, and in the rate, for which
// it waits until ends. leave gives the place back.
func (p *peer) enter(ctx context.Context, caller string, o *Policy, try int, ends time.Time) error {
	p.mu.Lock()
	now := time.Now()
	if try == 0 {
		p.limits.retries.called(now)
	}
	if p.limits.busy[caller] >= o.Bulkhead {
		p.mu.Unlock()
		return errNoRoom("%s has %d calls to %s in progress, the limit", caller, o.Bulkhead, p.service)
	}
	wait, ok := p.limits.reserve(o, now, ends)
	if ok {
		if p.limits.busy == nil {
			p.limits.busy = map[string]int{}
		}
		p.limits.busy[caller]++
	}
	p.mu.Unlock()
	if !ok {
		return errNoRoom("calls to %s are limited to %d a second, and there is no place before the deadline", p.service, o.Rate)
	}
	if wait <= 0 {
		return nil
	}
	err := sleep(ctx, wait)
	if err != nil {
		p.leave(caller)
	}
	return err
}

// reserve takes the next place in the rate, and is how long to wait for it
// (GCRA, ITU-T I.371). ok is false when that is too late.
func (l *limits) reserve(o *Policy, now, ends time.Time) (wait time.Duration, ok bool) {
	if o.Rate == 0 {
		return 0, true
	}
	each := time.Second / time.Duration(o.Rate)
	next := l.next
	if floor := now.Add(-each * time.Duration(o.Burst-1)); next.Before(floor) {
		next = floor
	}
	if next.After(ends) {
		return 0, false
	}
	l.next = next.Add(each)
	return next.Sub(now), true
}

func (p *peer) leave(caller string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limits.busy[caller]--; p.limits.busy[caller] == 0 {
		delete(p.limits.busy, caller)
	}
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
