package engine

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// script runs the script of a task. It reaches nothing outside, so nothing
// waits for the disk, and one that a crash has cut off runs again.
func (k *call) script() {
	c := k.c
	given, err := k.reveal(string(c.Input), inJSON)
	if err != nil {
		k.fail(err)
		return
	}
	c.Input = []byte(given)
	e := RunScript(k.ctx, k.a.e.opts.Scripts, k.a.row.Namespace, c)
	if e.Kind == machine.Finished {
		k.finish(k.hidden(e.Data), &txn{e: k.a.e, loss: k.a.e.losses.Load()})
		return
	}
	e.Fault.Detail = k.hide(e.Fault.Detail)
	k.failWith(e.Fault, nil)
}

// RunScript is the entry that answers a machine.RunScript of a namespace.
func RunScript(ctx context.Context, scripts *script.Engine, ns string, c machine.Command) machine.Entry {
	r, err := runScript(ctx, scripts, ns, c)
	if err != nil {
		return machine.Entry{Kind: machine.Failed, Step: c.Step, Fault: scriptFault(err)}
	}
	data, _ := json.Marshal(machine.ScriptResult(r)) // strings and a number: cannot fail
	return machine.Entry{Kind: machine.Finished, Step: c.Step, Data: data}
}

func runScript(ctx context.Context, scripts *script.Engine, ns string, c machine.Command) (script.Result, error) {
	const op = "engine.RunScript"
	if scripts == nil {
		return script.Result{}, weft.Errorf(weft.Unimplemented, op, "this host runs no scripts")
	}
	var in machine.ScriptInput
	if err := json.Unmarshal(c.Input, &in); err != nil {
		return script.Result{}, weft.Errorf(weft.DataLoss, op, "what the script is given cannot be read: %w", err)
	}
	return scripts.Run(ctx, ns, script.Program{Code: c.Script.Code, Arguments: in.Arguments, Environment: in.Environment, Stdin: in.Stdin})
}

// scriptFault is the error of a workflow that a script's becomes. What it threw
// and the limits of the sandbox are its own doing: a runtime error.
func scriptFault(err error) *machine.Fault {
	f := machine.FaultOf(err)
	var thrown *script.Fault
	if errors.As(err, &thrown) || weft.CodeOf(err) == weft.ResourceExhausted {
		f.Type, f.Status, f.Title = workflows.RuntimeError, 500, "Script failed"
	}
	return f
}
