package store

import (
	"context"
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
}

const runColumns = "id,ns,part,space,workflow,version,status,key,reason,wake,peer,entries,output,fault,started,updated,ended"

func (r Row) run() Run {
	return Run{ID: r.Text(0), Namespace: r.Text(1), Part: int(r.Int(2)), Space: r.Text(3), Workflow: r.Text(4), Version: r.Text(5),
		Status: int(r.Int(6)), Key: r.Text(7), Reason: r.Text(8), Wake: r.Int(9), Peer: r.Text(10), Entries: r.Int(11),
		Output: r.Blob(12), Fault: r.Blob(13), Started: r.Int(14), Updated: r.Int(15), Ended: r.Int(16)}
}

// InsertRun adds a run; it conflicts when the id or the idempotency key is taken.
func (tx *Tx) InsertRun(r *Run) error {
	_, err := tx.Exec("insert into run("+runColumns+") values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
		r.ID, r.Namespace, r.Part, r.Space, r.Workflow, r.Version, r.Status, orNull(r.Key), orNull(r.Reason), orNull(r.Wake), orNull(r.Peer),
		r.Entries, r.Output, r.Fault, r.Started, r.Updated, orNull(r.Ended))
	return err
}

// UpdateRun writes what changes in the life of a run.
func (tx *Tx) UpdateRun(r *Run) error {
	_, err := tx.Exec("update run set status=?,reason=?,wake=?,peer=?,entries=?,output=?,fault=?,updated=?,ended=? where id=?",
		r.Status, orNull(r.Reason), orNull(r.Wake), orNull(r.Peer), r.Entries, r.Output, r.Fault, r.Updated, orNull(r.Ended), r.ID)
	return err
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
// match all; Before is the id from which to go on.
type RunFilter struct {
	Namespace, Space, Workflow string
	Statuses                   []int
	Before                     string
	Limit                      int
}

// Runs lists runs.
func (db *DB) Runs(ctx context.Context, f RunFilter) (runs []Run, err error) {
	where, args := []string{"ns=?"}, []any{f.Namespace}
	and := func(cond string, arg ...any) { where, args = append(where, cond), append(args, arg...) }
	if f.Space != "" {
		and("space=?", f.Space)
	}
	if f.Workflow != "" {
		and("workflow=?", f.Workflow)
	}
	if f.Before != "" {
		and("id<?", f.Before)
	}
	if len(f.Statuses) > 0 {
		marks := strings.TrimSuffix(strings.Repeat("?,", len(f.Statuses)), ",")
		and("status in (" + marks + ")")
		for _, s := range f.Statuses {
			args = append(args, s)
		}
	}
	args = append(args, f.Limit)
	query := "select " + runColumns + " from run where " + strings.Join(where, " and ") + " order by id desc limit ?"
	err = db.Query(ctx, query, args, func(row Row) error { runs = append(runs, row.run()); return nil })
	return runs, err
}

// Journal calls fn with the entries of each commit of a run, in order.
func (db *DB) Journal(ctx context.Context, run string, fn func(seq int64, data []byte) error) error {
	return db.Query(ctx, "select seq,data from journal where run=? order by seq", []any{run}, func(r Row) error { return fn(r.Int(0), r.Blob(1)) })
}

func (db *DB) texts(ctx context.Context, query string, args ...any) (out []string, err error) {
	err = db.Query(ctx, query, args, func(r Row) error { out = append(out, r.Text(0)); return nil })
	return out, err
}

// RunIDs pages through the runs of one status, in order of id.
func (db *DB) RunIDs(ctx context.Context, status int, after string, limit int) ([]string, error) {
	return db.texts(ctx, "select id from run where status=? and id>? order by id limit ?", status, after, limit)
}

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

// ParkedOn are runs parked on a peer, the oldest first.
func (db *DB) ParkedOn(ctx context.Context, ns, peer string, limit int) ([]string, error) {
	return db.texts(ctx, "select id from run where ns=? and peer=? order by id limit ?", ns, peer, limit)
}

// PeersParkedOn calls fn for each peer that some run is parked on.
func (db *DB) PeersParkedOn(ctx context.Context, fn func(ns, peer string)) error {
	return db.Query(ctx, "select distinct ns,peer from run where peer is not null", nil, func(r Row) error { fn(r.Text(0), r.Text(1)); return nil })
}

// Listeners pages through the live runs that may take an event of this type.
func (db *DB) Listeners(ctx context.Context, ns, eventType, after string, limit int) ([]string, error) {
	return db.texts(ctx, "select distinct run from listen where ns=? and type in (?,'') and run>? order by run limit ?", ns, eventType, after, limit)
}
