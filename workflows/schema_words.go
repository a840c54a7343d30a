package workflows

import (
	"slices"
	"strings"
)

// schemaWord is one keyword: how it is read, and so what it wants of a value.
type schemaWord struct {
	name string
	read func(r *schemaReader, schema, v *node) test // nil wants nothing
}

// schemaWords are the keywords that check, in the order in which they do.
var schemaWords []schemaWord

// schemaNotes only describe. The last of them are known from elsewhere.
var schemaNotes = []string{"$schema", "$id", "$comment", "$anchor", "title", "description", "default", "examples",
	"deprecated", "readOnly", "writeOnly", "format", "contentEncoding", "contentMediaType", "contentSchema", "then", "else",
	"minContains", "maxContains", "additionalItems", "example", "nullable", "xml", "discriminator", "externalDocs"}

// schemaRefused are keywords that change the meaning of a schema and do not run.
var schemaRefused = map[string]string{
	"$dynamicRef": "write $ref", "$dynamicAnchor": "write $anchor", "$recursiveRef": "write $ref", "$recursiveAnchor": "write $ref with #",
	"$vocabulary": "leave it out", "id": "write $id in the document's first line",
}

// schemaKnown are all the names, for slips.
var schemaKnown []string

func init() {
	schemaWords = []schemaWord{
		{"$defs", readDefinitions},
		{"definitions", readDefinitions},
		{"type", readType},
		{"const", func(r *schemaReader, _, v *node) test { return oneOfValues([]any{v.plain()}) }},
		{"enum", readEnum},
		bound("minimum", "at least", func(c int) bool { return c >= 0 }),
		bound("maximum", "at most", func(c int) bool { return c <= 0 }),
		bound("exclusiveMinimum", "more than", func(c int) bool { return c > 0 }),
		bound("exclusiveMaximum", "less than", func(c int) bool { return c < 0 }),
		{"multipleOf", func(r *schemaReader, _, v *node) test { return r.multiple(v) }},
		length("minLength", "at least", "character", "characters", characters, least),
		length("maxLength", "at most", "character", "characters", characters, most),
		{"pattern", readPattern},
		length("minItems", "at least", "element", "elements", elements, least),
		length("maxItems", "at most", "element", "elements", elements, most),
		{"uniqueItems", readUnique},
		length("minProperties", "at least", "key", "keys", keys, least),
		length("maxProperties", "at most", "key", "keys", keys, most),
		{"required", readRequired},
		{"dependentRequired", readDependentRequired},
		{"dependencies", readDependencies},
		{"propertyNames", readNames},
		{"properties", readProperties},
		{"patternProperties", readPatternProperties},
		{"additionalProperties", readAdditional},
		{"prefixItems", func(r *schemaReader, _, v *node) test { return firstItems(r.some(v, "prefixItems", r.rules)) }},
		{"items", readItems},
		{"contains", readContains},
		{"$ref", readRef},
		{"allOf", readAll},
		{"anyOf", readAny},
		{"oneOf", readOne},
		{"not", readNot},
		{"if", readIf},
		{"dependentSchemas", readDependentSchemas},
		{"unevaluatedProperties", readOtherKeys},
		{"unevaluatedItems", readOtherItems},
	}
	for _, w := range schemaWords {
		schemaKnown = append(schemaKnown, w.name)
	}
}

// readDefinitions finds what is wrong in schemas that nobody refers to.
func readDefinitions(r *schemaReader, _, v *node) test {
	r.schemas(v, "$defs", r.rules)
	return nil
}

func readType(r *schemaReader, _, v *node) test {
	list := []*node{v}
	if v.kind == isList {
		list = v.items
	}
	var names []string
	for _, n := range list {
		s, ok := n.value.(string)
		switch {
		case !ok:
			r.wrong(n, "type", "write a name such as object", "type must be a string, not %s", n.kind)
		case !slices.Contains(schemaTypes, s):
			hint := "known are " + strings.Join(schemaTypes, ", ")
			if near := Nearest(s, schemaTypes); near != "" {
				hint = "did you mean " + near + "?"
			}
			r.wrong(n, "type", hint, "there is no type %q", s)
		}
		names = append(names, s)
	}
	words := strings.Join(names, " or ")
	return func(_ *checking, v any, at *spot, _ *seen) *misfit {
		t := typeOf(v)
		if slices.Contains(names, t) || t == "integer" && slices.Contains(names, "number") {
			return nil
		}
		return misfitf(at, "must be of type %s and is %s", words, t)
	}
}

