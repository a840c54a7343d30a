package house_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/house"
)

// Links between pages lead to a file, and to a heading of it.
func TestLinksLead(t *testing.T) {
	pages := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if slices.Contains([]string{".git", "bin", ".cache", "target", "node_modules", "openworkflow"}, d.Name()) { // the last has others' pages
				return filepath.SkipDir
			}
			return nil
		case filepath.Ext(file) != ".md":
			return nil
		}
		pages++
		dead, err := house.Links(file)
		for _, d := range dead {
			t.Error(strings.TrimPrefix(d, root+"/"))
		}
		return err
	})
	if err != nil || pages < 30 {
		t.Fatal(pages, err)
	}
}

func TestLinksCanFail(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir, map[string]string{
		"a.md":     "# A `b` of *C*, and D\n[here](#a-b-of-c-and-d) [there](sub/b.md#one) [out](https://weft.example/x#y) [folder](sub)\n",
		"sub/b.md": "# One\n```\n# Two\n[code](none.md)\n```\n[a](none.md) [b](#two) [c](../a.md#one)\n",
	})
	for file, want := range map[string][]string{"a.md": nil, "sub/b.md": {
		"there is no none.md", "there is no heading for #two", "there is no heading for ../a.md#one",
	}} {
		dead, err := house.Links(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		for i := range dead {
			_, dead[i], _ = strings.Cut(dead[i], ": ")
		}
		if !slices.Equal(dead, want) {
			t.Errorf("%s: %q, not %q", file, dead, want)
		}
	}
}
