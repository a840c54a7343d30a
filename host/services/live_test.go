package services_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

// client speaks h2 without TLS.
func client(url string, options ...connecthttp.Option) *connect.Client {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: &http.Transport{Protocols: p}}, url, options...))
}

var (
	get   = connect.Spec{Procedure: "/orders.v1.OrderService/Get"}
	watch = connect.Spec{Procedure: "/orders.v1.OrderService/Watch", StreamType: connect.StreamTypeServer}
	talk  = connect.Spec{Procedure: "/orders.v1.OrderService/Talk", StreamType: connect.StreamTypeBidi}
)

// getID is the id of the order that Get gives. An Empty keeps fields it does not know.
func getID(ctx context.Context, c *connect.Client) (string, error) {
	var order emptypb.Empty
	if err := c.CallUnary(ctx, get, &emptypb.Empty{}, &order); err != nil {
		return "", err
	}
	_, _, n := protowire.ConsumeTag(order.ProtoReflect().GetUnknown())
	id, _ := protowire.ConsumeString(order.ProtoReflect().GetUnknown()[n:])
	return id, nil
}

func TestVersionsChangeUnderLoadAndNoCallFails(t *testing.T) {
	const changes = 100
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "0"))
	url := serve(t, set)
	ctx, stop := context.WithCancel(t.Context())
	var calls, removed atomic.Int64
	removed.Store(-1)
	var callers sync.WaitGroup
	for _, protocol := range [][]connecthttp.Option{nil, {connecthttp.WithGRPC()}, {connecthttp.WithGRPCWeb()}, nil} {
		c := client(url, protocol...)
		callers.Go(func() {
			for ctx.Err() == nil {
				gone := removed.Load() // before the call began
				id, err := getID(t.Context(), c)
				if err != nil {
					t.Errorf("a call failed: %v", err)
					return
				}
				var version int64
				if _, err := fmt.Sscan(id, &version); err != nil || version <= gone {
					t.Errorf("version %q answered when %d had been removed", id, gone)
					return
				}
				calls.Add(1)
			}
		})
	}
	for i := range changes {
		before := calls.Load()
		next := ordersModule(t, fmt.Sprint(i+1))
		keep(t, set, ordersModule(t, fmt.Sprint(i)), next)
		keep(t, set, next)(t.Context())
		removed.Store(int64(i))
		for calls.Load() == before && !t.Failed() { // each version is called
			time.Sleep(100 * time.Microsecond)
		}
	}
	stop()
	callers.Wait()
	t.Logf("%d calls over %d changes", calls.Load(), changes)
}

func TestOneGoesForwardAndBack(t *testing.T) {
	set := services.New(services.Options{})
	c := client(serve(t, set))
	called := func(want string) {
		t.Helper()
		if id, err := getID(t.Context(), c); err != nil || id != want {
			t.Fatalf("called %q (%v), want %q", id, err, want)
		}
	}
	one, two := ordersModule(t, "1"), ordersModule(t, "2")
	add(t, set, one)
	add(t, set, two)
	called("1") // until the other is promoted
	keep(t, set, one, two)
	called("2")
	keep(t, set, two, one)
	called("1")
	keep(t, set, one)(t.Context())
	called("1")
	keep(t, set)(t.Context())
	if _, err := getID(t.Context(), c); connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Errorf("nothing is live: %v", err)
	}
	set.Close(t.Context())
	set.Close(t.Context())
}

func TestWhatCannotBeServedLeavesTheOthersLive(t *testing.T) {
	set := services.New(services.Options{})
	one, two, less := ordersModule(t, "1"), ordersModule(t, "2"), orders("3")
	delete(less, "Watch")
	three := services.Module{Name: "orders", Version: "3", Schema: one.Schema, Impl: less}
	_, err := set.Keep([]services.Wanted{{Module: one}, {Module: two}, {Module: three, Current: true}})
	if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "no handler for /orders.v1.OrderService/Watch") {
		t.Errorf("got %v", err)
	}
	if !set.Live("", "orders", "2") || set.Live("", "orders", "3") {
		t.Error("others are live than should")
	}
	if id, err := getID(t.Context(), client(serve(t, set))); err != nil || id != "1" {
		t.Errorf("the first is called: %q, %v", id, err)
	}
}

// keep has these versions live and no others, of which the last is called where
// none is named.
func keep(t testing.TB, set *services.Set, all ...services.Module) (drain func(context.Context)) {
	t.Helper()
	var wanted []services.Wanted
	for i, m := range all {
		wanted = append(wanted, services.Wanted{Module: m, Current: i == len(all)-1})
	}
	drain, err := set.Keep(wanted)
	if err != nil {
		t.Fatal(err)
	}
	return drain
}

