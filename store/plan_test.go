package store

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestReadsFollowAnIndex asks SQLite how it finds the rows of the reads that
// must not take longer with more runs: through an index, and in its order.
func TestReadsFollowAnIndex(t *testing.T) {
	ctx := t.Context()
	db, err := Open(ctx, Options{Path: filepath.Join(t.TempDir(), "weft.db"), Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	must := func(_ any, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []RunFilter{{}, {Workflow: "w"}, {Space: "s", Workflow: "w"}, {Before: "b"}, {From: "a"}, {Workflow: "w", Before: "b", From: "a"}} {
		f.Namespace, f.Statuses, f.Limit = "a", []int{1, 2}, 1
		must(db.Runs(ctx, f))
	}
	must(db.Due(ctx, 1, Wake{}, 1))
	must(db.RunIDs(ctx, 1, RunID{}, 1))
	must(db.ParkedOn(ctx, "a", "p", "r", 1))
	must(db.Tied(ctx, 1, 1, "", 1))
	must(db.Children(ctx, "r", 1))
	must(db.Listeners(ctx, "a", "t", "", 1))
	must(db.EndedRuns(ctx, 3, 1, "b", RunID{}, 1))
	_, _, err = db.NextWake(ctx, 0)
	must(nil, err)
	_, _, err = db.RunByKey(ctx, "a", "s", "w", "k")
	must(nil, err)

	reader := <-db.readers
	defer func() { db.readers <- reader }()
	for query := range reader.stmts {
		err := db.writer.query("explain query plan "+query, make([]any, strings.Count(query, "?")), func(r Row) error {
			how := r.Text(3)
			if scan, table := strings.CutPrefix(how, "SCAN "); table && !strings.HasPrefix(scan, "(") || strings.Contains(how, "TEMP B-TREE") {
				t.Errorf("%s: %s", query, how)
			}
			return nil
		})
		must(nil, err)
	}
	if len(reader.stmts) < 15 {
		t.Errorf("%d reads were looked at, and there are more", len(reader.stmts))
	}
}
