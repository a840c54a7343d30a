package host_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weftrun/weft/host"
)

// scrape asks for metrics as Prometheus does.
func (s *served) scrape() (text string, families map[string]*dto.MetricFamily) {
	s.t.Helper()
	q, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.url+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	status, text := s.do(h1(s.t), q)
	if status != http.StatusOK {
		s.t.Fatalf("%d %s", status, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if families, err = parser.TextToMetricFamilies(strings.NewReader(text)); err != nil {
		s.t.Fatal(err)
	}
	return text, families
}

// busied is a host on which a bit of everything has happened: calls that went
// well and that failed, a trap, a breaker by hand, and a run.
func busied(t *testing.T) *served {
	var sick atomic.Bool
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(peer.Close)
	s := serve(t, host.Options{})
	s.deploy("")
	s.must("/weft.v1.RegistryService/Register", `{"service":"peer","instance":"one","url":"`+peer.URL+`"}`)
	for range 2 {
		s.must("/handlers/ask", `{}`)
	}
	s.ask("/handlers/boom", `{}`)
	sick.Store(true)
	s.ask("/handlers/ask", `{}`)
	s.must("/weft.v1.BreakerService/Open", `{"peer":"peer"}`)
	s.ask("/handlers/ask", `{}`)
	s.must("/weft.v1.WorkflowService/Apply", `{"file":"hello.yaml","source":"document: {dsl: '1.0.3', namespace: shop, name: hello, version: 1.0.0}\ndo: [{a: {set: {x: 1}}}]\n"}`)
	s.must("/weft.v1.RunService/Start", `{"workflow":"shop/hello","wait":true}`)
	s.must("/weft.v1.HookService/ApplyHooks", `{"source":"hooks: [{name: github, scheme: github, secret: s}]"}`)
	s.ask("/hooks/github", `{}`)
	s.ask("/hooks/nobody", `{}`)
	return s
}

func TestMetricsTellWhatHasHappened(t *testing.T) {
	text, _ := busied(t).scrape()
	for what, line := range map[string]string{
		"a webhook without signature":  `weft_hook_calls_total{hook="github",namespace="default",outcome="refused"} 1`,
		"a webhook that there is not":  `weft_hook_calls_unknown_total 1`,
		"calls that went well":         `weft_peer_attempts_total{namespace="default",outcome="ok",peer="peer"} 2`,
		"calls that failed":            `weft_peer_attempts_total{namespace="default",outcome="failed",peer="peer"} 3`,
		"retries":                      `weft_peer_retries_total{namespace="default",peer="peer"} 2`,
		"calls refused by the breaker": `weft_peer_attempts_total{namespace="default",outcome="open",peer="peer"} 1`,
		"calls of the peer":            `weft_peer_calls_total{namespace="default",peer="peer"} 4`,
		"the state of the breaker":     `weft_breaker_state{instance="one",namespace="default",peer="peer"} 1`,
		"the transition":               `weft_breaker_transitions_total{namespace="default",peer="peer",to="open"} 1`,
		"the peer and the host itself": `weft_registry_instances{status="active"} 2`,
		"a run that was started":       `weft_runs_started_total 1`,
		"and has ended":                `weft_runs_ended_total{status="completed"} 1`,
		"a sound database":             `weft_store_broken 0`,
		"nothing left out":             `weft_metrics_left_out{what="peers"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%s: no line %s", what, line)
		}
	}
	for what, start := range map[string]string{
		"the calls of a module": `weft_module_calls_total{digest="`,
		"its trap":              `weft_module_traps_total{digest="`,
		"each of its limits":    `weft_module_limits_total{digest="`,
		"Go":                    `go_goroutines `,
		"the process":           `process_resident_memory_bytes `,
		"whose memory it is":    `weft_share_used{namespace="default",of="memory_bytes"} `,
	} {
		if !strings.Contains(text, "\n"+start) {
			t.Errorf("%s: no line that begins with %s", what, start)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestTheSameModuleInTwoNamespacesIsTwoSeries(t *testing.T) {
	s := serve(t, host.Options{})
	for ns, calls := range map[string]int{"default": 1, "tenant": 2} {
		s.deploy(ns)
		for range calls {
			s.ask("/handlers/echo", `{}`, "Weft-Namespace", ns)
		}
	}
	_, families := s.scrape()
	got := map[string]float64{}
	for _, m := range families["weft_module_calls_total"].GetMetric() {
		l := map[string]string{}
		for _, pair := range m.GetLabel() {
			l[pair.GetName()] = pair.GetValue()
		}
		got[l["namespace"]+" "+l["module"]] = m.GetCounter().GetValue()
	}
	if got["default guest:1.0.0"] != 1 || got["tenant guest:1.0.0"] != 2 {
		t.Errorf("got %v", got)
	}
}

func TestMetricsKeepToTheConventionsOfPrometheus(t *testing.T) {
	text, _ := busied(t).scrape()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The table of docs/OPERATIONS.md has each metric, with its kind and labels, and no other.
func TestTheTableOfMetricsIsWhatAHostTells(t *testing.T) {
	doc, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	var written []string
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "| `weft_") {
			cells := strings.Split(strings.ReplaceAll(line, "`", ""), "|")
			labels := strings.Fields(cells[3])
			slices.Sort(labels)
			written = append(written, strings.Join(append([]string{strings.TrimSpace(cells[1]), strings.TrimSpace(cells[2])}, labels...), " "))
		}
	}
	_, families := busied(t).scrape()
	var told []string
	for name, f := range families {
		if strings.HasPrefix(name, "weft_") {
			row := []string{name, strings.ToLower(f.GetType().String())}
			for _, l := range f.GetMetric()[0].GetLabel() { // by name
				row = append(row, l.GetName())
			}
			told = append(told, strings.Join(row, " "))
		}
	}
	for _, row := range told {
		if !slices.Contains(written, row) {
			t.Errorf("a host tells %q, which is not in the table", row)
		}
	}
	for _, row := range written {
		if !slices.Contains(told, row) {
			t.Errorf("the table has %q, which a host does not tell", row)
		}
	}
}
