// Package weft is what a handler written in Go is made of. A module is a main
// package whose exports hand their work to JSON, Bytes, Handle or OnEvent:
//
//	//go:wasmexport charge-card
//	func chargeCard(n uint32) uint32 { return weft.JSON(n, charge) }
//
//	func charge(ctx *weft.Context, in Charge) (Payment, error) { ... }
//
//	func main() {}
//
// built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o payment.wasm .
//
// A handler is a transaction: what it writes and publishes is kept when it
// returns nil and forgotten when it returns an error. The package also compiles
// outside Wasm, where package wefttest runs the same exports in a plain go test.
package weft

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Handle runs one call with fn. Give it the argument of the export and return
// its result.
func Handle(n uint32, fn func(*Context) error) uint32 { return handle(n, nil, fn) }

// Bytes runs one call of a handler that answers with bytes. They are not copied, and
// take the place of what it has written.
func Bytes(n uint32, fn func(*Context) ([]byte, error)) uint32 { return handle(n, fn, nil) }

// JSON runs one call of a handler that takes and answers JSON. Input that is no
// JSON, or does not fit In, is answered with InvalidArgument and fn is not run;
// no input at all is the zero In.
func JSON[In, Out any](n uint32, fn func(*Context, In) (Out, error)) uint32 {
	return Handle(n, func(ctx *Context) error {
		var in In
		if err := decode("input", ctx.input, &in); err != nil {
			return err
		}
		out, err := fn(ctx, in)
		if err != nil {
			return err
		}
		ctx.output, err = json.Marshal(out)
		return err
	})
}

// OnEvent runs one call of a handler that subscribed to events whose data is
// JSON. An event that does not fit Data is answered with InvalidArgument.
func OnEvent[Data any](n uint32, fn func(*Context, Event, Data) error) uint32 {
	return Handle(n, func(ctx *Context) error {
		event, err := ctx.Event()
		if err != nil {
			return err
		}
		var data Data
		if err := decode("event data", event.Data, &data); err != nil {
			return err
		}
		return fn(ctx, event, data)
	})
}

// fail is the answer in the place of the output: the error's message.
func fail(ctx *Context, err error) ([]byte, Code) {
	var e *Error
	if errors.As(err, &e) && e.tell != nil {
		e.tell(ctx)
	}
	return []byte(err.Error()), CodeOf(err)
}

// decode reads src, which the message calls what, into dst.
func decode(what string, src []byte, dst any) error {
	if len(bytes.TrimSpace(src)) == 0 {
		return nil
	}
	err := json.Unmarshal(src, dst)
	if err == nil {
		return nil
	}
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) && mismatch.Field != "" {
		return Errorf(InvalidArgument, "%s: %s is a %s, want %s", what, mismatch.Field, mismatch.Value, mismatch.Type)
	}
	return Errorf(InvalidArgument, "%s: %s", what, strings.TrimPrefix(err.Error(), "json: "))
}

// Code classifies an Error. The numbers are those of Connect and gRPC.
type Code uint32

// The codes of Connect, https://connectrpc.com/docs/protocol#error-codes.
const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

var codeNames = [...]string{"ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found",
	"already_exists", "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
	"unimplemented", "internal", "unavailable", "data_loss", "unauthenticated"}

// String is the code as the Connect protocol writes it.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code_%d", uint32(c))
}

// Error is an error with a code. Return one to tell the caller which kind of
// failure it was: a workflow retries Unavailable, and never InvalidArgument.
type Error struct {
	Code    Code
	Message string

	// tell adds the details. It is a func so that a module without any does not
	// import error_detail.
	tell func(*Context)
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf is the code of the outermost Error in err's chain, OK for nil and
// Unknown for any other error.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) && e.Code != OK {
		return e.Code
	}
	return Unknown
}
