package workflows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// Bounds of a source.
const (
	SourceMax = 256 << 10 // bytes
	NodesMax  = 20_000    // lists, mappings and values in them
	NestMax   = 200       // lists and mappings inside each other
)

// node is one piece of the source with its place. Line and column count from 1.
type node struct {
	kind         nodeKind
	value        any // of a scalar
	line, column int
	pairs        []pair
	items        []*node
	made         any // what plain gave for a list or a mapping, or nil
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

// plain is n as a value of expressions. Nobody changes it: the document and
// each task inside each other share what they have in common.
func (n *node) plain() any {
	switch {
	case n.made != nil:
	case n.kind == isList:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.plain()
		}
		n.made = list
	case n.kind == isMap:
		m := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			m[p.key] = p.value.plain()
		}
		n.made = m
	default:
		return n.value
	}
	return n.made
}

// readYAML reads the one document of src. It gives nil when the text is no
// YAML or uses what the language leaves out: anchors, tags, merge keys, more
// than one document.
func readYAML(src []byte, report func(line, column int, key, message, hint string)) *node {
	return (&yamlReader{report: report, ok: true}).document(src)
}

type yamlReader struct {
	report  func(line, column int, key, message, hint string)
	aliases bool // are followed: each counts as all that it stands for
	ok      bool
	nodes   int
}

func (r *yamlReader) document(src []byte) *node {
	report := r.report
	switch {
	case len(src) > SourceMax:
		report(1, 1, "", fmt.Sprintf("the text has %d bytes, more than %d", len(src), SourceMax), "split it into several workflows")
		return nil
	case !utf8.Valid(src):
		report(1, 1, "", "the text is not UTF-8", "save it as UTF-8")
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(src), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(NestMax))))
	if err != nil {
		report(1, 1, "", "this is not YAML: "+err.Error(), "")
		return nil
	}
	var document, second yaml.Node
	if err := loader.Load(&document); err != nil {
		if errors.Is(err, io.EOF) {
			report(1, 1, "", "the text is empty", "start with document: { dsl: '1.0.3', namespace: ..., name: ..., version: ... }")
		} else {
			reportSyntax(src, err, report)
		}
		return nil
	}
	if err := loader.Load(&second); err == nil {
		report(second.Line, second.Column, "", "a second document", "put each workflow into a file of its own")
		return nil
	} else if !errors.Is(err, io.EOF) {
		reportSyntax(src, err, report)
		return nil
	}
	root := r.read(document.Content[0])
	if !r.ok {
		return nil
	}
	return root
}

func (r *yamlReader) read(n *yaml.Node) *node {
	out := &node{line: n.Line, column: n.Column}
	if r.nodes++; r.nodes == NodesMax {
		r.refuse(n, fmt.Sprintf("the text has more than %d keys and values", NodesMax), "split it into several workflows")
	}
	if r.nodes >= NodesMax {
		return out
	}
	const otherwise = "write the value out, quote it if it is text, or name it once under use:"
	switch {
	case n.Kind == yaml.AliasNode && r.aliases:
		return r.read(n.Alias)
	case n.Anchor != "" && n.Kind != yaml.AliasNode && !r.aliases:
		r.refuse(n, "anchors (&) are not part of the language", otherwise)
	case n.Style&yaml.TaggedStyle != 0 || n.Tag == "!":
		r.refuse(n, "tags (!) are not part of the language", otherwise)
	case n.Kind == yaml.AliasNode:
		r.refuse(n, "aliases (*) are not part of the language", otherwise)
	case n.Kind == yaml.MappingNode:
		r.mapping(out, n.Content)
	case n.Kind == yaml.SequenceNode:
		out.kind = isList
		out.items = make([]*node, len(n.Content))
		for i, item := range n.Content {
			out.items[i] = r.read(item)
		}
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		out.kind, out.value = isString, n.Value
	default:
		out.kind, out.value = plainScalar(n.Value)
	}
	return out
}

func (r *yamlReader) refuse(n *yaml.Node, message, hint string) {
	r.report(n.Line, n.Column, "", message, hint)
	r.ok = false
}

// mapping reads keys and values in turn.
func (r *yamlReader) mapping(out *node, content []*yaml.Node) {
	out.kind = isMap
	out.pairs = make([]pair, 0, len(content)/2)
	lines := make(map[string]int, len(content)/2)
	for i := 0; i < len(content); i += 2 {
		k, v := content[i], content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			r.refuse(k, "a key must be text", "inside { } and [ ] an expression needs quotes: '${ .id }'")
		case k.Tag == "!!merge":
			r.refuse(k, "the merge key << is not part of the language", "write the keys out")
		case lines[k.Value] > 0:
			r.refuse(k, fmt.Sprintf("the key %s is here twice, first at line %d", k.Value, lines[k.Value]), "keep one of them")
		}
		lines[k.Value] = k.Line
		out.pairs = append(out.pairs, pair{key: k.Value, line: k.Line, column: k.Column, value: r.read(v)})
	}
}

var (
	wholeForm = regexp.MustCompile(`^[-+]?[0-9]+$`)
	floatForm = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// plainScalar resolves a scalar without quotes as the core schema of YAML 1.2 does.
func plainScalar(text string) (nodeKind, any) {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return isNull, nil
	case "true", "True", "TRUE":
		return isBool, true
	case "false", "False", "FALSE":
		return isBool, false
	}
	switch {
	case !strings.Contains("+-.0123456789", text[:1]): // most are words
	case wholeForm.MatchString(text):
		return isNumber, wholeNumber(text)
	case floatForm.MatchString(text):
		f, _ := strconv.ParseFloat(text, 64)
		return isNumber, f
	}
	return isString, text
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
