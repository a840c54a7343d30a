package rpc

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/weftrun/weft"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/workflows"
)

// Wait waits for the end of a run, but not while the host drains: the run goes on
// later, and its caller can ask then. Nor does the run end with ctx. The caller has a Place.
func Wait(ctx, drain context.Context, e *engine.Engine, run engine.Run) (engine.Run, error) {
	const op = "rpc.Wait"
	ctx, end := untilDrain(ctx, drain)
	defer end()
	ended, err := e.Wait(ctx, run.Namespace, run.ID)
	switch why := context.Cause(ctx); {
	case err == nil || why == nil:
	case why == ErrDraining:
		err = weft.Errorf(weft.Unavailable, op, "weft is shutting down").WithHint("run %s goes on after the restart: watch it then", run.ID)
	case weft.CodeOf(why) == weft.DeadlineExceeded:
		err = weft.Errorf(weft.DeadlineExceeded, op, "run %s has not ended in time", run.ID).WithHint("it goes on: watch it, or call again with the same idempotency key")
	case errors.Is(err, context.Canceled):
		err = why
	}
	return ended, err
}

// Failed is what callers of a bound method get of a run that has ended without an
// output, nil for one that has completed: a code by the status of its error, and
// the error itself as a detail, a weft.v1.Fault.
func Failed(r engine.Run) error {
	workflow := r.Space + "/" + r.Workflow + ":" + r.Version
	op := "workflow " + workflow
	switch {
	case r.Status == engine.Completed:
		return nil
	case r.Fault == nil:
		return weft.Errorf(weft.Aborted, op, "run %s of %s was cancelled: %s", r.ID, workflow, cmp.Or(r.Reason, "no reason was given"))
	}
	f := r.Fault
	text := f.Title
	if f.Detail != "" {
		text = strings.TrimPrefix(text+": "+f.Detail, ": ")
	}
	e := weft.Errorf(workflows.CodeOfStatus(f.Status), op, "%s", cmp.Or(text, f.Type))
	detail, err := proto.Marshal(faultOf(f))
	if err != nil {
		return err
	}
	e.Details = []weft.Detail{{Type: string((&weftv1.Fault{}).ProtoReflect().Descriptor().FullName()), Value: detail}}
	return e
}
