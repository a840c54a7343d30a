package connect

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

const (
	pkg     = "connectrpc.conformance.v1."
	service = "/" + pkg + "ConformanceService/"
)

// conformance is the suite's ConformanceService: each request says what is to be
// answered, and the first answer tells what came.
type conformance struct{ files *protoregistry.Files }

func newConformance(set []byte) (*conformance, error) {
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &fds); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&fds)
	return &conformance{files}, err
}

func (c *conformance) Implements(string) bool { return true }

func (c *conformance) Call(ctx context.Context, call *services.Call) error {
	x := &exchange{Call: call, conformance: c, method: strings.TrimPrefix(call.Procedure, service)}
	if at, ok := ctx.Deadline(); ok {
		x.timeout = protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), uint64(time.Until(at).Milliseconds()))
	}
	switch x.method {
	case "Unimplemented":
		return &weft.Error{Code: weft.Unimplemented}
	case "BidiStream":
		return x.bidi(ctx)
	case "ServerStream":
		if err := x.all(); err != nil {
			return err
		}
		return x.answers(ctx)
	}
	if err := x.all(); err != nil {
		return err
	}
	return x.answer(ctx)
}

// exchange is one call.
type exchange struct {
	*conformance
	*services.Call
	method   string
	timeout  []byte               // of a RequestInfo, encoded
	requests [][]byte             // as Any, encoded
	first    *dynamicpb.Message   // request
	def      protoreflect.Message // what it says is to be answered; nil where it does not
	sent     int
}

// next takes one request.
func (x *exchange) next() error {
	raw, err := x.Recv()
	if err != nil {
		return err
	}
	name := protoreflect.FullName(pkg + x.method + "Request")
	any := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "type.googleapis.com/"+string(name))
	x.requests = append(x.requests, field(any, 2, raw))
	if x.first != nil {
		return nil
	}
	desc, err := x.files.FindDescriptorByName(name)
	if err != nil {
		return err
	}
	x.first = dynamicpb.NewMessage(desc.(protoreflect.MessageDescriptor))
	if err := proto.Unmarshal(raw, x.first); err != nil {
		return weft.Errorf(weft.InvalidArgument, "conformance", "%w", err)
	}
	if d := of(x.first, "response_definition"); x.first.Has(d) {
		x.def = x.first.Get(d).Message()
		return x.headers()
	}
	return nil
}

// all takes requests to their end.
func (x *exchange) all() error {
	for {
		if err := x.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if x.method != "ClientStream" && x.method != "BidiStream" {
			return nil
		}
	}
}

func (x *exchange) headers() error {
	for name, add := range map[protoreflect.Name]func(name, value string) error{"response_headers": x.AddHeader, "response_trailers": x.AddTrailer} {
		list := x.def.Get(of(x.def, name)).List()
		for i := range list.Len() {
			h := list.Get(i).Message()
			values := h.Get(of(h, "value")).List()
			for j := range values.Len() {
				if err := add(h.Get(of(h, "name")).String(), values.Get(j).String()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// answer answers once.
func (x *exchange) answer(ctx context.Context) error {
	var payload []byte
	if x.def != nil {
		if err := x.failure(); err != nil {
			return err
		}
		if err := x.delay(ctx); err != nil {
			return err
		}
		payload = field(nil, 1, x.def.Get(of(x.def, "response_data")).Bytes())
	}
	return x.Send(field(nil, 1, field(payload, 2, x.info())))
}

// answers sends all answers that are left.
func (x *exchange) answers(ctx context.Context) error {
	if x.def == nil {
		return nil
	}
	if x.left() > 0 {
		if err := x.SendHeaders(); err != nil {
			return err
		}
	}
	for x.left() > 0 {
		if err := x.one(ctx); err != nil {
			return err
		}
	}
	return x.failure()
}

func (x *exchange) bidi(ctx context.Context) error {
	if err := x.next(); err != nil && err != io.EOF {
		return err
	}
	if x.first == nil || !x.first.Get(of(x.first, "full_duplex")).Bool() {
		if err := x.all(); err != nil {
			return err
		}
		return x.answers(ctx)
	}
	if x.left() > 0 {
		if err := x.SendHeaders(); err != nil {
			return err
		}
	}
	for x.left() > 0 {
		if err := x.one(ctx); err != nil {
			return err
		}
		if err := x.next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	return x.answers(ctx)
}

func (x *exchange) left() int {
	if x.def == nil {
		return 0
	}
	return x.def.Get(of(x.def, "response_data")).List().Len() - x.sent
}

// one sends the next answer of a stream. The first tells of the call, later ones
// of the requests since.
func (x *exchange) one(ctx context.Context) error {
	if err := x.delay(ctx); err != nil {
		return err
	}
	payload := field(nil, 1, x.def.Get(of(x.def, "response_data")).List().Get(x.sent).Bytes())
	if x.sent == 0 || len(x.requests) > 0 {
		payload = field(payload, 2, x.info())
	}
	x.sent++
	return x.Send(field(nil, 1, payload))
}

func (x *exchange) delay(ctx context.Context) error {
	t := time.NewTimer(time.Duration(x.def.Get(of(x.def, "response_delay_ms")).Uint()) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure is the error that the request asks for. It tells of the call where no
// answer has.
func (x *exchange) failure() error {
	d := of(x.def, "error")
	if !x.def.Has(d) {
		return nil
	}
	m := x.def.Get(d).Message()
	e := &weft.Error{Code: weft.Code(m.Get(of(m, "code")).Enum()), Op: "conformance"}
	if text := m.Get(of(m, "message")).String(); text != "" {
		e.Err = errors.New(text)
	}
	details := m.Get(of(m, "details")).List()
	for i := range details.Len() {
		any := details.Get(i).Message()
		_, name, _ := strings.Cut(any.Get(of(any, "type_url")).String(), "/")
		e.Details = append(e.Details, weft.Detail{Type: name, Value: any.Get(of(any, "value")).Bytes()})
	}
	if x.sent == 0 {
		e.Details = append(e.Details, weft.Detail{Type: pkg + "ConformancePayload.RequestInfo", Value: x.info()})
	}
	return e
}

// info is a RequestInfo of what has come since the last one, encoded.
func (x *exchange) info() (info []byte) {
	if x.sent == 0 {
		for name, values := range x.Headers() {
			info = field(info, 1, header(name, values))
		}
		info = append(info, x.timeout...)
		var query []byte
		for name, values := range x.Query() {
			query = field(query, 1, header(name, values))
		}
		if query != nil {
			info = field(info, 4, query)
		}
	}
	for _, r := range x.requests {
		info = field(info, 3, r)
	}
	x.requests = nil
	return info
}

func header(name string, values []string) []byte {
	h := field(nil, 1, []byte(name))
	for _, v := range values {
		h = field(h, 2, []byte(v))
	}
	return h
}

// field appends a field of bytes, which are copied.
func field(to []byte, num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, num, protowire.BytesType), b)
}

func of(m protoreflect.Message, name protoreflect.Name) protoreflect.FieldDescriptor {
	return m.Descriptor().Fields().ByName(name)
}
