package workflows

import (
	"strings"
	"time"
	_ "time/tzdata" // so that a time zone is there on every machine

	"github.com/robfig/cron/v3"
)

// Bounds of a schedule.
const (
	PeriodMin = time.Second // the shortest schedule.every and schedule.after
	CronMax   = 256         // bytes of schedule.cron
)

// Schedule is one way in which time starts a workflow.
type Schedule struct {
	Kind   ScheduleKind
	period time.Duration // of every and after
	cron   cron.Schedule
	zone   *time.Location
	fixed  bool // cron names hours
}

// ScheduleKind is the key under schedule. The words are stored.
type ScheduleKind string

// The kinds of schedules.
const (
	Cron  ScheduleKind = "cron"  // at times of the calendar
	Every ScheduleKind = "every" // at a fixed distance
	After ScheduleKind = "after" // so long after the run before has ended
)

// First is when a workflow that is applied at a time starts for the first
// time: by after at once. The zero time is never.
func (s Schedule) First(applied time.Time) time.Time {
	if s.Kind == After {
		return applied
	}
	return s.Next(applied)
}

// Next is the time that follows one at which the schedule was due, or, for
// after, at which its run ended. The zero time is never.
func (s Schedule) Next(last time.Time) time.Time {
	if s.Kind != Cron {
		return last.Add(s.period)
	}
	if !s.fixed {
		return s.cron.Next(last.In(s.zone))
	}
	return s.nextWall(last)
}

// clockShift is the most by which a clock is set forward or back, and walls is
// how many times of the wall clock may have to be tried: a minute each.
const (
	clockShift = 3 * time.Hour
	walls      = 2 * int(clockShift/time.Minute)
)

// nextWall goes by what the clock on the wall shows: a time that it shows
// twice counts once, the first time, and one that it skips counts as much later.
func (s Schedule) nextWall(last time.Time) time.Time {
	_, offset := last.In(s.zone).Zone()
	wall := last.UTC().Add(time.Duration(offset)*time.Second - clockShift)
	for range walls {
		if wall = s.cron.Next(wall); wall.IsZero() {
			return wall
		}
		if at := s.instant(wall); at.After(last) {
			return at
		}
	}
	return time.Time{}
}

// instant is when the clock on the wall shows a time, which is given as if in UTC.
func (s Schedule) instant(wall time.Time) time.Time {
	at := func(near time.Time) time.Time {
		_, offset := near.In(s.zone).Zone()
		return wall.Add(-time.Duration(offset) * time.Second).In(s.zone)
	}
	_, offset := at(wall).Zone()
	about := wall.Add(-time.Duration(offset) * time.Second)
	before, after := at(about.Add(-clockShift)), at(about.Add(clockShift))
	shows := func(t time.Time) bool { return t.Hour() == wall.Hour() && t.Minute() == wall.Minute() }
	if !shows(before) && shows(after) {
		return after
	}
	return before
}

// Latest is the latest time at which the schedule was due, from due, at which
// it was, up to now.
func (s Schedule) Latest(due, now time.Time) time.Time {
	if s.Kind == Every {
		return due.Add(now.Sub(due) / s.period * s.period)
	}
	if s.Kind == After {
		return due
	}
	// A short look back first: what is due each minute is not counted through a year.
	for back := time.Hour; now.Add(-back).After(due); back *= 24 {
		if at := s.Next(now.Add(-back)); !at.IsZero() && !at.After(now) {
			due = at
			break
		}
	}
	for at := s.Next(due); !at.IsZero() && !at.After(now); at = s.Next(at) {
		due = at
	}
	return due
}

// Schedules lists how time starts the workflow: at most one of each kind.
func (d *Definition) Schedules() []Schedule { return d.schedules }

// Schedule is the one of a kind, if there is one.
func (d *Definition) Schedule(kind ScheduleKind) (s Schedule, ok bool) {
	for _, s := range d.schedules {
		if s.Kind == kind {
			return s, true
		}
	}
	return s, false
}

// times reads cron, every and after of schedule.
func (p *parser) times(n *node) {
	if c := n.get("cron"); c != nil {
		if s, ok := p.cron(c); ok {
			p.def.schedules = append(p.def.schedules, s)
		}
	}
	for _, kind := range []ScheduleKind{Every, After} {
		d := n.get(string(kind))
		if d == nil {
			continue
		}
		what := "schedule." + string(kind)
		if period, ok := p.period(d, what); ok {
			p.def.schedules = append(p.def.schedules, Schedule{Kind: kind, period: period})
		}
	}
}

func (p *parser) period(n *node, what string) (time.Duration, bool) {
	problems := len(p.problems)
	d := p.duration(n, what, inNothing)
	switch {
	case d == nil || len(p.problems) > problems:
		return 0, false
	case d.expr != nil:
		p.wrong(n, what, "write a duration such as PT1H", "%s must be fixed: there is no run yet for an expression to look at", what)
		return 0, false
	case d.fixed < PeriodMin:
		p.wrong(n, what, "write PT1S or more", "%s is shorter than a second", what)
		return 0, false
	}
	return d.fixed, true
}

// zonePrefix names the time zone of a cron line.
const zonePrefix = "CRON_TZ="

func (p *parser) cron(n *node) (Schedule, bool) {
	const what, form = "schedule.cron", "write minute hour day month weekday, such as '0 9 * * 1', or 'CRON_TZ=Europe/Berlin 0 9 * * 1'"
	s := Schedule{Kind: Cron, zone: time.UTC}
	line := strings.TrimSpace(p.text(n, what))
	if n.kind != isString {
		return s, false
	}
	if len(line) > CronMax {
		p.wrong(n, what, "", "%s has %d bytes, the limit is %d", what, len(line), CronMax)
		return s, false
	}
	if rest, ok := strings.CutPrefix(line, zonePrefix); ok {
		var name string
		var err error
		name, line, _ = strings.Cut(rest, " ")
		if s.zone, err = time.LoadLocation(name); err != nil || name == "" || name == "Local" {
			p.wrong(n, what, "write a name such as UTC or Europe/Berlin", "%s: there is no time zone %q", what, name)
			return s, false
		}
	}
	fields := strings.Fields(line)
	switch {
	case strings.HasPrefix(line, "TZ="):
		p.wrong(n, what, "write CRON_TZ= instead of TZ=", "%s does not know TZ=", what)
		return s, false
	case len(fields) != 5 || strings.HasPrefix(line, "@"):
		p.wrong(n, what, form, "%s must have five fields, and has %d", what, len(fields))
		return s, false
	}
	var err error
	s.cron, err = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).Parse(strings.Join(fields, " "))
	if err != nil {
		p.wrong(n, what, form, "%s: %s", what, err)
		return s, false
	}
	if s.cron.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		p.wrong(n, what, "name a day that the month has", "%s never comes", what)
		return s, false
	}
	s.fixed = !strings.HasPrefix(fields[1], "*") && fields[1] != "?"
	return s, true
}
