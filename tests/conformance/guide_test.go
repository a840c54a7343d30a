package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftrun/weft/workflows"
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
