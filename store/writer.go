package store

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/weftrun/weft"
)

// Tx is the one write transaction of a group commit, as one submission sees
// it. It must not outlive the function it was given to.
type Tx struct {
	db    *DB
	c     *conn
	hooks []func()
}

// Exec runs one statement; its text is prepared once. Arguments are int64,
// int, string, []byte, bool or nil.
func (tx *Tx) Exec(query string, args ...any) (Changed, error) { return tx.c.exec(query, args) }

// Query calls row for each row; it sees what was written before in the transaction.
func (tx *Tx) Query(query string, args []any, row func(Row) error) error {
	return tx.c.query(query, args, row)
}

// OnCommit has fn called on the writer's goroutine once the transaction is
// durable, in the order of submissions. It must be short and must not block.
func (tx *Tx) OnCommit(fn func()) { tx.hooks = append(tx.hooks, fn) }

// After is why an earlier submission is not in this commit nor in one before,
// nil when it is: what must not be durable without it asks here.
func (tx *Tx) After(t Ticket) error {
	if t.g == nil {
		return nil
	}
	return t.err() // of this group, or of one that is done: both are the writer's own
}

// group is what one commit will make durable.
type group struct {
	fns  []func(*Tx) error
	errs []error // nil until one of fns fails; then as long as fns
	err  error   // the commit itself failed
	done chan struct{}
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// Ticket stands for one submission. The zero Ticket is durable.
type Ticket struct {
	g *group
	i int
}

// Wait returns when the submission is durable, or why it is not.
func (t Ticket) Wait(ctx context.Context) error {
	if t.g == nil {
		return nil
	}
	select {
	case <-t.g.done:
		return t.err()
	case <-ctx.Done():
		if t.Done() {
			return t.err() // whoever gives up may know as well
		}
		return ctx.Err()
	}
}

// Done reports whether the submission has been committed or refused.
func (t Ticket) Done() bool {
	if t.g == nil {
		return true
	}
	select {
	case <-t.g.done:
		return true
	default:
		return false
	}
}

// Err is why the submission will never be durable, nil while it may be or is.
func (t Ticket) Err() error {
	if !t.Done() || t.g == nil {
		return nil
	}
	return t.err()
}

func (t Ticket) err() error {
	if t.g.err != nil {
		return t.g.err
	}
	if t.g.errs != nil {
		return t.g.errs[t.i]
	}
	return nil
}

// Submit queues fn for the next commit and returns at once. Submissions are
// committed in order, many in one transaction. fn may run more than once: when
// another of its group fails, the group is rolled back and run again without
// that one. So fn works only through its Tx; and it must not block.
func (db *DB) Submit(fn func(*Tx) error) Ticket {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.broken != nil || db.closed {
		return db.refused()
	}
	g := db.next
	g.fns = append(g.fns, fn)
	if len(g.fns) == 1 {
		db.wake.Signal()
	}
	return Ticket{g: g, i: len(g.fns) - 1}
}

func (db *DB) refused() Ticket {
	if db.broken != nil {
		return Refused(db.broken)
	}
	return Refused(weft.Errorf(weft.Unavailable, "store.DB.Submit", "the database is closed"))
}

// Refused stands for what will never be durable, for that reason.
func Refused(err error) Ticket {
	g := newGroup()
	g.err = err
	close(g.done)
	return Ticket{g: g}
}

// Last stands for all that has been submitted so far.
func (db *DB) Last() Ticket {
	db.mu.Lock()
	defer db.mu.Unlock()
	if n := len(db.next.fns); n > 0 {
		return Ticket{g: db.next, i: n - 1}
	}
	return Ticket{g: db.current, i: 0}
}

// Update submits fn and waits until it is durable.
func (db *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	return db.Submit(fn).Wait(ctx)
}

// Flush returns when all that was submitted before it is durable.
func (db *DB) Flush(ctx context.Context) error {
	return db.Update(ctx, func(*Tx) error { return nil })
}

func (db *DB) write() {
	defer close(db.done)
	for db.queued() {
		err := db.opts.Fault(BeforeCommit)
		g := db.take()
		var hooks []func()
		if err == nil {
			hooks, err = db.commit(g)
		}
		if err == nil {
			err = db.opts.Fault(AfterCommit)
		}
		if err != nil {
			db.fail(g, err)
			continue
		}
		db.commits.Add(1)
		for _, h := range hooks {
			h()
		}
		close(g.done)
	}
}

// queued waits for submissions; false when the database is closed and all is done.
func (db *DB) queued() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	for len(db.next.fns) == 0 {
		if db.closed {
			return false
		}
		db.wake.Wait()
	}
	return true
}

