package workflows

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/weftrun/weft"
)

var refusedCalls = map[string]string{
	"asyncapi": "emit an event, or listen for one",
	"mcp":      "call a handler that speaks to the server",
	"a2a":      "call a handler that speaks to the agent",
}

func (p *parser) call(t *Task, n *node) {
	c := n.get("call")
	name := p.text(c, "call")
	if hint, no := refusedCalls[name]; no {
		p.wrong(c, "call", hint, "call: %s does not run", name)
		return
	}
	f, own := p.function(name)
	switch {
	case c.kind != isString:
	case own && !slices.Contains(builtIn, name):
		p.callFunction(t, n, f)
	case name == "http":
		t.Kind = KindHTTP
		if p.require(n, "the task "+t.Name, "with") {
			t.HTTP = p.http(n.get("with"))
		}
	case name == "openapi":
		t.Kind = KindHTTP
		if p.require(n, "the task "+t.Name, "with") {
			t.HTTP = p.openAPI(n.get("with"))
		}
	case name == "grpc":
		t.Kind = KindHTTP
		if p.require(n, "the task "+t.Name, "with") {
			t.HTTP = p.grpc(n.get("with"))
		}
	case p.farFunction(t, n, name):
	default:
		t.Kind = KindCall
		t.Call = &Call{Handler: p.ref(c, name, t.Pointer)}
		if with := n.get("with"); with != nil {
			t.Call.With = p.with(with)
		}
	}
}

// with reads the input of a handler.
func (p *parser) with(n *node) *Template {
	if n.kind != isMap {
		p.wrong(n, "with", "leave it out to give the task's input, which input.from shapes", "with must be a mapping, not %s", n.kind)
		return nil
	}
	return p.template(n, "with", inTask)
}

var methodForm = regexp.MustCompile(`^[A-Za-z]{1,20}$`)

func (p *parser) http(n *node) *HTTP {
	known := []string{"method", "endpoint", "headers", "body", "query", "output", "redirect"}
	if !p.fields(n, "with", known, nil) || !p.require(n, "with", "method", "endpoint") {
		return nil
	}
	h := &HTTP{
		Method:  strings.ToUpper(p.matches(n.get("method"), "method", methodForm, "write get, post, put ...")),
		Headers: p.optionalMapping(n.get("headers"), "headers"),
		Query:   p.optionalMapping(n.get("query"), "query"),
		Output:  HTTPOutput(p.oneOf(n.get("output"), "output", "content", "raw", "response")),
	}
	if b := n.get("body"); b != nil {
		h.Body = p.template(b, "body", inTask)
	}
	h.Redirect = p.redirect(n.get("redirect"))
	h.Endpoint, h.Auth = p.endpoint(n.get("endpoint"))
	return h
}

func (p *parser) redirect(n *node) bool {
	if n == nil {
		return false
	}
	yes, ok := n.value.(bool)
	if !ok {
		p.wrong(n, "redirect", "write true or false", "redirect must be a boolean, not %s", n.kind)
	}
	return yes
}

// optionalMapping reads a mapping, or one expression that gives a mapping.
func (p *parser) optionalMapping(n *node, what string) *Template {
	if n == nil {
		return nil
	}
	text, _ := n.value.(string)
	if _, ok := marked(text); !ok && n.kind != isMap {
		p.wrong(n, what, "write a mapping, or one expression as ${ }", "%s must be a mapping, not %s", what, n.kind)
		return nil
	}
	for _, f := range n.pairs {
		if f.value.kind != isString {
			p.wrong(f.value, f.key, "put it in quotes; for a list write all of "+what+" as one expression", "%s.%s must be a string, not %s", what, f.key, f.value.kind)
		}
	}
	return p.template(n, what, inTask)
}

// Endpoint is a URI, perhaps with {variables} filled from the top level of
// the task's input, or an expression that gives a URI.
type Endpoint struct {
	expr  *Expr
	parts []string // text and name of a variable in turn
}

// Expr is the expression that gives the URI, or nil.
func (e Endpoint) Expr() *Expr { return e.expr }

// Parts is the URI cut at its variables: text, name, text, name, ... text.
func (e Endpoint) Parts() []string { return e.parts }

func (p *parser) endpoint(n *node) (Endpoint, *Auth) {
	if n.kind != isMap {
		return p.uri(n), nil
	}
	if !p.fields(n, "endpoint", []string{"uri", "authentication"}, nil) || !p.require(n, "endpoint", "uri") {
		return Endpoint{}, nil
	}
	return p.uri(n.get("uri")), p.authentication(n.get("authentication"))
}

func (p *parser) uri(n *node) Endpoint {
	text := p.text(n, "endpoint")
	if n.kind != isString {
		return Endpoint{}
	}
	if _, ok := marked(text); ok {
		return Endpoint{expr: p.expr(n, "endpoint", inTask)}
	}
	return Endpoint{parts: p.uriTemplate(n, text)}
}

var templateVariable = regexp.MustCompile(`\{([^{}]*)\}`)

func (p *parser) uriTemplate(n *node, text string) []string {
	var parts []string
	at := 0
	for _, m := range templateVariable.FindAllStringSubmatchIndex(text, -1) {
		name := text[m[2]:m[3]]
		if strings.Contains(text, "${") {
			break // told below
		}
		if name == "" || strings.ContainsAny(name[:1], "+#./;?&=,!@|") || strings.ContainsAny(name, ":*, ") {
			p.wrong(n, "endpoint", "write {name}, or the whole URI as ${ }", "{%s} is not a variable", name)
		}
		parts = append(parts, text[at:m[0]], name)
		at = m[1]
	}
	parts = append(parts, text[at:])
	plain := templateVariable.ReplaceAllString(text, "x")
	u, err := url.Parse(plain)
	switch {
	case strings.Contains(text, "${"):
		p.wrong(n, "endpoint", `write it as one expression: ${ "https://host/\(.id)" }`, "endpoint: text around ${ } is not filled in")
	case err != nil || strings.ContainsAny(plain, "{} "):
		p.wrong(n, "endpoint", "write an address such as https://api.example/orders/{id}", "endpoint is no URI: %q", text)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		p.wrong(n, "endpoint", "start with https:// or http://", "endpoint is %q", text)
	}
	return parts
}

