// Package rpc is the API: the services of proto/weft/v1 on the rooms below.
// convert.go is the one place that knows wire and words.
package rpc

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/hooks"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/host/services"
	"github.com/weftrun/weft/proto/grpc/health/v1/healthv1connect"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/workflows"
)

// Rooms are what the services work on.
type Rooms struct {
	Catalog   *catalog.Catalog
	Engine    *engine.Engine
	Gate      *peers.Gate
	Events    *bus.Bus
	Hooks     *hooks.Hooks
	ModuleMax int64           // bytes of an upload
	Ready     func() error    // nil while the host takes work
	Drain     context.Context // ended when it takes none
	// Live reports whether a module serves a service; nil where none does.
	Live func(namespace, service string) bool
	// Methods are those that a version of a module serves, such as
	// orders.v1.OrderService/Place; nil where modules serve none.
	Methods func(namespace, module, version string) []string
	// Offers are the services that modules serve, by their keys.
	Offers func(namespace string) ([]services.Offer, error)
}

// Register adds every service to a server, and the health check of all that it
// has by the time it serves.
func Register(s *connect.Server, r Rooms) {
	weftv1connect.RegisterModuleServiceHandler(s, modules{r})
	weftv1connect.RegisterWorkflowServiceHandler(s, flows{r})
	weftv1connect.RegisterRunServiceHandler(s, runs{r})
	weftv1connect.RegisterEventServiceHandler(s, events{r})
	weftv1connect.RegisterHookServiceHandler(s, webhooks{r})
	weftv1connect.RegisterHandlerServiceHandler(s, handlers{r})
	weftv1connect.RegisterServiceServiceHandler(s, typed{r})
	weftv1connect.RegisterRegistryServiceHandler(s, registry{r})
	weftv1connect.RegisterBreakerServiceHandler(s, breakers{r})
	weftv1connect.RegisterPolicyServiceHandler(s, policies{r})
	healthv1connect.RegisterHealthHandler(s, health{s, r.Ready, r.Live})
}

type modules struct{ Rooms }

// ChunkMax bounds one message of an upload.
const ChunkMax = 1 << 20

func (m modules) Push(ctx context.Context, stream weftv1connect.ModuleServicePushServerStream) (*weftv1.PushResponse, error) {
	first, err := stream.Receive()
	if errors.Is(err, io.EOF) || err == nil && first.GetHeader() == nil {
		err = weft.Errorf(weft.InvalidArgument, "rpc.Push", "the first message is not the header")
	}
	if err != nil {
		return nil, err
	}
	h := first.GetHeader()
	p := catalog.Push{Name: h.Name, Version: h.Version, Grant: h.Grant, Config: h.Config}
	if len(h.Descriptors) > 0 {
		p.Descriptors = h.Descriptors
	}
	if len(h.Signature) > 0 {
		p.Signature = h.Signature
	}
	if len(h.Manifest) > 0 {
		if p.Manifest, err = wasm.ParseManifest(h.Manifest); err != nil {
			return nil, err
		}
	}
	if p.Wasm, err = m.receive(stream, h.Size); err != nil {
		return nil, err
	}
	pushed, err := m.Catalog.Push(ctx, weft.NamespaceOr(h.Namespace), p)
	if err != nil {
		return nil, err
	}
	return &weftv1.PushResponse{Module: m.describe(weft.NamespaceOr(h.Namespace), pushed.Module), Unchanged: pushed.Unchanged, Doubts: pushed.Doubts}, nil
}

