package store

import "context"

const (
	sizeOf = "length(id)+length(meta)+length(data)+64" // of a row of the log; 64 for the rest of it

	// isFree says of a row of the log that every group has had it, and that no
	// redelivery or dead letter needs it.
	isFree = `not exists (select 1 from consumer c where c.topic=event.topic and c.cursor<event.offset)
		and not exists (select 1 from redelivery r where r.topic=event.topic and r.offset=event.offset)
		and not exists (select 1 from dead_letter d where d.topic=event.topic and d.offset=event.offset)`
)

// LogRow is a message of the log without what it holds.
type LogRow struct {
	Offset, Bytes, Created int64
	Free                   bool // nobody needs it any more
}

// LogRows are those of the log after an offset, in order, of all topics.
func (db *DB) LogRows(ctx context.Context, after int64, limit int) (list []LogRow, err error) {
	err = db.Query(ctx, "select offset,"+sizeOf+",created,"+isFree+" from event where offset>? order by offset limit ?", []any{after, limit},
		func(r Row) error {
			list = append(list, LogRow{r.Int(0), r.Int(1), r.Int(2), r.Int(3) == 1})
			return nil
		})
	return list, err
}

// LogBytes is the size of at most limit messages after an offset, and the
// offset of the last of them.
func (db *DB) LogBytes(ctx context.Context, after int64, limit int) (bytes, last int64, err error) {
	err = db.Query(ctx, "select sum(size), max(offset) from (select offset, "+sizeOf+" as size from event where offset>? order by offset limit ?)",
		[]any{after, limit}, func(r Row) error { bytes, last = r.Int(0), r.Int(1); return nil })
	return bytes, last, err
}

// Trimmed is the offset up to which messages of a topic may have been removed.
func (db *DB) Trimmed(ctx context.Context, topic string) (offset int64, err error) {
	err = db.Query(ctx, "select offset from trimmed where topic=?", []any{topic}, func(r Row) error { offset = r.Int(0); return nil })
	return offset, err
}

// Trim removes messages after one offset and up to another that nobody needs
// any more; with force all of them, and what refers to them. It calls fn with
// each that it removed.
func (tx *Tx) Trim(after, upto int64, force bool, fn func(topic string, bytes int64)) error {
	which := " and " + isFree
	if force {
		which = ""
		for _, table := range []string{"redelivery", "dead_letter"} {
			if _, err := tx.Exec("delete from "+table+" where (topic,offset) in (select topic,offset from event where offset>? and offset<=?)", after, upto); err != nil {
				return err
			}
		}
	}
	newest := map[string]int64{}
	err := tx.Query("delete from event where offset>? and offset<=?"+which+" returning topic, offset, "+sizeOf, []any{after, upto}, func(r Row) error {
		newest[r.Text(0)] = max(newest[r.Text(0)], r.Int(1))
		fn(r.Text(0), r.Int(2))
		return nil
	})
	if err != nil {
		return err
	}
	for topic, offset := range newest {
		_, err := tx.Exec("insert into trimmed(topic,offset) values(?,?) on conflict do update set offset=max(offset,excluded.offset)", topic, offset)
		if err != nil {
			return err
		}
	}
	return nil
}

// TrimInboxes removes what was noted before a time, so many rows at most.
func (tx *Tx) TrimInboxes(before int64, limit int) (rows int64, err error) {
	c, err := tx.Exec("delete from inbox where rowid in (select rowid from inbox where created<? order by created limit ?)", before, limit)
	return c.Rows, err
}

// TrimDeadLetters removes those buried before a time, so many at most.
func (tx *Tx) TrimDeadLetters(before int64, limit int) (rows int64, err error) {
	c, err := tx.Exec("delete from dead_letter where (topic,name,offset) in (select topic,name,offset from dead_letter where created<? limit ?)", before, limit)
	return c.Rows, err
}

// TrimInstanceEvents removes changes of the registry before a time, so many at
// most, but never the newest of a service: it says that the service is known.
func (tx *Tx) TrimInstanceEvents(before int64, limit int) (rows int64, err error) {
	c, err := tx.Exec(`delete from instance_event where rev in (select e.rev from instance_event e where e.at<?
		and exists (select 1 from instance_event n where n.ns=e.ns and n.service=e.service and n.rev>e.rev) order by e.rev limit ?)`, before, limit)
	return c.Rows, err
}
