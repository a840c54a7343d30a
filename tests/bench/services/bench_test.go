package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft/host"
	"github.com/weftrun/weft/tests/bench/services/orders/v1/ordersv1connect"
)

// The test binary is also the child that checks modules.
func TestMain(m *testing.M) {
	host.Child()
	os.Exit(m.Run())
}

// sink is an answer that nobody reads.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// A call without a network: what is left are the handlers.
func BenchmarkHandler(b *testing.B) {
	h, err := host.Open(b.Context(), host.Options{DB: filepath.Join(b.TempDir(), "weft.db"), Limits: guestLimits})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close(context.Background())
	weft := h.Handler()
	api := httptest.NewServer(weft)
	defer api.Close()
	wasm, err := built(b.Context(), b.TempDir(), "orders.c")
	if err != nil {
		b.Skip(err)
	}
	if err := upload(b.Context(), api.URL, wasm); err != nil {
		b.Fatal(err)
	}
	s, mux := connect.NewServer(), http.NewServeMux()
	ordersv1connect.RegisterOrderServiceHandler(s, generated{})
	connecthttp.Mount(mux, s)
	for _, m := range []method{nothing, echo} {
		for _, codec := range []string{"proto", "json"} {
			for _, o := range []struct {
				name string
				http.Handler
			}{{"weft", weft}, {"connect", mux}} {
				b.Run(m.name+"/"+codec+"/"+o.name, func(b *testing.B) {
					b.ReportAllocs()
					body := string(m.in(codec))
					header := http.Header{"Content-Type": {"application/" + codec}, "Connect-Protocol-Version": {"1"}, "User-Agent": {"bench"}}
					ctx, cancel := context.WithCancel(b.Context()) // as a server has one for each call
					defer cancel()
					for b.Loop() {
						w := &sink{header: http.Header{}}
						r, _ := http.NewRequestWithContext(ctx, http.MethodPost, m.path, nil)
						r.Header, r.Body, r.ContentLength = header, io.NopCloser(strings.NewReader(body)), int64(len(body))
						if body == "" {
							r.Body = http.NoBody
						}
						o.ServeHTTP(w, r)
						if w.status > 200 {
							b.Fatal(w.status)
						}
					}
				})
			}
		}
	}
}