// receive reads the chunks of an upload; size is how many bytes were announced, 0 for not at all.
func (m modules) receive(stream weftv1connect.ModuleServicePushServerStream, size int64) (wasm []byte, err error) {
	const op = "rpc.Push"
	if size > m.ModuleMax {
		return nil, weft.Errorf(weft.ResourceExhausted, op, "the module has %d bytes, the limit is %d", size, m.ModuleMax)
	}
	for {
		part, err := stream.Receive()
		switch chunk := part.GetChunk(); {
		case errors.Is(err, io.EOF) && size > 0 && int64(len(wasm)) != size:
			return nil, weft.Errorf(weft.InvalidArgument, op, "%d bytes were announced and %d came", size, len(wasm))
		case errors.Is(err, io.EOF):
			return wasm, nil
		case err != nil:
			return nil, err
		case part.GetHeader() != nil:
			return nil, weft.Errorf(weft.InvalidArgument, op, "a second header: only chunks follow the first message")
		case len(chunk) > ChunkMax:
			return nil, weft.Errorf(weft.ResourceExhausted, op, "a chunk has %d bytes, the limit is %d", len(chunk), ChunkMax)
		case int64(len(wasm)+len(chunk)) > m.ModuleMax:
			return nil, weft.Errorf(weft.ResourceExhausted, op, "the module is over %d bytes, the limit", m.ModuleMax)
		default:
			wasm = append(wasm, chunk...)
		}
	}
}

func (m modules) GetModule(_ context.Context, q *weftv1.GetModuleRequest) (*weftv1.GetModuleResponse, error) {
	found, err := m.Catalog.Module(weft.NamespaceOr(q.Namespace), q.Name, q.Version)
	if err != nil {
		return nil, err
	}
	return &weftv1.GetModuleResponse{Module: m.describe(weft.NamespaceOr(q.Namespace), found)}, nil
}

func (m modules) ListModules(_ context.Context, q *weftv1.ListModulesRequest) (*weftv1.ListModulesResponse, error) {
	out := &weftv1.ListModulesResponse{}
	for _, mod := range m.Catalog.Modules(weft.NamespaceOr(q.Namespace)) {
		out.Modules = append(out.Modules, m.describe(weft.NamespaceOr(q.Namespace), mod))
	}
	return out, nil
}

func (m modules) DeleteModule(ctx context.Context, q *weftv1.DeleteModuleRequest) (*weftv1.DeleteModuleResponse, error) {
	return &weftv1.DeleteModuleResponse{}, m.Catalog.Remove(ctx, weft.NamespaceOr(q.Namespace), q.Name, q.Version)
}

func (m modules) SetGrants(ctx context.Context, q *weftv1.SetGrantsRequest) (*weftv1.SetGrantsResponse, error) {
	g := grantsFrom(q.Grants)
	if q.Requested {
		found, err := m.Catalog.Module(weft.NamespaceOr(q.Namespace), q.Name, q.Version)
		if err != nil {
			return nil, err
		}
		g = found.Manifest.Grants
	}
	mod, err := m.Catalog.SetGrants(ctx, weft.NamespaceOr(q.Namespace), q.Name, q.Version, g)
	if err != nil {
		return nil, err
	}
	return &weftv1.SetGrantsResponse{Module: m.describe(weft.NamespaceOr(q.Namespace), mod)}, nil
}

func (m modules) Promote(ctx context.Context, q *weftv1.PromoteRequest) (*weftv1.PromoteResponse, error) {
	mod, err := m.Catalog.Promote(ctx, weft.NamespaceOr(q.Namespace), q.Name, q.Version)
	if err != nil {
		return nil, err
	}
	return &weftv1.PromoteResponse{Module: m.describe(weft.NamespaceOr(q.Namespace), mod)}, nil
}

func (m modules) describe(ns string, mod *catalog.Module) *weftv1.Module {
	out := moduleOf(mod)
	if m.Methods != nil {
		out.Methods = m.Methods(ns, mod.Name, mod.Version)
	}
	return out
}

type flows struct{ Rooms }

