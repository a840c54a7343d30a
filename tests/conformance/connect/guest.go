package connect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

// A folder has guest.wasm and set, the suite's descriptors, and then a database
// and compiled code.
func options(dir, db string, messageMax int) host.Options {
	return host.Options{DB: db, CacheDir: filepath.Join(dir, "cache"), MessageMax: messageMax}
}

// Upload uploads the guest as weft module push does.
func Upload(ctx context.Context, dir string) (err error) {
	wasm, err := os.ReadFile(filepath.Join(dir, "guest.wasm"))
	if err != nil {
		return err
	}
	set, err := os.ReadFile(filepath.Join(dir, "set"))
	if err != nil {
		return err
	}
	h, err := host.Open(ctx, options(dir, filepath.Join(dir, "weft.db"), 0))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, h.Close(ctx))
	}
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- h.Serve(ctx, l) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	client := connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, "http://"+l.Addr().String()))
	return push(ctx, weftv1connect.NewModuleServiceClient(client), &weftv1.PushHeader{Name: "conformance", Version: "1.0.0", Descriptors: set}, wasm)
}

func push(ctx context.Context, modules weftv1connect.ModuleServiceClient, h *weftv1.PushHeader, wasm []byte) error {
	stream, err := modules.Push(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Header{Header: h}})
	for err == nil && len(wasm) > 0 {
		n := min(len(wasm), 256<<10)
		err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Chunk{Chunk: wasm[:n]}})
		wasm = wasm[n:]
	}
	_, answer := stream.CloseAndReceive()
	return errors.Join(answer, err)
}

// Uploaded serves what Upload has left in a folder, from a copy: a database has
// one process.
func Uploaded(dir string, process bool) Open {
	return func(messageMax int) (http.Handler, func(), error) {
		own, err := os.MkdirTemp(dir, "host")
		if err != nil {
			return nil, nil, err
		}
		db := filepath.Join(own, "weft.db")
		data, err := os.ReadFile(filepath.Join(dir, "weft.db"))
		if err == nil {
			err = os.WriteFile(db, data, 0o600)
		}
		if err != nil {
			return nil, nil, err
		}
		o := options(dir, db, messageMax)
		if process {
			o.Isolation = map[string]weft.Isolation{"": weft.Process}
		}
		h, err := host.Open(context.Background(), o)
		if err != nil {
			return nil, nil, err
		}
		return h.Handler(), func() { _ = h.Close(context.Background()) }, nil
	}
}
