package workflows

import (
	"slices"
	"strings"
)

func (p *parser) listen(t *Task, n *node) {
	t.Kind = KindListen
	head := n.get("listen")
	if !p.fields(head, "listen", []string{"to", "read"}, nil) || !p.require(head, "listen", "to") {
		return
	}
	t.Listen = &Listen{
		Read:     p.read(head.get("read"), "listen.read"),
		Strategy: p.consumption(head.get("to"), "listen.to", "until"),
	}
	p.def.filters = append(p.def.filters, t.Listen.Filters...)
	if stop := t.Listen.Stop; stop != nil {
		p.def.filters = append(p.def.filters, stop.Filters...)
	}
	if each := n.get("foreach"); each != nil {
		p.foreach(t, each)
	}
}

// consumption reads which events a listen takes; extra are keys beside the
// filters.
func (p *parser) consumption(n *node, what string, extra ...string) Strategy {
	var s Strategy
	words := []string{"one", "any", "all"}
	if !p.fields(n, what, append(words, extra...), nil) {
		return s
	}
	var found []pair
	for _, word := range words {
		if v := n.get(word); v != nil {
			found = append(found, pair{key: word, value: v})
		}
	}
	if len(found) != 1 {
		p.wrong(n, what, "write one: { with: { type: ... } }", "%s must have one of %s", what, strings.Join(words, ", "))
		return s
	}
	key, filters := found[0].key, found[0].value
	s.All = key == "all"
	switch {
	case key == "one":
		s.Filters = []EventFilter{p.filter(filters, what+".one", inTask)}
	case filters.kind != isList:
		p.wrong(filters, key, listHint, "%s.%s must be a list, not %s", what, key, filters.kind)
	case len(filters.items) > 0:
		for _, item := range filters.items {
			s.Filters = append(s.Filters, p.filter(item, what+"."+key, inTask))
		}
	case s.All:
		p.wrong(filters, key, "name at least one event", "%s.all is empty", what)
	default:
		s.Filters = []EventFilter{{}} // every event
	}
	switch until := n.get("until"); {
	case until == nil || !slices.Contains(extra, "until"):
	case key == "any":
		p.until(&s, until, what+".until")
	default:
		p.wrong(until, "until", "leave it out, or write any", "%s.until goes with any", what)
	}
	return s
}

// until reads when a listen has had enough: an expression, or events.
func (p *parser) until(s *Strategy, n *node, what string) {
	if n.kind != isMap {
		s.Until = p.condition(n, what, inTask)
		return
	}
	stop := p.consumption(n, what)
	s.Stop = &stop
}

func (p *parser) foreach(t *Task, n *node) {
	if !p.fields(n, "foreach", []string{"item", "at", "do", "output", "export"}, nil) {
		return
	}
	each := &Each{
		Item: p.variable(n.get("item"), "foreach.item", "item"),
		At:   p.variable(n.get("at"), "foreach.at", "index"),
	}
	t.Listen.Each = each
	p.within(func() {
		if do := n.get("do"); do != nil {
			t.Do = p.tasks(do, t.Pointer+"/foreach/do", "foreach.do")
		}
		each.Output = p.from(n.get("output"), "foreach.output", "as", inTaskOutput)
		each.Export = p.from(n.get("export"), "foreach.export", "as", inTaskExport)
	}, each.Item, each.At)
	each.OutputSchema, each.ExportSchema = p.schema(n.get("output"), "foreach.output"), p.schema(n.get("export"), "foreach.export")
}
