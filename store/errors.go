package store

import (
	"errors"
	"os"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
)

// IsDisk reports whether err came from the disk, so that the database takes no
// more.
func IsDisk(err error) bool { return isDisk(err) }

// isDisk reports whether err came from the disk or the file and not from a
// rule: such an error ends the database, not one submission.
func isDisk(err error) bool {
	var f fatal
	if errors.As(err, &f) {
		return true
	}
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case sqlite3.ErrIoErr, sqlite3.ErrFull, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrCantOpen:
		return true
	}
	return false
}

// isSync reports whether err is a failed sync.
func isSync(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.ExtendedCode == sqlite3.ErrIoErrFsync || e.ExtendedCode == sqlite3.ErrIoErrDirFsync)
}

// fatal marks an error that ends the database although the disk is well.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// lockOf is the lock of a database.
func lockOf(path string) string { return path + ".lock" }

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Chmod(0o600) // whatever the mask: a new database takes it over
	}
	if err != nil {
		return nil, weft.Errorf(weft.Unavailable, "store.Open", "%w", err).WithHint("make its folder, or name another file with --db")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, weft.Errorf(weft.FailedPrecondition, "store.Open", "%s is held by another process", path).
			WithHint("stop the other weft, or give this one a file of its own")
	}
	return f, nil
}
