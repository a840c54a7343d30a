package workflows

import (
	"errors"
	"fmt"
	"strings"

	"github.com/itchyny/gojq"

	"github.com/weftrun/weft"
)

// Expr is a jq expression, compiled when the definition was parsed. It is
// safe for use by several goroutines.
type Expr struct {
	source string
	path   *path      // not nil where the expression is a plain path, which needs no jq
	code   *gojq.Code // nil where the text showed the path
	vars   []Variable
}

// Variable is one variable that an expression reads.
type Variable struct {
	Kind VariableKind
	Name string // of a Local, without the dollar
}

// VariableKind says where the value of a variable comes from.
type VariableKind int

// The variables of the language. Now is the time that jq's function now gives,
// in seconds; Local is a variable of an enclosing for or catch.
const (
	VarContext VariableKind = iota
	VarInput
	VarOutput
	VarTask
	VarWorkflow
	VarRuntime
	VarNow
	VarSecret // the mark of a secret, by its path in Definition.Secrets
	VarLocal
)

// Scope says what the variables of an expression mean.
type Scope interface {
	Variable(v Variable) any
}

// Bounds of one evaluation. They count what jq does and make, not the clock,
// so that a replay meets them at the same place.
const (
	ExprStepsMax = 5_000_000 // instructions of the jq machine, about 200 ms
	ExprBytesMax = 32 << 20  // made by + and * and by text functions, all together
	OutputMax    = 1 << 20   // size of one value that an expression or a handler gives
	ContextMax   = 4 << 20   // size of $context, which only export.as gives
)

// Bounds of one expression, so that compiling it is quick.
const (
	ExprTextMax  = 16 << 10 // bytes
	ExprDepthMax = 250      // operators and brackets inside each other; a sum of n terms has n levels
)

// String is the expression as written.
func (e *Expr) String() string { return e.source }

// Eval gives the one value of e, where . is dot. An expression that gives no
// value, several, or one beyond OutputMax fails, and so does one that passes
// ExprStepsMax or ExprBytesMax.
func (e *Expr) Eval(dot any, s Scope) (any, error) { return e.eval(dot, s, OutputMax) }

func (e *Expr) eval(dot any, s Scope, max int) (any, error) {
	if e.path != nil {
		if v, ok := e.path.eval(dot, s); ok {
			return v, nil
		}
	}
	if e.code == nil { // a path that fails: jq says why
		full, err := compileJQ(e.source, e.path.known())
		if err != nil {
			return nil, e.fail(err)
		}
		e = full
	}
	m := &meter{steps: ExprStepsMax, bytes: ExprBytesMax}
	var room [6]any
	values := append(room[:0], m)
	for _, v := range e.vars {
		values = append(values, s.Variable(v))
	}
	v, err := one(e.code.RunWithContext(m, dot, values...))
	if err != nil {
		return nil, e.fail(err)
	}
	if Size(v, max) > max {
		return nil, e.fail(fmt.Errorf("the value is larger than %d bytes", max))
	}
	return v, nil
}

// True reports whether e gives neither null nor false.
func (e *Expr) True(dot any, s Scope) (bool, error) {
	v, err := e.Eval(dot, s)
	return v != nil && v != false, err
}

func (e *Expr) fail(err error) error {
	source := e.source
	if len(source) > 100 {
		source = strings.ToValidUTF8(source[:97], "") + "..."
	}
	return weft.Errorf(weft.InvalidArgument, "workflows.Expr.Eval", "%s: %w", source, err)
}

func one(iter gojq.Iter) (any, error) {
	v, ok := iter.Next()
	if !ok {
		return nil, errors.New("it gives no value; end it with // null if there may be none")
	}
	if err, ok := v.(error); ok {
		return nil, err
	}
	if second, more := iter.Next(); more {
		if err, ok := second.(error); ok {
			return nil, err
		}
		return nil, errors.New("it gives more than one value; put it in [ ] for a list, or in first( )")
	}
	return v, nil
}

// path is an expression like .a.b or $context.a.b.
type path struct {
	root *Variable // nil for .
	name string    // of root, with its dollar
	keys []string
}

// eval gives false where jq shall say what is wrong.
func (p *path) eval(dot any, s Scope) (any, bool) {
	v := dot
	if p.root != nil {
		v = s.Variable(*p.root)
	}
	for _, key := range p.keys {
		switch m := v.(type) {
		case nil:
		case map[string]any:
			v = m[key]
		default:
			return nil, false
		}
	}
	return v, true
}

