// Package trial tests workflows: it runs them on the machine alone, in virtual
// time, where calls are answered by mocks and events come when the test says.
// Nothing sleeps, and nothing leaves the process.
package trial

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// CasesMax bounds the cases of one file.
const CasesMax = 1_000

// File is a test: workflows, mocks, and cases that run them.
type File struct {
	Cases []*Case
	defs  []*workflows.Definition
}

// Case is one run of a workflow under circumstances, and what is expected of it.
type Case struct {
	Name     string
	defs     []*workflows.Definition
	scripts  *scripts
	def      *workflows.Definition
	input    *[]byte // nil: an event starts the run
	mocks    map[string][]answer
	events   []timed
	expected expectation
}

// timed is an event at its time after the start.
type timed struct {
	after time.Duration
	event weft.Event
}

// Parse reads a test. The workflows that it names are read by read, whose
// argument is a path as the test writes it. The error has every problem on a
// line of its own.
func Parse(file string, src []byte, read func(name string) ([]byte, error)) (*File, error) {
	root, err := workflows.ReadTree(file, src)
	if err != nil {
		return nil, err
	}
	p := &parser{read: read}
	f := p.file(root)
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return f, nil
}

type parser struct {
	read      func(string) ([]byte, error)
	problems  workflows.Problems
	resources map[string]string // texts that workflows have elsewhere, by URI
}

func (p *parser) wrong(t workflows.Tree, hint, format string, args ...any) {
	if len(p.problems) < workflows.ProblemsMax {
		p.problems = append(p.problems, t.Problem(hint, format, args...))
	}
}

