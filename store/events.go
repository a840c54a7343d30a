package store

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/weftrun/weft"
)

// Message is one row of the log. Meta of an event are its attributes, as
// EventMeta names them.
type Message struct {
	Offset  int64 // from 1, growing in the order of commits
	Topic   string
	ID      string
	Meta    map[string]string
	Data    []byte
	Due     int64 // Unix milliseconds before which it is not delivered; 0 for none
	Created int64
}

// MetaPrefix begins the name of every attribute of an event in Message.Meta,
// as in the binary mode of the CloudEvents bindings.
const MetaPrefix = "ce_"

// MessageOf is the event as a row of the log.
func MessageOf(topic string, e weft.Event) (Message, error) {
	m := Message{Topic: topic, ID: e.ID, Data: e.Data, Meta: map[string]string{}}
	for _, name := range []string{"id", "source", "type", "subject", "datacontenttype", "dataschema", "time"} {
		if v, ok := e.Attribute(name); ok {
			m.Meta[MetaPrefix+name] = v
		}
	}
	for name, v := range e.Extensions {
		m.Meta[MetaPrefix+name] = v
	}
	if at, ok := e.Extensions[weft.ExtNotBefore]; ok {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return m, weft.Errorf(weft.InvalidArgument, "store.MessageOf", "extension %s of event %s is no RFC 3339 time: %w", weft.ExtNotBefore, e.ID, err)
		}
		m.Due = t.UnixMilli()
	}
	return m, nil
}

// Event is the event that a row of the log holds.
func (m Message) Event() weft.Event {
	e := weft.Event{Data: m.Data}
	for name, v := range m.Meta {
		if attribute, ok := strings.CutPrefix(name, MetaPrefix); ok && attribute != "" {
			_ = e.SetAttribute(attribute, v) // a time that another wrote wrong is none
		}
	}
	return e
}

// AppendEvent adds an event to the log of its topic.
func (tx *Tx) AppendEvent(topic string, e weft.Event) (offset int64, err error) {
	m, err := MessageOf(topic, e)
	if err != nil {
		return 0, err
	}
	return tx.AppendMessage(m)
}

// AppendMessage adds a message to the log of its topic.
func (tx *Tx) AppendMessage(m Message) (offset int64, err error) {
	meta, err := json.Marshal(m.Meta)
	if err != nil {
		return 0, err
	}
	c, err := tx.Exec("insert into event(topic,id,meta,data,due,created) values(?,?,?,?,?,?)",
		m.Topic, m.ID, meta, append([]byte{}, m.Data...), orNull(m.Due), time.Now().UnixMilli())
	if err == nil {
		tx.OnCommit(func() { tx.db.appended(m.Topic) })
	}
	return c.LastID, err
}

// OnAppend has fn called after a message of a topic has become durable. fn
// runs on the writer's goroutine and must only wake somebody.
func (db *DB) OnAppend(fn func(topic string)) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.onAppend = append(db.onAppend, fn)
}

func (db *DB) appended(topic string) {
	db.mu.Lock()
	fns := db.onAppend
	db.mu.Unlock()
	for _, fn := range fns {
		fn(topic)
	}
}

const messageColumns = "offset,topic,id,meta,data,due,created"

func (r Row) message() (Message, error) {
	m := Message{Offset: r.Int(0), Topic: r.Text(1), ID: r.Text(2), Data: r.Blob(4), Due: r.Int(5), Created: r.Int(6)}
	if err := json.Unmarshal(r.Blob(3), &m.Meta); err != nil {
		return m, weft.Errorf(weft.DataLoss, "store.DB.Messages", "message %d cannot be read: %w", m.Offset, err)
	}
	return m, nil
}

// pageBytes is the size of the data from which a page of messages is full.
const pageBytes = 4 << 20

var errFull = errors.New("the page is full")

// Messages are those of a topic after an offset, in order. They may be fewer
// than limit where they are large; none means that there are none.
func (db *DB) Messages(ctx context.Context, topic string, after int64, limit int) (list []Message, err error) {
	size := 0
	err = db.Query(ctx, "select "+messageColumns+" from event where topic=? and offset>? order by offset limit ?", []any{topic, after, limit},
		func(r Row) error {
			m, err := r.message()
			if err != nil {
				return err
			}
			list = append(list, m)
			if size += len(m.Data); size >= pageBytes {
				return errFull
			}
			return nil
		})
	if errors.Is(err, errFull) {
		err = nil
	}
	return list, err
}

// Message finds one message; ok is false when it is not there or was trimmed.
func (db *DB) Message(ctx context.Context, offset int64) (m Message, ok bool, err error) {
	err = db.Query(ctx, "select "+messageColumns+" from event where offset=?", []any{offset}, func(r Row) error {
		m, err = r.message()
		ok = true
		return err
	})
	return m, ok, err
}

