package workflows

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostileTextsAreReadQuickly gives Parse texts of full size that would
// take a careless parser minutes.
func TestHostileTextsAreReadQuickly(t *testing.T) {
	full := func(s string) string { return strings.Repeat(s, SourceMax/len(s)) }
	texts := map[string]string{
		"open lists":          full("["),
		"open mappings":       full("{a: "),
		"lists in a line":     full("- "),
		"key marks":           full("? "),
		"empty mappings":      full("{}"),
		"closed brackets":     full("}"),
		"comments":            full("#\n"),
		"one key again":       full("a: b\n"),
		"anchors":             full("&a "),
		"directives":          full("%"),
		"documents":           full("---\n"),
		"quotes":              full("'"),
		"colons":              full(":"),
		"block marks":         full("|"),
		"tags":                full("! "),
		"commas":              "[" + full(","),
		"many keys":           manyKeys(),
		"deep blocks":         deepBlocks(),
		"one long expression": header + "do: [ { a: { set: { x: '${ " + strings.Repeat("[", 100_000) + " }' } } } ]",
		"a long sum":          header + "do: [ { a: { set: { x: '${ 1" + strings.Repeat("+1", 100_000) + " }' } } } ]",
		"many sums":           header + "do: [ { a: { set: { x: 1, " + strings.Repeat("y: '${ 1"+strings.Repeat("+1", 240)+" }'", 1) + " } } } ]" + full("'"),
		"brackets that close": header + full("# ]\n[\n"),
		"flow in flow":        strings.Repeat("[", 99) + full("{a: 1},"),
		"tabs":                full("\t"),
		"carriage returns":    full("\r"),
		"spaces":              full(" "),
		"long key":            full("a") + ": 1",
		"quoted lines":        "'" + full("\n"),
		"many problems":       header + "do:\n" + full("  - a: { stt: 1 }\n"),
		"strings in a list":   "[" + full("'',"),
		"double quotes":       full(`"a" `),
		"folded":              "a: >\n" + full(" a\n\n"),
		"large patterns":      header + "do: [ { a: { set: { x: 1 }, input: { schema: { document: { allOf: [ " + strings.Repeat("{ pattern: 'a{1000}' }, ", 8000) + "] } } } } } ]",
		"doubling functions":  header + "use: { functions: { f0: { set: { a: 1 } }" + doublingFunctions() + " } }\ndo: [ { a: { call: f400 } } ]",
		"literal indents":     "a: |\n" + deepBlocks(),
	}
	for name, text := range texts {
		text = text[:min(len(text), SourceMax)]
		started := time.Now()
		_, err := Parse("hostile", []byte(text))
		took := time.Since(started)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if took > time.Minute { // on a machine that has much else to do
			t.Errorf("%s: took %v", name, took)
		} else if took > 500*time.Millisecond {
			t.Logf("%s: took %v", name, took)
		}
	}
}

func manyKeys() string {
	var b strings.Builder
	for i := 0; b.Len() < SourceMax-20; i++ {
		b.WriteString("k")
		for n := i; n > 0; n /= 26 {
			b.WriteByte(byte('a' + n%26))
		}
		b.WriteString(": 1\n")
	}
	return b.String()
}

func deepBlocks() string {
	var b strings.Builder
	for i := 0; b.Len() < SourceMax-1000; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// doublingFunctions are functions that each call the one before twice.
func doublingFunctions() string {
	var b strings.Builder
	for i := range 400 {
		fmt.Fprintf(&b, ", f%d: { do: [ { a: { call: f%d } }, { b: { call: f%d } } ] }", i+1, i, i)
	}
	return b.String()
}
