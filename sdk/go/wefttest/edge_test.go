package wefttest_test

import (
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

// What weft refuses is refused here, whatever the handler makes of it.
func TestWhatWeftRefusesIsRefused(t *testing.T) {
	long := strings.Repeat("k", 1025)
	for _, c := range []struct {
		name string
		do   func(*weft.Context) error
		want weft.Code
	}{
		{"a long key that is read", func(c *weft.Context) error { _, _, _ = c.Get(long); return nil }, weft.ResourceExhausted},
		{"a long key that is written", func(c *weft.Context) error { _ = c.Set(long, nil); return nil }, weft.ResourceExhausted},
		{"a long key that is deleted", func(c *weft.Context) error { _ = c.Delete(long); return nil }, weft.ResourceExhausted},
		{"a key that is no text", func(c *weft.Context) error { _ = c.Set("\xff", nil); return nil }, weft.Internal},
		{"a long name of a setting", func(c *weft.Context) error { _, _, _ = c.Config(long); return nil }, weft.ResourceExhausted},
		{"a long name of a peer", func(c *weft.Context) error { _, _ = c.Call(long, nil); return nil }, weft.ResourceExhausted},
		{"a value of 1 MiB", func(c *weft.Context) error { return c.Set("k", make([]byte, 1<<20)) }, weft.OK},
		{"a larger value", func(c *weft.Context) error { return c.Set("k", make([]byte, 1<<20+1)) }, weft.ResourceExhausted},
		{"a larger value that the handler goes on without", func(c *weft.Context) error { _ = c.Set("k", make([]byte, 1<<20+1)); return nil }, weft.OK},
		{"an event of weft itself", func(c *weft.Context) error { return c.Publish("weft.run.ended", nil) }, weft.InvalidArgument},
		{"an event without a type", func(c *weft.Context) error { return c.Publish("", nil) }, weft.InvalidArgument},
		{"a large event", func(c *weft.Context) error { return c.Publish("a", make([]byte, 1<<20+1)) }, weft.ResourceExhausted},
		{"a long header", func(c *weft.Context) error { c.SetHeader("x", strings.Repeat("v", 8193)); return nil }, weft.ResourceExhausted},
		{"a header after the headers", func(c *weft.Context) error { c.SendHeaders(); c.SetHeader("x", "v"); return nil }, weft.FailedPrecondition},
		{"a detail without a type", func(c *weft.Context) error { c.AddDetail("", nil); return nil }, weft.Internal},
		{"16 KiB of details", func(c *weft.Context) error { c.AddDetail("a.B", make([]byte, 16<<10)); return nil }, weft.ResourceExhausted},
		{"17 details", func(c *weft.Context) error {
			for range 17 {
				c.AddDetail("a.B", nil)
			}
			return nil
		}, weft.ResourceExhausted},
	} {
		h := wefttest.New()
		_, err := h.CallRaw(func(n uint32) uint32 {
			return weft.Handle(n, func(ctx *weft.Context) error {
				if err := ctx.Set("before", nil); err != nil {
					return err
				}
				return c.do(ctx)
			})
		}, nil)
		if _, kept := h.State["before"]; weft.CodeOf(err) != c.want || kept != (err == nil) {
			t.Errorf("%s: %v, kept %t", c.name, err, kept)
		}
	}
}

func TestAHeaderIsAskedForInAnyCase(t *testing.T) {
	h := wefttest.New()
	h.Headers["x-asked"] = "it"
	out, err := h.CallRaw(func(n uint32) uint32 {
		return weft.Bytes(n, func(ctx *weft.Context) ([]byte, error) { return []byte(ctx.Header("X-Asked")), nil })
	}, nil)
	if err != nil || string(out) != "it" {
		t.Errorf("%q, %v", out, err)
	}
}

// The bytes of a detail are those of a message, and no text.
func TestADetailIsBytes(t *testing.T) {
	h := wefttest.New()
	_, err := h.CallRaw(func(n uint32) uint32 {
		return weft.Bytes(n, func(ctx *weft.Context) ([]byte, error) {
			ctx.AddDetail("a.B", []byte("\xff\x00"))
			return nil, weft.Errorf(weft.NotFound, "none")
		})
	}, nil)
	if weft.CodeOf(err) != weft.NotFound || len(h.Details) != 1 || string(h.Details[0].Value) != "\xff\x00" {
		t.Errorf("%v, %v", err, h.Details)
	}
}

func TestACallsErrorHasDetails(t *testing.T) {
	h := wefttest.New()
	h.Refusal = []wefttest.Detail{{Type: "a.B", Value: []byte("\x00\xff")}, {Type: "a.C"}}
	h.Peers["bank/Pay"] = func(request []byte) ([]byte, error) {
		if len(request) > 0 {
			return nil, nil
		}
		return nil, weft.Errorf(weft.Aborted, "not now")
	}
	_, err := h.CallRaw(func(n uint32) uint32 {
		return weft.Handle(n, func(ctx *weft.Context) error {
			_, err := ctx.Call("bank/Pay", nil)
			for _, d := range ctx.CallDetails() {
				ctx.AddDetail(d.Type, d.Value)
			}
			if _, err := ctx.Call("bank/Pay", []byte("x")); err != nil || len(ctx.CallDetails()) > 0 {
				t.Errorf("after a call that succeeds: %v, %v", err, ctx.CallDetails())
			}
			return err
		})
	}, nil)
	if weft.CodeOf(err) != weft.Aborted || len(h.Details) != 2 || string(h.Details[0].Value) != "\x00\xff" || h.Details[1].Type != "a.C" {
		t.Errorf("%v, %q", err, h.Details)
	}
}
