// Package store is the memory of the house: one SQLite file, one writer that
// commits in groups, and the rows that the other rooms ask for. It knows rows,
// not rules.
package store

import (
	"context"
	"database/sql/driver"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/weftrun/weft"
)

// DB is one SQLite file, open for one process. All its methods may be called
// by many goroutines at once.
type DB struct {
	opts    Options
	log     *slog.Logger
	lock    *os.File // held while the file is open, so that no second process writes
	writer  *conn
	readers chan *conn
	state   *State

	mu        sync.Mutex
	wake      *sync.Cond
	next      *group               // guarded by mu: what is queued for the next commit
	current   *group               // guarded by mu: what is at the disk now, or was last
	onAppend  []func(topic string) // guarded by mu
	onFailure []Failure            // guarded by mu
	broken    error                // guarded by mu: the failure of the disk; nothing is accepted after it
	closed    bool                 // guarded by mu

	done    chan struct{} // closed when the writer has ended
	stop    chan struct{} // closed to end the checkpointer and the mending
	stopped chan struct{}
	gone    chan struct{} // closed when nothing more is read
	mends   sync.WaitGroup
	commits atomic.Int64
	free    atomic.Int64 // bytes of the disk, as measured last
	torn    atomic.Bool  // a checkpoint was not synced: the log must not be folded back by this process
}

// Options says where the file is and how safe a commit is. The zero value of
// each field but Path is useful.
type Options struct {
	Path       string        // file; its folder must exist
	Sync       string        // "full" (default): survives a power cut; "normal": survives a crash of the process only
	Readers    int           // reading connections; default 4
	Checkpoint time.Duration // how often the write-ahead log is folded back; default 500 ms
	StateBytes int           // handler state kept in memory; default 32 MiB
	SpaceMin   int64         // bytes of the disk that must be free for new work; default 64 MiB
	Log        *slog.Logger

	// Fault plays crashes: it is called on the writer's goroutine before a group
	// is taken from the queue, and when the group is durable and nobody has been
	// told. It may block. Its error ends the database as a failed disk does. The
	// default never fails.
	Fault func(Moment) error
}

// Moment is when Options.Fault is called.
type Moment int

// The moments of a commit.
const (
	BeforeCommit Moment = iota
	AfterCommit
)

//go:embed schema.sql
var schema string

// schemaVersion is what schema.sql describes; a newer file is refused.
const schemaVersion = 5

// upgrades brings a file from one version to the next.
var upgrades = map[int64]string{
	1: `alter table redelivery add column key text not null default '';
		drop index redelivery_due;
		create index redelivery_due on redelivery (topic, name, due) where key = '';
		create index redelivery_key on redelivery (topic, name, key, offset) where key <> '';
		create index redelivery_offset on redelivery (topic, offset);
		create index dead_letter_offset on dead_letter (topic, offset, name);
		create table trimmed (topic text not null primary key, offset integer not null) strict, without rowid;
		alter table run add column parent text;
		alter table run add column step integer not null default 0;
		alter table run add column depth integer not null default 0;
		alter table run add column tie integer not null default 0;
		alter table run add column origin text;
		drop index run_ns;
		drop index run_status;
		drop index run_workflow;
		create index run_status on run (status, ns, id);
		create index run_workflow on run (ns, workflow, status, id);
		create index run_parent on run (parent) where parent is not null;
		create index run_tie on run (tie, status, id) where tie <> 0;
		create table snapshot (run text primary key, seq integer not null, data blob not null) strict, without rowid;
		create table schedule (ns text not null, space text not null, name text not null, kind text not null, version text not null,
			next integer, run text, primary key (ns, space, name, kind)) strict, without rowid;
		create index schedule_next on schedule (next) where next is not null;`,
	2: `alter table run add column quiet integer not null default 0;
		alter table workflow add column resources blob;
		-- Their format has changed; a run whose journal is whole is folded from that.
		delete from snapshot where exists (select 1 from journal where journal.run=snapshot.run and journal.seq=0);`,
	3: `alter table module add column descriptors blob;
		alter table module add column promoted integer not null default 0;`,
	4: `alter table module add column signature blob;
		create table hook (ns text not null, name text not null, hook blob not null, primary key (ns, name)) strict, without rowid;`,
}

