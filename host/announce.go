package host

import (
	"context"
	"net"
	"os"
	"regexp"
	"time"

	"github.com/weftrun/weft/host/peers"
)

// Where hosts are registered. It is no tenant's namespace, so that no workflow
// of one reaches the API past its grants.
const (
	hostsNamespace = "weft"
	hostsService   = "host"
)

var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]+|^[^A-Za-z0-9]+`)

// hostname is that of the machine.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return hostsService
	}
	return name
}

// hostID is the name under which a host registers in its own registry.
func hostID() string {
	id := unfit.ReplaceAllString(hostname(), "x")
	return id[:min(len(id), 128)]
}

// announce registers this host as a peer and keeps its lease while it lives.
// Its name is that of the machine, so one that was killed is replaced.
func (h *Host) announce(ctx context.Context, at net.Addr) (peers.Instance, error) {
	address := at.String()
	if tcp, ok := at.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		_, port, _ := net.SplitHostPort(address)
		address = net.JoinHostPort(hostname(), port)
	}
	scheme := "http://"
	if h.tls != nil {
		scheme = "https://"
	}
	self, err := h.gate.Register(ctx, peers.Instance{Namespace: hostsNamespace, Service: hostsService, ID: hostID(), URL: scheme + address, Zone: h.opts.Zone, Health: "/healthz"})
	if err != nil {
		return self, err
	}
	h.groups.Go(func() {
		beat := time.NewTicker(self.TTL / 3)
		defer beat.Stop()
		for {
			select {
			case <-h.life.Done():
				return
			case <-beat.C:
			}
			if err := h.gate.Heartbeat(self.Namespace, self.Service, self.ID, self.Epoch); err != nil {
				h.log.Warn("this host is registered no more", "error", err) // somebody has removed it
				return
			}
		}
	})
	return self, nil
}

// withdraw tells that this host takes no new calls.
func (h *Host) withdraw(ctx context.Context, self peers.Instance) {
	if err := h.gate.Drain(ctx, self.Namespace, self.Service, self.ID, self.Epoch); err != nil {
		h.log.Warn("this host is not marked as draining", "error", err)
	}
}

// depart takes the registration back.
func (h *Host) depart(ctx context.Context, self peers.Instance) {
	if err := h.gate.Deregister(ctx, self.Namespace, self.Service, self.ID, self.Epoch); err != nil {
		h.log.Warn("this host is not deregistered; its lease ends by itself", "error", err)
	}
}
