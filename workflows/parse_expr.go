package workflows

import (
	"errors"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// place is where an expression stands; it decides which variables it may read.
type place int

const (
	inNothing place = iota
	inTrigger
	inWorkflowInput
	inWorkflowOutput
	inTaskInput // if and input.from
	inTask
	inTaskOutput
	inTaskExport
)

var placeVariables = [...][]string{
	inNothing:        nil,
	inTrigger:        nil,
	inWorkflowInput:  {"$secrets", "$workflow", "$runtime", nowVariable},
	inWorkflowOutput: {"$secrets", "$context", "$workflow", "$runtime", nowVariable},
	inTaskInput:      {"$secrets", "$context", "$task", "$workflow", "$runtime", nowVariable},
	inTask:           {"$secrets", "$context", "$input", "$task", "$workflow", "$runtime", nowVariable},
	inTaskOutput:     {"$secrets", "$context", "$input", "$task", "$workflow", "$runtime", nowVariable},
	inTaskExport:     {"$secrets", "$context", "$input", "$output", "$task", "$workflow", "$runtime", nowVariable},
}

func (p *parser) variables(at place) map[string]Variable {
	known := map[string]Variable{}
	for _, name := range placeVariables[at] {
		known[name] = Variable{Kind: variableNames[name]}
	}
	if at > inWorkflowOutput {
		for _, name := range p.locals {
			known["$"+name] = Variable{Kind: VarLocal, Name: name}
		}
	}
	return known
}

// expr reads a string that is an expression as a whole, with or without ${ }.
func (p *parser) expr(n *node, what string, at place) *Expr {
	if n == nil {
		return nil
	}
	if n.kind == isBool {
		return p.compile(n, string(AppendJSON(nil, n.value)), what, at)
	}
	text := p.text(n, what)
	if n.kind != isString {
		return nil
	}
	if inner, ok := marked(text); ok {
		text = inner
	}
	return p.compile(n, text, what, at)
}

// program is an expression and what it may read: many tasks ask the same, and
// it is compiled once.
type program struct {
	text   string
	at     place
	locals string
}

// condition reads an expression of which only its truth counts.
func (p *parser) condition(n *node, what string, at place) *Expr {
	e := p.expr(n, what, at)
	if e == nil || !strings.Contains(e.source, "=") {
		return e
	}
	if q, err := gojq.Parse(e.source); err == nil && q.Op == gojq.OpAssign {
		p.wrong(n, what, "jq compares with ==", "%s: = assigns, and what that gives is always true", what)
	}
	return e
}

func (p *parser) compile(n *node, text, what string, at place) *Expr {
	key := program{text, at, strings.Join(p.locals, " ")}
	if e := p.programs[key]; e != nil {
		p.reads(n, e)
		return e
	}
	known := p.variables(at)
	e, err := compileExpr(text, known)
	if err != nil {
		message, hint := explain(err, text, known)
		p.wrong(n, what, hint, "%s: %s", what, message)
		return nil
	}
	if p.programs == nil {
		p.programs = map[program]*Expr{}
	}
	p.programs[key] = e
	p.reads(n, e)
	return e
}

// reads checks the secrets that an expression reads.
func (p *parser) reads(n *node, e *Expr) {
	for _, v := range e.vars {
		if v.Kind == VarSecret {
			p.secret(n, v.Name)
		}
	}
}

// explain says in the words of the language what jq did not like.
func explain(err error, text string, known map[string]Variable) (message, hint string) {
	var parse *gojq.ParseError
	if errors.As(err, &parse) {
		return "this is not jq: " + err.Error(), notJQ(text)
	}
	message = err.Error()
	name, ok := strings.CutPrefix(message, "variable not defined: ")
	if !ok {
		if function, missing := strings.CutPrefix(message, "function not defined: "); missing {
			return "jq has no function " + function, noFunction(function)
		}
		return message, hint
	}
	return name + " is not known here", variableHint(name, known)
}

func variableHint(name string, known map[string]Variable) string {
	var names []string
	for k := range known {
		if k != nowVariable {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	if near := Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	if name == "$output" && len(names) > 0 {
		return "it is known in export.as only; known here are " + strings.Join(names, ", ")
	}
	if len(names) == 0 {
		return "no variable can be read here; . is the value"
	}
	return "known here are " + strings.Join(names, ", ")
}

// template reads a value with expressions in it.
func (p *parser) template(n *node, what string, at place) *Template {
	switch n.kind {
	case isList:
		parts := make([]*Template, len(n.items))
		for i, item := range n.items {
			parts[i] = p.template(item, what, at)
		}
		return listTemplate(parts)
	case isMap:
		keys, parts := make([]string, len(n.pairs)), make([]*Template, len(n.pairs))
		for i, f := range n.pairs {
			keys[i] = f.key
			parts[i] = p.template(f.value, what, at)
		}
		return mappingTemplate(keys, parts)
	case isString:
		return p.templateText(n, what, at)
	}
	return constantTemplate(n.value)
}

func (p *parser) templateText(n *node, what string, at place) *Template {
	text, _ := n.value.(string)
	if inner, ok := marked(text); ok {
		return &Template{expr: p.compile(n, inner, what, at)}
	}
	if strings.HasPrefix(text, "${") && !strings.Contains(text, "}") {
		p.wrong(n, what, "end it with }", "%s: this ${ is never closed", what)
	} else if strings.Contains(text, "${") {
		p.wrong(n, what, `write it as one expression: ${ "Hello \(.name)" }`, "%s: text around ${ } is not filled in", what)
	}
	return constantTemplate(text)
}

// transform reads a string that is an expression, or a mapping with
// expressions in it.
func (p *parser) transform(n *node, what string, at place) *Template {
	switch n.kind {
	case isMap:
		return p.template(n, what, at)
	case isString, isBool:
		return &Template{expr: p.expr(n, what, at)}
	}
	p.wrong(n, what, "write ${ } or KEY: VALUE", "%s must be an expression or a mapping, not %s", what, n.kind)
	return nil
}

// from reads input: { from }, output: { as } and export: { as }; schema reads
// what stands beside them.
func (p *parser) from(n *node, what, key string, at place) *Template {
	if n == nil || !p.fields(n, what, []string{key, "schema"}, nil) {
		return nil
	}
	if v := n.get(key); v != nil {
		return p.transform(v, what+"."+key, at)
	}
	return nil
}
