// Package graph draws workflows: as SVG, laid out here, and as the text of a
// Mermaid flowchart. A picture has each task once and every way between tasks.
package graph

import (
	"fmt"
	"strconv"

	"github.com/weftrun/weft/workflows"
)

// flow is a list of tasks, and the ways between them.
type flow struct {
	nodes []*node
	edges []*edge
	ends  map[string]int // where the pills end and exit are in nodes
	w, h  float64        // once it is laid out
}

// node is a task, or a pill that says where a run begins, ends, or leaves a list.
type node struct {
	id      string // unique in the picture
	pointer string // of the task; empty for a pill
	kind    string // the word of the language; of a pill start, exit or end
	name    string
	lines   []string
	panels  []*panel
	box     box // in the flow
}

// panel is a list of tasks inside a task.
type panel struct {
	title string // of a catch, else empty
	lines []string
	flow  *flow // nil for a catch that runs nothing
	box   box   // in the node
}

func (p *panel) isCatch() bool { return p.title != "" }

// edge is a way from one node of a flow to another one.
type edge struct {
	from, to int
	label    string
	dashed   bool
	line     []point // in the flow
	chip     box     // of the label
}

// builder makes the flows of a definition.
type builder struct{ pills int }

// whole is the flow of all of d.
func whole(d *workflows.Definition) *flow {
	b := &builder{}
	start := &node{id: "start", kind: "start", name: "start"}
	for i, f := range d.Triggers() {
		word := "or "
		if i == 0 {
			word = "on "
		}
		start.lines = append(start.lines, word+eventType(f))
	}
	f := &flow{nodes: append([]*node{start}, b.tasks(d.Do())...)}
	f.edges = []*edge{{from: 0, to: 1}}
	b.ways(f, d.Do(), 1, true)
	return f
}

// list is the flow of tasks inside a task.
func (b *builder) list(tasks []*workflows.Task) *flow {
	f := &flow{nodes: b.tasks(tasks)}
	b.ways(f, tasks, 0, false)
	return f
}

func (b *builder) tasks(tasks []*workflows.Task) []*node {
	nodes := make([]*node, len(tasks))
	for i, t := range tasks {
		nodes[i] = b.task(t)
	}
	return nodes
}

// task is a task with all that is in it. A kind that has tasks inside gets a
// panel for each list of them.
func (b *builder) task(t *workflows.Task) *node {
	n := &node{id: "t" + strconv.Itoa(t.Index), pointer: t.Pointer, kind: t.Kind.String(), name: t.Name, lines: details(t)}
	if t.Kind == workflows.KindDo && len(t.Do) == 0 { // a function that stands elsewhere
		written, _ := t.Definition.(map[string]any)
		n.kind, n.lines = "call", []string{fmt.Sprint(written["call"])}
		return n
	}
	switch t.Kind {
	case workflows.KindDo, workflows.KindFor:
		n.panels = []*panel{{flow: b.list(t.Do)}}
	case workflows.KindFork:
		n.panels = []*panel{{flow: &flow{nodes: b.tasks(t.Do)}}}
	case workflows.KindTry:
		catch := &panel{title: "catch", lines: caught(t.Catch)}
		if len(t.Catch.Do) > 0 {
			catch.title += " as $" + t.Catch.As
			catch.flow = b.list(t.Catch.Do)
		}
		n.panels = []*panel{{flow: b.list(t.Do)}, catch}
	}
	return n
}

// ways adds the edges between tasks that run one after the other; the first of
// them is at that place of the flow.
func (b *builder) ways(f *flow, tasks []*workflows.Task, first int, root bool) {
	w := &walk{b: b, f: f, count: len(tasks), first: first, root: root, exits: root || exits(tasks)}
	for i, t := range tasks {
		w.task(i, t)
	}
}

// exits reports whether something leaves the list other than over its last task.
func exits(tasks []*workflows.Task) bool {
	last := len(tasks) - 1
	for i, t := range tasks {
		thens := []workflows.Then{t.Then}
		for _, c := range t.Switch {
			thens = append(thens, c.Then)
		}
		if t.Catch != nil {
			thens = append(thens, t.Catch.Then)
		}
		for _, then := range thens {
			if then.Flow == workflows.Exit && i < last {
				return true
			}
		}
		// Of several ways out of the last task each must lead somewhere.
		if i == last && (t.Kind == workflows.KindSwitch || t.If != nil && (t.Then.Flow >= workflows.End || t.Kind == workflows.KindRaise) ||
			t.Catch != nil && t.Catch.HasThen && t.Catch.Then != t.Then) {
			return true
		}
	}
	return false
}

// walk adds the edges of one list of tasks.
type walk struct {
	b     *builder
	f     *flow
	count int
	first int
	root  bool
	exits bool // the list has a pill for leaving it
}

func (w *walk) task(i int, t *workflows.Task) {
	next := workflows.Then{}
	switch t.Kind {
	case workflows.KindSwitch:
		w.cases(i, t)
	case workflows.KindRaise:
		if t.If != nil {
			w.way(i, next, "else", false)
		}
		return
	default:
		w.way(i, t.Then, "", false)
	}
	if t.If != nil && t.Then != next {
		w.way(i, next, "skipped", false)
	}
	if t.Catch != nil && t.Catch.HasThen && t.Catch.Then != t.Then {
		w.way(i, t.Catch.Then, "caught", true)
	}
}

func (w *walk) cases(i int, t *workflows.Task) {
	decided := false
	for _, c := range t.Switch {
		label := "else"
		if c.When != nil {
			label = clipped(c.When.String(), labelMax)
		}
		decided = decided || c.When == nil
		w.way(i, c.Then, label, false)
	}
	if !decided {
		w.way(i, t.Then, "else", false)
	}
}

func (w *walk) way(from int, then workflows.Then, label string, dashed bool) {
	to := -1
	switch {
	case then.Flow == workflows.Goto:
		to = w.first + then.Next
	case then.Flow == workflows.Continue && from+1 < w.count:
		to = w.first + from + 1
	case then.Flow == workflows.End || w.root:
		to = w.pill("end")
	case w.exits:
		to = w.pill("exit")
	}
	if to >= 0 {
		w.f.edges = append(w.f.edges, &edge{from: w.first + from, to: to, label: label, dashed: dashed})
	}
}

// pill is where the pill of that kind is in the flow; there is one at most.
func (w *walk) pill(kind string) int {
	at, ok := w.f.ends[kind]
	if !ok {
		if w.f.ends == nil {
			w.f.ends = map[string]int{}
		}
		at = len(w.f.nodes)
		w.f.ends[kind] = at
		w.b.pills++
		w.f.nodes = append(w.f.nodes, &node{id: kind + strconv.Itoa(w.b.pills), kind: kind, name: kind})
	}
	return at
}
