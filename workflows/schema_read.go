package workflows

import (
	"cmp"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
)

// schema reads what stands under schema of input, output and export; around
// may be nil.
func (p *parser) schema(around *node, what string) *Schema {
	if around == nil || around.get("schema") == nil {
		return nil
	}
	n := around.get("schema")
	what += ".schema"
	if !p.fields(n, what, []string{"format", "document", "resource"}, nil) {
		return nil
	}
	if f := n.get("format"); f != nil && p.text(f, what+".format") != "json" && f.kind == isString {
		p.wrong(f, "format", "write json, and $schema in the document for an older JSON Schema", "%s.format is %q", what, f.value)
	}
	document, resource := n.get("document"), n.get("resource")
	switch {
	case document != nil && resource != nil:
		p.wrong(resource, "resource", "keep one of them", "%s has both document and resource", what)
	case document != nil:
		return p.compiled(document)
	case resource == nil:
		p.require(n, what, "document")
	default:
		return p.externalSchema(resource, what)
	}
	return nil
}

func (p *parser) externalSchema(n *node, what string) (s *Schema) {
	uri, text, ok := p.external(n, what+".resource")
	if !ok {
		return nil
	}
	p.in(uri, func() {
		if document := p.tree(uri, text); document != nil {
			s = p.compiled(document)
		}
	})
	return s
}

// compiled compiles a document, once.
func (p *parser) compiled(document *node) *Schema {
	s := p.schemas[document] // of a function or a resource that is read again
	if s == nil {
		s = readSchema(document, p.wrong, &p.states)
		if p.schemas == nil {
			p.schemas = map[*node]*Schema{}
		}
		p.schemas[document] = s
	}
	return s
}

// reportAt reports a problem at a node.
type reportAt func(n *node, key, hint, format string, args ...any)

// schemaReader compiles one document. References lead to places of the
// document alone: nothing is loaded.
type schemaReader struct {
	wrong   reportAt
	root    *node
	id      string // $id of the document
	old     bool   // draft 7
	track   bool
	states  *int // of patterns so far, in the whole workflow
	anchors map[string]*node
	made    map[*node]*rules
	forms   map[*node][]namedRules // of patternProperties
	within  map[*node][]*node      // schemas that hold at the same place of a value
	at      *node                  // the schema that is read
}

// The versions of JSON Schema that run.
const (
	schemaNow = "https://json-schema.org/draft/2020-12/schema"
	schemaOld = "http://json-schema.org/draft-07/schema"
)

// readSchema compiles a document; what is wrong with it is reported. It adds
// the states of its patterns to those of the workflow.
func readSchema(root *node, wrong reportAt, states *int) *Schema {
	r := &schemaReader{wrong: wrong, root: root, states: states, anchors: map[string]*node{},
		made: map[*node]*rules{}, forms: map[*node][]namedRules{}, within: map[*node][]*node{}}
	r.head()
	top := r.rules(root)
	r.circles()
	return &Schema{top: top, track: r.track}
}

// head reads what holds for the whole document.
func (r *schemaReader) head() {
	if v := r.root.get("$schema"); v != nil {
		switch s, _ := v.value.(string); strings.TrimSuffix(s, "#") {
		case schemaNow:
		case schemaOld:
			r.old = true
		default:
			r.wrong(v, "$schema", "write "+schemaNow+", or "+schemaOld+"#", "$schema names no version that runs")
		}
	}
	if v := r.root.get("$id"); v != nil {
		s, _ := v.value.(string)
		r.id = strings.TrimSuffix(s, "#")
	}
	r.names(r.root)
}

// names finds the anchors of the document.
func (r *schemaReader) names(n *node) {
	for _, f := range n.pairs {
		switch {
		case f.key == "$anchor" && f.value.kind == isString:
			r.anchors[f.value.value.(string)] = n
		case f.key == "const", f.key == "enum", f.key == "default", f.key == "examples":
		default:
			r.names(f.value)
		}
	}
	for _, item := range n.items {
		r.names(item)
	}
}

// rules compiles the schema at n, once.
func (r *schemaReader) rules(n *node) *rules {
	if done := r.made[n]; done != nil {
		return done
	}
	s := &rules{}
	r.made[n] = s
	switch n.kind {
	case isBool:
		s.never = n.value == false
	case isMap:
		before := r.at
		r.at = n
		r.words(n)
		for _, k := range schemaWords {
			if v := n.get(k.name); v != nil {
				if r.old && k.name != "$ref" && n.get("$ref") != nil {
					continue // in draft 7 a reference stands alone
				}
				if t := k.read(r, n, v); t != nil {
					s.tests = append(s.tests, t)
				}
			}
		}
		r.at = before
	default:
		r.wrong(n, "schema", "write type: and what else must hold", "a schema must be a mapping, not %s", n.kind)
	}
	return s
}

