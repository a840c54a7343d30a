package workflows

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/weftrun/weft"
)

// Pin asks resolve for the one handler that each reference means and gives
// the definition that names those in full, in its Source too; every other
// byte stays, of the source and of its Resources. Its error is Problems, one for
// each reference that resolve refused.
func (d *Definition) Pin(resolve func(HandlerUse) (weft.Ref, error)) (*Definition, error) {
	var problems Problems
	texts := map[string][][]byte{}
	fail := func(h handlerUse, err error, hint string) {
		problems = append(problems, Problem{
			File: h.File, Line: h.Line, Column: h.Column, Key: "call",
			Message: fmt.Sprintf("handler %s: %s", h.Ref, err), Hint: hint,
		})
	}
	for i := len(d.handlers) - 1; i >= 0; i-- { // from the end, so that columns stay true
		h := d.handlers[i]
		ref, err := resolve(h.HandlerUse)
		if err != nil {
			fail(h, err, "")
			continue
		}
		lines := texts[h.File]
		if lines == nil {
			lines = bytes.SplitAfter(d.textOf(h.File), []byte("\n"))
			texts[h.File] = lines
		}
		line, err := replaced(lines[h.Line-1], h.Column, h.written, ref.String())
		if err != nil {
			fail(h, err, "write the reference on one line, without escapes")
			continue
		}
		lines[h.Line-1] = line
	}
	if problems != nil {
		return nil, problems.sorted()
	}
	source, resources := d.source, maps.Clone(d.resources)
	for file, lines := range texts {
		if _, elsewhere := resources[file]; elsewhere {
			resources[file] = string(bytes.Join(lines, nil))
		} else {
			source = bytes.Join(lines, nil)
		}
	}
	return ParseWith(d.file, source, resources)
}

// WithVersion is the text of a workflow with another document.version.
func WithVersion(file string, src []byte, version string) ([]byte, error) {
	def, err := Parse(file, src)
	if err != nil {
		return nil, err
	}
	v := readYAML(src, func(int, int, string, string, string) {}).get("document").get("version")
	lines := bytes.SplitAfter(src, []byte("\n"))
	line, err := replaced(lines[v.line-1], v.column, def.version, version)
	if err != nil {
		return nil, Problems{{File: file, Line: v.line, Column: v.column, Key: "version", Message: "version " + def.version + ": " + err.Error(), Hint: "write it on one line, without escapes"}}
	}
	lines[v.line-1] = line
	return bytes.Join(lines, nil), nil
}

// replaced is line with another text at a column, where written stands.
func replaced(line []byte, column int, written, text string) ([]byte, error) {
	at := 0
	for range column - 1 {
		_, size := utf8.DecodeRune(line[at:])
		at += size
	}
	if at < len(line) && (line[at] == '\'' || line[at] == '"') {
		at++
	}
	if !strings.HasPrefix(string(line[at:]), written) {
		return nil, errors.New("it cannot be replaced here")
	}
	return []byte(string(line[:at]) + text + string(line[at+len(written):])), nil
}
