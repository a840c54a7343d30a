package store

import (
	"context"
	"encoding/json"
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

// Messages are those of a topic after an offset, in order.
func (db *DB) Messages(ctx context.Context, topic string, after int64, limit int) (list []Message, err error) {
	err = db.Query(ctx, "select "+messageColumns+" from event where topic=? and offset>? order by offset limit ?", []any{topic, after, limit},
		func(r Row) error {
			m, err := r.message()
			list = append(list, m)
			return err
		})
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

// Head is the offset of the newest message of a topic, 0 for none.
func (db *DB) Head(ctx context.Context, topic string) (head int64, err error) {
	err = db.Query(ctx, "select max(offset) from event where topic=?", []any{topic}, func(r Row) error { head = r.Int(0); return nil })
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
// when it is due.
type Redelivery struct {
	Topic, Group string
	Offset, Due  int64
	Attempts     int
	Error        string
}

// Redeliver puts a message off.
func (tx *Tx) Redeliver(r Redelivery) error {
	_, err := tx.Exec(`insert into redelivery(topic,name,offset,due,attempts,error) values(?,?,?,?,?,?)
		on conflict do update set due=excluded.due, attempts=excluded.attempts, error=excluded.error`,
		r.Topic, r.Group, r.Offset, r.Due, r.Attempts, r.Error)
	return err
}

// Delivered removes what Redeliver put off.
func (tx *Tx) Delivered(topic, group string, offset int64) error {
	_, err := tx.Exec("delete from redelivery where topic=? and name=? and offset=?", topic, group, offset)
	return err
}

// Redeliveries are those of a group that are due, the earliest first.
func (db *DB) Redeliveries(ctx context.Context, topic, group string, now int64, limit int) (list []Redelivery, err error) {
	err = db.Query(ctx, "select offset,due,attempts,error from redelivery where topic=? and name=? and due<=? order by due, offset limit ?",
		[]any{topic, group, now, limit}, func(r Row) error {
			list = append(list, Redelivery{topic, group, r.Int(0), r.Int(1), int(r.Int(2)), r.Text(3)})
			return nil
		})
	return list, err
}

// NextRedelivery is when the next of a group is due, Unix milliseconds;
// math.MaxInt64 for none.
func (db *DB) NextRedelivery(ctx context.Context, topic, group string) (due int64, err error) {
	due = math.MaxInt64
	err = db.Query(ctx, "select min(due) from redelivery where topic=? and name=?", []any{topic, group}, func(r Row) error {
		if !r.Null(0) {
			due = r.Int(0)
		}
		return nil
	})
	return due, err
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

// DeadLetters are those of a topic, the newest first.
func (db *DB) DeadLetters(ctx context.Context, topic string, limit int) (list []DeadLetter, err error) {
	err = db.Query(ctx, "select name,offset,attempts,error,created from dead_letter where topic=? order by offset desc limit ?", []any{topic, limit},
		func(r Row) error {
			list = append(list, DeadLetter{topic, r.Text(0), r.Int(1), int(r.Int(2)), r.Text(3), r.Int(4)})
			return nil
		})
	return list, err
}
