package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// authorCommands are those for who writes modules: none needs a server.
func (a *app) authorCommands() []*cobra.Command {
	var most map[string]int64
	build := verb("build [DIR]", "Build a module with the toolchain of its language, and check it", func(ctx context.Context, args []string) error {
		var u host.Upload
		if err := readLimits(most, &u.Limits); err != nil {
			return err
		}
		file, i, err := host.BuildModule(ctx, append(args, ".")[0], u.Limits, os.Stderr)
		if err != nil {
			return err
		}
		return a.inspection(file, i)
	})
	var manifest, signature string
	var trusted []string
	var inspect *cobra.Command
	inspect = verb("inspect FILE.wasm", "Show what a module is and asks for, and check it as an upload would be", func(ctx context.Context, args []string) (err error) {
		var u host.Upload
		if u.Wasm, u.Manifest, err = moduleIn(args[0], manifest); err != nil {
			return err
		}
		if u.Signature, err = signatureOf(args[0], signature, inspect.Flags().Changed("signature")); err != nil {
			return err
		}
		if err := readLimits(most, &u.Limits); err != nil {
			return err
		}
		keys, err := host.TrustedKeys(trusted)
		if err != nil {
			return usagef("--trusted-key: %w", err)
		}
		i, err := host.InspectModule(ctx, u, keys)
		if err != nil {
			return err
		}
		return a.inspection(args[0], i)
	})
	inspect.Flags().StringVar(&manifest, "manifest", "", "manifest in YAML or JSON")
	inspect.Flags().StringVar(&signature, "signature", "", "`FILE` with the signature, over the one beside the module; empty for none")
	inspect.Flags().StringArrayVar(&trusted, "trusted-key", nil, "`FILE` or text of a public key that may have signed it; repeat it")
	for _, c := range []*cobra.Command{build, inspect} {
		c.Flags().StringToInt64Var(&most, "limit", nil, limitUse)
	}
	return []*cobra.Command{a.newCommand(), a.generateCommand(), build, inspect, a.tryCommand()}
}

const limitUse = "what the server it is for lets modules ask for at most, such as memoryMiB=256; repeat it"

func (a *app) generateCommand() *cobra.Command {
	var language, descriptors string
	c := verb("generate [DIR]", "Write the code for the .proto of a module anew, as a build does", func(ctx context.Context, args []string) error {
		dir := append(args, ".")[0]
		file, err := host.GenerateModule(ctx, dir, language)
		if err != nil {
			return err
		}
		if descriptors != "" {
			set, err := host.Descriptors(ctx, dir)
			if err != nil {
				return err
			}
			if err := os.WriteFile(descriptors, set, 0o666); err != nil {
				return err
			}
		}
		return a.print(fields("file", file), "%s is there\n", file)
	})
	c.Flags().StringVar(&language, "lang", "", "language; without it that of the folder")
	c.Flags().StringVar(&descriptors, "descriptors", "", "file for the descriptors, which weft module push finds beside the module as FILE.binpb")
	return c
}

