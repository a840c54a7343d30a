// Package metrics tells what the rooms have counted to Prometheus.
package metrics

import (
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/hooks"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
)

// Bounds of an answer: names come from callers, and each is a series for good.
const (
	PeersMax    = 500
	BreakersMax = 2_000
	ModulesMax  = 500
	HooksMax    = 500
	SharesMax   = 2_000
	scrapesMax  = 2 // at once
	scrapeTime  = 10 * time.Second
)

// Rooms are what is asked at each scrape.
type Rooms struct {
	Gate    *peers.Gate
	Wasm    *wasm.Runtime
	Engine  *engine.Engine
	Hooks   *hooks.Hooks
	Store   *store.DB
	Streams *weft.Places // of the API
	Calls   *weft.Places // of the services of modules
}

// Handler answers scrapes in Prometheus' formats.
func Handler(r Rooms) http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(NewCollector(r), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{MaxRequestsInFlight: scrapesMax, Timeout: scrapeTime})
}

// Collector reads the Stats of the rooms when it is asked, and keeps nothing.
type Collector struct{ rooms Rooms }

// NewCollector makes a collector of these rooms.
func NewCollector(r Rooms) *Collector { return &Collector{r} }

// metric is what a series is made with.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// described are all metrics, in the order of docs/OPERATIONS.md.
var described []metric

func counter(name, help string, labels ...string) metric {
	return describe(prometheus.CounterValue, name, help, labels)
}

func gauge(name, help string, labels ...string) metric {
	return describe(prometheus.GaugeValue, name, help, labels)
}

func describe(kind prometheus.ValueType, name, help string, labels []string) metric {
	m := metric{prometheus.NewDesc("weft_"+name, help, labels, nil), kind}
	described = append(described, m)
	return m
}

var (
	breakerState   = gauge("breaker_state", "State of the breaker of an instance: 0 closed, 1 open, 2 half-open.", "namespace", "peer", "instance")
	breakerTurns   = counter("breaker_transitions_total", "Transitions of a peer's breakers, by the state that they led to.", "namespace", "peer", "to")
	peerCalls      = counter("peer_calls_total", "Calls to a peer, however often each was tried.", "namespace", "peer")
	peerRetries    = counter("peer_retries_total", "Attempts to call a peer after the first of a call.", "namespace", "peer")
	peerAttempts   = counter("peer_attempts_total", "Attempts to call a peer, by what came of each.", "namespace", "peer", "outcome")
	peerBusy       = gauge("peer_calls_in_progress", "Calls to a peer that have a place in a bulkhead.", "namespace", "peer")
	peerWaiting    = gauge("peer_calls_waiting", "Calls to a peer that wait for a place in a bulkhead.", "namespace", "peer")
	instances      = gauge("registry_instances", "Registered instances of services.", "status")
	instancesSick  = gauge("registry_instances_sick", "Active instances whose health check fails.")
	leasesLost     = counter("registry_leases_lost_total", "Instances that went without deregistering.")
	runsStarted    = counter("runs_started_total", "Runs started.")
	runsEnded      = counter("runs_ended_total", "Runs ended, by how.", "status")
	runsLive       = gauge("runs_in_memory", "Runs in memory; those that only wait are not.")
	callsParked    = counter("calls_parked_total", "Times that the call of a run was left for later because its peer could not take it.")
	peersAwaited   = gauge("peers_awaited", "Peers that some run is parked on.")
	runWaiters     = gauge("run_waiters", "Callers who wait for a run.")
	runRefused     = counter("run_waiters_refused_total", "Callers who found no place to wait for a run.")
	streams        = gauge("streams", "Callers who hold a stream of the API.")
	streamsRefused = counter("streams_refused_total", "Callers who found no place for a stream of the API.")
	serviceCalls   = gauge("service_calls", "Calls of the services of modules in progress.")
	serviceRefused = counter("service_calls_refused_total", "Calls of the services of modules that found no place.")
	hookCalls      = counter("hook_calls_total", "Calls of a webhook, by what came of each.", "namespace", "hook", "outcome")
	hooksUnknown   = counter("hook_calls_unknown_total", "Calls of webhooks that there are not.")
	moduleCalls    = counter("module_calls_total", "Calls of a module's handlers that were let in.", "namespace", "module", "digest")
	moduleTraps    = counter("module_traps_total", "Calls of a module that ended in a trap.", "namespace", "module", "digest")
	moduleLimits   = counter("module_limits_total", "Times that a limit of a module ended or refused a call, or said no to it.", "namespace", "module", "digest", "limit")
	moduleMade     = counter("module_instances_made_total", "Instances made of a module.", "namespace", "module", "digest")
	moduleLive     = gauge("module_instances", "Instances of a module, by whether a call uses them.", "namespace", "module", "digest", "state")
	moduleRunning  = gauge("module_calls_in_progress", "Calls of a module in progress.", "namespace", "module", "digest")
	moduleWaiting  = gauge("module_calls_waiting", "Calls of a module that wait for one in progress to end.", "namespace", "module", "digest")
	moduleBytes    = gauge("module_memory_bytes", "Memory of a module's instances.", "namespace", "module", "digest")
	sandboxBytes   = gauge("sandbox_memory_bytes", "Memory of all instances of modules.")
	sandboxRefused = counter("sandbox_memory_refused_total", "Times that there was no more memory for instances.")
	shareUsed      = gauge("share_used", "What a namespace has of something that all modules share.", "namespace", "of")
	shareRefused   = counter("share_refused_total", "Times that there was no more of it for a namespace.", "namespace", "of")
	storeCommits   = counter("store_commits_total", "Groups that the one writer has committed, each with a sync or more.")
	storeFree      = gauge("store_free_bytes", "Free space of the disk under the database.")
	storeBroken    = gauge("store_broken", "1 while the database takes no writes.")
	storeLost      = counter("store_losses_total", "Times that what was not yet durable was lost with the disk.")
	leftOut        = gauge("metrics_left_out", "Peers, breakers, webhooks, loaded modules and shares over the limits of this page.", "what")
)

