package simulation

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/weftrun/weft/store"
)

// retainEvery is engine.Options.RetainEvery.
const retainEvery = time.Minute

// forget begins another life on the file, in which runs that ended before one
// of them did are kept no longer, and crashes as it looks for them.
func (w *world) forget(f *file) {
	ctx := context.Background()
	ids := slices.Sorted(maps.Keys(f.stories))
	if len(ids) == 0 {
		return
	}
	one := f.stories[ids[w.chance(len(ids), "forget")]].row
	if one.Ended == 0 {
		return
	}
	w.retain = time.Since(time.UnixMilli(one.Ended)) + time.Second
	before := w.crashes
	w.crashes, w.frail = 0, 8
	w.happened("runs are kept for %s", w.retain)
	w.open()
	for range 5 {
		w.rest(retainEvery)
	}
	w.crashes += before
	now := time.Now()
	w.life.close()
	db, err := store.Open(ctx, store.Options{Path: w.path, Sync: "normal", Checkpoint: time.Hour})
	if err != nil {
		panic(err)
	}
	defer db.Close()
	left := 0
	for _, id := range ids {
		s := f.stories[id]
		row, there, err := db.Run(ctx, id)
		w.must(err)
		over := time.UnixMilli(s.row.Ended).Add(w.retain)
		switch {
		case !there && (s.row.Ended == 0 || now.Before(over)):
			w.violate("run %s is forgotten too early", id)
		case there && s.row.Ended != 0 && over.Add(2*retainEvery).Before(now):
			w.violate("run %s is not forgotten, %s after its time", id, now.Sub(over))
		case there:
			left++
			entries, err := journal(db, id)
			w.must(err)
			if row.Entries != s.row.Entries || len(entries) != len(s.entries) {
				w.violate("run %s had %d entries, now its row says %d and its journal has %d", id, s.row.Entries, row.Entries, len(entries))
			}
		}
	}
	w.happened("%d of %d runs are kept", left, len(ids))
	for what, query := range map[string]string{
		"journal":  "select count(*) from journal where run not in (select id from run)",
		"snapshot": "select count(*) from snapshot where run not in (select id from run)",
		"listen":   "select count(*) from listen where run not in (select id from run)",
		"inbox":    "select count(*) from inbox where name like 'run %' and substr(name,5) not in (select id from run)",
	} {
		w.must(db.Query(ctx, query, nil, func(r store.Row) error {
			if n := r.Int(0); n > 0 {
				w.violate("the table %s has %d rows of runs that are forgotten", what, n)
			}
			return nil
		}))
	}
}
