package host

import (
	"context"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/host/rpc"
)

// itself is a host as a peer. It is in no tenant's namespace, so that no workflow of
// one reaches the API past its grants. A module may have other services there.
var itself = peer{"weft", "host"}

// registry is where a host says that it is there: its own, or that of another weft.
type registry interface {
	Register(ctx context.Context, i peers.Instance) (peers.Instance, error)
	Heartbeat(ns, service, id string, epoch int64) error
	Drain(ctx context.Context, ns, service, id string, epoch int64) error
	Deregister(ctx context.Context, ns, service, id string, epoch int64) error
}

// announcer keeps a host, and the services of its modules, in one registry.
type announcer struct {
	h      *Host
	at     registry
	name   string // of the registry, for the log
	id     string // of the host there
	url    string // of the host
	health string // what the registry asks the services for; empty for nothing

	mu       sync.Mutex
	held     map[peer]peers.Instance // guarded by mu: the leases
	lost     map[peer]bool           // guarded by mu: names that somebody else has taken, or that none can have
	down     bool                    // guarded by mu: it did not answer, and is left until the next beat
	draining bool                    // guarded by mu: nothing is registered any more
}

// peer names a service as registries do.
type peer struct{ ns, service string }

var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]+|^[^A-Za-z0-9]+`)

// hostname is that of the machine.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return itself.service
	}
	return name
}

// hostID is the name of a host in its own registry: that of the machine, so one that
// was killed is replaced. Elsewhere it has its port too, for a machine may have several.
func hostID(more ...string) string {
	id := unfit.ReplaceAllString(strings.Join(append([]string{hostname()}, more...), "-"), "x")
	return id[max(0, len(id)-128):]
}

// announce registers this host, and what it serves, and keeps the leases while it
// lives. Its own registry must take it; others are asked again.
func (h *Host) announce(ctx context.Context, at net.Addr) error {
	address := at.String()
	_, port, _ := net.SplitHostPort(address)
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		address = net.JoinHostPort(hostname(), port)
	}
	scheme := "http://"
	if h.tls != nil {
		scheme = "https://"
	}
	own := &announcer{h: h, at: h.gate, name: "its own", id: hostID()}
	all := []*announcer{own}
	for _, url := range h.opts.Registries {
		all = append(all, &announcer{h: h, at: rpc.OpenRegistry(url, h.opts.RegistryOver), name: url, id: hostID(port), health: "/readyz"})
	}
	for _, a := range all {
		a.url, a.held, a.lost = scheme+address, map[peer]peers.Instance{}, map[peer]bool{}
	}
	if err := own.declare(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	h.announcers = all
	h.mu.Unlock()
	h.declare()
	for _, a := range all {
		h.groups.Go(func() { a.beat(h.life) })
	}
	return nil
}

func (h *Host) announced() []*announcer {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.announcers
}

// declare makes the registries know what is served now.
func (h *Host) declare() {
	h.everywhere(func(a *announcer) { _ = a.declare(context.Background()) }) // it is told in the log, and tried again
}

// retract takes from the registries what the catalog does not have any more. It
// comes before its last version goes, so that nobody is sent here in vain.
func (h *Host) retract() {
	has := h.deployed()
	h.everywhere(func(a *announcer) {
		a.mu.Lock()
		defer a.mu.Unlock()
		_ = a.remove(context.Background(), has)
	})
}

// deployed are the services of all versions of all modules that are live.
func (h *Host) deployed() map[peer]bool {
	has := map[peer]bool{itself: true}
	for _, ns := range h.cat.Namespaces() {
		for _, m := range h.cat.Services(ns) {
			for _, method := range h.typed.Methods(ns, m.Name, m.Version) {
				if service, _, _ := strings.Cut(method, "/"); weft.IsProcedure(method) { // and no route
					has[peer{ns, service}] = true
				}
			}
		}
	}
	return has
}

// declare registers what is served and not yet there, and removes what has gone.
func (a *announcer) declare(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down || a.draining {
		return nil
	}
	has := a.h.deployed()
	maps.DeleteFunc(has, func(p peer, _ bool) bool {
		return p != itself && !a.h.typed.Serves(p.ns, p.service)
	})
	err := a.remove(ctx, has)
	maps.DeleteFunc(a.lost, func(p peer, _ bool) bool { return !has[p] })
	for p := range has {
		if _, held := a.held[p]; held || a.lost[p] || err != nil {
			continue
		}
		var i peers.Instance
		switch i, err = a.at.Register(ctx, a.instance(p)); {
		case err == nil:
			a.held[p] = i
		case weft.CodeOf(err) == weft.InvalidArgument && p != itself:
			a.lost[p] = true
			a.h.log.Warn("a service cannot be registered: it is called on this host alone", "registry", a.name, "namespace", p.ns, "service", p.service, "error", err)
			err = nil
		}
	}
	if err != nil {
		a.down = true
		a.h.log.Warn("this host is not registered whole, and will try again", "registry", a.name, "error", err)
	}
	return err
}

// instance is this host as one of a service.
func (a *announcer) instance(p peer) peers.Instance {
	i := peers.Instance{Namespace: p.ns, Service: p.service, ID: a.id, URL: a.url, Zone: a.h.opts.Zone, Health: "/healthz"}
	if p != itself {
		i.URL, i.Health = a.url+onlyPath+p.service, a.health
	}
	return i
}

// remove deregisters what is not in has. The caller holds mu.
func (a *announcer) remove(ctx context.Context, has map[peer]bool) error {
	for p, i := range a.held {
		if has[p] || a.down || a.draining {
			continue
		}
		if err := a.at.Deregister(ctx, i.Namespace, i.Service, i.ID, i.Epoch); weft.CodeOf(err).Unwell() {
			a.down = true
			return err
		} // else the lease has gone, by this or before
		delete(a.held, p)
	}
	return nil
}

// beat keeps the leases until ctx ends.
func (a *announcer) beat(ctx context.Context) {
	beat := time.NewTicker(peers.TTLDefault / 3)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		a.renew()
		_ = a.declare(ctx) // it is told in the log, and tried again
	}
}

// renew sends the heartbeats. A lease that has gone is taken anew, unless somebody
// else has it now: two hosts under one name would take it from each other for ever.
func (a *announcer) renew() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = false
	for p, i := range a.held {
		switch err := a.at.Heartbeat(i.Namespace, i.Service, i.ID, i.Epoch); {
		case err == nil:
		case weft.CodeOf(err) == weft.NotFound:
			delete(a.held, p)
		case weft.CodeOf(err) == weft.FailedPrecondition:
			delete(a.held, p)
			a.lost[p] = true
			a.h.log.Error("another host has registered under the name of this one", "registry", a.name, "namespace", i.Namespace, "service", i.Service, "instance", i.ID, "error", err)
		default:
			a.down = true
			a.h.log.Warn("a registry does not answer", "registry", a.name, "error", err)
			return
		}
	}
}

// withdraw tells that this host takes no new calls.
func (h *Host) withdraw(ctx context.Context) {
	h.everywhere(func(a *announcer) { a.last(ctx, "this host is not marked as draining", a.at.Drain) })
}

// depart takes the registrations back.
func (h *Host) depart(ctx context.Context) {
	h.everywhere(func(a *announcer) {
		a.last(ctx, "this host is not deregistered; its lease ends by itself", a.at.Deregister)
	})
}

// everywhere does something in all registries at once: of one that does not answer
// the others must not hear late.
func (h *Host) everywhere(do func(*announcer)) {
	var all sync.WaitGroup
	for _, a := range h.announced() {
		all.Go(func() { do(a) })
	}
	all.Wait()
}

// last does something to each lease, and no others are taken from then on.
func (a *announcer) last(ctx context.Context, failed string, do func(ctx context.Context, ns, service, id string, epoch int64) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.draining = true
	for _, i := range slices.Collect(maps.Values(a.held)) {
		if err := do(ctx, i.Namespace, i.Service, i.ID, i.Epoch); err != nil {
			a.h.log.Warn(failed, "registry", a.name, "service", i.Service, "error", err)
			if weft.CodeOf(err).Unwell() {
				return // nor will it do so for the others
			}
		}
	}
}

// onlyPath is where each service of a module is served alone, as peers are sent
// there: whoever may call one must not come to others by its address, nor to the API.
const onlyPath = "/-/"

// only serves the methods of a service, and nothing else.
func only(service string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/"+service+"/") {
			http.Error(w, "this is the address of "+service+" alone", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}
