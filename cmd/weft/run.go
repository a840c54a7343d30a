package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func (a *app) runs() weftv1connect.RunServiceClient {
	return weftv1connect.NewRunServiceClient(a.client())
}

var statuses = []string{"running", "parked", "completed", "faulted", "cancelled"}

func (a *app) runCommand() *cobra.Command {
	list := &weftv1.ListRunsRequest{}
	var status []string
	var since, until time.Duration
	listing := verb("list", "List runs, the newest first", func(ctx context.Context, _ []string) error {
		list.Namespace, list.StartAfter, list.StartBefore = a.namespace, ago(since), ago(until)
		for _, s := range status {
			v, ok := weftv1.RunStatus_value["RUN_STATUS_"+strings.ToUpper(s)]
			if !ok {
				return usagef("--status %s; write %s", s, strings.Join(statuses, ", "))
			}
			list.Statuses = append(list.Statuses, weftv1.RunStatus(v))
		}
		res, err := a.runs().ListRuns(ctx, list)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, r := range res.Runs {
			rows = append(rows, []string{r.Id, r.Workflow + ":" + r.Version, statusOf(r), r.Reason})
		}
		err = a.table(res, "ID WORKFLOW STATUS REASON", rows)
		if res.NextPageToken != "" && a.output == "table" {
			a.printf("more: --page %s\n", res.NextPageToken)
		}
		return err
	})
	listing.Flags().StringVar(&list.Workflow, "workflow", "", "name, or space/name")
	listing.Flags().StringSliceVar(&status, "status", nil, strings.Join(statuses, ", "))
	_ = listing.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statuses, cobra.ShellCompDirectiveNoFileComp)) // fails only for a flag that is not there
	listing.Flags().StringVar(&list.Parent, "parent", "", "id of the run that runs them")
	listing.Flags().DurationVar(&since, "since", 0, "only runs that started in this time")
	listing.Flags().DurationVar(&until, "until", 0, "only runs that started longer ago")
	listing.Flags().Int32Var(&list.PageSize, "limit", 50, "runs in a page")
	listing.Flags().StringVar(&list.PageToken, "page", "", "token of the page before")
	var reason string
	cancel := verb("cancel ID", "End a run", func(ctx context.Context, args []string) error {
		res, err := a.runs().Cancel(ctx, &weftv1.CancelRequest{Namespace: a.namespace, Id: args[0], Reason: reason})
		return a.showRun(res.GetRun(), nil, err)
	})
	pause := verb("pause ID", "Hold a run", func(ctx context.Context, args []string) error {
		res, err := a.runs().Pause(ctx, &weftv1.PauseRequest{Namespace: a.namespace, Id: args[0], Reason: reason})
		return a.showRun(res.GetRun(), nil, err)
	})
	for _, c := range []*cobra.Command{cancel, pause} {
		c.Flags().StringVar(&reason, "reason", "", "why, for others")
	}
	var step uint32
	rerun := verb("rerun ID", "Run a run that has ended again, from where it failed or from a step", func(ctx context.Context, args []string) error {
		res, err := a.runs().Rerun(ctx, &weftv1.RerunRequest{Namespace: a.namespace, Id: args[0], Step: step})
		return a.showRun(res.GetRun(), nil, err)
	})
	rerun.Flags().Uint32Var(&step, "step", 0, "number of the step, as describe shows it; 0 is where it failed")
	return group("run", "Start runs and look after them", a.startCommand(), listing, cancel, pause, rerun,
		verb("resume ID", "Let a paused run go on", func(ctx context.Context, args []string) error {
			res, err := a.runs().Resume(ctx, &weftv1.ResumeRequest{Namespace: a.namespace, Id: args[0]})
			return a.showRun(res.GetRun(), nil, err)
		}),
		verb("describe ID", "Show a run step by step", func(ctx context.Context, args []string) error {
			res, err := a.runs().GetRun(ctx, &weftv1.GetRunRequest{Namespace: a.namespace, Id: args[0]})
			if err != nil {
				return err
			}
			if done, err := a.json(res); done {
				return err
			}
			if res.StepsOmitted > 0 {
				a.printf("%d steps that began before these are not shown\n", res.StepsOmitted)
			}
			return a.showRun(res.Run, res.Steps, nil)
		}),
		verb("watch ID", "Follow a run until it ends", func(ctx context.Context, args []string) error { return a.follow(ctx, args[0]) }))
}

