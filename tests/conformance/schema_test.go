package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weftrun/weft/workflows"
)

var mutantsMax = flag.Int("mutants", 2000, "mutants of TestSchemaAgrees")

// narrower are the reasons for which Parse refuses what the schema takes: it
// does not run, or it is wrong in a way that a schema cannot see. Any other is
// a disagreement.
var narrower = []struct {
	class string
	form  *regexp.Regexp
}{
	{"does not run", regexp.MustCompile(`(?:does not|that) runs?|only the strict mode runs|in jq only|there is no catalog|is not a handler reference|must be fixed|takes fixed values only`)},
	{"leads nowhere", regexp.MustCompile(`there is no task|use\.\w+ has no|is here twice|is a word of then|a second case without when|needs schedule\.on|no run yet`)},
	{"bad expression", regexp.MustCompile(`this is not jq|is not known here|jq has no function|text around \$\{ \}|text without an expression|is never closed|= assigns|no value|is no name for a variable|no name for a variable|has a meaning already`)},
	{"bad JSON Schema", regexp.MustCompile(`there is no type|is no pattern|refers to itself|nothing else is loaded|must name keys|\.format is`)},
	{"bad form", regexp.MustCompile(`is no ISO 8601 duration|years and months|ten years|below zero|is no URI|is not a variable|endpoint is|call is|is no function of|is no attribute|specversion|whole number|is empty|document\.\w+ is|version is|name is|namespace is|method is`)},
	{"stricter about keys and values", regexp.MustCompile(`has no key|must be a|needs the key|must be one name|does nothing|has both|must have either|must name one|takes no settings`)},
}

// TestSchemaAgrees holds Parse against the official schema, on the examples
// and on mutants of them: what Parse takes must be valid, what is not valid
// must be refused, and what is refused although it is valid must be so for a
// reason that is known.
func TestSchemaAgrees(t *testing.T) {
	schema := compile(t)
	files, err := filepath.Glob("openworkflow/examples/*.yaml")
	if err != nil || len(files) < 60 {
		t.Fatal(len(files), err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	count := map[string]int{}
	disagreed := 0
	judge := func(name string, doc any) {
		text, err := json.Marshal(doc) // JSON is YAML
		if err != nil {
			t.Fatal(err)
		}
		_, refusal := workflows.Parse(name, text)
		why, ok := verdict(schema.Validate(doc), refusal)
		count[why]++
		if !ok {
			disagreed++
			if disagreed <= 25 {
				t.Errorf("%s: %s: %v\n%s", name, why, refusal, text)
			}
		}
	}
	var docs []any
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc := load(t, text)
		judge(filepath.Base(file), doc)
		docs = append(docs, doc)
	}
	for n := range *mutantsMax {
		doc := mutate(r, clone(docs[r.IntN(len(docs))]))
		judge(fmt.Sprintf("mutant %d", n), doc)
	}
	t.Logf("mutants %d, mutants_disagreed %d, %v", *mutantsMax, disagreed, count)
}

// verdict says how the two stand to each other, and whether that is as it must be.
func verdict(invalid, refusal error) (string, bool) {
	switch {
	case invalid == nil && refusal == nil:
		return "both take it", true
	case invalid != nil && refusal != nil:
		return "both refuse it", true
	case invalid != nil:
		return "taken although the schema refuses it: " + firstLine(invalid), false
	}
	for _, n := range narrower {
		if n.form.MatchString(refusal.Error()) {
			return "narrower: " + n.class, true
		}
	}
	return "refused although the schema takes it", false
}

func firstLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", " ")
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("openworkflow/schema/workflow.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.UseRegexpEngine(func(form string) (jsonschema.Regexp, error) {
		re, err := regexp2.Compile(form, regexp2.ECMAScript)
		return pattern{re}, err
	})
	if err := c.AddResource("workflow.yaml", load(t, text)); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("workflow.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// pattern is a form with look-aheads, which Go's own do not have.
type pattern struct{ *regexp2.Regexp }

func (p pattern) MatchString(s string) bool {
	ok, err := p.Regexp.MatchString(s)
	return ok && err == nil
}

func load(t *testing.T, text []byte) any {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = clone(e)
		}
		return list
	}
	return v
}
