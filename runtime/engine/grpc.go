package engine

import (
	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/grpc"
	"github.com/weftrun/weft/workflows/machine"
)

// grpc makes the call of a task call: grpc. As with OpenAPI, the journal keeps
// what the description says of the service.
func (k *call) grpc(q *machine.HTTPRequest) ([]byte, error) {
	c := q.GRPC
	describe := *q
	describe.GRPC = nil
	res, err := k.send(&describe, func(res weft.Response) (weft.Response, error) {
		if err := documentError(res, q.URL); err != nil {
			return weft.Response{}, err
		}
		description, err := grpc.Describe(k.ctx, res.Body, q.URL, c.Service)
		return weft.Response{Status: res.Status, Body: description}, err
	})
	if err != nil {
		return nil, err
	}
	m, err := grpc.Open(res.Body, c.Service, c.Method)
	if err != nil {
		return nil, err
	}
	message, err := m.Message(c.Arguments)
	if err != nil {
		return nil, err
	}
	k.message = m.Message // with its secrets, once the call is made
	res, err = k.send(&machine.HTTPRequest{Method: "POST", URL: c.Address + m.Path(), Body: message, Auth: c.Auth, NoRedirect: true, GRPC: c}, func(res weft.Response) (weft.Response, error) {
		output, err := m.JSON(res.Body)
		res.Body = k.hidden(output)
		return res, err
	})
	return res.Body, err
}

// documentError says why a document that describes a call was not given.
func documentError(res weft.Response, url string) error {
	if res.Status == 200 {
		return nil
	}
	code := weft.FailedPrecondition
	switch {
	case res.Status == 404:
		code = weft.NotFound
	case res.Status == 429 || res.Status >= 500:
		code = weft.Unavailable
	}
	return weft.Errorf(code, "engine.documentError", "the document %s was answered with %d", url, res.Status)
}
