package examples_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weftrun/weft/workflows/trial"
)

// Every case of tests/ passes, also with a crash behind every journal entry,
// and every example has a case.
func TestTheTestsOfTheExamplesPass(t *testing.T) {
	files, err := filepath.Glob("tests/*.test.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	tested := map[string]bool{}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		test, err := trial.Parse(file, src, func(name string) ([]byte, error) {
			return os.ReadFile(filepath.Join("tests", name))
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range test.Cases {
			o := c.Run(true)
			for _, failure := range o.Failures {
				t.Errorf("%s: %s: %s", file, c.Name, failure)
			}
			if o.Crashes < 2 {
				t.Errorf("%s: %s: %d crashes", file, c.Name, o.Crashes)
			}
			tested[o.Runs[0].Workflow] = true
		}
	}
	examples, err := filepath.Glob("*.yaml")
	if err != nil || len(tested) != len(examples) {
		t.Errorf("of %d examples %d are tested: %v %v", len(examples), len(tested), tested, err)
	}
}