// words reports what is probably a slip. Other unknown words only describe.
func (r *schemaReader) words(n *node) {
	for _, f := range n.pairs {
		at := &node{line: f.line, column: f.column}
		switch hint, no := schemaRefused[f.key]; {
		case no:
			r.wrong(at, f.key, hint, "%s of a schema does not run", f.key)
		case f.key == "$id" && n != r.root:
			r.wrong(at, f.key, "leave it out, and refer with #/$defs/name", "$id inside a schema does not run")
		case slices.Contains(schemaKnown, f.key) || slices.Contains(schemaNotes, f.key) || len(f.key) > 64:
		default:
			if near := Nearest(f.key, schemaKnown); near != "" {
				r.wrong(at, f.key, "did you mean "+near+"?", "a schema has no key %s", f.key)
			}
		}
	}
}

// same is rules of a schema that holds at the same place as the one that is read.
func (r *schemaReader) same(n *node) *rules {
	r.within[r.at] = append(r.within[r.at], n)
	return r.rules(n)
}

// circles reports a schema that needs itself before it has looked at anything.
func (r *schemaReader) circles() {
	const open, done = 1, 2
	state := map[*node]int{}
	var walk func(n *node)
	walk = func(n *node) {
		state[n] = open
		for _, next := range r.within[n] {
			switch state[next] {
			case open:
				r.wrong(n, "$ref", "let it lead through properties or items", "the schema refers to itself at the same place")
			case 0:
				walk(next)
			}
		}
		state[n] = done
	}
	var order []*node
	for n := range r.within {
		order = append(order, n)
	}
	slices.SortFunc(order, func(a, b *node) int { return cmp.Or(a.line-b.line, a.column-b.column) })
	for _, n := range order {
		if state[n] == 0 {
			walk(n)
		}
	}
}

// target is where a reference leads, or nil after a report.
func (r *schemaReader) target(v *node) *node {
	ref, ok := v.value.(string)
	if !ok {
		r.wrong(v, "$ref", "write #/$defs/name", "$ref must be a string, not %s", v.kind)
		return nil
	}
	part := ref
	if r.id != "" && strings.HasPrefix(ref, r.id) {
		part = strings.TrimPrefix(ref, r.id)
	}
	name, local := strings.CutPrefix(part, "#")
	if !local && part != "" {
		r.wrong(v, "$ref", "put that schema under $defs and write #/$defs/name", "%q is not in this document, and nothing else is loaded", ref)
		return nil
	}
	found := r.root
	switch {
	case name == "":
	case name[0] != '/':
		found = r.anchors[name]
	default:
		for _, key := range strings.Split(name[1:], "/") {
			if found = found.child(strings.NewReplacer("~1", "/", "~0", "~").Replace(key)); found == nil {
				break
			}
		}
	}
	if found == nil {
		r.wrong(v, "$ref", "put that schema under $defs and write #/$defs/name", "$ref leads nowhere: there is no %s", ref)
	}
	return found
}

// child is what a step of a JSON Pointer leads to, or nil.
func (n *node) child(key string) *node {
	if n.kind == isList {
		for i, item := range n.items {
			if fmt.Sprint(i) == key {
				return item
			}
		}
	}
	return n.get(key)
}

// pattern compiles a regular expression.
func (r *schemaReader) pattern(at *node, text string) *pattern {
	parsed, err := syntax.Parse(text, syntax.Perl)
	var prog *syntax.Prog
	if err == nil && *r.states <= SchemaPatternMax {
		prog, err = syntax.Compile(parsed.Simplify())
	}
	if err != nil {
		why := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		r.wrong(at, "pattern", "the syntax is RE2: no look-around and no back references", "this is no pattern: %s", why)
		return nil
	}
	if prog != nil {
		*r.states += len(prog.Inst)
	}
	if *r.states > SchemaPatternMax {
		r.wrong(at, "pattern", "repeat less", "the patterns of the workflow have more than %d states", SchemaPatternMax)
		return nil
	}
	return &pattern{form: regexp.MustCompile(text), text: text, cost: len(prog.Inst)}
}

