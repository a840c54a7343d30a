package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

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
