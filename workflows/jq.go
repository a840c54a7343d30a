package workflows

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// The names that the rewriter brings in. No author can write them: $__ is refused.
const (
	meterVariable = "$__meter"
	nowVariable   = "$__now"
)

// What jq has and a workflow must not, with the reason.
var forbiddenFunctions = map[string]string{
	"$ENV": noEnv, "env": noEnv,
	"input": noInput, "inputs": noInput, "debug": noInput, "stderr": noInput, "input_line_number": noInput,
	"input_filename": noInput, "modulemeta": noInput, "get_search_list": noInput, "builtins": noInput,
	"halt": useRaise, "halt_error": useRaise,
	"localtime": useUTC, "strflocaltime": useUTC,
}

const (
	noEnv    = "the environment cannot be read here: give the value in the run's input"
	noInput  = "it reads or writes outside the run: give the value in the run's input"
	useRaise = "end a run with raise or then: end"
	useUTC   = "it depends on the host: use gmtime, strftime or todate"
)

// Functions whose result may be much larger than what they cost in steps, with
// the number of their arguments; -1 is any.
var growingFunctions = map[string]int{
	"add": 0, "tojson": 0, "fromjson": 0, "tostring": 0, "explode": 0, "implode": 0, "join": 1, "flatten": -1,
	"reverse": 0, "sort": 0, "sort_by": 1, "group_by": 1, "unique": 0, "unique_by": 1, "keys": 0, "split": 1,
	"indices": 1, "transpose": 0, "format": 1, "ascii_downcase": 0, "ascii_upcase": 0,
}

// Functions that look for every match in a text, which takes jq the square of
// its length.
var matchingFunctions = []string{
	"scan/1", "scan/2", "splits/1", "splits/2", "split/2", "gsub/2", "gsub/3", "sub/3", "match/1", "match/2", "capture/1", "capture/2",
	"indices/1",
}

// MatchTextMax is the length of a text in which all matches may be sought.
const MatchTextMax = 64 << 10

// prelude replaces functions of jq that take the square of what they work on.
const prelude = "def INDEX(stream; f): [stream | {(f | tostring): .}] | add // {}; def INDEX(f): INDEX(.[]; f); "

// rewriter prepares a query for the workflow: it refuses what a workflow must
// not do, makes now a variable, lets what grows pay to the meter, and gathers
// the names of variables.
type rewriter struct {
	names    []string
	metering map[string]bool // the metered functions that were put in
	own      []string        // signatures of the functions that the query defines itself, as far as they are in sight
	inside   []string        // signatures of the functions whose definition is being read
	depth    int
	err      error

	secrets bool // $secrets may be read
	sealed  bool // and was: its marks are the rewriter's own
}

// prepare reads an expression and rewrites it.
func (r *rewriter) prepare(source string) (*gojq.Query, error) {
	q, err := gojq.Parse(source)
	if err != nil {
		return nil, err
	}
	if strings.Contains(source, "INDEX(") {
		more, err := gojq.Parse(prelude + ".")
		if err != nil {
			return nil, err
		}
		q.FuncDefs = append(more.FuncDefs, q.FuncDefs...)
	}
	if r.secrets && strings.Contains(source, "$secrets") {
		if strings.Contains(source, secretVariable) {
			r.fail("%s is reserved: choose another name", secretVariable)
		}
		r.seal(q)
		if r.sealed = true; r.err != nil {
			return nil, r.err
		}
	}
	r.visit(q)
	return q, r.err
}

func (r *rewriter) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *rewriter) name(name string) {
	if strings.HasPrefix(name, "$__") && name != "$__loc__" && !(r.sealed && strings.HasPrefix(name, secretVariable)) {
		r.fail("%s is reserved: choose another name", name)
	}
	if !slices.Contains(r.names, name) {
		r.names = append(r.names, name)
	}
}

func (r *rewriter) visit(q *gojq.Query) {
	if q == nil || r.err != nil {
		return
	}
	if r.depth++; r.depth > ExprDepthMax {
		r.fail("nested deeper than %d levels", ExprDepthMax)
		return
	}
	inSight := len(r.own)
	defer func() { r.depth, r.own = r.depth-1, r.own[:inSight] }()
	if len(q.Imports) > 0 || q.Meta != nil {
		r.fail("modules cannot be imported: write the function out with def")
		return
	}
	for _, f := range q.FuncDefs {
		r.definition(f)
	}
	r.term(q.Term)
	r.visit(q.Left)
	r.visit(q.Right)
	for _, p := range q.Patterns {
		r.pattern(p)
	}
	r.operator(q)
}