// fields gives the values of the keys of a mapping that are known.
func (p *parser) fields(t workflows.Tree, what string, known ...string) map[string]workflows.Tree {
	if !t.IsMap() {
		p.wrong(t, "it has the keys "+strings.Join(known, ", "), "%s must be a mapping", what)
		return nil
	}
	found := map[string]workflows.Tree{}
	for _, b := range t.Branches() {
		if !slices.Contains(known, b.Key) {
			hint := "it has " + strings.Join(known, ", ")
			if near := workflows.Nearest(b.Key, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			p.wrong(b.At, hint, "%s has no key %s", what, b.Key)
			continue
		}
		found[b.Key] = b.Tree
	}
	return found
}

func (p *parser) items(t workflows.Tree, what string) []workflows.Tree {
	items, ok := t.Items()
	if !ok {
		p.wrong(t, "begin each with a dash", "%s must be a list", what)
	}
	return items
}

func (p *parser) text(t workflows.Tree, what string) string {
	s, ok := t.Value().(string)
	if !ok || s == "" {
		p.wrong(t, "", "%s must be a text", what)
	}
	return s
}

func (p *parser) duration(t workflows.Tree, what string) time.Duration {
	d, err := workflows.ParseDuration(p.text(t, what))
	if err != nil {
		p.wrong(t, "write one such as PT30S, PT15M or P1D", "%s is no ISO 8601 duration", what)
	}
	return d
}

func (p *parser) template(t workflows.Tree) *workflows.Template {
	v, err := workflows.TemplateOf(t.Value())
	if err != nil {
		p.wrong(t, "", "%s", err)
	}
	return v
}

func (p *parser) file(root workflows.Tree) *File {
	f := &File{}
	at := p.fields(root, "the test", "workflows", "resources", "mocks", "cases")
	list, ok := at["workflows"]
	if !ok {
		p.wrong(root, "write workflows: [ place-order.yaml ]", "the test names no workflows")
		return f
	}
	resources, given := at["resources"]
	if given {
		p.texts(resources)
	}
	for _, t := range p.items(list, "workflows") {
		p.workflow(f, t)
	}
	if given {
		p.idle(f, resources)
	}
	cases, ok := at["cases"]
	if !ok {
		p.wrong(root, "write cases: and - a sentence: { input: ..., expect: ... } below it", "the test has no cases")
	}
	if len(p.problems) > 0 {
		return f
	}
	shared := p.mocks(f, at["mocks"], at, "mocks")
	for i, t := range p.items(cases, "cases") {
		if i == CasesMax {
			p.wrong(t, "split it into several files", "the test has more than %d cases", CasesMax)
			break
		}
		branches := t.Branches()
		if len(branches) != 1 {
			p.wrong(t, "write - a sentence: { input: ..., expect: ... }", "a case must be one sentence with its circumstances")
			continue
		}
		if slices.ContainsFunc(f.Cases, func(c *Case) bool { return c.Name == branches[0].Key }) {
			p.wrong(branches[0].At, "", "the case %q is here twice", branches[0].Key)
		}
		f.Cases = append(f.Cases, p.testCase(f, branches[0], shared))
	}
	return f
}

func (p *parser) workflow(f *File, t workflows.Tree) {
	name := p.text(t, "a workflow")
	if name == "" {
		return
	}
	src, err := p.read(name)
	if err != nil {
		p.wrong(t, "", "%s", err)
		return
	}
	def, err := workflows.ParseWith(name, src, p.resources)
	if err != nil {
		p.wrong(t, "", "%s is refused: %s", name, err)
		return
	}
	for _, r := range def.Missing() {
		hint := "a test fetches nothing: write resources: { " + r.URI + ": { file: ... } }"
		p.wrong(t, hint, "%s:%d:%d: %s is not here", r.File, r.Line, r.Column, r.URI)
	}
	f.defs = append(f.defs, def)
}

func (p *parser) testCase(f *File, b workflows.Branch, shared map[string][]answer) *Case {
	c := &Case{Name: b.Key, defs: f.defs, def: f.defs[0], mocks: map[string][]answer{}}
	at := p.fields(b.Tree, "the case", "workflow", "input", "mocks", "events", "expect")
	if t, ok := at["workflow"]; ok {
		c.def = p.chosen(f, t)
	}
	for name, list := range shared {
		c.mocks[name] = list
	}
	for name, list := range p.mocks(f, at["mocks"], at, "mocks") {
		c.mocks[name] = list
	}
	if t, ok := at["events"]; ok {
		for i, e := range p.items(t, "events") {
			c.events = append(c.events, p.event(e, i))
		}
		slices.SortStableFunc(c.events, func(a, b timed) int { return cmp.Compare(a.after, b.after) })
	}
	input, given := at["input"]
	if given || len(c.def.Triggers()) == 0 || len(c.events) == 0 {
		data := []byte("null")
		if given {
			data = workflows.AppendJSON(nil, input.Value())
		}
		c.input = &data
	}
	if t, ok := at["expect"]; ok {
		c.expected = p.expectation(t)
	}
	return c
}

func (p *parser) chosen(f *File, t workflows.Tree) *workflows.Definition {
	name := p.text(t, "workflow")
	var names []string
	for _, d := range f.defs {
		space, short, _ := d.ID()
		if name == short || name == space+"/"+short {
			return d
		}
		names = append(names, short)
	}
	p.wrong(t, "there are "+strings.Join(names, ", "), "no workflow of this test is %s", name)
	return f.defs[0]
}

// event is the i-th event that a case publishes.
func (p *parser) event(t workflows.Tree, i int) timed {
	e := timed{event: weft.Event{ID: "event-" + string(workflows.AppendJSON(nil, i+1)), Source: "/test", DataContentType: "application/json"}}
	if !t.IsMap() {
		p.wrong(t, "write { at: PT5S, type: shop.order.placed, data: ... }", "an event must be a mapping")
		return e
	}
	for _, b := range t.Branches() {
		switch b.Key {
		case "at":
			e.after = p.duration(b.Tree, "at")
		case "data":
			e.event.Data = workflows.AppendJSON(nil, b.Tree.Value())
		default:
			if err := e.event.SetAttribute(b.Key, p.text(b.Tree, b.Key)); err != nil {
				p.wrong(b.Tree, "", "%s", err)
			}
		}
	}
	if e.event.Type == "" {
		p.wrong(t, "write type: shop.order.placed", "the event has no type")
	}
	return e
}