// Open opens or creates the file, for its owner alone. It fails when another process has it open,
// when a newer weft wrote it, or when it is damaged.
func Open(ctx context.Context, o Options) (*DB, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	lock, err := lockFile(lockOf(o.Path))
	if err != nil {
		return nil, err
	}
	db := &DB{opts: o, log: o.Log, lock: lock, next: newGroup(), readers: make(chan *conn, o.Readers),
		done: make(chan struct{}), stop: make(chan struct{}), stopped: make(chan struct{}), gone: make(chan struct{})}
	db.wake = sync.NewCond(&db.mu)
	db.state = newState(db, o.StateBytes)
	err = db.connect()
	var busy sqlite3.Error
	if errors.As(err, &busy) && busy.Code == sqlite3.ErrBusy {
		// A power cut while the file was made may have left a journal beside the log.
		// Who opens it first rolls the journal back and is in its own way; not the second.
		db.hangUp()
		err = db.connect()
	}
	if err != nil {
		db.disconnect()
		return nil, err
	}
	db.measure()
	db.warn()
	go db.write()
	go db.checkpoint()
	return db, nil
}

// warn tells of a file that everybody may read; whoever made it so may have meant it.
func (db *DB) warn() {
	if is, err := os.Stat(db.opts.Path); err == nil && is.Mode()&0o007 != 0 {
		db.log.Warn("others may read the database: chmod o= takes that from them", "file", db.opts.Path, "mode", is.Mode().Perm())
	}
}