func TestACallThatOutlastsItsVersionIsCancelled(t *testing.T) {
	for _, spec := range []connect.Spec{watch, talk} { // one waits for its context, one for its caller
		for name, protocol := range map[string][]connecthttp.Option{"Connect": nil, "gRPC": {connecthttp.WithGRPC()}} {
			t.Run(spec.Procedure+" "+name, func(t *testing.T) {
				set := services.New(services.Options{})
				add(t, set, ordersModule(t, "1"))
				stream := opened(t, t.Context(), client(serve(t, set), protocol...), spec)
				grace, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				keep(t, set)(grace)
				if grace.Err() == nil {
					t.Error("the version was gone before its call had the time it was given")
				}
				if err := stream.Receive(&emptypb.Empty{}); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "this version of the module was removed") {
					t.Errorf("the caller got %v", err)
				}
			})
		}
	}
}

// opened is a stream in progress: its first answer has come.
func opened(t *testing.T, ctx context.Context, c *connect.Client, spec connect.Spec) connect.ClientStream {
	t.Helper()
	var stream connect.ClientStream
	var err error
	if spec.StreamType == connect.StreamTypeServer {
		stream, err = c.CallServerStream(ctx, spec, &emptypb.Empty{})
	} else if stream, err = c.CallClientStream(ctx, spec); err == nil {
		err = stream.Send(&emptypb.Empty{})
	}
	if err == nil {
		err = stream.Receive(&emptypb.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestADeadlineHoldsForWhoWaitsForAMessage(t *testing.T) {
	ended := make(chan error, 1)
	impl := orders("1")
	impl["Talk"] = func(_ context.Context, c *services.Call) error {
		_, err := c.Recv()
		ended <- err
		return err
	}
	set := services.New(services.Options{})
	add(t, set, services.Module{Name: "orders", Version: "1", Schema: link(t, "orders", ordersSet(t)), Impl: impl})
	url := serve(t, set)
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	body, silent := pipe(t) // a caller who keeps the call open beyond its deadline and says nothing
	defer silent()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+talk.Procedure, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/connect+proto")
	r.Header.Set("Connect-Timeout-Ms", "30")
	go func() {
		if w, err := (&http.Client{Transport: &http.Transport{Protocols: p}}).Do(r); err == nil {
			w.Body.Close()
		}
	}()
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the implementation got %v", err)
	}
}

func TestWhatCannotBeServedIsRefusedByName(t *testing.T) {
	other := compiled(t, map[string]string{"api.proto": `syntax = "proto3"; package orders.v1; message M {} service OrderService { rpc Get(M) returns (M); }`})
	less := orders("1")
	delete(less, "Watch")
	for _, c := range []struct {
		what, want string
		code       weft.Code
		m          services.Module
	}{
		{"a method without a handler", "module shop has no handler for /orders.v1.OrderService/Watch", weft.InvalidArgument,
			services.Module{Namespace: "b", Name: "shop", Version: "1", Schema: link(t, "shop", ordersSet(t)), Impl: less}},
		{"a service that another module has", "service orders.v1.OrderService of module shop is served by module orders", weft.AlreadyExists,
			services.Module{Name: "shop", Version: "1", Schema: link(t, "shop", other), Impl: orders("1")}},
		{"a service of the host", "service weft.v1.Runs of module runs is served by weft itself", weft.AlreadyExists,
			services.Module{Name: "runs", Version: "1", Schema: link(t, "runs", compiled(t, map[string]string{"api.proto": `syntax = "proto3"; package weft.v1; message M {} service Runs { rpc Get(M) returns (M); }`})), Impl: orders("1")}},
		{"health", "service grpc.health.v1.Health of module doctor is served by weft itself", weft.AlreadyExists,
			services.Module{Name: "doctor", Version: "1", Schema: link(t, "doctor", compiled(t, map[string]string{"api.proto": `syntax = "proto3"; package grpc.health.v1; message M {} service Health { rpc Get(M) returns (M); }`})), Impl: orders("1")}},
		{"a version that is live", "orders@1 is live", weft.AlreadyExists, ordersModule(t, "1")},
		{"descriptors without a service", "the descriptors of empty have no service", weft.InvalidArgument,
			services.Module{Name: "empty", Version: "1", Schema: link(t, "empty", compiled(t, map[string]string{"api.proto": `syntax = "proto3"; message M {}`})), Impl: orders("1")}},
		{"a name with a slash", `"a/b@1" is no name of a module and its version`, weft.InvalidArgument,
			services.Module{Name: "a/b", Version: "1", Schema: link(t, "a", ordersSet(t)), Impl: orders("1")}},
	} {
		t.Run(c.what, func(t *testing.T) {
			set := services.New(services.Options{Own: []string{"weft.v1.Runs"}})
			add(t, set, ordersModule(t, "1"))
			for _, err := range []error{set.Check(c.m), set.Add(c.m)} {
				if weft.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
			set.Close(t.Context())
		})
	}
}

func TestNamespacesKnowNothingOfEachOther(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1"))
	m := ordersModule(t, "7")
	m.Namespace, m.Name = "b", "shop"
	add(t, set, m)
	url := serve(t, set)
	for namespace, want := range map[string]string{"": `{"id":"1"}`, "default": `{"id":"1"}`, "b": `{"id":"7"}`} {
		if status, answer := post(t, url+get.Procedure, `{}`, "Weft-Namespace", namespace); status != 200 || answer != want {
			t.Errorf("namespace %q: %d %s", namespace, status, answer)
		}
	}
	if !set.Serves("b", "orders.v1.OrderService") || set.Serves("c", "orders.v1.OrderService") || set.Serves("", "orders.v1.Other") {
		t.Error("Serves tells another story")
	}
}

func TestReflectionTellsWhatIsLive(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1"))
	url := serve(t, set)
	names := func(path string) []string {
		t.Helper()
		stream := grpcreflect.NewClient(client(url + path)).NewStream(t.Context())
		defer stream.Close()
		all, err := stream.ListServices()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range all {
			names = append(names, string(n))
		}
		return names
	}
	if got := names(""); !slices.Equal(got, []string{"orders.v1.OrderService"}) {
		t.Errorf("at first: %v", got)
	}
	add(t, set, services.Module{Name: "pay", Version: "3", Impl: handlers{"Pay": orders("3")["Get"]},
		Schema: link(t, "pay", compiled(t, map[string]string{"api.proto": `syntax = "proto3"; package pay.v1; message Sum { int64 cents = 1; } service Payments { rpc Pay(Sum) returns (Sum); }`}))})
	if got := names(""); !slices.Equal(got, []string{"orders.v1.OrderService", "pay.v1.Payments"}) {
		t.Errorf("with another module: %v", got)
	}
	if got := names("/pay@3"); !slices.Equal(got, []string{"pay.v1.Payments"}) {
		t.Errorf("of one version: %v", got)
	}

	// Both have an api.proto: each service comes with its own.
	stream := grpcreflect.NewClient(client(url)).NewStream(t.Context())
	defer stream.Close()
	for symbol, want := range map[string]string{"orders.v1.OrderService": "orders/api.proto", "pay.v1.Payments": "pay/api.proto"} {
		files, err := stream.FileContainingSymbol(protoreflect.FullName(symbol))
		if err != nil || files[0].GetName() != want {
			t.Errorf("%s is in %v (%v), want %s", symbol, files, err, want)
		}
	}

	keep(t, set, services.Module{Name: "pay", Version: "3"})(t.Context())
	if got := names(""); !slices.Equal(got, []string{"pay.v1.Payments"}) {
		t.Errorf("after it was removed: %v", got)
	}
}

// pipe is a body that nothing comes from until it is closed.
func pipe(t *testing.T) (body io.Reader, end func()) {
	r, w := io.Pipe()
	return r, func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// in has every request name a namespace.
type in struct {
	namespace string
	http.RoundTripper
}

func (n in) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Weft-Namespace", n.namespace)
	return n.RoundTripper.RoundTrip(r)
}

func TestReflectionTellsOfTheHostInEveryNamespace(t *testing.T) {
	set := services.New(services.Options{Own: []string{"weft.v1.Runs"}})
	m := ordersModule(t, "1")
	m.Namespace = "b"
	add(t, set, m)
	url := serve(t, set)
	for namespace, want := range map[string]string{"": "[weft.v1.Runs]", "a": "[weft.v1.Runs]", "b": "[orders.v1.OrderService weft.v1.Runs]"} {
		p := &http.Protocols{}
		p.SetUnencryptedHTTP2(true)
		c := &http.Client{Transport: in{namespace, &http.Transport{Protocols: p}}}
		stream := grpcreflect.NewClient(connect.NewClient(connecthttp.NewTransport(c, url))).NewStream(t.Context())
		names, err := stream.ListServices()
		if got := fmt.Sprint(names); err != nil || got != want {
			t.Errorf("namespace %q: %s, %v", namespace, got, err)
		}
		stream.Close()
	}
}
