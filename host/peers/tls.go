package peers

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weftrun/weft"
)

// TLS is how a peer is known, and how weft shows itself to it. CA, Cert and Key
// are names of secrets of the namespace that hold PEM.
type TLS struct {
	CA   string `json:"ca,omitempty"`   // who may sign the peer's certificate; default: whom the system trusts
	Cert string `json:"cert,omitempty"` // what weft shows, the chain too; default: nothing
	Key  string `json:"key,omitempty"`  // of Cert
	Name string `json:"name,omitempty"` // that the peer's certificate has; default: the host of its address
}

// tlsEvery is how often those secrets are looked at.
const tlsEvery = time.Second

// ways are the connections to peers with a TLS of their own.
type ways struct {
	secret func(ns, name string) ([]byte, error)

	mu     sync.Mutex
	byPeer map[serviceKey]*way // guarded by mu
}

// way are the connections to one peer. Its lock is that of ways.
type way struct {
	tls   TLS
	sum   [sha256.Size]byte // of what the secrets said
	read  time.Time
	peer  *http.Transport // to its instances
	grpc  *http.Transport // to ask those for their health
	world *outside        // to it as a plain HTTP host
}

// way finds the connections to a peer, nil where it has no TLS of its own. When
// its secrets have changed they are new; when these cannot be used, the old
// ones stay, for certificate and key are seldom replaced at one moment.
func (g *Gate) way(k serviceKey) (*way, error) {
	g.mu.Lock()
	t := g.policies[k].TLS
	g.mu.Unlock()
	if t == (TLS{}) {
		return nil, nil
	}
	g.ways.mu.Lock()
	defer g.ways.mu.Unlock()
	w, now := g.ways.byPeer[k], time.Now()
	known := w != nil && w.tls == t
	if known && now.Sub(w.read) < tlsEvery {
		return w, nil
	}
	config, sum, err := g.ways.config(k, t)
	switch {
	case err != nil && !known:
		return nil, err
	case err != nil:
		g.opts.Log.Warn("peer's TLS stays as it was", "namespace", k.ns, "peer", k.service, "error", err)
		fallthrough
	case known && w.sum == sum:
		w.read = now
		return w, nil
	}
	if w != nil {
		w.close()
	}
	dial := &net.Dialer{Timeout: g.opts.Attempt}
	w = &way{tls: t, sum: sum, read: now, peer: newTransport(dial.DialContext, config), grpc: onlyHTTP2(newTransport(dial.DialContext, config)),
		world: &outside{attempt: g.opts.Attempt, allow: g.opts.HTTPAllow, tls: config}}
	g.ways.byPeer[k] = w
	return w, nil
}

func (w *way) close() {
	w.peer.CloseIdleConnections() // what is in use ends by itself
	w.grpc.CloseIdleConnections()
	w.world.close()
}

// forget closes the connections to a peer that has no TLS of its own any more.
func (s *ways) forget(k serviceKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.byPeer[k]; w != nil {
		w.close()
		delete(s.byPeer, k)
	}
}

func (s *ways) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.byPeer {
		w.close()
	}
}

