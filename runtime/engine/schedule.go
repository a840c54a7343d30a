package engine

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// schedule starts workflows when their time has come. What is due is rows, and
// a run and the row that it moves on are one commit: no start is lost or
// doubled. Of several times that were missed, the latest alone counts. All but
// fresh belongs to the goroutine of the timers.
type schedule struct {
	e     *Engine
	held  time.Time   // before this nothing is started: a start has failed
	fresh atomic.Bool // what is deployed has changed: try at once
}

// schedulePage is how many due schedules are looked at at once; scheduleRetry
// is how long nothing is started after a start that failed.
const (
	schedulePage  = 256
	scheduleRetry = time.Second
)

// scheduleKey begins the idempotency key of a run that time has started, which
// goes on with the kind of the schedule and the time for which it is.
const scheduleKey = "schedule "

// look starts all that is due.
func (s *schedule) look() {
	if s.fresh.Swap(false) {
		s.held = time.Time{}
	}
	for s.e.life.Err() == nil && !s.e.now().Before(s.held) {
		more, err := s.page()
		if err != nil {
			s.held = s.e.now().Add(scheduleRetry)
		}
		// What is not found is on its way into the catalog, or out of it.
		if err != nil && s.e.life.Err() == nil && weft.CodeOf(err) != weft.NotFound {
			s.e.log.Error("workflow not started on time, will try again", "error", err)
		}
		if !more {
			return
		}
	}
}

// page starts some of what is due, durably; more says that there may be others.
// What fails does not keep the rest.
func (s *schedule) page() (more bool, failed error) {
	ctx, now := s.e.life, s.e.now()
	due, err := s.e.db.DueSchedules(ctx, now.UnixMilli(), schedulePage)
	if err != nil || len(due) == 0 {
		return false, err
	}
	if err := s.e.db.Room(); err != nil {
		return false, err
	}
	for _, row := range due {
		if err := s.start(ctx, row, now); err != nil {
			failed = err
		}
	}
	if err := s.e.db.Flush(ctx); err != nil { // the rows must have moved on before they are read again
		return false, err
	}
	return failed == nil && len(due) == schedulePage, failed
}

// start starts a run and moves its schedule on.
func (s *schedule) start(ctx context.Context, row store.Schedule, now time.Time) error {
	def, err := s.e.cat.Workflow(row.Namespace, row.Space+"/"+row.Workflow, row.Version)
	if err != nil {
		return err
	}
	when, ok := def.Schedule(workflows.ScheduleKind(row.Kind))
	if !ok {
		return s.e.db.Update(ctx, func(tx *store.Tx) error { return tx.Reschedule(row, 0, "") })
	}
	due := when.Latest(time.UnixMilli(row.Next), now)
	next := millisOf(when.Next(due))
	id := s.e.opts.NewID()
	move := func(tx *store.Tx) error {
		if when.Kind == workflows.After {
			return tx.Reschedule(row, 0, id)
		}
		return tx.Reschedule(row, next, "")
	}
	start := StartRun{Namespace: row.Namespace, Input: []byte("null"), also: move, id: id,
		Key: scheduleKey + row.Kind + " " + due.UTC().Format(time.RFC3339Nano)}
	a, _, err := s.e.create(ctx, def, start)
	if err != nil {
		return err
	}
	if a == nil { // a clock that was set back: this time has had its run
		return s.e.db.Update(ctx, func(tx *store.Tx) error { return tx.Reschedule(row, next, "") })
	}
	a.mu.Lock()
	a.flush()
	a.mu.Unlock()
	return nil
}

// ended moves on the schedule that waits for the end of a run.
func (s *schedule) ended(tx *store.Tx, def *workflows.Definition, run *store.Run) error {
	if run.Ended == 0 || !strings.HasPrefix(run.Key, scheduleKey+string(workflows.After)) {
		return nil
	}
	when, ok := def.Schedule(workflows.After)
	if !ok {
		return nil
	}
	waits := store.Schedule{Namespace: run.Namespace, Space: run.Space, Workflow: run.Workflow, Kind: string(workflows.After), Version: run.Version, Run: run.ID}
	return tx.Reschedule(waits, when.Next(time.UnixMilli(run.Ended)).UnixMilli(), "")
}

// next is when to look again.
func (s *schedule) next() (time.Time, bool) {
	at, ok, err := s.e.db.NextSchedule(s.e.life)
	if err != nil || !ok {
		return time.Time{}, false
	}
	next := time.UnixMilli(at)
	if next.Before(s.held) && !s.fresh.Load() {
		next = s.held
	}
	return next, true
}

// Rescheduled tells that what is deployed has changed, and with it perhaps when
// workflows start.
func (e *Engine) Rescheduled() {
	e.schedule.fresh.Store(true)
	e.timers.at(0)
}

// NextStarts are the times at which workflows of a namespace start next, each
// by space/name:version. Those that time does not start are not in it.
func (e *Engine) NextStarts(ctx context.Context, ns string) (map[string]time.Time, error) {
	rows, err := e.db.Schedules(ctx, ns)
	if err != nil {
		return nil, err
	}
	starts := map[string]time.Time{}
	for _, row := range rows {
		name := row.Space + "/" + row.Workflow + ":" + row.Version
		if was, ok := starts[name]; row.Next != 0 && (!ok || time.UnixMilli(row.Next).Before(was)) {
			starts[name] = time.UnixMilli(row.Next)
		}
	}
	return starts, nil
}

// millisOf is a time in the table, where 0 is never.
func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
