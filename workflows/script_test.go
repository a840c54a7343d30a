package workflows

import (
	"strings"
	"testing"
)

func TestScripts(t *testing.T) {
	const head = "document: { dsl: '1.0.3', namespace: a, name: b, version: '1.0.0' }\ndo:\n"
	for _, c := range []struct{ name, text, want string }{
		{"a script needs no more than a language and code", "  - s: { run: { script: { language: js, code: '1' } } }", ""},
		{"it may be called JavaScript, be awaited and return anything", "  - s: { run: { await: true, return: all, script: { language: javascript, code: '1', arguments: [ a, '${ .b }' ], environment: { A: 1 }, stdin: '${ . }' } } }", ""},
		{"its ${ } are its own", "  - s: { run: { script: { language: js, code: 'console.log(`${ 1 }`)' } } }", ""},
		{"Python does not run", "  - s: { run: { script: { language: python, code: '1' } } }",
			"f.yaml:3:37: language python of run.script does not run; write it in js, or upload a handler and call that: there is no Python in the sandbox"},
		{"no other language runs", "  - s: { run: { script: { language: ruby, code: '1' } } }",
			`f.yaml:3:37: language "ruby" of run.script does not run; write js, for JavaScript`},
		{"a language is not guessed", "  - s: { run: { script: { code: '1' } } }", "f.yaml:3:25: run.script needs the key language; add language:"},
		{"what it does must be there", "  - s: { run: { script: { language: js } } }", "f.yaml:3:25: run.script needs the key code; add code:"},
		{"what it does is not nothing", "  - s: { run: { script: { language: js, code: ' ' } } }", "f.yaml:3:47: run.script.code is empty; write what the script does"},
		{"it stands in one place", "  - s: { run: { script: { language: js, code: '1', source: { endpoint: 'https://a.example/s.js' } } } }",
			"f.yaml:3:60: run.script has both code and source; keep one of them"},
		{"it is awaited", "  - s: { run: { await: false, script: { language: js, code: '1' } } }",
			"f.yaml:3:24: await: false of run.script does not run; leave it out: a script reaches nothing but its output, so one that nobody waits for does nothing"},
		{"arguments are a list", "  - s: { run: { script: { language: js, code: '1', arguments: { a: 1 } } } }",
			"f.yaml:3:63: run.script.arguments must be a list, not a mapping; write - and one argument a line"},
		{"arguments are strings", "  - s: { run: { script: { language: js, code: '1', arguments: [ 1 ] } } }",
			"f.yaml:3:65: an argument of run.script must be a string, not a number; put it in quotes"},
		{"the environment is a mapping", "  - s: { run: { script: { language: js, code: '1', environment: [ A ] } } }",
			"f.yaml:3:65: run.script.environment must be a mapping, not a list; write NAME: value"},
		{"what it returns has a name", "  - s: { run: { return: stduot, script: { language: js, code: '1' } } }",
			`f.yaml:3:25: run.return is "stduot"; did you mean stdout?`},
		{"a slip in a key is told", "  - s: { run: { script: { language: js, code: '1', argument: [ a ] } } }",
			"f.yaml:3:52: run.script has no key argument; did you mean arguments?"},
		{"a task runs one thing", "  - s: { run: { workflow: { namespace: a, name: b, version: '1.0.0' }, script: { language: js, code: '1' } } }",
			"f.yaml:3:17: workflow of run does not run; make two tasks of it"},
		{"no wrong expression is left for later", "  - s: { run: { script: { language: js, code: '1', stdin: '${ $nothing }' } } }",
			"f.yaml:3:59: run.script.stdin: $nothing is not known here; known here are $context, $input, $runtime, $secrets, $task, $workflow"},
		{"a script is no program", "  - s: { run: { script: { language: js, code: '" + strings.Repeat("x", ScriptMax+1) + "' } } }",
			"f.yaml:3:47: run.script.code has 65537 bytes, the limit is 65536; upload what is so large as a handler, and call it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(head+c.text))
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// What is wrong in a script stands where its line is in the YAML, if that shows
// it as it is.
func TestScriptProblem(t *testing.T) {
	const head = "document: { dsl: '1.0.3', namespace: a, name: b, version: '1.0.0' }\ndo:\n  - s:\n      run:\n        script:\n          language: js\n"
	for _, c := range []struct {
		name, text   string
		line, column int
		want         string
	}{
		{"a block", "          code: |\n            a\n              b ;\n", 2, 5, "f.yaml:9:17: wrong"},
		{"a block with a comment and a mark", "          code: |- # why\n            a\n\n            b\n", 3, 1, "f.yaml:10:13: wrong"},
		{"a block with Windows' line ends", "          code: |\r\n            a\r\n            b\r\n", 2, 1, "f.yaml:9:13: wrong"},
		{"a folded block whose lines are others", "          code: >\n            a\n            b\n\n            c\n", 1, 3, "f.yaml:7:17: line 1 of the code: wrong"},
		{"a text in quotes", "          code: 'a b'\n", 1, 3, "f.yaml:7:17: line 1 of the code: wrong"},
		{"a line that is not there", "          code: |\n            a\n", 7, 3, "f.yaml:7:17: wrong"},
		{"no line", "          code: |\n            a\n", 0, 0, "f.yaml:7:17: wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			def, err := Parse("f.yaml", []byte(head+c.text))
			if err != nil || len(def.Scripts()) != 1 {
				t.Fatal(err)
			}
			if got := def.ScriptProblem(def.Scripts()[0], c.line, c.column, "wrong").Error(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
