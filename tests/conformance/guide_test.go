package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
	"github.com/weftrun/weft/workflows/trial"
)

// modeline is what editors read: the schema that a YAML file keeps to.
var modeline = regexp.MustCompile(`(?m)^ *# yaml-language-server: \$schema=(\S+)$`)

// The examples name the schema under the address that it has given itself, and keep to it.
func TestExamplesNameTheirSchema(t *testing.T) {
	text, err := os.ReadFile("openworkflow/schema/workflow.yaml")
	if err != nil {
		t.Fatal(err)
	}
	id, _ := load(t, text).(map[string]any)["$id"].(string)
	schema := compile(t)
	files, err := filepath.Glob("../../workflows/examples/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../../docs/WORKFLOWS.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		named := modeline.FindSubmatch(text)
		if named == nil || string(named[1]) != id || !strings.HasPrefix(id, "https://") {
			t.Errorf("%s names the schema %s and not %s", file, named, id)
		}
		if filepath.Ext(file) != ".yaml" {
			continue
		}
		if err := schema.Validate(load(t, text)); err != nil {
			t.Errorf("%s: %s", file, firstLine(err))
		}
		if _, err := workflows.Parse(file, text); err != nil {
			t.Error(err)
		}
	}
}

// constructs are the keys of the language that run: the guide has an example of each.
const constructs = "document dsl namespace name version title input from output as export do set switch when then if raise error errors type status title detail " +
	"for each in at while fork branches compete try catch with exceptWhen retry retries delay backoff exponential linear limit attempt count duration jitter to " +
	"wait timeout timeouts after call method endpoint uri query headers body authentication authentications basic bearer digest document operationId parameters " +
	"emit event data listen one any all until read foreach item correlate expect run workflow await schedule cron every on use metadata weft park " +
	"functions secrets extensions extend before schema proto service arguments oidc oauth2 authority grant client script language code stdin environment resource source catalogs"

// Each example of docs/WORKFLOWS.md keeps to the official schema and is run by
// the test that follows it, also with a crash behind every journal entry. One
// that begins without document: has the usual one.
func TestEveryExampleOfTheGuideRuns(t *testing.T) {
	const page, usual = "../../docs/WORKFLOWS.md", "document: { dsl: '1.0.3', namespace: guide, name: example, version: '1.0.0' }\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	schema := compile(t)
	shown := ""
	var flows []block
	for _, b := range blocks(t, string(text)) {
		switch b.kind {
		case "yaml":
			shown += b.text
			if !regexp.MustCompile(`(?m)^document:`).MatchString(b.text) {
				b.text = usual + b.text
			}
			if err := schema.Validate(load(t, []byte(b.text))); err != nil {
				t.Errorf("%s:%d: %s", page, b.line, firstLine(err))
			}
			flows = append(flows, b)
		case "yaml test":
			runExamples(t, page, flows, b)
			flows = nil
		}
	}
	for _, b := range flows {
		t.Errorf("%s:%d: no test follows the example", page, b.line)
	}
	for _, key := range strings.Fields(constructs) {
		if !regexp.MustCompile(`[\s{]` + key + `:`).MatchString(shown) {
			t.Errorf("%s has no example of %s", page, key)
		}
	}
}

// block is one fenced block of the page.
type block struct {
	line       int
	kind, text string
}

func blocks(t *testing.T, page string) []block {
	t.Helper()
	var all []block
	open := false
	for i, line := range strings.Split(page, "\n") {
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			all, open = append(all, block{line: i + 1, kind: kind}), true
		case fence:
			open = false
		case open:
			all[len(all)-1].text += line + "\n"
		case strings.HasPrefix(line, "    "):
			t.Errorf("line %d is code outside of a fence, which nothing runs: %s", i+1, line)
		}
	}
	return all
}

func runExamples(t *testing.T, page string, flows []block, b block) {
	t.Helper()
	names := make([]string, len(flows))
	for i := range flows {
		names[i] = strconv.Itoa(i)
	}
	if len(flows) > 0 {
		b.text = "workflows: ['" + strings.Join(names, "', '") + "']\n" + b.text
	}
	test, err := trial.Parse(fmt.Sprintf("%s:%d", page, b.line), []byte(b.text), func(name string) ([]byte, error) {
		if i, err := strconv.Atoi(name); err == nil {
			return []byte(flows[i].text), nil
		}
		return os.ReadFile(filepath.Join("../../workflows/examples/tests", name))
	})
	if err != nil {
		t.Error(err)
		return
	}
	test.RunScripts(func(c machine.Command) machine.Entry { return engine.RunScript(t.Context(), scripts, "", c) })
	for _, c := range test.Cases {
		for _, failure := range c.Run(true).Failures {
			t.Errorf("%s:%d: %s: %s", page, b.line, c.Name, failure)
		}
	}
}

// Two readers of YAML, by different authors, read the same in every text that
// there is: the one of weft, and the one of these tests.
func TestTwoReadersOfYAMLAgree(t *testing.T) {
	texts := map[string]string{}
	for _, dir := range []string{"openworkflow/examples", "../../workflows/examples", "../../workflows/examples/tests"} {
		files, err := filepath.Glob(dir + "/*.yaml")
		if err != nil || len(files) < 3 {
			t.Fatal(files, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts[file] = string(text)
		}
	}
	page, err := os.ReadFile("../../docs/WORKFLOWS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(t, string(page)) {
		if strings.HasPrefix(b.kind, "yaml") {
			texts[fmt.Sprintf("line %d of the guide", b.line)] = b.text
		}
	}
	for name, text := range texts {
		tree, err := workflows.ReadTree(name, []byte(text))
		if err != nil {
			t.Error(err)
			continue
		}
		if ours, theirs := tree.Value(), load(t, []byte(text)); !workflows.Equal(ours, theirs) {
			t.Errorf("%s is\n%s\nand not\n%s", name, workflows.AppendJSON(nil, ours), workflows.AppendJSON(nil, theirs))
		}
	}
}
