package store_test

import (
	"slices"
	"testing"

	"github.com/weftrun/weft/store"
)

func TestAScheduleMovesOnOnce(t *testing.T) {
	db := open(t, t.TempDir()+"/weft.db")
	defer db.Close()
	update := func(fn func(*store.Tx) error) {
		t.Helper()
		if err := db.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	row := func(kind, version string, next int64, run string) store.Schedule {
		return store.Schedule{Namespace: "n", Space: "s", Workflow: "w", Kind: kind, Version: version, Next: next, Run: run}
	}
	want := func(what string, all ...store.Schedule) {
		t.Helper()
		if got, err := db.Schedules(t.Context(), "n"); err != nil || !slices.Equal(got, all) {
			t.Errorf("%s: %+v %v, not %+v", what, got, err, all)
		}
	}
	update(func(tx *store.Tx) error {
		return tx.SetSchedules("n", "s", "w", []store.Schedule{row("after", "1", 10, ""), row("every", "1", 20, "")})
	})
	want("as set", row("after", "1", 10, ""), row("every", "1", 20, ""))
	if due, err := db.DueSchedules(t.Context(), 15, 9); err != nil || len(due) != 1 || due[0].Kind != "after" {
		t.Errorf("due are %+v %v", due, err)
	}
	update(func(tx *store.Tx) error { return tx.Reschedule(row("after", "1", 10, ""), 0, "r") })
	update(func(tx *store.Tx) error { return tx.Reschedule(row("after", "1", 10, ""), 99, "") })
	want("a second move from the same time is none", row("after", "1", 0, "r"), row("every", "1", 20, ""))
	update(func(tx *store.Tx) error { return tx.Reschedule(row("after", "1", 0, "other"), 99, "") })
	want("nor is the end of another run", row("after", "1", 0, "r"), row("every", "1", 20, ""))
	if at, ok, err := db.NextSchedule(t.Context()); err != nil || !ok || at != 20 {
		t.Errorf("next is %d %v %v", at, ok, err)
	}
	update(func(tx *store.Tx) error { return tx.Reschedule(row("after", "1", 0, "r"), 30, "") })
	want("the end of its run moves it", row("after", "1", 30, ""), row("every", "1", 20, ""))
	update(func(tx *store.Tx) error {
		return tx.SetSchedules("n", "s", "w", []store.Schedule{row("every", "2", 50, "")})
	})
	want("others replace them", row("every", "2", 50, ""))
	update(func(tx *store.Tx) error { return tx.Reschedule(row("every", "1", 20, ""), 40, "") })
	want("and an older version moves nothing", row("every", "2", 50, ""))
}
