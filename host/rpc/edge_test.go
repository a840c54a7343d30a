package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/rpc"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

func TestAPanicIsInternalAndLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	server := connect.NewServer(rpc.Edge{Log: slog.New(slog.NewTextHandler(&log, nil)), Drain: context.Background()}.Intercept)
	rpc.Register(server, rpc.Rooms{Ready: func() error { panic("the roof is on fire") }})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server, rpc.MountOptions()...)
	s := httptest.NewServer(mux)
	res, err := http.Post(s.URL+"/grpc.health.v1.Health/Check", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	found := regexp.MustCompile(`"code":"internal","message":"internal error, reference ([A-Z2-7]{8});`).FindSubmatch(answer)
	if res.StatusCode != http.StatusInternalServerError || found == nil || bytes.Contains(answer, []byte("roof")) {
		t.Fatalf("%d %s", res.StatusCode, answer)
	}
	for _, once := range []string{string(found[1]), "the roof is on fire", "edge_test.go"} {
		if n := strings.Count(log.String(), once); n != 1 {
			t.Errorf("the log has %q %d times:\n%s", once, n, log.String())
		}
	}
}

func TestWhatIsShownToCallers(t *testing.T) {
	const hidden = "internal error, reference"
	for name, c := range map[string]struct {
		err   error
		shown string
	}{
		"what is for callers":              {weft.Errorf(weft.NotFound, "catalog.Catalog.Module", "no module"), "no module"},
		"something that has no code":       {errors.New("no such table: run"), hidden},
		"something internal":               {weft.Errorf(weft.Internal, "store.Open", "make the tables"), hidden},
		"lost data":                        {weft.Errorf(weft.DataLoss, "engine.unseal", "checksum"), hidden},
		"a handler that answered internal": {weft.Errorf(weft.Internal, "handler echo", "asked to fail"), "asked to fail"},
		"a handler that answered unknown":  {weft.Errorf(weft.Unknown, "handler echo", "asked to fail"), "asked to fail"},
		"a handler that broke a rule":      {weft.Errorf(weft.Internal, "wasm.Module.Call", "outside its memory"), "outside its memory"},
		"a caller who has gone":            {context.Canceled, "context canceled"},
	} {
		if got := (rpc.Edge{Log: slog.New(slog.DiscardHandler)}).Shown("call", c.err); !strings.HasPrefix(got.Error(), c.shown) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestACallThatTheDrainCutsOffIsUnavailable(t *testing.T) {
	ctx, cut := context.WithCancelCause(context.Background())
	call := rpc.Edge{Log: slog.New(slog.DiscardHandler), Drain: context.Background()}.Intercept(
		func(ctx context.Context, _ connect.Spec, _ connect.ServerStream) error {
			cut(rpc.ErrDraining)
			return ctx.Err()
		})
	if err := call(ctx, connect.Spec{}, nil); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "shutting down") {
		t.Error(err)
	}
}

// asking is a stream whose client has sent so many requests.
type asking struct {
	connect.ServerStream
	left int
}

func (a *asking) Receive(any) error {
	if a.left == 0 {
		return io.EOF
	}
	a.left--
	return nil
}

func TestAStreamHasOnePlaceAndGivesItBack(t *testing.T) {
	for name, c := range map[string]struct {
		kind     connect.StreamType
		requests int
		ns       string
		panics   bool
		held     int // while the call is served
	}{
		"a stream":                                  {connect.StreamTypeServer, 1, "", false, 1},
		"one with many requests":                    {connect.StreamTypeBidi, 3, "", false, 1},
		"one that panics":                           {connect.StreamTypeServer, 1, "", true, 1},
		"one whose client goes before it asks":      {connect.StreamTypeServer, 0, "", false, 0},
		"one of a namespace that can be none":       {connect.StreamTypeServer, 1, "../a", false, 0},
		"a call that answers with one message":      {connect.StreamTypeUnary, 1, "", false, 0},
		"an upload, which answers with one as well": {connect.StreamTypeClient, 3, "", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			places := rpc.NewStreams(2, 2)
			call := rpc.Edge{Log: slog.New(slog.DiscardHandler), Drain: context.Background(), Streams: places}.Intercept(
				func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
					for range c.requests {
						if err := stream.Receive(&weftv1.TailRequest{Namespace: c.ns}); err != nil {
							return err
						}
					}
					if held, _ := places.Count(); held != c.held {
						t.Errorf("%d places are held, want %d", held, c.held)
					}
					if c.panics {
						panic("the roof is on fire")
					}
					return stream.Receive(&weftv1.TailRequest{})
				})
			if err := call(t.Context(), connect.Spec{StreamType: c.kind}, &asking{left: c.requests}); err == nil {
				t.Error("it ends without an error")
			}
			if held, refused := places.Count(); held != 0 || refused != 0 {
				t.Errorf("%d places are held when it has ended, %d were refused", held, refused)
			}
		})
	}
}
