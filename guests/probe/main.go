// Command probe is the module that weft's own tests call: one handler for each
// thing that a handler can do, and for what it should not.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport noop
func noop(uint32) uint32 { return 0 }

//go:wasmexport echo
func echo(n uint32) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error { _, err := ctx.Write(ctx.Input()); return err })
}

type counted struct {
	Key   string `json:"key"`
	Count int    `json:"count"`
}

// count adds one to a counter, tells it by an event, and answers with it.
//
//go:wasmexport count
func count(n uint32) uint32 {
	return weft.JSON(n, func(ctx *weft.Context, in counted) (counted, error) {
		was, _, err := weft.GetJSON[int](ctx, "count/"+in.Key)
		if err != nil {
			return in, err
		}
		in.Count = was + 1
		if err := weft.SetJSON(ctx, "count/"+in.Key, in.Count); err != nil {
			return in, err
		}
		return in, weft.PublishJSON(ctx, "probe.counted", in)
	})
}

// read answers with a counter.
//
//go:wasmexport read
func read(n uint32) uint32 {
	return weft.JSON(n, func(ctx *weft.Context, in counted) (_ counted, err error) {
		in.Count, _, err = weft.GetJSON[int](ctx, "count/"+in.Key)
		return in, err
	})
}

// seen counts the events that reach it.
//
//go:wasmexport seen
func seen(n uint32) uint32 {
	return weft.OnEvent(n, func(ctx *weft.Context, e weft.Event, in struct {
		Key string `json:"key"`
	}) error {
		was, _, err := weft.GetJSON[int](ctx, "count/seen-"+in.Key)
		if err != nil {
			return err
		}
		return weft.SetJSON(ctx, "count/seen-"+in.Key, was+1)
	})
}

// ask calls the procedures of its input, one after the other, counts them in
// its state and answers with the answers.
//
//go:wasmexport ask
func ask(n uint32) uint32 {
	return weft.JSON(n, func(ctx *weft.Context, in struct {
		Procedures []string `json:"procedures"`
	}) (out []json.RawMessage, err error) {
		for i, p := range in.Procedures {
			answer, err := ctx.Call(p, fmt.Appendf(nil, `{"call":%d}`, i))
			if err != nil {
				return nil, err
			}
			out = append(out, answer)
		}
		return out, weft.SetJSON(ctx, "asked", len(out))
	})
}

// fail answers with the code of its input, after it has written to its state.
//
//go:wasmexport fail
func fail(n uint32) uint32 {
	return weft.JSON(n, func(ctx *weft.Context, in struct {
		Code weft.Code `json:"code"`
	}) (any, error) {
		if err := weft.SetJSON(ctx, "count/failed", 1); err != nil {
			return nil, err
		}
		return nil, weft.Errorf(in.Code, "asked to fail")
	})
}

// tally adds one to the counter that a message names; an empty message asks for the
// last count, one that begins with # says nothing, one that begins with ? asks for a
// counter that has counted, and "fail" ends it.
//
//go:wasmexport tally
func tally(n uint32) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error {
		for count := 0; ; {
			message, err := ctx.Recv()
			switch key := string(message); {
			case err == io.EOF:
				return nil
			case err != nil:
				return err
			case key == "fail":
				return weft.Errorf(weft.OutOfRange, "asked to fail")
			case strings.HasPrefix(key, "#"):
			case strings.HasPrefix(key, "?"):
				var have int
				if have, _, err = weft.GetJSON[int](ctx, "count/"+key[1:]); err == nil && have > 0 {
					err = ctx.Send(fmt.Append(nil, have))
				}
			case key == "":
				err = ctx.Send(fmt.Append(nil, count))
			default:
				if count, _, err = weft.GetJSON[int](ctx, "count/"+key); err == nil {
					count++
					err = weft.SetJSON(ctx, "count/"+key, count)
				}
			}
			if err != nil {
				return err
			}
		}
	})
}

//go:wasmexport boom
func boom(n uint32) uint32 {
	return weft.Handle(n, func(*weft.Context) error { panic("boom") })
}

//go:wasmexport spin
func spin(uint32) uint32 {
	for i := uint32(0); ; i++ {
		sink += i
	}
}

var sink uint32

func main() {}