// Head is the offset of the newest message of a topic, also when it has been
// trimmed; 0 for none.
func (db *DB) Head(ctx context.Context, topic string) (head int64, err error) {
	err = db.Query(ctx, `select max(coalesce((select max(offset) from event where topic=?1),0),
		coalesce((select offset from trimmed where topic=?1),0))`, []any{topic}, func(r Row) error { head = r.Int(0); return nil })
	return head, err
}

// Cursor is how far a group has come on a topic; ok is false for a new group.
func (db *DB) Cursor(ctx context.Context, topic, group string) (offset int64, ok bool, err error) {
	err = db.Query(ctx, "select cursor from consumer where topic=? and name=?", []any{topic, group}, func(r Row) error { offset, ok = r.Int(0), true; return nil })
	return offset, ok, err
}

// SetCursor notes that a group is done with all up to an offset. It never goes back.
func (tx *Tx) SetCursor(topic, group string, offset int64) error {
	_, err := tx.Exec(`insert into consumer(topic,name,cursor,updated) values(?,?,?,?)
		on conflict do update set cursor=max(cursor,excluded.cursor), updated=excluded.updated`, topic, group, offset, time.Now().UnixMilli())
	return err
}

// DropGroup forgets a group of a topic: its cursor, and what it has put off or given up.
func (tx *Tx) DropGroup(topic, group string) error {
	for _, table := range []string{"consumer", "redelivery", "dead_letter"} {
		if _, err := tx.Exec("delete from "+table+" where topic=? and name=?", topic, group); err != nil {
			return err
		}
	}
	return nil
}

// Groups calls fn with every group of every topic.
func (db *DB) Groups(ctx context.Context, fn func(topic, group string, cursor int64)) error {
	return db.Query(ctx, "select topic,name,cursor from consumer", nil, func(r Row) error { fn(r.Text(0), r.Text(1), r.Int(2)); return nil })
}

// Receive notes in an inbox that an event has been had; fresh is false when it
// was noted before.
func (tx *Tx) Receive(inbox, source, id string) (fresh bool, err error) {
	c, err := tx.Exec("insert or ignore into inbox(name,source,id,created) values(?,?,?,?)", inbox, source, id, time.Now().UnixMilli())
	return c.Rows == 1, err
}

// InInbox reports whether an event has been noted.
func (db *DB) InInbox(ctx context.Context, inbox, source, id string) (in bool, err error) {
	err = db.Query(ctx, "select 1 from inbox where name=? and source=? and id=?", []any{inbox, source, id}, func(Row) error { in = true; return nil })
	return in, err
}

// Redelivery is a message that a group will have again, or for the first time
// when it is due. With a Key it holds back what comes after it with that key.
type Redelivery struct {
	Topic, Group string
	Offset       int64
	Key          string
	Due          int64
	Attempts     int
	Error        string
}

// Redeliver puts a message off.
func (tx *Tx) Redeliver(r Redelivery) error {
	_, err := tx.Exec(`insert into redelivery(topic,name,offset,key,due,attempts,error) values(?,?,?,?,?,?,?)
		on conflict do update set key=excluded.key, due=excluded.due, attempts=excluded.attempts, error=excluded.error`,
		r.Topic, r.Group, r.Offset, r.Key, r.Due, r.Attempts, r.Error)
	return err
}

// Shelve puts a message off, unless it already is.
func (tx *Tx) Shelve(r Redelivery) error {
	_, err := tx.Exec("insert or ignore into redelivery(topic,name,offset,key,due,attempts,error) values(?,?,?,?,?,?,?)",
		r.Topic, r.Group, r.Offset, r.Key, r.Due, r.Attempts, r.Error)
	return err
}

// Delivered removes what Redeliver put off.
func (tx *Tx) Delivered(topic, group string, offset int64) error {
	_, err := tx.Exec("delete from redelivery where topic=? and name=? and offset=?", topic, group, offset)
	return err
}

const redeliveryColumns = "offset,key,due,attempts,error"

func (db *DB) redeliveries(ctx context.Context, topic, group, rest string, args ...any) (list []Redelivery, err error) {
	err = db.Query(ctx, "select "+redeliveryColumns+" from redelivery where topic=? and name=? and "+rest, append([]any{topic, group}, args...), func(r Row) error {
		list = append(list, Redelivery{topic, group, r.Int(0), r.Text(1), r.Int(2), int(r.Int(3)), r.Text(4)})
		return nil
	})
	return list, err
}

// Redeliveries are those of a group without a key that are due, the earliest first.
func (db *DB) Redeliveries(ctx context.Context, topic, group string, now int64, limit int) ([]Redelivery, error) {
	return db.redeliveries(ctx, topic, group, "key='' and due<=? order by due, offset limit ?", now, limit)
}