func (f flows) Apply(ctx context.Context, q *weftv1.ApplyRequest) (*weftv1.ApplyResponse, error) {
	a, err := f.Catalog.Apply(ctx, weft.NamespaceOr(q.Namespace), q.File, []byte(q.Source))
	if problems, ok := problemsOf(err); ok {
		return &weftv1.ApplyResponse{Problems: problems}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &weftv1.ApplyResponse{Workflow: &weftv1.Workflow{Space: a.Space, Name: a.Name, Version: a.Version}, Unchanged: a.Unchanged}
	for _, p := range a.Pinned {
		out.Pinned = append(out.Pinned, p.Ref.String())
	}
	return out, nil
}

func (f flows) Validate(_ context.Context, q *weftv1.ValidateRequest) (*weftv1.ValidateResponse, error) {
	_, err := workflows.Parse(q.File, []byte(q.Source))
	problems, ok := problemsOf(err)
	if err != nil && !ok {
		return nil, err
	}
	return &weftv1.ValidateResponse{Problems: problems}, nil
}

func (f flows) GetWorkflow(ctx context.Context, q *weftv1.GetWorkflowRequest) (*weftv1.GetWorkflowResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	w, err := f.Catalog.WorkflowInfo(ns, q.Name, q.Version)
	if err != nil {
		return nil, err
	}
	starts, err := f.Engine.NextStarts(ctx, ns)
	if err != nil {
		return nil, err
	}
	out := workflowOf(w, starts)
	out.Source = string(w.Source)
	return &weftv1.GetWorkflowResponse{Workflow: out}, nil
}

func (f flows) ListWorkflows(ctx context.Context, q *weftv1.ListWorkflowsRequest) (*weftv1.ListWorkflowsResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	starts, err := f.Engine.NextStarts(ctx, ns)
	if err != nil {
		return nil, err
	}
	out := &weftv1.ListWorkflowsResponse{}
	for _, w := range f.Catalog.Workflows(ns) {
		out.Workflows = append(out.Workflows, workflowOf(w, starts))
	}
	return out, nil
}

type runs struct{ Rooms }

func (r runs) Start(ctx context.Context, q *weftv1.StartRequest) (*weftv1.StartResponse, error) {
	ns := weft.NamespaceOr(q.Namespace)
	input, err := bytesOf(q.Input, []byte(q.InputJson))
	if err != nil {
		return nil, err
	}
	if q.Wait {
		leave, err := r.Engine.Place(ns)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	run, existed, err := r.Engine.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: q.Workflow, Version: q.Version, Input: input, Key: q.IdempotencyKey})
	if err == nil && q.Wait {
		run, err = Wait(ctx, r.Drain, r.Engine, run)
	}
	if err != nil {
		return nil, err
	}
	return &weftv1.StartResponse{Run: runOf(run), Existed: existed}, nil
}

func (r runs) GetRun(ctx context.Context, q *weftv1.GetRunRequest) (*weftv1.GetRunResponse, error) {
	run, steps, err := r.Engine.Describe(ctx, weft.NamespaceOr(q.Namespace), q.Id)
	if err != nil {
		return nil, err
	}
	out := &weftv1.GetRunResponse{Run: runOf(run)}
	out.Steps, out.StepsOmitted = stepsOf(steps)
	return out, nil
}

func (r runs) ListRuns(ctx context.Context, q *weftv1.ListRunsRequest) (*weftv1.ListRunsResponse, error) {
	l := engine.ListRuns{Namespace: weft.NamespaceOr(q.Namespace), Workflow: q.Workflow, Parent: q.Parent, After: timeOf(q.StartAfter), Before: timeOf(q.StartBefore),
		PageSize: int(q.PageSize), PageToken: q.PageToken}
	for _, s := range q.Statuses {
		l.Statuses = append(l.Statuses, engine.Status(s))
	}
	list, next, err := r.Engine.List(ctx, l)
	if err != nil {
		return nil, err
	}
	out := &weftv1.ListRunsResponse{NextPageToken: next}
	for _, run := range list {
		out.Runs = append(out.Runs, runOf(run))
	}
	return out, nil
}

func (r runs) Cancel(ctx context.Context, q *weftv1.CancelRequest) (*weftv1.CancelResponse, error) {
	run, err := r.Engine.Cancel(ctx, weft.NamespaceOr(q.Namespace), q.Id, q.Reason)
	if err != nil {
		return nil, err
	}
	return &weftv1.CancelResponse{Run: runOf(run)}, nil
}

func (r runs) Pause(ctx context.Context, q *weftv1.PauseRequest) (*weftv1.PauseResponse, error) {
	run, err := r.Engine.Pause(ctx, weft.NamespaceOr(q.Namespace), q.Id, q.Reason)
	if err != nil {
		return nil, err
	}
	return &weftv1.PauseResponse{Run: runOf(run)}, nil
}

