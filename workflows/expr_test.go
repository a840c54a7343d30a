package workflows

import (
	"reflect"
	"strings"
	"testing"
)

type testScope map[VariableKind]any

func (s testScope) Variable(v Variable) any { return s[v.Kind] }

var knownInTests = map[string]Variable{"$context": {Kind: VarContext}, "$index": {Kind: VarLocal, Name: "index"}, nowVariable: {Kind: VarNow}}

func TestExpressions(t *testing.T) {
	scope := testScope{VarContext: map[string]any{"x": map[string]any{"y": 3}}, VarLocal: 2, VarNow: 1767268800.5}
	dot := `{"a": 1, "l": [1, 2], "s": "text", "n": null, "deep": {"b c": {"d": true}}}`
	cases := []struct{ what, expr, want string }{
		{"a path", ".deep.\"b c\".d", "true"},
		{"a path into nothing", ".n.x.y", "null"},
		{"a path of a variable", "$context.x.y", "3"},
		{"a variable alone", "$index", "2"},
		{"a path into text, which is jq's to refuse", ".s.x", "! expected an object"},
		{"an optional path into text", ".s.x?", "! gives no value"},
		{"sums of numbers, texts, lists, mappings and null", `[1 + 2, "a" + "b", [1] + [2], {a: 1} + {b: 2}, null + 1]`, `[3,"ab",[1,2],{"a":1,"b":2},1]`},
		{"sums beyond 64 bits", "9223372036854775807 + 1", "9223372036854775808"},
		{"sums that cannot be", `.s + .l`, "! cannot add"},
		{"products", `[2 * 3, "ab" * 2, ({a: {b: 1}} * {a: {c: 2}})]`, `[6,"abab",{"a":{"b":1,"c":2}}]`},
		{"updates", `.l += [3] | .a *= 5 | .s |= length | [.l, .a, .s]`, `[[1,2,3],5,4]`},
		{"an update with what stands beside it", `.a += .l[1] | .a`, "3"},
		{"texts with values in them", `"\(.a) and \(.l) @ \("x" + .s)"`, `"1 and [1,2] @ xtext"`},
		{"formats", `@base64 "<\(.s)>", @json "\(.l)" | [.] | .[0]`, "! more than one value"},
		{"base64", `@base64 "<\(.s)>"`, `"<dGV4dA==>"`},
		{"functions of its own", "def twice(f): f | f; .a | twice(. + 10)", "21"},
		{"a function that hides a builtin", "def now: 7; def add: 8; [now, add]", "[7,8]"},
		{"a function whose argument hides a builtin", "def f(now): now + 1; f(2)", "3"},
		{"a builtin after a function that hid it elsewhere", "[(def now: 1; now), now]", "[1,1767268800.5]"},
		{"an inner function of the same name", "def f: def f: 1; f + 1; f", "2"},
		{"functions of one name with other arguments", "def f(x): x; def f: f(2); f", "2"},
		{"the time", "now | todate", `"2026-01-01T12:00:00Z"`},
		{"reduce, foreach, if, try and labels", `[reduce .l[] as $x (0; . + $x), ([foreach .l[] as $x (0; . + $x)] | last), (if .a > 0 then "yes" else "no" end), (try error("e") catch .), ([label $f | .l[] | ., break $f] | first)]`, `[3,3,"yes","e",1]`},
		{"destructuring", `. as {a: $a, l: [$x, $y]} | $a + $x + $y`, "4"},
		{"keys from variables", `1 as $v | {$v, "k\($v)": 2, (.s): 3}`, `{"k1":2,"text":3,"v":1}`},
		{"differences and containment", `[([1, 2, 3] - [2]), (5 - 2), ("foobar" | contains("bar")), ([1] | inside([1, 2])), ({a: [1, 2]} | contains({a: [2]}))]`, `[[1,3],3,true,true,true]`},
		{"assignments of all kinds", `.a = 5 | .l[0] |= . + 1 | .l -= [2] | .a /= 5 | .a %= 2 | .z //= 7 | [.a, .l, .z]`, `[1,[],7]`},
		{"an index by key", `[{id: 1, v: "a"}, {id: 2, v: "b"}, {id: 1, v: "c"}] | INDEX(.id) | map_values(.v)`, `{"1":"c","2":"b"}`},
		{"matches", `[("a1b2" | [scan("[0-9]")]), ("a-b" | gsub("-"; "+")), ("x=1" | capture("(?<k>.)=(?<v>.)"))]`, `[["1","2"],"a+b",{"k":"x","v":"1"}]`},
		{"all matches in a long text", `"a" * 100000 | gsub("a"; "b")`, "! more than the 65536"},
		{"filling an object entry by entry", `reduce range(100000) as $i ({}; .[$i | tostring] = 1)`, "! more than 5000000 steps"},
		{"comparing each with each", `[range(100000)] as $a | $a - $a`, "! more than 5000000 steps"},
		{"an error", `error("stop")`, "! stop"},
		{"an endless loop", "[repeat(1)] | length", "! more than 5000000 steps"},
		{"endless recursion", "[recurse(. + 1; true)] | length", "! cannot add"},
		{"recursion through the data", "[.. | numbers] | add", "4"},
		{"doubling a text", `reduce range(60) as $i ("x"; . + .)`, "! bytes on the way"},
		{"doubling by update", `{s: "x"} | reduce range(60) as $i (.; .s += .s) | .s | length`, "! bytes on the way"},
		{"doubling by add", `reduce range(60) as $i ("x"; [., .] | add)`, "! bytes on the way"},
		{"repeating a text", `"x" * 1e9`, "! bytes on the way"},
		{"a limit that the expression tries to catch", `[range(100) | try ("x" * 10000000) catch "caught"] | length`, "! bytes on the way"},
		{"a large value that shares its parts", `reduce range(40) as $i (1; [., .])`, "! larger than 1048576 bytes"},
	}
	value, err := DecodeJSON([]byte(dot))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		e, err := compileExpr(c.expr, knownInTests)
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		got, err := e.Eval(value, scope)
		failure, fails := strings.CutPrefix(c.want, "! ")
		switch {
		case fails && (err == nil || !strings.Contains(err.Error(), failure)):
			t.Errorf("%s: %s gives %s, %v", c.what, c.expr, AppendJSON(nil, got), err)
		case !fails && (err != nil || string(AppendJSON(nil, got)) != c.want):
			t.Errorf("%s: %s gives %s, %v", c.what, c.expr, AppendJSON(nil, got), err)
		}
	}
	if again := string(AppendJSON(nil, value)); again != `{"a":1,"deep":{"b c":{"d":true}},"l":[1,2],"n":null,"s":"text"}` {
		t.Errorf("an expression changed its input to %s", again)
	}
}

