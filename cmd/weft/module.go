package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

const chunk = 256 << 10

func (a *app) modules() weftv1connect.ModuleServiceClient {
	return weftv1connect.NewModuleServiceClient(a.client())
}

func (a *app) moduleCommand() *cobra.Command {
	show := verb("show NAME[:VERSION]", "Show a module, and what it serves", func(ctx context.Context, args []string) error {
		name, version, _ := strings.Cut(args[0], ":")
		res, err := a.modules().GetModule(ctx, &weftv1.GetModuleRequest{Namespace: a.namespace, Name: name, Version: version})
		if err != nil {
			return err
		}
		return a.showModule(res.Module)
	})
	show.Aliases = []string{"describe"}
	c := group("module", "Write, upload and manage modules", a.pushCommand(),
		verb("list", "List modules", func(ctx context.Context, _ []string) error {
			res, err := a.modules().ListModules(ctx, &weftv1.ListModulesRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			var rows [][]string
			for _, m := range res.Modules {
				rows = append(rows, []string{m.Name, m.Version, m.Digest[:12], cmp.Or(signer(m.Signature), "-"), m.Isolation, serves(m)})
			}
			return a.table(res, "NAME VERSION DIGEST SIGNED ISOLATION SERVES", rows)
		}),
		show,
		verb("rm NAME:VERSION", "Remove a version", func(ctx context.Context, args []string) error {
			q := &weftv1.DeleteModuleRequest{Namespace: a.namespace}
			q.Name, q.Version, _ = strings.Cut(args[0], ":")
			if _, err := a.modules().DeleteModule(ctx, q); err != nil {
				return err
			}
			return a.print(q, "%s is removed\n", args[0])
		}),
		verb("promote NAME[:VERSION]", "Call this version where none is named; without one the newest again", func(ctx context.Context, args []string) error {
			q := &weftv1.PromoteRequest{Namespace: a.namespace}
			q.Name, q.Version, _ = strings.Cut(args[0], ":")
			res, err := a.modules().Promote(ctx, q)
			if err != nil {
				return err
			}
			return a.print(res, "%s is called where no version is named\n", res.Module.Name+":"+res.Module.Version)
		}),
		verb("grant NAME[:VERSION]", "Grant a module what its manifest asks for", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			res, err := a.modules().SetGrants(ctx, &weftv1.SetGrantsRequest{Namespace: a.namespace, Name: name, Version: version, Requested: true})
			if err != nil {
				return err
			}
			return a.showModule(res.Module)
		}))
	c.AddCommand(a.authorCommands()...)
	return c
}

func (a *app) pushCommand() *cobra.Command {
	h := &weftv1.PushHeader{}
	var manifest, descriptors, signature string
	var c *cobra.Command
	c = verb("push FILE.wasm", "Upload a module with what lies beside it: FILE.yaml or weft.yaml, FILE.binpb, FILE.wasm.minisig", func(ctx context.Context, args []string) (err error) {
		if descriptors != "" {
			if h.Descriptors, err = os.ReadFile(descriptors); err != nil {
				return err
			}
		}
		if h.Signature, err = signatureOf(args[0], signature, c.Flags().Changed("signature")); err != nil {
			return err
		}
		res, err := a.push(ctx, h, args[0], manifest)
		if err != nil {
			return err
		}
		if done, err := a.json(res); done {
			return err
		}
		if res.Unchanged {
			a.printf("unchanged: the same module is there\n")
		}
		err = a.showModule(res.Module)
		a.doubts(res.Doubts)
		return err
	})
	c.Flags().StringVar(&h.Name, "name", "", "name, over the manifest's")
	c.Flags().StringVar(&h.Version, "version", "", "semantic version, over the manifest's")
	c.Flags().StringVar(&manifest, "manifest", "", "manifest in YAML or JSON")
	c.Flags().StringVar(&descriptors, "descriptors", "", "descriptors of its services: buf build -o FILE")
	c.Flags().StringVar(&signature, "signature", "", "`FILE` with the signature, over the one beside the module; empty for none")
	c.Flags().BoolVar(&h.Grant, "grant", false, "grant all that the manifest asks for")
	c.Flags().StringToStringVar(&h.Config, "config", nil, "config key=value")
	return c
}

// sidecars are where the manifest of a module may be.
func sidecars(wasm string) []string {
	return []string{strings.TrimSuffix(wasm, ".wasm") + ".yaml", filepath.Join(filepath.Dir(wasm), "weft.yaml")}
}

// descriptorsBeside is where the descriptors of a module's services may be.
func descriptorsBeside(wasm string) string { return strings.TrimSuffix(wasm, ".wasm") + ".binpb" }