func (r runs) Resume(ctx context.Context, q *weftv1.ResumeRequest) (*weftv1.ResumeResponse, error) {
	run, err := r.Engine.Resume(ctx, weft.NamespaceOr(q.Namespace), q.Id)
	if err != nil {
		return nil, err
	}
	return &weftv1.ResumeResponse{Run: runOf(run)}, nil
}

func (r runs) Rerun(ctx context.Context, q *weftv1.RerunRequest) (*weftv1.RerunResponse, error) {
	run, err := r.Engine.Rerun(ctx, weft.NamespaceOr(q.Namespace), q.Id, q.Step)
	if err != nil {
		return nil, err
	}
	return &weftv1.RerunResponse{Run: runOf(run)}, nil
}

type events struct{ Rooms }

func (e events) Publish(ctx context.Context, q *weftv1.PublishRequest) (*weftv1.PublishResponse, error) {
	list := make([]weft.Event, len(q.Events))
	for i, ev := range q.Events {
		var err error
		if list[i], err = eventFrom(ev); err != nil {
			return nil, err
		}
	}
	offsets, err := e.Events.Publish(ctx, weft.NamespaceOr(q.Namespace), list...)
	if err != nil {
		return nil, err
	}
	return &weftv1.PublishResponse{Offsets: offsets}, nil
}

func (e events) ListDeadLetters(ctx context.Context, q *weftv1.ListDeadLettersRequest) (*weftv1.ListDeadLettersResponse, error) {
	list, next, err := e.Events.DeadLetters(ctx, bus.ListDeadLetters{Namespace: weft.NamespaceOr(q.Namespace), Group: q.Group, PageSize: int(q.PageSize), PageToken: q.PageToken})
	if err != nil {
		return nil, err
	}
	out := &weftv1.ListDeadLettersResponse{NextPageToken: next}
	for _, d := range list {
		out.DeadLetters = append(out.DeadLetters, &weftv1.DeadLetter{Group: d.Group, Offset: d.Offset, Event: eventOf(d.Event), Attempts: int32(d.Attempts),
			Error: d.Error, CreateTime: timestamp(d.Time)})
	}
	return out, nil
}

func (e events) ReplayDeadLetter(ctx context.Context, q *weftv1.ReplayDeadLetterRequest) (*weftv1.ReplayDeadLetterResponse, error) {
	return &weftv1.ReplayDeadLetterResponse{}, e.Events.Replay(ctx, weft.NamespaceOr(q.Namespace), q.Group, q.Offset)
}

func (e events) DropDeadLetter(ctx context.Context, q *weftv1.DropDeadLetterRequest) (*weftv1.DropDeadLetterResponse, error) {
	return &weftv1.DropDeadLetterResponse{}, e.Events.Drop(ctx, weft.NamespaceOr(q.Namespace), q.Group, q.Offset)
}

type handlers struct{ Rooms }

func (h handlers) Call(ctx context.Context, q *weftv1.CallRequest) (*weftv1.CallResponse, error) {
	ref, err := weft.ParseRef(q.Handler)
	if err != nil {
		return nil, err
	}
	input, err := bytesOf(q.Input, q.Body)
	if err != nil {
		return nil, err
	}
	headers := weft.Header{}
	if q.IdempotencyKey != "" {
		headers.Set("idempotency-key", q.IdempotencyKey)
	}
	res, err := h.Engine.Call(ctx, weft.Call{Namespace: weft.NamespaceOr(q.Namespace), Handler: ref, Input: input, Headers: headers})
	if err != nil {
		if info, ok := connect.CallInfoForServerContext(ctx); ok && len(res.Headers["retry-after"]) > 0 {
			info.ResponseHeader().Set("Retry-After", res.Headers["retry-after"][0])
		}
		return nil, err
	}
	if v := valueOf(res.Output); v != nil {
		return &weftv1.CallResponse{Output: v}, nil
	}
	return &weftv1.CallResponse{Body: res.Output}, nil
}