func (r *schemaReader) count(v *node, key string) int {
	n, ok := v.value.(int)
	if f, is := v.value.(float64); is && f == float64(int(f)) {
		n, ok = int(f), true
	}
	if !ok || n < 0 {
		r.wrong(v, key, "write one such as 1", "%s must be a whole number from 0", key)
		return 0
	}
	return n
}

func (r *schemaReader) number(v *node, key string) (any, bool) {
	if v.kind != isNumber {
		r.wrong(v, key, "write it without quotes", "%s must be a number, not %s", key, v.kind)
	}
	return v.value, v.kind == isNumber
}

// texts reads a list of different strings.
func (r *schemaReader) texts(v *node, key string) []string {
	var list []string
	if v.kind != isList {
		r.wrong(v, key, listHint, "%s must be a list, not %s", key, v.kind)
	}
	for _, item := range v.items {
		s, ok := item.value.(string)
		if !ok {
			r.wrong(item, key, "write their names as texts", "%s must name keys, not %s", key, item.kind)
		}
		list = append(list, s)
	}
	return list
}

// schemas reads a mapping from names to schemas.
func (r *schemaReader) schemas(v *node, key string, read func(*node) *rules) map[string]*rules {
	if v.kind != isMap {
		r.wrong(v, key, mappingHint, "%s must be a mapping, not %s", key, v.kind)
		return nil
	}
	all := map[string]*rules{}
	for _, f := range v.pairs {
		all[f.key] = read(f.value)
	}
	return all
}

// some reads a list of schemas.
func (r *schemaReader) some(v *node, key string, read func(*node) *rules) []*rules {
	if v.kind != isList || len(v.items) == 0 {
		r.wrong(v, key, "write - and a schema each", "%s must be a list of schemas", key)
		return nil
	}
	var all []*rules
	for _, item := range v.items {
		all = append(all, read(item))
	}
	return all
}

// bound reads a bound of numbers.
func bound(key, words string, holds func(int) bool) schemaWord {
	return schemaWord{key, func(r *schemaReader, _, v *node) test {
		limit, ok := r.number(v, key)
		if !ok {
			return nil
		}
		text := string(AppendJSON(nil, limit))
		return func(c *checking, v any, at *spot, _ *seen) *misfit {
			if t := typeOf(v); t != "number" && t != "integer" || holds(gojq.Compare(plainNumber(v), limit)) {
				return nil
			}
			return misfitf(at, "must be %s %s", words, text)
		}
	}}
}

// length reads a bound of how many there are of something; size is -1 for
// values that it is not about.
func length(key, words, one, many string, size func(any) int, holds func(n, limit int) bool) schemaWord {
	return schemaWord{key, func(r *schemaReader, _, v *node) test {
		limit := r.count(v, key)
		return func(c *checking, v any, at *spot, _ *seen) *misfit {
			n := size(v)
			if n < 0 || holds(n, limit) {
				return nil
			}
			return misfitf(at, "must have %s %s and has %d", words, counted(limit, one, many), n)
		}
	}}
}

func least(n, limit int) bool { return n >= limit }
func most(n, limit int) bool  { return n <= limit }

func characters(v any) int {
	if s, ok := v.(string); ok {
		return runes(s)
	}
	return -1
}

func elements(v any) int {
	if list, ok := v.([]any); ok {
		return len(list)
	}
	return -1
}

func keys(v any) int {
	if m, ok := v.(map[string]any); ok {
		return len(m)
	}
	return -1
}

// absent are the keys of a list that a mapping does not have.
func absent(m map[string]any, want []string) (missing []string) {
	for _, key := range want {
		if _, ok := m[key]; !ok {
			missing = append(missing, key)
		}
	}
	return missing
}

func (r *schemaReader) multiple(v *node) test {
	limit, ok := r.number(v, "multipleOf")
	step := rational(limit)
	if !ok || step == nil || step.Sign() <= 0 {
		if ok {
			r.wrong(v, "multipleOf", "write a number such as 1 or 0.01", "multipleOf must be above 0")
		}
		return nil
	}
	text := string(AppendJSON(nil, limit))
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		if t := typeOf(v); t != "number" && t != "integer" {
			return nil
		}
		if m := c.spend(1 + Size(v, OutputMax)/patternStep); m != nil {
			return m
		}
		if n := rational(v); n != nil && new(big.Rat).Quo(n, step).IsInt() {
			return nil
		}
		return misfitf(at, "must be a multiple of %s", text)
	}
}

// sortedKeys are the keys of a mapping in their one order.
func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
