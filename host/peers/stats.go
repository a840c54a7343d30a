package peers

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/weftrun/weft/host/breaker"
)

// Outcome is what came of one attempt to call a peer.
type Outcome int

// What can come of an attempt. The last four were not sent.
const (
	Answered        Outcome = iota // if only with an error of the application
	Failed                         // the peer is not well
	Slow                           // it answered, after longer than its breaker's policy bears
	Abandoned                      // the caller went, which says nothing about the peer
	Denied                         // what is dialled is not public
	RefusedOpen                    // no instance, or none whose breaker lets a call through
	RefusedRate                    // no place in the rate before the deadline
	RefusedBulkhead                // no place in the bulkhead before the deadline
	outcomes
)

// String is the outcome as people read it.
func (o Outcome) String() string {
	return [...]string{"ok", "failed", "slow", "abandoned", "denied", "open", "rate", "bulkhead"}[o]
}

// Stats is what registry and gate have done since they were opened, and how
// things stand.
type Stats struct {
	Peers      []PeerStats // those that have a breaker; the oldest first
	Active     int         // instances that are registered and take calls
	Draining   int         // instances that take none
	Sick       int         // of the active, those whose health check fails
	LeasesLost int64       // instances that went without deregistering
}

// PeerStats counts since the peer was first called, or called again after it
// had been forgotten.
type PeerStats struct {
	Namespace, Peer string
	Calls           int64                       // however often each was tried
	Retries         int64                       // attempts after the first
	Attempts        [outcomes]int64             // by Outcome
	Turned          [breaker.HalfOpen + 1]int64 // transitions of its breakers, by the state that they led to
	Busy            int                         // calls that have a place in a bulkhead
	Waiting         int                         // calls that wait for one
	Breakers        []BreakerState              // by instance
}

// counts are the counters of a peer.
type counts struct {
	calls, retries atomic.Int64
	attempts       [outcomes]atomic.Int64
	turned         [breaker.HalfOpen + 1]atomic.Int64
}

// Stats may be called at any time. It takes the lock of each peer for a moment.
func (g *Gate) Stats() Stats {
	s := Stats{LeasesLost: g.lost.Load()}
	all := g.all()
	slices.SortFunc(all, func(a, b *peer) int { return cmp.Compare(a.number, b.number) })
	for _, p := range all {
		s.Peers = append(s.Peers, p.stats())
	}
	g.Registry.mu.RLock()
	defer g.Registry.mu.RUnlock()
	for _, service := range g.services {
		for _, l := range service.leases() {
			switch {
			case l.Status == Draining:
				s.Draining++
				continue
			case l.sick.Load() != nil:
				s.Sick++
			}
			s.Active++
		}
	}
	return s
}

func (p *peer) stats() PeerStats {
	s := PeerStats{Namespace: p.ns, Peer: p.service, Calls: p.counts.calls.Load(), Retries: p.counts.retries.Load()}
	for i := range s.Attempts {
		s.Attempts[i] = p.counts.attempts[i].Load()
	}
	for i := range s.Turned {
		s.Turned[i] = p.counts.turned[i].Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.limits.callers {
		s.Busy += b.busy
		s.Waiting += len(b.queue)
	}
	for id := range p.guards {
		s.Breakers = append(s.Breakers, p.show(id))
	}
	slices.SortFunc(s.Breakers, func(a, b BreakerState) int { return strings.Compare(a.Instance, b.Instance) })
	return s
}
