package engine

import (
	"context"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/machine"
)

// park leaves a call for later because its peer cannot take it; that is no
// attempt. It answers false when the step has been parked as long as it may.
// The caller holds mu.
func (a *actor) park(c machine.Command, open *weft.OpenError) bool {
	now := a.e.now()
	s := a.step(c.Step)
	if s.parked != 0 && now.UnixMicro()-s.parked >= c.ParkMax.Microseconds() {
		return false
	}
	if s.parked == 0 || s.why != open.Reason {
		if _, err := a.apply(machine.Entry{Kind: machine.Parked, At: now.UnixMicro(), Step: c.Step, Data: []byte(open.Error())}); err != nil {
			return true // the run has ended meanwhile
		}
	}
	a.e.counts.parked.Add(1)
	s.peer, s.why, s.text, s.until = open.Peer, open.Reason, open.Error(), open.Until
	if s.until.IsZero() {
		s.until = now.Add(a.e.opts.PollPeer)
	}
	a.e.parked.opened(a.row.Namespace, open.Peer, open.Until)
	return true
}

// peerQueue lets parked runs try their peer again: one as a probe when it may
// answer, and then, while calls succeed, the rest in growing waves.
type peerQueue struct {
	e *Engine

	mu    sync.Mutex
	peers map[peerKey]*peerWait // guarded by mu: peers that some run is parked on
}

type peerKey struct{ ns, peer string }

type peerWait struct {
	timer *time.Timer
	next  time.Time // when the timer fires
	wave  int       // runs in the next wave
	ok    bool      // a call has gone through since the last wave
}

// waveMax bounds the runs that are let go at once; waveGap is the mean pause
// between two waves.
const (
	waveMax = 256
	waveGap = 50 * time.Millisecond
)

func newPeerQueue(e *Engine) *peerQueue {
	return &peerQueue{e: e, peers: map[peerKey]*peerWait{}}
}

// load looks for the runs that were parked when the process ended. Their peers
// are asked a moment later, so that due timers fire first.
func (q *peerQueue) load(ctx context.Context) error {
	soon := q.e.now().Add(q.gap())
	return q.e.db.PeersParkedOn(ctx, func(ns, peer string) { q.opened(ns, peer, soon) })
}

// gap is a pause before a wave.
func (q *peerQueue) gap() time.Duration {
	return waveGap/2 + time.Duration(q.e.opts.Chance()%uint64(waveGap))
}

// opened notes when a peer may be tried again; a zero time means when the
// registry knows of an instance, or after a while.
func (q *peerQueue) opened(ns, peer string, until time.Time) {
	if until.IsZero() {
		until = q.e.now().Add(q.e.opts.PollPeer)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.wait(peerKey{ns, peer})
	w.wave, w.ok = 1, false
	q.schedule(peerKey{ns, peer}, w, until)
}

// add makes sure that somebody looks after a peer that a run is parked on.
func (q *peerQueue) add(ns, peer string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := peerKey{ns, peer}
	if q.peers[k] == nil {
		q.schedule(k, q.wait(k), q.e.now().Add(q.e.opts.PollPeer))
	}
}

// wait finds or makes the entry of a peer. The caller holds mu.
func (q *peerQueue) wait(k peerKey) *peerWait {
	w := q.peers[k]
	if w == nil {
		w = &peerWait{wave: 1}
		q.peers[k] = w
	}
	return w
}

// schedule sets the time of the next wave. The caller holds mu.
func (q *peerQueue) schedule(k peerKey, w *peerWait, at time.Time) {
	w.next = at
	in := max(at.Sub(q.e.now()), 0)
	if w.timer == nil {
		w.timer = time.AfterFunc(in, func() { q.release(k) })
		return
	}
	w.timer.Reset(in)
}

// sooner is schedule, unless the next wave is due before. The caller holds mu.
func (q *peerQueue) sooner(k peerKey, in time.Duration) {
	if w := q.peers[k]; w != nil && w.next.After(q.e.now().Add(in)) {
		q.schedule(k, w, q.e.now().Add(in))
	}
}

// answered notes that a call went through: the next wave is larger, and soon.
func (q *peerQueue) answered(ns, peer string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := peerKey{ns, peer}
	if w := q.peers[k]; w != nil {
		w.ok = true
		q.sooner(k, q.gap())
	}
}

// release lets the next wave go. A run that cannot go takes no other's place in it.
func (q *peerQueue) release(k peerKey) {
	n, ok := q.grow(k)
	if !ok || q.e.life.Err() != nil {
		return
	}
	for after := ""; n > 0; {
		ids, err := q.e.db.ParkedOn(q.e.life, k.ns, k.peer, after, n)
		if err == nil && len(ids) == 0 {
			if after == "" {
				q.forget(k)
			}
			return
		}
		if err != nil {
			if q.e.life.Err() == nil {
				q.e.log.Error("parked runs not read, will try again", "peer", k.peer, "error", err)
			}
			return
		}
		for _, id := range ids {
			after = id
			err := q.e.touch(q.e.life, id, (*actor).proceed)
			if err == nil {
				n--
			} else if q.e.life.Err() != nil {
				return
			} else {
				q.e.log.Error("parked run not resumed", "run", id, "peer", k.peer, "error", err)
			}
		}
	}
}

// grow is the size of the wave that is due now. The one after it comes when a
// call goes through or the peer opens again, and at the latest after a while.
func (q *peerQueue) grow(k peerKey) (int, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.peers[k]
	if w == nil {
		return 0, false
	}
	if w.ok {
		w.wave, w.ok = min(2*w.wave, waveMax), false
	}
	q.schedule(k, w, q.e.now().Add(q.e.opts.PollPeer))
	return w.wave, true
}

func (q *peerQueue) forget(k peerKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w := q.peers[k]; w != nil {
		w.timer.Stop()
		delete(q.peers, k)
	}
}

// close stops all timers.
func (q *peerQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for k, w := range q.peers {
		w.timer.Stop()
		delete(q.peers, k)
	}
}

// Wake says that a peer may answer again: its breaker is half-open or closed,
// or an instance has registered. It returns at once.
func (e *Engine) Wake(ns, peer string) {
	e.parked.mu.Lock()
	defer e.parked.mu.Unlock()
	e.parked.sooner(peerKey{ns, peer}, 0)
}
