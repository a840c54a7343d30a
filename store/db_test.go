package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

func open(t testing.TB, path string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func insert(key string) func(*store.Tx) error {
	return func(tx *store.Tx) error {
		_, err := tx.Exec("insert into breaker_policy(ns,service,policy) values('t',?,x'00')", key)
		return err
	}
}

func count(t *testing.T, db *store.DB) (n int64) {
	t.Helper()
	err := db.Query(t.Context(), "select count(*) from breaker_policy", nil, func(r store.Row) error { n = r.Int(0); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSubmissionsOfManyShareFewCommits(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "weft.db"))
	before := db.Commits()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			tickets := make([]store.Ticket, 100)
			for j := range tickets {
				tickets[j] = db.Submit(insert(fmt.Sprint(i, "/", j)))
			}
			for _, k := range tickets {
				if err := k.Wait(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, db); n != 5000 {
		t.Fatalf("%d rows, want 5000", n)
	}
	if c := db.Commits() - before; c > 2500 {
		t.Errorf("%d commits for 5000 submissions: they were not grouped", c)
	}
}

func TestAFailedSubmissionTakesNoOtherWithIt(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "weft.db"))
	boom := errors.New("boom")
	block := make(chan struct{})
	first := db.Submit(func(*store.Tx) error { <-block; return nil }) // so that the rest is one group
	a := db.Submit(insert("a"))
	bad := db.Submit(func(tx *store.Tx) error {
		if err := insert("half")(tx); err != nil {
			return err
		}
		return boom
	})
	dup := db.Submit(insert("a"))
	hooked := false
	b := db.Submit(func(tx *store.Tx) error { tx.OnCommit(func() { hooked = true }); return insert("b")(tx) })
	close(block)
	for name, c := range map[string]struct {
		ticket store.Ticket
		ok     bool
	}{"first": {first, true}, "a": {a, true}, "bad": {bad, false}, "dup": {dup, false}, "b": {b, true}} {
		if err := c.ticket.Wait(t.Context()); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := bad.Wait(t.Context()); !errors.Is(err, boom) {
		t.Errorf("bad: %v", err)
	}
	if err := dup.Wait(t.Context()); err == nil || !strings.Contains(err.Error(), "UNIQUE constraint failed") {
		t.Errorf("dup: %v", err)
	}
	if n := count(t, db); n != 2 || !hooked {
		t.Errorf("%d rows and hooked=%v, want 2 rows and the hook called", n, hooked)
	}
}

func TestAFileHasOneOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	db := open(t, path)
	if _, err := store.Open(t.Context(), store.Options{Path: path}); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Fatalf("second open: %v", err)
	}
	if err := db.Update(t.Context(), insert("kept")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), insert("late")); weft.CodeOf(err) != weft.Unavailable {
		t.Fatalf("write after close: %v", err)
	}
	if n := count(t, open(t, path)); n != 1 {
		t.Fatalf("%d rows after reopening, want 1", n)
	}
}