// known has the one variable that the path reads.
func (p *path) known() map[string]Variable {
	if p.root == nil {
		return nil
	}
	return map[string]Variable{p.name: *p.root}
}

// marked cuts the ${ } off an expression.
func marked(s string) (string, bool) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "${") || !strings.HasSuffix(s, "}") {
		return "", false
	}
	return strings.TrimSpace(s[2 : len(s)-1]), true
}

// variables of each kind by name, without those of for and catch.
var variableNames = map[string]VariableKind{
	"$context": VarContext, "$input": VarInput, "$output": VarOutput, "$task": VarTask,
	"$workflow": VarWorkflow, "$runtime": VarRuntime, "$secrets": VarSecret, nowVariable: VarNow,
}

// compileExpr compiles a jq text that may read the given variables, names
// with their dollar.
func compileExpr(source string, known map[string]Variable) (*Expr, error) {
	if len(source) > ExprTextMax {
		return nil, fmt.Errorf("the expression has %d bytes, more than %d", len(source), ExprTextMax)
	}
	if p := plainPath(source, known); p != nil {
		return &Expr{source: source, path: p}, nil
	}
	return compileJQ(source, known)
}

func compileJQ(source string, known map[string]Variable) (*Expr, error) {
	_, secrets := known["$secrets"]
	r := rewriter{secrets: secrets}
	q, err := r.prepare(source)
	if err != nil {
		return nil, err
	}
	e := &Expr{source: source}
	names := []string{meterVariable}
	for _, name := range r.names {
		v, ok := known[name]
		if mark, is := secretOf(name); is {
			v, ok = mark, true
			known[name] = mark
		}
		if ok {
			e.vars = append(e.vars, v)
			names = append(names, name)
		}
	}
	options := []gojq.CompilerOption{gojq.WithVariables(names)}
	for name := range r.metering {
		options = append(options, meteredFunctions[name])
	}
	if e.code, err = gojq.Compile(q, options...); err != nil {
		return nil, err
	}
	e.path = pathOf(q, known)
	return e, nil
}

// plainPath reads what most expressions are, .a.b or $context.a.b, from the
// text: jq's own compiler would take a hundred times as long. It gives nil for
// all else, also for what jq has to refuse.
func plainPath(source string, known map[string]Variable) *path {
	p := &path{}
	rest := source
	if strings.HasPrefix(source, "$") {
		p.name, rest = source, ""
		if dot := strings.IndexByte(source, '.'); dot >= 0 {
			p.name, rest = source[:dot], source[dot:]
		}
		v, ok := known[p.name]
		if !ok || strings.HasPrefix(p.name, "$__") || p.name == "$secrets" {
			return nil
		}
		p.root = &v
	} else if source == "." {
		return p
	}
	if p.root == nil && rest == "" {
		return nil
	}
	for rest != "" {
		key, ok := strings.CutPrefix(rest, ".")
		if !ok {
			return nil
		}
		key, _, _ = strings.Cut(key, ".")
		if !isWord(key) {
			return nil
		}
		p.keys = append(p.keys, key)
		rest = rest[1+len(key):]
	}
	return p
}

// isWord reports whether a key needs no quotes in jq.
func isWord(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func pathOf(q *gojq.Query, known map[string]Variable) *path {
	t := q.Term
	if t == nil || len(q.FuncDefs) > 0 {
		return nil
	}
	p := &path{}
	switch t.Type {
	case gojq.TermTypeIdentity:
	case gojq.TermTypeIndex:
		key, ok := keyOf(t.Index)
		if !ok {
			return nil
		}
		p.keys = append(p.keys, key)
	case gojq.TermTypeFunc:
		v, ok := known[t.Func.Name]
		if !ok || len(t.Func.Args) > 0 {
			return nil
		}
		p.root, p.name = &v, t.Func.Name
	default:
		return nil
	}
	for _, s := range t.SuffixList {
		key, ok := keyOf(s.Index)
		if !ok || s.Iter || s.Optional {
			return nil
		}
		p.keys = append(p.keys, key)
	}
	return p
}

func keyOf(i *gojq.Index) (string, bool) {
	switch {
	case i == nil || i.IsSlice || i.Start != nil || i.End != nil:
		return "", false
	case i.Str != nil:
		return i.Str.Str, len(i.Str.Queries) == 0
	}
	return i.Name, i.Name != ""
}
