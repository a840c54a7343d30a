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
	return &weftv1.ApplyHooksResponse{Hooks: hooksOf(weft.NamespaceOr(q.Namespace), found)}, nil
}

func (h webhooks) ListHooks(_ context.Context, q *weftv1.ListHooksRequest) (*weftv1.ListHooksResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	return &weftv1.ListHooksResponse{Hooks: hooksOf(ns, h.Hooks.List(ns))}, nil
}

func (h webhooks) GetHook(_ context.Context, q *weftv1.GetHookRequest) (*weftv1.GetHookResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	found, err := h.Hooks.Get(ns, q.Name)
	if err != nil {
		return nil, err
	}
	return &weftv1.GetHookResponse{Hook: hookOf(ns, found)}, nil
}

func (h webhooks) DeleteHook(ctx context.Context, q *weftv1.DeleteHookRequest) (*weftv1.DeleteHookResponse, error) {
	return &weftv1.DeleteHookResponse{}, h.Hooks.Delete(ctx, weft.NamespaceOr(q.Namespace), q.Name)
}

func hooksOf(ns string, list []hooks.Hook) []*weftv1.Hook {
	out := make([]*weftv1.Hook, len(list))
	for i, h := range list {
		out[i] = hookOf(ns, h)
	}
	return out
}

func hookOf(ns string, h hooks.Hook) *weftv1.Hook {
	return &weftv1.Hook{Name: h.Name, Path: "/hooks/" + ns + "/" + h.Name, Scheme: string(h.Scheme), Secrets: h.Secrets, Type: string(h.Type), Id: string(h.ID), Source: h.Source,
		Header: h.Header, Algorithm: h.Algorithm, Encoding: h.Encoding, Prefix: h.Prefix}
}
