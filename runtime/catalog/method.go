package catalog

import (
	"context"
	"maps"
	"strings"
	"sync"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/workflows/grpc"
)

// link has the descriptors of m read when one of its methods is first called by name.
func (m *Module) link() {
	set := m.Descriptors
	m.services = sync.OnceValues(func() (*grpc.Services, error) { return grpc.Read(set) })
}

// method is the method that a handler of m serves, nil where it serves none. One
// that streams is an error: it cannot be called with one message.
func (m *Module) method(handler string) (*grpc.Method, error) {
	if m.Descriptors == nil || !weft.IsProcedure(handler) {
		return nil, nil
	}
	services, err := m.services()
	if err != nil {
		return nil, err
	}
	service, name, _ := strings.Cut(handler, "/")
	if !services.Has(service, name) {
		return nil, nil // a handler that only looks like one
	}
	return services.Method(service, name)
}

// dropped refuses a handler that m has, where the version that is live has it not: what
// is live is what is called. Who calls a service is told that there is no such method,
// and so is who calls the method by its name.
func (s *space) dropped(m *Module, ref weft.Ref) error {
	if ref.Version == m.Version {
		return nil
	}
	list, what, code := s.modules[m.Name], "handler", weft.NotFound
	if weft.IsProcedure(ref.Name) && m.serves() {
		list, what, code = serving(list), "method", weft.Unimplemented
	}
	live, _ := current(list, ref.Version) // m at least
	if _, bound := live.BoundTo(ref.Name); bound || live.Has(ref.Name) {
		return nil
	}
	return weft.Errorf(code, "catalog.Catalog.Handler", "%s, which is live, has no %s %s", live, what, ref.Name).
		WithHint("%s has it: name that version, as %s:%s", m, ref.Name, m.Version)
}

// Typed is h as a method is called: it knows its procedure and, where json is true,
// takes and gives JSON in the place of protobuf. What serves no method is as it was.
func (h Handler) Typed(json bool) Handler {
	if h.Method != nil {
		h.Code = typed{h.Code, h.Method, json}
	}
	return h
}

type typed struct {
	Code
	m    *grpc.Method
	json bool
}

func (t typed) Call(ctx context.Context, env wasm.Env, export string, in wasm.Input) (wasm.Output, error) {
	headers := weft.Header{}
	maps.Copy(headers, in.Headers)
	headers.Set(weft.HeaderProcedure, t.m.Path())
	in.Headers = headers
	if !t.json {
		out, err := t.Code.Call(ctx, env, export, in)
		if with := out.Fields(); err == nil && with.Headers.Get("content-type") == "" {
			headers := weft.Header{"content-type": {"application/proto"}}
			maps.Copy(headers, with.Headers)
			out.With = &wasm.Fields{Headers: headers, Trailers: with.Trailers}
		}
		return out, err
	}
	if body := string(in.Body); body == "" || body == "null" {
		in.Body = []byte("{}")
	}
	var err error
	if in.Body, err = t.m.Message(in.Body); err != nil {
		return wasm.Output{}, err
	}
	out, err := t.Code.Call(ctx, env, export, in)
	if err == nil {
		out.Body, err = t.m.JSON(out.Body)
	}
	return out, err
}
