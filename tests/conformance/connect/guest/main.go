// Command guest is the ConformanceService of Connect's authors as a module: each
// request says what is to be answered, and the first answer tells what came.
package main

import (
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	weft "github.com/weftrun/weft/sdk/go"
	"google.golang.org/protobuf/encoding/protowire"
)

const pkg = "connectrpc.conformance.v1."

//go:wasmexport connectrpc.conformance.v1.ConformanceService/Unary
func unary(n uint32) uint32 { return serve(n, "UnaryRequest", (*exchange).once) }

//go:wasmexport connectrpc.conformance.v1.ConformanceService/IdempotentUnary
func idempotentUnary(n uint32) uint32 { return serve(n, "IdempotentUnaryRequest", (*exchange).once) }

//go:wasmexport connectrpc.conformance.v1.ConformanceService/ClientStream
func clientStream(n uint32) uint32 { return serve(n, "ClientStreamRequest", (*exchange).afterAll) }

//go:wasmexport connectrpc.conformance.v1.ConformanceService/ServerStream
func serverStream(n uint32) uint32 { return serve(n, "ServerStreamRequest", (*exchange).many) }

//go:wasmexport connectrpc.conformance.v1.ConformanceService/BidiStream
func bidiStream(n uint32) uint32 { return serve(n, "BidiStreamRequest", (*exchange).bidi) }

//go:wasmexport connectrpc.conformance.v1.ConformanceService/Unimplemented
func unimplemented(n uint32) uint32 {
	return weft.Handle(n, func(*weft.Context) error { return weft.Errorf(weft.Unimplemented, "") })
}

func main() {}

func serve(n uint32, request string, how func(*exchange) error) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error {
		x := &exchange{Context: ctx, kind: "type.googleapis.com/" + pkg + request, timeout: ctx.Header(":timeout")}
		return how(x)
	})
}

// exchange is one call.
type exchange struct {
	*weft.Context
	kind     string   // of the requests, as Any names it
	timeout  string   // milliseconds, empty for none
	requests [][]byte // since the last answer, each encoded as Any
	first    message  // request
	def      message  // what it says is to be answered, nil for nothing
	sent     int
}

// next takes one request.
func (x *exchange) next() error {
	raw, err := x.Recv()
	if err != nil {
		return err
	}
	x.requests = append(x.requests, field(field(nil, 1, []byte(x.kind)), 2, raw))
	if x.first != nil {
		return nil
	}
	if x.first, err = parse(raw); err != nil || x.first[1] == nil {
		return err
	}
	x.def, err = parse(x.first.last(1))
	return err
}

