package peers

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	healthGRPC  = "grpc"
	healthEvery = 5 * time.Second
	healthTime  = 2 * time.Second
	healthFails = 3 // checks in a row after which an instance is sick
)

// watchHealth asks the instances that want it how they are, until ctx ends. One
// that is sick takes no calls until a check goes well.
func (g *Gate) watchHealth(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			each(g.checked(), func(l *lease) { g.examine(ctx, l) })
		}
	}
}

// checked are the leases with a health check.
func (r *Registry) checked() (list []*lease) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.services {
		for _, l := range s.leases() {
			if l.Health != "" {
				list = append(list, l)
			}
		}
	}
	return list
}

func (g *Gate) examine(ctx context.Context, l *lease) {
	err := g.check(ctx, l)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		l.fails = 0
		if l.sick.Swap(nil) != nil {
			g.opts.Log.Info("peer is well again", "namespace", l.Namespace, "service", l.Service, "instance", l.ID)
			g.opts.OnAvailable(l.Namespace, l.Service)
		}
	default:
		if l.fails++; l.fails < healthFails {
			return
		}
		why := fmt.Sprintf("%d health checks failed: %v", l.fails, err)
		if l.sick.Swap(&why) == nil {
			g.opts.Log.Warn("peer is sick", "namespace", l.Namespace, "service", l.Service, "instance", l.ID, "error", err)
		}
	}
}

// check asks an instance how it is. One without a health check is well when it
// takes a connection.
func (g *Gate) check(ctx context.Context, l *lease) error {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	switch {
	case strings.HasPrefix(l.Health, "/"):
		return g.checkHTTP(ctx, l)
	case l.Health != "":
		_, name, _ := strings.Cut(l.Health, ":")
		return g.checkGRPC(ctx, l, name)
	}
	u, err := url.Parse(l.URL)
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(u))
	if err != nil {
		return sendError(err)
	}
	return conn.Close()
}

func (g *Gate) checkHTTP(ctx context.Context, l *lease) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, l.URL+l.Health, nil)
	if err != nil {
		return err
	}
	res, err := g.ask(l, q, false)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4096) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// ask sends a request to an instance, with its peer's TLS.
func (g *Gate) ask(l *lease, q *http.Request, grpc bool) (*http.Response, error) {
	over, err := g.toInstance(serviceKey{l.Namespace, l.Service}, l.URL, grpc)
	if err != nil {
		return nil, err
	}
	res, err := over.RoundTrip(q)
	if err != nil {
		return nil, callError(l.Service, q, err)
	}
	return res, nil
}

// checkGRPC makes one call of grpc.health.v1.Health/Check. Both messages are a
// field of one byte's tag, so no library is needed.
// Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
func (g *Gate) checkGRPC(ctx context.Context, l *lease, name string) error {
	message := []byte{}
	if name != "" {
		message = append(append([]byte{1<<3 | 2}, binary.AppendUvarint(nil, uint64(len(name)))...), name...)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL+"/grpc.health.v1.Health/Check", bytes.NewReader(framed(message)))
	if err != nil {
		return err
	}
	askGRPC(q, time.Time{})
	res, err := g.ask(l, q, true)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64))
	if err != nil {
		return sendError(err)
	}
	answer, err := answerGRPC(res, body)
	if err != nil {
		return err
	}
	if !bytes.Equal(answer.Body, []byte{1 << 3, 1}) { // SERVING
		return errors.New("it does not serve")
	}
	return nil
}
