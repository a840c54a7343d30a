package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// typed is what comes of a line that somebody types.
func typed(t *testing.T, words ...string) error {
	t.Helper()
	c := root()
	c.SetArgs(words)
	return c.ExecuteContext(t.Context())
}

func TestACallThatIsWrittenWrongIsToldHow(t *testing.T) {
	for line, says := range map[string]string{
		"handler call":                "weft handler call: NAME[:VERSION] is missing; write weft handler call NAME[:VERSION] [flags], or see weft handler call --help",
		"handler call a b":            `weft handler call takes no argument "b"; write weft handler call NAME[:VERSION] [flags], or see weft handler call --help`,
		"peer drain":                  "weft peer drain: SERVICE and INSTANCE are missing; write weft peer drain SERVICE INSTANCE [flags], or see weft peer drain --help",
		"peer drain shop":             "weft peer drain: INSTANCE is missing; write",
		"peer drain shop one 2 3":     `weft peer drain takes no argument "2"; write`,
		"hook apply":                  "weft hook apply: FILE is missing; write weft hook apply FILE...",
		"run list all":                `weft run list takes no argument "all"; write weft run list [flags]`,
		"module build a b":            `weft module build takes no argument "b"; write weft module build [DIR] [flags]`,
		"completion bash now":         `weft completion bash takes no argument "now"; write weft completion bash, or`,
		"run list --limit many":       `--limit "many"; write a whole number from -2147483648 to 2147483647`,
		"run list --limit=":           `--limit ""; write a whole number`,
		"run list --limit 2147483648": `--limit "2147483648"; write a whole number from -2147483648 to 2147483647`,
		"run rerun one --step -1":     `--step "-1"; write a whole number from 0 to 4294967295`,
		"run list --since yesterday":  `--since "yesterday"; write a time such as 90s, 15m or 24h`,
		"run list --json=perhaps":     `--json "perhaps"; write true or false`,
		`run list --status a"b`:       `--status "a\"b"; write words parted by commas; one that has a quote needs quotes around it`,
		"serve --limit memoryMiB":     `--limit "memoryMiB"; write NAME=NUMBER, such as memoryMiB=256`,
		"serve --limit memoryMiB=all": `--limit "memoryMiB=all"; write NAME=NUMBER, such as memoryMiB=256`,
		"serve --retain-bytes 4GiB":   `--retain-bytes "4GiB"; write a whole number`,
		"run list --limit":            "--limit has no value; write a whole number",
		"run list -o":                 "--output has no value; see weft run list --help",
		"run list --nothing":          "weft run list has no flag --nothing; see weft run list --help",
		"event dlq drop group -17":    "weft event dlq drop has no flag -1; see weft event dlq drop --help",
		"run list --=1":               "--=1 is no flag; write --NAME or --NAME=VALUE, and see weft run list --help",
	} {
		err := typed(t, strings.Fields(line)...)
		if exitCode(err) != 2 || !strings.HasPrefix(explain(err), says) {
			t.Errorf("weft %s: exits with %d and says %v", line, exitCode(err), err)
		}
	}
}

// A new flag takes its words from values too.
func TestNoFlagIsToldOfInTheWordsOfALibrary(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.InheritedFlags()
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if kind := f.Value.Type(); kind == "string" || kind == "stringArray" {
				return
			}
			err := typed(t, append(strings.Fields(c.CommandPath())[1:], "--"+f.Name+`=a"b`)...)
			if want := "--" + f.Name + ` "a\"b"; write ` + values[f.Value.Type()]; exitCode(err) != 2 || values[f.Value.Type()] == "" || explain(err) != want {
				t.Errorf("%s --%s: %v", c.CommandPath(), f.Name, err)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root())
}
