package workflows

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func scheduled(t *testing.T, schedule string, kind ScheduleKind) Schedule {
	t.Helper()
	s, ok := parsed(t, header+"schedule: { "+schedule+" }\ndo: [ { a: { set: { x: 1 } } } ]\n").Schedule(kind)
	if !ok {
		t.Fatalf("{ %s } has no %s", schedule, kind)
	}
	return s
}

// In 2026 the clocks of Berlin go forward on March 29, from 2:00 to 3:00, and
// back on October 25, from 3:00 to 2:00.
func TestCronGoesByTheClockOnTheWall(t *testing.T) {
	const layout = "2006-01-02T15:04:05Z07:00"
	for _, c := range []struct{ what, cron, from, want string }{
		{"without a zone it is UTC", "0 9 * * 1", "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z 2026-01-12T09:00:00Z"},
		{"what is due now comes the next time", "0 9 * * *", "2026-01-05T09:00:00Z", "2026-01-06T09:00:00Z"},
		{"a name of a day", "CRON_TZ=UTC 0 9 * * MON", "2026-01-01T00:00:00Z", "2026-01-05T09:00:00Z"},
		{"nine in the morning stays nine", "CRON_TZ=Europe/Berlin 0 9 * * *", "2026-03-28T00:00:00+01:00", "2026-03-28T09:00:00+01:00 2026-03-29T09:00:00+02:00"},
		{"a time that the clock skips comes as much later", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00+01:00", "2026-03-29T03:30:00+02:00 2026-03-30T02:30:00+02:00"},
		{"and is not lost to who looks in between", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T03:10:00+02:00", "2026-03-29T03:30:00+02:00"},
		{"and does not double one that is there", "CRON_TZ=Europe/Berlin 30 2,3 * * *", "2026-03-29T00:00:00+01:00", "2026-03-29T03:30:00+02:00 2026-03-30T02:30:00+02:00"},
		{"a time that the clock shows twice comes once", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00"},
		{"also for who looks at the second", "CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"},
		{"what comes every hour keeps its pace forward", "CRON_TZ=Europe/Berlin 0 * * * *", "2026-03-29T00:30:00+01:00", "2026-03-29T01:00:00+01:00 2026-03-29T03:00:00+02:00"},
		{"and back", "CRON_TZ=Europe/Berlin 0 * * * *", "2026-10-25T01:30:00+02:00", "2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00 2026-10-25T03:00:00+01:00"},
		{"a midnight that the clock skips", "CRON_TZ=America/Sao_Paulo 0 0 * * *", "2018-11-03T12:00:00-03:00", "2018-11-04T01:00:00-02:00 2018-11-05T00:00:00-02:00"},
		{"a shift of half an hour", "CRON_TZ=Australia/Lord_Howe 15 2 * * *", "2026-10-03T12:00:00+10:30", "2026-10-04T02:45:00+11:00 2026-10-05T02:15:00+11:00"},
		{"a leap day", "0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z 2032-02-29T00:00:00Z"},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := scheduled(t, "cron: '"+c.cron+"'", Cron)
			at, err := time.Parse(layout, c.from)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range strings.Fields(c.want) {
				at = s.Next(at)
				got = append(got, at.In(s.zone).Format(layout))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s after %s: %v, not %s", c.cron, c.from, got, c.want)
			}
		})
	}
}

// Against the definition: each minute that the clock on the wall shows for the
// first time and that the cron line names is due, and none other.
func TestCronAgreesWithAMinuteByMinuteLook(t *testing.T) {
	s := scheduled(t, "cron: 'CRON_TZ=Europe/Berlin 5,35 1-4 * * *'", Cron)
	for _, day := range []string{"2026-03-28", "2026-06-01", "2026-10-24"} {
		from, err := time.ParseInLocation("2006-01-02", day, s.zone)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		seen := map[string]bool{}
		for at := from.Add(time.Minute); at.Before(from.Add(49 * time.Hour)); at = at.Add(time.Minute) {
			shown := at.Format("01-02 15:04")
			if m := at.Minute(); at.Hour() >= 1 && at.Hour() <= 4 && (m == 5 || m == 35) && !seen[shown] {
				want = append(want, fmt.Sprint(at.UTC()))
			}
			seen[shown] = true
		}
		for at := s.Next(from); at.Before(from.Add(49 * time.Hour)); at = s.Next(at) {
			got = append(got, fmt.Sprint(at.UTC()))
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %s:\n%v\nand not\n%v", day, got, want)
		}
	}
}

func TestPeriods(t *testing.T) {
	applied := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	every, after := scheduled(t, "every: PT10S", Every), scheduled(t, "after: { minutes: 1 }", After)
	for _, c := range []struct {
		what      string
		got, want time.Time
	}{
		{"every begins a period after it was applied", every.First(applied), applied.Add(10 * time.Second)},
		{"and goes on at that distance", every.Next(applied.Add(10 * time.Second)), applied.Add(20 * time.Second)},
		{"after begins at once", after.First(applied), applied},
		{"and goes on after the end of a run", after.Next(applied), applied.Add(time.Minute)},
	} {
		if !c.got.Equal(c.want) {
			t.Errorf("%s: %s, not %s", c.what, c.got, c.want)
		}
	}
}

func TestOfWhatWasMissedTheLatestCounts(t *testing.T) {
	due := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct{ schedule, later, latest string }{
		{"every: PT10S", "9s", "0s"},
		{"every: PT10S", "10s", "10s"},
		{"every: PT10S", "75s", "70s"},
		{"cron: '* * * * *'", "59s", "0s"},
		{"cron: '* * * * *'", "90m30s", "90m"},
		{"cron: '* * * * *'", "87600h30s", "87600h"},
		{"cron: '0 0 * * *'", "8759h", "8736h"},
		{"cron: '0 0 1 1 *'", "8759h", "0s"},
		{"cron: '0 0 1 1 *'", "8760h", "8760h"},
		{"after: PT1S", "100h", "0s"},
	} {
		kind := ScheduleKind(c.schedule[:strings.Index(c.schedule, ":")])
		later, _ := time.ParseDuration(c.later)
		want, _ := time.ParseDuration(c.latest)
		if got := scheduled(t, c.schedule, kind).Latest(due, due.Add(later)); !got.Equal(due.Add(want)) {
			t.Errorf("{ %s } missed for %s: %s, not %s", c.schedule, c.later, got.Sub(due), want)
		}
	}
}
