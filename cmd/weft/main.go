// Command weft serves workflows, and is the client of a weft that serves.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/spf13/cobra"

	"github.com/weftrun/weft/host"
)

func main() {
	host.Child()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := root().ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "weft:", explain(err))
	}
	os.Exit(exitCode(err))
}

// app is what all commands share.
type app struct {
	server, namespace, output string
	ca, cert, key             string // files, of https
	asJSON                    bool
	transport                 http.RoundTripper
	out                       io.Writer
	in                        io.Reader
	colour, terminal          bool // of out
}

func root() *cobra.Command {
	a := &app{}
	c := group("weft", "Durable event workflows with WebAssembly handlers",
		a.serveCommand("dev", "Serve on this machine, for development"), a.serveCommand("serve", "Serve"),
		a.moduleCommand(), a.handlerCommand(), a.serviceCommand(), a.workflowCommand(), a.runCommand(), a.eventCommand(), a.hookCommand(), a.peerCommand(), a.breakerCommand(), a.labCommand(), a.testCommand(), portCommand())
	c.SilenceUsage, c.SilenceErrors = true, true
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return a.prepare(c) }
	c.PersistentFlags().StringVar(&a.server, "server", env("WEFT_SERVER", "http://127.0.0.1:8787"), "address of the server (WEFT_SERVER)")
	c.PersistentFlags().StringVar(&a.ca, "ca", env("WEFT_CA", ""), "`FILE` with who has signed the server's certificate; default: whom the system trusts (WEFT_CA)")
	c.PersistentFlags().StringVar(&a.cert, "cert", env("WEFT_CERT", ""), "`FILE` with the certificate to show the server (WEFT_CERT)")
	c.PersistentFlags().StringVar(&a.key, "cert-key", env("WEFT_CERT_KEY", ""), "`FILE` with the key of --cert (WEFT_CERT_KEY)")
	c.PersistentFlags().StringVar(&a.namespace, "namespace", env("WEFT_NAMESPACE", "default"), "namespace (WEFT_NAMESPACE)")
	c.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "table, json or yaml")
	c.PersistentFlags().BoolVar(&a.asJSON, "json", false, "short for -o json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	c.SetFlagErrorFunc(flagFault)
	c.InitDefaultCompletionCmd()
	shells, _, _ := c.Find([]string{"completion"}) // it is there
	for _, shell := range shells.Commands() {
		shell.Args = arguments(shell.Use)
	}
	dress(c, a.words())
	return c
}

// prepare settles how c reads and prints.
func (a *app) prepare(c *cobra.Command) error {
	if a.asJSON {
		if c.Flags().Changed("output") && a.output != "json" {
			return usagef("--json and -o %s; write one of them", a.output)
		}
		a.output = "json"
	}
	if !slices.Contains(formats, a.output) {
		return usagef("-o %s; write table, json or yaml", a.output)
	}
	if u, err := url.Parse(a.server); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return usagef("--server %s; write an address such as http://127.0.0.1:8787", a.server)
	}
	var err error
	if a.transport, err = a.over(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	a.in, a.out = c.InOrStdin(), c.OutOrStdout()
	a.terminal = onTerminal(a.out)
	a.colour = a.terminal && os.Getenv("NO_COLOR") == ""
	return nil
}

func env(name, value string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return value
}

// group is a noun; its commands are the verbs.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: unknown, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(verbs...)
	return c
}

// verb is a command whose arguments are named in use.
func verb(use, short string, run func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: arguments(use),
		RunE: func(c *cobra.Command, args []string) error { return run(c.Context(), args) }}
}

// portCommand prints a free port of this machine; scripts use it. It is below those that
// the system gives to whoever connects, who may take one before the script does.
func portCommand() *cobra.Command {
	return &cobra.Command{Use: "__port", Hidden: true, RunE: func(c *cobra.Command, _ []string) (err error) {
		for range 1000 {
			port := 10_000 + rand.IntN(22_000)
			var l net.Listener
			if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
				l.Close()
				_, err = fmt.Fprintln(c.OutOrStdout(), port)
				return err
			}
		}
		return err
	}}
}

func (a *app) client() *connect.Client {
	return connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: a.transport}, a.server))
}
