package services_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

func TestAnImplementationWaitsForAMessageAsLongAsItSays(t *testing.T) {
	soon := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	ended := make(chan error, 1)
	impl := orders("1")
	impl["Talk"] = func(ctx context.Context, c *services.Call) error { // its caller says nothing more
		_, err := c.RecvWithin(ctx)
		if err == nil {
			err = c.SendWithin(ctx, nil)
		}
		if err == nil {
			_, err = c.RecvWithin(soon(ctx))
		}
		ended <- err
		return err
	}
	impl["Watch"] = func(ctx context.Context, c *services.Call) error { // its caller takes nothing
		_, err := c.RecvWithin(ctx)
		for large := make([]byte, 1<<20); err == nil; {
			err = c.SendWithin(soon(ctx), large)
		}
		ended <- err
		return err
	}
	set := services.New(services.Options{})
	add(t, set, services.Module{Name: "orders", Version: "1", Schema: link(t, "orders", ordersSet(t)), Impl: impl})
	url := serve(t, set)
	stream := opened(t, t.Context(), client(url), talk)
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a message: %v", err)
	}
	if err := stream.Receive(&emptypb.Empty{}); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("the caller is told %v", err)
	}
	if _, err := client(url).CallServerStream(t.Context(), watch, &emptypb.Empty{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("a caller who takes nothing is waited for")
	}
}

func TestWhatDrainsTakesNoCallsAndLetsThoseInProgressEnd(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1"))
	url := serve(t, set)
	stream := opened(t, t.Context(), client(url), talk)
	why := weft.Errorf(weft.Unavailable, "test", "the host goes away")
	set.Drain(why)
	set.Drain(errors.New("again"))
	for name, protocol := range map[string][]connecthttp.Option{"Connect": nil, "gRPC": {connecthttp.WithGRPC()}} {
		if _, err := getID(t.Context(), client(url, protocol...)); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(fmt.Sprint(err), "the host goes away") {
			t.Errorf("a new call over %s: %v", name, err)
		}
	}
	err := stream.Send(&emptypb.Empty{})
	if err == nil {
		err = stream.Receive(&emptypb.Empty{})
	}
	if err != nil {
		t.Errorf("the call in progress: %v", err)
	}
	_ = stream.CloseSend()
	set.Close(t.Context())
}

func TestAVersionThatHasGoneIsCalledNoMoreBeforeItsCallsHaveEnded(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1"))
	url := serve(t, set)
	stream := opened(t, t.Context(), client(url), talk)
	if got := fmt.Sprint(set.Methods("", "orders", "1")); !strings.Contains(got, "orders.v1.OrderService/Talk") {
		t.Errorf("it has %s", got)
	}
	drained := keep(t, set)
	if _, err := getID(t.Context(), client(url)); connect.CodeOf(err) != connect.CodeUnimplemented || set.Methods("", "orders", "1") != nil {
		t.Errorf("it is called: %v", err)
	}
	add(t, set, ordersModule(t, "1")) // another of that name need not wait
	if id, err := getID(t.Context(), client(url)); err != nil || id != "1" {
		t.Errorf("the other: %q, %v", id, err)
	}
	_ = stream.CloseSend()
	drained(t.Context())
	if t.Context().Err() != nil {
		t.Error("its call did not end")
	}
}
