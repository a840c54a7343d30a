package workflows

import (
	"fmt"
	"slices"
	"strconv"
)

// ExtensionsMax is how many extensions a workflow may have.
const ExtensionsMax = 32

// Extension runs tasks before and after each task of a kind. Its own tasks are
// there once, whatever they extend, and are not extended themselves.
type Extension struct {
	Name          string
	Pointer       string // JSON Pointer into the document, such as /use/extensions/0/logging
	When          *Expr  // may be nil
	Before, After []*Task
}

// extensible are the kinds of tasks as use.extensions names them.
var extensible = []string{"call", "composite", "emit", "for", "listen", "raise", "run", "set", "switch", "try", "wait", "all"}

// extends is the word of extensible for a kind of task.
func (k Kind) extends() string {
	switch k {
	case KindHTTP:
		return "call"
	case KindDo, KindFork:
		return "composite"
	}
	return k.String()
}

// extensions reads use.extensions, and adds each to the tasks that it extends.
// All other tasks have been read.
func (p *parser) extensions(n *node) {
	if n == nil {
		return
	}
	if n.kind != isList {
		p.wrong(n, "extensions", "write - name: { extend: all, before: ... } for each", "use.extensions must be a list, not %s", n.kind)
		return
	}
	if len(n.items) > ExtensionsMax {
		p.wrong(n, "extensions", "join some of them", "use.extensions has %d extensions, more than %d", len(n.items), ExtensionsMax)
		return
	}
	tasks := slices.Clone(p.def.tasks)
	for i, item := range n.items {
		if item.kind != isMap || len(item.pairs) != 1 {
			p.wrong(item, "extensions", "write - name: { extend: all, before: ... }", "an extension must be one name with its definition, not %s", shape(item))
			continue
		}
		e, extend := p.extension(item.pairs[0], i)
		for _, t := range tasks {
			if extend == "all" || t.Kind.extends() == extend {
				t.Extensions = append(t.Extensions, e)
			}
		}
	}
}

func (p *parser) extension(f pair, place int) (e *Extension, extend string) {
	e = &Extension{Name: f.key, Pointer: "/use/extensions/" + strconv.Itoa(place) + "/" + pointerEscape.Replace(f.key)}
	what := "the extension " + f.key
	if !p.fields(f.value, what, []string{"extend", "when", "before", "after"}, nil) || !p.require(f.value, what, "extend") {
		return e, ""
	}
	extend = extensible[p.oneOf(f.value.get("extend"), "extend", extensible...)]
	e.When = p.expr(f.value.get("when"), "when", inTaskInput)
	before, after := f.value.get("before"), f.value.get("after")
	if before == nil && after == nil {
		p.report(f.line, f.column, f.key, fmt.Sprintf("%s does nothing", what), "give it tasks under before or after")
	}
	if before != nil {
		e.Before = p.tasks(before, e.Pointer+"/before", "before")
	}
	if after != nil {
		e.After = p.tasks(after, e.Pointer+"/after", "after")
	}
	return e, extend
}