// config reads the secrets of a peer. sum is the same while they are.
func (s *ways) config(k serviceKey, t TLS) (c *tls.Config, sum [sha256.Size]byte, err error) {
	const op = "peers.Gate.Do"
	read := func(key, name string) []byte {
		if name == "" || err != nil {
			return nil
		}
		data, failed := s.secret(k.ns, name)
		if failed != nil {
			err = weft.Errorf(weft.FailedPrecondition, op, "peer %s: tls.%s: %w", k.service, key, failed)
			var told *weft.Error
			if errors.As(failed, &told) && told.Hint != "" {
				err.(*weft.Error).Hint = told.Hint
			}
		}
		return data
	}
	ca, cert, key := read("ca", t.CA), read("cert", t.Cert), read("key", t.Key)
	if err != nil {
		return nil, sum, err
	}
	c = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.Name}
	if t.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(ca) {
			return nil, sum, weft.Errorf(weft.FailedPrecondition, op, "peer %s: tls.ca: secret %s has no certificate in PEM", k.service, t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, sum, weft.Errorf(weft.FailedPrecondition, op, "peer %s: tls.cert and tls.key: %w", k.service, err).
				WithHint("secret %s must hold the certificate and %s its key, both in PEM", t.Cert, t.Key)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, sha256.Sum256(bytes.Join([][]byte{ca, cert, key}, []byte{0})), nil
}

// over are the connections for a request: those of its peer, if that has its own.
func (g *Gate) over(r weft.Request, base string) (http.RoundTripper, error) {
	k := serviceKey{r.Namespace, r.Target()}
	if base == hereURL {
		if h := g.opts.Here(r.Namespace, r.Peer); h != nil {
			return here{h}, nil
		}
		return nil, weft.Errorf(weft.Unavailable, "peers.Gate.Do", "%s is no longer served here", r.Peer).WithHint("call again: another host may serve it")
	}
	if r.Peer != "" {
		return g.toInstance(k, base, false)
	}
	w, err := g.way(k)
	switch {
	case err != nil:
		return nil, err
	case w == nil:
		return g.world(r.Grants, r.GRPC), nil
	}
	return onlyTo{k.service, w.world.transport(r.Grants, r.GRPC), g.world(r.Grants, r.GRPC)}, nil
}

// toInstance are the connections to an instance of a peer, at base.
func (g *Gate) toInstance(k serviceKey, base string, grpc bool) (http.RoundTripper, error) {
	w, err := g.way(k)
	switch {
	case err != nil:
		return nil, err
	case w == nil && grpc:
		return g.grpc, nil
	case w == nil:
		return g.http, nil
	case grpc:
		return w.grpc, plainly(k.service, base)
	}
	return w.peer, plainly(k.service, base)
}

// plainly is why an instance cannot be called with TLS: whoever can register
// must not be able to take it away.
func plainly(name, base string) error {
	if strings.HasPrefix(base, "https://") {
		return nil
	}
	return weft.Errorf(weft.FailedPrecondition, "peers.Gate.Do", "peer %s: its policy has tls, and the instance at %s has none", name, base).
		WithHint("register it with https://")
}

// onlyTo shows a certificate to the host that it is for, and to none that
// redirects lead to.
type onlyTo struct {
	target        string
	it, elsewhere http.RoundTripper
}

func (o onlyTo) RoundTrip(q *http.Request) (*http.Response, error) {
	if (weft.Request{URL: q.URL.String()}).Target() == o.target {
		return o.it.RoundTrip(q)
	}
	return o.elsewhere.RoundTrip(q)
}

const certHint = "tls.cert and tls.key in its policy name secrets with a certificate that it trusts, and its key"

// ended reports whether err says that the other side was gone.
func ended(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || err != nil && strings.Contains(err.Error(), "client conn could not be established")
}

// callError is why a request to a peer, or a host, had no answer.
func callError(name string, q *http.Request, err error) error {
	if bad := tlsError(name, q.URL.Scheme == "https", err); bad != nil {
		return bad
	}
	return sendError(err)
}

// tlsError says of a failed handshake whose it was and what to do; nil when it
// was none. It is secure when it was to be TLS.
func tlsError(name string, secure bool, err error) error {
	var unknown x509.UnknownAuthorityError
	var other x509.HostnameError
	var invalid x509.CertificateInvalidError
	var bad *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	cause, hint := error(nil), ""
	switch {
	case errors.As(err, &unknown):
		cause, hint = unknown, "tls.ca in its policy names the secret with the certificate of who signed it"
	case errors.As(err, &other):
		cause, hint = other, "tls.name in its policy is the name that its certificate has"
	case errors.As(err, &invalid):
		cause, hint = invalid, "give the peer a certificate that is valid now"
	case errors.As(err, &bad):
		cause = bad.Err
	case errors.As(err, &record):
		cause, hint = record, "it speaks no TLS there: register it with http://, or another port"
	case errors.As(err, &op) && slices.Contains([]string{"remote error", "local error"}, op.Op):
		cause = op.Err
		if op.Op == "remote error" && (strings.Contains(cause.Error(), "certificate") || strings.Contains(cause.Error(), "unknown")) {
			hint = certHint
		}
	case secure && ended(err):
		// A peer that refuses the certificate says so after the handshake, and ends
		// the connection: what it said may be lost to the reset that follows.
		cause, hint = fmt.Errorf("tls: it ended the connection before it answered: %w", errors.Unwrap(sendError(err))), "where it wants a certificate, "+certHint
	default:
		return nil
	}
	e := weft.Errorf(weft.Unavailable, "peers.Gate.Do", "peer %s: %w", name, cause)
	if hint != "" {
		e = e.WithHint("%s", hint)
	}
	return e
}
