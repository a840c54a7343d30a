package store

import "context"

// Schedule is the row of one way in which time starts a workflow.
type Schedule struct {
	Namespace, Space, Workflow string
	Kind, Version              string
	Next                       int64  // Unix milliseconds; 0 while Run goes on, and for never
	Run                        string // after whose end the next run is due, empty for none
}

const scheduleColumns = "ns,space,name,kind,version,next,run"

func (r Row) schedule() Schedule {
	return Schedule{Namespace: r.Text(0), Space: r.Text(1), Workflow: r.Text(2), Kind: r.Text(3), Version: r.Text(4), Next: r.Int(5), Run: r.Text(6)}
}

// SetSchedules replaces what starts a workflow by these rows, which are its own.
func (tx *Tx) SetSchedules(ns, space, workflow string, rows []Schedule) error {
	if _, err := tx.Exec("delete from schedule where ns=? and space=? and name=?", ns, space, workflow); err != nil {
		return err
	}
	for _, s := range rows {
		if _, err := tx.Exec("insert into schedule("+scheduleColumns+") values(?,?,?,?,?,?,?)",
			s.Namespace, s.Space, s.Workflow, s.Kind, s.Version, orNull(s.Next), orNull(s.Run)); err != nil {
			return err
		}
	}
	return nil
}

// Reschedule moves a schedule on, if it is still as s says, to a next time or
// to the end of a run.
func (tx *Tx) Reschedule(s Schedule, next int64, run string) error {
	_, err := tx.Exec("update schedule set next=?, run=? where ns=? and space=? and name=? and kind=? and version=? and next is ? and run is ?",
		orNull(next), orNull(run), s.Namespace, s.Space, s.Workflow, s.Kind, s.Version, orNull(s.Next), orNull(s.Run))
	return err
}

// DueSchedules are those whose time has come, the earliest first.
func (db *DB) DueSchedules(ctx context.Context, now int64, limit int) ([]Schedule, error) {
	return db.schedules(ctx, "next<=? order by next limit ?", now, limit)
}

// NextSchedule is the earliest time of all; ok is false when there is none.
func (db *DB) NextSchedule(ctx context.Context) (at int64, ok bool, err error) {
	err = db.Query(ctx, "select min(next) from schedule where next is not null", nil, func(r Row) error { at, ok = r.Int(0), !r.Null(0); return nil })
	return at, ok, err
}

// Schedules are those of a namespace.
func (db *DB) Schedules(ctx context.Context, ns string) ([]Schedule, error) {
	return db.schedules(ctx, "ns=? order by space,name,kind", ns)
}

func (db *DB) schedules(ctx context.Context, rest string, args ...any) (list []Schedule, err error) {
	err = db.Query(ctx, "select "+scheduleColumns+" from schedule where "+rest, args, func(r Row) error { list = append(list, r.schedule()); return nil })
	return list, err
}