// sidecar is the manifest beside a module as JSON, nil when there is none.
func sidecar(wasm, named string) ([]byte, error) {
	names := []string{named}
	if named == "" {
		names = sidecars(wasm)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		if data, err = host.Manifest(data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return data, nil
	}
	return nil, nil
}

// signatureOf reads the signature of a module: the one that is named, or else what
// minisign has written beside it; nil for none.
func signatureOf(wasm, file string, named bool) ([]byte, error) {
	if named && file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(cmp.Or(file, wasm+".minisig"))
	if !named && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// signer is the key that a module is signed by, and whether that counts; empty for none.
func signer(s *weftv1.Signature) string {
	switch {
	case s == nil:
		return ""
	case !s.Trusted:
		return s.KeyId + " (not trusted any more)"
	}
	return s.KeyId
}

// push uploads a module and its manifest, with a bar on a terminal.
func (a *app) push(ctx context.Context, h *weftv1.PushHeader, file, manifest string) (*weftv1.PushResponse, error) {
	wasm, beside, err := moduleIn(file, manifest)
	if err != nil {
		return nil, err
	}
	h.Namespace, h.Size, h.Manifest = a.namespace, int64(len(wasm)), beside
	if h.Descriptors == nil {
		if h.Descriptors, err = os.ReadFile(descriptorsBeside(file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	stream, err := a.modules().Push(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Header{Header: h}})
	bar := newBar(len(wasm))
	for sent := 0; err == nil && sent < len(wasm); {
		part := wasm[sent:min(len(wasm), sent+chunk)]
		err = stream.Send(&weftv1.PushRequest{Part: &weftv1.PushRequest_Chunk{Chunk: part}})
		sent += len(part)
		bar.show(sent)
	}
	bar.clear()
	if err != nil && !errors.Is(err, io.EOF) { // EOF: the answer says why
		return nil, err
	}
	return stream.CloseAndReceive()
}

// bar is a progress bar on standard error, when that is a terminal.
type bar struct{ total int }

func newBar(total int) bar {
	if !onTerminal(os.Stderr) {
		total = 0
	}
	return bar{total}
}

func (b bar) show(n int) {
	if b.total > 0 {
		fmt.Fprintf(os.Stderr, "\r[%-40s] %3d%%", strings.Repeat("=", 40*n/b.total), 100*n/b.total)
	}
}

func (b bar) clear() {
	if b.total > 0 {
		fmt.Fprintf(os.Stderr, "\r%50s\r", "")
	}
}

// handlers are those of a module that are no methods of its services.
func handlers(m *weftv1.Module) []string {
	return slices.DeleteFunc(slices.Clone(m.Handlers), func(name string) bool { return slices.Contains(m.Methods, name) })
}

// serves names the handlers and services of a module, and the routes that have no method.
func serves(m *weftv1.Module) string {
	names := handlers(m)
	for _, method := range m.Methods {
		name := method
		if service, _, is := strings.Cut(method, "/"); is && !strings.Contains(service, " ") {
			name = service
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return cmp.Or(strings.Join(names, ", "), "-")
}

func (a *app) showModule(m *weftv1.Module) error {
	if done, err := a.json(m); done {
		return err
	}
	a.printf("%s:%s  sha256 %.16s  %d bytes\n", m.Name, m.Version, m.Digest, m.Size)
	if names := handlers(m); len(names) > 0 {
		a.printf("  handlers  %s\n", strings.Join(names, ", "))
	}
	for _, s := range m.Methods {
		a.printf("  serves    %s\n", s)
	}
	if m.Promoted {
		a.printf("  promoted  it is called where no version is named\n")
	}
	for _, s := range m.Subscriptions {
		a.printf("  on event  %s -> %s\n", s.Type, s.Handler)
	}
	if len(m.Imports) > 0 {
		a.printf("  imports   %s\n", strings.Join(short(m.Imports), ", "))
	}
	if m.Signature != nil {
		a.printf("  signed    by key %s: %s\n", signer(m.Signature), m.Signature.Comment)
	}
	a.printf("  isolation %s\n", m.Isolation)
	a.printf("  asks for  %s\n", grants(m.Requested))
	a.printf("  granted   %s\n", grants(m.Granted))
	return nil
}

// short tells WASI's functions, which reach nothing here, by their number.
func short(imports []string) (out []string) {
	wasi := 0
	for _, i := range imports {
		if strings.HasPrefix(i, "wasi_snapshot_preview1.") {
			wasi++
		} else {
			out = append(out, i)
		}
	}
	if wasi > 0 {
		out = append(out, fmt.Sprintf("%d of WASI", wasi))
	}
	return out
}

func grants(g *weftv1.Grants) string {
	var parts []string
	for _, k := range []struct {
		name string
		list []string
	}{{"peers", g.GetPeers()}, {"http", g.GetHttp()}, {"events", g.GetEvents()}, {"state", g.GetState()}, {"config", g.GetConfig()}, {"secrets", g.GetSecrets()}} {
		if len(k.list) > 0 {
			parts = append(parts, k.name+" "+strings.Join(k.list, ","))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}
