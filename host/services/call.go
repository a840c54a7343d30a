package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // what details of errors mostly are
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft"
)

// Call is one call of a method, as its implementation sees it: messages are
// encoded protobuf, whatever the caller speaks. One goroutine may receive while
// another sends; a Call is not to be used after the implementation has returned.
type Call struct {
	Procedure string // such as /orders.v1.OrderService/Place
	Unary     bool   // one message comes in, and one goes out

	info    *connect.CallInfo
	stream  connect.ServerStream
	ctx     context.Context
	end     func(error) // of ctx
	conn    *http.ResponseController
	in, out message
	single  bool // one answer is due, no more
	sent    int
	added   int // bytes of headers and trailers
	most    int // of them
}

// Headers are those of the request, names as HTTP writes them: Content-Type.
func (c *Call) Headers() iter.Seq2[string, []string] { return c.info.RequestHeader().All() }

// Header is one of them, its values joined by commas.
func (c *Call) Header(name string) string {
	return strings.Join(c.info.RequestHeader().Values(name), ", ")
}

// Query is that of a call that came by GET; nil for others.
func (c *Call) Query() url.Values {
	if h, ok := c.info.TransportInfo.(*connecthttp.ServerInfo); ok {
		return h.HTTPGetQueryParams()
	}
	return nil
}

// Recv is the next message. It is good until the next Recv. After the last one
// comes io.EOF, the error itself; once the call is over, why it is.
func (c *Call) Recv() ([]byte, error) {
	c.in.data = c.in.data[:0] // an empty message never comes to the codec
	switch err := c.stream.Receive(&c.in); {
	case err == nil:
		return c.in.data, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	default:
		return nil, c.own(err)
	}
}

// Send sends a message; it has been written or copied on return. A method that
// does not stream answers once.
func (c *Call) Send(msg []byte) error {
	if c.single && c.sent > 0 {
		return weft.Errorf(weft.Internal, "services.Send", "%s answers once, and has", c.Procedure)
	}
	c.sent++
	c.out.data = msg
	err := c.stream.Send(&c.out)
	c.out.data = nil
	return c.own(err)
}

// RecvWithin is Recv that waits no longer than ctx; then the call is over.
func (c *Call) RecvWithin(ctx context.Context) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { c.end(context.Cause(ctx)) })()
	return c.Recv()
}

// SendWithin is Send that waits no longer than ctx. Then the call is over, and a
// caller who takes nothing gets nothing more: not why, either.
func (c *Call) SendWithin(ctx context.Context, msg []byte) error {
	defer during(ctx, func() {
		c.end(context.Cause(ctx))
		if c.conn != nil { // it streams
			_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
		}
	})()
	return c.Send(msg)
}

// RecvJSON is the one message of a call, in JSON.
func (c *Call) RecvJSON() ([]byte, error) {
	msg, err := c.Recv()
	if err != nil {
		return nil, err
	}
	text, err := c.in.shape.toJSON(nil, msg)
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "services.RecvJSON", "the request is no %s", c.in.shape.desc.FullName())
	}
	return text, nil
}

// SendJSON is Send of a message in JSON. null stands for one without fields. What
// the message does not have is an error that names it.
func (c *Call) SendJSON(text []byte) error {
	p := c.out.shape.plan
	if p.form == object && string(text) == "null" {
		text = []byte("{}")
	}
	msg, err := p.exactly(text)
	if err != nil {
		return weft.Errorf(weft.Internal, "services.SendJSON", "no %s: %w", p.desc.FullName(), err)
	}
	return c.Send(msg)
}

// Answers reports whether the message that is answered has a text of that name.
func (c *Call) Answers(field protoreflect.Name) bool {
	fd := c.out.shape.desc.Fields().ByName(field)
	return fd != nil && fd.Kind() == protoreflect.StringKind && !fd.IsList()
}

// Accepted says that the answer is about work that goes on: by REST it is a 202.
func (c *Call) Accepted() {
	if a, ok := c.info.TransportInfo.(*restAnswer); ok {
		a.status = http.StatusAccepted
	}
}

// SendHeaders sends what AddHeader has added before there is a message. Where a
// method does not stream they wait for the answer.
func (c *Call) SendHeaders() error { return c.own(c.stream.SendHeaders()) }

// AddHeader adds a header to the answer. It has to come before the first Send.
func (c *Call) AddHeader(name, value string) error {
	return c.add(c.info.ResponseHeader(), name, value)
}