// take gives the group that is to be committed; the next submission opens another.
func (db *DB) take() *group {
	db.mu.Lock()
	defer db.mu.Unlock()
	g := db.next
	db.current, db.next = g, newGroup()
	db.next.fns = make([]func(*Tx) error, 0, len(g.fns))
	return g
}

// commit runs the group in one transaction; when a submission fails, again without it.
func (db *DB) commit(g *group) ([]func(), error) {
	for {
		if _, err := db.writer.exec("begin immediate", nil); err != nil {
			return nil, err
		}
		tx := &Tx{db: db, c: db.writer}
		bad := g.run(tx)
		if bad < 0 {
			_, err := db.writer.exec("commit", nil)
			if err != nil {
				_, _ = db.writer.exec("rollback", nil) // SQLite may have rolled back by itself
			}
			return tx.hooks, err
		}
		if _, err := db.writer.exec("rollback", nil); err != nil && !db.writer.c.AutoCommit() {
			return nil, err
		}
		if isDisk(g.errs[bad]) {
			return nil, g.errs[bad]
		}
	}
}

// run calls every submission that has not failed yet; it returns the index of
// the one that fails now, or -1.
func (g *group) run(tx *Tx) int {
	for i, fn := range g.fns {
		if g.errs != nil && g.errs[i] != nil {
			continue
		}
		if err := fn(tx); err != nil {
			if g.errs == nil {
				g.errs = make([]error, len(g.fns))
			}
			g.errs[i] = err
			return i
		}
	}
	return -1
}

// fail makes the database refuse everything from now on, or until a full disk
// has room again. What was queued behind a lost commit may build on it, so none
// of it may become durable.
func (db *DB) fail(g *group, cause error) {
	full := isFull(cause)
	err := &weft.Error{Code: weft.Unavailable, Op: "store.DB.commit", Err: fmt.Errorf("the database cannot be written: %w", cause),
		Hint: "nothing acknowledged is lost; mend the disk, then restart weft"}
	if full {
		err.Hint = "nothing acknowledged is lost; free some space, and weft goes on by itself"
	}
	db.log.Error("the database cannot be written", "path", db.opts.Path, "error", cause)
	db.mu.Lock()
	if full && !db.closed {
		db.mends.Go(db.mend)
	}
	db.broken = err
	behind := db.next
	db.next = newGroup()
	all := db.onFailure
	db.mu.Unlock()
	for _, lost := range []*group{g, behind} {
		lost.err = err
		close(lost.done)
	}
	for _, f := range all {
		f.Failed()
	}
}

// checkpoint folds the write-ahead log back into the file, beside the writer.
func (db *DB) checkpoint() {
	defer close(db.stopped)
	c, err := dial(db.opts, false)
	if err != nil {
		db.log.Error("no checkpoints: the log will grow", "path", db.opts.Path, "error", err)
		return
	}
	defer c.close()
	tick := time.NewTicker(db.opts.Checkpoint)
	defer tick.Stop()
	for seen := int64(-1); ; {
		select {
		case <-db.stop:
			return
		case <-tick.C:
		}
		db.measure()
		if n := db.Commits(); n != seen && !db.torn.Load() {
			seen = n
			db.fold(c)
		}
	}
}

// walMax is the size in bytes from which a checkpoint may hold the writer for
// a moment, so that the log starts again from its beginning.
const walMax = 256 << 20

func (db *DB) fold(c *conn) {
	mode := "passive"
	if info, err := os.Stat(db.opts.Path + "-wal"); err == nil && info.Size() > walMax {
		mode = "truncate"
	}
	err := c.query("pragma wal_checkpoint("+mode+")", nil, func(Row) error { return nil })
	switch {
	case err == nil:
	case isSync(err):
		// SQLite would go on from where it had come to, which is on no disk. A
		// process that opens the file anew begins from what is.
		db.torn.Store(true)
		db.fail(newGroup(), err)
	default:
		db.log.Warn("checkpoint failed, will try again", "path", db.opts.Path, "error", err)
	}
}
