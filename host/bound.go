package host

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/host/rpc"
	"github.com/weftrun/weft/host/services"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
)

// RunHeader names the run that answers a call of a bound method.
const RunHeader = "Weft-Run"

// boundOf are the methods of a module that workflows answer.
func boundOf(m *catalog.Module) map[string]services.Binding {
	all := map[string]services.Binding{}
	for _, b := range m.Manifest.Bind {
		if b.Method != "" {
			all["/"+b.Method] = bindingOf(b)
		}
	}
	return all
}

// routesOf are the paths of a module that workflows answer without a method.
func routesOf(h *Host, ns string, m *catalog.Module) (all []services.Plain) {
	for _, b := range m.Manifest.Bind {
		if b.Route != "" {
			all = append(all, services.Plain{Route: b.Route, Bound: bindingOf(b), Serve: func(w http.ResponseWriter, r *http.Request, input []byte) {
				h.runs(w, r, engine.StartRun{Namespace: ns, Workflow: b.Pinned, Input: input}, b.Mode == weft.BindAsync)
			}})
		}
	}
	return all
}

func bindingOf(b weft.Binding) services.Binding {
	return services.Binding{Workflow: b.Pinned, Async: b.Mode == weft.BindAsync}
}

// start answers a call by a run. What ends the call ends the waiting and not the
// run; with the same Idempotency-Key a call comes back to it.
func (i methods) start(ctx context.Context, c *services.Call, b weft.Binding) error {
	input, err := c.RecvJSON()
	if err != nil {
		return err
	}
	asked := prefersNotToWait(c.Header("Prefer"))
	waits := !asked && b.Mode != weft.BindAsync
	if waits {
		leave, err := i.h.engine.Place(i.ns)
		if err != nil {
			return err
		}
		defer leave()
	}
	workflow, version, _ := strings.Cut(b.Pinned, ":")
	run, _, err := i.h.engine.StartRun(ctx, engine.StartRun{Namespace: i.ns, Workflow: workflow, Version: version, Input: input, Key: c.Header("Idempotency-Key"), Depth: engine.DepthOf(c.Header(weft.HeaderDepth))})
	if err != nil {
		return err
	}
	if err := c.AddHeader(RunHeader, run.ID); err != nil {
		return err
	}
	if asked {
		if err := c.AddHeader("Preference-Applied", preference); err != nil {
			return err
		}
	}
	if !waits {
		return i.accept(c, run)
	}
	if run, err = rpc.Wait(ctx, i.h.drainOf(ctx), i.h.engine, run); err != nil {
		return err
	}
	if err := rpc.Failed(run); err != nil {
		return err
	}
	if err := c.SendJSON(run.Output); err != nil {
		return weft.Errorf(weft.CodeOf(err), "workflow "+b.Pinned, "what run %s of %s has put out is %w", run.ID, b.Pinned, err).
			WithHint("give it the form of the message by output.as")
	}
	return nil
}

// accept answers with the id of a run that goes on.
func (i methods) accept(c *services.Call, run engine.Run) error {
	if err := c.AddHeader("Location", whereabouts(run)); err != nil {
		return err
	}
	c.Accepted()
	if !c.Answers("run_id") {
		return c.SendJSON([]byte("{}"))
	}
	return c.SendJSON(fmt.Appendf(nil, `{"runId":%q}`, run.ID))
}

// preference is that of a caller who does not want to wait, RFC 7240.
const preference = "respond-async"

// prefersNotToWait reads the header Prefer.
func prefersNotToWait(prefer string) bool {
	for p := range strings.SplitSeq(prefer, ",") {
		if name, _, _ := strings.Cut(p, ";"); strings.EqualFold(strings.TrimSpace(name), preference) {
			return true
		}
	}
	return false
}

// whereabouts is where one sees what has become of a run.
func whereabouts(run engine.Run) string {
	message := fmt.Sprintf(`{"namespace":%q,"id":%q}`, run.Namespace, run.ID)
	return "/weft.v1.RunService/GetRun?" + url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {message}}.Encode()
}

// run is a workflow over plain HTTP: JSON in, the output of its run out.
func (h *Host) run(w http.ResponseWriter, r *http.Request) {
	body, err := bus.Body(w, r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	h.runs(w, r, engine.StartRun{Namespace: weft.NamespaceOr(r.Header.Get("Weft-Namespace")), Workflow: r.PathValue("name"), Input: body}, false)
}

// runs answers with the output of a run, or with its id where nobody waits. The
// workflow may have a version after its name.
func (h *Host) runs(w http.ResponseWriter, r *http.Request, s engine.StartRun, async bool) {
	s.Workflow, s.Version, _ = strings.Cut(s.Workflow, ":")
	s.Key, s.Depth = r.Header.Get("Idempotency-Key"), engine.DepthOf(r.Header.Get(weft.HeaderDepth))
	asked := prefersNotToWait(strings.Join(r.Header.Values("Prefer"), ","))
	waits := !asked && !async
	if waits {
		leave, err := h.engine.Place(s.Namespace)
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		defer leave()
	}
	run, _, err := h.engine.StartRun(r.Context(), s)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	w.Header().Set(RunHeader, run.ID)
	if asked {
		w.Header().Set("Preference-Applied", preference)
	}
	if !waits {
		w.Header().Set("Location", whereabouts(run))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, `{"run":%q}`, run.ID) // the caller has gone
		return
	}
	if run, err = rpc.Wait(r.Context(), h.drain, h.engine, run); err == nil {
		err = rpc.Failed(run)
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(run.Output) // the caller has gone
}
