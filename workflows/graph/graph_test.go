package graph

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

var update = flag.Bool("update", false, "write what should be seen")

// sources are the examples and the cases of this room.
func sources(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"../examples/*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, files, err)
		}
		all = append(all, files...)
	}
	return all
}

func parse(t *testing.T, file string) *workflows.Definition {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return define(t, file, string(src))
}

func define(t *testing.T, file, src string) *workflows.Definition {
	t.Helper()
	d, err := workflows.Parse(file, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMermaidIsAsWritten(t *testing.T) {
	for _, file := range sources(t) {
		got := Mermaid(parse(t, file))
		golden := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(file), ".yaml")+".mmd")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s gives\n%s", file, got)
		}
	}
}

// The picture in docs/ is that of the example.
func TestPictureInTheDocumentsIsOfToday(t *testing.T) {
	got, err := SVG(parse(t, "../examples/place-order.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../docs/place-order.svg"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is old; go test ./workflows/graph -update writes it anew", file)
	}
}

// A function that stands elsewhere is not looked at: it is one box.
func TestAFunctionFromElsewhereIsOneTask(t *testing.T) {
	d := define(t, "far.yaml", "document: { dsl: '1.0.3', namespace: test, name: far, version: '1.0.0' }\ndo: [ { note: { call: 'https://a.example/note.yaml' } } ]\n")
	svg, err := SVG(d)
	if err != nil {
		t.Fatal(err)
	}
	if got := look(t, svg); got.tasks["/do/0/note"] != 1 || len(got.tasks) != 1 {
		t.Errorf("it has %v", got.tasks)
	}
	if got := Mermaid(d); !strings.Contains(got, "https://a.example/note.yaml") || !strings.Contains(got, "call") || strings.Contains(got, "subgraph") {
		t.Error(got)
	}
}

// seen is what stands in a picture.
type seen struct {
	tasks    map[string]int // by data-task
	names    map[string]int // texts of the class name
	elements map[string]int
	values   []string // of all attributes
}

func look(t *testing.T, svg string) seen {
	t.Helper()
	s := seen{map[string]int{}, map[string]int{}, map[string]int{}, nil}
	d := xml.NewDecoder(strings.NewReader(svg))
	name := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return s
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			name = false
			s.elements[e.Name.Local]++
			for _, a := range e.Attr {
				s.values = append(s.values, a.Name.Local+"="+a.Value)
				name = name || e.Name.Local == "text" && a.Name.Local == "class" && a.Value == "name"
				if a.Name.Local == "data-task" && a.Value != "" {
					s.tasks[a.Value]++
				}
			}
		case xml.CharData:
			if name {
				s.names[string(e)]++
			}
		case xml.EndElement:
			name = false
		}
	}
}

func TestPictureHasEveryTaskOnce(t *testing.T) {
	for _, file := range sources(t) {
		def := parse(t, file)
		svg, err := SVG(def)
		if err != nil {
			t.Fatal(err)
		}
		got := look(t, svg)
		names := map[string]int{}
		for _, task := range def.Tasks() {
			names[clipped(task.Name, nameMax)]++
			if got.tasks[task.Pointer] != 1 {
				t.Errorf("%s: %s is there %d times", file, task.Pointer, got.tasks[task.Pointer])
			}
		}
		if len(got.tasks) != len(def.Tasks()) || fmt.Sprint(got.names) != fmt.Sprint(names) {
			t.Errorf("%s: the picture has the names %v, the workflow %v", file, got.names, names)
		}
	}
}

func TestPictureRunsNothingAndAsksForNothing(t *testing.T) {
	for _, file := range sources(t) {
		svg, err := SVG(parse(t, file))
		if err != nil {
			t.Fatal(err)
		}
		got := look(t, svg)
		for name := range got.elements {
			if !strings.Contains(" svg title desc style rect g text path ", " "+name+" ") {
				t.Errorf("%s: the element %s", file, name)
			}
		}
		for _, v := range got.values {
			if regexp.MustCompile(`^(on|href|src)|url\(`).MatchString(v) {
				t.Errorf("%s: the attribute %s", file, v)
			}
		}
		if got.elements["title"] != 1 || got.elements["desc"] != 1 || !strings.Contains(svg, "prefers-color-scheme:dark") {
			t.Errorf("%s: title, description or dark colours are missing", file)
		}
	}
	if strings.Contains(style, "url(") || strings.Contains(style, "@import") {
		t.Error("the style asks for something")
	}
}

// Nodes and labels of one list, and panels of one task, lie beside each other,
// and all lies inside what it belongs to.
func TestNothingOverlaps(t *testing.T) {
	for _, file := range sources(t) {
		f := whole(parse(t, file))
		if err := layout(f); err != nil {
			t.Fatal(err)
		}
		apart(t, file, f)
	}
}

