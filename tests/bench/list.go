package bench

import (
	"context"
	"slices"
	"time"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// Page is how long pages of a list take.
type Page struct {
	Filter     string
	Rows       int           // that the pages had, all together
	P50, Worst time.Duration // of one page
}

const (
	pageSize = 50
	pagesAll = 40 // that are read of each list; at its end it begins again
)

// Pages measures lists of parked runs with each filter, page after page.
func (r *Rig) Pages(ctx context.Context) (all []Page, err error) {
	oldest, newest, err := r.ends(ctx)
	if err != nil {
		return nil, err
	}
	middle := oldest.Add(newest.Sub(oldest) / 2)
	for _, l := range []struct {
		filter string
		runs   engine.ListRuns
	}{
		{"none", engine.ListRuns{}},
		{"status parked", engine.ListRuns{Statuses: []engine.Status{engine.Parked}}},
		{"status completed, 1 of 100", engine.ListRuns{Statuses: []engine.Status{engine.Completed}}},
		{"status faulted, none", engine.ListRuns{Statuses: []engine.Status{engine.Faulted}}},
		{"workflow, 1 of 20", engine.ListRuns{Workflow: "bench/nap"}},
		{"workflow and status", engine.ListRuns{Workflow: "bench/nap", Statuses: []engine.Status{engine.Parked}}},
		{"workflow that does not exist", engine.ListRuns{Workflow: "nothing"}},
		{"started before the middle", engine.ListRuns{Before: middle}},
		{"started since the middle, and completed", engine.ListRuns{After: middle, Statuses: []engine.Status{engine.Completed}}},
	} {
		l.runs.Namespace, l.runs.PageSize = ns, pageSize
		p, err := r.pages(ctx, l.runs)
		if err != nil {
			return nil, err
		}
		p.Filter = l.filter
		all = append(all, p)
	}
	return all, nil
}

func (r *Rig) pages(ctx context.Context, l engine.ListRuns) (p Page, err error) {
	var times []time.Duration
	for len(times) < pagesAll {
		begun := time.Now()
		runs, next, err := r.Engine.List(ctx, l)
		if err != nil {
			return p, err
		}
		times = append(times, time.Since(begun))
		p.Rows += len(runs)
		l.PageToken = next
	}
	p.P50, p.Worst = median(times), slices.Max(times)
	return p, nil
}

// ends are when the oldest and the newest run started.
func (r *Rig) ends(ctx context.Context) (oldest, newest time.Time, err error) {
	err = r.DB.Query(ctx, "select min(started), max(started) from run", nil, func(row store.Row) error {
		oldest, newest = time.UnixMilli(row.Int(0)), time.UnixMilli(row.Int(1))
		return nil
	})
	return oldest, newest, err
}