// ago is the time so long before now, nil for zero.
func ago(d time.Duration) *timestamppb.Timestamp {
	if d == 0 {
		return nil
	}
	return timestamppb.New(time.Now().Add(-d))
}

func (a *app) startCommand() *cobra.Command {
	q := &weftv1.StartRequest{}
	var input string
	var follow bool
	c := verb("start WORKFLOW", "Start a run", func(ctx context.Context, args []string) error {
		q.Namespace, q.Workflow = a.namespace, args[0]
		if name, version, ok := strings.Cut(args[0], ":"); ok {
			q.Workflow, q.Version = name, version
		}
		in, err := a.inputOf("--input", input)
		if err != nil {
			return err
		}
		q.InputJson = string(in)
		res, err := a.runs().Start(ctx, q)
		if err != nil {
			return err
		}
		if follow {
			return a.follow(ctx, res.Run.Id)
		}
		if done, err := a.json(res); done {
			return err
		}
		return a.showRun(res.Run, nil, nil)
	})
	c.Flags().StringVar(&input, "input", "", inputHelp)
	c.Flags().StringVar(&q.IdempotencyKey, "key", "", "idempotency key: the same key starts one run")
	c.Flags().BoolVar(&q.Wait, "wait", false, "answer when the run has ended")
	c.Flags().BoolVar(&follow, "follow", false, "show the steps as they go")
	return c
}

func statusOf(r *weftv1.Run) string {
	return strings.ToLower(strings.TrimPrefix(r.Status.String(), "RUN_STATUS_"))
}

// status is that of a run as people see it.
func (a *app) status(r *weftv1.Run) string { return a.paint(statusOf(r), strings.ToUpper(statusOf(r))) }

func (a *app) showRun(r *weftv1.Run, steps []*weftv1.Step, err error) error {
	if err != nil {
		return err
	}
	if done, err := a.json(r); done {
		return err
	}
	a.draw(r, steps, 0)
	return nil
}

// draw prints a run and its steps, without the first ones of them.
func (a *app) draw(r *weftv1.Run, steps []*weftv1.Step, without int) {
	a.printf("run %s  %s:%s  %s\n", r.Id, r.Workflow, r.Version, a.status(r))
	if r.Parent != "" {
		a.printf("  run by %s\n", r.Parent)
	}
	if r.Origin != "" {
		a.printf("  a rerun of %s\n", r.Origin)
	}
	for _, s := range steps[without:] {
		a.printf("%s\n", a.line(s, depth(s, steps)))
	}
	a.end(r)
}

// end prints how a run ended, or why it waits.
func (a *app) end(r *weftv1.Run) {
	switch {
	case r.Output != nil:
		a.printf("output %s\n", text(r.Output))
	case r.OutputJson != "":
		a.printf("output %s\n", r.OutputJson)
	case r.Fault != nil:
		a.printf("fault %d %s: %s (at %s)\n", r.Fault.Status, tame(r.Fault.Title, ""), tame(r.Fault.Detail, ""), r.Fault.Instance)
	case r.Reason != "":
		a.printf("%s: %s\n", a.status(r), tame(r.Reason, ""))
	}
}

var marks = map[string]string{"completed": "✓", "faulted": "✗", "running": "•", "parked": "‖", "cancelled": "–", "skipped": "·"}

