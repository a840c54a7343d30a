package wasm

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// Stats is what the runtime has done since it was opened, and what it holds.
type Stats struct {
	Modules       []ModuleStats // those that are loaded, by digest and owner
	MemoryBytes   int64         // of all instances, at most Options.MemoryMax
	MemoryRefused int64         // times that there was no more of it
	Shares        []ShareStats  // of what all modules share, by namespace
}

// ShareStats is what a namespace has of something that all modules share.
type ShareStats struct {
	Namespace string // empty for the host's own
	Of        string // memory_bytes, workers, calls_waiting, checks, checks_waiting, scripts or scripts_waiting
	Used      int64
	Refused   int64 // times that there was no more for it; of checks and scripts those that wait are refused
}

// ModuleStats counts since the module was loaded.
type ModuleStats struct {
	Digest  string
	Owner   string          // of its terms
	Calls   int64           // that were let in; of those in progress a few may not be counted yet
	Traps   int64           // calls that ended so
	Limits  map[Limit]int64 // how often each ended or refused a call, or said no to the guest; all of them
	Made    int64           // instances
	Live    int64           // of them, those that are there
	Idle    int             // of those, the ones that no call uses
	Running int             // calls in progress
	Waiting int             // calls for one of those to end
	Bytes   int64           // memory of its instances
}

// counts are the counters of a module.
type counts struct {
	calls   int64 // guarded by Module.mu
	traps   atomic.Int64
	made    atomic.Int64
	live    atomic.Int64
	bytes   atomic.Int64
	reached [len(limitNames)]atomic.Int64
}

var limitNames = [...]Limit{LimitMemory, LimitTable, LimitTimeout, LimitFuel, LimitOutput, LimitLog, LimitLogMinute, LimitHostCalls, LimitConcurrency, LimitQueue}

// over counts that a limit was reached.
func (c *counts) over(l Limit) { c.refused(l, 1) }

func (c *counts) refused(l Limit, times int64) {
	c.reached[slices.Index(limitNames[:], l)].Add(times)
}

// Stats may be called at any time; it is a handful of loads for each module.
func (r *Runtime) Stats() Stats {
	s := Stats{MemoryBytes: r.memory.used.Load()}
	s.tell("memory_bytes", &r.memory)
	for _, share := range s.Shares {
		s.MemoryRefused += share.Refused
	}
	s.tell("workers", &r.staff)
	s.tell("calls_waiting", &r.queue)
	s.tell("checks", &r.checks.pot)
	s.tell("checks_waiting", &r.checks.queue)
	s.tell("scripts", &r.driven.pot)
	s.tell("scripts_waiting", &r.driven.queue)
	for _, m := range r.loaded() {
		s.Modules = append(s.Modules, m.Stats())
	}
	slices.SortFunc(s.Shares, func(a, b ShareStats) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Of, b.Of))
	})
	slices.SortFunc(s.Modules, func(a, b ModuleStats) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Owner, b.Owner))
	})
	return s
}

// tell adds the shares of a pot.
func (s *Stats) tell(of string, p *pot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ns, share := range p.shares {
		if share.used != 0 || share.refused != 0 {
			s.Shares = append(s.Shares, ShareStats{Namespace: ns, Of: of, Used: share.used, Refused: share.refused})
		}
	}
}

// Stats are those of this module.
func (m *Module) Stats() ModuleStats {
	m.vacate()
	m.mu.Lock()
	s := ModuleStats{Digest: m.key.digest, Owner: m.key.Owner, Calls: m.calls, Idle: len(m.idle), Running: m.running, Waiting: m.waiting.Len()}
	if m.resting.Load()&1 != 0 {
		s.Idle, s.Running = s.Idle+1, s.Running-1
	}
	m.mu.Unlock()
	if m.own {
		s.Waiting += int(m.rt.driven.queue.used.Load())
	}
	if m.crew != nil {
		s.Idle = m.crew.resting()
	}
	s.Traps, s.Made, s.Live, s.Bytes = m.traps.Load(), m.made.Load(), m.live.Load(), m.bytes.Load()
	s.Limits = make(map[Limit]int64, len(limitNames))
	for n, l := range limitNames {
		s.Limits[l] = m.reached[n].Load()
	}
	return s
}
