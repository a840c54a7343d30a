package wefttest_test

import (
	"testing"
	"time"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/known"
	"github.com/weftrun/weft/sdk/go/wefttest"
	"github.com/weftrun/weft/sdk/go/wire"
)

// later asks a peer when something is, and answers with an hour after that.
func later(n uint32) uint32 {
	return weft.Unary(n, func(ctx *weft.Context, in *known.StringValue) (*known.Timestamp, error) {
		at, err := weft.CallMessage[known.Timestamp](ctx, "clock/clock.v1.Clock/At", in)
		if err != nil {
			return nil, weft.Errorf(weft.CodeOf(err), "%v", err).With(&known.RetryInfo{RetryDelay: known.NewDuration(1500 * time.Millisecond)}).With(in)
		}
		return known.NewTimestamp(at.Time().Add(time.Hour)), nil
	})
}

func TestMessagesGoToAPeerAndBack(t *testing.T) {
	h := wefttest.New()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	h.Peers["clock/clock.v1.Clock/At"] = func(request []byte) ([]byte, error) {
		var in known.StringValue
		if err := wire.Unmarshal(request, &in); err != nil || in.Value != "noon" {
			return []byte{0xff}, nil
		}
		return wire.Marshal(known.NewTimestamp(noon)), nil
	}
	got, err := wefttest.Unary[known.Timestamp](h, later, &known.StringValue{Value: "noon"})
	if err != nil || !got.Time().Equal(noon.Add(time.Hour)) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := wefttest.Unary[known.Timestamp](h, later, &known.StringValue{Value: "never"}); weft.CodeOf(err) != weft.Internal {
		t.Errorf("an answer that is no message: %v", err)
	}
	delete(h.Peers, "clock/clock.v1.Clock/At")
	_, err = wefttest.Unary[known.Timestamp](h, later, &known.StringValue{Value: "noon"})
	if weft.CodeOf(err) != weft.NotFound || len(h.Details) != 2 || h.Details[0].Type != "google.rpc.RetryInfo" || h.Details[1].Type != "google.protobuf.StringValue" {
		t.Fatalf("%v, %v", err, h.Details)
	}
	var retry known.RetryInfo
	if err := wire.Unmarshal(h.Details[0].Value, &retry); err != nil || retry.RetryDelay.Span() != 1500*time.Millisecond {
		t.Errorf("%v, %v", retry, err)
	}
}
