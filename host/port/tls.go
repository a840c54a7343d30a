package port

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weftrun/weft"
)

// TLS names the files, in PEM, of who serves. The zero value is no TLS.
type TLS struct {
	Cert     string // the certificate that is shown, with its chain
	Key      string // of Cert
	ClientCA string // who has to have signed what clients show; empty where they show nothing
}

// protocols are what is spoken, the first that a client speaks too.
var protocols = []string{"h2", "http/1.1"}

// lookEvery is how often the files are looked at, when somebody connects.
const lookEvery = time.Second

// Config is TLS 1.2 or later with these files, for HTTP/1.1 and h2. A file that has
// changed holds for new connections; what cannot be used changes nothing but a line
// in the log, for certificate and key are seldom replaced at one moment.
func (t TLS) Config(log *slog.Logger) (*tls.Config, error) {
	f, err := t.open(log)
	if err != nil {
		return nil, err
	}
	served := f.config.Clone()
	served.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c, ok := hello.Conn.(*conn); ok && slices.Contains(hello.SupportedProtos, protocols[0]) {
			c.join()
		}
		return f.now(), nil
	}
	return served, nil
}

// ClientCertificate shows the certificate in two files, in PEM, to servers that ask for
// one of who has signed it. New files hold as those of Config do.
func ClientCertificate(cert, key string, log *slog.Logger) (func(*tls.CertificateRequestInfo) (*tls.Certificate, error), error) {
	f, err := TLS{Cert: cert, Key: key}.open(log)
	if err != nil {
		return nil, err
	}
	return func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if pair := &f.now().Certificates[0]; asked.SupportsCertificate(pair) == nil {
			return pair, nil
		}
		return &tls.Certificate{}, nil // who only would like one lets nobody in with a stranger's
	}, nil
}

// files are what the files of TLS have said.
type files struct {
	TLS
	log *slog.Logger

	mu     sync.Mutex
	config *tls.Config       // guarded by mu
	sum    [sha256.Size]byte // of the files; guarded by mu
	read   time.Time         // guarded by mu
}

func (t TLS) open(log *slog.Logger) (*files, error) {
	first, sum, err := t.read()
	if err != nil {
		return nil, err
	}
	return &files{TLS: t, log: log, config: first, sum: sum, read: time.Now()}, nil
}

// now is the configuration by the files as they are.
func (f *files) now() *tls.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.read) < lookEvery {
		return f.config
	}
	f.read = now
	switch config, sum, err := f.TLS.read(); {
	case err != nil:
		f.log.Warn("TLS stays as it was", "error", err)
	case sum != f.sum:
		f.config, f.sum = config, sum
		f.log.Info("TLS has new files", "cert", f.Cert)
	}
	return f.config
}

// read reads the files. sum is the same while they are.
func (t TLS) read() (_ *tls.Config, sum [sha256.Size]byte, err error) {
	var all [3][]byte
	for i, name := range []string{t.Cert, t.Key, t.ClientCA} {
		if name == "" && i == 2 {
			break
		}
		if all[i], err = os.ReadFile(name); err != nil {
			return nil, sum, weft.Errorf(weft.InvalidArgument, "port.TLS", "%w", err).WithHint("name a file that weft may read")
		}
	}
	pair, err := tls.X509KeyPair(all[0], all[1])
	if err != nil {
		return nil, sum, weft.Errorf(weft.InvalidArgument, "port.TLS", "%s and %s: %w", t.Cert, t.Key, err).
			WithHint("the first has the certificate and its chain, the second its key, both in PEM")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: []tls.Certificate{pair}}
	if t.ClientCA != "" {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(all[2]) {
			return nil, sum, weft.Errorf(weft.InvalidArgument, "port.TLS", "%s has no certificate", t.ClientCA).WithHint("it has those of who signs for clients, in PEM")
		}
	}
	return c, sha256.Sum256(bytes.Join(all[:], []byte{0})), nil
}
