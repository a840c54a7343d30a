// Command weft serves workflows, and is the client of a weft that serves.
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
	"os/signal"
	"strings"
	"syscall"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftrun/weft/host"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "__check" {
		host.CheckMain()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "weft:", explain(err))
		var u *usageError
		if errors.As(err, &u) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// usageError is a call that was written wrong.
type usageError struct{ error }

// app is what all commands share.
type app struct {
	server, namespace, output string
	out                       io.Writer
}

func root() *cobra.Command {
	a := &app{}
	c := &cobra.Command{Use: "weft", Short: "Durable event workflows with WebAssembly handlers", SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			a.out = c.OutOrStdout()
			if a.output != "table" && a.output != "json" {
				return &usageError{fmt.Errorf("-o %s: write table or json", a.output)}
			}
			return nil
		}}
	c.PersistentFlags().StringVar(&a.server, "server", env("WEFT_SERVER", "http://127.0.0.1:8787"), "address of the server (WEFT_SERVER)")
	c.PersistentFlags().StringVar(&a.namespace, "namespace", env("WEFT_NAMESPACE", "default"), "namespace (WEFT_NAMESPACE)")
	c.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table or json")
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	c.AddCommand(a.serveCommand("dev", "Serve on this machine, for development"), a.serveCommand("serve", "Serve"),
		a.moduleCommand(), a.handlerCommand(), a.workflowCommand(), a.runCommand(), a.eventCommand(), a.peerCommand(), a.breakerCommand(), portCommand())
	return c
}

func env(name, value string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return value
}

// group is a noun; its commands are the verbs.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(verbs...)
	return c
}

// verb is a command with a fixed number of arguments, named in use.
func verb(use, short string, run func(ctx context.Context, args []string) error) *cobra.Command {
	n := len(strings.Fields(use)) - 1
	return &cobra.Command{Use: use, Short: short,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != n {
				return &usageError{fmt.Errorf("usage: weft ... %s", use)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return run(c.Context(), args) }}
}

// portCommand prints a free port of this machine; scripts use it.
func portCommand() *cobra.Command {
	return &cobra.Command{Use: "__port", Hidden: true, RunE: func(c *cobra.Command, _ []string) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		_, err = fmt.Fprintln(c.OutOrStdout(), l.Addr().(*net.TCPAddr).Port)
		return err
	}}
}

func (a *app) client() *connect.Client {
	return connect.NewClient(connecthttp.NewTransport(http.DefaultClient, a.server))
}

// json prints m when JSON was asked for, and reports whether it was.
func (a *app) json(m proto.Message) (bool, error) {
	if a.output != "json" {
		return false, nil
	}
	data, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return true, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil { // protojson's own spaces differ from build to build
		return true, err
	}
	_, err = fmt.Fprintln(a.out, b.String())
	return true, err
}

// text is a value as JSON on one line.
func text(v *structpb.Value) string {
	data, err := json.Marshal(v.AsInterface())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// each calls fn with every message of a stream, until it ends or fn fails.
func each[T any](receive func() (T, error), fn func(T) error) error {
	for {
		m, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = fn(m)
		}
		if err != nil {
			return err
		}
	}
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// explain says what happened and what to do next.
func explain(err error) string {
	var e *connect.Error
	if errors.As(err, &e) {
		if e.Code() == connect.CodeUnavailable && (strings.Contains(e.Message(), "connection refused") || strings.Contains(e.Message(), "dial")) {
			return e.Message() + "\n  no weft serves there: start one with `weft dev`, or name another with --server"
		}
		return e.Message()
	}
	return err.Error()
}
