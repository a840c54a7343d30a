package workflows

import (
	"maps"
	"slices"

	"github.com/weftrun/weft"
)

// Template is a value with expressions in it: a string that is ${ } as a
// whole, anywhere inside lists and mappings.
type Template struct {
	constant any
	expr     *Expr
	keys     []string
	parts    []*Template // values of keys, or elements of a list
	list     bool
}

// Constant gives the value of a template without expressions.
func (t *Template) Constant() (any, bool) {
	return t.constant, t.expr == nil && t.parts == nil
}

// Expr is the expression that the template is as a whole, or nil.
func (t *Template) Expr() *Expr { return t.expr }

// Keys are the names of a template that is a mapping, sorted where it has no
// expressions, else in the order of the text.
func (t *Template) Keys() []string {
	if m, ok := t.constant.(map[string]any); ok {
		return slices.Sorted(maps.Keys(m))
	}
	return t.keys
}

// Eval fills the expressions in, where . is dot. A value larger than max fails.
func (t *Template) Eval(dot any, s Scope, max int) (any, error) {
	switch {
	case t.expr != nil:
		return t.expr.eval(dot, s, max)
	case t.parts == nil:
		return t.constant, nil
	}
	v, err := t.fill(dot, s, max)
	if err == nil && Size(v, max) > max {
		return nil, weft.Errorf(weft.InvalidArgument, "workflows.Template.Eval", "the value is larger than %d bytes", max)
	}
	return v, err
}

func (t *Template) fill(dot any, s Scope, max int) (any, error) {
	var list []any
	var m map[string]any
	if t.list {
		list = make([]any, len(t.parts))
	} else {
		m = make(map[string]any, len(t.parts))
	}
	for i, part := range t.parts {
		v, err := part.part(dot, s, max)
		if err != nil {
			return nil, err
		}
		if t.list {
			list[i] = v
		} else {
			m[t.keys[i]] = v
		}
	}
	if t.list {
		return list, nil
	}
	return m, nil
}

// part is Eval without measuring what is measured as a whole.
func (t *Template) part(dot any, s Scope, max int) (any, error) {
	switch {
	case t.expr != nil:
		return t.expr.eval(dot, s, max)
	case t.parts == nil:
		return t.constant, nil
	}
	return t.fill(dot, s, max)
}

func constantTemplate(v any) *Template { return &Template{constant: v} }

// mappingTemplate folds parts that are all constant.
func mappingTemplate(keys []string, parts []*Template) *Template {
	m := make(map[string]any, len(keys))
	for i, part := range parts {
		v, ok := part.Constant()
		if !ok {
			return &Template{keys: keys, parts: parts}
		}
		m[keys[i]] = v
	}
	return constantTemplate(m)
}

func listTemplate(parts []*Template) *Template {
	list := make([]any, len(parts))
	for i, part := range parts {
		v, ok := part.Constant()
		if !ok {
			return &Template{parts: parts, list: true}
		}
		list[i] = v
	}
	return constantTemplate(list)
}
