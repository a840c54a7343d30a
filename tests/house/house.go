// Package house reads the table of rooms in docs/ARCHITECTURE.md and finds
// where the code does not keep to it.
package house

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
)

// Room is one row of the table.
type Room struct {
	Path    string // folder, "weft" for the root
	Imports []string
	Foreign []string // modules of others that this room may see
	Pure    bool     // no clock, no goroutine, no I/O, no chance
}

// Rooms reads the table: the lines of the fenced block ```house, whose four
// columns are parted by bars. A first line of names is passed over.
func Rooms(doc string) ([]Room, error) {
	_, rest, ok := strings.Cut(doc, "```house\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		return nil, fmt.Errorf("no block that opens with ```house")
	}
	var rooms []Room
	for n, line := range strings.Split(block, "\n")[1:] {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			return nil, fmt.Errorf("row %d of the house block has %d columns and not 4: %s", n+1, len(cells), line)
		}
		r := Room{Path: strings.TrimSpace(cells[0]), Imports: strings.Fields(cells[1]), Foreign: strings.Fields(cells[2]),
			Pure: strings.TrimSpace(cells[3]) == "pure"}
		for _, i := range r.Imports {
			if !slices.ContainsFunc(rooms, func(o Room) bool { return o.Path == i }) {
				return nil, fmt.Errorf("%s imports %s, which does not stand above it in the table", r.Path, i)
			}
		}
		rooms = append(rooms, r)
	}
	return rooms, nil
}

// Check lists what in the tree at root, whose Go module has that name, does
// not keep to the rooms, sorted. Test files may import what they like. So may
// packages under tests/, which only tests may import. Folders with a go.mod of
// their own, testdata and hidden folders are no part of the house.
func Check(root, module string, rooms []Room) ([]string, error) {
	c := checker{module: module, rooms: map[string]Room{}}
	for _, r := range rooms {
		c.rooms[r.Path] = r
	}
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin" || exists(filepath.Join(dir, "go.mod"))) {
			return filepath.SkipDir
		}
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		return c.folder(dir, filepath.ToSlash(rel))
	})
	slices.Sort(c.found)
	return slices.Compact(c.found), err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

type checker struct {
	module string
	rooms  map[string]Room
	found  []string
}

func (c *checker) say(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// folder checks the package in dir, if there is one besides tests.
func (c *checker) folder(dir, rel string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return err
	}
	name := rel
	if rel == "." {
		name = "weft"
	}
	set := token.NewFileSet()
	var parsed []*ast.File
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		parsed = append(parsed, f)
	}
	if len(parsed) == 0 {
		return nil
	}
	c.comments(name, parsed)
	if strings.HasPrefix(name, "tests/") {
		return nil
	}
	room, ok := c.rooms[name]
	if !ok {
		c.say("%s: the room is not in the table", name)
		return nil
	}
	for _, f := range parsed {
		c.imports(room, f)
		if room.Pure {
			c.purity(room, f)
		}
	}
	return nil
}

// comments wants one package comment, in whichever file a person wrote.
func (c *checker) comments(name string, files []*ast.File) {
	written, with := 0, 0
	for _, f := range files {
		if ast.IsGenerated(f) {
			continue
		}
		written++
		if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
			with++
		}
	}
	if written > 0 && with != 1 {
		c.say("%s: %d package comments and not 1", name, with)
	}
}

func (c *checker) imports(room Room, f *ast.File) {
	for _, spec := range f.Imports {
		target := strings.Trim(spec.Path.Value, `"`)
		own, isOwn := strings.CutPrefix(target, c.module)
		switch first, _, _ := strings.Cut(target, "/"); {
		case isOwn && (own == "" || own[0] == '/'):
			own = strings.TrimPrefix(own, "/")
			if own == "" {
				own = "weft"
			}
			if !slices.Contains(room.Imports, own) {
				c.say("%s: imports %s, an arrow that is not in the table", room.Path, own)
			}
		case !strings.Contains(first, "."): // the standard library
			if room.Pure && impure(target) {
				c.say("%s: is pure and imports %s", room.Path, target)
			}
		case !slices.ContainsFunc(room.Foreign, func(m string) bool { return target == m || strings.HasPrefix(target, m+"/") }):
			c.say("%s: sees %s, which is not a library of this room", room.Path, target)
		}
	}
}

// impure are packages of the standard library that reach the outside or draw chance.
func impure(target string) bool {
	first, _, _ := strings.Cut(target, "/")
	return target != "net/url" && slices.Contains([]string{"os", "net", "database", "syscall", "plugin"}, first) ||
		slices.Contains([]string{"math/rand", "math/rand/v2", "crypto/rand", "io/fs", "io/ioutil", "log", "log/slog", "log/syslog"}, target)
}

// clocks are what of package time a pure room must not touch.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

func (c *checker) purity(room Room, f *ast.File) {
	clock := ""
	for _, spec := range f.Imports {
		if strings.Trim(spec.Path.Value, `"`) == "time" {
			clock = "time"
			if spec.Name != nil {
				clock = spec.Name.Name
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.say("%s: is pure and starts a goroutine", room.Path)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && clock != "" && x.Name == clock && slices.Contains(clocks, n.Sel.Name) {
				c.say("%s: is pure and uses %s", room.Path, "time."+n.Sel.Name)
			}
		}
		return true
	})
}
