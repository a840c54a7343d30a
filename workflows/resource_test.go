package workflows

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

const elsewhereHead = "document: { dsl: '1.0.3', namespace: a, name: b, version: '1.0.0' }\n"

// What a workflow has elsewhere is read as if it stood in it, and what is wrong
// there is told of there.
func TestResources(t *testing.T) {
	const schema, js = "https://a.example/order.json", "https://a.example/s.js"
	texts := map[string]string{
		schema:                         "{\n\t\"type\": \"object\",\n\t\"required\": [ \"id\" ]\n}",
		js:                             "console.log(1)",
		"https://a.example/bad.json":   "type: objekt",
		"https://a.example/empty.json": " \n",
		"https://a.example/no.yaml":    "a: [",
		"https://a.example/empty.js":   "\n",
		"https://a.example/long.js":    strings.Repeat("x", ScriptMax+1),
	}
	input := func(resource string) string {
		return "input: { schema: { resource: " + resource + " } }\ndo: [ { a: { set: { x: 1 } } } ]"
	}
	script := func(source string) string {
		return "do: [ { s: { run: { script: { language: js, source: " + source + " } } } } ]"
	}
	for _, c := range []struct{ name, text, want string }{
		{"a schema", input("{ endpoint: '" + schema + "' }"), ""},
		{"a schema with a name, and who asks for it", input("{ name: order, endpoint: { uri: '" + schema + "', authentication: { bearer: { token: t } } } }"), ""},
		{"a script", script("{ endpoint: '" + js + "' }"), ""},
		{"a schema that is none", input("{ endpoint: 'https://a.example/bad.json' }"),
			`https://a.example/bad.json:1:7: there is no type "objekt"; did you mean object?`},
		{"a schema that is empty", input("{ endpoint: 'https://a.example/empty.json' }"), "https://a.example/empty.json:1:1: the text is empty"},
		{"a schema that is no YAML", input("{ endpoint: 'https://a.example/no.yaml' }"), "https://a.example/no.yaml:2:1: this is not YAML: the text ends inside a bracket; close it with ] or }"},
		{"a script that is empty", script("{ endpoint: 'https://a.example/empty.js' }"), "https://a.example/empty.js:1:1: run.script.code is empty; write what the script does"},
		{"a script that is no script", script("{ endpoint: 'https://a.example/long.js' }"),
			"https://a.example/long.js:1:1: run.script.code has 65537 bytes, the limit is 65536; upload what is so large as a handler, and call it"},
		{"no endpoint", input("{ name: x }"), "f.yaml:2:30: input.schema.resource needs the key endpoint; add endpoint: https://..."},
		{"both a document and a resource", "input: { schema: { document: {}, resource: { endpoint: '" + schema + "' } } }\ndo: [ { a: { set: { x: 1 } } } ]",
			"f.yaml:2:44: input.schema has both document and resource; keep one of them"},
		{"a file", input("{ endpoint: 'file:///order.json' }"),
			`f.yaml:2:42: input.schema.resource.endpoint is "file:///order.json"; a host reads no files of yours: write it out in the workflow, or serve it over https`},
		{"another scheme", script("{ endpoint: 'ftp://a.example/s.js' }"), `f.yaml:2:65: run.script.source.endpoint is "ftp://a.example/s.js"; start with https:// or http://`},
		{"an expression", input(`{ endpoint: '${ .where }' }`),
			`f.yaml:2:42: input.schema.resource.endpoint must be fixed, and is "${ .where }"; write the whole address: what it names is fetched once, when the workflow is applied`},
		{"a name in the address", input(`{ endpoint: 'https://ada:pw@a.example/x' }`),
			`f.yaml:2:42: input.schema.resource.endpoint is "https://ada:pw@a.example/x"; write who asks as endpoint: { uri: ..., authentication: { basic: ... } }`},
		{"a part of a document", input(`{ endpoint: '` + schema + `#/x' }`),
			`f.yaml:2:42: input.schema.resource.endpoint is "` + schema + `#/x"; leave out what stands behind #: it is fetched as a whole`},
		{"a secret", "use: { secrets: [ s ] }\n" + input("{ endpoint: { uri: '"+schema+"', authentication: { bearer: { use: s } } } }"),
			"f.yaml:3:97: this authentication does not run where a workflow is applied; write basic or bearer, without expressions and secrets, or write out what it names in the workflow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := ParseWith("f.yaml", []byte(elsewhereHead+c.text), texts)
			if c.want == "" && (err != nil || len(d.Missing()) > 0 || len(d.Resources()) != 1) || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	d, err := Parse("f.yaml", []byte(elsewhereHead+`input: { schema: { resource: { endpoint: { uri: 'https://a.example/o', authentication: { basic: { username: ada, password: pw } } } } } }
output: { schema: { resource: { endpoint: 'https://a.example/o' } } }
do: [ { s: { run: { script: { language: js, source: { endpoint: 'https://a.example/s.js' } } } } } ]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Resource{{"https://a.example/o", "Basic YWRhOnB3", "f.yaml", 2, 42}, {"https://a.example/s.js", "", "f.yaml", 4, 65}}
	if !slices.Equal(d.Missing(), want) || d.Resources() != nil {
		t.Errorf("%v %v", d.Missing(), d.Resources())
	}
	if doubts := d.Doubts().Error(); !strings.HasSuffix(doubts, "f.yaml:4:65: https://a.example/s.js was not looked at; it is fetched and checked when the workflow is applied") {
		t.Error(doubts)
	}
	var many strings.Builder
	for i := range ResourcesMax + 1 {
		fmt.Fprintf(&many, "  - s%d: { run: { script: { language: js, source: { endpoint: 'https://a.example/%d.js' } } } }\n", i, i)
	}
	if _, err := Parse("f.yaml", []byte(elsewhereHead+"do:\n"+many.String())); err == nil || !strings.Contains(err.Error(), "f.yaml:19:63: more than 16 texts are elsewhere") {
		t.Error(err)
	}
}

// A problem of a script stands in the script.
func TestScriptProblemElsewhere(t *testing.T) {
	const uri = "https://a.example/s.js"
	d, err := ParseWith("f.yaml", []byte(elsewhereHead+"do: [ { s: { run: { script: { language: js, source: { endpoint: '"+uri+"' } } } } } ]"), map[string]string{uri: "a\nb("})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.ScriptProblem(d.Scripts()[0], 2, 3, "wrong").Error(); got != uri+":2:3: wrong" {
		t.Error(got)
	}
	pinned, err := d.Pin(func(HandlerUse) (weft.Ref, error) { return weft.Ref{}, nil })
	if err != nil || !maps.Equal(pinned.Resources(), d.Resources()) {
		t.Errorf("pinning loses what is elsewhere: %v", err)
	}
}
