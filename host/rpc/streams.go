package rpc

import (
	"context"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/workflows/machine"
)

func (r runs) Watch(ctx context.Context, q *weftv1.WatchRequest, stream weftv1connect.RunServiceWatchServerStream) error {
	return r.Engine.Watch(ctx, weft.NamespaceOr(q.Namespace), q.Id, func(run engine.Run, steps []machine.Step) error {
		out := &weftv1.WatchResponse{Run: runOf(run)}
		out.Steps, out.StepsOmitted = stepsOf(steps)
		return stream.Send(out)
	})
}

func (e events) Tail(ctx context.Context, q *weftv1.TailRequest, stream weftv1connect.EventServiceTailServerStream) error {
	after := q.After
	if after == 0 && !q.All {
		after = -1
	}
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	return e.Events.Tail(ctx, weft.NamespaceOr(q.Namespace), after, func(offset int64, ev weft.Event) error {
		return stream.Send(&weftv1.TailResponse{Offset: offset, Event: eventOf(ev)})
	})
}

func (r registry) Watch(ctx context.Context, q *weftv1.RegistryServiceWatchRequest, stream weftv1connect.RegistryServiceWatchServerStream) error {
	return r.Gate.Watch(ctx, weft.NamespaceOr(q.Namespace), q.Service, q.Revision, func(v peers.View) error {
		out := &weftv1.RegistryServiceWatchResponse{Instances: instancesOf(v.Instances), Revision: v.Revision, Reset_: v.Reset}
		for _, c := range v.Changes {
			out.Changes = append(out.Changes, &weftv1.InstanceChange{Revision: c.Revision, Kind: weftv1.InstanceChangeKind(c.Kind), Instance: c.Instance, Epoch: c.Epoch})
		}
		return stream.Send(out)
	})
}

func (b breakers) Watch(ctx context.Context, q *weftv1.BreakerServiceWatchRequest, stream weftv1connect.BreakerServiceWatchServerStream) error {
	return b.Gate.WatchBreakers(ctx, weft.NamespaceOr(q.Namespace), func(list []peers.BreakerState) error {
		return stream.Send(&weftv1.BreakerServiceWatchResponse{Breakers: breakersOf(list)})
	})
}
