package store_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// What is special in the URI by which SQLite opens a file is not in its name.
func TestADatabaseIsWhereItsPathSays(t *testing.T) {
	for _, name := range []string{"a?b", "a?mode=memory&b=c", "a#b", "a%b", "a%20b", "a b", "a+b", "a&b=c;d", "ä 'b' \"c\"", "file:a", `a\b`} {
		for what, path := range map[string]string{"a folder": filepath.Join(name, "weft.db"), "a file": name} {
			t.Run(what+" "+name, func(t *testing.T) {
				top := t.TempDir()
				path := filepath.Join(top, path)
				folder := filepath.Dir(path)
				if err := os.MkdirAll(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				db := open(t, path)
				if err := db.Update(t.Context(), insert("a")); err != nil {
					t.Fatal(err)
				}
				base := filepath.Base(path)
				if there := in(t, folder); !slices.Equal(there, []string{base, base + "-shm", base + "-wal", base + ".lock"}) {
					t.Errorf("there are %q", there)
				}
				if there := in(t, top); folder != top && len(there) != 1 {
					t.Errorf("beside the folder are %q", there)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				if n := count(t, open(t, path)); n != 1 {
					t.Errorf("%d rows when it is opened again", n)
				}
			})
		}
	}
}

// What is not a file is refused, and nothing is made of it.
func TestADatabaseIsAFile(t *testing.T) {
	top := t.TempDir()
	t.Chdir(top)
	for path, says := range map[string]string{
		"":                                   "the path of the database is empty; name a file, such as --db weft.db",
		":memory:":                           ":memory: would be a database in memory; runs and events are kept in a file; name a file, such as --db weft.db",
		":memory:?cache=shared":              "would be a database in memory",
		"file::memory:":                      "would be a database in memory",
		"file::memory:?cache=shared":         "would be a database in memory",
		"file:///:memory:":                   "would be a database in memory",
		"file:weft?mode=memory":              "would be a database in memory",
		"file:weft?cache=shared&mode=memory": "would be a database in memory",
		".":                                  ". is a folder; the database is a file; name a file, such as --db weft.db",
		top:                                  top + " is a folder",
		"new/":                               "new/ is a folder",
	} {
		t.Run(path, func(t *testing.T) {
			db, err := store.Open(t.Context(), store.Options{Path: path})
			if err == nil {
				db.Close()
			}
			if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), says) {
				t.Errorf("%v", err)
			}
			if there := in(t, top); len(there) != 0 {
				t.Errorf("there are %q", there)
			}
		})
	}
}

func TestAFileOfSomethingElseIsNoDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	notes := strings.Repeat("buy milk\n", 1000)
	if err := os.WriteFile(path, []byte(notes), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Options{Path: path})
	if want := path + " is no database of SQLite; name another file with --db; one that is not there is made"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != notes {
		t.Errorf("the file has changed: %d bytes, %v", len(data), err)
	}
}

// in are the names of what a folder has.
func in(t *testing.T, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
