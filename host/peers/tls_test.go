package peers_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	"github.com/weftrun/weft/tests/authority"
)

// folder has a namespace's secrets as files.
type folder struct {
	t   *testing.T
	dir string
}

func (f folder) secret(_, name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(f.dir, name))
}

func (f folder) write(name, kind string, der []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) ca(name string, a *authority.Authority) {
	f.write(name, "CERTIFICATE", a.Certificate.Raw)
}

func (f folder) pair(name string, c tls.Certificate) {
	f.write(name, "CERTIFICATE", c.Certificate[0])
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(name+"-key", "PRIVATE KEY", key)
}

// bank is a server that wants a certificate of its clients.
func bank(t *testing.T, clients *authority.Authority, cert tls.Certificate, more ...func(*tls.Config)) *httptest.Server {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			w.Header().Set("Client", r.TLS.PeerCertificates[0].Subject.CommonName)
		}
		_, _ = w.Write([]byte(`{}`))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool()}
	for _, change := range more {
		change(s.TLS)
	}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestAPeerIsKnownByItsCertificateAndKnowsWeftByOne(t *testing.T) {
	ours, others := authority.New(t, t.TempDir(), "ca"), authority.New(t, t.TempDir(), "ca")
	sound := ours.Issue("bank.internal", time.Hour)
	const policy = "tls: {ca: ca, cert: weft, key: weft-key, name: bank.internal}"
	for name, c := range map[string]struct {
		server      tls.Certificate
		more        func(*tls.Config)
		policy      string
		plain       bool   // the instance says http://
		want, hint  string // of the error
		code        weft.Code
		certificate string // that the server saw
	}{
		"all is as it should be":                    {server: sound, policy: policy, certificate: "weft"},
		"the name of the address":                   {server: ours.Issue("127.0.0.1", time.Hour), policy: "tls: {ca: ca, cert: weft, key: weft-key}", certificate: "weft"},
		"weft shows no certificate":                 {server: sound, policy: "tls: {ca: ca, name: bank.internal}", want: "peer bank: tls: ", hint: "tls.cert", code: weft.Unavailable},
		"one that the peer does not trust":          {server: sound, policy: "tls: {ca: ca, cert: stranger, key: stranger-key, name: bank.internal}", want: "peer bank: tls: ", hint: "tls.cert", code: weft.Unavailable},
		"the peer's is signed by another":           {server: others.Issue("bank.internal", time.Hour), policy: policy, want: "peer bank: x509: certificate signed by unknown authority", hint: "tls.ca", code: weft.Unavailable},
		"the system does not know who signed it":    {server: sound, policy: "tls: {name: bank.internal}", want: "peer bank: x509: certificate signed by unknown authority", hint: "tls.ca", code: weft.Unavailable},
		"the peer's has another name":               {server: ours.Issue("shop.internal", time.Hour), policy: policy, want: "peer bank: x509: certificate is valid for shop.internal, not bank.internal", hint: "tls.name", code: weft.Unavailable},
		"the peer's has expired":                    {server: ours.Issue("bank.internal", -time.Hour), policy: policy, want: "peer bank: x509: certificate has expired", hint: "valid now", code: weft.Unavailable},
		"the peer speaks TLS 1.1 at most":           {server: sound, more: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, policy: policy, want: "peer bank: tls: protocol version not supported", code: weft.Unavailable},
		"an instance that registered without TLS":   {server: sound, plain: true, policy: policy, want: "peer bank: its policy has tls, and the instance at http://", hint: "https://", code: weft.FailedPrecondition},
		"no policy, so only whom the system trusts": {server: sound, want: "peer bank: x509: ", code: weft.Unavailable},
		"the policy of another peer is not of this": {server: sound, policy: "tls: {ca: ca, cert: weft, key: weft-key, name: bank.internal}}, {peer: bank, timeout: PT9S", want: "peer bank: x509: ", code: weft.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f := folder{t, t.TempDir()}
			f.ca("ca", ours)
			f.pair("weft", ours.Issue("weft", time.Hour))
			f.pair("stranger", others.Issue("stranger", time.Hour))
			more := c.more
			if more == nil {
				more = func(*tls.Config) {}
			}
			s := bank(t, ours, c.server, more)
			g := gate(t, peers.Options{Secret: f.secret})
			url := s.URL
			if c.plain {
				url = strings.Replace(url, "https", "http", 1)
			}
			i := register(t, g, url)
			if c.policy != "" {
				peer := "bank"
				if strings.Contains(c.policy, "peer: bank") {
					peer = "shop"
				}
				use(t, g, "policies: [{peer: "+peer+", "+c.policy+"}]")
			}
			res, err := charge(g)
			i.Health = "/health"
			checked := g.Check(t.Context(), i)
			if c.want == "" {
				if err != nil || res.Headers["client"] != c.certificate || checked != nil {
					t.Fatalf("%+v %v, and its health: %v", res, err, checked)
				}
				return
			}
			for what, err := range map[string]error{"a call": err, "a health check": checked} {
				e, ok := err.(*weft.Error)
				if !ok || e.Code != c.code || !strings.HasPrefix(e.Error(), c.want) || !strings.Contains(e.Hint, c.hint) {
					t.Errorf("%s: %#v, %v", what, err, err)
				}
			}
		})
	}
}