func readEnum(r *schemaReader, _, v *node) test {
	if v.kind != isList || len(v.items) == 0 {
		r.wrong(v, "enum", listHint, "enum must be a list of values")
		return nil
	}
	list, _ := v.plain().([]any)
	return oneOfValues(list)
}

// enumTold bounds how much of a list of values an error has.
const enumTold = 200

func oneOfValues(list []any) test {
	words := string(AppendJSON(nil, list))
	if len(list) == 1 {
		words = string(AppendJSON(nil, list[0]))
	}
	if len(words) > enumTold {
		words = strings.ToValidUTF8(words[:enumTold], "") + "..."
	}
	if len(list) > 1 {
		words = "one of " + words
	}
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		for _, want := range list {
			if m := c.spend(1 + min(Size(want, OutputMax), Size(v, OutputMax))/patternStep); m != nil {
				return m
			}
			if Equal(want, v) {
				return nil
			}
		}
		return misfitf(at, "must be %s", words)
	}
}

func readPattern(r *schemaReader, _, v *node) test {
	text, ok := v.value.(string)
	if !ok {
		r.wrong(v, "pattern", "put it in quotes", "pattern must be a string, not %s", v.kind)
		return nil
	}
	p := r.pattern(v, text)
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		if yes, m := p.match(c, s); yes || m != nil {
			return m
		}
		return misfitf(at, "must match %s", p.text)
	}
}

func readUnique(r *schemaReader, _, v *node) test {
	if v.kind != isBool {
		r.wrong(v, "uniqueItems", "write true or false", "uniqueItems must be a boolean, not %s", v.kind)
	}
	if v.value != true {
		return nil
	}
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		list, _ := v.([]any)
		if m := c.spend(len(list) + Size(v, ContextMax)/patternStep); m != nil {
			return m
		}
		first := make(map[string]int, len(list))
		for i, item := range list {
			text := string(AppendJSON(nil, item))
			if j, twice := first[text]; twice {
				return misfitf(at, "must have no element twice: %d is %d again", i, j)
			}
			first[text] = i
		}
		return nil
	}
}

func readRequired(r *schemaReader, _, v *node) test {
	want := r.texts(v, "required")
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		if m, ok := v.(map[string]any); ok {
			if missing := absent(m, want); missing != nil {
				return misfitf(at, "needs the key %s", strings.Join(missing, ", "))
			}
		}
		return nil
	}
}

// when makes a test of a mapping that has the key.
func when(key string, t test) test {
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		if m, ok := v.(map[string]any); ok {
			if _, has := m[key]; has {
				return t(c, v, at, s)
			}
		}
		return nil
	}
}

func every(tests []test) test {
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		for _, t := range tests {
			if m := t(c, v, at, s); m != nil {
				return m
			}
		}
		return nil
	}
}

func readDependentRequired(r *schemaReader, schema, v *node) test {
	return r.dependent(v, "dependentRequired", func(n *node) test { return readRequired(r, schema, n) })
}

func readDependentSchemas(r *schemaReader, _, v *node) test {
	return r.dependent(v, "dependentSchemas", r.whole)
}

// readDependencies is that of draft 7, which is both.
func readDependencies(r *schemaReader, schema, v *node) test {
	return r.dependent(v, "dependencies", func(n *node) test {
		if n.kind == isList {
			return readRequired(r, schema, n)
		}
		return r.whole(n)
	})
}

// dependent reads what holds for those that have a key.
func (r *schemaReader) dependent(v *node, word string, read func(*node) test) test {
	if v.kind != isMap {
		r.wrong(v, word, mappingHint, "%s must be a mapping, not %s", word, v.kind)
	}
	var tests []test
	for _, f := range v.pairs {
		tests = append(tests, when(f.key, read(f.value)))
	}
	return every(tests)
}

