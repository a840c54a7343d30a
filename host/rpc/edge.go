package rpc

import (
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
}

// Intercept refuses calls while the host drains and ends its streams then,
// checks the namespace that a message names, recovers panics, and turns errors
// into those of Connect.
func (e Edge) Intercept(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) (err error) {
		if e.Drain.Err() != nil && !strings.HasPrefix(spec.Procedure, "/"+healthv1connect.HealthName+"/") {
			return wire(ErrDraining)
		}
		if spec.StreamType&connect.StreamTypeServer != 0 {
			var end func()
			ctx, end = untilDrain(ctx, e.Drain)
			defer end()
		}
		defer func() {
			if p := recover(); p != nil {
				err = Panicked(p)
			} else if err != nil && context.Cause(ctx) == ErrDraining {
				err = ErrDraining
			}
			err = wire(e.Shown(spec.Procedure, err))
		}()
		return next(ctx, spec, checked{stream})
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

// checked is a stream whose requests name proper namespaces.
type checked struct{ connect.ServerStream }

func (c checked) Receive(m any) error {
	if err := c.ServerStream.Receive(m); err != nil {
		return err
	}
	switch m := m.(type) {
	case interface{ GetNamespace() string }:
		return weft.CheckNamespace(m.GetNamespace())
	case *weftv1.PushRequest:
		return weft.CheckNamespace(m.GetHeader().GetNamespace())
	}
	return nil
}
