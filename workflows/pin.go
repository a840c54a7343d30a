package workflows

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/weftrun/weft"
)

// Pin asks resolve for the one handler that each reference means and gives
// the definition that names those in full, in its Source too; every other
// byte of the source stays. Its error is Problems, one for each reference
// that resolve refused.
func (d *Definition) Pin(resolve func(HandlerUse) (weft.Ref, error)) (*Definition, error) {
	var problems Problems
	lines := bytes.SplitAfter(d.source, []byte("\n"))
	fail := func(h handlerUse, err error, hint string) {
		problems = append(problems, Problem{
			File: d.file, Line: h.Line, Column: h.Column, Key: "call",
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
		line, err := replaced(lines[h.Line-1], h, ref.String())
		if err != nil {
			fail(h, err, "write the reference on one line, without escapes")
			continue
		}
		lines[h.Line-1] = line
	}
	if problems != nil {
		return nil, problems.sorted()
	}
	return Parse(d.file, bytes.Join(lines, nil))
}

// replaced is line with another reference at the place of h.
func replaced(line []byte, h handlerUse, ref string) ([]byte, error) {
	at := 0
	for range h.Column - 1 {
		_, size := utf8.DecodeRune(line[at:])
		at += size
	}
	if at < len(line) && (line[at] == '\'' || line[at] == '"') {
		at++
	}
	if !strings.HasPrefix(string(line[at:]), h.written) {
		return nil, errors.New("it cannot be pinned here")
	}
	return []byte(string(line[:at]) + ref + string(line[at+len(h.written):])), nil
}