func (h handlers) ListHandlers(_ context.Context, q *weftv1.ListHandlersRequest) (*weftv1.ListHandlersResponse, error) {
	out := &weftv1.ListHandlersResponse{}
	for _, i := range h.Catalog.Handlers(weft.NamespaceOr(q.Namespace)) {
		out.Handlers = append(out.Handlers, &weftv1.Handler{Ref: i.Ref.String(), Module: i.Module.Name, Description: i.Spec.Description})
	}
	return out, nil
}

type registry struct{ Rooms }

func (r registry) Register(ctx context.Context, q *weftv1.RegisterRequest) (*weftv1.RegisterResponse, error) {
	i, err := r.Gate.Register(ctx, peers.Instance{Namespace: weft.NamespaceOr(q.Namespace), Service: q.Service, ID: q.Instance, URL: q.Url, Zone: q.Zone,
		Weight: int(q.Weight), Health: q.Health, TTL: q.Ttl.AsDuration()})
	if err != nil {
		return nil, err
	}
	return &weftv1.RegisterResponse{Epoch: i.Epoch, Ttl: durationpb.New(i.TTL), HeartbeatInterval: durationpb.New(i.TTL / 3)}, nil
}

func (r registry) Heartbeat(_ context.Context, q *weftv1.HeartbeatRequest) (*weftv1.HeartbeatResponse, error) {
	return &weftv1.HeartbeatResponse{}, r.Gate.Heartbeat(weft.NamespaceOr(q.Namespace), q.Service, q.Instance, q.Epoch)
}

func (r registry) Drain(ctx context.Context, q *weftv1.DrainRequest) (*weftv1.DrainResponse, error) {
	return &weftv1.DrainResponse{}, r.Gate.Drain(ctx, weft.NamespaceOr(q.Namespace), q.Service, q.Instance, q.Epoch)
}

func (r registry) Deregister(ctx context.Context, q *weftv1.DeregisterRequest) (*weftv1.DeregisterResponse, error) {
	return &weftv1.DeregisterResponse{}, r.Gate.Deregister(ctx, weft.NamespaceOr(q.Namespace), q.Service, q.Instance, q.Epoch)
}

func (r registry) Lookup(_ context.Context, q *weftv1.LookupRequest) (*weftv1.LookupResponse, error) {
	live, _ := r.Gate.Lookup(weft.NamespaceOr(q.Namespace), q.Service)
	return &weftv1.LookupResponse{Instances: instancesOf(live)}, nil
}

func (r registry) ListInstances(_ context.Context, q *weftv1.ListInstancesRequest) (*weftv1.ListInstancesResponse, error) {
	return &weftv1.ListInstancesResponse{Instances: instancesOf(r.Gate.List(weft.NamespaceOr(q.Namespace)))}, nil
}

type breakers struct{ Rooms }

func (b breakers) ListBreakers(_ context.Context, q *weftv1.ListBreakersRequest) (*weftv1.ListBreakersResponse, error) {
	return &weftv1.ListBreakersResponse{Breakers: breakersOf(b.Gate.Breakers(weft.NamespaceOr(q.Namespace)))}, nil
}

func (b breakers) Open(ctx context.Context, q *weftv1.OpenRequest) (*weftv1.OpenResponse, error) {
	return &weftv1.OpenResponse{}, b.Gate.Force(ctx, weft.NamespaceOr(q.Namespace), q.Peer, breaker.Open)
}

func (b breakers) Close(ctx context.Context, q *weftv1.CloseRequest) (*weftv1.CloseResponse, error) {
	return &weftv1.CloseResponse{}, b.Gate.Force(ctx, weft.NamespaceOr(q.Namespace), q.Peer, breaker.Closed)
}

func (b breakers) Reset(ctx context.Context, q *weftv1.ResetRequest) (*weftv1.ResetResponse, error) {
	return &weftv1.ResetResponse{}, b.Gate.Reset(ctx, weft.NamespaceOr(q.Namespace), q.Peer)
}

func (b breakers) SetPolicy(ctx context.Context, q *weftv1.SetPolicyRequest) (*weftv1.SetPolicyResponse, error) {
	err := b.Gate.SetBreaker(ctx, weft.NamespaceOr(q.Namespace), q.Peer, int(q.Failures), q.Open.AsDuration())
	return &weftv1.SetPolicyResponse{}, err
}
