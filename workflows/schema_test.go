package workflows

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaOf compiles a document, in JSON or YAML.
func schemaOf(t testing.TB, text string) *Schema {
	t.Helper()
	root := readYAML([]byte(text), func(line, column int, _, message, _ string) { t.Fatalf("%d:%d: %s", line, column, message) })
	return readSchema(root, func(n *node, _, hint, format string, args ...any) {
		t.Fatalf("%s\n%d:%d: %s; %s", text, n.line, n.column, fmt.Sprintf(format, args...), hint)
	}, new(int))
}

// TestSchemaTells is what people read, and where it says that it is.
func TestSchemaTells(t *testing.T) {
	for _, c := range []struct{ schema, value, want string }{
		{`{type: object}`, `[]`, "it must be of type object and is array"},
		{`{type: [string, "null"]}`, `7`, "it must be of type string or null and is integer"},
		{`{properties: {a: {properties: {b/c: {type: string}}}}}`, `{"a": {"b/c": 1}}`, "/a/b~1c must be of type string and is integer"},
		{`{required: [a, b, c]}`, `{"b": 1}`, "it needs the key a, c"},
		{`{items: {minimum: 3}}`, `[3, 4, 2.5]`, "/2 must be at least 3"},
		{`{properties: {s: {maxLength: 1}}}`, `{"s": "äö"}`, "/s must have at most 1 character and has 2"},
		{`{properties: {s: {pattern: "^[a-z]+$"}}}`, `{"s": "A secret"}`, "/s must match ^[a-z]+$"},
		{`{enum: [red, 1]}`, `"blue"`, `it must be one of ["red",1]`},
		{`{const: {a: 1}}`, `{"a": 2}`, `it must be {"a":1}`},
		{`{additionalProperties: false, properties: {a: {}}}`, `{"a": 1, "b": 2}`, "/b must not be there"},
		{`{uniqueItems: true}`, `[1, 2, 1.0]`, "it must have no element twice: 2 is 0 again"},
		{`{anyOf: [{type: string}, {properties: {n: {type: integer}}, required: [n]}]}`, `{"n": "x"}`,
			"/n must be of type integer and is string, in the closest of 2 schemas of anyOf"},
		{`{oneOf: [{type: number}, {type: integer}]}`, `1`, "it must fit one schema of oneOf and fits both 0 and 1"},
		{`{propertyNames: {maxLength: 2}}`, `{"abc": 1}`, `it has the key "abc", which must have at most 2 characters and has 3`},
		{`{contains: {type: string}}`, `[1]`, "it must contain at least 1 element as contains says, and has 0"},
		{`{$ref: "#/$defs/tree", $defs: {tree: {properties: {next: {$ref: "#/$defs/tree"}, n: {type: integer}}}}}`,
			`{"next": {"next": {"n": "x"}}}`, "/next/next/n must be of type integer and is string"},
		{`{properties: {a: {type: string}, b: {type: string}}}`, `{"b": 1, "a": 1}`, "/a must be of type string and is integer"},
	} {
		v, err := DecodeJSON([]byte(c.value))
		if err != nil {
			t.Fatal(err)
		}
		if err := schemaOf(t, c.schema).Check(v); err == nil || err.Error() != c.want {
			t.Errorf("%s against %s: %v, not %s", c.value, c.schema, err, c.want)
		}
	}
}

