package weft

import (
	"io"
	"iter"

	"github.com/weftrun/weft/sdk/go/wire"
)

// message is a pointer to the struct of a protobuf message.
type message[T any] interface {
	*T
	wire.Message
}

// Unary runs one call of a method that takes a message and answers with one, for
// generated code. What is no such message is answered with InvalidArgument.
func Unary[I, O any, In message[I], Out message[O]](n uint32, method func(*Context, In) (Out, error)) uint32 {
	return Handle(n, func(ctx *Context) error {
		in, err := parse[I, In](ctx.input)
		if err != nil {
			return err
		}
		out, err := method(ctx, in)
		if err == nil && out != nil {
			ctx.output = wire.Append(ctx.output, out)
		}
		return err
	})
}

// ServerStream is Unary of a method that answers with a stream.
func ServerStream[I, O any, In message[I], Out message[O]](n uint32, method func(*Context, In, func(Out) error) error) uint32 {
	return Handle(n, func(ctx *Context) error {
		m, err := ctx.Recv()
		if err != nil {
			return Errorf(InvalidArgument, "the request is missing: %v", err)
		}
		in, err := parse[I, In](m)
		if err != nil {
			return err
		}
		return method(ctx, in, sender[O, Out](ctx))
	})
}

// ClientStream is Unary of a method that takes a stream.
func ClientStream[I, O any, In message[I], Out message[O]](n uint32, method func(*Context, iter.Seq2[In, error]) (Out, error)) uint32 {
	return Handle(n, func(ctx *Context) error {
		out, err := method(ctx, messages[I, In](ctx))
		if err != nil {
			return err
		}
		return sender[O, Out](ctx)(out)
	})
}

// BidiStream is Unary of a method with a stream each way.
func BidiStream[I, O any, In message[I], Out message[O]](n uint32, method func(*Context, iter.Seq2[In, error], func(Out) error) error) uint32 {
	return Handle(n, func(ctx *Context) error {
		return method(ctx, messages[I, In](ctx), sender[O, Out](ctx))
	})
}

func parse[T any, M message[T]](data []byte) (M, error) {
	m := M(new(T))
	if err := wire.Unmarshal(data, m); err != nil {
		return nil, Errorf(InvalidArgument, "%v", err)
	}
	return m, nil
}

// messages are those of a stream, up to its end or the first error.
func messages[T any, M message[T]](ctx *Context) iter.Seq2[M, error] {
	return func(yield func(M, error) bool) {
		for {
			raw, err := ctx.recv()
			if err == io.EOF {
				return
			}
			var m M
			if err == nil {
				m, err = parse[T, M](raw)
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

func sender[T any, M message[T]](ctx *Context) func(M) error {
	return func(m M) error {
		ctx.output = ctx.output[:0]
		if m != nil {
			ctx.output = wire.Append(ctx.output, m)
		}
		err := ctx.Send(ctx.output)
		ctx.output = ctx.output[:0] // whoever sends writes no output besides
		return err
	}
}

// With adds messages to what the caller is told: details of a kind that it knows.
func (e *Error) With(details ...wire.Message) *Error {
	before := e.tell
	e.tell = func(ctx *Context) {
		if before != nil {
			before(ctx)
		}
		for _, d := range details {
			ctx.AddDetail(d.FullName(), wire.Marshal(d))
		}
	}
	return e
}

// CallMessage asks a peer for an answer to a protobuf message:
//
//	res, err := weft.CallMessage[GetOrderResponse](ctx, "shop/shop.v1.OrderService/GetOrder", &GetOrderRequest{OrderId: id})
func CallMessage[T any, M message[T]](c *Context, procedure string, request wire.Message) (M, error) {
	raw, err := c.host.call(procedure, wire.Marshal(request))
	if err != nil {
		return nil, describe(err, "call of ", procedure)
	}
	answer := M(new(T))
	if err := wire.Unmarshal(raw, answer); err != nil {
		return nil, Errorf(Internal, "answer of %s: %v", procedure, err)
	}
	return answer, nil
}
