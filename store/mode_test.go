package store_test

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/logbook"
)

func TestADatabaseIsItsOwnersAlone(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o277} {
		t.Run(fmt.Sprintf("%03o", mask), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a & b+c;d=100", "weft.db")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			before := syscall.Umask(mask)
			t.Cleanup(func() { syscall.Umask(before) })
			book := &logbook.Book{}
			db := openTelling(t, path, book)
			if err := db.Update(t.Context(), insert("a")); err != nil {
				t.Fatal(err)
			}
			modesAre(t, path, 0o600)
			if book.String() != "" {
				t.Errorf("the log has %s", book)
			}
		})
	}
}

func TestADatabaseThatIsThereKeepsItsMode(t *testing.T) {
	for _, c := range []struct {
		mode fs.FileMode
		told bool
	}{{0o600, false}, {0o640, false}, {0o644, true}} {
		path := filepath.Join(t.TempDir(), "weft.db")
		if err := open(t, path).Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		book := &logbook.Book{}
		db := openTelling(t, path, book)
		if err := db.Update(t.Context(), insert("a")); err != nil {
			t.Fatal(err)
		}
		modesAre(t, path, c.mode)
		if told := strings.Contains(book.String(), "others may read the database"); told != c.told {
			t.Errorf("%v: the log has %s", c.mode, book)
		}
	}
}

func openTelling(t *testing.T, path string, book *logbook.Book) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: path, Log: slog.New(slog.NewTextHandler(book, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func modesAre(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		is, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if is.Mode().Perm() != want {
			t.Errorf("%s has the mode %v", name, is.Mode())
		}
	}
}
