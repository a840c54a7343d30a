package workflows

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// reportSyntax says in the words of the author what the reader of YAML did
// not like, and what was probably meant.
func reportSyntax(src []byte, err error, report func(line, column int, key, message, hint string)) {
	var e *yaml.LoadError
	if !errors.As(err, &e) || e.Mark.Line == 0 {
		report(1, 1, "", "this is not YAML: "+err.Error(), "")
		return
	}
	at := e.Mark
	message, hint := e.Message, ""
	line := lineOf(src, at.Line)
	switch {
	case strings.HasPrefix(message, "exceeded max depth"):
		message = fmt.Sprintf("nested deeper than %d levels", NestMax)
	case strings.Contains(message, "cannot start any token"):
		message, hint = misplaced(line, at.Column)
	case strings.Contains(message, "did not find expected ',' or"):
		if message = "a comma or " + message[len(message)-3:] + " is missing here"; strings.Contains(line, "${") {
			hint = "inside { } and [ ] an expression needs quotes: '${ .id }'"
		} else if at.Line > e.ContextMark.Line && e.ContextMark.Line > 0 {
			message += fmt.Sprintf(": the bracket of line %d, column %d is not closed", e.ContextMark.Line, e.ContextMark.Column)
			hint = "close it, or put commas between what stands in it"
		}
	case strings.Contains(message, "mapping values are not allowed"):
		message, hint = "a second key where a value stands", "a value with ': ' in it needs quotes; a key begins on a line of its own, in the same column as its neighbours"
	case strings.Contains(message, "did not find expected key"), strings.Contains(message, "did not find expected '-'"):
		message, hint = outOfLine(e, line)
	case strings.Contains(message, "could not find expected ':'"):
		at = e.ContextMark
		message, hint = "a key without ': ' after it", "write key: value, with a space after the colon"
	case strings.Contains(message, "unexpected end of stream") && e.ContextMark.Line > 0:
		at = e.ContextMark
		message, hint = "this quote is never closed", "a quote inside single quotes is written twice: 'it''s'"
	case strings.Contains(message, "incompatible YAML"), strings.Contains(message, "directive"):
		message, hint = "directives (%) are not part of the language", "leave it out"
	case strings.Contains(message, "unknown escape"):
		message, hint = "no such escape in double quotes", `single quotes take a \ as it is`
	case strings.Contains(message, "block sequence entries are not allowed"):
		message, hint = "a list begins on a line of its own", "put - on the next line, or write [ ... ]"
	case strings.Contains(message, "did not find expected node content") && at.Index >= len(src):
		message, hint = "the text ends inside a bracket", "close it with ] or }"
	case strings.Contains(message, "did not find expected node content"):
		message, hint = "a value is missing here", "a text that begins with , ] or } needs quotes"
	case strings.Contains(message, "document start"):
		message, hint = "the text goes on where its one mapping has ended", "begin it with keys: document: ... and do: ..."
	}
	report(max(at.Line, 1), max(at.Column, 1), "", "this is not YAML: "+message, hint)
}

// misplaced is about a character that no value begins with.
func misplaced(line string, column int) (message, hint string) {
	c := charAt(line, column)
	if c == '\t' {
		return "a tab cannot indent", "use spaces"
	}
	return fmt.Sprintf("no value begins with %c", c), "put it in quotes"
}

// outOfLine is about a line that fits neither what stands above it nor what is around that.
func outOfLine(e *yaml.LoadError, line string) (message, hint string) {
	if strings.ContainsRune("]}", charAt(line, e.Mark.Column)) {
		return "a bracket that closes nothing", "leave it out, or open it"
	}
	what := "keys"
	if strings.Contains(e.Message, "'-'") {
		what = "list"
	}
	return fmt.Sprintf("this line does not fit the indentation of the %s above, which began at line %d, column %d", what, e.ContextMark.Line, e.ContextMark.Column),
		"begin neighbours in the same column"
}

// charAt is the character in a column, or a space where there is none.
func charAt(line string, column int) rune {
	if runes := []rune(line); column > 0 && column <= len(runes) {
		return runes[column-1]
	}
	return ' '
}

// lineOf is a line of the text, without its end.
func lineOf(src []byte, n int) string {
	for range n - 1 {
		_, rest, found := bytes.Cut(src, []byte("\n"))
		if !found {
			return ""
		}
		src = rest
	}
	line, _, _ := bytes.Cut(src, []byte("\n"))
	return string(line)
}
