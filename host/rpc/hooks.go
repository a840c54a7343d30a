package rpc

import (
	"context"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/hooks"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

type webhooks struct{ Rooms }

func (h webhooks) ApplyHooks(ctx context.Context, q *weftv1.ApplyHooksRequest) (*weftv1.ApplyHooksResponse, error) {
	found, err := hooks.Parse(q.File, []byte(q.Source))
	if problems, ok := problemsOf(err); ok {
		return &weftv1.ApplyHooksResponse{Problems: problems}, nil
	}
	if err == nil {
		err = h.Hooks.Set(ctx, weft.NamespaceOr(q.Namespace), found)
	}
	if err != nil {
		return nil, err
	}
	return &weftv1.ApplyHooksResponse{Hooks: h.hooksOf(weft.NamespaceOr(q.Namespace), found)}, nil
}

func (h webhooks) ListHooks(_ context.Context, q *weftv1.ListHooksRequest) (*weftv1.ListHooksResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	return &weftv1.ListHooksResponse{Hooks: h.hooksOf(ns, h.Hooks.List(ns))}, nil
}

func (h webhooks) GetHook(_ context.Context, q *weftv1.GetHookRequest) (*weftv1.GetHookResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	found, err := h.Hooks.Get(ns, q.Name)
	if err != nil {
		return nil, err
	}
	return &weftv1.GetHookResponse{Hook: h.hookOf(ns, found)}, nil
}

func (h webhooks) DeleteHook(ctx context.Context, q *weftv1.DeleteHookRequest) (*weftv1.DeleteHookResponse, error) {
	return &weftv1.DeleteHookResponse{}, h.Hooks.Delete(ctx, weft.NamespaceOr(q.Namespace), q.Name)
}

func (h webhooks) hooksOf(ns string, list []hooks.Hook) []*weftv1.Hook {
	out := make([]*weftv1.Hook, len(list))
	for i, one := range list {
		out[i] = h.hookOf(ns, one)
	}
	return out
}

func (h webhooks) hookOf(ns string, o hooks.Hook) *weftv1.Hook {
	return &weftv1.Hook{Name: o.Name, Path: "/hooks/" + ns + "/" + o.Name, Scheme: string(o.Scheme), Secrets: o.Secrets, Type: string(o.Type), Id: string(o.ID), Source: o.Source,
		Header: o.Header, Algorithm: o.Algorithm, Encoding: o.Encoding, Prefix: o.Prefix, Doubts: h.Hooks.Doubts(ns, o)}
}