// NextRedelivery is when the next of a group without a key is due after now,
// Unix milliseconds; math.MaxInt64 for none.
func (db *DB) NextRedelivery(ctx context.Context, topic, group string, now int64) (due int64, err error) {
	due = math.MaxInt64
	err = db.Query(ctx, "select min(due) from redelivery where topic=? and name=? and key='' and due>?", []any{topic, group, now}, func(r Row) error {
		if !r.Null(0) {
			due = r.Int(0)
		}
		return nil
	})
	return due, err
}

// Shelved are those of a group with a key, after an offset, in order.
func (db *DB) Shelved(ctx context.Context, topic, group, key string, after int64, limit int) ([]Redelivery, error) {
	return db.redeliveries(ctx, topic, group, "key=? and key<>'' and offset>? order by offset limit ?", key, after, limit)
}

// ShelvedKeys calls fn with every key of a group that Shelved has rows for,
// how many, and when the first of them is due.
func (db *DB) ShelvedKeys(ctx context.Context, topic, group string, fn func(key string, rows int, due int64)) error {
	return db.Query(ctx, "select key, count(*), due, min(offset) from redelivery where topic=? and name=? and key<>'' group by key",
		[]any{topic, group}, func(r Row) error { fn(r.Text(0), int(r.Int(1)), r.Int(2)); return nil })
}

// Aside calls fn with the offsets after one and up to another that a group has
// put off or given up.
func (db *DB) Aside(ctx context.Context, topic, group string, after, upto int64, fn func(offset int64)) error {
	return db.Query(ctx, `select offset from redelivery where topic=?1 and name=?2 and offset>?3 and offset<=?4
		union select offset from dead_letter where topic=?1 and name=?2 and offset>?3 and offset<=?4`,
		[]any{topic, group, after, upto}, func(r Row) error { fn(r.Int(0)); return nil })
}

// DeadLetter is a message that a group has given up.
type DeadLetter struct {
	Topic, Group string
	Offset       int64
	Attempts     int
	Error        string
	Created      int64
}

// Bury gives a message up for a group.
func (tx *Tx) Bury(d DeadLetter) error {
	if err := tx.Delivered(d.Topic, d.Group, d.Offset); err != nil {
		return err
	}
	_, err := tx.Exec("insert or replace into dead_letter(topic,name,offset,attempts,error,created) values(?,?,?,?,?,?)",
		d.Topic, d.Group, d.Offset, d.Attempts, d.Error, d.Created)
	return err
}

// LetterFilter picks dead letters.
type LetterFilter struct {
	Topic        string
	Group        string // empty: of all groups
	BeforeOffset int64  // with BeforeGroup, the last of the page before; 0: from the newest on
	BeforeGroup  string
	Limit        int
}

// DeadLetters calls fn with those that f picks and their messages, the newest
// first; more says that there are others. They may be fewer than its limit
// where the messages are large.
func (db *DB) DeadLetters(ctx context.Context, f LetterFilter, fn func(DeadLetter, Message)) (more bool, err error) {
	if f.BeforeOffset == 0 {
		f.BeforeOffset = math.MaxInt64
	}
	rows, size := 0, 0
	err = db.Query(ctx, `select e.offset,e.topic,e.id,e.meta,e.data,e.due,e.created, d.name,d.attempts,d.error,d.created
		from dead_letter d join event e on e.offset=d.offset
		where d.topic=?1 and (?2='' or d.name=?2) and (d.offset,d.name)<(?3,?4) order by d.offset desc, d.name desc limit ?5`,
		[]any{f.Topic, f.Group, f.BeforeOffset, f.BeforeGroup, f.Limit + 1}, func(r Row) error {
			if rows == f.Limit || size >= pageBytes {
				return errFull
			}
			m, err := r.message()
			if err != nil {
				return err
			}
			fn(DeadLetter{f.Topic, r.Text(7), m.Offset, int(r.Int(8)), r.Text(9), r.Int(10)}, m)
			rows++
			size += len(m.Data)
			return nil
		})
	if errors.Is(err, errFull) {
		return true, nil
	}
	return false, err
}

// Exhume removes a dead letter; ok is false when there is none.
func (tx *Tx) Exhume(topic, group string, offset int64) (ok bool, err error) {
	c, err := tx.Exec("delete from dead_letter where topic=? and name=? and offset=?", topic, group, offset)
	return c.Rows == 1, err
}

// Forget takes an event out of an inbox.
func (tx *Tx) Forget(inbox, source, id string) error {
	_, err := tx.Exec("delete from inbox where name=? and source=? and id=?", inbox, source, id)
	return err
}
