// Command payments is a payment service outside weft, as a company has one: it
// registers itself with weft as the peer payments and answers
// payments.v1.Payments/Charge and /Refund in the Connect protocol's JSON.
//
//	payments -listen 127.0.0.1:9090 -server http://127.0.0.1:8787 -db payments.jsonl
//
// With -delay and -fail-rate it behaves badly on purpose. Ended by SIGTERM it
// gives its registration back; killed, weft finds out by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	peer "github.com/weftrun/weft/sdk/peer/go"
)

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(2) // flag has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "payments:", err)
		os.Exit(1)
	}
}

type options struct {
	listen, server, url, namespace, instance, db string
	delay                                        time.Duration
	failRate                                     float64
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("payments", flag.ContinueOnError)
	f.StringVar(&o.listen, "listen", "127.0.0.1:9090", "address to serve at")
	f.StringVar(&o.server, "server", "http://127.0.0.1:8787", "weft, to register with; empty registers nowhere")
	f.StringVar(&o.url, "url", "", "URL at which weft reaches this program (default http://LISTEN)")
	f.StringVar(&o.namespace, "namespace", "default", "namespace to register in")
	f.StringVar(&o.instance, "instance", "", "name of this instance (default: made up)")
	f.StringVar(&o.db, "db", "", "file that remembers what was answered (default: memory)")
	f.DurationVar(&o.delay, "delay", 0, "wait so long before each answer")
	f.Float64Var(&o.failRate, "fail-rate", 0, "fail this part of the calls as unavailable, 0 to 1")
	return o, f.Parse(args)
}

// run serves until ctx ends: then it deregisters first and finishes what it has
// begun.
func run(ctx context.Context, o options) error {
	book, err := openLedger(o.db)
	if err != nil {
		return err
	}
	defer book.Close()
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	if o.url == "" {
		o.url = "http://" + l.Addr().String()
	}
	fmt.Printf("payments: serving at %s\n", o.url)
	server := &http.Server{Handler: newService(book, o.delay, o.failRate, os.Stdout), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	kept := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { kept <- keep(ctx, o) }()
	select {
	case err = <-served:
		cancel()
		<-kept
		return err
	case err = <-kept: // ctx has ended, or the options are wrong
	}
	last, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	return errors.Join(err, server.Shutdown(last))
}

// keep stays registered until ctx ends.
func keep(ctx context.Context, o options) error {
	if o.server == "" {
		<-ctx.Done()
		return nil
	}
	return peer.Keep(ctx, peer.Options{
		Server: o.server, Namespace: o.namespace, Service: "payments", Instance: o.instance, URL: o.url,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
