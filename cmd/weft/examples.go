package main

import "github.com/spf13/cobra"

// examples of every command, for its --help.
var examples = map[string]string{
	"weft":                   "weft dev",
	"weft dev":               "weft dev --watch bin/guests --watch workflows/examples",
	"weft serve":             "weft serve --listen 127.0.0.1:8787 --db /var/lib/weft/weft.db",
	"weft completion":        "source <(weft completion bash)",
	"weft module":            "weft module list",
	"weft module new":        "weft module new --lang go greeter\n  weft module new --proto orders.proto orders",
	"weft module generate":   "weft module generate greeter",
	"weft module build":      "weft module build greeter",
	"weft module inspect":    "weft module inspect greeter/greeter.wasm",
	"weft module run":        `weft module run greeter/greeter.wasm --input '{"name":"Ada"}'`,
	"weft module push":       "weft module push order.wasm --grant",
	"weft module list":       "weft module list -o json",
	"weft module show":       "weft module show order:1.0.0",
	"weft module promote":    "weft module promote order:1.0.0",
	"weft module rm":         "weft module rm order:1.0.0",
	"weft module grant":      "weft module grant order",
	"weft handler":           "weft handler list",
	"weft handler call":      `weft handler call points --input '{"customer":"ada"}'`,
	"weft handler list":      "weft handler list -o yaml",
	"weft service":           "weft service list",
	"weft service list":      "weft service list",
	"weft service describe":  "weft service describe shop.v1.OrderService",
	"weft workflow":          "weft workflow list",
	"weft workflow apply":    "weft workflow apply workflows/examples",
	"weft workflow validate": "weft workflow validate place-order.yaml",
	"weft workflow graph":    "weft workflow graph place-order.yaml >place-order.svg",
	"weft workflow show":     "weft workflow show place-order:1",
	"weft workflow list":     "weft workflow list",
	"weft test":              "weft test --crash-everywhere workflows/examples/tests",
	"weft run":               "weft run list",
	"weft run start":         "weft run start place-order --input @order.json --follow",
	"weft run list":          "weft run list --status parked,running --workflow place-order",
	"weft run describe":      "weft run describe 01JB2Q5V7W8X9Y0Z1A2B3C4D5E",
	"weft run watch":         "weft run watch 01JB2Q5V7W8X9Y0Z1A2B3C4D5E",
	"weft run pause":         "weft run pause 01JB2Q5V7W8X9Y0Z1A2B3C4D5E --reason stocktaking",
	"weft run resume":        "weft run resume 01JB2Q5V7W8X9Y0Z1A2B3C4D5E",
	"weft run rerun":         "weft run rerun 01JB2Q5V7W8X9Y0Z1A2B3C4D5E --step 3",
	"weft run cancel":        "weft run cancel 01JB2Q5V7W8X9Y0Z1A2B3C4D5E --reason refunded",
	"weft event":             "weft event tail",
	"weft event publish":     `weft event publish --type shop.order.placed --data '{"orderId":"A-1"}' --delay 10s`,
	"weft event tail":        "weft event tail --all -o json",
	"weft event dlq":         "weft event dlq list",
	"weft event dlq list":    "weft event dlq list --group 'handler notify shop.*'",
	"weft event dlq replay":  "weft event dlq replay 'handler notify shop.*' 17",
	"weft event dlq drop":    "weft event dlq drop 'handler notify shop.*' 17",
	"weft hook":              "weft hook list",
	"weft hook apply":        "weft hook apply hooks.yaml",
	"weft hook list":         "weft hook list",
	"weft hook describe":     "weft hook describe github",
	"weft hook rm":           "weft hook rm github",
	"weft peer":              "weft peer list",
	"weft peer register":     "weft peer register payments --url http://127.0.0.1:9000",
	"weft peer list":         "weft peer list",
	"weft peer drain":        "weft peer drain payments one",
	"weft peer rm":           "weft peer rm payments one",
	"weft peer policy":       "weft peer policy show",
	"weft peer policy apply": "weft peer policy apply policies.yaml",
	"weft peer policy show":  "weft peer policy show >policies.yaml",
	"weft lab":               "weft lab breaker",
	"weft lab breaker":       "weft lab breaker --svg thresholds.svg",
	"weft breaker":           "weft breaker list",
	"weft breaker set":       "weft breaker set payments --failures 2 --open 10s",
	"weft breaker list":      "weft breaker list",
	"weft breaker watch":     "weft breaker watch",
	"weft breaker open":      "weft breaker open payments",
	"weft breaker close":     "weft breaker close payments",
	"weft breaker reset":     "weft breaker reset payments",
}

// dress gives c and all below it their examples and what completes their arguments.
func dress(c *cobra.Command, words map[string]completion) {
	if e := examples[c.CommandPath()]; e != "" {
		c.Example = "  " + e
	}
	c.ValidArgsFunction = words[c.CommandPath()]
	for _, sub := range c.Commands() {
		dress(sub, words)
	}
}
