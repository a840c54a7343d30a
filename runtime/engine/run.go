package engine

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// Status is where a run is in its life. The numbers are stored.
type Status int

// A run is Running while some of its work is at hand, Parked while it waits
// for time, an event, a peer or a person, and then in one of three ends.
const (
	Running Status = 1 + iota
	Parked
	Completed
	Faulted
	Cancelled
)

var statusNames = [...]string{"", "running", "parked", "completed", "faulted", "cancelled"}

// String is the status in the words of the API and the command line.
func (s Status) String() string {
	if s < Running || s > Cancelled {
		return "unknown"
	}
	return statusNames[s]
}

// Ended reports whether nothing more will happen to the run.
func (s Status) Ended() bool { return s >= Completed }

// Run is what is durable of one run.
type Run struct {
	ID, Namespace            string
	Space, Workflow, Version string // the document's namespace, name and version
	Status                   Status
	Key                      string
	Reason                   string    // why it is parked or was cancelled
	Wake                     time.Time // when its earliest timer is due; zero for none
	Peer                     string    // the peer it is parked on
	Entries                  int64
	Parent                   string // the run that runs it, empty for none
	Origin                   string // the run and step that it is a rerun of, empty for none
	Output                   []byte // JSON, once completed
	Fault                    *machine.Fault
	Started, Updated, Ended  time.Time
}

func fromRow(r store.Run) (Run, error) {
	run := Run{ID: r.ID, Namespace: r.Namespace, Space: r.Space, Workflow: r.Workflow, Version: r.Version, Status: Status(r.Status), Key: r.Key,
		Reason: r.Reason, Wake: millis(r.Wake), Peer: r.Peer, Entries: r.Entries, Parent: r.Parent, Origin: r.Origin, Output: r.Output,
		Started: millis(r.Started), Updated: millis(r.Updated), Ended: millis(r.Ended)}
	if r.Fault != nil {
		run.Fault = &machine.Fault{}
		if err := json.Unmarshal(r.Fault, run.Fault); err != nil {
			return run, weft.Errorf(weft.DataLoss, "engine.fromRow", "fault of run %s: %w", r.ID, err)
		}
	}
	return run, nil
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// Run finds a run. Another namespace's run is not found.
func (e *Engine) Run(ctx context.Context, ns, id string) (Run, error) {
	row, err := e.row(ctx, ns, id)
	if err != nil {
		return Run{}, err
	}
	return fromRow(row)
}

func (e *Engine) row(ctx context.Context, ns, id string) (store.Run, error) {
	row, ok, err := e.db.Run(ctx, id)
	if err == nil && (!ok || row.Namespace != ns) {
		err = weft.Errorf(weft.NotFound, "engine.Engine.Run", "no run %q in namespace %s", id, ns).WithHint("weft run list shows what there is")
	}
	return row, err
}

// Describe is a run with its steps, folded from its journal.
func (e *Engine) Describe(ctx context.Context, ns, id string) (Run, []machine.Step, error) {
	row, err := e.row(ctx, ns, id)
	if err != nil {
		return Run{}, nil, err
	}
	run, err := fromRow(row)
	if err != nil {
		return run, nil, err
	}
	steps, err := e.trace(ctx, row)
	return run, steps, err
}

// trace folds the journal of a run; of a long one, what is left of it.
func (e *Engine) trace(ctx context.Context, row store.Run) ([]machine.Step, error) {
	def, err := e.cat.Workflow(row.Namespace, row.Space+"/"+row.Workflow, row.Version)
	if err != nil {
		return nil, err
	}
	a := newActor(e, def, row)
	if row.Entries > e.opts.HistoryMax {
		if err := a.restore(ctx); err != nil {
			return nil, err
		}
	}
	entries, err := e.entries(ctx, row.ID, a.since)
	if err != nil {
		return nil, err
	}
	return a.m.Trace(slices.Values(entries))
}

// ListRuns selects runs, the newest first. Empty fields select all.
type ListRuns struct {
	Namespace     string
	Workflow      string // name, or space/name
	Statuses      []Status
	Parent        string    // runs that this run runs, the oldest first; at most 1,000, without pages
	After, Before time.Time // of the start; After is included
	PageSize      int       // default 50; more than PageMax is PageMax
	PageToken     string    // of the page before
}

// PageMax bounds a page of runs.
const PageMax = 1000

func (l ListRuns) check() error {
	const op = "engine.Engine.List"
	if l.PageSize < 0 {
		return weft.Errorf(weft.InvalidArgument, op, "page size %d is below zero", l.PageSize)
	}
	if l.PageToken != "" {
		if id, err := ulid.ParseStrict(l.PageToken); err != nil || id.String() != l.PageToken {
			return weft.Errorf(weft.InvalidArgument, op, "%.80q is no page token", l.PageToken).WithHint("take it from the page before, or leave it empty")
		}
	}
	for _, s := range l.Statuses {
		if s < Running || s > Cancelled {
			return weft.Errorf(weft.InvalidArgument, op, "%d is no status of a run", s)
		}
	}
	return nil
}

// List is one page of runs and the token of the next, empty at the end.
func (e *Engine) List(ctx context.Context, l ListRuns) (runs []Run, next string, err error) {
	if err := l.check(); err != nil {
		return nil, "", err
	}
	def(&l.PageSize, 50)
	size := min(l.PageSize, PageMax)
	var rows []store.Run
	if l.Parent != "" {
		rows, err = e.children(ctx, l)
	} else {
		rows, err = e.db.Runs(ctx, l.filter(size+1))
	}
	if err != nil {
		return nil, "", err
	}
	if len(rows) > size && l.Parent == "" {
		rows = rows[:size]
		next = rows[size-1].ID
	}
	for _, row := range rows {
		run, err := fromRow(row)
		if err != nil {
			return nil, "", err
		}
		runs = append(runs, run)
	}
	return runs, next, nil
}

func (e *Engine) children(ctx context.Context, l ListRuns) ([]store.Run, error) {
	if _, err := e.row(ctx, l.Namespace, l.Parent); err != nil {
		return nil, err
	}
	return e.db.Children(ctx, l.Parent, PageMax)
}

func (l ListRuns) filter(limit int) store.RunFilter {
	f := store.RunFilter{Namespace: l.Namespace, Workflow: l.Workflow, Before: l.PageToken, Limit: limit}
	if space, name, ok := strings.Cut(l.Workflow, "/"); ok {
		f.Space, f.Workflow = space, name
	}
	if !l.After.IsZero() {
		f.From = firstID(l.After)
	}
	if id := firstID(l.Before); !l.Before.IsZero() && (f.Before == "" || id < f.Before) {
		f.Before = id
	}
	for s := Running; s <= Cancelled; s++ {
		if len(l.Statuses) == 0 || slices.Contains(l.Statuses, s) {
			f.Statuses = append(f.Statuses, int(s))
		}
	}
	return f
}

// firstID is the lowest id of a run that starts at a time.
func firstID(at time.Time) string {
	var id ulid.ULID
	_ = id.SetTime(ulid.Timestamp(at)) // fails in the year 10889
	return id.String()
}