// whole is a schema that holds for the same value.
func (r *schemaReader) whole(n *node) test {
	rules := r.same(n)
	return func(c *checking, v any, at *spot, s *seen) *misfit { return c.apply(rules, v, at, s) }
}

func readNames(r *schemaReader, _, v *node) test {
	names := r.rules(v)
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		m, _ := v.(map[string]any)
		for _, key := range sortedKeys(m) {
			if bad := c.apply(names, key, nil, nil); bad != nil {
				return misfitf(at, "has the key %q, which %s", key, bad.what)
			}
		}
		return nil
	}
}

func readProperties(r *schemaReader, _, v *node) test {
	all := r.schemas(v, "properties", r.rules)
	var order []string
	for _, f := range v.pairs {
		order = append(order, f.key)
	}
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		m, _ := v.(map[string]any)
		for _, key := range order {
			if e, has := m[key]; has {
				s.key(key)
				if bad := c.apply(all[key], e, at.in(key), nil); bad != nil {
					return bad
				}
			}
		}
		return nil
	}
}

// namedRules are the rules for keys that match a pattern.
type namedRules struct {
	*pattern
	rules *rules
}

func (r *schemaReader) patterned(v *node) (all []namedRules) {
	if v == nil {
		return nil
	}
	if all, done := r.forms[v]; done {
		return all
	}
	if v.kind != isMap {
		r.wrong(v, "patternProperties", mappingHint, "patternProperties must be a mapping, not %s", v.kind)
	}
	for _, f := range v.pairs {
		at := &node{line: f.line, column: f.column}
		if p := r.pattern(at, f.key); p != nil {
			all = append(all, namedRules{p, r.rules(f.value)})
		}
	}
	r.forms[v] = all
	return all
}

func readPatternProperties(r *schemaReader, _, v *node) test {
	all := r.patterned(v)
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		m, _ := v.(map[string]any)
		for _, key := range sortedKeys(m) {
			for _, p := range all {
				yes, bad := p.match(c, key)
				if yes {
					s.key(key)
					bad = c.apply(p.rules, m[key], at.in(key), nil)
				}
				if bad != nil {
					return bad
				}
			}
		}
		return nil
	}
}

func readAdditional(r *schemaReader, schema, v *node) test {
	others := r.rules(v)
	named := map[string]bool{}
	if properties := schema.get("properties"); properties != nil {
		for _, f := range properties.pairs {
			named[f.key] = true
		}
	}
	all := r.patterned(schema.get("patternProperties"))
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		m, _ := v.(map[string]any)
	keys:
		for _, key := range sortedKeys(m) {
			if named[key] {
				continue
			}
			for _, p := range all {
				if yes, bad := p.match(c, key); bad != nil {
					return bad
				} else if yes {
					continue keys
				}
			}
			s.key(key)
			if bad := c.apply(others, m[key], at.in(key), nil); bad != nil {
				return bad
			}
		}
		return nil
	}
}

func firstItems(all []*rules) test {
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		list, _ := v.([]any)
		for i := range min(len(list), len(all)) {
			s.item(i)
			if bad := c.each(list[:i+1], i, all[i], at, nil); bad != nil {
				return bad
			}
		}
		return nil
	}
}

func readItems(r *schemaReader, schema, v *node) test {
	from := 0
	if first := schema.get("prefixItems"); first != nil && !r.old {
		from = len(first.items)
	}
	if v.kind == isList {
		if !r.old {
			r.wrong(v, "items", "write prefixItems, or name draft 7 in $schema", "items must be one schema, not a list")
			return nil
		}
		tests := []test{firstItems(r.some(v, "items", r.rules))}
		if more := schema.get("additionalItems"); more != nil {
			tests = append(tests, onwards(r.rules(more), len(v.items)))
		}
		return every(tests)
	}
	return onwards(r.rules(v), from)
}

// onwards holds the elements from one on against rules.
func onwards(rules *rules, from int) test {
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		if list, ok := v.([]any); ok {
			return c.each(list, from, rules, at, s)
		}
		return nil
	}
}

