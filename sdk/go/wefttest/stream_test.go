package wefttest_test

import (
	"io"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

// echo sends each message back, and fails at the message "stop".
func echo(n uint32) uint32 {
	return weft.Handle(n, func(ctx *weft.Context) error {
		ctx.SetHeader("X-Kind", "echo")
		ctx.SetTrailer("x-end", "a")
		ctx.SetTrailer("x-end", "b")
		for {
			m, err := ctx.Recv()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if string(m) == "stop" {
				ctx.AddDetail("google.rpc.ErrorInfo", []byte{1})
				return weft.Errorf(weft.Aborted, "stopped")
			}
			if err := ctx.Send(m); err != nil {
				return err
			}
		}
	})
}

func TestAStreamIsReceivedAndSent(t *testing.T) {
	h := wefttest.New()
	sent, err := h.Stream(echo, []byte("a"), nil, []byte("c"))
	if err != nil || len(sent) != 3 || string(sent[0]) != "a" || len(sent[1]) != 0 || string(sent[2]) != "c" {
		t.Errorf("sent %q, %v", sent, err)
	}
	if h.Answer["x-kind"] != "echo" || h.Trailers["x-end"] != "a, b" || h.Details != nil {
		t.Errorf("headers %v, trailers %v, details %v", h.Answer, h.Trailers, h.Details)
	}
	sent, err = h.Stream(echo, []byte("a"), []byte("stop"), []byte("c"))
	if weft.CodeOf(err) != weft.Aborted || len(sent) != 1 || len(h.Details) != 1 || h.Details[0].Type != "google.rpc.ErrorInfo" {
		t.Errorf("sent %q, %v, details %v", sent, err, h.Details)
	}
	if out, err := h.CallRaw(echo, []byte("plain")); err != nil || string(out) != "plain" {
		t.Errorf("without a stream: %q, %v", out, err)
	}
}

func TestACallWithoutAStreamHasOneAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*weft.Context) error
		code weft.Code
	}{
		{"a second message", func(ctx *weft.Context) error { _ = ctx.Send(nil); return ctx.Send(nil) }, weft.FailedPrecondition},
		{"output beside a message", func(ctx *weft.Context) error { _, _ = ctx.Write([]byte("x")); return ctx.Send(nil) }, weft.Internal},
	} {
		_, err := wefttest.New().CallRaw(func(n uint32) uint32 { return weft.Handle(n, c.do) }, nil)
		if weft.CodeOf(err) != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
