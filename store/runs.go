package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Run is the row of one run. Times are Unix milliseconds; zero is never.
type Run struct {
	ID, Namespace            string
	Part                     int
	Space, Workflow, Version string
	Status                   int
	Key                      string // idempotency key of the start, empty for none
	Reason                   string
	Wake                     int64
	Peer                     string // the peer it is parked on
	Entries                  int64
	Output, Fault            []byte
	Started, Updated, Ended  int64
	Parent                   string // the run that runs it, empty for none
	Step                     uint32 // of Parent
	Depth                    int    // runs, and calls, around it
	Tie                      int    // see runtime/engine
	Origin                   string // what it is a rerun of, empty for none
	Quiet                    bool   // it emits no lifecycle events
}

const runColumns = "id,ns,part,space,workflow,version,status,key,reason,wake,peer,entries,output,fault,started,updated,ended,parent,step,depth,tie,origin,quiet"

func (r Row) run() Run {
	return Run{ID: r.Text(0), Namespace: r.Text(1), Part: int(r.Int(2)), Space: r.Text(3), Workflow: r.Text(4), Version: r.Text(5),
		Status: int(r.Int(6)), Key: r.Text(7), Reason: r.Text(8), Wake: r.Int(9), Peer: r.Text(10), Entries: r.Int(11),
		Output: r.Blob(12), Fault: r.Blob(13), Started: r.Int(14), Updated: r.Int(15), Ended: r.Int(16),
		Parent: r.Text(17), Step: uint32(r.Int(18)), Depth: int(r.Int(19)), Tie: int(r.Int(20)), Origin: r.Text(21), Quiet: r.Int(22) != 0}
}

// InsertRun adds a run; it conflicts when the id or the idempotency key is taken.
func (tx *Tx) InsertRun(r *Run) error {
	_, err := tx.Exec("insert into run("+runColumns+") values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
		r.ID, r.Namespace, r.Part, r.Space, r.Workflow, r.Version, r.Status, orNull(r.Key), orNull(r.Reason), orNull(r.Wake), orNull(r.Peer),
		r.Entries, r.Output, r.Fault, r.Started, r.Updated, orNull(r.Ended),
		orNull(r.Parent), r.Step, r.Depth, r.Tie, orNull(r.Origin), r.Quiet)
	return err
}

// UpdateRun writes what changes in the life of a run.
func (tx *Tx) UpdateRun(r *Run) error {
	_, err := tx.Exec("update run set status=?,reason=?,wake=?,peer=?,entries=?,output=?,fault=?,updated=?,ended=? where id=?",
		r.Status, orNull(r.Reason), orNull(r.Wake), orNull(r.Peer), r.Entries, r.Output, r.Fault, r.Updated, orNull(r.Ended), r.ID)
	return err
}

// Tie notes what a run and its parent owe each other now.
func (tx *Tx) Tie(run string, tie int) error {
	_, err := tx.Exec("update run set tie=? where id=?", tie, run)
	return err
}

// Untie takes that tie away, if the run has it.
func (tx *Tx) Untie(run string, tie int) error {
	_, err := tx.Exec("update run set tie=0 where id=? and tie=?", run, tie)
	return err
}

// Tied pages through the runs of a status with that tie, in order of id.
func (db *DB) Tied(ctx context.Context, tie, status int, after string, limit int) (runs []Run, err error) {
	err = db.Query(ctx, "select "+runColumns+" from run where tie=? and tie<>0 and status=? and id>? order by id limit ?", []any{tie, status, after, limit},
		func(row Row) error { runs = append(runs, row.run()); return nil })
	return runs, err
}

