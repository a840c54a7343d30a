package workflows

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Tree is a YAML text, or a part of one, with its place: for what is written
// around workflows, such as their tests. It is read as strictly as a workflow.
type Tree struct {
	file string
	node *node
}

// ReadTree reads a text. The error is Problems.
func ReadTree(file string, src []byte) (Tree, error) {
	p := &parser{def: &Definition{file: file}, file: file}
	if root := readYAML(src, p.report); len(p.problems) == 0 {
		return Tree{file, root}, nil
	}
	return Tree{}, p.problems.sorted()
}

// Value is the tree as a value of expressions.
func (t Tree) Value() any { return t.node.plain() }

// IsMap reports whether it is a mapping.
func (t Tree) IsMap() bool { return t.node.kind == isMap }

// Items are the elements of a list; ok is false when it is none.
func (t Tree) Items() (items []Tree, ok bool) {
	for _, n := range t.node.items {
		items = append(items, Tree{t.file, n})
	}
	return items, t.node.kind == isList
}

// Branch is one key of a mapping and what stands under it.
type Branch struct {
	Key  string
	Tree Tree
	At   Tree // the key itself, for its place
}

// Branches are the keys of a mapping in their order; of anything else none.
func (t Tree) Branches() []Branch {
	var all []Branch
	for _, p := range t.node.pairs {
		all = append(all, Branch{p.key, Tree{t.file, p.value}, Tree{t.file, &node{line: p.line, column: p.column, kind: isString, value: p.key}}})
	}
	return all
}

// Problem is something wrong with the tree, at its place.
func (t Tree) Problem(hint, format string, args ...any) Problem {
	return Problem{File: t.file, Line: t.node.line, Column: t.node.column, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// TemplateOf is a value whose texts may be expressions; they read no variables.
func TemplateOf(v any) (*Template, error) {
	switch v := v.(type) {
	case string:
		source, is := marked(v)
		if !is {
			if strings.Contains(v, "${") {
				return nil, fmt.Errorf("text around ${ } is not filled in; write it as one expression: ${ \"Hello \\(.name)\" }")
			}
			return constantTemplate(v), nil
		}
		e, err := compileExpr(source, nil)
		if err != nil {
			return nil, err
		}
		return &Template{expr: e}, nil
	case []any:
		var parts []*Template
		for _, item := range v {
			part, err := TemplateOf(item)
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
		return listTemplate(parts), nil
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		var parts []*Template
		for _, k := range keys {
			part, err := TemplateOf(v[k])
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
		return mappingTemplate(keys, parts), nil
	}
	return constantTemplate(v), nil
}

// NoVariables is the scope of expressions that read none.
var NoVariables Scope = noVariables{}
