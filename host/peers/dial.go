package peers

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weftrun/weft"
)

const (
	transportsMax = 256       // grant sets whose connections are kept
	headersMax    = 256 << 10 // bytes of the headers of an answer

	// A connection of HTTP/2 outlives the calls that end late on it, so one that
	// leads nowhere is only found by asking. Together the two are shorter than a
	// breaker is open by default, for its probe must not go there. An idle connection
	// is asked twice in its minute, which is what servers of gRPC bear.
	pingAfter = 20 * time.Second // of silence
	pingWait  = 3 * time.Second
)

// outside are the connections to the world: each grant set has its own, or a
// caller could use a kept connection that only another was granted.
type outside struct {
	attempt time.Duration
	allow   []string // private host:port that all may reach
	tls     *tls.Config

	mu    sync.Mutex
	bySet map[string]*http.Transport // guarded by mu
	order []string                   // guarded by mu: the one used last is last
}

// transport is that of a grant set; nil grants are those of workflows. That of
// gRPC speaks HTTP/2 alone, also without TLS.
func (o *outside) transport(grants *weft.Grants, grpc bool) *http.Transport {
	names, key := o.allow, "workflow"
	if grants != nil {
		sorted := slices.Compact(slices.Sorted(slices.Values(grants.HTTP)))
		names, key = append(exact(sorted), o.allow...), "module\x00"+strings.Join(sorted, "\x00")
	}
	if grpc {
		key = "grpc\x00" + key
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.bySet[key]
	if t == nil {
		if len(o.order) >= transportsMax {
			o.bySet[o.order[0]].CloseIdleConnections() // what is in use ends by itself
			delete(o.bySet, o.order[0])
			o.order = o.order[1:]
		}
		t = newTransport(o.dial(names), o.tls)
		if grpc {
			onlyHTTP2(t)
		}
		if o.bySet == nil {
			o.bySet = map[string]*http.Transport{}
		}
		o.bySet[key] = t
	} else {
		o.order = slices.DeleteFunc(o.order, func(k string) bool { return k == key })
	}
	o.order = append(o.order, key)
	return t
}

// onlyHTTP2 has t speak what gRPC needs, with TLS and without.
func onlyHTTP2(t *http.Transport) *http.Transport {
	t.Protocols = &http.Protocols{}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// newTransport takes no proxy from the environment: it would dial in our place.
// A nil config is TLS 1.2 or later, with whom the system trusts.
func newTransport(dial func(context.Context, string, string) (net.Conn, error), config *tls.Config) *http.Transport {
	return &http.Transport{DialContext: dial, TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: headersMax,
		HTTP2: &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingWait}}
}

// dial refuses addresses that are not public, unless they were allowed by name.
// The check sees the address that is really dialled.
func (o *outside) dial(names []string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := &net.Dialer{Timeout: o.attempt}
		if !weft.Allows(names, address) {
			d.ControlContext = func(_ context.Context, _, real string, _ syscall.RawConn) error {
				if ap, err := netip.ParseAddrPort(real); err != nil || !public(ap.Addr()) {
					return weft.Errorf(weft.PermissionDenied, "peers.Gate.Do", "%s %w", real, errDenied).
						WithHint("allow it by name: weft dev --http-allow %s", address)
				}
				return nil
			}
		}
		return d.DialContext(ctx, network, address)
	}
}

func (o *outside) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range o.bySet {
		t.CloseIdleConnections()
	}
}

// exact leaves out patterns: only a host that is named in full may be private.
func exact(patterns []string) (names []string) {
	for _, p := range patterns {
		if !strings.HasSuffix(p, "*") {
			names = append(names, p)
		}
	}
	return names
}

var special = func() (all []netip.Prefix) {
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
		"192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10"} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()

// public reports whether an address is one of the open internet: IANA
// special-purpose registries, RFC 6890, and the metadata address of a cloud that
// is in none of them.
func public(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
