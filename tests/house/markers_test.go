package house_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/house"
)

// No file holds what git leaves where two changes met: one was committed once.
func TestNoConflictIsLeft(t *testing.T) {
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // another test's, and gone
			return nil
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", ".cache", "target", "node_modules"}, d.Name()):
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		found, err := house.Markers(file)
		for _, f := range found {
			t.Error(strings.TrimPrefix(f, root+"/"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMarkersCanBeFound(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := strings.Repeat("<", 7), strings.Repeat(">", 7)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a conflict":          {"a\n" + ours + " HEAD\nb\n=======\nc\n" + theirs + " other\n", []string{"2: " + ours + " HEAD", "6: " + theirs + " other"}},
		"an end without more": {theirs + " other", []string{"1: " + theirs + " other"}},
		"a rule of a heading": {"Title\n=======\n", nil},
		"a marker in a line":  {" " + ours + " HEAD\n", nil},
		"an arrow of eight":   {ours + "< HEAD\n", nil},
		"bytes and no text":   {"\x00\n" + ours + " HEAD\n", nil},
	} {
		lay(t, dir, map[string]string{name: c.text})
		found, err := house.Markers(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := range found {
			_, found[i], _ = strings.Cut(found[i], ":")
		}
		if !slices.Equal(found, c.want) {
			t.Errorf("%s: %q, not %q", name, found, c.want)
		}
	}
}
