package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/host/port"
	"github.com/weftrun/weft/tests/authority"
)

// What weft serve --registry makes its calls with.
func TestACertificateThatIsReplacedIsShownByNewConnections(t *testing.T) {
	dir := t.TempDir()
	ca := authority.New(t, dir, "ca")
	cert, key := ca.Pair("ada")
	made, err := (&app{cert: cert, key: key}).over(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		c, err := made.(asked).TLSClientConfig.GetClientCertificate(&tls.CertificateRequestInfo{Version: tls.VersionTLS13, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.Subject.CommonName
	}
	if name := shown(); name != "ada" {
		t.Fatalf("%s is shown", name)
	}
	newer, newerKey := ca.Pair("newer")
	for from, to := range map[string]string{newer: cert, newerKey: key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(20 * time.Second); shown() != "newer"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is shown", shown())
		}
	}
}

func TestAServerThatIsAskedWithTheWrongSchemeIsNamedWithTheOther(t *testing.T) {
	dir := t.TempDir()
	cert, key := authority.New(t, dir, "ca").Pair("weft")
	plain := serveAs(t, host.Options{DB: filepath.Join(dir, "plain.db")})
	secure := serveAs(t, host.Options{DB: filepath.Join(dir, "secure.db"), TLS: port.TLS{Cert: cert, Key: key}})
	large := filepath.Join(dir, "large.wasm")
	if err := os.WriteFile(large, make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{{"run", "list"}, {"run", "watch", "one"}, {"event", "tail"}, {"module", "push", large, "--name", "large", "--version", "1.0.0"}} {
		for asked, says := range map[string]string{
			"https://" + plain: "the server speaks plain HTTP; write http://" + plain + " for https://" + plain,
			"http://" + secure: "the server speaks TLS; write https://" + secure + " for http://" + secure,
		} {
			err := typed(t, append(words, "--server", asked, "--ca", filepath.Join(dir, "ca.pem"))...)
			if err == nil || explain(err) != says {
				t.Errorf("weft %v --server %s: %v", words, asked, err)
			}
		}
	}
}

// One that resets who calls it, and hangs the next time, holds up nobody.
func TestAServerThatEndsConnectionsIsNotAskedForLong(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n == 0 {
				_, _ = c.Read(make([]byte, 1))
				_ = c.(*net.TCPConn).SetLinger(0)
				c.Close()
			} // who comes next waits for an answer
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := root()
	c.SetArgs([]string{"run", "list", "--server", "http://" + l.Addr().String()})
	if err := c.ExecuteContext(ctx); err == nil || ctx.Err() != nil || !strings.HasPrefix(explain(err), "the server has ended the connection without an answer") {
		t.Errorf("%v", err)
	}
}
