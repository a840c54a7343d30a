//go:build !wasip1

package wefttest

import "github.com/weftrun/weft/sdk/go/wire"

// Message is a pointer to the struct of a protobuf message.
type Message[T any] interface {
	*T
	wire.Message
}

// Unary runs one call of a method of a protobuf service that has one message each
// way, and returns its answer:
//
//	answer, err := wefttest.Unary[PlaceOrderResponse](h, orderServicePlaceOrder, &PlaceOrderRequest{})
func Unary[T any, Out Message[T]](h *Host, export func(uint32) uint32, in wire.Message) (Out, error) {
	raw, err := h.CallRaw(export, wire.Marshal(in))
	if err != nil {
		return nil, err
	}
	out := Out(new(T))
	return out, wire.Unmarshal(raw, out)
}

// Stream is Unary of a method with a stream, on whichever side: it returns the
// messages that were sent, up to the error if there is one.
func Stream[T any, Out Message[T]](h *Host, export func(uint32) uint32, in ...wire.Message) (sent []Out, err error) {
	var raw [][]byte
	for _, m := range in {
		raw = append(raw, wire.Marshal(m))
	}
	raw, err = h.Stream(export, raw...)
	for _, data := range raw {
		out := Out(new(T))
		if wrong := wire.Unmarshal(data, out); wrong != nil {
			return sent, wrong
		}
		sent = append(sent, out)
	}
	return sent, err
}