var states = map[string]float64{breaker.Closed.String(): 0, breaker.Open.String(): 1, breaker.HalfOpen.String(): 2}

// Describe tells all metrics.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range described {
		to <- m.desc
	}
}

// page is one answer.
type page chan<- prometheus.Metric

func (p page) tell(m metric, v float64, labels ...string) {
	p <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
}

// Collect asks the rooms.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	p := page(to)
	p.gate(c.rooms.Gate.Stats())
	p.engine(c.rooms.Engine.Stats())
	held, refused := c.rooms.Streams.Count()
	p.tell(streams, float64(held))
	p.tell(streamsRefused, float64(refused))
	held, refused = c.rooms.Calls.Count()
	p.tell(serviceCalls, float64(held))
	p.tell(serviceRefused, float64(refused))
	p.hooks(c.rooms.Hooks.Stats())
	p.modules(c.rooms.Wasm.Stats())
	s := c.rooms.Store.Stats()
	p.tell(storeCommits, float64(s.Commits))
	p.tell(storeFree, float64(s.FreeBytes))
	p.tell(storeBroken, truth(s.Broken))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (p page) gate(s peers.Stats) {
	p.tell(instances, float64(s.Active), peers.Active.String())
	p.tell(instances, float64(s.Draining), peers.Draining.String())
	p.tell(instancesSick, float64(s.Sick))
	p.tell(leasesLost, float64(s.LeasesLost))
	told := s.Peers[:min(len(s.Peers), PeersMax)]
	p.tell(leftOut, float64(len(s.Peers)-len(told)), "peers")
	breakers, all := 0, 0
	for _, peer := range s.Peers {
		all += len(peer.Breakers)
	}
	for _, peer := range told {
		ns, name := peer.Namespace, peer.Peer
		p.tell(peerCalls, float64(peer.Calls), ns, name)
		p.tell(peerRetries, float64(peer.Retries), ns, name)
		p.tell(peerBusy, float64(peer.Busy), ns, name)
		p.tell(peerWaiting, float64(peer.Waiting), ns, name)
		for outcome, n := range peer.Attempts {
			p.tell(peerAttempts, float64(n), ns, name, peers.Outcome(outcome).String())
		}
		for state, n := range peer.Turned {
			p.tell(breakerTurns, float64(n), ns, name, breaker.State(state).String())
		}
		for _, b := range peer.Breakers[:min(len(peer.Breakers), BreakersMax-breakers)] {
			breakers++
			p.tell(breakerState, states[b.State], ns, name, b.Instance)
		}
	}
	p.tell(leftOut, float64(all-breakers), "breakers")
}

