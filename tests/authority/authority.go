// Package authority signs certificates for tests.
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs. New makes one.
type Authority struct {
	tb  testing.TB
	dir string // where its files go
	key *ecdsa.PrivateKey

	Certificate *x509.Certificate // its own
}

// New is an authority whose certificate is in dir/name.pem.
func New(tb testing.TB, dir, name string) *Authority {
	a := &Authority{tb: tb, dir: dir}
	a.Certificate, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, time.Hour)
	a.write(name+".pem", "CERTIFICATE", a.Certificate.Raw)
	return a
}

// sign signs what has been valid for two hours, and is for so long from now.
func (a *Authority) sign(c *x509.Certificate, valid time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-2*time.Hour), time.Now().Add(valid)
	parent, signer := a.Certificate, a.key
	if parent == nil {
		parent, signer = c, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.tb.Fatal(err)
	}
	signed, err := x509.ParseCertificate(raw)
	if err != nil {
		a.tb.Fatal(err)
	}
	return signed, key
}

func (a *Authority) write(name, kind string, der []byte) (file string) {
	a.tb.Helper()
	file = filepath.Join(a.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return file
}

// Issue is a certificate for a host of that name, or an address, and for a client; it
// is valid for so long from now, or was until so long ago.
func (a *Authority) Issue(name string, valid time.Duration) tls.Certificate {
	a.tb.Helper()
	c := &x509.Certificate{DNSNames: []string{name}}
	if ip := net.ParseIP(name); ip != nil {
		c.DNSNames, c.IPAddresses = nil, []net.IP{ip}
	}
	return a.issue(name, c, valid)
}

func (a *Authority) issue(name string, c *x509.Certificate, valid time.Duration) tls.Certificate {
	a.tb.Helper()
	c.Subject, c.ExtKeyUsage = pkix.Name{CommonName: name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	signed, key := a.sign(c, valid)
	return tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key}
}

// Pair signs a certificate of that name, for 127.0.0.1, and leaves it in files.
func (a *Authority) Pair(name string) (cert, key string) {
	a.tb.Helper()
	signed := a.issue(name, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Hour)
	der, err := x509.MarshalPKCS8PrivateKey(signed.PrivateKey)
	if err != nil {
		a.tb.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", signed.Certificate[0]), a.write(name+"-key.pem", "PRIVATE KEY", der)
}

// Pool has the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Client is what a client of 127.0.0.1 has that trusts the authority, and shows a
// certificate of that name unless it is empty.
func (a *Authority) Client(name string) *tls.Config {
	a.tb.Helper()
	c := &tls.Config{RootCAs: a.Pool()}
	if name == "" {
		return c
	}
	pair, err := tls.LoadX509KeyPair(a.Pair(name))
	if err != nil {
		a.tb.Fatal(err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c
}