// use gives peers the policies of a text.
func use(t *testing.T, g *peers.Gate, text string) {
	t.Helper()
	found, err := peers.ParsePolicies("p.yaml", []byte(text))
	if err == nil {
		err = g.SetPolicies(t.Context(), ns, found)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	first, second := authority.New(t, t.TempDir(), "ca"), authority.New(t, t.TempDir(), "ca")
	var now atomic.Pointer[tls.Config]
	set := func(a *authority.Authority) {
		now.Store(&tls.Config{Certificates: []tls.Certificate{a.Issue("127.0.0.1", time.Hour)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool()})
	}
	set(first)
	s := bank(t, first, first.Issue("127.0.0.1", time.Hour), func(c *tls.Config) {
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return now.Load(), nil }
	})
	f := folder{t, t.TempDir()}
	f.ca("ca", first)
	f.pair("weft", first.Issue("old", time.Hour))
	g := gate(t, peers.Options{Secret: f.secret})
	register(t, g, s.URL)
	use(t, g, "policies: [{peer: bank, tls: {ca: ca, cert: weft, key: weft-key}, breaker: {failures: 1000, volume: 1000, row: 1000}}]")
	if res, err := charge(g); err != nil || res.Headers["client"] != "old" {
		t.Fatalf("%+v %v", res, err)
	}
	f.ca("ca", second)
	f.write("weft", "CERTIFICATE", []byte("half of it")) // what cannot be used changes nothing
	time.Sleep(1100 * time.Millisecond)                  // longer than it is looked at again
	if res, err := charge(g); err != nil || res.Headers["client"] != "old" {
		t.Fatalf("with files that are no certificates: %+v %v", res, err)
	}
	set(second)
	f.pair("weft", second.Issue("new", time.Hour))
	deadline := time.Now().Add(time.Minute)
	for {
		res, err := charge(g)
		if err == nil && res.Headers["client"] == "new" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v %v", res, err)
		}
	}
}

func TestARedirectIsNotShownTheCertificate(t *testing.T) {
	a := authority.New(t, t.TempDir(), "ca")
	f := folder{t, t.TempDir()}
	f.ca("ca", a)
	f.pair("weft", a.Issue("weft", time.Hour))
	curious := bank(t, a, a.Issue("127.0.0.1", time.Hour), func(c *tls.Config) { c.ClientAuth = tls.RequestClientCert })
	var to atomic.Value
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Client", r.TLS.PeerCertificates[0].Subject.CommonName)
		if r.URL.Path == "/go" {
			http.Redirect(w, r, to.Load().(string), http.StatusFound)
		}
	}))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{a.Issue("127.0.0.1", time.Hour)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.Pool()}
	api.StartTLS()
	t.Cleanup(api.Close)
	to.Store(curious.URL)
	hosts := []string{strings.TrimPrefix(api.URL, "https://"), strings.TrimPrefix(curious.URL, "https://")}
	g := gate(t, peers.Options{Secret: f.secret, HTTPAllow: hosts})
	use(t, g, "policies: [{peer: '"+api.URL+"', retry: {times: 0}, tls: {ca: ca, cert: weft, key: weft-key}}]")
	get := func(path string) (weft.Response, error) {
		return g.Do(t.Context(), weft.Request{Namespace: ns, Caller: "test", Method: "GET", URL: api.URL + path})
	}
	if res, err := get("/"); err != nil || res.Headers["client"] != "weft" {
		t.Errorf("a plain HTTPS host: %+v %v", res, err)
	}
	// Elsewhere neither the certificate nor the authority of this host counts.
	if res, err := get("/go"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("after a redirect: %+v %v", res, err)
	}
}

