package peers

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// lease is a registered instance and how it fares.
type lease struct {
	Instance
	ends  atomic.Int64 // on the registry's clock
	ended atomic.Bool  // it is being removed
	sick  atomic.Pointer[string]
	fails int // of its health check, in a row; the checker's own

	busy    atomic.Int64 // calls in flight
	latency atomic.Int64 // in ns, of the latest calls, the worst counting most
	settled atomic.Int64 // on the registry's clock: when latency was set
}

func newLease(i Instance, now time.Duration) *lease {
	l := &lease{Instance: i}
	l.renew(now)
	return l
}

func (l *lease) renew(now time.Duration) { l.ends.Store(int64(now + l.TTL)) }

// service is the live instances of one service. It never changes: a change of
// the service makes a new one.
type service struct {
	list   []*lease
	near   []*lease // that take calls and are in this host's zone, or in none
	far    []*lease // that take calls and are elsewhere
	weight int      // of near, or of far where near is empty; 0 when all weigh the same
}

func newService(list []*lease, zone string) *service {
	s := &service{list: list}
	for _, l := range list {
		switch {
		case l.Status != Active:
		case zone == "" || l.Zone == "" || l.Zone == zone:
			s.near = append(s.near, l)
		default:
			s.far = append(s.far, l)
		}
	}
	first := s.preferred()
	for _, l := range first {
		if l.Weight != first[0].Weight {
			s.weight = sum(first)
			break
		}
	}
	return s
}

func sum(list []*lease) (n int) {
	for _, l := range list {
		n += l.Weight
	}
	return n
}

func (s *service) leases() []*lease {
	if s == nil {
		return nil
	}
	return s.list
}

// active are the leases that take calls.
func (s *service) active() []*lease {
	switch {
	case s == nil:
		return nil
	case len(s.far) == 0:
		return s.near
	case len(s.near) == 0:
		return s.far
	}
	return slices.Concat(s.near, s.far)
}

func (s *service) find(id string) *lease {
	for _, l := range s.leases() {
		if l.ID == id {
			return l
		}
	}
	return nil
}

func (s *service) preferred() []*lease {
	if len(s.near) > 0 {
		return s.near
	}
	return s.far
}

// pick chooses one of the preferred instances: of two drawn by chance the one
// with less to do (M. Mitzenmacher, The Power of Two Choices). It is nil when
// none takes calls.
func (s *service) pick(now time.Duration) *lease {
	list := s.preferred()
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	a, b := s.draw(list, nil), (*lease)(nil)
	if b = s.draw(list, a); b == a || a.load(now) <= b.load(now) {
		return a
	}
	return b
}

// draw is one of list by its weight. Where all weigh the same it is another
// than not.
func (s *service) draw(list []*lease, not *lease) *lease {
	if s.weight > 0 {
		n := rand.IntN(s.weight)
		for _, l := range list {
			if n -= l.Weight; n < 0 {
				return l
			}
		}
	}
	if not == nil {
		return list[rand.IntN(len(list))]
	}
	l := list[rand.IntN(len(list)-1)]
	if l == not {
		l = list[len(list)-1]
	}
	return l
}

// memory is after how long half of a latency is forgotten: an instance that was
// slow must be tried again.
const memory = int64(10 * time.Second)

// load is the work that waits at an instance.
func (l *lease) load(now time.Duration) float64 {
	return float64(l.busy.Load()+1) * float64(l.faded(now)+1)
}

// faded is the latency as far as it is remembered.
func (l *lease) faded(now time.Duration) int64 {
	age := max(int64(now)-l.settled.Load(), 0)
	return int64(float64(l.latency.Load()) * float64(memory) / float64(memory+age))
}

// took notes how long a call took: a worse latency counts at once, a better one
// by a tenth, so that calls leave an instance quickly and come back slowly.
func (l *lease) took(d, now time.Duration) {
	was := l.faded(now)
	if next := int64(d); next > was {
		was = next
	} else {
		was += (next - was) / 10
	}
	l.latency.Store(was)
	l.settled.Store(int64(now))
}
