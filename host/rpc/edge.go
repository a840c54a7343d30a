package rpc

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// MessageMax bounds one message of the API, in bytes and unpacked.
const MessageMax = 4 << 20

// MountOptions are the options to mount a server with.
func MountOptions() []connecthttp.Option {
	return []connecthttp.Option{connecthttp.WithReadMaxBytes(MessageMax), connecthttp.WithCodecs(connectproto.NewBinaryCodec(), codec{connectproto.NewJSONCodec()})}
}

// ErrDraining is what calls and streams get while the host shuts down.
var ErrDraining = weft.Errorf(weft.Unavailable, "rpc.Edge", "weft is shutting down").WithHint("try again in a moment, or at another host")

// Edge is where calls come in and errors go out. Its methods may be called by
// many goroutines at once.
type Edge struct {
	Log   *slog.Logger
	Drain context.Context // ended when the host takes no more calls
	// Streams are the places of callers who hold a stream. Only calls that answer
	// with one ask for them.
	Streams *weft.Places
}

// NewStreams has places for so many streams in all, and for so many of each
// namespace; 0 means 20,000 and 10,000.
func NewStreams(all, each int) *weft.Places {
	return weft.NewPlaces("rpc.Edge", "callers hold streams", "end one that nobody reads, or come again later", cmp.Or(all, 20_000), cmp.Or(each, 10_000))
}

// Intercept refuses calls while the host drains and ends its streams then,
// checks the namespace that a message names, gives who asks for a stream a place,
// recovers panics, and turns errors into those of Connect.
func (e Edge) Intercept(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		if e.Drain.Err() != nil && !strings.HasPrefix(spec.Procedure, "/"+healthv1connect.HealthName+"/") {
			return wire(ErrDraining)
		}
		in := &checked{ServerStream: stream}
		if spec.StreamType&connect.StreamTypeServer != 0 {
			var end func()
			ctx, end = untilDrain(ctx, e.Drain)
			defer end()
			in.places, in.named = e.Streams, services.NamedBy(ctx)
			defer in.left()
		}
		defer func() {
			if p := recover(); p != nil {
				err = Panicked(p)
			} else if err != nil && context.Cause(ctx) == ErrDraining {
				err = ErrDraining
			}
			err = wire(e.Shown(spec.Procedure, err))
		}()
		return next(ctx, spec, in)
	}
}

// untilDrain is ctx, ended also when the host drains; then ErrDraining is its cause.
func untilDrain(ctx, drain context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(drain, func() { end(ErrDraining) })
	return ctx, func() { stop(); end(nil) }
}

// Panicked is the error of a panic, for the log.
func Panicked(p any) error { return fmt.Errorf("panic: %v\n%s", p, debug.Stack()) }

// Shown is err as a caller may see it. What happened inside and is not for
// callers becomes a reference, under which the log has the cause.
func (e Edge) Shown(call string, err error) error {
	if err == nil {
		return nil
	}
	var own *connect.Error // of the protocol, such as a message that cannot be read
	if errors.As(err, &own) || !inside(err) {
		return err
	}
	reference := rand.Text()[:8]
	e.Log.Error("call failed inside", "reference", reference, "call", call, "error", err)
	return weft.Errorf(weft.Internal, "rpc.Edge", "internal error, reference %s", reference).WithHint("the log of weft has the cause under this reference")
}

// inside reports whether err came about inside weft. What a handler or a workflow
// answered, and how a guest trapped, is for callers, whatever its code.
func inside(err error) bool {
	var e *weft.Error
	if errors.As(err, &e) && (strings.HasPrefix(e.Op, "handler ") || strings.HasPrefix(e.Op, "workflow ") || e.Op == "wasm.Module.Call") {
		return false
	}
	switch weft.CodeOf(err) {
	case weft.Unknown, weft.Internal, weft.DataLoss:
		return true
	}
	return false
}

// wire is err as Connect sends it: the codes are Connect's own.
func wire(err error) error {
	var own *connect.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	e := connect.NewError(connect.Code(weft.CodeOf(err)), err.Error())
	for _, d := range weft.DetailsOf(err) {
		e = e.WithDetail(&connect.ErrorDetail{Type: d.Type, Value: d.Value})
	}
	return e
}

// checked is a stream whose requests name proper namespaces. It has a place of
// its namespace, where there are places, from its first request on.
type checked struct {
	connect.ServerStream
	places *weft.Places // nil for calls that do not answer with a stream
	named  string       // the namespace of requests that cannot name one
	leave  func()       // nil without a place
}

func (c *checked) Receive(m any) error {
	if err := c.ServerStream.Receive(m); err != nil {
		return err
	}
	ns := c.named
	switch m := m.(type) {
	case interface{ GetNamespace() string }:
		ns = m.GetNamespace()
	case *weftv1.PushRequest:
		ns = m.GetHeader().GetNamespace()
	}
	err := weft.CheckNamespace(ns)
	if err == nil && c.places != nil && c.leave == nil {
		c.leave, err = c.places.Take(weft.NamespaceOr(ns))
	}
	return err
}

// left gives the place back.
func (c *checked) left() {
	if c.leave != nil {
		c.leave()
	}
}