func (a *app) newCommand() *cobra.Command {
	var language, proto, root string
	c := verb("new NAME", "Write a first module into a new folder", func(ctx context.Context, args []string) error {
		dir, name := filepath.FromSlash(args[0]), filepath.Base(args[0])
		if proto != "" {
			test, err := host.NewService(ctx, dir, name, language, proto, root)
			if err != nil {
				return err
			}
			return a.print(fields("folder", args[0], "language", language, "test", test), "%s is there: the methods of %s, their tests, and a README\n\n  cd %s && %s\n  weft module build\n", args[0], filepath.Base(proto), args[0], test)
		}
		test, err := host.NewModule(dir, name, language)
		if err != nil {
			return err
		}
		return a.print(fields("folder", args[0], "language", language, "test", test), "%s is there: a handler, its test, and a README\n\n  cd %s && %s\n  weft module build\n", args[0], args[0], test)
	})
	c.Flags().StringVar(&language, "lang", "go", strings.Join(host.Languages(), ", "))
	c.Flags().StringVar(&proto, "proto", "", "a .proto whose services it is to serve")
	c.Flags().StringVar(&root, "proto-path", "", "folder that imports of the .proto are named from; without it its own")
	_ = c.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(host.Languages(), cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	return c
}

// moduleIn reads a module and the manifest beside it.
func moduleIn(file, manifest string) (code, beside []byte, err error) {
	if is, err := os.Stat(file); err == nil && is.IsDir() {
		return nil, nil, fmt.Errorf("%s is a folder; name the .wasm in it that weft module build %s makes", file, file)
	}
	if code, err = os.ReadFile(file); err != nil {
		return nil, nil, err
	}
	beside, err = sidecar(file, manifest)
	return code, beside, err
}

func (a *app) tryCommand() *cobra.Command {
	t := host.Trial{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutTime}))}
	var manifest, input string
	var most map[string]int64
	var headers []string
	c := verb("run FILE.wasm", "Run a handler of a module without a server", func(ctx context.Context, args []string) (err error) {
		if t.Wasm, t.Manifest, err = moduleIn(args[0], manifest); err != nil {
			return err
		}
		if err := readLimits(most, &t.Limits); err != nil {
			return err
		}
		if t.Input, _, err = a.read("--input", input); err != nil {
			return err
		}
		if len(t.Input) > inputMax {
			return fmt.Errorf("--input: more than %d bytes", inputMax)
		}
		t.Headers = map[string][]string{}
		for _, h := range headers {
			name, value, ok := strings.Cut(h, ":")
			if name = strings.ToLower(strings.TrimSpace(name)); !ok || name == "" {
				return usagef("--header %q; write NAME: VALUE", h)
			}
			t.Headers[name] = append(t.Headers[name], strings.TrimSpace(value))
		}
		out, err := host.TryModule(ctx, t)
		return a.tried(out, err)
	})
	c.Flags().StringVar(&t.Handler, "handler", "", "handler; not needed where there is one")
	c.Flags().StringVar(&input, "input", "", "bytes, @FILE, or - for standard input")
	c.Flags().StringVar(&manifest, "manifest", "", "manifest in YAML or JSON")
	c.Flags().StringArrayVar(&headers, "header", nil, "header of the call, NAME: VALUE")
	c.Flags().StringToInt64Var(&most, "limit", nil, limitUse)
	c.Flags().StringToStringVar(&t.Config, "config", nil, "config key=value")
	c.Flags().StringVar(&t.Secrets, "secrets", "", "folder with default/NAME for each secret")
	c.Flags().StringToStringVar(&t.Peers, "peer", nil, "peer that it may call, NAME=URL; without it none")
	c.Flags().StringArrayVar(&t.HTTP, "http", nil, "HOST:PORT that it may reach by plain HTTP; without it nothing")
	return c
}

func withoutTime(groups []string, at slog.Attr) slog.Attr {
	if len(groups) == 0 && at.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return at
}

// tried prints what came of a run: its output, and on standard error what it
// would have left behind.
func (a *app) tried(out host.Tried, failed error) error {
	for _, what := range []struct {
		flag  string
		names []string
	}{{"--peer NAME=URL", out.Withheld.Peers}, {"--http", out.Withheld.HTTP}} {
		if failed != nil && len(what.names) > 0 {
			fmt.Fprintf(os.Stderr, "not allowed here: %s; allow it with %s\n", strings.Join(what.names, ", "), what.flag)
		}
	}
	if failed != nil && out.Handler != "" {
		return fmt.Errorf("handler %s: %s: %w", out.Handler, out.Code, failed)
	}
	if failed != nil {
		return failed
	}
	if a.output != "table" {
		said := triedFields{Output: string(out.Result.Output), Headers: out.Result.Headers, Trailers: out.Result.Trailers}
		for _, e := range out.Events {
			said.Events = append(said.Events, triedEvent{e.Type, string(e.Data)})
		}
		return a.object(said)
	}
	for _, e := range out.Events {
		fmt.Fprintf(os.Stderr, "event %s %s\n", e.Type, e.Data)
	}
	return a.written(out.Result.Output)
}

