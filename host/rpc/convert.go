package rpc

import (
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
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

// valueOf is JSON as a protobuf value; nil for nothing or what is no JSON.
func valueOf(data []byte) *structpb.Value {
	v := &structpb.Value{}
	if len(data) == 0 || protojson.Unmarshal(data, v) != nil {
		return nil
	}
	return v
}

// bytesOf is a protobuf value as JSON; nil for none.
func bytesOf(v *structpb.Value) []byte {
	if v == nil {
		return nil
	}
	data, err := json.Marshal(v.AsInterface())
	if err != nil {
		return nil
	}
	return data
}

func runOf(r engine.Run) *weftv1.Run {
	return &weftv1.Run{Id: r.ID, Space: r.Space, Workflow: r.Workflow, Version: r.Version, Status: weftv1.RunStatus(r.Status), Reason: r.Reason,
		WakeTime: timestamp(r.Wake), Peer: r.Peer, Entries: r.Entries, Output: valueOf(r.Output), Fault: faultOf(r.Fault),
		StartTime: timestamp(r.Started), UpdateTime: timestamp(r.Updated), EndTime: timestamp(r.Ended)}
}

func faultOf(f *machine.Fault) *weftv1.Fault {
	if f == nil {
		return nil
	}
	return &weftv1.Fault{Type: f.Type, Status: int32(f.Status), Title: f.Title, Detail: f.Detail, Instance: f.Instance}
}

func stepsOf(steps []machine.Step) []*weftv1.Step {
	out := make([]*weftv1.Step, len(steps))
	for i, s := range steps {
		out[i] = &weftv1.Step{Id: s.ID, Parent: s.Parent, Name: s.Name, Pointer: s.Pointer, Kind: s.Kind, Status: string(s.Status), Attempt: s.Attempt,
			StartTime: timestamp(s.Started), EndTime: timestamp(s.Ended), Output: valueOf(s.Output), Fault: faultOf(s.Fault), Waiting: s.Waiting}
		for _, n := range s.Notes {
			if n.Text != "" {
				out[i].Notes = append(out[i].Notes, n.Text)
			}
		}
	}
	return out
}

func moduleOf(m *catalog.Module) *weftv1.Module {
	out := &weftv1.Module{Name: m.Name, Version: m.Version, Digest: m.Digest, Size: m.Size, Imports: m.Imports,
		Requested: grantsOf(m.Manifest.Grants), Granted: grantsOf(m.Grants), CreateTime: timestamp(m.Created)}
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

func workflowOf(w catalog.WorkflowInfo) *weftv1.Workflow {
	return &weftv1.Workflow{Space: w.Space, Name: w.Name, Version: w.Version, Title: w.Title, CreateTime: timestamp(w.Created)}
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
	if out.Data = valueOf(e.Data); out.Data == nil {
		out.Binary = e.Data
	}
	return out
}

func eventFrom(e *weftv1.Event) weft.Event {
	out := weft.Event{ID: e.Id, Source: e.Source, Type: e.Type, Subject: e.Subject, DataContentType: e.ContentType, Extensions: e.Extensions, Data: e.Binary}
	if e.Time != nil {
		out.Time = e.Time.AsTime()
	}
	if data := bytesOf(e.Data); data != nil {
		out.Data = data
		if out.DataContentType == "" {
			out.DataContentType = "application/json"
		}
	}
	return out
}

func instancesOf(list []peers.Instance) []*weftv1.Instance {
	out := make([]*weftv1.Instance, len(list))
	for i, p := range list {
		out[i] = &weftv1.Instance{Service: p.Service, Instance: p.ID, Epoch: p.Epoch, Url: p.URL, Zone: p.Zone}
	}
	return out
}
