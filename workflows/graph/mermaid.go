package graph

import (
	"fmt"
	"strings"

	"github.com/weftrun/weft/workflows"
)

// Mermaid is d as the text of a Mermaid flowchart.
func Mermaid(d *workflows.Definition) string {
	m := &mermaid{}
	m.line("flowchart TD")
	m.depth++
	m.flow(whole(d))
	m.line("classDef catch stroke-dasharray: 4 3")
	return m.b.String()
}

// mermaid writes a flowchart, indented as it is nested.
type mermaid struct {
	b     strings.Builder
	depth int
}

func (m *mermaid) line(format string, args ...any) {
	m.b.WriteString(strings.Repeat("  ", m.depth))
	fmt.Fprintf(&m.b, format+"\n", args...)
}

func (m *mermaid) flow(f *flow) {
	for _, n := range f.nodes {
		m.node(n)
	}
	for _, e := range f.edges {
		from, to := f.nodes[e.from].id, f.nodes[e.to].id
		switch {
		case e.dashed:
			m.line(`%s -. "%s" .-> %s`, from, quoted(e.label), to)
		case e.label != "":
			m.line(`%s -- "%s" --> %s`, from, quoted(e.label), to)
		default:
			m.line("%s --> %s", from, to)
		}
	}
}

func (m *mermaid) node(n *node) {
	switch {
	case len(n.panels) > 0:
		m.box(n.id, heading(n.kind+" "+clipped(n.name, nameMax), n.lines), func() {
			for i, p := range n.panels {
				m.panel(n, p, fmt.Sprintf("%s_%d", n.id, i))
			}
			if n.panels[len(n.panels)-1].isCatch() {
				m.line("%s_0 -.-> %s_1", n.id, n.id)
			}
		})
	case n.pointer == "":
		m.line(`%s(["%s"])`, n.id, text(n.name, n.lines))
	case n.kind == "switch":
		m.line(`%s{"%s"}`, n.id, text(clipped(n.name, nameMax), n.lines))
	default:
		m.line(`%s["%s"]`, n.id, text(n.kind+" "+clipped(n.name, nameMax), n.lines))
	}
}

func (m *mermaid) panel(n *node, p *panel, id string) {
	switch {
	case len(n.panels) == 1:
		m.flow(p.flow)
	case p.flow == nil:
		m.line(`%s["%s"]:::catch`, id, text(p.title, p.lines))
	case p.isCatch():
		m.box(id, heading(p.title, p.lines), func() { m.flow(p.flow) })
		m.line("class %s catch", id)
	default:
		m.box(id, " ", func() { m.flow(p.flow) })
	}
}

func (m *mermaid) box(id, title string, inside func()) {
	m.line(`subgraph %s["%s"]`, id, title)
	m.depth++
	m.line("direction TB")
	inside()
	m.depth--
	m.line("end")
}

// text is a label of a name and lines under it.
func text(name string, lines []string) string {
	s := quoted(name)
	for _, l := range lines {
		s += "<br/>" + quoted(l)
	}
	return s
}

// heading is a label on one line: Mermaid draws over the second line of a box.
func heading(name string, lines []string) string {
	return quoted(strings.Join(append([]string{name}, lines...), ", "))
}

// quoted is s with no sign in it that means something to Mermaid or to HTML.
func quoted(s string) string { return marks.Replace(s) }

var marks = strings.NewReplacer(`"`, "#quot;", "#", "#35;", "&", "#amp;", "<", "#lt;", ">", "#gt;", "`", "#96;", "%", "#37;", `\`, "#92;")