// all takes what is left of the requests.
func (x *exchange) all() error {
	for {
		if err := x.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Numbers of the fields of a response definition that is for one answer, and of
// one that is for many.
const (
	headers                                  = 1
	oneData, oneError, oneTrailers, oneDelay = 2, 3, 4, 6
	allData, allDelay, allError, allTrailers = 2, 3, 4, 5
)

// once answers one request.
func (x *exchange) once() error {
	if err := x.next(); err != nil {
		return err
	}
	return x.answer()
}

// afterAll answers once, after the last request.
func (x *exchange) afterAll() error {
	if err := x.all(); err != nil {
		return err
	}
	return x.answer()
}

func (x *exchange) answer() error {
	if err := x.head(oneTrailers); err != nil {
		return err
	}
	var payload []byte
	if x.def != nil {
		x.delay(oneDelay)
		if err := x.failure(oneError); err != nil {
			return err
		}
		payload = field(nil, 1, x.def.last(oneData))
	}
	return x.Send(field(nil, 1, field(payload, 2, x.info())))
}

// many sends all answers to one request.
func (x *exchange) many() error {
	if err := x.next(); err != nil {
		return err
	}
	return x.answers()
}

func (x *exchange) bidi() error {
	if err := x.next(); err != nil && err != io.EOF {
		return err
	}
	if duplex, _ := protowire.ConsumeVarint(x.first.last(2)); duplex == 0 {
		if err := x.all(); err != nil {
			return err
		}
		return x.answers()
	}
	if err := x.head(allTrailers); err != nil {
		return err
	}
	for x.sent < len(x.def[allData]) {
		if err := x.one(); err != nil {
			return err
		}
		if err := x.next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	return x.rest()
}

func (x *exchange) answers() error {
	if err := x.head(allTrailers); err != nil {
		return err
	}
	return x.rest()
}

// rest sends the answers that are left, and the error after them.
func (x *exchange) rest() error {
	if x.sent < len(x.def[allData]) {
		x.SendHeaders()
	}
	for x.sent < len(x.def[allData]) {
		if err := x.one(); err != nil {
			return err
		}
	}
	return x.failure(allError)
}

// one sends the next answer. The first tells of the call, later ones of the
// requests since.
func (x *exchange) one() error {
	x.delay(allDelay)
	payload := field(nil, 1, x.def[allData][x.sent])
	if x.sent == 0 || len(x.requests) > 0 {
		payload = field(payload, 2, x.info())
	}
	x.sent++
	return x.Send(field(nil, 1, payload))
}

// head sets headers and trailers.
func (x *exchange) head(trailers protowire.Number) error {
	for num, set := range map[protowire.Number]func(name, value string){headers: x.SetHeader, trailers: x.SetTrailer} {
		for _, raw := range x.def[num] {
			h, err := parse(raw)
			if err != nil {
				return err
			}
			for _, v := range h[2] {
				set(string(h.last(1)), string(v))
			}
		}
	}
	return nil
}

func (x *exchange) delay(num protowire.Number) {
	ms, _ := protowire.ConsumeVarint(x.def.last(num))
	time.Sleep(time.Duration(ms) * time.Millisecond)
}

// failure is the error that is asked for. It tells of the call where no answer has.
func (x *exchange) failure(num protowire.Number) error {
	if x.def[num] == nil {
		return nil
	}
	e, err := parse(x.def.last(num))
	if err != nil {
		return err
	}
	for _, raw := range e[3] {
		any, err := parse(raw)
		if err != nil {
			return err
		}
		_, kind, _ := strings.Cut(string(any.last(1)), "/")
		x.AddDetail(kind, any.last(2))
	}
	if x.sent == 0 {
		x.AddDetail(pkg+"ConformancePayload.RequestInfo", x.info())
	}
	code, _ := protowire.ConsumeVarint(e.last(1))
	return &weft.Error{Code: weft.Code(code), Message: string(e.last(2))}
}

// info is a RequestInfo of what has come since the last one.
func (x *exchange) info() (info []byte) {
	if x.sent == 0 {
		for name := range strings.SplitSeq(x.Header(":names"), ", ") {
			info = field(info, 1, field(field(nil, 1, []byte(name)), 2, []byte(x.Header(name))))
		}
		if ms, err := strconv.ParseUint(x.timeout, 10, 63); err == nil {
			info = protowire.AppendVarint(protowire.AppendTag(info, 2, protowire.VarintType), ms)
		}
		if query, err := url.ParseQuery(x.Header(":query")); err == nil && len(query) > 0 {
			var params []byte
			for name, values := range query {
				p := field(nil, 1, []byte(name))
				for _, v := range values {
					p = field(p, 2, []byte(v))
				}
				params = field(params, 1, p)
			}
			info = field(info, 4, params)
		}
	}
	for _, r := range x.requests {
		info = field(info, 3, r)
	}
	x.requests = nil
	return info
}

// message is the values of each field: what a length was before, or the encoding of a number.
type message map[protowire.Number][][]byte

func parse(raw []byte) (message, error) {
	m := message{}
	for len(raw) > 0 {
		num, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, weft.Errorf(weft.InvalidArgument, "%v", protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, kind, raw[n:])
		if size < 0 {
			return nil, weft.Errorf(weft.InvalidArgument, "%v", protowire.ParseError(size))
		}
		value := raw[n : n+size]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		m[num] = append(m[num], value)
		raw = raw[n+size:]
	}
	return m, nil
}

// last is the value of a field that is there once, nil where it is not.
func (m message) last(num protowire.Number) []byte {
	if n := len(m[num]); n > 0 {
		return m[num][n-1]
	}
	return nil
}

// field appends a field of bytes.
func field(to []byte, num protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, num, protowire.BytesType), b)
}