// TestSchemaIsBounded gives schemas and values that would take for ever.
func TestSchemaIsBounded(t *testing.T) {
	doubling := `{$ref: "#/$defs/d0", $defs: {`
	for i := range 60 {
		doubling += fmt.Sprintf(`d%d: {allOf: [{$ref: "#/$defs/d%d"}, {$ref: "#/$defs/d%d"}]}, `, i, i+1, i+1)
	}
	doubling += `d60: {}}}`
	long := strings.Repeat("a", OutputMax-10)
	deep := any(1)
	for range 20_000 {
		deep = []any{deep}
	}
	list := make([]any, 100_000)
	for i := range list {
		list[i] = long
	}
	for name, c := range map[string]struct {
		schema string
		value  any
		want   string
	}{
		"a schema that doubles":      {doubling, 1, "too large for its schema"},
		"behind a not":               {strings.Replace(doubling, `{$ref: "#/$defs/d0"`, `{not: {$ref: "#/$defs/d0"}`, 1), 1, "too large for its schema"},
		"an expensive pattern":       {`{pattern: "(a|aa|aaa){500}b"}`, long, "too large for its schema"},
		"many large values":          {`{uniqueItems: true, items: {enum: ["` + long[:1000] + `"]}}`, list, ""},
		"a value without a bottom":   {`{items: {$ref: "#"}}`, deep, "nested too deeply"},
		"names against each pattern": {`{patternProperties: {"(a|b){900}": {}}}`, map[string]any{long: 1}, "too large for its schema"},
	} {
		s := schemaOf(t, c.schema)
		began := time.Now()
		err := s.Check(c.value)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s took %s", name, took)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSchemaAgreesWithAnother holds Check against another implementation, on
// schemas and values made by chance.
func TestSchemaAgreesWithAnother(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	fits := 0
	const count = 2000
	for i := range count {
		a := &schemaAuthor{r: r, old: i%3 == 2}
		doc, _ := a.schema(3).(map[string]any)
		if doc == nil {
			continue
		}
		doc["$schema"] = schemaNow
		if a.old {
			doc["$schema"] = schemaOld + "#"
		}
		doc["$defs"] = map[string]any{"a": a.schema(0), "tree": map[string]any{"$anchor": "t", "properties": map[string]any{"a": map[string]any{"$ref": "#/$defs/tree"}, "b": map[string]any{"type": "string"}}}}
		text := string(AppendJSON(nil, doc))
		c := jsonschema.NewCompiler()
		c.UseLoader(nil)
		if err := c.AddResource("mem:///doc", plainNumbers(t, text)); err != nil {
			t.Fatal(text, err)
		}
		other, err := c.Compile("mem:///doc")
		if err != nil {
			t.Fatal(text, err)
		}
		ours := schemaOf(t, text)
		for range 8 {
			value := string(AppendJSON(nil, a.value(3)))
			v, err := DecodeJSON([]byte(value))
			if err != nil {
				t.Fatal(err)
			}
			theirs, own := other.Validate(plainNumbers(t, value)), ours.Check(v)
			if (theirs == nil) != (own == nil) {
				t.Fatalf("%s against\n%s\nwe say %v\nthe other %v", value, text, own, theirs)
			}
			if own == nil {
				fits++
			}
		}
	}
	if fits < count || fits > 7*count {
		t.Errorf("%d of %d values fit: chance does not test much", fits, 8*count)
	}
}

func plainNumbers(t *testing.T, text string) any {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// schemaAuthor makes up schemas, and values that have a chance to fit.
type schemaAuthor struct {
	r   *rand.Rand
	old bool
}

func (a *schemaAuthor) key() string { return string(rune('a' + a.r.IntN(3))) }

func (a *schemaAuthor) value(depth int) any {
	n := a.r.IntN(9)
	if depth == 0 {
		n = a.r.IntN(6)
	}
	switch n {
	case 0:
		return nil
	case 1:
		return a.r.IntN(2) == 0
	case 2, 3:
		return []any{0, 1, 2, 3, -1, 1.5, 0.3, 2.0, 1e20}[a.r.IntN(9)]
	case 4, 5:
		return []any{"", "a", "ab", "abc", "äö"}[a.r.IntN(5)]
	case 6:
		list := make([]any, a.r.IntN(4))
		for i := range list {
			list[i] = a.value(depth - 1)
		}
		return list
	}
	m := map[string]any{}
	for range a.r.IntN(4) {
		m[a.key()] = a.value(depth - 1)
	}
	return m
}

func (a *schemaAuthor) list(depth int) []any {
	list := make([]any, 1+a.r.IntN(3))
	for i := range list {
		list[i] = a.schema(depth)
	}
	return list
}

func (a *schemaAuthor) named(depth int) map[string]any {
	m := map[string]any{}
	for range 1 + a.r.IntN(3) {
		m[a.key()] = a.schema(depth)
	}
	return m
}

func (a *schemaAuthor) schema(depth int) any {
	if a.r.IntN(12) == 0 && depth < 3 {
		return a.r.IntN(3) > 0
	}
	words := []func(map[string]any){
		func(m map[string]any) { m["type"] = schemaTypes[a.r.IntN(7)] },
		func(m map[string]any) { m["type"] = []any{"object", "array", schemaTypes[4+a.r.IntN(3)]} },
		func(m map[string]any) { m["const"] = a.value(1) },
		func(m map[string]any) { m["enum"] = []any{a.value(1), "x"} },
		func(m map[string]any) { m["minimum"] = a.r.IntN(3) },
		func(m map[string]any) { m["exclusiveMaximum"] = 1.5 + float64(a.r.IntN(2)) },
		func(m map[string]any) { m["maximum"], m["exclusiveMinimum"] = 2, a.r.IntN(2)-1 },
		func(m map[string]any) { m["multipleOf"] = []any{1, 2, 0.1}[a.r.IntN(3)] },
		func(m map[string]any) { m["minLength"] = a.r.IntN(3) },
		func(m map[string]any) { m["maxLength"] = a.r.IntN(3) },
		func(m map[string]any) { m["pattern"] = []any{"^a", "b", "^.{2}$"}[a.r.IntN(3)] },
		func(m map[string]any) { m["minItems"], m["maxItems"] = a.r.IntN(2), 1+a.r.IntN(3) },
		func(m map[string]any) { m["uniqueItems"] = a.r.IntN(4) > 0 },
		func(m map[string]any) { m["minProperties"], m["maxProperties"] = a.r.IntN(2), 1+a.r.IntN(3) },
		func(m map[string]any) { m["required"] = []any{a.key()} },
		func(m map[string]any) { m["title"], m["x-own"] = "t", 1 },
	}
	if depth > 0 {
		words = append(words,
			func(m map[string]any) { m["properties"] = a.named(depth - 1) },
			func(m map[string]any) { m["properties"] = a.named(depth - 1) },
			func(m map[string]any) { m["patternProperties"] = map[string]any{"[ab]": a.schema(depth - 1)} },
			func(m map[string]any) { m["additionalProperties"] = a.schema(depth - 1) },
			func(m map[string]any) { m["propertyNames"] = map[string]any{"pattern": "^[ab]"} },
			func(m map[string]any) { m["items"] = a.schema(depth - 1) },
			func(m map[string]any) { m["contains"] = a.schema(depth - 1) },
			func(m map[string]any) { m["allOf"] = a.list(depth - 1) },
			func(m map[string]any) { m["anyOf"] = a.list(depth - 1) },
			func(m map[string]any) { m["oneOf"] = a.list(depth - 1) },
			func(m map[string]any) { m["not"] = a.schema(depth - 1) },
			func(m map[string]any) {
				m["if"], m["then"], m["else"] = a.schema(depth-1), a.schema(depth-1), a.schema(depth-1)
			},
			func(m map[string]any) { m["$ref"] = []any{"#/$defs/a", "#/$defs/tree"}[a.r.IntN(2)] },
		)
		if a.old {
			words = append(words,
				func(m map[string]any) { m["items"], m["additionalItems"] = a.list(depth-1), a.schema(depth-1) },
				func(m map[string]any) {
					m["dependencies"] = map[string]any{a.key(): a.schema(depth - 1), "b": []any{a.key()}}
				},
			)
		} else {
			words = append(words,
				func(m map[string]any) { m["prefixItems"] = a.list(depth - 1) },
				func(m map[string]any) {
					m["contains"], m["minContains"], m["maxContains"] = a.schema(depth-1), a.r.IntN(3), 1+a.r.IntN(2)
				},
				func(m map[string]any) { m["dependentRequired"] = map[string]any{a.key(): []any{a.key()}} },
				func(m map[string]any) { m["dependentSchemas"] = a.named(depth - 1) },
				func(m map[string]any) { m["unevaluatedProperties"] = a.schema(depth - 1) },
				func(m map[string]any) { m["unevaluatedItems"] = a.schema(depth - 1) },
				func(m map[string]any) { m["$ref"] = "#t" },
			)
		}
	}
	m := map[string]any{}
	for range 1 + a.r.IntN(3) {
		words[a.r.IntN(len(words))](m)
	}
	if ref, has := m["$ref"]; has && a.old { // it stands alone, which the other does not keep to
		return map[string]any{"$ref": ref}
	}
	return m
}
