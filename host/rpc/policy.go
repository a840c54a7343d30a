package rpc

import (
	"context"
	"maps"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

type policies struct{ Rooms }

func (p policies) ApplyPolicies(ctx context.Context, q *weftv1.ApplyPoliciesRequest) (*weftv1.ApplyPoliciesResponse, error) {
	found, err := peers.ParsePolicies(q.File, []byte(q.Source))
	if problems, ok := problemsOf(err); ok {
		return &weftv1.ApplyPoliciesResponse{Problems: problems}, nil
	}
	if err == nil {
		err = p.Gate.SetPolicies(ctx, weft.NamespaceOr(q.Namespace), found)
	}
	if err != nil {
		return nil, err
	}
	return &weftv1.ApplyPoliciesResponse{Peers: slices.Sorted(maps.Keys(found))}, nil
}

func (p policies) GetPolicies(_ context.Context, q *weftv1.GetPoliciesRequest) (*weftv1.GetPoliciesResponse, error) {
	return &weftv1.GetPoliciesResponse{Source: peers.ShowPolicies(p.Gate.Policies(weft.NamespaceOr(q.Namespace)))}, nil
}
