package host_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftrun/weft/host"
)

// What a workflow has elsewhere comes through the gate: from a private address
// only where that is allowed by name.
func TestTheGateStandsBeforeWhatIsElsewhere(t *testing.T) {
	asked := 0
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, `{ "required": [ "id" ] }`)
	}))
	defer far.Close()
	flow := `{"file":"far.yaml","source":` + quoted(`document: { dsl: '1.0.3', namespace: test, name: far, version: '1.0.0' }
input: { schema: { resource: { endpoint: `+far.URL+`/order.json } } }
do: [ { a: { set: { x: 1 } } } ]
`) + `}`
	name := strings.TrimPrefix(far.URL, "http://")

	closed := serve(t, host.Options{})
	answer := strings.ReplaceAll(closed.must("/weft.v1.WorkflowService/Apply", flow), ", ", ",")
	for _, want := range []string{`"file":"far.yaml","line":2,"column":42`, far.URL + "/order.json cannot be fetched: ", name + " is not a public address", "allow it by name: weft dev --http-allow " + name} {
		if !strings.Contains(answer, want) {
			t.Errorf("%s does not say %s", answer, want)
		}
	}
	if asked > 0 {
		t.Error("it was asked")
	}

	open := serve(t, host.Options{HTTPAllow: []string{name}})
	open.must("/weft.v1.WorkflowService/Apply", flow)
	far.Close()
	if answer := open.must("/weft.v1.RunService/Start", `{"workflow":"far","wait":true,"input":{}}`); !strings.Contains(answer, "/input/schema") {
		t.Error(answer)
	}
}
