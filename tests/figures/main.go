// Command figures measures what weft claims, in quick forms, and prints one
// line a figure: figure NAME VALUE UNIT. An argument picks a group.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	"github.com/weftrun/weft/tests/bench"
	"github.com/weftrun/weft/tests/kill"
	"github.com/weftrun/weft/tests/probe"
)

const ns = "default"

func main() {
	host.Child()
	groups := map[string]func(context.Context) error{"skeleton": skeleton, "engine": engine, "language": language, "peers": peers, "sandbox": sandbox, "services": services}
	for _, name := range []string{"skeleton", "engine", "language", "peers", "sandbox", "services"} {
		if len(os.Args) > 1 && os.Args[1] != name {
			continue
		}
		if err := groups[name](context.Background()); err != nil {
			fmt.Fprintf(os.Stderr, "figures %s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func figure(name string, value float64, unit string) {
	fmt.Printf("figure %s %.4g %s\n", name, value, unit)
}

// skeleton measures handler calls, durable steps and kills.
func skeleton(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "weft-figures")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	module, err := probe.Build()
	if err != nil {
		return err
	}
	if err := calls(ctx, dir, module); err != nil {
		return err
	}
	if err := overConnect(ctx, dir, module); err != nil {
		return err
	}
	if err := steps(ctx, dir, module); err != nil {
		return err
	}
	return kills(ctx, dir, module)
}

// median runs fn in rounds and gives the median time of one call.
func median(rounds, each int, fn func() error) (time.Duration, error) {
	times := make([]time.Duration, rounds)
	for i := range times {
		begun := time.Now()
		for range each {
			if err := fn(); err != nil {
				return 0, err
			}
		}
		times[i] = time.Since(begun) / time.Duration(each)
	}
	slices.Sort(times)
	return times[rounds/2], nil
}

// calls measures a no-op handler with 1 KiB of input, in process.
func calls(ctx context.Context, dir string, module []byte) error {
	r, err := bench.Open(ctx, bench.Site{Dir: dir, Name: "calls"})
	if err != nil {
		return err
	}
	if err := r.Deploy(ctx, module); err != nil {
		return errors.Join(err, r.Close(ctx))
	}
	body := bytes.Repeat([]byte("x"), 1024)
	d, err := median(51, 2000, func() error {
		_, err := r.Engine.Call(ctx, weft.Call{Namespace: ns, Handler: weft.Ref{Name: "noop"}, Input: body})
		return err
	})
	if err != nil {
		return err
	}
	figure("skeleton.handler_call_ns", float64(d.Nanoseconds()), "ns")
	return r.Close(ctx)
}

// overConnect measures the same over Connect on loopback, in turns with a
// plain connect-go handler that answers at once.
func overConnect(ctx context.Context, dir string, module []byte) error {
	h, err := host.Open(ctx, host.Options{DB: filepath.Join(dir, "connect.db"), CacheDir: filepath.Join(dir, "cache")})
	if err != nil {
		return err
	}
	full, stopFull, err := serve(h.Handler())
	if err != nil {
		return err
	}
	plainServer := connect.NewServer()
	weftv1connect.RegisterHandlerServiceHandler(plainServer, plain{})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, plainServer)
	bare, stopBare, err := serve(mux)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(probe.Manifest())
	if err != nil {
		return err
	}
	if err := push(ctx, full, module, manifest); err != nil {
		return err
	}
	q := &weftv1.CallRequest{Handler: "noop", Body: bytes.Repeat([]byte("x"), 1024)}
	one := func(url string) (time.Duration, error) {
		c := weftv1connect.NewHandlerServiceClient(connect.NewClient(connecthttp.NewTransport(http.DefaultClient, url)))
		return median(5, 400, func() error { _, err := c.Call(ctx, q); return err })
	}
	var ours, theirs []time.Duration
	for range 7 {
		a, err := one(full)
		if err != nil {
			return err
		}
		b, err := one(bare)
		if err != nil {
			return err
		}
		ours, theirs = append(ours, a), append(theirs, b)
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	figure("skeleton.connect_call_us", float64(ours[3].Nanoseconds())/1000, "us")
	figure("skeleton.vs_plain_connect", float64(ours[3])/float64(theirs[3]), "ratio")
	return errors.Join(stopFull(), stopBare(), h.Close(ctx))
}

type plain struct {
	weftv1connect.UnimplementedHandlerServiceHandler
}

func (plain) Call(context.Context, *weftv1.CallRequest) (*weftv1.CallResponse, error) {
	return &weftv1.CallResponse{}, nil
}

func serve(h http.Handler) (url string, stop func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close
	return "http://" + l.Addr().String(), s.Close, nil
}

func push(ctx context.Context, url string, module, manifest []byte) error {
	stream, err := weftv1connect.NewModuleServiceClient(connect.NewClient(connecthttp.NewTransport(http.DefaultClient, url))).Push(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Header{Header: &weftv1.PushHeader{Manifest: manifest, Grant: true}}}); err != nil {
		return err
	}
	for part := range slices.Chunk(module, 256<<10) {
		if err := stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Chunk{Chunk: part}}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	_, err = stream.CloseAndReceive()
	return err
}

// steps measures durable steps a second: runs of ten handler steps, so many at
// once, with synchronous=FULL.
func steps(ctx context.Context, dir string, module []byte) error {
	for _, n := range []int{1, 100, 1000} {
		l, err := bench.RunLoad(ctx, dir, module, n, 2*time.Second)
		if err != nil {
			return err
		}
		figure(fmt.Sprintf("skeleton.steps_per_s.n%d", n), l.StepsPerS(), "1/s")
	}
	return nil
}

// kills measures that nothing acknowledged is lost.
func kills(ctx context.Context, dir string, module []byte) error {
	manifest, err := json.Marshal(probe.Manifest())
	if err != nil {
		return err
	}
	binary, err := filepath.Abs("bin/weft")
	if err != nil {
		return err
	}
	r, err := kill.Loop(ctx, binary, dir, module, manifest, 50)
	if err != nil {
		return err
	}
	figure("skeleton.kills", float64(r.Kills), "kills")
	figure("skeleton.acknowledged", float64(r.Acknowledged), "runs")
	figure("skeleton.transitions", float64(r.Transitions), "answers")
	figure("skeleton.lost", float64(r.Lost), "answers")
	figure("skeleton.doubled", float64(r.Doubled), "effects")
	figure("skeleton.calls", float64(r.Calls), "calls")
	figure("skeleton.calls_repeated", float64(r.Repeated), "calls")
	figure("skeleton.kill_cycle_ms", float64(r.Cycle.Milliseconds()), "ms")
	return nil
}
