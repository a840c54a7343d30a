// Package house checks that the code stands as docs/ARCHITECTURE.md draws it.
package house_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weftrun/weft"

// room is one line of the house block.
type room struct {
	imports, foreign []string
	pure             bool
}

func readHouse(text string) map[string]room {
	_, block, _ := strings.Cut(text, "```house\n")
	block, _, _ = strings.Cut(block, "```")
	rooms := map[string]room{}
	for _, line := range strings.Split(strings.TrimSpace(block), "\n")[1:] {
		words := strings.Fields(line)
		var r room
		for _, w := range words[1:] {
			first, _, _ := strings.Cut(w, "/")
			switch {
			case w == "pure":
				r.pure = true
			case w == "-":
			case w != "." && strings.Contains(first, "."):
				r.foreign = append(r.foreign, w)
			default:
				r.imports = append(r.imports, w)
			}
		}
		rooms[words[0]] = r
	}
	return rooms
}

// examine lists what is wrong with the Go files below root. Tests may import
// what they like: they are no part of the house.
func examine(root string, rooms map[string]room) (wrong []string) {
	comments := map[string]int{}
	packages := map[string]bool{}
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && (slices.Contains([]string{"testdata", "guests", "sdk", "tests", ".git", "bin"}, d.Name())) && rel != "." {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		name := filepath.ToSlash(filepath.Dir(rel))
		r, ok := rooms[name]
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: room %s is not in the house", rel, name))
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		packages[name] = true
		if file.Doc != nil && !strings.HasPrefix(name, "proto/") {
			comments[name]++
		}
		wrong = append(wrong, imports(rel, file, r)...)
		if r.pure {
			wrong = append(wrong, impure(rel, file)...)
		}
		return nil
	})
	for name := range packages {
		if comments[name] != 1 && !strings.HasPrefix(name, "proto/") {
			wrong = append(wrong, fmt.Sprintf("%s: %d package comments, want one", name, comments[name]))
		}
	}
	slices.Sort(wrong)
	return wrong
}

func imports(rel string, file *ast.File, r room) (wrong []string) {
	for _, i := range file.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		inner, ours := strings.CutPrefix(path+"/", module+"/")
		if inner = strings.TrimSuffix(inner, "/"); inner == "" {
			inner = "."
		}
		first, _, _ := strings.Cut(path, "/")
		switch {
		case ours && !slices.Contains(r.imports, inner):
			wrong = append(wrong, fmt.Sprintf("%s: imports %s against the house", rel, inner))
		case !ours && strings.Contains(first, ".") && !slices.ContainsFunc(r.foreign, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") }):
			wrong = append(wrong, fmt.Sprintf("%s: foreign library %s has another room", rel, path))
		}
	}
	return wrong
}

// impure finds what a pure room may not do.
func impure(rel string, file *ast.File) (wrong []string) {
	for _, i := range file.Imports {
		path := strings.Trim(i.Path.Value, `"`)
		if slices.Contains([]string{"os", "net", "net/http", "io/fs", "database/sql", "math/rand", "log/slog"}, path) {
			wrong = append(wrong, fmt.Sprintf("%s: a pure room imports %s", rel, path))
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			wrong = append(wrong, rel+": a pure room starts a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker"}, n.Sel.Name) {
				wrong = append(wrong, fmt.Sprintf("%s: a pure room reads the clock: time.%s", rel, n.Sel.Name))
			}
		}
		return true
	})
	return wrong
}

func TestTheHouseStandsAsItIsDrawn(t *testing.T) {
	text, err := os.ReadFile("../../docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	rooms := readHouse(string(text))
	if len(rooms) < 10 {
		t.Fatalf("the house block has %d rooms", len(rooms))
	}
	for _, w := range examine("../..", rooms) {
		t.Error(w)
	}
}

func TestEveryRuleCanFail(t *testing.T) {
	rooms := readHouse("```house\nroom imports foreign pure\na b - -\nb - - pure\n```")
	for name, c := range map[string]struct{ path, source, says string }{
		"unlisted room":      {"c/c.go", "// Package c.\npackage c\n", "room c is not in the house"},
		"unlisted arrow":     {"b/b.go", "// Package b.\npackage b\nimport _ \"github.com/weftrun/weft/a\"\n", "imports a against the house"},
		"foreign library":    {"a/a.go", "// Package a.\npackage a\nimport _ \"github.com/x/y\"\n", "github.com/x/y has another room"},
		"no package comment": {"a/a.go", "package a\n", "0 package comments"},
		"clock in pure room": {"b/b.go", "// Package b.\npackage b\nimport \"time\"\nvar T = time.Now()\n", "reads the clock"},
		"goroutine":          {"b/b.go", "// Package b.\npackage b\nfunc f() { go f() }\n", "starts a goroutine"},
		"io in pure room":    {"b/b.go", "// Package b.\npackage b\nimport _ \"os\"\n", "imports os"},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(c.path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, c.path), []byte(c.source), 0o600); err != nil {
			t.Fatal(err)
		}
		if wrong := examine(dir, rooms); !strings.Contains(strings.Join(wrong, "\n"), c.says) {
			t.Errorf("%s: found %q, want %q", name, wrong, c.says)
		}
	}
}