func (p *parser) emit(t *Task, n *node) {
	t.Kind = KindEmit
	head := n.get("emit")
	if !p.fields(head, "emit", []string{"event"}, nil) || !p.require(head, "emit", "event") {
		return
	}
	event := head.get("event")
	if !p.fields(event, "emit.event", []string{"with"}, nil) || !p.require(event, "emit.event", "with") {
		return
	}
	with := event.get("with")
	if !p.mapping(with, "emit.event.with") {
		return
	}
	p.require(with, "emit.event.with", "type")
	t.Emit = &Emit{}
	for _, f := range with.pairs {
		if f.key == "data" {
			t.Emit.Data = p.template(f.value, "data", inTask)
			continue
		}
		p.attributeName(f)
		value := p.attribute(f, inTask)
		if text, _ := value.Constant(); f.key == "type" {
			p.ownEvent(f.value, text)
		}
		t.Emit.Attributes = append(t.Emit.Attributes, Attribute{Name: f.key, Value: value})
	}
	sortAttributes(t.Emit.Attributes)
}

// ownEvent refuses a type that only events of weft itself have.
func (p *parser) ownEvent(n *node, eventType any) {
	text, _ := eventType.(string)
	var e *weft.Error
	if errors.As(weft.CheckEventType(text), &e) {
		p.wrong(n, "type", e.Hint, "%v", e.Err)
	}
}

func sortAttributes(list []Attribute) {
	slices.SortFunc(list, func(a, b Attribute) int { return strings.Compare(a.Name, b.Name) })
}

var attributeForm = regexp.MustCompile(`^[a-z0-9]{1,40}$`)

func (p *parser) attributeName(f pair) {
	if !attributeForm.MatchString(f.key) {
		p.report(f.line, f.column, f.key, f.key+" is no attribute of an event", "attributes have lower-case letters and digits only")
	}
	if f.key == "specversion" {
		p.report(f.line, f.column, f.key, "specversion is always 1.0", "leave it out")
	}
}

// attribute reads the value of an attribute, which is text.
func (p *parser) attribute(f pair, at place) *Template {
	t := p.template(f.value, f.key, at)
	if _, ok := t.Constant(); ok && f.value.kind != isString {
		p.wrong(f.value, f.key, "put it in quotes", "%s must be a string, not %s", f.key, f.value.kind)
	}
	return t
}

// strategy reads which events start a run: one, or any of several.
func (p *parser) strategy(n *node, what string, at place) []EventFilter {
	refused := map[string]string{
		"all":   "listen for one event after the other",
		"until": "listen for one event, and put the listen into a for to take several",
	}
	if !p.fields(n, what, []string{"one", "any"}, refused) {
		return nil
	}
	one, list := n.get("one"), n.get("any")
	switch {
	case one != nil && list != nil || one == nil && list == nil && n.get("all") == nil:
		p.wrong(n, what, "write one: { with: { type: ... } }", "%s must have either one or any", what)
	case one != nil:
		return []EventFilter{p.filter(one, what+".one", at)}
	case list != nil && list.kind != isList:
		p.wrong(list, "any", listHint, "%s.any must be a list, not %s", what, list.kind)
	case list != nil && len(list.items) == 0:
		return []EventFilter{{}}
	case list != nil:
		var filters []EventFilter
		for _, item := range list.items {
			filters = append(filters, p.filter(item, what+".any", at))
		}
		return filters
	}
	return nil
}

func (p *parser) filter(n *node, what string, at place) EventFilter {
	var f EventFilter
	if !p.fields(n, what, []string{"with", "correlate"}, nil) || !p.require(n, what, "with") {
		return f
	}
	with := n.get("with")
	if !p.mapping(with, what+".with") {
		return f
	}
	if len(with.pairs) == 0 {
		p.wrong(with, "with", "name at least the type", "%s.with is empty", what)
	}
	for _, g := range with.pairs {
		if g.key == "data" {
			f.data = p.template(g.value, "data", at)
			continue
		}
		p.attributeName(g)
		f.attributes = append(f.attributes, Attribute{Name: g.key, Value: p.attribute(g, at)})
	}
	sortAttributes(f.attributes)
	if c := n.get("correlate"); c != nil {
		f.Correlate = p.correlations(c, what+".correlate", at)
	}
	return f
}

func (p *parser) correlations(n *node, what string, at place) []Correlation {
	if at == inTrigger {
		p.wrong(n, "correlate", "correlate in a listen", "%s: there is no run yet to correlate with", what)
		return nil
	}
	if !p.mapping(n, what) {
		return nil
	}
	var list []Correlation
	for _, f := range n.pairs {
		name := what + "." + f.key
		if !p.fields(f.value, name, []string{"from", "expect"}, nil) || !p.require(f.value, name, "from") {
			continue
		}
		c := Correlation{Name: f.key, From: p.expr(f.value.get("from"), name+".from", at)}
		if e := f.value.get("expect"); e != nil {
			c.Expect = p.template(e, name+".expect", at)
		}
		list = append(list, c)
	}
	return list
}
