package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
	"github.com/weftrun/weft/host/services"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// valueOf is JSON as a protobuf value; nil for nothing, for what is no JSON and
// for what a value would change.
func valueOf(data []byte) *structpb.Value {
	v := &structpb.Value{}
	if len(data) == 0 || misfit(data) != "" || protojson.Unmarshal(data, v) != nil {
		return nil
	}
	return v
}

// outputOf is JSON as a value, or as text where that would change it.
func outputOf(data []byte) (*structpb.Value, string) {
	if v := valueOf(data); v != nil {
		return v, ""
	}
	return nil, string(data)
}

// bytesOf is a protobuf value as JSON, or what was sent instead of one.
func bytesOf(v *structpb.Value, instead []byte) ([]byte, error) {
	if v == nil {
		return instead, nil
	}
	if len(instead) > 0 {
		return nil, weft.Errorf(weft.InvalidArgument, "rpc.bytesOf", "the JSON is there twice: as a value and as it is")
	}
	data, err := protojson.Marshal(v)
	if err != nil { // an infinity, or no number at all
		return nil, weft.Errorf(weft.InvalidArgument, "rpc.bytesOf", "the value is no JSON: %w", err)
	}
	var b bytes.Buffer
	err = json.Compact(&b, data) // protojson's own spaces differ from build to build
	return b.Bytes(), err
}

func runOf(r engine.Run) *weftv1.Run {
	output, text := outputOf(r.Output)
	return &weftv1.Run{Id: r.ID, Space: r.Space, Workflow: r.Workflow, Version: r.Version, Status: weftv1.RunStatus(r.Status), Reason: r.Reason,
		WakeTime: timestamp(r.Wake), Peer: r.Peer, Entries: r.Entries, Output: output, OutputJson: text, Fault: faultOf(r.Fault),
		Parent: r.Parent, Origin: r.Origin, StartTime: timestamp(r.Started), UpdateTime: timestamp(r.Updated), EndTime: timestamp(r.Ended)}
}

func faultOf(f *machine.Fault) *weftv1.Fault {
	if f == nil {
		return nil
	}
	return &weftv1.Fault{Type: f.Type, Status: int32(f.Status), Title: f.Title, Detail: f.Detail, Instance: f.Instance}
}

// Bounds of the steps in one message, and of their outputs in bytes.
const (
	stepsMax      = 1000
	stepsBytesMax = 2 << 20
)

// stepsOf are the latest steps, and how many began before them.
func stepsOf(steps []machine.Step) (out []*weftv1.Step, omitted uint32) {
	first, size := len(steps), 0
	for first > 0 && len(steps)-first < stepsMax && (size < stepsBytesMax || first == len(steps)) {
		first--
		size += len(steps[first].Output)
	}
	omitted, steps = uint32(first), steps[first:]
	out = make([]*weftv1.Step, len(steps))
	for i, s := range steps {
		output, text := outputOf(s.Output)
		out[i] = &weftv1.Step{Id: s.ID, Parent: s.Parent, Name: s.Name, Pointer: s.Pointer, Kind: s.Kind, Status: string(s.Status), Attempt: s.Attempt,
			StartTime: timestamp(s.Started), EndTime: timestamp(s.Ended), Output: output, OutputJson: text, Fault: faultOf(s.Fault), Waiting: s.Waiting}
		for _, n := range s.Notes {
			if n.Text != "" {
				out[i].Notes = append(out[i].Notes, n.Text)
			}
		}
	}
	return out, omitted
}

// serviceOf is what a module offers, with an example of each request where that
// is wanted.
func serviceOf(o services.Offer, examples bool) *weftv1.Service {
	out := &weftv1.Service{Name: o.Name, Module: o.Module, Version: o.Version, Current: o.Current, Description: o.Comment}
	for _, m := range o.Methods {
		to := &weftv1.Method{Name: m.Name, Description: m.Comment, Procedure: m.Procedure, ClientStream: m.ClientStream, ServerStream: m.ServerStream, Request: m.Request, Response: m.Response,
			Workflow: m.Bound.Workflow, Async: m.Bound.Async}
		if examples {
			to.ExampleJson = string(m.Example)
		}
		for _, r := range m.Routes {
			to.Routes = append(to.Routes, &weftv1.Route{Verb: r.Verb, Path: r.Path, Body: r.Body})
		}
		out.Methods = append(out.Methods, to)
	}
	return out
}

