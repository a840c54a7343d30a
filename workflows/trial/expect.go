package trial

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// expectation is what a case says about its end. What it does not name may be
// as it likes; but a run that is not to fault or to wait must complete.
type expectation struct {
	output  *want
	exactly *want
	fault   *want
	calls   []*want // each of one name, or of a name and an input
	events  []*want
	some    map[string]bool // the keys that are there
	takes   time.Duration
	waits   string
}

// want is an expected value: a part of a mapping, an expression that must give
// true, or a value to be equal to.
type want struct {
	expr  *workflows.Expr
	value any
	keys  map[string]*want
	items []*want
	list  bool
}

func (p *parser) expectation(t workflows.Tree) expectation {
	x := expectation{some: map[string]bool{}}
	at := p.fields(t, "expect", "output", "exactly", "fault", "calls", "events", "takes", "waits")
	for key, v := range at {
		x.some[key] = true
		switch key {
		case "output":
			x.output = p.want(v)
		case "exactly":
			x.exactly = p.want(v)
		case "fault":
			p.fields(v, "fault", "type", "status", "title", "detail", "instance")
			x.fault = p.want(v)
		case "calls":
			x.calls = p.listed(v, key)
		case "events":
			x.events = p.listed(v, key)
		case "takes":
			x.takes = p.duration(v, key)
		case "waits":
			x.waits = p.text(v, key)
		}
	}
	if x.some["fault"] && (x.some["output"] || x.some["exactly"]) {
		p.wrong(t, "", "a run that faults has no output to expect")
	}
	return x
}

// listed reads names, each perhaps with what belongs to it.
func (p *parser) listed(t workflows.Tree, key string) []*want {
	var list []*want
	for _, item := range p.items(t, key) {
		w := p.want(item)
		if _, name := w.value.(string); !name && (w.keys == nil || key == "calls" && len(w.keys) != 1) {
			p.wrong(item, "write a name, or name: { ... }", "%s has an element that names nothing", key)
			continue
		}
		list = append(list, w)
	}
	return list
}

func (p *parser) want(t workflows.Tree) *want {
	w := &want{}
	if items, ok := t.Items(); ok {
		w.list = true
		for _, item := range items {
			w.items = append(w.items, p.want(item))
		}
		return w
	}
	if t.IsMap() {
		w.keys = map[string]*want{}
		for _, b := range t.Branches() {
			w.keys[b.Key] = p.want(b.Tree)
		}
		return w
	}
	v := p.template(t)
	if v == nil {
		return w
	}
	w.expr = v.Expr()
	w.value, _ = v.Constant()
	return w
}

// compare tells how got differs. A mapping may have more keys than are
// expected, unless exact.
func (w *want) compare(path string, got any, exact bool) []string {
	switch {
	case w.expr != nil:
		yes, err := w.expr.True(got, workflows.NoVariables)
		if err != nil {
			return []string{fmt.Sprintf("%s is %s, on which the expectation fails: %s", path, show(got), err)}
		}
		if !yes {
			return []string{fmt.Sprintf("%s is %s, for which %s does not hold", path, show(got), w.expr)}
		}
		return nil
	case w.keys != nil:
		return w.mapping(path, got, exact)
	case w.list:
		list, ok := got.([]any)
		if !ok || len(list) != len(w.items) {
			return []string{fmt.Sprintf("%s is %s, expected a list of %d", path, show(got), len(w.items))}
		}
		var all []string
		for i, item := range w.items {
			all = append(all, item.compare(fmt.Sprintf("%s[%d]", path, i), list[i], exact)...)
		}
		return all
	case !workflows.Equal(w.value, got):
		return []string{fmt.Sprintf("%s is %s, expected %s", path, show(got), show(w.value))}
	}
	return nil
}