func (p page) engine(s engine.Stats) {
	p.tell(runsStarted, float64(s.Started))
	for status, n := range s.Ended {
		p.tell(runsEnded, float64(n), status.String())
	}
	p.tell(runsLive, float64(s.Live))
	p.tell(callsParked, float64(s.Parked))
	p.tell(peersAwaited, float64(s.Awaited))
	p.tell(runWaiters, float64(s.Waiters))
	p.tell(runRefused, float64(s.Refused))
	p.tell(storeLost, float64(s.Lost))
}

func (p page) hooks(s hooks.Stats) {
	told := s.Hooks[:min(len(s.Hooks), HooksMax)]
	p.tell(leftOut, float64(len(s.Hooks)-len(told)), "hooks")
	for _, h := range told {
		for outcome, n := range h.Outcomes {
			p.tell(hookCalls, float64(n), h.Namespace, h.Name, hooks.Outcome(outcome).String())
		}
	}
	p.tell(hooksUnknown, float64(s.Unknown))
}

func (p page) modules(s wasm.Stats) {
	p.tell(sandboxBytes, float64(s.MemoryBytes))
	p.tell(sandboxRefused, float64(s.MemoryRefused))
	p.shares(s.Shares)
	all := merged(s.Modules)
	told := all[:min(len(all), ModulesMax)]
	p.tell(leftOut, float64(len(all)-len(told)), "modules")
	for _, m := range told {
		ns, name, _ := strings.Cut(m.Owner, "/") // as the catalog has it; none of the engine of scripts
		labels := []string{ns, name, m.Digest}   // whole: of a part, two could be made to be alike
		with := func(more string) []string { return []string{ns, name, m.Digest, more} }
		p.tell(moduleCalls, float64(m.Calls), labels...)
		p.tell(moduleTraps, float64(m.Traps), labels...)
		p.tell(moduleMade, float64(m.Made), labels...)
		p.tell(moduleLive, float64(m.Idle), with("idle")...)
		p.tell(moduleLive, float64(max(m.Live-int64(m.Idle), 0)), with("busy")...)
		p.tell(moduleRunning, float64(m.Running), labels...)
		p.tell(moduleWaiting, float64(m.Waiting), labels...)
		p.tell(moduleBytes, float64(m.Bytes), labels...)
		for limit, n := range m.Limits {
			p.tell(moduleLimits, float64(n), with(string(limit))...)
		}
	}
}

func (p page) shares(all []wasm.ShareStats) {
	told := all[:min(len(all), SharesMax)]
	p.tell(leftOut, float64(len(all)-len(told)), "shares")
	for _, s := range told {
		p.tell(shareUsed, float64(s.Used), s.Namespace, s.Of)
		p.tell(shareRefused, float64(s.Refused), s.Namespace, s.Of)
	}
}

// merged adds up what an owner has loaded several times, on other terms: it is one series.
// The list is by digest and owner.
func merged(list []wasm.ModuleStats) (all []wasm.ModuleStats) {
	for _, m := range list {
		if n := len(all); n == 0 || all[n-1].Digest != m.Digest || all[n-1].Owner != m.Owner {
			all = append(all, m)
			continue
		}
		one := &all[len(all)-1]
		one.Calls, one.Traps, one.Made, one.Live = one.Calls+m.Calls, one.Traps+m.Traps, one.Made+m.Made, one.Live+m.Live
		one.Idle, one.Running, one.Waiting, one.Bytes = one.Idle+m.Idle, one.Running+m.Running, one.Waiting+m.Waiting, one.Bytes+m.Bytes
		for limit, n := range m.Limits {
			one.Limits[limit] += n
		}
	}
	return all
}
