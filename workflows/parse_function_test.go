package workflows

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// The schema of a function is compiled once, so that its patterns count once.
func TestManyCallsOfAFunctionWithAPattern(t *testing.T) {
	calls := ""
	for i := range 500 {
		calls += fmt.Sprintf("  - c%d: { call: f }\n", i)
	}
	if _, err := Parse("flow.yaml", []byte(header+"use: { functions: { f: { set: { a: 1 }, input: { schema: { document: { pattern: 'a{900}' } } } } } }\ndo:\n"+calls)); err != nil {
		t.Error(err)
	}
}

// A handler in a function is pinned once, however often the function is called.
func TestPinInAFunction(t *testing.T) {
	def, err := Parse("flow.yaml", []byte(header+`use: { functions: { pay: { call: charge } } }
do: [ { a: { call: pay } }, { b: { call: pay, with: { n: 1 } } } ]
`))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(def.Handlers()); n != 1 {
		t.Errorf("%d handlers are to be pinned", n)
	}
	pinned, err := def.Pin(func(HandlerUse) (weft.Ref, error) { return weft.ParseRef("charge:2.0.1@default") })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(pinned.Source()), "pay: { call: charge:2.0.1@default } }") {
		t.Errorf("pinned as\n%s", pinned.Source())
	}
	var pointers []string
	for _, task := range pinned.Tasks() {
		if pointers = append(pointers, task.Pointer); task.Kind == KindCall && task.Call.Handler.Version != "2.0.1" {
			t.Errorf("%s calls %s", task.Pointer, task.Call.Handler)
		}
	}
	if got := strings.Join(pointers, " "); got != "/do/0/a /use/functions/pay /do/1/b /use/functions/pay" {
		t.Errorf("the tasks are %s", got)
	}
}
