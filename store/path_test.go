package store_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
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