func (w *want) mapping(path string, got any, exact bool) []string {
	m, ok := got.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s is %s, expected a mapping with %s", path, show(got), strings.Join(slices.Sorted(maps.Keys(w.keys)), ", "))}
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(w.keys)) {
		if v, there := m[key]; there {
			all = append(all, w.keys[key].compare(path+"."+key, v, exact)...)
		} else {
			all = append(all, w.keys[key].compare(path+"."+key, nil, exact)...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if exact && w.keys[key] == nil {
			all = append(all, fmt.Sprintf("%s.%s is %s, and not expected", path, key, show(m[key])))
		}
	}
	return all
}

// showMax is how much of a value a failure shows, in bytes.
const showMax = 300

func show(v any) string {
	s := string(workflows.AppendJSON(nil, v))
	if len(s) > showMax {
		s = strings.ToValidUTF8(s[:showMax], "") + "…"
	}
	return s
}

func (x expectation) check(w *world) []string {
	all := x.checkEnd(w.root.m)
	if x.some["calls"] {
		all = append(all, x.checkCalls(w.calls)...)
	}
	if x.some["events"] {
		all = append(all, x.checkEvents(w)...)
	}
	if took := w.took(w.root); x.some["takes"] && took != x.takes {
		all = append(all, fmt.Sprintf("it took %s, expected %s", workflows.ShowDuration(took), workflows.ShowDuration(x.takes)))
	}
	return all
}

func (x expectation) checkEnd(m *machine.Machine) []string {
	wanted := "completed"
	if x.fault != nil {
		wanted = "faulted"
	} else if x.some["waits"] {
		wanted = "running"
	}
	if got := m.Status().String(); got != wanted {
		return []string{"the run is " + got + because(m) + ", expected " + wanted}
	}
	switch {
	case x.fault != nil:
		return x.checkFault(m.Fault())
	case x.some["waits"]:
		if !strings.Contains(m.Waiting(), x.waits) {
			return []string{"the run waits for " + m.Waiting() + ", expected " + x.waits}
		}
		return nil
	}
	output, err := workflows.DecodeJSON(m.Output())
	if err != nil {
		return []string{err.Error()}
	}
	var all []string
	if x.output != nil {
		all = x.output.compare("output", output, false)
	}
	if x.exactly != nil {
		all = append(all, x.exactly.compare("output", output, true)...)
	}
	return all
}

// because says why a run is what it is.
func because(m *machine.Machine) string {
	switch {
	case m.Fault() != nil:
		return " with " + faultText(m.Fault())
	case m.Waiting() != "":
		return " and waits for " + m.Waiting()
	}
	return ""
}

// checkFault wants a part of the detail only, and one type whatever its domain.
func (x expectation) checkFault(f *machine.Fault) []string {
	var all []string
	for _, key := range slices.Sorted(maps.Keys(x.fault.keys)) {
		w := x.fault.keys[key]
		part, _ := w.value.(string)
		got := map[string]any{"type": f.Type, "status": f.Status, "title": f.Title, "detail": f.Detail, "instance": f.Instance}[key]
		switch {
		case key == "detail" && w.expr == nil:
			if !strings.Contains(f.Detail, part) {
				all = append(all, fmt.Sprintf("fault.detail is %s, expected something with %s in it", show(got), show(part)))
			}
		case key == "type" && workflows.NormalErrorType(part) == workflows.NormalErrorType(f.Type):
		default:
			all = append(all, w.compare("fault."+key, got, false)...)
		}
	}
	return all
}

func (x expectation) checkCalls(got []call) []string {
	var names []string
	for _, c := range got {
		names = append(names, c.names[0])
	}
	for i, w := range x.calls {
		name, input := w.named()
		if i >= len(got) || !called(name, got[i].names) {
			return []string{fmt.Sprintf("call %d is %s, expected %s; the calls were: %s", i+1, at(names, i), name, strings.Join(names, ", "))}
		}
		if input != nil {
			if all := input.compare(fmt.Sprintf("the input of call %d, %s:", i+1, name), got[i].input, false); len(all) > 0 {
				return all
			}
		}
	}
	if len(got) > len(x.calls) {
		return []string{fmt.Sprintf("%d calls were made, expected %d; after these came %s", len(got), len(x.calls), strings.Join(names[len(x.calls):], ", "))}
	}
	return nil
}

func called(name string, names []string) bool {
	prefix, many := strings.CutSuffix(name, "*")
	return slices.Contains(names, name) || many && strings.HasPrefix(names[0], prefix)
}

func at(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "missing"
}

// named is the name that w is, or the one key of it and what stands there.
func (w *want) named() (string, *want) {
	for name, input := range w.keys {
		return name, input
	}
	s, _ := w.value.(string)
	return s, nil
}

func (x expectation) checkEvents(w *world) []string {
	var types []string
	for _, e := range w.emitted {
		types = append(types, e.Type)
	}
	for i, want := range x.events {
		name, _ := want.value.(string)
		if i >= len(w.emitted) || name != "" && w.emitted[i].Type != name {
			return []string{fmt.Sprintf("event %d is %s, expected %s; the events were: %s", i+1, at(types, i), want.title(), strings.Join(types, ", "))}
		}
		if name != "" {
			continue
		}
		v, err := workflows.EventValue(w.emitted[i], workflows.ReadEnvelope)
		if err != nil {
			return []string{err.Error()}
		}
		if all := want.compare(fmt.Sprintf("event %d", i+1), v, false); len(all) > 0 {
			return all
		}
	}
	if len(types) > len(x.events) {
		return []string{fmt.Sprintf("%d events were emitted, expected %d; after these came %s", len(types), len(x.events), strings.Join(types[len(x.events):], ", "))}
	}
	return nil
}

// title is the type of an expected event, as far as it is known.
func (w *want) title() string {
	if s, ok := w.value.(string); ok {
		return s
	}
	if t := w.keys["type"]; t != nil && t.expr == nil {
		return show(t.value)
	}
	return "an event"
}