func (o *Options) fill() error {
	if err := checkPath(o.Path); err != nil {
		return err
	}
	switch o.Sync {
	case "":
		o.Sync = "full"
	case "full", "normal":
	default:
		return weft.Errorf(weft.InvalidArgument, "store.Open", "sync is %q: write full or normal", o.Sync)
	}
	o.Readers = orDefault(o.Readers, 4)
	o.StateBytes = orDefault(o.StateBytes, 32<<20)
	o.SpaceMin = orDefault(o.SpaceMin, 64<<20)
	o.Checkpoint = orDefault(o.Checkpoint, 500*time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fault == nil {
		o.Fault = func(Moment) error { return nil }
	}
	return nil
}

// checkPath refuses what is no path of a file: what runs here must survive this process.
func checkPath(path string) error {
	refuse := func(format string, args ...any) error {
		return weft.Errorf(weft.InvalidArgument, "store.Open", format, args...).WithHint("name a file, such as --db weft.db")
	}
	name, query, _ := strings.Cut(path, "?")
	name, uri := strings.CutPrefix(name, "file:")
	switch {
	case path == "":
		return refuse("the path of the database is empty")
	case name == ":memory:", uri && (strings.TrimLeft(name, "/") == ":memory:" || strings.Contains(query, "mode=memory")):
		return refuse("%s would be a database in memory; runs and events are kept in a file", path)
	}
	if is, err := os.Stat(path); err == nil && is.IsDir() || strings.HasSuffix(path, string(filepath.Separator)) {
		return refuse("%s is a folder; the database is a file", path)
	}
	return nil
}

func orDefault[T ~int | ~int64](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func (db *DB) connect() error {
	var err error
	if db.writer, err = dial(db.opts, false); err != nil {
		return err
	}
	if err := db.migrate(); err != nil {
		return err
	}
	// What a failed sync left in the log is in the kernel's memory alone, and
	// looks whole. Nothing is built on it before it is written anew.
	if err := db.writer.query("pragma wal_checkpoint(truncate)", nil, func(Row) error { return nil }); err != nil {
		return weft.Errorf(weft.Unavailable, "store.Open", "fold the log of %s back: %w", db.opts.Path, err)
	}
	for range db.opts.Readers {
		c, err := dial(db.opts, true)
		if err != nil {
			return err
		}
		db.readers <- c
	}
	return nil
}

func (db *DB) migrate() error {
	var version int64
	err := db.writer.query("pragma user_version", nil, func(r Row) error { version = r.Int(0); return nil })
	switch {
	case err != nil:
		return weft.Errorf(weft.DataLoss, "store.Open", "%s cannot be read as a weft database: %w", db.opts.Path, err)
	case version > schemaVersion:
		return weft.Errorf(weft.FailedPrecondition, "store.Open", "%s has schema %d, this weft knows up to %d", db.opts.Path, version, schemaVersion).
			WithHint("run the weft that wrote it, or a newer one")
	}
	script := schema
	if version > 0 {
		script = ""
		for ; version < schemaVersion; version++ {
			script += upgrades[version]
		}
	}
	if script == "" {
		return nil
	}
	script = fmt.Sprintf("begin immediate; %s; pragma user_version = %d; commit;", script, schemaVersion)
	if _, err := db.writer.c.Exec(script, nil); err != nil {
		return weft.Errorf(weft.Internal, "store.Open", "make the tables of %s: %w", db.opts.Path, err)
	}
	return nil
}

func (db *DB) disconnect() {
	db.hangUp()
	db.lock.Close()
}

// hangUp closes the connections.
func (db *DB) hangUp() {
	if db.writer != nil {
		db.writer.close()
	}
	for {
		select {
		case c := <-db.readers:
			c.close()
			continue
		default:
		}
		break
	}
}

// Close commits all that is queued, folds the write-ahead log back and closes
// the file. It is safe twice.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		<-db.stopped
		return nil
	}
	db.closed = true
	db.wake.Signal()
	db.mu.Unlock()
	close(db.stop)
	<-db.done
	<-db.stopped
	db.mends.Wait()
	close(db.gone)
	if db.torn.Load() {
		return db.lock.Close() // the last connection to close would fold the log back, and forget it
	}
	for range db.opts.Readers { // every reader must have come home
		(<-db.readers).close()
	}
	_, err := db.writer.c.Exec("pragma wal_checkpoint(truncate)", nil)
	return errors.Join(err, db.writer.close(), db.lock.Close())
}

// Err is the failure of the disk after which nothing is accepted any more, or nil.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.broken
}

// Commits is how many groups have been made durable: with full sync, the fsyncs.
func (db *DB) Commits() int64 { return db.commits.Load() }

// Stats is what the database has done since it was opened, and what it has.
type Stats struct {
	Commits   int64 // groups that the one writer has made durable, each with a sync or more
	FreeBytes int64 // of the disk, as measured last
	Broken    bool  // it refuses to write
}

// Stats may be called at any time; it reads no file.
func (db *DB) Stats() Stats {
	return Stats{Commits: db.commits.Load(), FreeBytes: db.free.Load(), Broken: db.Err() != nil}
}

// State is the handlers' state, see State.
func (db *DB) State() *State { return db.state }

// Query reads committed rows on a connection of its own; row is called for
// each and must not keep what it is given.
func (db *DB) Query(ctx context.Context, query string, args []any, row func(Row) error) error {
	if err := ctx.Err(); err != nil {
		return err // not once in two times
	}
	var c *conn
	select {
	case c = <-db.readers:
	case <-db.gone:
		return weft.Errorf(weft.Unavailable, "store.DB.Query", "the database is closed")
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { db.readers <- c }()
	if err := c.query(query, args, row); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(db.opts.Path), err)
	}
	return nil
}

// read is Query without a context, for short reads by key.
func (db *DB) read(query string, args []any, row func(Row) error) error {
	return db.Query(context.Background(), query, args, row)
}

// conn is one connection of the driver with its prepared statements; no
// database/sql, whose pool and reflection cost more than the statements.
type conn struct {
	c     *sqlite3.SQLiteConn
	stmts map[string]*sqlite3.SQLiteStmt
	vals  []driver.Value
}