// AddTrailer adds a trailer to the answer.
func (c *Call) AddTrailer(name, value string) error {
	return c.add(c.info.ResponseTrailer(), name, value)
}

func (c *Call) add(to *connect.Header, name, value string) error {
	if c.added += len(name) + len(value); c.added > c.most {
		return weft.Errorf(weft.ResourceExhausted, "services.AddHeader", "headers and trailers of an answer have more than %d bytes", c.most)
	}
	to.Add(name, value)
	return nil
}

// own is an error of the stream as one of weft; of a call that is over, why.
func (c *Call) own(err error) error {
	if err == nil {
		return nil
	}
	var theirs *connect.Error
	switch {
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case errors.As(err, &theirs):
		return &weft.Error{Code: weft.Code(theirs.Code()), Op: "services.Call", Err: errors.New(theirs.Message())}
	}
	return err
}

// method is m as connect serves it for v.
func (v *version) method(m protoreflect.MethodDescriptor) connect.Method {
	spec := connect.Spec{Procedure: procedure(m), Schema: m}
	if m.IsStreamingClient() {
		spec.StreamType |= connect.StreamTypeClient
	}
	if m.IsStreamingServer() {
		spec.StreamType |= connect.StreamTypeServer
	}
	if o, ok := m.Options().(*descriptorpb.MethodOptions); ok {
		spec.IdempotencyLevel = connect.IdempotencyLevel(o.GetIdempotencyLevel())
	}
	in, out := v.Schema.shape(m.Input()), v.Schema.shape(m.Output())
	single := !m.IsStreamingServer()
	return connect.Method{Spec: spec, Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		ctx, end := weft.Until(ctx, v.life)
		defer end(nil)
		info, _ := connect.CallInfoForServerContext(ctx)
		c := &Call{Procedure: spec.Procedure, Unary: spec.StreamType == connect.StreamTypeUnary, info: info, stream: stream, ctx: ctx, end: end, conn: connOf(ctx).ResponseController, in: message{shape: in}, out: message{shape: out}, single: single, most: v.opts.HeadersMax}
		defer interrupt(ctx)()
		return v.Schema.wire(v.opts.Shown(c.Procedure, v.run(ctx, c)))
	}}
}

// run is the call itself. What panics has failed.
func (v *version) run(ctx context.Context, c *Call) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if err != nil && errors.Is(err, context.Canceled) && context.Cause(ctx) != nil {
			err = context.Cause(ctx)
		}
	}()
	if err := v.Impl.Call(ctx, c); err != nil {
		return err
	}
	if c.single && c.sent == 0 {
		return weft.Errorf(weft.Internal, "services.Call", "%s answered nothing", c.Procedure)
	}
	return nil
}

// wire is err as connect sends it: the codes are connect's own.
func wire(err error) error { return (*Schema)(nil).wire(err) }

// wire is an error of a method. Details that are messages of the module have JSON
// beside them, for callers without its types; those of google.rpc get it from connect.
func (s *Schema) wire(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	var own *weft.Error
	if !errors.As(err, &own) {
		if weft.CodeOf(err) == weft.Unknown {
			text = "" // a panic, or what else came about inside: not for callers
		}
		return connect.NewError(connect.Code(weft.CodeOf(err)), text)
	}
	if own == err && own.Err == nil && own.Hint == "" {
		text = "" // the code says it all
	}
	e := connect.NewError(connect.Code(own.Code), text)
	for _, d := range own.Details {
		e = e.WithDetail(&connect.ErrorDetail{Type: d.Type, Value: d.Value, Debug: s.json(d)})
	}
	return e
}

// detailMax is how many bytes a detail may have to be told as text: names are longer
// than what they take in protobuf.
const detailMax = 4 << 10

// json is a detail as text, or nil where its type is not the module's.
func (s *Schema) json(d weft.Detail) (text []byte) {
	if s == nil || len(d.Value) > detailMax {
		return nil
	}
	defer func() { // protobuf panics where the key of a map is there again with a wrong type
		if recover() != nil {
			text = nil
		}
	}()
	t, err := s.types.FindMessageByName(protoreflect.FullName(d.Type))
	if err != nil {
		return nil
	}
	m := t.New().Interface()
	if proto.Unmarshal(d.Value, m) != nil {
		return nil
	}
	if text, err = (protojson.MarshalOptions{Resolver: s.types}).Marshal(m); err != nil {
		return nil
	}
	return text
}
