package wasm

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/weftrun/weft"
)

// Stream is the messages of a call, in and out. Its methods run on the goroutine
// of the call, one at a time, and give up when ctx ends, which has the time that
// the handler may take to its next message.
type Stream interface {
	// Recv waits for the next message; io.EOF after the last. The bytes are not
	// changed until the next Recv.
	Recv(ctx context.Context) ([]byte, error)
	// Send waits until there is room for a message. The bytes are valid until it
	// returns.
	Send(ctx context.Context, message []byte) error
	// SendHeaders sends the headers of the answer, once, before the first message.
	SendHeaders(ctx context.Context, headers weft.Header) error
}

// Bounds of the details of one error.
const (
	DetailMax       = 16       // details
	DetailsBytesMax = 16 << 10 // all their types and values
)

// exchange is what a call has of messages, trailers and details. Most calls have
// nothing of it.
type exchange struct {
	headed   bool  // headers can no longer be set
	broken   error // of sending them
	ended    bool  // the last message has come
	sent     bool
	message  []byte // sent in a call without a stream
	trailers weft.Header
	details  []weft.Detail
	bytes    int // of details
}

func (c *call) exchange() *exchange {
	if c.more == nil {
		c.more, c.asked = &exchange{}, true
	}
	return c.more
}

// receive is the next message, or io.EOF. Without a stream the input is the only
// one.
func (c *call) receive() ([]byte, error) {
	x := c.talk("recv")
	if x.ended {
		return nil, io.EOF
	}
	if c.in.Stream == nil {
		x.ended = true
		return c.body, nil
	}
	v, err := c.outside(c.in.Stream.Recv)
	switch {
	case err == nil:
		c.renew()
	case err == io.EOF:
		x.ended = true
	case weft.CodeOf(err) == weft.OutOfRange:
		err = weft.Errorf(weft.Unknown, opCall, "%w", err) // that code is the end, and nothing else
	}
	return v, err
}

// send sends a message, after the headers. Without a stream it is the output.
func (c *call) send(message []byte) error {
	x := c.talk("send")
	if limit := c.i.m.limits.OutputBytes; len(message) > limit {
		exceed(LimitOutput, "the handler's message is over its limit of %d bytes", limit)
	}
	c.sendHeaders()
	if c.in.Stream == nil {
		if x.sent {
			return weft.Errorf(weft.FailedPrecondition, opCall, "a call without a stream has one answer, and it has been sent")
		}
		x.sent, x.message = true, slices.Clone(message)
		return nil
	}
	x.sent = true
	if x.broken != nil {
		return x.broken
	}
	_, err := c.outside(func(ctx context.Context) ([]byte, error) { return nil, c.in.Stream.Send(ctx, message) })
	if err == nil {
		c.renew()
	}
	return err
}

// sendHeaders sends the headers unless they are. What goes wrong is the error of
// the next send.
func (c *call) sendHeaders() {
	x := c.talk("send_headers")
	if x.headed {
		return
	}
	if x.headed = true; c.in.Stream != nil {
		headers := c.headers
		c.headers = nil
		_, x.broken = c.outside(func(ctx context.Context) ([]byte, error) { return nil, c.in.Stream.SendHeaders(ctx, headers) })
	}
}

// talk is the exchange of a handler; nobody is there to talk to for _initialize.
func (c *call) talk(name string) *exchange {
	if c.starting {
		outsideHandler(name)
	}
	return c.exchange()
}

// renew gives a handler that has got on by a message its time, its fuel and its
// calls of the host anew.
func (c *call) renew() {
	c.spent, c.seen, c.hostCalls = 0, 0, 0
	c.limit(time.Now())
}

// exchanged puts what a call has exchanged into its output; the guest answered
// with err.
func (c *call) exchanged(export string, out *Output, err error) error {
	x := c.exchange()
	if x.trailers != nil {
		out.With = &Fields{out.Fields().Headers, x.trailers}
	}
	if err != nil {
		return err
	}
	if len(out.Body) > 0 && (x.sent || c.in.Stream != nil) {
		out.Body = nil
		return weft.Errorf(weft.Internal, "handler "+export, "the handler sends its messages, and wrote output besides")
	}
	if x.sent {
		out.Body = x.message
	}
	return nil
}

// detail adds one to the error that the handler may return.
func (c *call) detail(kind string, value []byte) {
	x := c.exchange()
	if kind == "" {
		stop(weft.Internal, "the handler passed a detail of an error without its type")
	}
	if x.bytes += len(kind) + len(value); len(x.details) == DetailMax || x.bytes > DetailsBytesMax {
		stop(weft.ResourceExhausted, "the handler gave more than %d details of its error, or more than %d bytes of them", DetailMax, DetailsBytesMax)
	}
	x.details = append(x.details, weft.Detail{Type: kind, Value: slices.Clone(value)})
}

// details adds to an error what the guest has said of it.
func (c *call) details(err *weft.Error) *weft.Error {
	if c.more != nil {
		err.Details = c.more.details
	}
	return err
}

// header is one of the call's. The name :names lists the others.
func (c *call) header(name string) (string, bool) {
	c.in.fill()
	if name != ":names" {
		v, ok := c.in.Headers[name]
		return strings.Join(v, ", "), ok
	}
	c.charge(int64(len(c.in.Headers)) * costHostCall)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(c.in.Headers)), func(n string) bool { return strings.HasPrefix(n, ":") })
	return strings.Join(names, ", "), true
}

// fill makes the headers, unless they are made.
func (in *Input) fill() {
	if in.HeadersOf != nil {
		in.Headers, in.HeadersOf = in.HeadersOf(), nil
	}
}

// field adds a value to headers or trailers of the answer, name and value as an
// import has them.
func (c *call) field(h weft.Header, what string, s []uint64) weft.Header {
	name, value := strings.ToLower(c.text(s[0], s[1])), c.short(s[2], s[3], ValueMax)
	if !isToken(name) || strings.ContainsFunc(value, unicode.IsControl) {
		stop(weft.Internal, "the handler set the %s %q to a value of %d bytes: a name is letters, digits and !#$%%&'*+-.^_`|~, a value has no control characters", what, name, len(value))
	}
	values := 0
	for _, v := range h {
		values += len(v)
	}
	if values >= HeaderMax {
		stop(weft.ResourceExhausted, "the handler set more than %d %ss, the limit", HeaderMax, what)
	}
	if h == nil {
		h = weft.Header{}
	}
	h[name] = append(h[name], value)
	return h
}

// isToken reports whether a lower-case name is one that HTTP has.
func isToken(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == ""
}
