package simulation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// season is a time in which the same schedules are deployed.
type season struct {
	applied time.Time
	sure    bool      // that it began
	over    time.Time // when it may have ended, for another was asked for; zero while it goes on
	ended   time.Time // when it has ended
}

// span is a time in which a process was well.
type span struct{ from, to time.Time }

// patience is how long a process that is well may take to start what is due.
const patience = 2 * time.Second

// apply has time start workflows from now on, as one who deploys them anew
// does, or no longer. It goes on until that is durable.
func (w *world) apply(on bool) {
	if !w.code.scheduled() {
		return
	}
	for {
		p, at := w.life, time.Now()
		if n := len(w.seasons); n > 0 && w.seasons[n-1].over.IsZero() {
			w.seasons[n-1].over = at
		}
		w.seasons = append(w.seasons, season{applied: at})
		err := p.db.Update(context.Background(), func(tx *store.Tx) error {
			for _, t := range w.code.all {
				if err := tx.SetSchedules(ns, "sim", t.name, w.code.firsts(t.name, at, on)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && !p.isDead() {
			n := len(w.seasons) - 1
			for i := range w.seasons[:n] {
				if w.seasons[i].ended.IsZero() {
					w.seasons[i].ended = time.Now()
				}
			}
			if w.seasons[n].sure = true; !on {
				w.seasons = w.seasons[:n]
			}
			p.Rescheduled()
			w.rest(time.Millisecond)
			return
		}
		if p.isBroken() {
			w.restart()
		}
		if w.seasons[len(w.seasons)-1].over = time.Now(); !on {
			w.seasons = w.seasons[:len(w.seasons)-1]
		}
		w.rest(time.Second)
	}
}

// scheduled reports whether time starts anything in this world.
func (d *deployed) scheduled() bool {
	for _, def := range d.defs {
		if len(def.Schedules()) > 0 {
			return true
		}
	}
	return false
}

func (d *deployed) firsts(name string, at time.Time, on bool) (rows []store.Schedule) {
	for _, s := range d.defs[name].Schedules() {
		if on {
			rows = append(rows, store.Schedule{Namespace: ns, Space: "sim", Workflow: name, Kind: string(s.Kind), Version: "1.0.0", Next: s.First(at).UnixMilli()})
		}
	}
	return rows
}

// well notes that the process is well from now on; ill ends that.
func (w *world) well() { w.mu.Lock(); w.spans = append(w.spans, span{from: time.Now()}); w.mu.Unlock() }

func (w *world) ill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.spans); n > 0 && w.spans[n-1].to.IsZero() {
		w.spans[n-1].to = time.Now()
	}
}

// couldStart reports whether a process was well for long enough between two times.
func (w *world) couldStart(from, to time.Time) bool {
	for _, s := range w.spans {
		a, b := s.from, s.to
		if a.Before(from) {
			a = from
		}
		if b.IsZero() || b.After(to) {
			b = to
		}
		if b.Sub(a) >= patience {
			return true
		}
	}
	return false
}

// checkSchedules wants one run for each time that was due, but for those that
// were missed while a later one came: no run early, none that is not due.
func (w *world) checkSchedules(f *file) {
	for _, t := range w.code.all {
		for _, when := range w.code.defs[t.name].Schedules() {
			starts := map[int64]*story{}
			prefix := "schedule " + string(when.Kind) + " "
			for _, id := range slices.Sorted(maps.Keys(f.stories)) {
				s := f.stories[id]
				text, ok := strings.CutPrefix(s.row.Key, prefix)
				if !ok || s.row.Workflow != t.name {
					continue
				}
				due, err := time.Parse(time.RFC3339Nano, text)
				switch {
				case err != nil || starts[due.UnixMilli()] != nil:
					w.violate("two runs of %s for %s, or one for no time: %v", t.name, text, err)
				case s.row.Started < due.UnixMilli():
					w.violate("run %s of %s was started before %s", id, t.name, text)
				case !when.Latest(due, time.UnixMilli(s.row.Started)).Equal(due):
					w.violate("run %s of %s, for %s, was started when a later one was due: %d", id, t.name, text, s.row.Started)
				}
				starts[due.UnixMilli()] = s
			}
			for _, s := range w.seasons {
				w.checkSeason(s, t.name, when, starts)
			}
			for at, s := range starts {
				w.violate("run %s of %s was started for %s, which was not due", s.row.ID, t.name, time.UnixMilli(at).UTC())
			}
		}
	}
}

// checkSeason takes the runs of a season out of starts.
func (w *world) checkSeason(s season, name string, when workflows.Schedule, starts map[int64]*story) {
	due := time.UnixMilli(when.First(s.applied).UnixMilli())
	for !due.After(s.ended) {
		run := starts[due.UnixMilli()]
		delete(starts, due.UnixMilli())
		next := when.Next(due)
		if when.Kind == workflows.After {
			next = s.over
		}
		if next.After(s.over) {
			next = s.over
		}
		if run == nil && s.sure && w.couldStart(due, next) {
			w.violate("no run of %s for %s %s, and weft was well", name, when.Kind, due.UTC())
		}
		switch {
		case when.Kind != workflows.After:
			due = when.Next(due)
		case run == nil || run.row.Ended == 0:
			return
		default:
			due = when.Next(time.UnixMilli(run.row.Ended))
		}
	}
}

func (w *world) calendar() (lines []string) {
	for _, s := range w.seasons {
		lines = append(lines, fmt.Sprintf("schedules from %s, %v, to %s", s.applied.UTC(), s.sure, s.ended.UTC()))
	}
	return lines
}
