package port_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft/host/port"
	"github.com/weftrun/weft/tests/authority"
	"github.com/weftrun/weft/tests/logbook"
)

// secure serves with TLS, and says by which protocol it was called, and by whom.
func secure(t *testing.T, files port.TLS, log *logbook.Book) (address string) {
	t.Helper()
	config, err := files.Config(slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{TLSConfig: config, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto)
		for _, c := range r.TLS.PeerCertificates {
			io.WriteString(w, " "+c.Subject.CommonName)
		}
	})}
	go s.ServeTLS(port.Join(l), "", "")
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// get calls once, over a connection of its own.
func get(address string, config *tls.Config, h2 bool) (answer, server string, err error) {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get("https://" + address)
	if err != nil {
		return "", "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return string(body), r.TLS.PeerCertificates[0].Subject.CommonName, err
}

func TestTLSServesBothProtocols(t *testing.T) {
	a := authority.New(t, t.TempDir(), "ca")
	cert, key := a.Pair("weft")
	at := secure(t, port.TLS{Cert: cert, Key: key}, &logbook.Book{})
	for h2, want := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		if got, _, err := get(at, a.Client(""), h2); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	old := a.Client("")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if got, _, err := get(at, old, false); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %q, %v", got, err)
	}
}

func TestWithAClientCAOnlyItsCertificatesGetIn(t *testing.T) {
	dir := t.TempDir()
	a, clients, strangers := authority.New(t, dir, "ca"), authority.New(t, dir, "clients"), authority.New(t, dir, "strangers")
	cert, key := a.Pair("weft")
	at := secure(t, port.TLS{Cert: cert, Key: key, ClientCA: filepath.Join(dir, "clients.pem")}, &logbook.Book{})
	for _, c := range []struct {
		name  string
		shows []tls.Certificate
		want  string // none: refused, in one of the ways that a client may see it
	}{
		{"one of its own", clients.Client("ada").Certificates, "HTTP/2.0 ada"},
		{"none", nil, ""},
		{"a stranger's", strangers.Client("eve").Certificates, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := a.Client("")
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // shown whoever is asked for
				if len(c.shows) == 0 {
					return &tls.Certificate{}, nil
				}
				return &c.shows[0], nil
			}
			got, _, err := get(at, config, true)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestNewFilesHoldForNewConnections(t *testing.T) {
	dir := t.TempDir()
	a := authority.New(t, dir, "ca")
	cert, key := a.Pair("weft")
	log := &logbook.Book{}
	at := secure(t, port.TLS{Cert: cert, Key: key}, log)
	shown := func() string {
		t.Helper()
		_, name, err := get(at, a.Client(""), true)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s does not come: %s is shown, %s", what, shown(), log)
			}
		}
	}
	newer, newerKey := a.Pair("newer")
	rename(t, newer, cert)
	until("the warning", func() bool {
		if name := shown(); name != "weft" {
			t.Fatalf("%s is shown, whose key is not there", name)
		}
		return strings.Contains(log.String(), "TLS stays as it was")
	})
	rename(t, newerKey, key)
	until("the new certificate", func() bool { return shown() == "newer" })
}

func TestANewCertificateOfAClientIsShownByNewConnections(t *testing.T) {
	dir := t.TempDir()
	a := authority.New(t, dir, "ca")
	cert, key := a.Pair("weft")
	at := secure(t, port.TLS{Cert: cert, Key: key, ClientCA: filepath.Join(dir, "ca.pem")}, &logbook.Book{})
	ada, adaKey := a.Pair("ada")
	log := &logbook.Book{}
	shown, err := port.ClientCertificate(ada, adaKey, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	until := func(what string, ok func(client string) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			config := a.Client("")
			config.GetClientCertificate = shown
			got, _, err := get(at, config, true)
			if err != nil {
				t.Fatal(err)
			}
			client := strings.TrimPrefix(got, "HTTP/2.0 ")
			if ok(client) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not come: %s is shown, %s", what, client, log)
			}
		}
	}
	until("the first", func(client string) bool { return client == "ada" })
	newer, newerKey := a.Pair("newer")
	rename(t, newer, ada)
	until("the warning", func(client string) bool {
		if client != "ada" {
			t.Fatalf("%s is shown, whose key is not there", client)
		}
		return strings.Contains(log.String(), "TLS stays as it was")
	})
	rename(t, newerKey, adaKey)
	until("the new certificate", func(client string) bool { return client == "newer" })
}

func TestACertificateIsNotShownToWhoAsksForOthers(t *testing.T) {
	dir := t.TempDir()
	a, clients := authority.New(t, dir, "ca"), authority.New(t, dir, "clients")
	cert, key := a.Pair("ada")
	shown, err := port.ClientCertificate(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for asks, want := range map[*authority.Authority]string{a: "[ada]", clients: "[]"} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var names []string
			for _, c := range r.TLS.PeerCertificates {
				names = append(names, c.Subject.CommonName)
			}
			fmt.Fprint(w, names)
		}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{a.Issue("127.0.0.1", time.Hour)}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: asks.Pool()}
		s.StartTLS()
		t.Cleanup(s.Close)
		config := a.Client("")
		config.GetClientCertificate = shown
		if got, _, err := get(s.Listener.Addr().String(), config, true); got != want || err != nil {
			t.Errorf("%s is shown, want %s: %v", got, want, err)
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestFilesThatAreNoneAreRefused(t *testing.T) {
	dir := t.TempDir()
	a := authority.New(t, dir, "ca")
	cert, key := a.Pair("weft")
	_, other := a.Pair("other")
	for _, c := range []struct {
		name  string
		files port.TLS
		err   string
	}{
		{"a file that is not there", port.TLS{Cert: filepath.Join(dir, "nothing"), Key: key}, "no such file"},
		{"no key", port.TLS{Cert: cert}, "no such file"},
		{"another's key", port.TLS{Cert: cert, Key: other}, "does not match"},
		{"an authority without a certificate", port.TLS{Cert: cert, Key: key, ClientCA: key}, "has no certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.files.Config(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, want %q", err, c.err)
			}
		})
	}
}

// With TLS an end has a deadline that is over at once, so that nothing more is written.
func TestTheEndOfTLSSendsWhatIsQueued(t *testing.T) {
	a := authority.New(t, t.TempDir(), "ca")
	cert, key := a.Pair("weft")
	config, err := port.TLS{Cert: cert, Key: key}.Config(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	outside := time.Now()
	synctest.Test(t, func(t *testing.T) {
		there, here := net.Pipe()
		defer here.Close()
		joined, err := port.Join(one{conn: there}).Accept()
		if err != nil {
			t.Fatal(err)
		}
		shown := a.Client("")
		shown.Time = func() time.Time { return outside } // that of the bubble is before all certificates
		shown.ServerName, shown.NextProtos = "127.0.0.1", []string{"h2"}
		client, server := tls.Client(here, shown), tls.Server(joined, config)
		shaken := make(chan error, 1)
		go func() { shaken <- server.HandshakeContext(t.Context()) }()
		if err := client.HandshakeContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		write(t, server, "the last word")
		synctest.Wait() // it is on its way, and nobody has taken it
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); string(got) != "the last word" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	})
}
