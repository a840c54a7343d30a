package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	"github.com/weftrun/weft/tests/logbook"
)

// The test binary is also the child that checks modules.
func TestMain(m *testing.M) {
	host.Child()
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or each of those children sleeps for a second at its end
	code := m.Run()
	os.RemoveAll(cache)
	os.Exit(code)
}

var cache = filepath.Join(os.TempDir(), fmt.Sprintf("weft-host-test-%d", os.Getpid()))

// served is a host on a file and a port of its own.
type served struct {
	t    *testing.T
	url  string
	log  *logbook.Book
	db   string
	stop func() error // ends Serve as a signal would, once, and says what it returned
}

// serve opens a host and serves it until the test ends.
func serve(t *testing.T, o host.Options) *served {
	t.Helper()
	s := &served{t: t, log: &logbook.Book{}, db: o.DB}
	if s.db == "" {
		s.db = filepath.Join(t.TempDir(), "weft.db")
	}
	o.DB, o.CacheDir, o.Log = s.db, cache, slog.New(slog.NewTextHandler(s.log, nil))
	h, err := host.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ctx, l) }()
	stopped := false
	s.stop = func() error { stopped = true; cancel(); return <-ended }
	t.Cleanup(func() {
		if stopped {
			return
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// h2c is a client that speaks nothing but HTTP/2 without TLS.
func h2c(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: &http.Protocols{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// h1 is a client that speaks HTTP/1.1.
func h1(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// client calls by gRPC on h2c, or as the options say.
func (s *served) client(options ...connecthttp.Option) *connect.Client {
	return connect.NewClient(connecthttp.NewTransport(h2c(s.t), s.url, append([]connecthttp.Option{connecthttp.WithGRPC()}, options...)...))
}

// ask posts JSON, as curl would.
func (s *served) ask(path, body string, headers ...string) (status int, answer string) {
	s.t.Helper()
	q, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	return s.do(h1(s.t), q)
}

func (s *served) do(c *http.Client, q *http.Request) (status int, answer string) {
	s.t.Helper()
	res, err := c.Do(q)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, text(s.t, res)
}

// text is the body of a response.
func text(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

// must asks and wants an answer.
func (s *served) must(path, body string) string {
	s.t.Helper()
	status, answer := s.ask(path, body)
	if status != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", path, body, status, answer)
	}
	return answer
}

// push uploads a module in chunks, as the command line does.
func (s *served) push(c *connect.Client, h *weftv1.PushHeader, wasm []byte, chunk int) (*weftv1.PushResponse, error) {
	stream, err := weftv1connect.NewModuleServiceClient(c).Push(s.t.Context())
	if err != nil {
		return nil, err
	}
	err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Header{Header: h}})
	for sent := 0; err == nil && sent < len(wasm); sent += chunk {
		err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Chunk{Chunk: wasm[sent:min(len(wasm), sent+chunk)]}})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.CloseAndReceive()
}

// deploy uploads the guest into a namespace.
func (s *served) deploy(ns string) {
	s.t.Helper()
	if _, err := s.push(s.client(), &weftv1.PushHeader{Namespace: ns, Manifest: []byte(guestManifest), Grant: true}, guest(), 256); err != nil {
		s.t.Fatal(err)
	}
}
