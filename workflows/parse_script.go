package workflows

import (
	"bytes"
	"fmt"
	"strings"
)

// ScriptMax bounds the code of one script, in bytes.
const ScriptMax = 64 << 10

// Script is a program in JavaScript. Its Arguments, Environment and Stdin may
// be nil.
type Script struct {
	Code        string // an ECMAScript module
	Arguments   *Template
	Environment *Template
	Stdin       *Template
	Return      Return
}

// Return says what the output of a script is.
type Return int

// The outputs of a script. ReturnNone is null; with ReturnCode and ReturnAll an
// exit code that is not 0 is an answer, else it is an error.
const (
	ReturnStdout Return = iota
	ReturnStderr
	ReturnCode
	ReturnAll
	ReturnNone
)

var returns = []string{"stdout", "stderr", "code", "all", "none"}

// ScriptUse is one script in a definition.
type ScriptUse struct {
	Code         string
	file         string // that it stands in; a resource may be the code as a whole
	line, column int    // of the code
	whole        bool   // the code is all of the file
}

// Scripts lists the scripts of the workflow, in order of position.
func (d *Definition) Scripts() []ScriptUse { return d.scripts }

// ScriptProblem is what is wrong in the code of a script at a line and column of
// it, which count from 1. Where the source shows that line as it is, the problem
// stands there.
func (d *Definition) ScriptProblem(s ScriptUse, line, column int, message string) Problem {
	p := Problem{File: s.file, Line: s.line, Column: s.column, Key: "code", Message: message}
	if s.whole {
		p.Line, p.Column = max(line, 1), max(column, 1)
		return p
	}
	code := strings.Split(s.Code, "\n")
	if line < 1 || line > len(code) {
		return p
	}
	source := bytes.Split(d.textOf(s.file), []byte("\n"))
	for _, at := range []int{s.line + line, s.line + line - 1} { // below the mark of a block, or beside the key
		if at > len(source) {
			continue
		}
		text := strings.TrimSuffix(string(source[at-1]), "\r")
		if indent, ok := strings.CutSuffix(text, code[line-1]); ok && strings.TrimSpace(code[line-1]) != "" && strings.Trim(indent, " ") == "" {
			p.Line, p.Column = at, len(indent)+max(column, 1)
			return p
		}
	}
	p.Message = fmt.Sprintf("line %d of the code: %s", line, message)
	return p
}

var refusedWithScript = map[string]string{
	"container": refusedProcesses["container"],
	"shell":     refusedProcesses["shell"],
	"workflow":  "make two tasks of it",
}

// scriptHints are what to do instead.
var scriptHints = map[string]string{
	"python": "write it in js, or upload a handler and call that: there is no Python in the sandbox",
	"await":  "leave it out: a script reaches nothing but its output, so one that nobody waits for does nothing",
}

func (p *parser) script(t *Task, head *node) {
	t.Kind, t.Script = KindScript, &Script{}
	p.fields(head, "run", []string{"script", "await", "return"}, refusedWithScript)
	t.Script.Return = Return(p.oneOf(head.get("return"), "run.return", returns...))
	if a := head.get("await"); a != nil {
		if await, ok := a.value.(bool); !ok {
			p.wrong(a, "await", "write true, or leave it out", "run.await must be a boolean, not %s", a.kind)
		} else if !await {
			p.wrong(a, "await", scriptHints["await"], "await: false of run.script does not run")
		}
	}
	n := head.get("script")
	known := []string{"language", "code", "source", "arguments", "environment", "stdin"}
	if !p.fields(n, "run.script", known, nil) || !p.require(n, "run.script", "language") {
		return
	}
	p.language(n.get("language"))
	p.code(t.Script, n)
	p.given(t.Script, n)
}

func (p *parser) language(n *node) {
	switch s := p.text(n, "run.script.language"); {
	case n.kind != isString || s == "js" || s == "javascript":
	case strings.HasPrefix(s, "python"):
		p.wrong(n, "language", scriptHints["python"], "language %s of run.script does not run", s)
	default:
		p.wrong(n, "language", "write js, for JavaScript", "language %q of run.script does not run", s)
	}
}

func (p *parser) code(s *Script, n *node) {
	code, source := n.get("code"), n.get("source")
	switch {
	case code != nil && source != nil:
		p.wrong(source, "source", "keep one of them", "run.script has both code and source")
	case source != nil:
		if uri, text, ok := p.external(source, "run.script.source"); ok {
			p.in(uri, func() { p.program(s, &node{kind: isString, value: text, line: 1, column: 1}, true) })
		}
	case p.require(n, "run.script", "code"):
		if p.text(code, "run.script.code"); code.kind == isString {
			p.program(s, code, false)
		}
	}
}

// program takes the code of a script, which may be a resource as a whole.
func (p *parser) program(s *Script, code *node, whole bool) {
	s.Code, _ = code.value.(string)
	switch {
	case strings.TrimSpace(s.Code) == "":
		p.wrong(code, "code", "write what the script does", "run.script.code is empty")
	case len(s.Code) > ScriptMax:
		p.wrong(code, "code", "upload what is so large as a handler, and call it", "run.script.code has %d bytes, the limit is %d", len(s.Code), ScriptMax)
	default:
		p.def.scripts = append(p.def.scripts, ScriptUse{s.Code, p.file, code.line, code.column, whole})
	}
}

// given reads what the script is given.
func (p *parser) given(s *Script, n *node) {
	if in := n.get("stdin"); in != nil {
		p.text(in, "run.script.stdin")
		s.Stdin = p.template(in, "run.script.stdin", inTask)
	}
	if args := n.get("arguments"); args != nil {
		if args.kind != isList {
			p.wrong(args, "arguments", "write - and one argument a line", "run.script.arguments must be a list, not %s", args.kind)
			return
		}
		for _, a := range args.items {
			p.text(a, "an argument of run.script")
		}
		s.Arguments = p.template(args, "run.script.arguments", inTask)
	}
	if env := n.get("environment"); env != nil {
		if env.kind != isMap {
			p.wrong(env, "environment", "write NAME: value", "run.script.environment must be a mapping, not %s", env.kind)
			return
		}
		s.Environment = p.template(env, "run.script.environment", inTask)
	}
}
