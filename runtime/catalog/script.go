package catalog

import (
	"context"
	"errors"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/workflows"
)

// CheckScripts reads the scripts of a definition of a namespace without running them. What is
// wrong with them is workflows.Problems.
func CheckScripts(ctx context.Context, scripts *script.Engine, ns string, def *workflows.Definition) error {
	var problems workflows.Problems
	for _, use := range def.Scripts() {
		if scripts == nil {
			return weft.Errorf(weft.Unimplemented, "catalog.CheckScripts", "this host runs no scripts")
		}
		err := scripts.Check(ctx, ns, use.Code)
		var f *script.Fault
		switch {
		case errors.As(err, &f):
			problems = append(problems, def.ScriptProblem(use, f.Line, f.Column, f.Message))
		case err != nil:
			return err
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// scripted reports whether the newest version of a workflow has a script.
func (c *Catalog) scripted() bool {
	for _, s := range c.now.Load().spaces {
		for _, list := range s.workflows {
			if w, ok := newest(list, "", (*workflow).version); ok && len(w.def.Scripts()) > 0 && c.scripts != nil {
				return true
			}
		}
	}
	return false
}