func TestTLSThatCannotBeIsRefusedWhenItIsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"policies: [{peer: '*', tls: {ca: a}}]":                 "1:34: tls is of one peer; write it into the policy of each",
		"policies: [{peer: 'http://h', tls: {ca: a}}]":          "1:41: http://h:80 is called without TLS; write https://",
		"policies: [{peer: a, tls: {cert: a}}]":                 "1:34: cert and key need each other; write both",
		"policies: [{peer: a, tls: {ca: ../a}}]":                "1:32: ../a is no name",
		"policies: [{peer: a, tls: {ca: 3}}]":                   "1:32: 3 is no name",
		"policies: [{peer: a, tls: {insecure: true}}]":          "1:28: tls has no key insecure; it has ca, cert, key, name",
		"policies: [{peer: a, grants: [{module: m, tls: {}}]}]": "1:43: a grant has no key tls",
	} {
		_, err := peers.ParsePolicies("p.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), "p.yaml:"+want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
	a, f := authority.New(t, t.TempDir(), "ca"), folder{t, t.TempDir()}
	f.ca("ca", a)
	f.pair("weft", a.Issue("weft", time.Hour))
	f.pair("other", a.Issue("other", time.Hour))
	g := gate(t, peers.Options{Secret: f.secret})
	for text, want := range map[string]string{
		"{ca: none}":                   "peer bank: tls.ca: ",
		"{ca: weft-key}":               "peer bank: tls.ca: secret weft-key has no certificate in PEM",
		"{cert: weft, key: other-key}": "peer bank: tls.cert and tls.key: tls: private key does not match public key",
		"{cert: weft-key, key: weft}":  "peer bank: tls.cert and tls.key: tls: ",
	} {
		found, err := peers.ParsePolicies("p.yaml", []byte("policies: [{peer: bank, tls: "+text+"}]"))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.SetPolicies(t.Context(), ns, found); weft.CodeOf(err) != weft.FailedPrecondition || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if len(g.Policies(ns)) != 0 {
		t.Errorf("they hold: %v", g.Policies(ns))
	}
	const text = "policies:\n  - peer: \"bank\"\n    tls:\n      ca: ca\n      cert: weft\n      key: weft-key\n      name: bank.internal\n"
	use(t, g, text)
	if got := peers.ShowPolicies(g.Policies(ns)); got != text {
		t.Errorf("shown as\n%s", got)
	}
}

func TestGRPCIsSpokenOverTLS(t *testing.T) {
	ours, clients := authority.New(t, t.TempDir(), "ca"), authority.New(t, t.TempDir(), "ca")
	server := connect.NewServer()
	healthv1connect.RegisterHealthHandler(server, &checked{asks: make(chan string, 10)})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.TLS.PeerCertificates[0].Subject.CommonName != "weft" {
			t.Errorf("%s, %v", r.Proto, r.TLS.PeerCertificates)
		}
		mux.ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ours.Issue("127.0.0.1", time.Hour)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool()}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	s.StartTLS()
	defer s.Close()

	secrets := folder{t, t.TempDir()}
	secrets.ca("ours", ours)
	secrets.ca("others", clients)
	secrets.pair("weft", clients.Issue("weft", time.Hour))
	g := gate(t, peers.Options{Secret: secrets.secret, HTTPAllow: []string{s.Listener.Addr().String()}})
	for _, c := range []struct{ policy, says string }{
		{"", "signed by unknown authority; tls.ca in its policy names the secret with the certificate of who signed it"},
		{"tls: {ca: others}", "signed by unknown authority"},
		{"tls: {ca: ours}", "tls.cert and tls.key in its policy name secrets with a certificate that it trusts"},
		{"tls: {ca: ours, cert: weft, key: weft-key}", ""},
	} {
		use(t, g, "policies: [{peer: '"+s.URL+"', retry: {times: 0}, breaker: {failures: 1000}, "+c.policy+"}]")
		res, err := g.Do(t.Context(), weft.Request{Namespace: ns, Caller: "test", GRPC: true, Method: "POST", URL: s.URL + "/grpc.health.v1.Health/Check"})
		switch {
		case c.says == "" && (err != nil || string(res.Body) != "\b\x01"):
			t.Errorf("%s: %q, %v", c.policy, res.Body, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v", c.policy, err)
		}
	}
}
