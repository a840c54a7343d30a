package store

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
)

// mendEvery is how often a full disk is looked at; mendSpace is what must be
// free, in bytes, before the database is written again.
const (
	mendEvery = 500 * time.Millisecond
	mendSpace = 4 << 20
)

// isFull reports whether the disk had no room: that passes, unlike a broken one.
func isFull(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrFull
}

// Room refuses new work while the disk has less than Options.SpaceMin free, so
// that what is in progress can go on and be cancelled.
func (db *DB) Room() error {
	if free := db.free.Load(); free < db.opts.SpaceMin {
		return weft.Errorf(weft.ResourceExhausted, "store.DB.Room", "the disk of %s has %d MiB left, and new work is taken from %d MiB on",
			filepath.Base(db.opts.Path), free>>20, db.opts.SpaceMin>>20).WithHint("free some space; reads, cancels and runs in progress go on meanwhile")
	}
	return nil
}

// measure notes how much of the disk is free for this process, in bytes.
func (db *DB) measure() {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(db.opts.Path), &s); err == nil {
		db.free.Store(int64(s.Bavail) * s.Bsize)
	}
}

// Failure is what is called when the disk fails, with no lock held.
type Failure struct {
	Failed func() // nothing is accepted any more
	Lost   func() // a full disk has room, and nothing is accepted yet: forget what was not durable, and all that was built on it
	Again  func() // work is accepted again
}

// OnFailure has f called from now on.
func (db *DB) OnFailure(f Failure) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.onFailure = append(db.onFailure, f)
}

// mend waits until a full disk has room, and accepts work again then.
func (db *DB) mend() {
	tick := time.NewTicker(mendEvery)
	defer tick.Stop()
	for {
		select {
		case <-db.stop:
			return
		case <-tick.C:
		}
		db.measure()
		if db.free.Load() < mendSpace {
			continue
		}
		if err := db.probe(); err != nil {
			db.log.Warn("the disk is still full", "path", db.opts.Path, "error", err)
			continue
		}
		break
	}
	db.mu.Lock()
	all := db.onFailure
	db.mu.Unlock()
	db.state.reset()
	for _, f := range all {
		f.Lost()
	}
	db.mu.Lock()
	db.broken = nil
	db.mu.Unlock()
	db.log.Info("the disk has room again", "path", db.opts.Path)
	for _, f := range all {
		f.Again()
	}
}

// probe writes to the file and syncs it. The writer rests meanwhile, for
// nothing is accepted.
func (db *DB) probe() error {
	if err := db.opts.Fault(BeforeCommit); err != nil {
		return err
	}
	for _, query := range []string{"begin immediate", "delete from inbox where name=''", "insert into inbox(name,source,id,created) values('','','',0)", "commit"} {
		if _, err := db.writer.exec(query, nil); err != nil {
			_, _ = db.writer.exec("rollback", nil) // SQLite may have done so by itself
			return err
		}
	}
	return nil
}
