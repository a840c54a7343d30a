package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

const chunk = 256 << 10

func (a *app) moduleCommand() *cobra.Command {
	return group("module", "Upload and manage modules", a.pushCommand(),
		verb("list", "List modules", func(ctx context.Context, _ []string) error {
			res, err := weftv1connect.NewModuleServiceClient(a.client()).ListModules(ctx, &weftv1.ListModulesRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			for _, m := range res.Modules {
				a.printf("%-16s %-8s %.12s  %s\n", m.Name, m.Version, m.Digest, strings.Join(m.Handlers, ", "))
			}
			return nil
		}),
		verb("show NAME[:VERSION]", "Show a module", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			res, err := weftv1connect.NewModuleServiceClient(a.client()).GetModule(ctx, &weftv1.GetModuleRequest{Namespace: a.namespace, Name: name, Version: version})
			if err != nil {
				return err
			}
			return a.showModule(res.Module)
		}),
		verb("rm NAME:VERSION", "Remove a version", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			_, err := weftv1connect.NewModuleServiceClient(a.client()).DeleteModule(ctx, &weftv1.DeleteModuleRequest{Namespace: a.namespace, Name: name, Version: version})
			return err
		}),
		verb("grant NAME[:VERSION]", "Grant a module what its manifest asks for", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			res, err := weftv1connect.NewModuleServiceClient(a.client()).SetGrants(ctx, &weftv1.SetGrantsRequest{Namespace: a.namespace, Name: name, Version: version, Requested: true})
			if err != nil {
				return err
			}
			return a.showModule(res.Module)
		}))
}

func (a *app) pushCommand() *cobra.Command {
	h := &weftv1.PushHeader{}
	var manifest string
	c := verb("push FILE.wasm", "Upload a module, with the manifest beside it (FILE.yaml or weft.yaml)", func(ctx context.Context, args []string) error {
		wasm, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		h.Namespace, h.Size = a.namespace, int64(len(wasm))
		if h.Manifest, err = sidecar(args[0], manifest); err != nil {
			return err
		}
		res, err := a.push(ctx, h, wasm)
		if err != nil {
			return err
		}
		if done, err := a.json(res); done {
			return err
		}
		if res.Unchanged {
			a.printf("unchanged: the same module is there\n")
		}
		return a.showModule(res.Module)
	})
	c.Flags().StringVar(&h.Name, "name", "", "name, over the manifest's")
	c.Flags().StringVar(&h.Version, "version", "", "semantic version, over the manifest's")
	c.Flags().StringVar(&manifest, "manifest", "", "manifest in YAML or JSON")
	c.Flags().BoolVar(&h.Grant, "grant", false, "grant all that the manifest asks for")
	c.Flags().StringToStringVar(&h.Config, "config", nil, "config key=value")
	return c
}

// sidecar is the manifest beside a module as JSON, nil when there is none.
func sidecar(wasm, named string) ([]byte, error) {
	names := []string{named}
	if named == "" {
		names = []string{strings.TrimSuffix(wasm, ".wasm") + ".yaml", filepath.Join(filepath.Dir(wasm), "weft.yaml")}
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) && named == "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		return host.Manifest(data)
	}
	return nil, nil
}

