package wasm

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
)

// cell is the folder that one check may write into. Its owner takes code from it, see
// Runtime.keep, and removes it. It is locked while its owner lives.
type cell struct {
	path string
	self *os.File // the folder
	code *os.File // the folder in it where the engine puts what it has compiled
}

const cellPrefix = "check-"

// newCell makes a folder in that of the cache, from where code can be moved.
func newCell(cacheDir string) (_ *cell, err error) {
	c := &cell{}
	defer func() {
		if err != nil {
			err = weft.Errorf(weft.Unavailable, "wasm.newCell", "make a folder for the check of a module: %w", errors.Join(err, c.remove()))
		}
	}()
	if err := os.MkdirAll(cacheDir, 0o700); err != nil {
		return nil, err
	}
	all, err := lockFolder(cacheDir, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if c.path, err = os.MkdirTemp(cacheDir, cellPrefix); err != nil {
		return nil, err
	}
	if c.self, err = lockFolder(c.path, unix.LOCK_EX); err != nil {
		return nil, err
	}
	if _, err := wazero.NewCompilationCacheWithDir(c.path); err != nil {
		return nil, err
	}
	made, err := c.self.Readdirnames(1) // which the engine has named by its version
	if err != nil {
		return nil, err
	}
	c.code, err = os.Open(filepath.Join(c.path, made[0]))
	return c, err
}

// remove takes the folder away, with all that is in it.
func (c *cell) remove() error {
	err := os.RemoveAll(c.path) // of no name: nothing
	c.code.Close()              // of nil: nothing
	c.self.Close()
	return err
}

// openCache makes the folder of the cache ready, and finds out where in it the engine keeps
// what it has compiled.
func openCache(dir string, log *slog.Logger) (codeDir string, err error) {
	if err = os.MkdirAll(dir, 0o700); err == nil {
		err = sweepCells(dir, log)
	}
	if err != nil {
		return "", weft.Errorf(weft.Unavailable, "wasm.Open", "open the folder for compiled modules: %w", err)
	}
	c, err := newCell(dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(c.code.Name())), c.remove()
}

// sweepCells removes the folders of checks whose owners have ended without doing so. Nobody
// makes one meanwhile.
func sweepCells(cacheDir string, log *slog.Logger) error {
	all, err := lockFolder(cacheDir, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer all.Close()
	names, err := all.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, cellPrefix) {
			continue
		}
		path := filepath.Join(cacheDir, name)
		c, err := lockFolder(path, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrNotExist): // it is in use, or was
			continue
		case err == nil:
			err = os.RemoveAll(path)
			c.Close()
		}
		if err != nil {
			log.Warn("what was left of a check of an upload cannot be removed", "error", err)
		}
	}
	return nil
}

// lockFolder locks a folder until it is closed, or this process ends.
func lockFolder(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}
