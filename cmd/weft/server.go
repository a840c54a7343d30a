package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/weftrun/weft/host"
)

// over makes the calls to servers, with what the flags say of TLS.
func (a *app) over(log *slog.Logger) (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if a.ca != "" {
		pem, err := os.ReadFile(a.ca)
		if err != nil {
			return nil, usagef("--ca: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--ca %s has no certificate in PEM", a.ca)
		}
	}
	switch {
	case a.cert == "" && a.key == "":
	case a.cert == "" || a.key == "":
		return nil, usagef("--cert and --cert-key go together; name a certificate and its key, both in PEM")
	default:
		shown, err := host.ClientCertificate(a.cert, a.key, log)
		if err != nil {
			return nil, usagef("--cert and --cert-key: %w", err)
		}
		t.TLSClientConfig.GetClientCertificate = shown
	}
	return asked{t}, nil
}

// asked makes calls, and knows a server that was asked with the wrong scheme.
type asked struct{ *http.Transport }

// RoundTrip fails with a *schemeError where the server speaks TLS and was not asked for
// it, or the other way round.
func (a asked) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := a.Transport.RoundTrip(r)
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		return nil, &schemeError{"plain HTTP", "http", r.URL}
	case r.URL.Scheme != "http":
	case err == nil && wantsTLS(res):
		res.Body.Close()
		return nil, &schemeError{"TLS", "https", r.URL}
	case hungUp(err) && a.wantTLS(r):
		return nil, &schemeError{"TLS", "https", r.URL}
	}
	return res, err
}

// hungUp reports whether the server has ended the connection of a call. Who still writes when
// that is read finds it closed.
func hungUp(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// againMax is how long a server is asked again.
const againMax = 5 * time.Second

// wantTLS asks the server of r again, with nothing: what it says to a large request may
// be lost with the rest of that.
func (a asked) wantTLS(r *http.Request) bool {
	ctx, cancel := context.WithTimeout(r.Context(), againMax)
	defer cancel()
	again, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL.Scheme+"://"+r.URL.Host, nil)
	if err != nil {
		return false
	}
	res, err := a.Transport.RoundTrip(again)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return wantsTLS(res)
}

// wantsTLS reports whether a response is that of net/http to who speaks HTTP where it
// has TLS.
func wantsTLS(res *http.Response) bool {
	const says = "Client sent an HTTP request to an HTTPS server."
	if res.StatusCode != http.StatusBadRequest || res.ProtoAtLeast(1, 1) {
		return false
	}
	begin, err := io.ReadAll(io.LimitReader(res.Body, int64(len(says))))
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(begin), res.Body), res.Body}
	return err == nil && string(begin) == says
}

// schemeError is that of a server which was asked with the wrong scheme.
type schemeError struct {
	speaks, scheme string
	asked          *url.URL
}

func (e *schemeError) Error() string {
	return fmt.Sprintf("the server speaks %s; write %s://%s for %s://%s", e.speaks, e.scheme, e.asked.Host, e.asked.Scheme, e.asked.Host)
}
