package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docs/OPERATIONS.md names every flag of the server and of all commands, with
// its variable and its default.
func TestOperationsNamesEveryFlag(t *testing.T) {
	for _, name := range []string{"WEFT_LISTEN", "WEFT_DB", "WEFT_CACHE", "WEFT_ZONE", "WEFT_SERVER", "WEFT_NAMESPACE"} {
		t.Setenv(name, "")
	}
	doc, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	check := func(f *pflag.Flag) {
		row := regexp.MustCompile("(?m)^\\|[^|]*`--" + f.Name + "`.*$").FindString(string(doc))
		if row == "" {
			t.Errorf("--%s has no row", f.Name)
			return
		}
		if v := regexp.MustCompile(`WEFT_[A-Z]+`).FindString(f.Usage); !strings.Contains(row, v) {
			t.Errorf("--%s: the row does not name %s", f.Name, v)
		}
		if d := f.DefValue; d != "false" && d != "[]" && !strings.Contains(row, d) {
			t.Errorf("--%s: the row does not name the default %s", f.Name, d)
		}
	}
	c := root()
	c.PersistentFlags().VisitAll(check)
	for _, name := range []string{"dev", "serve"} {
		sub, _, err := c.Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		sub.LocalNonPersistentFlags().VisitAll(check)
	}
}

// Every command's help has an example of it, with flags that it has.
func TestEveryCommandHasAnExample(t *testing.T) {
	seen := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Hidden || c.Name() == "help" || c.HasParent() && c.Parent().Name() == "completion" {
			return
		}
		seen[c.CommandPath()] = true
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: the example is %q", c.CommandPath(), c.Example)
		}
		if err := c.ParseFlags(strings.Fields(c.Example)); err != nil {
			t.Errorf("%s: the example %q: %v", c.CommandPath(), c.Example, err)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	c := root()
	walk(c)
	for name := range examples {
		if !seen[name] {
			t.Errorf("there is an example of %s, which is no command", name)
		}
	}
}
