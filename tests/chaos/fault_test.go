package chaos_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/weftrun/weft/tests/chaos"
)

// A failing disk takes nothing back that was acknowledged, whether weft is
// started again or the power is cut. While it fails runs can be read, and what
// is refused says why. When a full disk has room again, weft goes on by itself;
// after a failed sync a start is needed. After that nothing is lost either.
func TestAFailingDisk(t *testing.T) {
	const always = -1
	for name, c := range map[string]struct {
		fault   chaos.Fault
		refuses bool // requests, while it lasts
		ends    bool // until weft is started again
	}{
		"is full while a commit is written":           {chaos.Fault{Ops: chaos.FailWrite, Files: chaos.OfLog, Errno: syscall.ENOSPC, Left: always}, true, false},
		"is full for one write in the middle of many": {chaos.Fault{Ops: chaos.FailWrite, Files: chaos.OfLog, Errno: syscall.ENOSPC, Skip: 25, Left: 1}, true, false},
		"fails once when a commit is synced":          {chaos.Fault{Ops: chaos.FailSync, Files: chaos.OfLog, Errno: syscall.EIO, Left: 1}, true, true},
		"fails whenever a commit is synced":           {chaos.Fault{Ops: chaos.FailSync, Files: chaos.OfLog, Errno: syscall.EIO, Skip: 3, Left: always}, true, true},
		"is full in a checkpoint":                     {chaos.Fault{Ops: chaos.FailWrite, Files: chaos.OfDatabase, Errno: syscall.ENOSPC, Left: 3}, false, false},
		"fails once when a checkpoint is synced":      {chaos.Fault{Ops: chaos.FailSync, Files: chaos.OfDatabase, Errno: syscall.EIO, Left: 1}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			job := load("full")
			job.Fault = c.fault
			if job.Stricken = time.Minute; c.refuses {
				job.Stricken = 500 * time.Millisecond // some hang, as long as it lasts
			}
			rec := record(t, job, rig.Base)
			r := rec.Report
			t.Logf("%d failures; %d accepted, %d refused, %d of them with a hint; %d runs read, %d not; once freed: %q; errors %q",
				rec.Hits, r.Accepted, r.Refused, r.Hints, r.Read, r.Unread, r.Freed, r.Errors)
			if rec.Hits == 0 || r.Read == 0 {
				t.Fatal("the fault did not strike, or nothing was done")
			}
			if r.Unread != 0 {
				t.Errorf("%d runs could not be read", r.Unread)
			}
			if refuses := r.Refused > 0; refuses != c.refuses || refuses != (r.Hints > 0) {
				t.Errorf("%d requests were refused, %d of them with what to do", r.Refused, r.Hints)
			}
			if ended := r.Freed != ""; ended != c.ends {
				t.Errorf("with a sound disk it says %q", r.Freed)
			}
			if p := cut(t, rec, chaos.LastPoints(rec.Ops, *images/10)); p.Lost != 0 || p.Wrong != 0 {
				t.Errorf("%q", p.First)
			}
			if p := startAgain(t, rec); p.Lost+p.Wrong != 0 {
				t.Errorf("after the start: %d lost, %d images wrong, %q", p.Lost, p.Wrong, p.First)
			}
		})
	}
}

// startAgain loads what a process left that was killed, with the machine still
// up, and then cuts the power after acknowledgements.
func startAgain(t *testing.T, rec chaos.Recording) chaos.Power {
	t.Helper()
	job := load("full")
	job.Name, job.Workers, job.Rounds = "b", 2, 2
	job.Checkpoint = time.Hour // or it would make safe what the first process left
	both := rec.Then(record(t, job, rec.After))
	if err := both.Complete(); err != nil {
		t.Fatal(err)
	}
	var points []chaos.Point
	for i, o := range both.Ops {
		if i >= len(rec.Ops) && o.Kind == chaos.OpAck {
			points = append(points, chaos.Point{At: i + 1, Cut: chaos.Dropped})
		}
	}
	chance().Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	return cut(t, both, points[:min(len(points), *images/10)])
}
