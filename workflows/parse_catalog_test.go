package workflows

import (
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

func TestWhereACatalogHasItsFunctions(t *testing.T) {
	for _, c := range []struct{ endpoint, want string }{
		{"https://a.example/catalog/", "https://a.example/catalog/functions/log/1.0.0/function.yaml"},
		{"http://a.example:8080?key=1", "http://a.example:8080/functions/log/1.0.0/function.yaml?key=1"},
		{"https://github.com/serverlessworkflow/catalog", "https://raw.githubusercontent.com/serverlessworkflow/catalog/HEAD/functions/log/1.0.0/function.yaml"},
		{"https://github.com/serverlessworkflow/catalog/tree/main", "https://raw.githubusercontent.com/serverlessworkflow/catalog/refs/heads/main/functions/log/1.0.0/function.yaml"},
		{"https://github.com/shop/all/tree/main/open/catalog", "https://raw.githubusercontent.com/shop/all/refs/heads/main/open/catalog/functions/log/1.0.0/function.yaml"},
		{"https://gitlab.com/shop/deep/catalog", "https://gitlab.com/shop/deep/catalog/-/raw/HEAD/functions/log/1.0.0/function.yaml"},
		{"https://gitlab.com/shop/deep/catalog/-/tree/main", "https://gitlab.com/shop/deep/catalog/-/raw/main/functions/log/1.0.0/function.yaml"},
	} {
		d, err := Parse("f.yaml", []byte(elsewhereHead+"use: { catalogs: { ours: { endpoint: { uri: '"+c.endpoint+"', authentication: { bearer: { token: t } } } } } }\ndo: [ { a: { call: 'log:1.0.0@ours' } } ]"))
		if err != nil {
			t.Error(err)
		} else if m := d.Missing(); len(m) != 1 || m[0] != (Resource{c.want, "Bearer t", "f.yaml", 3, 20}) {
			t.Errorf("%s has it at %v", c.endpoint, m)
		}
	}
}

// A function from elsewhere runs as one of use.functions would, but alone.
func TestFunctionsFromElsewhere(t *testing.T) {
	const at = "https://a.example/functions/ask/1.0.0/function.yaml"
	const cataloged = "use: { catalogs: { ours: { endpoint: https://a.example } }, secrets: [ s ], errors: { e: { type: a, status: 400 } }, functions: { own: { set: { x: 1 } } } }\ndo: [ { a: { call: 'ask:1.0.0@ours' } } ]"
	for _, c := range []struct{ name, flow, function, want string }{
		{"of a catalog", cataloged, "set: { x: 1 }", ""},
		{"by its address", "do: [ { a: { call: '" + at + "', with: { n: 1 } } } ]", "set: { x: '${ .n }' }", ""},
		{"in one of the workflow's own", "use: { functions: { own: { call: '" + at + "' } } }\ndo: [ { a: { call: own } } ]", "set: { x: 1 }", ""},
		{"that names others and a schema", cataloged, "input: { schema: { resource: { endpoint: https://a.example/s.json } } }\ncall: https://a.example/f.yaml", ""},
		{"that is no task", cataloged, "7", at + ":1:1: the task ask:1.0.0@ours must be a mapping, not a number; write name: { call: ... }, or another of call, emit, for, fork, listen, raise, run, set, switch, try, wait, do"},
		{"that is wrong", cataloged, "set: { x: '${ .a + }' }\nthen: next", at + ":1:11: set: this is not jq: unexpected EOF; jq paths start with a dot: .order.id\n" +
			at + ":2:7: there is no task next here; did you mean exit?"},
		{"that reads a secret", cataloged, "set: { x: '${ $secrets.s }' }", at + ":1:11: use.secrets has no s; take it under with: " + aloneHint},
		{"that names an error of the workflow", cataloged, "raise: { error: e }", at + ":1:17: use.errors has no e; write it out here: " + aloneHint},
		{"that names a catalog of the workflow", cataloged, "call: ask:1.0.0@ours", at + ":1:7: there is no catalog ours; call it by its address: " + aloneHint},
		{"that calls itself", cataloged, "call: " + at, at + ":1:7: the function " + at + " calls itself; let it call another workflow with run"},
		{"without its version", strings.Replace(cataloged, "ask:1.0.0", "ask:1", 1), "", `f.yaml:3:20: "ask:1" is no function of the catalog ours; write its name and its whole version, such as log:1.0.0@ours`},
		{"that leads out of the catalog", strings.Replace(cataloged, "ask:1.0.0", "../ask:1.0.0", 1), "", `f.yaml:3:20: "../ask:1.0.0" is no function of the catalog ours; write its name and its whole version, such as log:1.0.0@ours`},
		{"of a catalog without an endpoint", "use: { catalogs: { ours: {} } }\ndo: [ { a: { call: 'ask:1.0.0@ours' } } ]", "", "f.yaml:2:26: use.catalogs.ours needs the key endpoint; add endpoint: https://..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			texts := map[string]string{at: c.function, "https://a.example/f.yaml": "set: { y: 1 }", "https://a.example/s.json": "{}"}
			d, err := ParseWith("f.yaml", []byte(elsewhereHead+c.flow), texts)
			if c.want == "" && (err != nil || len(d.Missing()) > 0) || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// Handlers are pinned where they stand.
func TestPinElsewhere(t *testing.T) {
	const uri = "https://a.example/f.json"
	def, err := ParseWith("f.yaml", []byte(elsewhereHead+"do: [ { a: { call: charge } }, { b: { call: '"+uri+"' } }, { c: { call: '"+uri+"' } } ]"),
		map[string]string{uri: "{\n\t\"call\": \"charge:2\"\n}"})
	if err != nil {
		t.Fatal(err)
	}
	var uses []string
	pinned, err := def.Pin(func(use HandlerUse) (weft.Ref, error) {
		uses = append(uses, use.File+" "+use.Ref.String())
		return weft.ParseRef("charge:2.0.1@default")
	})
	if err != nil || strings.Join(uses, ", ") != uri+" charge:2@default, f.yaml charge@default" {
		t.Fatalf("%v %s", err, uses)
	}
	if got := pinned.Resources()[uri]; got != "{\n\t\"call\": \"charge:2.0.1@default\"\n}" {
		t.Errorf("pinned as %s", got)
	}
	for _, use := range pinned.Handlers() {
		if use.Ref.String() != "charge:2.0.1@default" {
			t.Errorf("calls %s", use.Ref)
		}
	}
}