func apart(t *testing.T, where string, f *flow) {
	t.Helper()
	var boxes []box
	for _, n := range f.nodes {
		boxes = append(boxes, n.box)
	}
	for _, e := range f.edges {
		if e.label != "" {
			boxes = append(boxes, e.chip)
		}
		for _, p := range e.line {
			if !inside(box{p.x, p.y, 0, 0}, f.w, f.h) {
				t.Errorf("%s: an edge leaves its list at %v", where, p)
			}
		}
	}
	disjoint(t, where, boxes, f.w, f.h)
	for _, n := range f.nodes {
		var panels []box
		for _, p := range n.panels {
			panels = append(panels, p.box)
			if p.flow == nil {
				continue
			}
			if size := panelSize(p); size.w > p.box.w || size.h > p.box.h {
				t.Errorf("%s: what is in %s is larger than its panel", where, n.name)
			}
			apart(t, where+" "+n.name, p.flow)
		}
		disjoint(t, where+" "+n.name, panels, n.box.w, n.box.h)
	}
}

func disjoint(t *testing.T, where string, boxes []box, w, h float64) {
	t.Helper()
	for i, a := range boxes {
		if !inside(a, w, h) {
			t.Errorf("%s: %v is not inside %v by %v", where, a, w, h)
		}
		for _, b := range boxes[:i] {
			if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
				t.Errorf("%s: %v and %v overlap", where, a, b)
			}
		}
	}
}

func inside(b box, w, h float64) bool {
	const slip = 0.001
	return b.x >= -slip && b.y >= -slip && b.x+b.w <= w+slip && b.y+b.h <= h+slip
}

// Each way of a list is there once, and no task is left without one.
func TestWays(t *testing.T) {
	const head = "document: { dsl: '1.0.3', namespace: test, name: ways, version: '1.0.0' }\ndo:\n"
	for name, c := range map[string]struct{ tasks, want string }{
		"one after the other":                       {"  - a: { set: { x: 1 } }\n  - b: { set: { x: 1 } }\n", "start>a a>b b>end"},
		"a task that ends the run":                  {"  - a: { set: { x: 1 }, then: end }\n  - b: { set: { x: 1 } }\n", "start>a a>end b>end"},
		"a task that leads back":                    {"  - a: { set: { x: 1 } }\n  - b: { set: { x: 1 }, then: a }\n", "start>a a>b b>a"},
		"one that leads to itself":                  {"  - a: { set: { x: 1 }, then: a }\n", "start>a a>a"},
		"a skipped task goes on with the next":      {"  - a: { if: '${ .x }', set: { x: 1 }, then: end }\n  - b: { set: { x: 1 } }\n", "start>a a>end a>b:skipped b>end"},
		"nothing follows a raise":                   {"  - a: { raise: { error: { type: 'https://x.example/y', status: 400 } } }\n", "start>a"},
		"a raise that may be skipped":               {"  - a: { if: '${ .x }', raise: { error: { type: 'https://x.example/y', status: 400 } } }\n", "start>a a>end:else"},
		"a switch without a default has one anyway": {"  - a: { switch: [ { c: { when: '${ .x }', then: b } } ], then: end }\n  - b: { set: { x: 1 } }\n", "start>a a>b:.x a>end:else b>end"},
		"a catch that leads on elsewhere": {"  - a: { try: [ { i: { set: { x: 1 } } } ], catch: { then: end } }\n  - b: { set: { x: 1 } }\n",
			"start>a a>b a>end:caught b>end"},
	} {
		f := whole(define(t, "ways.yaml", head+c.tasks))
		var got []string
		for _, e := range f.edges {
			s := f.nodes[e.from].name + ">" + f.nodes[e.to].name
			if e.label != "" {
				s += ":" + e.label
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %s", name, strings.Join(got, " "))
		}
	}
}

// What is as large as the language allows is refused, or drawn at once.
func TestLargeWorkflowsAreBounded(t *testing.T) {
	const head = "document: { dsl: '1.0.3', namespace: test, name: large, version: '1.0.0' }\ndo:\n"
	var many, jumps strings.Builder
	many.WriteString(head)
	for i := range 3000 {
		fmt.Fprintf(&many, "  - t%d: { set: { x: 1 } }\n", i)
	}
	jumps.WriteString(head + "  - s:\n      switch:\n")
	for i := range 300 {
		fmt.Fprintf(&jumps, "        - c%d: { when: '${ .x == %d }', then: t%d }\n", i, i, i)
	}
	for i := range 300 {
		fmt.Fprintf(&jumps, "  - t%d: { set: { x: 1 } }\n", i)
	}
	for name, src := range map[string]string{"many tasks": many.String(), "many long ways": jumps.String()} {
		if _, err := SVG(define(t, "large.yaml", src)); weft.CodeOf(err) != weft.ResourceExhausted {
			t.Errorf("%s: %v", name, err)
		}
	}
}
