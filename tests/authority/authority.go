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
	tb   testing.TB
	dir  string // where its files go
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// New is an authority whose certificate is in dir/name.pem.
func New(tb testing.TB, dir, name string) *Authority {
	a := &Authority{tb: tb, dir: dir}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.write(name+".pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *Authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
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

// Pair signs a certificate of that name, for 127.0.0.1, and leaves it in files.
func (a *Authority) Pair(name string) (cert, key string) {
	a.tb.Helper()
	signed, private := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.tb.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", signed.Raw), a.write(name+"-key.pem", "PRIVATE KEY", der)
}

// Client is what a client of 127.0.0.1 has that trusts the authority, and shows a
// certificate of that name unless it is empty.
func (a *Authority) Client(name string) *tls.Config {
	a.tb.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
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