func orNull[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// AppendJournal adds the entries of one commit; seq is the number of the first.
func (tx *Tx) AppendJournal(run string, seq int64, data []byte) error {
	_, err := tx.Exec("insert into journal(run,seq,data) values(?,?,?)", run, seq, data)
	return err
}

// Listen notes that a run may take events of these types; "" is any type.
func (tx *Tx) Listen(ns, run string, types []string) error {
	for _, t := range types {
		if _, err := tx.Exec("insert or ignore into listen(ns,type,run) values(?,?,?)", ns, t, run); err != nil {
			return err
		}
	}
	return nil
}

// Unlisten removes all that Listen noted for a run.
func (tx *Tx) Unlisten(run string) error {
	_, err := tx.Exec("delete from listen where run=?", run)
	return err
}

// Run finds a run by its id; ok is false when there is none.
func (db *DB) Run(ctx context.Context, id string) (r Run, ok bool, err error) {
	err = db.Query(ctx, "select "+runColumns+" from run where id=?", []any{id}, func(row Row) error { r, ok = row.run(), true; return nil })
	return r, ok, err
}

// RunByKey finds the run that a start with this idempotency key made.
func (db *DB) RunByKey(ctx context.Context, ns, space, workflow, key string) (r Run, ok bool, err error) {
	err = db.Query(ctx, "select "+runColumns+" from run where ns=? and space=? and workflow=? and key=?", []any{ns, space, workflow, key},
		func(row Row) error { r, ok = row.run(), true; return nil })
	return r, ok, err
}

// RunFilter selects runs of one namespace, the newest first. Empty fields
// match all.
type RunFilter struct {
	Namespace, Space, Workflow string
	Statuses                   []int  // never empty
	Before, From               string // ids: below Before, and From or above
	Limit                      int
}

// Runs lists runs, the newest first. Each status is a stretch of an index; all
// are read in one statement, for a run may go from one to the other meanwhile.
func (db *DB) Runs(ctx context.Context, f RunFilter) (runs []Run, err error) {
	where, one := "ns=?", []any{f.Namespace}
	and := func(cond, arg string) {
		if arg != "" {
			where, one = where+" and "+cond, append(one, arg)
		}
	}
	and("workflow=?", f.Workflow)
	and("space=?", f.Space)
	and("id<?", f.Before)
	and("id>=?", f.From)
	stretch := "select * from (select " + runColumns + " from run where " + where + " and status=? order by id desc limit ?)"
	stretches, args := make([]string, len(f.Statuses)), []any{}
	for i, status := range f.Statuses {
		stretches[i], args = stretch, append(append(args, one...), status, f.Limit)
	}
	err = db.Query(ctx, strings.Join(stretches, " union all "), args, func(row Row) error { runs = append(runs, row.run()); return nil })
	if err != nil {
		return nil, err
	}
	slices.SortFunc(runs, func(a, b Run) int { return strings.Compare(b.ID, a.ID) })
	return runs[:min(len(runs), f.Limit)], nil
}

// Children are the runs that a run runs, in order of their start.
func (db *DB) Children(ctx context.Context, parent string, limit int) (runs []Run, err error) {
	err = db.Query(ctx, "select "+runColumns+" from run where parent=? order by id limit ?", []any{parent, limit},
		func(row Row) error { runs = append(runs, row.run()); return nil })
	return runs, err
}

// SetSnapshot keeps where the fold of a run's journal may begin; one a run.
func (tx *Tx) SetSnapshot(run string, seq int64, data []byte) error {
	_, err := tx.Exec("insert into snapshot(run,seq,data) values(?,?,?) on conflict do update set seq=excluded.seq, data=excluded.data", run, seq, data)
	return err
}

// TrimJournal forgets entries of a run before seq: those of at most limit
// commits, the oldest first.
func (tx *Tx) TrimJournal(run string, seq int64, limit int) error {
	_, err := tx.Exec("delete from journal where run=? and seq<? and seq in (select seq from journal where run=? and seq<? order by seq limit ?)", run, seq, run, seq, limit)
	return err
}

// EndedRuns pages through the runs of one status that ended before a time, in
// Unix milliseconds, and whose id is below a bound.
func (db *DB) EndedRuns(ctx context.Context, status int, ended int64, bound string, after RunID, limit int) (ids []RunID, err error) {
	err = db.Query(ctx, "select ns,id from run where status=? and (ns,id)>(?,?) and id<? and ended<? order by ns,id limit ?",
		[]any{status, after.Namespace, after.ID, bound, ended, limit},
		func(r Row) error { ids = append(ids, RunID{r.Text(0), r.Text(1)}); return nil })
	return ids, err
}

// DeleteRun forgets a run and all that belongs to it.
func (tx *Tx) DeleteRun(id, inbox string) error {
	for _, d := range []struct{ query, arg string }{
		{"delete from run where id=?", id}, {"delete from journal where run=?", id}, {"delete from snapshot where run=?", id},
		{"delete from listen where run=?", id}, {"delete from inbox where name=?", inbox},
	} {
		if _, err := tx.Exec(d.query, d.arg); err != nil {
			return err
		}
	}
	return nil
}

// shrinkPages bounds the pages that one commit gives back.
const shrinkPages = 1000

// Shrink gives pages that hold nothing back to the file system, a bounded
// number in each commit, until few are left.
func (db *DB) Shrink(ctx context.Context) error {
	for {
		var free int64
		if err := db.Query(ctx, "pragma freelist_count", nil, func(r Row) error { free = r.Int(0); return nil }); err != nil || free < shrinkPages {
			return err
		}
		err := db.Update(ctx, func(tx *Tx) error {
			return tx.Query(fmt.Sprintf("pragma incremental_vacuum(%d)", shrinkPages), nil, func(Row) error { return nil })
		})
		if err != nil {
			return err
		}
	}
}

// Snapshot is what SetSnapshot kept; seq 0 is none.
func (db *DB) Snapshot(ctx context.Context, run string) (seq int64, data []byte, err error) {
	err = db.Query(ctx, "select seq,data from snapshot where run=?", []any{run}, func(r Row) error { seq, data = r.Int(0), r.Blob(1); return nil })
	return seq, data, err
}

// Journal calls fn with the entries of each commit of a run from entry number
// from on, in order.
func (db *DB) Journal(ctx context.Context, run string, from int64, fn func(seq int64, data []byte) error) error {
	return db.Query(ctx, "select seq,data from journal where run=? and seq>=? order by seq", []any{run, from}, func(r Row) error { return fn(r.Int(0), r.Blob(1)) })
}

func (db *DB) texts(ctx context.Context, query string, args ...any) (out []string, err error) {
	err = db.Query(ctx, query, args, func(r Row) error { out = append(out, r.Text(0)); return nil })
	return out, err
}

// RunIDs pages through the runs of one status, by namespace and id; after is
// the last one of the page before.
func (db *DB) RunIDs(ctx context.Context, status int, after RunID, limit int) (ids []RunID, err error) {
	err = db.Query(ctx, "select ns,id from run where status=? and (ns,id)>(?,?) order by ns,id limit ?", []any{status, after.Namespace, after.ID, limit},
		func(r Row) error { ids = append(ids, RunID{r.Text(0), r.Text(1)}); return nil })
	return ids, err
}

// RunID is a run and its namespace.
type RunID struct{ Namespace, ID string }

// Due pages through the runs whose wake time has come, the earliest first.
// From the second page on, after is the last row of the page before.
func (db *DB) Due(ctx context.Context, now int64, after Wake, limit int) (due []Wake, err error) {
	err = db.Query(ctx, "select wake,id from run where wake<=? and (wake,id)>(?,?) order by wake,id limit ?", []any{now, after.At, after.Run, limit},
		func(r Row) error { due = append(due, Wake{r.Int(0), r.Text(1)}); return nil })
	return due, err
}

// Wake is a run and when it is due.
type Wake struct {
	At  int64
	Run string
}

// NextWake is the earliest wake time after the given one; ok is false when nothing waits.
func (db *DB) NextWake(ctx context.Context, after int64) (at int64, ok bool, err error) {
	err = db.Query(ctx, "select min(wake) from run where wake>?", []any{after}, func(r Row) error { at, ok = r.Int(0), !r.Null(0); return nil })
	return at, ok, err
}

// ParkedOn are runs parked on a peer after the given one, the oldest first.
func (db *DB) ParkedOn(ctx context.Context, ns, peer, after string, limit int) ([]string, error) {
	return db.texts(ctx, "select id from run where ns=? and peer=? and id>? order by id limit ?", ns, peer, after, limit)
}

// PeersParkedOn calls fn for each peer that some run is parked on.
func (db *DB) PeersParkedOn(ctx context.Context, fn func(ns, peer string)) error {
	return db.Query(ctx, "select distinct ns,peer from run where peer is not null", nil, func(r Row) error { fn(r.Text(0), r.Text(1)); return nil })
}

// Listeners pages through the live runs that may take an event of this type.
// Each type is a stretch of the table; what they give is merged.
func (db *DB) Listeners(ctx context.Context, ns, eventType, after string, limit int) (runs []string, err error) {
	for _, t := range []string{eventType, ""} {
		some, err := db.texts(ctx, "select run from listen where ns=? and type=? and run>? order by run limit ?", ns, t, after, limit)
		if err != nil {
			return nil, err
		}
		runs = append(runs, some...)
	}
	slices.Sort(runs)
	runs = slices.Compact(runs)
	return runs[:min(len(runs), limit)], nil
}