func readContains(r *schemaReader, schema, v *node) test {
	rules, low, high := r.rules(v), 1, -1
	if n := schema.get("minContains"); n != nil && !r.old {
		low = r.count(n, "minContains")
	}
	if n := schema.get("maxContains"); n != nil && !r.old {
		high = r.count(n, "maxContains")
	}
	old := r.old
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		list, ok := v.([]any)
		if !ok {
			return nil
		}
		found := 0
		for i, item := range list {
			if c.apply(rules, item, nil, nil) == nil {
				found++
				if !old {
					s.item(i)
				}
			}
		}
		switch {
		case found < low:
			return misfitf(at, "must contain at least %s as contains says, and has %d", counted(low, "element", "elements"), found)
		case high >= 0 && found > high:
			return misfitf(at, "must contain at most %s as contains says, and has %d", counted(high, "element", "elements"), found)
		}
		return nil
	}
}

func readRef(r *schemaReader, _, v *node) test {
	if n := r.target(v); n != nil {
		return r.whole(n)
	}
	return nil
}

func readAll(r *schemaReader, _, v *node) test {
	all := r.some(v, "allOf", r.same)
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		for _, rules := range all {
			if bad := c.apply(rules, v, at, s); bad != nil {
				return bad
			}
		}
		return nil
	}
}

// closest is the misfit that came furthest into the value.
func closest(a, b *misfit) *misfit {
	if a == nil || b.depth() > a.depth() {
		return b
	}
	return a
}

func readAny(r *schemaReader, _, v *node) test {
	all := r.some(v, "anyOf", r.same)
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		var near *misfit
		fits := false
		for _, rules := range all {
			bad := c.apply(rules, v, at, s)
			if bad == nil {
				if fits = true; s == nil {
					return nil
				}
				continue
			}
			near = closest(near, bad)
		}
		if fits || near == nil {
			return nil
		}
		return &misfit{near.at, near.what + ", in the closest of " + counted(len(all), "schema", "schemas") + " of anyOf"}
	}
}

func readOne(r *schemaReader, _, v *node) test {
	all := r.some(v, "oneOf", r.same)
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		var near *misfit
		found := -1
		for i, rules := range all {
			bad := c.apply(rules, v, at, s)
			switch {
			case bad != nil:
				near = closest(near, bad)
			case found >= 0:
				return misfitf(at, "must fit one schema of oneOf and fits both %d and %d", found, i)
			default:
				found = i
			}
		}
		if found >= 0 || near == nil {
			return nil
		}
		return &misfit{near.at, near.what + ", in the closest of " + counted(len(all), "schema", "schemas") + " of oneOf"}
	}
}

func readNot(r *schemaReader, _, v *node) test {
	not := r.same(v)
	return func(c *checking, v any, at *spot, _ *seen) *misfit {
		if c.apply(not, v, at, nil) == nil {
			return misfitf(at, "must not be as the schema under not")
		}
		return nil
	}
}

func readIf(r *schemaReader, schema, v *node) test {
	cond := r.same(v)
	branch := func(key string) *rules {
		if n := schema.get(key); n != nil {
			return r.same(n)
		}
		return &rules{}
	}
	then, otherwise := branch("then"), branch("else")
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		if c.apply(cond, v, at, s) == nil {
			return c.apply(then, v, at, s)
		}
		return c.apply(otherwise, v, at, s)
	}
}

func readOtherKeys(r *schemaReader, _, v *node) test {
	r.track = true
	rules := r.rules(v)
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		m, _ := v.(map[string]any)
		if s.allKeys {
			return nil
		}
		for _, key := range sortedKeys(m) {
			if s.keys[key] {
				continue
			}
			if bad := c.apply(rules, m[key], at.in(key), nil); bad != nil {
				return bad
			}
		}
		s.allKeys = true
		return nil
	}
}

func readOtherItems(r *schemaReader, _, v *node) test {
	r.track = true
	rules := r.rules(v)
	return func(c *checking, v any, at *spot, s *seen) *misfit {
		list, _ := v.([]any)
		if s.allItems {
			return nil
		}
		for i := range list {
			if s.items[i] {
				continue
			}
			if bad := c.each(list[:i+1], i, rules, at, nil); bad != nil {
				return bad
			}
		}
		s.allItems = true
		return nil
	}
}
