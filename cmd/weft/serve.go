package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftrun/weft/host"
)

// lifecycles are the words of --lifecycle-events.
var lifecycles = []string{"none", "workflow", "task"}

func (a *app) serveCommand(use, short string) *cobra.Command {
	var listen, level string
	var o host.Options
	var insecure bool
	var folders, isolation, trusted, memory, workers []string
	var limits map[string]int64
	c := verb(use, short, func(ctx context.Context, _ []string) error {
		if o.RetainEvents <= 0 || o.RetainBytes <= 0 || o.Engine.Retain <= 0 {
			return usagef("--retain-events, --retain-bytes and --retain-runs must be above zero")
		}
		if (o.TLS.Cert == "") != (o.TLS.Key == "") || o.TLS.ClientCA != "" && o.TLS.Cert == "" {
			return usagef("--tls-cert and --tls-key go together, and --tls-client-ca with both")
		}
		if err := onLoopback(listen); err != nil && !insecure && o.TLS.ClientCA == "" {
			return err
		}
		if !slices.Contains(lifecycles, o.Engine.Lifecycle) {
			return usagef("--lifecycle-events %s; write %s", o.Engine.Lifecycle, strings.Join(lifecycles, ", "))
		}
		if o.Sync != "full" && o.Sync != "normal" {
			return usagef("--sync %s; write full or normal", o.Sync)
		}
		for _, dir := range folders {
			if !isFolder(dir) {
				return usagef("--watch %s; name a folder that is there", dir)
			}
		}
		if o.Secrets != "" && !isFolder(o.Secrets) {
			return usagef("--secrets %s; name a folder that is there", o.Secrets)
		}
		if err := readLimits(limits, &o.Limits); err != nil {
			return err
		}
		for _, origin := range o.Origins {
			if err := isOrigin(origin); err != nil {
				return err
			}
		}
		for _, allowed := range o.HTTPAllow {
			if host, port, err := net.SplitHostPort(allowed); err != nil || host == "" || port == "" {
				return usagef("--http-allow %s; write HOST:PORT, such as 10.0.0.7:8080", allowed)
			}
		}
		for _, registry := range o.Registries {
			if u, err := url.Parse(registry); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
				return usagef("--registry %s; write the address of another weft, such as http://10.0.0.7:8787", registry)
			}
		}
		var err error
		if err := o.Lifecycle.Check("main.serve"); err != nil {
			return usagef("--lifecycle: %w", err)
		}
		if o.Isolation, err = host.Isolation(isolation); err != nil {
			return usagef("--isolation: %w", err)
		}
		if o.GuestMiB, err = host.Amounts(memory); err != nil {
			return usagef("--guest-memory-mib: %w", err)
		}
		if o.Workers, err = host.Amounts(workers); err != nil {
			return usagef("--workers: %w", err)
		}
		if o.Trusted, err = host.TrustedKeys(trusted); err != nil {
			return usagef("--trusted-key: %w", err)
		}
		if o.Signed && len(o.Trusted) == 0 {
			return usagef("--require-signature without --trusted-key refuses every module; name the keys")
		}
		var l slog.Level
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return usagef("--log %s; write debug, info, warn or error", level)
		}
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
		if o.RegistryOver, err = a.over(o.Log); err != nil {
			return err
		}
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("%w; stop what serves there, or give another address with --listen", err)
		}
		h, err := host.Open(ctx, o)
		if err != nil {
			listener.Close()
			return err
		}
		url := "http://" + listener.Addr().String()
		if o.TLS.Cert != "" {
			url = "https://" + listener.Addr().String()
		}
		if err := a.print(fields("url", url, "db", o.DB), "weft serves at %s, data in %s\n", url, o.DB); err != nil {
			return errors.Join(err, listener.Close(), h.Close(ctx))
		}
		if use == "dev" && a.output == "table" {
			a.printf("This is for development: anyone on this machine may call it.\n")
		}
		ctx, stop := context.WithCancel(ctx)
		var watching sync.WaitGroup
		if len(folders) > 0 {
			a.server = url
			watching.Go(func() { a.watch(ctx, folders) })
		}
		err = h.Serve(ctx, listener)
		stop()
		watching.Wait()
		return err
	})
	c.Flags().StringVar(&listen, "listen", env("WEFT_LISTEN", "127.0.0.1:8787"), "address to serve at (WEFT_LISTEN)")
	c.Flags().StringVar(&o.DB, "db", env("WEFT_DB", "weft.db"), "SQLite file (WEFT_DB)")
	c.Flags().StringVar(&o.CacheDir, "cache", env("WEFT_CACHE", ""), "folder for compiled modules; default: beside the file (WEFT_CACHE)")
	c.Flags().StringVar(&o.Sync, "sync", "full", "full survives a power cut, normal a crash of the process")
	c.Flags().StringToInt64Var(&limits, "limit", nil, "what modules may ask for at most, such as memoryMiB=256; repeat it")
	c.Flags().StringVar((*string)(&o.Lifecycle), "lifecycle", "pool", "what a call of a module leaves for the next: pool what each manifest says, isolate nothing")
	c.Flags().StringArrayVar(&isolation, "isolation", nil, "where modules run: inline, process for workers of their own, or process-unless-signed; also of a namespace or a module, such as acme=process or acme/billing=process; repeat it")
	c.Flags().StringArrayVar(&memory, "guest-memory-mib", nil, "`N`: memory of all instances of modules together, 4096 unless given; also at most of a namespace, such as acme=512; repeat it")
	c.Flags().StringArrayVar(&workers, "workers", nil, "`N`: worker processes at once, 128 unless given; also at most of a namespace, such as acme=8; repeat it")
	c.Flags().StringArrayVar(&trusted, "trusted-key", nil, "`FILE` or text of a public key of minisign that signs modules; also of a namespace or a module, such as acme=FILE; repeat it")
	c.Flags().BoolVar(&o.Signed, "require-signature", false, "refuse modules that no trusted key has signed")
	c.Flags().BoolVar(&o.Unfiltered, "workers-without-seccomp", false, "workers start also where the kernel cannot filter their system calls")
	c.Flags().StringSliceVar(&o.HTTPAllow, "http-allow", nil, "private host:port that workflows may call")
	c.Flags().StringArrayVar(&o.Origins, "cors-origin", nil, "`URL` whose pages may call what modules serve, such as https://shop.example; * is all; repeat it")
	c.Flags().StringVar(&o.Secrets, "secrets", env("WEFT_SECRETS", ""), "folder with a file `DIR`/NAMESPACE/NAME for each secret (WEFT_SECRETS)")
	c.Flags().StringVar(&o.Zone, "zone", env("WEFT_ZONE", ""), "where this host is; calls prefer peers of the zone (WEFT_ZONE)")
	c.Flags().StringArrayVar(&o.Registries, "registry", nil, "`URL` of another weft in whose registry this one, and what its modules serve, is too, with TLS by --ca, --cert and --cert-key; repeat it")
	c.Flags().DurationVar(&o.RetainEvents, "retain-events", 7*24*time.Hour, "how long events are kept that every group has had; twice as long if one has not")
	c.Flags().Int64Var(&o.RetainBytes, "retain-bytes", 4<<30, "how many bytes of events are kept; twice as many if a group has not had them")
	c.Flags().DurationVar(&o.Engine.Retain, "retain-runs", 30*24*time.Hour, "how long runs are kept after their end")
	c.Flags().StringVar(&o.Engine.Lifecycle, "lifecycle-events", "none", "whose lifecycle events are published: none, workflow, or task for both")
	c.Flags().StringVar(&level, "log", "info", "debug, info, warn or error")
	if use == "dev" {
		c.Flags().StringArrayVar(&folders, "watch", nil, "`DIR` whose modules and workflows are deployed, and anew when they change")
	} else {
		c.Flags().BoolVar(&insecure, "insecure-listen", false, "serve on other than loopback although there is no authentication yet")
		c.Flags().StringVar(&o.TLS.Cert, "tls-cert", env("WEFT_TLS_CERT", ""), "serve with TLS: `FILE` with the certificate and its chain (WEFT_TLS_CERT)")
		c.Flags().StringVar(&o.TLS.Key, "tls-key", env("WEFT_TLS_KEY", ""), "`FILE` with the key of --tls-cert (WEFT_TLS_KEY)")
		c.Flags().StringVar(&o.TLS.ClientCA, "tls-client-ca", env("WEFT_TLS_CLIENT_CA", ""), "`FILE` with who has to have signed the certificates of clients; others are refused (WEFT_TLS_CLIENT_CA)")
	}
	return c
}

func isFolder(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// readLimits reads the flags --limit, by the names that a manifest has for limits.
func readLimits(limits map[string]int64, into any) error {
	data, err := json.Marshal(limits)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return usagef("--limit: %s; docs/ABI.md lists the limits", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// isOrigin refuses what no browser would send as the origin of a page.
func isOrigin(origin string) error {
	u, err := url.Parse(origin)
	if origin == "*" || err == nil && u.Scheme != "" && u.Host != "" && origin == u.Scheme+"://"+u.Host {
		return nil
	}
	return usagef("--cors-origin %s; write scheme and host alone, such as https://shop.example", origin)
}

// onLoopback refuses addresses that others can reach.
func onLoopback(address string) error {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return usagef("--listen: %w; write HOST:PORT, such as 127.0.0.1:8787", err)
	}
	if ip := net.ParseIP(name); name == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return usagef("%s can be reached from other machines, and weft has no authentication yet; serve on 127.0.0.1, or to clients of --tls-client-ca alone", address)
}