// push streams a module, with a bar on a terminal.
func (a *app) push(ctx context.Context, h *weftv1.PushHeader, wasm []byte) (*weftv1.PushResponse, error) {
	stream, err := weftv1connect.NewModuleServiceClient(a.client()).Push(ctx)
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
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
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

func (a *app) showModule(m *weftv1.Module) error {
	if done, err := a.json(m); done {
		return err
	}
	a.printf("%s:%s  sha256 %.16s  %d bytes\n", m.Name, m.Version, m.Digest, m.Size)
	a.printf("  handlers  %s\n", strings.Join(m.Handlers, ", "))
	for _, s := range m.Subscriptions {
		a.printf("  on event  %s -> %s\n", s.Type, s.Handler)
	}
	a.printf("  imports   %s\n", strings.Join(short(m.Imports), ", "))
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

func (a *app) handlerCommand() *cobra.Command {
	var input string
	call := verb("call NAME[:VERSION]", "Call a handler", func(ctx context.Context, args []string) error {
		v, err := value(input)
		if err != nil {
			return err
		}
		res, err := weftv1connect.NewHandlerServiceClient(a.client()).Call(ctx, &weftv1.CallRequest{Namespace: a.namespace, Handler: args[0], Input: v})
		if err != nil {
			return err
		}
		if done, err := a.json(res); done {
			return err
		}
		if res.Output != nil {
			a.printf("%s\n", text(res.Output))
			return nil
		}
		_, err = a.out.Write(res.Body)
		return err
	})
	call.Flags().StringVar(&input, "input", "", "JSON, or @FILE")
	list := verb("list", "List handlers", func(ctx context.Context, _ []string) error {
		res, err := weftv1connect.NewHandlerServiceClient(a.client()).ListHandlers(ctx, &weftv1.ListHandlersRequest{Namespace: a.namespace})
		if err != nil {
			return err
		}
		if done, err := a.json(res); done {
			return err
		}
		for _, h := range res.Handlers {
			a.printf("%-36s %s\n", h.Ref, h.Description)
		}
		return nil
	})
	return group("handler", "Call handlers", call, list)
}

// value is a flag's JSON, or that of a file; nil for nothing.
func value(flag string) (*structpb.Value, error) {
	if flag == "" {
		return nil, nil
	}
	data := []byte(flag)
	if name, ok := strings.CutPrefix(flag, "@"); ok {
		var err error
		if data, err = os.ReadFile(name); err != nil {
			return nil, err
		}
	}
	v := &structpb.Value{}
	if err := v.UnmarshalJSON(data); err != nil {
		return nil, &usageError{fmt.Errorf("the input is not JSON: %w", err)}
	}
	return v, nil
}

func (a *app) workflowCommand() *cobra.Command {
	return group("workflow", "Deploy workflows",
		verb("apply FILE", "Deploy a workflow", func(ctx context.Context, args []string) error {
			src, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			res, err := weftv1connect.NewWorkflowServiceClient(a.client()).Apply(ctx, &weftv1.ApplyRequest{Namespace: a.namespace, File: args[0], Source: string(src)})
			if err != nil {
				return err
			}
			if len(res.Problems) > 0 {
				return refused(res.Problems)
			}
			if done, err := a.json(res); done {
				return err
			}
			state := "is live"
			if res.Unchanged {
				state = "is unchanged"
			}
			a.printf("%s/%s:%s %s", res.Workflow.Space, res.Workflow.Name, res.Workflow.Version, state)
			if len(res.Pinned) > 0 {
				a.printf(", calls %s", strings.Join(res.Pinned, ", "))
			}
			a.printf("\n")
			return nil
		}),
		verb("validate FILE", "Check a workflow, offline", func(_ context.Context, args []string) error {
			src, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if err := host.Validate(args[0], src); err != nil {
				return err
			}
			a.printf("%s is valid\n", args[0])
			return nil
		}),
		verb("show NAME", "Show a workflow's YAML", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			res, err := weftv1connect.NewWorkflowServiceClient(a.client()).GetWorkflow(ctx, &weftv1.GetWorkflowRequest{Namespace: a.namespace, Name: name, Version: version})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			a.printf("%s", res.Workflow.Source)
			return nil
		}),
		verb("list", "List workflows", func(ctx context.Context, _ []string) error {
			res, err := weftv1connect.NewWorkflowServiceClient(a.client()).ListWorkflows(ctx, &weftv1.ListWorkflowsRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			for _, w := range res.Workflows {
				a.printf("%-32s %-8s %s\n", w.Space+"/"+w.Name, w.Version, w.Title)
			}
			return nil
		}))
}

// refused is every problem, one a line.
func refused(problems []*weftv1.Problem) error {
	var b strings.Builder
	b.WriteString("the workflow is refused")
	for _, p := range problems {
		fmt.Fprintf(&b, "\n%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
		if p.Hint != "" {
			b.WriteString("; " + p.Hint)
		}
	}
	return errors.New(b.String())
}
