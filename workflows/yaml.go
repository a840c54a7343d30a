package workflows

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	yamlparser "github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a source.
const (
	SourceMax = 256 << 10 // bytes
	TokensMax = 40_000    // words, marks and quoted texts
	NestMax   = 100       // levels of [ ] and { }, and columns of indentation by two
)

// node is one piece of the source with its place. Line and column count from 1.
type node struct {
	kind         nodeKind
	value        any // of a scalar
	line, column int
	pairs        []pair
	items        []*node
}

type pair struct {
	key          string
	line, column int
	value        *node
}

type nodeKind int

const (
	isNull nodeKind = iota
	isBool
	isNumber
	isString
	isList
	isMap
)

var kindNames = [...]string{"nothing", "a boolean", "a number", "a string", "a list", "a mapping"}

func (k nodeKind) String() string { return kindNames[k] }

// get is the value of key, or nil.
func (n *node) get(key string) *node {
	for _, p := range n.pairs {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

// plain is n as a value of expressions.
func (n *node) plain() any {
	switch n.kind {
	case isList:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.plain()
		}
		return list
	case isMap:
		m := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			m[p.key] = p.value.plain()
		}
		return m
	}
	return n.value
}

// readYAML reads the one document of src. It gives nil when the text is no
// YAML or uses what the language leaves out: anchors, tags, merge keys,
// directives, more than one document.
func readYAML(src []byte, report func(line, column int, key, message, hint string)) *node {
	switch {
	case len(src) > SourceMax:
		report(1, 1, "", fmt.Sprintf("the text has %d bytes, more than %d", len(src), SourceMax), "split it into several workflows")
		return nil
	case !utf8.Valid(src):
		report(1, 1, "", "the text is not UTF-8", "")
		return nil
	}
	tokens := lexer.Tokenize(strings.ReplaceAll(string(src), "\r\n", "\n"))
	if !checkTokens(tokens, report) {
		return nil
	}
	file, err := yamlparser.Parse(tokens, 0)
	if err != nil {
		reportSyntax(err, report)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			at := doc.Body.GetToken().Position
			report(at.Line, at.Column, "", "a second document", "put each workflow into a file of its own")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		report(1, 1, "", "the text is empty", "start with document: { dsl: '1.0.3', namespace: ..., name: ..., version: ... }")
		return nil
	}
	r := yamlReader{report: report, ok: true}
	root := r.read(body)
	if !r.ok {
		return nil
	}
	return root
}

var leftOut = map[token.Type]string{
	token.AnchorType:     "anchors (&) are",
	token.AliasType:      "aliases (*) are",
	token.TagType:        "tags (!) are",
	token.MergeKeyType:   "the merge key << is",
	token.DirectiveType:  "directives (%) are",
	token.MappingKeyType: "the key mark ? is",
}

// checkTokens refuses what the language leaves out, and nesting so deep that
// the parser would take long over it.
func checkTokens(tokens token.Tokens, report func(line, column int, key, message, hint string)) bool {
	flow := 0
	for i, t := range tokens {
		at := t.Position
		if i == TokensMax {
			report(at.Line, at.Column, "", fmt.Sprintf("the text has more than %d words", TokensMax), "split it into several workflows")
			return false
		}
		if what, ok := leftOut[t.Type]; ok {
			report(at.Line, at.Column, "", what+" not part of the language", "write the value out, quote it if it is text, or name it once under use:")
			return false
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			if flow == 0 && at.Column > 2*NestMax {
				flow = NestMax + 1
			}
		}
		if flow > NestMax {
			report(at.Line, at.Column, "", fmt.Sprintf("nested deeper than %d levels", NestMax), "")
			return false
		}
	}
	return true
}

func reportSyntax(err error, report func(line, column int, key, message, hint string)) {
	var se *yaml.SyntaxError
	if !errors.As(err, &se) || se.Token == nil {
		report(1, 1, "", "this is not YAML", "")
		return
	}
	hint := ""
	switch {
	case strings.Contains(se.Message, "must be specified"), strings.Contains(se.Message, "end token"):
		hint = "inside { } and [ ] an expression needs quotes: '${ .id }'"
	case strings.Contains(se.Message, "mapping value is not allowed"):
		hint = "a value with ': ' in it needs quotes"
	}
	at := se.Token.Position
	report(at.Line, max(at.Column, 1), "", "this is not YAML: "+se.Message, hint)
}

type yamlReader struct {
	report func(line, column int, key, message, hint string)
	ok     bool
	depth  int
}

func (r *yamlReader) read(n ast.Node) *node {
	at := n.GetToken().Position
	if r.depth++; r.depth > 2*NestMax {
		r.refuse(at, fmt.Sprintf("nested deeper than %d levels", 2*NestMax))
		return &node{line: at.Line, column: at.Column}
	}
	defer func() { r.depth-- }()
	out := &node{line: at.Line, column: max(at.Column, 1)}
	switch n := n.(type) {
	case *ast.MappingNode:
		r.mapping(out, n.Values)
		if n.IsFlowStyle {
			out.line, out.column = at.Line, at.Column
		}
	case *ast.MappingValueNode:
		r.mapping(out, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		out.kind = isList
		for _, item := range n.Values {
			out.items = append(out.items, r.read(item))
		}
	case *ast.LiteralNode:
		out.kind, out.value = isString, n.Value.Value
	case *ast.StringNode:
		r.scalar(out, n.Token, n.Value)
	case *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		t := n.GetToken()
		r.scalar(out, t, t.Value)
	default:
		r.refuse(at, fmt.Sprintf("%s is not part of the language", n.Type()))
	}
	return out
}

func (r *yamlReader) refuse(at *token.Position, message string) {
	r.report(at.Line, max(at.Column, 1), "", message, "")
	r.ok = false
}

func (r *yamlReader) mapping(out *node, values []*ast.MappingValueNode) {
	out.kind = isMap
	seen := make(map[string]bool, len(values))
	for i, v := range values {
		at := v.Key.GetToken().Position
		if i == 0 {
			out.line, out.column = at.Line, at.Column
		}
		key := v.Key.GetToken().Value
		if seen[key] {
			r.refuse(at, fmt.Sprintf("the key %s is given twice", key))
		}
		seen[key] = true
		out.pairs = append(out.pairs, pair{key: key, line: at.Line, column: at.Column, value: r.read(v.Value)})
	}
}

var (
	wholeForm = regexp.MustCompile(`^[-+]?[0-9]+$`)
	floatForm = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// scalar resolves a plain scalar as the core schema of YAML 1.2 does.
func (r *yamlReader) scalar(out *node, t *token.Token, text string) {
	out.kind, out.value = isString, text
	if t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType {
		return
	}
	switch text {
	case "", "~", "null", "Null", "NULL":
		out.kind, out.value = isNull, nil
	case "true", "True", "TRUE":
		out.kind, out.value = isBool, true
	case "false", "False", "FALSE":
		out.kind, out.value = isBool, false
	}
	switch {
	case wholeForm.MatchString(text):
		out.kind, out.value = isNumber, wholeNumber(text)
	case floatForm.MatchString(text):
		f, _ := strconv.ParseFloat(text, 64)
		out.kind, out.value = isNumber, f
	}
}

func wholeNumber(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	if len(text) > JSONDigitsMax {
		f, _ := strconv.ParseFloat(text, 64)
		return f
	}
	n, _ := new(big.Int).SetString(strings.TrimPrefix(text, "+"), 10)
	return n
}