func schemasOf(o services.Offer) (map[string]*structpb.Struct, error) {
	out := make(map[string]*structpb.Struct, len(o.Schemas))
	for name, text := range o.Schemas {
		out[name] = &structpb.Struct{}
		if err := protojson.Unmarshal(text, out[name]); err != nil {
			return nil, weft.Errorf(weft.Internal, "rpc.GetService", "the schema of %s: %w", name, err)
		}
	}
	return out, nil
}

func moduleOf(m *catalog.Module) *weftv1.Module {
	out := &weftv1.Module{Name: m.Name, Version: m.Version, Digest: m.Digest, Size: m.Size, Imports: m.Imports,
		Requested: grantsOf(m.Manifest.Grants), Granted: grantsOf(m.Grants), CreateTime: timestamp(m.Created), Promoted: m.Promoted, Isolation: string(m.Isolation)}
	if s := m.Signature; s != nil {
		out.Signature = &weftv1.Signature{KeyId: s.ID, Key: string(s.Key), Comment: s.Comment, Trusted: m.Signed, Text: s.Text}
	}
	for _, h := range m.Manifest.Handlers {
		out.Handlers = append(out.Handlers, h.Name)
	}
	for _, s := range m.Manifest.Subscriptions {
		out.Subscriptions = append(out.Subscriptions, &weftv1.Subscription{Handler: s.Handler, Type: s.Type})
	}
	return out
}

func grantsOf(g weft.Grants) *weftv1.Grants {
	return &weftv1.Grants{Peers: g.Peers, Http: g.HTTP, Events: g.Events, State: g.State, Config: g.Config, Secrets: g.Secrets}
}

func grantsFrom(g *weftv1.Grants) weft.Grants {
	return weft.Grants{Peers: g.GetPeers(), HTTP: g.GetHttp(), Events: g.GetEvents(), State: g.GetState(), Config: g.GetConfig(), Secrets: g.GetSecrets()}
}

// workflowOf takes the next start from starts, which are by space/name:version.
func workflowOf(w catalog.WorkflowInfo, starts map[string]time.Time) *weftv1.Workflow {
	return &weftv1.Workflow{Space: w.Space, Name: w.Name, Version: w.Version, Title: w.Title, CreateTime: timestamp(w.Created),
		NextStartTime: timestamp(starts[w.Space+"/"+w.Name+":"+w.Version])}
}

// problemsOf is what is wrong with a workflow; ok is false for another error.
func problemsOf(err error) (out []*weftv1.Problem, ok bool) {
	var problems workflows.Problems
	if !errors.As(err, &problems) {
		return nil, false
	}
	for _, p := range problems {
		out = append(out, &weftv1.Problem{File: p.File, Line: int32(p.Line), Column: int32(p.Column), Message: p.Message, Hint: p.Hint})
	}
	return out, true
}

func eventOf(e weft.Event) *weftv1.Event {
	out := &weftv1.Event{Id: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: timestamp(e.Time), ContentType: e.DataContentType, Extensions: e.Extensions}
	if isJSON(e.DataContentType) { // or the text 1e2 would come out as the number 100
		out.Data = valueOf(e.Data)
	}
	if out.Data == nil {
		out.Binary = e.Data
	}
	return out
}

// isJSON reports whether data is JSON by its content type, which may be missing.
func isJSON(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return contentType == "" || strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func eventFrom(e *weftv1.Event) (out weft.Event, err error) {
	out = weft.Event{ID: e.Id, Source: e.Source, Type: e.Type, Subject: e.Subject, DataContentType: e.ContentType, Extensions: e.Extensions}
	if e.Time != nil {
		out.Time = e.Time.AsTime()
	}
	if e.Data != nil && out.DataContentType == "" {
		out.DataContentType = "application/json"
	}
	out.Data, err = bytesOf(e.Data, e.Binary)
	return out, err
}

func instancesOf(list []peers.Instance) []*weftv1.Instance {
	out := make([]*weftv1.Instance, len(list))
	for i, p := range list {
		out[i] = &weftv1.Instance{Service: p.Service, Instance: p.ID, Epoch: p.Epoch, Url: p.URL, Zone: p.Zone,
			Weight: int32(p.Weight), Status: weftv1.InstanceStatus(p.Status), Health: p.Health}
	}
	return out
}

func breakersOf(list []peers.BreakerState) []*weftv1.Breaker {
	out := make([]*weftv1.Breaker, len(list))
	for i, s := range list {
		out[i] = &weftv1.Breaker{Peer: s.Peer, Instance: s.Instance, State: s.State, Forced: s.Forced, Reason: s.Reason,
			Until: timestamp(s.Until), ChangeTime: timestamp(s.Since)}
	}
	return out
}
