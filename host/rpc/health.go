package rpc

import (
	"context"
	"strings"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
	healthv1 "github.com/weftrun/weft/proto/grpc/health/v1"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
)

// health is gRPC's health check: the host serves all of its services and those
// of its modules, or none.
type health struct {
	server *connect.Server // whose services there are
	ready  func() error
	live   func(namespace, service string) bool // a module's service; nil where there are no modules
}

// healthEvery is how often a watched status is looked at.
const healthEvery = time.Second

func (h health) Check(ctx context.Context, q *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	s := h.status(ctx, q.Service)
	if s == healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, weft.Errorf(weft.NotFound, "rpc.Check", "no service %q", q.Service).WithHint("an empty name means the whole host")
	}
	return &healthv1.HealthCheckResponse{Status: s}, nil
}

// Watch sends a last status when the host ends the stream because it drains.
func (h health) Watch(ctx context.Context, q *healthv1.HealthCheckRequest, stream healthv1connect.HealthWatchServerStream) error {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for last := healthv1.HealthCheckResponse_UNKNOWN; ; {
		if s := h.status(ctx, q.Service); s != last {
			if err := stream.Send(&healthv1.HealthCheckResponse{Status: s}); err != nil {
				return err
			}
			last = s
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (h health) status(ctx context.Context, service string) healthv1.HealthCheckResponse_ServingStatus {
	switch {
	case service != "" && !h.serves(ctx, service):
		return healthv1.HealthCheckResponse_SERVICE_UNKNOWN
	case h.ready() != nil:
		return healthv1.HealthCheckResponse_NOT_SERVING
	}
	return healthv1.HealthCheckResponse_SERVING
}

func (h health) serves(ctx context.Context, service string) bool {
	if h.live != nil && h.live(services.NamedBy(ctx), service) {
		return true
	}
	for spec := range h.server.Specs() {
		if strings.HasPrefix(spec.Procedure, "/"+service+"/") {
			return true
		}
	}
	return false
}