func (r *rewriter) definition(f *gojq.FuncDef) {
	name, inSight := signature(f.Name, len(f.Args)), len(r.own)
	for _, arg := range f.Args {
		r.own = append(r.own, signature(strings.TrimPrefix(arg, "$"), 0))
		if strings.HasPrefix(arg, "$") {
			r.reserved(arg)
		}
	}
	r.inside = append(r.inside, name)
	r.visit(f.Body)
	r.inside = r.inside[:len(r.inside)-1]
	r.own = append(r.own[:inSight], name)
}

// signature tells functions of one name apart. Those that call themselves are
// refused: in a deep recursion each step of jq takes longer than the one before,
// so that counting steps bounds nothing.
func signature(name string, args int) string { return name + "/" + strconv.Itoa(args) }

// operator turns a + b into metered(a; b), and a += b into
// b as $x | a |= metered(.; $x).
func (r *rewriter) operator(q *gojq.Query) {
	switch q.Op {
	case gojq.OpAdd:
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: r.metered("__add", q.Left, q.Right)}
	case gojq.OpMul:
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: r.metered("__multiply", q.Left, q.Right)}
	case gojq.OpSub:
		*q = gojq.Query{FuncDefs: q.FuncDefs, Term: r.metered("__subtract", q.Left, q.Right)}
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateSub, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		r.copying(q)
	case gojq.OpUpdateAdd, gojq.OpUpdateMul:
		name := "__add"
		if q.Op == gojq.OpUpdateMul {
			name = "__multiply"
		}
		change := r.metered(name, call("."), call("$__right"))
		update := &gojq.Query{Left: q.Left, Op: gojq.OpModify, Right: &gojq.Query{Term: change}}
		*q = gojq.Query{
			FuncDefs: q.FuncDefs, Left: q.Right, Op: gojq.OpPipe, Right: update,
			Patterns: []*gojq.Pattern{{Name: "$__right"}},
		}
		r.copying(update)
	}
}

// copying lets an assignment pay for the copy that jq makes of what it changes.
func (r *rewriter) copying(q *gojq.Query) {
	inner := *q
	inner.FuncDefs = nil
	term := &gojq.Term{Type: gojq.TermTypeQuery, Query: &inner}
	*q = gojq.Query{
		FuncDefs: q.FuncDefs, Left: &gojq.Query{Term: term}, Op: gojq.OpPipe,
		Right: &gojq.Query{Term: r.metered("__copied")},
	}
}

func (r *rewriter) metered(name string, args ...*gojq.Query) *gojq.Term {
	args = append(args, call(meterVariable))
	r.uses(name)
	return &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}
}

func (r *rewriter) uses(name string) {
	if r.metering == nil {
		r.metering = map[string]bool{}
	}
	r.metering[name] = true
}

func withSuffixes(t *gojq.Term, list []*gojq.Suffix) *gojq.Term {
	t.SuffixList = list
	return t
}

// call is the query that is one word: a function, a variable or the dot.
func call(name string) *gojq.Query {
	if name == "." {
		return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIdentity}}
	}
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name}}}
}

func (r *rewriter) pattern(p *gojq.Pattern) {
	if p == nil {
		return
	}
	if p.Name != "" {
		r.reserved(p.Name)
	}
	for _, e := range p.Array {
		r.pattern(e)
	}
	for _, o := range p.Object {
		if strings.HasPrefix(o.Key, "$") {
			r.reserved(o.Key)
		}
		r.text(o.KeyString)
		r.visit(o.KeyQuery)
		r.pattern(o.Val)
	}
}

// reserved refuses a binding of a name that the rewriter uses.
func (r *rewriter) reserved(name string) {
	if strings.HasPrefix(name, "$__") {
		r.fail("%s is reserved: choose another name", name)
	}
}

func (r *rewriter) term(t *gojq.Term) {
	if t == nil || r.err != nil {
		return
	}
	r.index(t.Index)
	r.object(t.Object)
	if t.Array != nil {
		r.visit(t.Array.Query)
	}
	if t.Unary != nil {
		r.term(t.Unary.Term)
	}
	r.control(t)
	r.visit(t.Query)
	for _, s := range t.SuffixList {
		r.index(s.Index)
	}
	r.text(t.Str)
	switch {
	case t.Type == gojq.TermTypeFunc:
		r.function(t)
	case t.Str != nil && t.Str.Queries != nil:
		r.interpolation(t)
	case t.Type == gojq.TermTypeFormat:
		r.paid(t)
	}
}

