package peers

import (
	"time"

	"github.com/weftrun/weft"
)

// recovery bounds the calls at once to a peer that has been away. All who waited
// come together, and a full bulkhead of them may be more than it bears. So there
// are two at first, one more for each that goes well, and half as many after
// one that fails; from there on one more for each round that goes well, as TCP
// finds what a way bears (RFC 5681, 3.1). It ends when as many as fill a bulkhead
// went well. The lock of the peer guards it.
type recovery struct {
	away bool          // nobody could be called
	room int           // calls at once of one caller; 0 for no bound
	half int           // what room was halved to, from where it grows slowly
	well int           // calls since room grew last
	cut  time.Duration // when room was halved, on the registry's clock
}

// lose notes that nobody can be called.
func (r *recovery) lose() { *r = recovery{away: true} }

// answered notes a call that went well.
func (r *recovery) answered(full int) {
	switch {
	case r.away:
		*r = recovery{room: 2, half: full}
		return
	case r.room == 0:
		return
	case r.room < r.half:
		r.room++
		return
	}
	if r.well++; r.well < r.room {
		return
	}
	if r.well, r.room = 0, r.room+1; r.room > full {
		*r = recovery{}
	}
}

// failed notes a call that failed. Of those that were in progress together the
// first tells it all.
func (r *recovery) failed(begun, now time.Duration) {
	if r.room > 0 && begun >= r.cut {
		r.room = max(1, r.room/2)
		r.half, r.well, r.cut = r.room, 0, now
	}
}

// bound is how many calls of a caller there may be at once.
func (r *recovery) bound(bulkhead int) int {
	if r.room > 0 {
		return min(r.room, bulkhead)
	}
	return bulkhead
}

// recovering is what a call hears that found no place since its peer was away:
// come again. For a step that is no attempt.
func (p *peer) recovering() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limits.back.room == 0 {
		return nil
	}
	return &weft.OpenError{Namespace: p.ns, Peer: p.service, Until: time.Now().Add(probeWait), Reason: "it has been away, and has as many calls as it bears"}
}