// written is what a handler answered with, byte for byte but for a last line on a terminal.
func (a *app) written(body []byte) error {
	_, err := a.out.Write(body)
	if a.terminal && err == nil && len(body) > 0 {
		a.printf("\n")
	}
	return err
}

type triedFields struct {
	Output   string              `json:"output"`
	Headers  map[string][]string `json:"headers,omitempty"`
	Trailers map[string][]string `json:"trailers,omitempty"`
	Events   []triedEvent        `json:"events,omitempty"`
}

type triedEvent struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

// object prints what the API has no message for.
func (a *app) object(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal(data, s); err != nil {
		return err
	}
	_, err = a.json(s)
	return err
}

func (a *app) inspection(file string, i host.Inspection) error {
	if a.output != "table" {
		return a.object(struct {
			File string `json:"file"`
			host.Inspection
		}{file, i})
	}
	m := i.Manifest
	if m.Name == "" {
		a.printf("%s  sha256 %.16s  %d bytes\n", file, i.Digest, i.Size)
	} else {
		a.printf("%s  %s:%s  sha256 %.16s  %d bytes\n", file, m.Name, m.Version, i.Digest, i.Size)
	}
	row := func(what, text string) {
		if text != "" {
			a.printf("  %-9s %s\n", what, text)
		}
	}
	var names, sections []string
	for _, h := range m.Handlers {
		if service, _, _ := strings.Cut(h.Name, "/"); !slices.Contains(i.Services, service) {
			names = append(names, h.Name)
		}
	}
	for _, s := range i.Sections {
		sections = append(sections, fmt.Sprintf("%s %d", s.Name, s.Size))
	}
	if s := i.Signature; s != nil && s.Key == "" {
		row("signed", fmt.Sprintf("by key %s, it says; --trusted-key FILE checks that", s.ID))
	} else if s != nil {
		row("signed", fmt.Sprintf("by key %s: %s", s.ID, s.Comment))
	}
	row("way in", i.Way)
	if i.Mailbox && m.Lifecycle == "isolate" {
		row("mailbox", "it has one, where no isolated call looks")
	} else if i.Mailbox {
		row("mailbox", "input and output are handed over in its memory")
	}
	row("handlers", strings.Join(names, ", "))
	for _, s := range m.Subscriptions {
		row("on event", s.Type+" -> "+s.Handler)
	}
	row("services", strings.Join(i.Services, ", "))
	row("imports", strings.Join(short(i.Capabilities), ", "))
	row("asks for", grants(&weftv1.Grants{Peers: m.Grants.Peers, Http: m.Grants.HTTP, Events: m.Grants.Events, State: m.Grants.State, Config: m.Grants.Config, Secrets: m.Grants.Secrets}))
	row("memory", fmt.Sprintf("%d KiB, a table of %d", i.MemoryKiB, i.Table))
	l := i.Limits
	row("limits", fmt.Sprintf("memory %d MiB, tables of %d, %d ms, fuel %d, output %d bytes, %d calls of the host", l.MemoryMiB, l.Table, l.TimeoutMS, l.Fuel, l.OutputBytes, l.HostCalls))
	row("", fmt.Sprintf("log %d bytes, %d in a minute; %d calls at once, %d waiting", l.LogBytes, l.LogMinuteBytes, l.Concurrency, l.Queue))
	row("lifecycle", string(m.Lifecycle))
	row("sections", strings.Join(sections, ", "))
	a.doubts(i.Doubts)
	return nil
}

// doubts are told beside what is as it should be.
func (a *app) doubts(all []string) {
	for _, d := range all {
		a.printf("  note      %s\n", d)
	}
}