func TestPathsAreTakenWithoutJQ(t *testing.T) {
	for expr, plain := range map[string]bool{
		".": true, ".a": true, ".a.b": true, `."a b".c`: true, "$context": true, "$context.a.b": true, "$index.x": true,
		".a[0]": false, ".a?": false, ".[]": false, ".a | .b": false, "$unknown.a": false, "now": true, "length": false, ".a[1:]": false,
		`."a\(.b)"`: false, ".[.a]": false,
	} {
		e, err := compileExpr(expr, knownInTests)
		if err != nil {
			if expr != "$unknown.a" {
				t.Errorf("%s: %v", expr, err)
			}
			continue
		}
		if (e.path != nil) != plain {
			t.Errorf("%s: taken as a path: %v", expr, !plain)
		}
	}
}

func TestThePathThatTheTextShowsIsTheOneThatJQReads(t *testing.T) {
	for _, expr := range []string{".", ".a", ".a.b", "$context", "$context.a.b", "$index.x", "._a1.B", ".and.or", "$context.if"} {
		shown := plainPath(expr, knownInTests)
		e, err := compileJQ(expr, knownInTests)
		if err != nil || shown == nil || !reflect.DeepEqual(shown, e.path) {
			t.Errorf("%s: the text shows %+v, jq reads %+v, %v", expr, shown, e, err)
		}
	}
	for _, expr := range []string{"", "..", ".a.", ".a..b", ".1", ".a-b", "$", "$context.", "$context..a", "$ context", "$unknown", "$__now", ".ä", "a", ".a .b"} {
		if shown := plainPath(expr, knownInTests); shown != nil {
			t.Errorf("%q: the text shows %+v", expr, shown)
		}
	}
}

func FuzzExpr(f *testing.F) {
	for _, s := range []string{".a + 1", `"x\(.s)" * 2`, ".l += [1] | add", "reduce .[] as $x (0; . + $x)", "now | todate", "def f: . + 1; f", "[.[] | tojson] | join(\",\")"} {
		f.Add(s)
	}
	scope := testScope{VarContext: map[string]any{"x": 1}, VarNow: 1.5}
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "range") || strings.Contains(source, "repeat") || strings.Contains(source, "recurse") {
			return // quick inputs only
		}
		e, err := compileExpr(source, knownInTests)
		if err != nil {
			return
		}
		dot := map[string]any{"a": 1, "l": []any{1, 2}, "s": "text"}
		first, err1 := e.Eval(dot, scope)
		second, err2 := e.Eval(dot, scope)
		if (err1 == nil) != (err2 == nil) || err1 == nil && string(AppendJSON(nil, first)) != string(AppendJSON(nil, second)) {
			t.Fatalf("%s gives %v, %v and then %v, %v", source, first, err1, second, err2)
		}
		if got := string(AppendJSON(nil, dot)); got != `{"a":1,"l":[1,2],"s":"text"}` {
			t.Fatalf("%s changed its input to %s", source, got)
		}
	})
}
