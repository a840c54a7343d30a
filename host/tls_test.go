package host_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/host/port"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	"github.com/weftrun/weft/tests/authority"
)

// over is a client that trusts a, shows it a certificate, and speaks one protocol.
func over(t *testing.T, config *tls.Config, h2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: config, Protocols: &http.Protocols{}}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// serveTLS serves with TLS, at an address, those whom an authority has signed.
func serveTLS(t *testing.T) (s *served, at string, a *authority.Authority) {
	dir := t.TempDir()
	a = authority.New(t, dir, "ca")
	cert, key := a.Pair("weft")
	s = serve(t, host.Options{TLS: port.TLS{Cert: cert, Key: key, ClientCA: filepath.Join(dir, "ca.pem")}})
	return s, "https" + strings.TrimPrefix(s.url, "http"), a
}

func TestAllThatIsServedIsServedWithTLS(t *testing.T) {
	s, at, a := serveTLS(t)
	if _, err := s.push(connect.NewClient(connecthttp.NewTransport(over(t, a.Client("ada"), true), at)), &weftv1.PushHeader{Manifest: []byte(guestManifest), Grant: true}, guest(), 256); err != nil {
		t.Fatal(err)
	}
	for _, h2 := range []bool{false, true} {
		c := over(t, a.Client("ada"), h2)
		for name, with := range map[string]connecthttp.Option{"Connect": nil, "gRPC": connecthttp.WithGRPC(), "gRPC-Web": connecthttp.WithGRPCWeb()} {
			options := []connecthttp.Option{}
			if with != nil {
				options = append(options, with)
			}
			if name == "gRPC" && !h2 {
				continue // its trailers need h2
			}
			client := connect.NewClient(connecthttp.NewTransport(c, at, options...))
			got, err := weftv1connect.NewHandlerServiceClient(client).Call(t.Context(), &weftv1.CallRequest{Handler: "echo", Body: []byte("hello")})
			if err != nil || string(got.Body) != "hello" {
				t.Errorf("%s, h2 %v: %q, %v", name, h2, got.GetBody(), err)
			}
			peers, err := weftv1connect.NewRegistryServiceClient(client).ListInstances(t.Context(), &weftv1.ListInstancesRequest{Namespace: "weft"})
			if err != nil || len(peers.Instances) != 1 || peers.Instances[0].Url != at {
				t.Errorf("%s, h2 %v: it is registered as %v, %v", name, h2, peers, err)
			}
		}
		r, err := c.Post(at+"/handlers/echo", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if body, err := io.ReadAll(r.Body); string(body) != "hello" || err != nil || r.TLS == nil || (r.ProtoMajor == 2) != h2 {
			t.Errorf("%s %q, %v", r.Proto, body, err)
		}
	}
	if r, err := over(t, a.Client(""), false).Get(at + "/readyz"); err == nil {
		r.Body.Close()
		t.Errorf("a client without a certificate: %s", r.Status)
	}
	if status, answer := s.ask("/handlers/echo", "hello"); status != http.StatusBadRequest || !strings.Contains(answer, "HTTPS") {
		t.Errorf("a client without TLS: %d %s", status, answer)
	}
}
