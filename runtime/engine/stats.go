package engine

import "sync/atomic"

// Stats is what the engine has done since it was made, and what it holds.
type Stats struct {
	Started int64            // runs
	Ended   map[Status]int64 // runs, by how: all of Completed, Faulted and Cancelled
	Parked  int64            // times that a call was left for later because its peer could not take it
	Live    int              // runs in memory; those that only wait are not
	Awaited int              // peers that some run is parked on
	Waiters int              // callers who wait for a run
	Refused int64            // callers who found no place to wait
	Lost    int64            // times that what was not yet durable was lost with the disk
}

// counts are the counters of an engine.
type counts struct {
	started, parked atomic.Int64
	ended           [Cancelled + 1]atomic.Int64
}

// Stats may be called at any time; it reads no row.
func (e *Engine) Stats() Stats {
	s := Stats{Started: e.counts.started.Load(), Parked: e.counts.parked.Load(), Lost: e.losses.Load(), Ended: map[Status]int64{}}
	for how := Completed; how <= Cancelled; how++ {
		s.Ended[how] = e.counts.ended[how].Load()
	}
	e.mu.Lock()
	s.Live = len(e.actors)
	e.mu.Unlock()
	e.parked.mu.Lock()
	s.Awaited = len(e.parked.peers)
	e.parked.mu.Unlock()
	s.Waiters, s.Refused = e.places.Count()
	return s
}

// count counts the start and the end of a run when they are durable. The caller
// holds mu.
func (a *actor) count(c *commit) {
	if c.fresh {
		a.e.counts.started.Add(1)
	}
	if how := Status(c.row.Status); how.Ended() && !a.counted {
		a.counted = true
		a.e.counts.ended[how].Add(1)
	}
}