func TestACrashAroundACommitTellsNobody(t *testing.T) {
	for name, c := range map[string]struct {
		at   store.Moment
		rows int64
	}{
		"before it, what was queued is lost": {store.BeforeCommit, 0},
		"after it, what was queued is kept":  {store.AfterCommit, 2},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weft.db")
			boom := errors.New("boom")
			begin := make(chan struct{})
			db, err := store.Open(t.Context(), store.Options{Path: path, Fault: func(m store.Moment) error {
				<-begin // by then both are queued
				if m == c.at {
					return boom
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			hooked := false
			a := db.Submit(insert("a"))
			b := db.Submit(func(tx *store.Tx) error { tx.OnCommit(func() { hooked = true }); return insert("b")(tx) })
			close(begin)
			for _, submit := range []func() store.Ticket{func() store.Ticket { return a }, func() store.Ticket { return b }, func() store.Ticket { return db.Submit(insert("late")) }} {
				ticket := submit() // the late one after the others have been told
				if err := ticket.Wait(t.Context()); !errors.Is(err, boom) || weft.CodeOf(err) != weft.Unavailable {
					t.Errorf("told %v", err)
				}
			}
			if err := db.Close(); err != nil || hooked {
				t.Errorf("closed with %v, hook called: %v", err, hooked)
			}
			if n := count(t, open(t, path)); n != c.rows {
				t.Errorf("%d rows, want %d", n, c.rows)
			}
		})
	}
}

func TestWhatCannotBeADatabaseIsRefused(t *testing.T) {
	for name, o := range map[string]store.Options{
		"no path":        {},
		"unknown sync":   {Path: filepath.Join(t.TempDir(), "x.db"), Sync: "off"},
		"missing folder": {Path: filepath.Join(t.TempDir(), "no", "x.db")},
	} {
		if db, err := store.Open(t.Context(), o); err == nil {
			db.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "weft.db"))
	for i := 0; b.Loop(); i++ {
		if err := db.Update(b.Context(), insert(fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAFileOfAnOlderVersionIsUpgraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	old, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = old.Exec(`create table run (id text primary key, ns text not null, part integer not null, space text not null, workflow text not null,
			version text not null, status integer not null, key text, reason text, wake integer, peer text, entries integer not null, output blob,
			fault blob, started integer not null, updated integer not null, ended integer) strict, without rowid;
		create index run_ns on run (ns, id);
		create index run_status on run (status, id);
		create index run_workflow on run (ns, workflow, id);
		insert into run values('r','n',0,'s','w','1.0.0',2,null,null,null,null,1,null,null,1,1,null);
		create table redelivery (topic text not null, name text not null, offset integer not null, due integer not null, attempts integer not null,
			error text not null, primary key (topic, name, offset)) strict, without rowid;
		create index redelivery_due on redelivery (topic, name, due);
		create table dead_letter (topic text not null, name text not null, offset integer not null, attempts integer not null, error text not null,
			created integer not null, primary key (topic, name, offset)) strict, without rowid;
		insert into redelivery values('t','g',1,0,2,'why');
		create table workflow (ns text not null, space text not null, name text not null, version text not null, source blob not null,
			digest text not null, created integer not null, primary key (ns, space, name, version)) strict, without rowid;
		insert into workflow values('n','s','w','1.0.0',x'7b7d','d',1);
		create table journal (run text not null, seq integer not null, data blob not null, primary key (run, seq)) strict, without rowid;
		create table module (ns text not null, name text not null, version text not null, digest text not null, size integer not null, manifest blob not null,
			report blob not null, grants blob not null, config blob not null, created integer not null, primary key (ns, name, version)) strict, without rowid;
		insert into module values('n','m','1.0.0','d',1,x'7b7d',x'5b5d',x'7b7d',x'7b7d',1);
		pragma user_version = 1;`)
	if err != nil {
		t.Fatal(err)
	}
	old.Close()
	for range 2 { // and what is upgraded is opened
		db := open(t, path)
		list, err := db.Redeliveries(t.Context(), "t", "g", 1, 10)
		if err != nil || len(list) != 1 || list[0].Attempts != 2 {
			t.Errorf("%v %v", list, err)
		}
		runs, err := db.Runs(t.Context(), store.RunFilter{Namespace: "n", Statuses: []int{2}, Limit: 9})
		if err != nil || len(runs) != 1 || runs[0].ID != "r" || runs[0].Parent != "" {
			t.Errorf("%v %v", runs, err)
		}
		var flows []store.Workflow
		err = db.Workflows(t.Context(), func(w store.Workflow) error { flows = append(flows, w); return nil })
		if err != nil || len(flows) != 1 || string(flows[0].Source) != "{}" || flows[0].Resources != nil {
			t.Errorf("%v %v", flows, err)
		}
		var modules []store.Module
		err = db.Modules(t.Context(), func(m store.Module) error { modules = append(modules, m); return nil })
		if err != nil || len(modules) != 1 || modules[0].Descriptors != nil || modules[0].Promoted {
			t.Errorf("%v %v", modules, err)
		}
		if _, ok, err := db.NextSchedule(t.Context()); err != nil || ok {
			t.Errorf("%v %v", ok, err)
		}
		db.Close()
	}
}

func TestSpaceThatIsFreeGoesBackToTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	db := open(t, path)
	for i := range 40 {
		err := db.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.AppendMessage(store.Message{Topic: "t", ID: fmt.Sprint(i), Data: make([]byte, 500<<10)})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	size := func() int64 {
		db.Close() // and the log is folded back
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		db = open(t, path)
		return info.Size()
	}
	full := size()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec("delete from event"); return err }); err != nil {
		t.Fatal(err)
	}
	if err := db.Shrink(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := size(); full < 15<<20 || left > full/2 {
		t.Errorf("of %d bytes %d are left", full, left)
	}
}

func TestListenersArePaged(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "weft.db"))
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		return errors.Join(tx.Listen("t", "b", []string{"paid", ""}), tx.Listen("t", "a", []string{""}),
			tx.Listen("t", "c", []string{"paid"}), tx.Listen("t", "d", []string{"other"}), tx.Listen("u", "e", []string{"paid"}))
	})
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[string][]string{"": {"a", "b"}, "a": {"b", "c"}, "b": {"c"}, "c": {}} {
		got, err := db.Listeners(t.Context(), "t", "paid", after, 2)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("after %q: %v, %v, not %v", after, got, err, want)
		}
	}
}

func TestAReadAfterTheEndIsRefused(t *testing.T) {
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "weft.db")})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	err = db.Query(t.Context(), "select 1", nil, func(store.Row) error { return nil })
	if weft.CodeOf(err) != weft.Unavailable {
		t.Errorf("%v", err)
	}
}

func TestAFileOfTheVersionBeforeIsUpgraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	old, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Exec(`alter table run drop column quiet; alter table workflow drop column resources;
		alter table module drop column descriptors; alter table module drop column promoted; alter table module drop column signature; drop table hook;
		insert into journal(run,seq,data) values('whole',0,x'00'),('trimmed',9,x'00');
		insert into snapshot(run,seq,data) values('whole',5,x'00'),('trimmed',9,x'00');
		pragma user_version = 2`); err != nil {
		t.Fatal(err)
	}
	old.Close()
	db := open(t, path)
	err = db.Update(t.Context(), func(tx *store.Tx) error { return tx.InsertRun(&store.Run{ID: "r", Namespace: "n", Quiet: true}) })
	if err != nil {
		t.Fatal(err)
	}
	if run, ok, err := db.Run(t.Context(), "r"); err != nil || !ok || !run.Quiet {
		t.Errorf("%+v %v %v", run, ok, err)
	}
	if err := db.Workflows(t.Context(), func(store.Workflow) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.SetHook("n", "h", []byte(`{}`)) }); err != nil {
		t.Error(err)
	}
	for run, want := range map[string]int64{"whole": 0, "trimmed": 9} { // a snapshot of another format is of use only where nothing else is
		if seq, _, err := db.Snapshot(t.Context(), run); err != nil || seq != want {
			t.Errorf("%s: a snapshot at %d, %v", run, seq, err)
		}
	}
}
