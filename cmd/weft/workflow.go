package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) workflows() weftv1connect.WorkflowServiceClient {
	return weftv1connect.NewWorkflowServiceClient(a.client())
}

func (a *app) workflowCommand() *cobra.Command {
	return group("workflow", "Deploy workflows",
		verb("apply FILE|DIR...", "Deploy workflows, each on its own", func(ctx context.Context, args []string) error {
			return everyFile(args, func(file string, src []byte) error {
				res, err := a.apply(ctx, file, src)
				if err != nil {
					return err
				}
				if done, err := a.jsonLine(res); done {
					return err
				}
				a.printf("%s\n", applied(res))
				return nil
			})
		}),
		verb("validate FILE|DIR...", "Check workflows, offline", func(ctx context.Context, args []string) error {
			return everyFile(args, func(file string, src []byte) error {
				doubts, err := host.Validate(ctx, file, src)
				if err != nil {
					return refused(file, strings.Split(err.Error(), "\n"))
				}
				answer := []string{"valid", file}
				if len(doubts) > 0 {
					answer = append(answer, "doubts", strings.Join(doubts, "\n"))
				}
				if done, err := a.jsonLine(fields(answer...)); done {
					return err
				}
				a.printf("%s is valid\n", file)
				for _, d := range doubts {
					a.printf("%s\n", d)
				}
				return nil
			})
		}),
		a.graphCommand(),
		verb("show NAME[:VERSION]", "Show a workflow's YAML", func(ctx context.Context, args []string) error {
			name, version, _ := strings.Cut(args[0], ":")
			res, err := a.workflows().GetWorkflow(ctx, &weftv1.GetWorkflowRequest{Namespace: a.namespace, Name: name, Version: version})
			if err != nil {
				return err
			}
			return a.print(res, "%s", res.Workflow.Source)
		}),
		verb("list", "List workflows", func(ctx context.Context, _ []string) error {
			res, err := a.workflows().ListWorkflows(ctx, &weftv1.ListWorkflowsRequest{Namespace: a.namespace})
			if err != nil {
				return err
			}
			var rows [][]string
			for _, w := range res.Workflows {
				next := "-"
				if w.NextStartTime != nil {
					next = w.NextStartTime.AsTime().Format(time.RFC3339)
				}
				rows = append(rows, []string{w.Space + "/" + w.Name, w.Version, next, w.Title})
			}
			return a.table(res, "NAME VERSION NEXT TITLE", rows)
		}))
}

func (a *app) graphCommand() *cobra.Command {
	var format string
	c := verb("graph FILE", "Draw a workflow, offline", func(_ context.Context, args []string) error {
		if !slices.Contains(host.GraphFormats, format) {
			return usagef("-f %s; write %s", format, strings.Join(host.GraphFormats, " or "))
		}
		src, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		picture, err := host.Graph(args[0], src, format)
		if err != nil {
			return refused(args[0], strings.Split(err.Error(), "\n"))
		}
		return a.print(fields("file", args[0], "format", format, "graph", picture), "%s", picture)
	})
	c.Flags().StringVarP(&format, "format", "f", host.GraphFormats[0], strings.Join(host.GraphFormats, " or "))
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(host.GraphFormats, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	return c
}

// apply deploys a workflow; its problems are an error.
func (a *app) apply(ctx context.Context, file string, src []byte) (*weftv1.ApplyResponse, error) {
	res, err := a.workflows().Apply(ctx, &weftv1.ApplyRequest{Namespace: a.namespace, File: file, Source: string(src)})
	if err != nil {
		return nil, err
	}
	if lines := problemLines(res.Problems); len(lines) > 0 {
		return nil, refused(file, lines)
	}
	return res, nil
}

// applied says what came of it.
func applied(res *weftv1.ApplyResponse) string {
	s := fmt.Sprintf("%s/%s:%s is %s", res.Workflow.Space, res.Workflow.Name, res.Workflow.Version, liveOr(res.Unchanged))
	if len(res.Pinned) > 0 {
		s += ", calls " + strings.Join(res.Pinned, ", ")
	}
	return s
}

// refused is every problem on a line of its own, as editors read it.
func refused(file string, problems []string) error {
	return fmt.Errorf("%s is refused\n%s", file, strings.Join(problems, "\n"))
}

// everyFile calls fn with each file, and with each .yaml and .yml file of each
// folder. It goes on after an error, and returns them all.
func everyFile(names []string, fn func(file string, src []byte) error) error {
	var errs []error
	for _, name := range names {
		files := []string{name}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			entries, err := os.ReadDir(name)
			if err != nil {
				return err
			}
			files = nil
			for _, e := range entries {
				if kindOf(e.Name()) == ".yaml" {
					files = append(files, filepath.Join(name, e.Name()))
				}
			}
			if len(files) == 0 {
				errs = append(errs, fmt.Errorf("%s has no .yaml file", name))
			}
		}
		for _, file := range files {
			src, err := os.ReadFile(file)
			if err == nil {
				err = fn(file, src)
			}
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
