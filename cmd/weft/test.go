package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

func (a *app) testCommand() *cobra.Command {
	var crashes, brief bool
	c := verb("test FILE|DIR...", "Test workflows, offline, in virtual time", func(ctx context.Context, args []string) error {
		passed, failed := 0, 0
		err := everyFile(args, func(file string, src []byte) error {
			if a.output == "table" {
				a.printf("%s\n", file)
			}
			err := host.Test(ctx, file, src, crashes, func(o host.Outcome) error {
				if len(o.Failures) == 0 {
					passed++
				} else {
					failed++
				}
				if err := a.outcome(file, o, !brief || len(o.Failures) > 0); err != nil {
					return err
				}
				return ctx.Err()
			})
			if err != nil && ctx.Err() == nil {
				return refused(file, strings.Split(err.Error(), "\n"))
			}
			return err
		})
		if a.output == "table" && err == nil {
			a.printf("%d passed, %d failed\n", passed, failed)
		}
		if err == nil && failed > 0 {
			return fmt.Errorf("%d of %d cases failed", failed, passed+failed)
		}
		return err
	})
	c.Flags().BoolVar(&crashes, "crash-everywhere", false, "run each case again with a crash behind every journal entry")
	c.Flags().BoolVar(&brief, "brief", false, "show the steps of cases that fail only")
	return c
}

// outcome prints what came of a case.
func (a *app) outcome(file string, o host.Outcome, steps bool) error {
	if a.output != "table" {
		m, err := outcomeFields(file, o)
		if err == nil {
			_, err = a.jsonLine(m)
		}
		return err
	}
	status := "completed"
	if len(o.Failures) > 0 {
		status = "faulted"
	}
	a.printf("%s %s  %s", a.paint(status, marks[status]), o.Case, o.Took)
	if o.Crashes > 0 {
		a.printf("  %d crashes", o.Crashes)
	}
	a.printf("\n")
	for _, f := range o.Failures {
		a.printf("    %s\n", f)
	}
	if steps && len(o.Runs) > 0 {
		a.runTree(o, "", 0, 0)
		for _, r := range o.Runs[1:] {
			if r.Parent == "" {
				a.printf("    %s began too\n", r.Workflow)
			}
		}
	}
	return nil
}

// stepsMax is how many steps of one run are shown.
const stepsMax = 500

// runTree prints the steps of a run, and below a step those of the run that it ran.
func (a *app) runTree(o host.Outcome, parent string, step uint32, deep int) {
	for i, r := range o.Runs {
		if r.Parent != parent || r.Step != step || parent == "" && i > 0 {
			continue
		}
		var all []*weftv1.Step
		for n, s := range r.Steps {
			if n == stepsMax {
				a.printf("    and %d steps more\n", len(r.Steps)-n)
				break
			}
			step := stepOf(s)
			all = append(all, step)
			inside := depth(step, all) + deep
			a.printf("  %s\n", a.line(step, inside))
			if s.Kind == "run" {
				a.runTree(o, r.ID, s.ID, inside+1)
			}
		}
	}
}

// stepOf is a step as the API would tell it.
func stepOf(s host.Step) *weftv1.Step {
	out := &weftv1.Step{Id: s.ID, Parent: s.Parent, Name: s.Name, Kind: s.Kind, Status: string(s.Status), Attempt: s.Attempt,
		StartTime: timestamppb.New(s.Started), Waiting: s.Waiting}
	if !s.Ended.IsZero() {
		out.EndTime = timestamppb.New(s.Ended)
	}
	if s.Fault != nil {
		out.Fault = &weftv1.Fault{Type: s.Fault.Type, Status: int32(s.Fault.Status), Title: s.Fault.Title, Detail: s.Fault.Detail}
	}
	for _, n := range s.Notes {
		if n.Text != "" {
			out.Notes = append(out.Notes, n.Text)
		}
	}
	return out
}

func outcomeFields(file string, o host.Outcome) (*structpb.Struct, error) {
	failures, steps := []any{}, []any{}
	for _, f := range o.Failures {
		failures = append(failures, f)
	}
	for _, r := range o.Runs {
		for _, s := range r.Steps {
			steps = append(steps, map[string]any{"run": r.ID, "id": float64(s.ID), "parent": float64(s.Parent), "name": s.Name, "kind": s.Kind,
				"status": string(s.Status), "attempt": float64(s.Attempt)})
		}
	}
	m := map[string]any{"file": file, "case": o.Case, "passed": len(o.Failures) == 0, "failures": failures, "status": o.Status,
		"took": o.Took.String(), "crashes": float64(o.Crashes), "steps": steps}
	if o.Output != nil {
		m["outputJson"] = string(o.Output) // a number of JSON may be more than a double holds
	}
	if f := o.Fault; f != nil {
		m["fault"] = map[string]any{"type": f.Type, "status": float64(f.Status), "title": f.Title, "detail": f.Detail, "instance": f.Instance}
	}
	return structpb.NewStruct(m)
}
