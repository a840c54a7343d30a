package rpc

import (
	"context"
	"strings"

	"github.com/weftrun/weft"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// Services on one page.
const (
	servicesPage    = 50 // where a caller does not say
	servicesPageMax = 1000
)

// typed says what modules serve.
type typed struct{ Rooms }

func (t typed) ListServices(_ context.Context, q *weftv1.ListServicesRequest) (*weftv1.ListServicesResponse, error) {
	const op = "rpc.ListServices"
	size := min(int(q.PageSize), servicesPageMax)
	switch {
	case size < 0:
		return nil, weft.Errorf(weft.InvalidArgument, op, "page size %d is below zero", size)
	case size == 0:
		size = servicesPage
	}
	if q.PageToken != "" && !strings.Contains(q.PageToken, "@") {
		return nil, weft.Errorf(weft.InvalidArgument, op, "%.80q is no page token", q.PageToken).WithHint("take it from the page before, or leave it empty")
	}
	all, err := t.Offers(weft.NamespaceOr(q.Namespace))
	if err != nil {
		return nil, err
	}
	out := &weftv1.ListServicesResponse{}
	for i, o := range all {
		if o.Key() <= q.PageToken {
			continue
		}
		if len(out.Services) == size {
			out.NextPageToken = all[i-1].Key()
			break
		}
		out.Services = append(out.Services, serviceOf(o, false))
	}
	return out, nil
}

func (t typed) GetService(_ context.Context, q *weftv1.GetServiceRequest) (*weftv1.GetServiceResponse, error) {
	all, err := t.Offers(weft.NamespaceOr(q.Namespace))
	if err != nil {
		return nil, err
	}
	for _, o := range all {
		if o.Name == q.Name && (o.Version == q.Version || q.Version == "" && o.Current) {
			schemas, err := schemasOf(o)
			return &weftv1.GetServiceResponse{Service: serviceOf(o, true), Schemas: schemas}, err
		}
	}
	at := ""
	if q.Version != "" {
		at = " at version " + q.Version
	}
	return nil, weft.Errorf(weft.NotFound, "rpc.GetService", "no module serves %.200s", q.Name+at).WithHint("weft service list has those that are served")
}