// line is a step: mark, number, name, kind, attempt, time, and why it waits.
func (a *app) line(s *weftv1.Step, depth int) string {
	name := strings.Repeat("  ", depth) + s.Name
	out := fmt.Sprintf("  %s %3d %-28s %-7s", a.paint(s.Status, marks[s.Status]), s.Id, name, s.Kind)
	if s.EndTime != nil {
		out += fmt.Sprintf(" %8s", s.EndTime.AsTime().Sub(s.StartTime.AsTime()).Round(10*time.Microsecond))
	}
	if s.Attempt > 1 || len(s.Notes) > 0 { // to have been parked is no attempt
		out += fmt.Sprintf("  attempt %d", s.Attempt)
	}
	for _, n := range s.Notes {
		if n != s.Waiting {
			out += "  parked: " + tame(n, "")
		}
	}
	if s.Waiting != "" {
		out += "  " + tame(s.Waiting, "")
	}
	if s.Fault != nil {
		out += fmt.Sprintf("  %d %s", s.Fault.Status, tame(s.Fault.Detail, ""))
	}
	return out
}

// depth is how many of the steps are around s. A step comes after those around it.
func depth(s *weftv1.Step, all []*weftv1.Step) (n int) {
	for at := len(all) - 1; at >= 0 && s.Parent != 0; at-- {
		if all[at].Id == s.Parent {
			s = all[at]
			n++
		}
	}
	return n
}

// follow shows a run until it has ended or the person has seen enough: as a
// tree on a terminal, else each step once it has an outcome and each reason to wait.
func (a *app) follow(ctx context.Context, id string) error {
	stream, err := a.runs().Watch(ctx, &weftv1.WatchRequest{Namespace: a.namespace, Id: id})
	if err != nil {
		return err
	}
	defer stream.Close()
	show := (&plain{app: a, seen: map[uint32]string{}}).show
	switch {
	case a.output != "table":
		show = func(res *weftv1.WatchResponse) error { _, err := a.jsonLine(res); return err }
	case a.terminal:
		show = (&tree{app: a}).show
	}
	if err := each(stream.Receive, show); ctx.Err() == nil {
		return err
	}
	return nil
}

// plain is a run as lines that stay.
type plain struct {
	*app
	started bool
	seen    map[uint32]string // statuses of steps
	reason  string
}

func (p *plain) show(res *weftv1.WatchResponse) error {
	r := res.Run
	if !p.started {
		p.printf("run %s of %s:%s\n", r.Id, r.Workflow, r.Version)
		p.started = true
	}
	for _, s := range res.Steps {
		if p.seen[s.Id] != s.Status && s.Status != "running" {
			p.printf("%s\n", p.line(s, depth(s, res.Steps)))
		}
		p.seen[s.Id] = s.Status
	}
	if r.Reason != p.reason || r.EndTime != nil {
		if p.reason = r.Reason; r.EndTime != nil {
			p.printf("run %s %s\n", r.Id, p.status(r))
		}
		p.end(r)
	}
	return nil
}

// treeMax is how many steps of a run in progress are drawn, the newest: what
// has left the screen cannot be drawn anew.
const treeMax = 20

// tree is a run as a picture that changes in place. Its lines do not wrap, or
// they could not be counted.
type tree struct {
	*app
	lines int // that are on the screen
}

func (t *tree) show(res *weftv1.WatchResponse) error {
	if t.lines > 0 {
		t.printf("\x1b[%dA\x1b[J", t.lines)
	}
	if res.Run.EndTime != nil {
		t.draw(res.Run, res.Steps, 0)
		return nil
	}
	picture, drawn := *t.app, &strings.Builder{}
	picture.out = drawn
	picture.draw(res.Run, res.Steps, max(0, len(res.Steps)-treeMax))
	t.lines = strings.Count(drawn.String(), "\n")
	t.printf("\x1b[?7l%s\x1b[?7h", drawn)
	return nil
}