func dial(o Options, readOnly bool) (*conn, error) {
	// A new file has the mode of the lock, its log that of the file.
	dsn := "file:" + escaped(o.Path) + "?modeof=" + escaped(lockOf(o.Path)) + "&_auto_vacuum=incremental&_journal_mode=WAL&_busy_timeout=5000&_txlock=immediate&_synchronous=" + o.Sync
	if readOnly {
		dsn += "&_query_only=true"
	}
	c, err := (&sqlite3.SQLiteDriver{}).Open(dsn)
	if err != nil {
		if cause, ok := errors.AsType[sqlite3.Error](err); ok && cause.Code == sqlite3.ErrNotADB {
			return nil, weft.Errorf(weft.InvalidArgument, "store.Open", "%s is no database of SQLite", o.Path).WithHint("name another file with --db; one that is not there is made")
		}
		return nil, weft.Errorf(weft.Unavailable, "store.Open", "open %s: %w", o.Path, err)
	}
	k := &conn{c: c.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}
	if !readOnly {
		// Checkpoints run on their own connection, never inside a commit.
		if _, err := k.c.Exec("pragma wal_autocheckpoint=0; pragma journal_size_limit=67108864", nil); err != nil {
			k.close()
			return nil, err
		}
	}
	return k, nil
}

// escaped is a path as a URI of SQLite has it: whole, whatever is in it.
func escaped(path string) string { return strings.ReplaceAll(url.QueryEscape(path), "+", "%20") }

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.Close()
	}
	return c.c.Close()
}

func (c *conn) prepare(query string) (*sqlite3.SQLiteStmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.c.Prepare(query)
	if err != nil {
		return nil, err
	}
	c.stmts[query] = s.(*sqlite3.SQLiteStmt)
	return c.stmts[query], nil
}

func (c *conn) exec(query string, args []any) (Changed, error) {
	s, err := c.prepare(query)
	if err != nil {
		return Changed{}, err
	}
	c.vals = c.vals[:0]
	for _, a := range args {
		c.vals = append(c.vals, value(a))
	}
	res, err := s.Exec(c.vals) //nolint:staticcheck // the context form allocates and starts a goroutine a statement
	if err != nil {
		return Changed{}, err
	}
	rows, _ := res.RowsAffected() // the driver returns no errors here
	last, _ := res.LastInsertId()
	return Changed{Rows: rows, LastID: last}, nil
}

func (c *conn) query(query string, args []any, row func(Row) error) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	vals := make([]driver.Value, len(args))
	for i, a := range args {
		vals[i] = value(a)
	}
	rows, err := s.Query(vals) //nolint:staticcheck // as in exec
	if err != nil {
		return err
	}
	defer rows.Close()
	r := make(Row, len(rows.Columns()))
	for {
		switch err := rows.Next(r); err {
		case nil:
			if err := row(r); err != nil {
				return err
			}
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

func value(a any) driver.Value {
	switch v := a.(type) {
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case uint32:
		return int64(v)
	case time.Duration:
		return int64(v)
	case []byte:
		if v == nil {
			return nil
		}
	}
	return a
}

// Row is one row of an answer, column by column. Blobs and texts are copies.
type Row []driver.Value

// Int is column i as an integer, zero for null.
func (r Row) Int(i int) int64 {
	v, _ := r[i].(int64)
	return v
}

// Text is column i as a string, empty for null.
func (r Row) Text(i int) string {
	switch v := r[i].(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}

// Blob is column i as bytes, nil for null.
func (r Row) Blob(i int) []byte {
	switch v := r[i].(type) {
	case []byte:
		return v
	case string:
		return []byte(v)
	}
	return nil
}

// Null reports whether column i is null.
func (r Row) Null(i int) bool { return r[i] == nil }

// Changed is what a statement changed.
type Changed struct {
	Rows   int64
	LastID int64
}