// interpolation turns "a\(.b)c" into the metered sum of its parts.
func (r *rewriter) interpolation(t *gojq.Term) {
	if len(t.Str.Queries) > ExprDepthMax {
		r.fail("a text with more than %d parts", ExprDepthMax)
		return
	}
	form := call("tostring")
	if t.Type == gojq.TermTypeFormat {
		form = &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFormat, Format: t.Format}}
	}
	var sum *gojq.Query
	for _, part := range t.Str.Queries {
		if part.Term == nil || part.Term.Str == nil {
			part = &gojq.Query{Left: part, Op: gojq.OpPipe, Right: form}
		}
		if sum == nil {
			sum = part
		} else {
			sum = &gojq.Query{Term: r.metered("__add", sum, part)}
		}
	}
	*t = gojq.Term{Type: gojq.TermTypeQuery, Query: sum, SuffixList: t.SuffixList}
}

func (r *rewriter) control(t *gojq.Term) {
	if t.If != nil {
		r.visit(t.If.Cond)
		r.visit(t.If.Then)
		for _, e := range t.If.Elif {
			r.visit(e.Cond)
			r.visit(e.Then)
		}
		r.visit(t.If.Else)
	}
	if t.Try != nil {
		r.visit(t.Try.Body)
		r.visit(t.Try.Catch)
	}
	if t.Reduce != nil {
		r.visit(t.Reduce.Query)
		r.patterns(t.Reduce.Patterns)
		r.visit(t.Reduce.Start)
		r.visit(t.Reduce.Update)
	}
	if t.Foreach != nil {
		r.visit(t.Foreach.Query)
		r.patterns(t.Foreach.Patterns)
		r.visit(t.Foreach.Start)
		r.visit(t.Foreach.Update)
		r.visit(t.Foreach.Extract)
	}
	if t.Label != nil {
		r.visit(t.Label.Body)
	}
}

func (r *rewriter) patterns(ps []*gojq.Pattern) {
	for _, p := range ps {
		r.pattern(p)
	}
}

func (r *rewriter) index(i *gojq.Index) {
	if i == nil {
		return
	}
	r.text(i.Str)
	r.visit(i.Start)
	r.visit(i.End)
}

func (r *rewriter) text(s *gojq.String) {
	if s == nil {
		return
	}
	for _, q := range s.Queries {
		r.visit(q)
	}
}

func (r *rewriter) object(o *gojq.Object) {
	if o == nil {
		return
	}
	for _, kv := range o.KeyVals {
		if strings.HasPrefix(kv.Key, "$") {
			r.name(kv.Key)
		}
		r.text(kv.KeyString)
		r.visit(kv.KeyQuery)
		r.visit(kv.Val)
	}
}

func (r *rewriter) function(t *gojq.Term) {
	f := t.Func
	for _, a := range f.Args {
		r.visit(a)
	}
	name := signature(f.Name, len(f.Args))
	if slices.Contains(r.own, name) {
		return
	}
	if slices.Contains(r.inside, name) {
		r.fail("%s calls itself: use recurse, walk, until or reduce", f.Name)
		return
	}
	if why, ok := forbiddenFunctions[f.Name]; ok {
		r.fail("%s: %s", f.Name, why)
		return
	}
	switch {
	case len(f.Args) == 1 && (f.Name == "contains" || f.Name == "inside"):
		*t = *withSuffixes(r.metered("__"+f.Name, call("."), f.Args[0]), t.SuffixList)
	case strings.HasPrefix(f.Name, "$"):
		r.name(f.Name)
	case f.Name == "now" && len(f.Args) == 0:
		f.Name = nowVariable
		r.names = append(r.names, nowVariable)
	default:
		if n, ok := growingFunctions[f.Name]; ok && (n == len(f.Args) || n == -1) {
			r.paid(t)
		}
		if slices.Contains(matchingFunctions, name) {
			r.before("__matchable", t)
		}
	}
}

// before puts a function without arguments in front of a term.
func (r *rewriter) before(name string, t *gojq.Term) {
	r.uses(name)
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, SuffixList: t.SuffixList, Query: &gojq.Query{
		Left: call(name), Op: gojq.OpPipe, Right: &gojq.Query{Term: &inner},
	}}
}

// paid wraps a term so that what it gives is paid for.
func (r *rewriter) paid(t *gojq.Term) {
	inner := *t
	inner.SuffixList = nil
	*t = gojq.Term{Type: gojq.TermTypeQuery, SuffixList: t.SuffixList, Query: &gojq.Query{
		Left: &gojq.Query{Term: &inner}, Op: gojq.OpPipe, Right: &gojq.Query{Term: r.metered("__made")},
	}}
}
