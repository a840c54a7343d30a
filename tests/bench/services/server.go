package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"syscall"

	connectv1 "connectrpc.com/connect"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"

	"github.com/weftrun/weft/host"
	ordersv1 "github.com/weftrun/weft/tests/bench/services/orders/v1"
	"github.com/weftrun/weft/tests/bench/services/orders/v1/ordersv1connect"
)

// servers are what a process of this program may serve by.
var servers = map[string]func(ctx context.Context, dir string, l net.Listener) error{
	"weft":       serveWeft,
	"connect v2": serveConnect,
	"connect v1": serveConnectV1,
	"grpc-go":    serveGRPC,
}

// serveProcess is such a process: it tells where it serves, then at each line that
// it reads what it has used, and ends with its input.
func serveProcess(kind, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if name := os.Getenv(profileEnv); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- servers[kind](ctx, dir, l) }()
	fmt.Println(l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		cpu, rss, err := used()
		if err != nil {
			return err
		}
		fmt.Println(cpu, rss)
	}
	stop()
	return <-failed
}

// used are the nanoseconds of processor time that this process has had, and the
// bytes that it has resident.
func used() (cpu, rss int64, err error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, 0, err
	}
	f, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, 0, err
	}
	var size, resident int64
	_, err = fmt.Sscan(string(f), &size, &resident)
	return u.Utime.Nano() + u.Stime.Nano(), resident * int64(os.Getpagesize()), err
}

// serveWeft is a host on what has been uploaded to dir.
func serveWeft(ctx context.Context, dir string, l net.Listener) error {
	h, err := host.Open(ctx, host.Options{DB: filepath.Join(dir, "weft.db"), CacheDir: filepath.Join(dir, "cache"), Limits: guestLimits})
	if err != nil {
		return err
	}
	return h.Serve(ctx, l)
}

// serveHTTP is the server that Connect's own documentation sets up.
func serveHTTP(ctx context.Context, h http.Handler, l net.Listener) error {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: streamsEach}}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serveConnect(ctx context.Context, _ string, l net.Listener) error {
	s := connect.NewServer()
	ordersv1connect.RegisterOrderServiceHandler(s, generated{})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, s)
	return serveHTTP(ctx, mux, l)
}

// generated does with generated types what the guests do.
type generated struct {
	ordersv1connect.UnimplementedOrderServiceHandler
}

func (generated) Nothing(context.Context, *ordersv1.NothingRequest) (*ordersv1.NothingResponse, error) {
	return &ordersv1.NothingResponse{}, nil
}

func (generated) Echo(_ context.Context, q *ordersv1.EchoRequest) (*ordersv1.EchoResponse, error) {
	return &ordersv1.EchoResponse{Order: q.GetOrder()}, nil
}

// serveConnectV1 has the handlers that code generated for v1 makes.
func serveConnectV1(ctx context.Context, _ string, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle(nothing.path, connectv1.NewUnaryHandler(nothing.path, func(ctx context.Context, q *connectv1.Request[ordersv1.NothingRequest]) (*connectv1.Response[ordersv1.NothingResponse], error) {
		a, err := generated{}.Nothing(ctx, q.Msg)
		return connectv1.NewResponse(a), err
	}))
	mux.Handle(echo.path, connectv1.NewUnaryHandler(echo.path, func(ctx context.Context, q *connectv1.Request[ordersv1.EchoRequest]) (*connectv1.Response[ordersv1.EchoResponse], error) {
		a, err := generated{}.Echo(ctx, q.Msg)
		return connectv1.NewResponse(a), err
	}))
	return serveHTTP(ctx, mux, l)
}

func serveGRPC(ctx context.Context, _ string, l net.Listener) error {
	s := grpc.NewServer()
	ordersv1.RegisterOrderServiceServer(s, generatedGRPC{})
	defer context.AfterFunc(ctx, s.Stop)()
	return s.Serve(l)
}

type generatedGRPC struct {
	ordersv1.UnimplementedOrderServiceServer
}

func (generatedGRPC) Nothing(ctx context.Context, q *ordersv1.NothingRequest) (*ordersv1.NothingResponse, error) {
	return generated{}.Nothing(ctx, q)
}

func (generatedGRPC) Echo(ctx context.Context, q *ordersv1.EchoRequest) (*ordersv1.EchoResponse, error) {
	return generated{}.Echo(ctx, q)
}
