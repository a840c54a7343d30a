package rpc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

// Registry is that of another weft. Its methods are those of peers.Registry, and
// may be called by many goroutines at once.
type Registry struct {
	c weftv1connect.RegistryServiceClient
}

// registryTime is how long a registry may take to answer.
const registryTime = 2 * time.Second

// OpenRegistry is the registry of the weft at url, called over that, which may be
// nil as in http.Client. Nothing is called yet.
func OpenRegistry(url string, over http.RoundTripper) Registry {
	client := connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: over, Timeout: registryTime}, url))
	return Registry{weftv1connect.NewRegistryServiceClient(client)}
}

// Register adds an instance; it is durable there when Register returns.
func (r Registry) Register(ctx context.Context, i peers.Instance) (peers.Instance, error) {
	q := &weftv1.RegisterRequest{Namespace: i.Namespace, Service: i.Service, Instance: i.ID, Url: i.URL, Zone: i.Zone, Weight: int32(i.Weight), Health: i.Health}
	if i.TTL > 0 {
		q.Ttl = durationpb.New(i.TTL)
	}
	res, err := r.c.Register(ctx, q)
	if err != nil {
		return peers.Instance{}, theirs("rpc.Registry.Register", err)
	}
	i.Epoch, i.TTL, i.Status = res.Epoch, res.Ttl.AsDuration(), peers.Active
	return i, nil
}

// Heartbeat renews a lease.
func (r Registry) Heartbeat(ns, service, id string, epoch int64) error {
	_, err := r.c.Heartbeat(context.Background(), &weftv1.HeartbeatRequest{Namespace: ns, Service: service, Instance: id, Epoch: epoch})
	return theirs("rpc.Registry.Heartbeat", err)
}

// Drain has an instance take no new calls.
func (r Registry) Drain(ctx context.Context, ns, service, id string, epoch int64) error {
	_, err := r.c.Drain(ctx, &weftv1.DrainRequest{Namespace: ns, Service: service, Instance: id, Epoch: epoch})
	return theirs("rpc.Registry.Drain", err)
}

// Deregister removes an instance.
func (r Registry) Deregister(ctx context.Context, ns, service, id string, epoch int64) error {
	_, err := r.c.Deregister(ctx, &weftv1.DeregisterRequest{Namespace: ns, Service: service, Instance: id, Epoch: epoch})
	return theirs("rpc.Registry.Deregister", err)
}

// theirs is what another weft has answered, or why it has not.
func theirs(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *connect.Error
	if !errors.As(err, &e) {
		return weft.Errorf(weft.Unavailable, op, "%w", err)
	}
	return weft.Errorf(weft.Code(e.Code()), op, "%s", e.Message())
}
