package workflows

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

var update = flag.Bool("update", false, "write what Parse says into testdata")

// refusedMin is how many wrong workflows are kept with what Parse says of them.
const refusedMin = 100

// TestRefused runs testdata/refused.txt and mistakes.txt: a title after ===, a
// source, a line ---, and every problem that Parse finds in it.
func TestRefused(t *testing.T) {
	titles := map[string]bool{}
	for _, file := range []string{"testdata/refused.txt", "testdata/mistakes.txt"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, c := range strings.Split("\n"+string(text), "\n=== ")[1:] {
			title, rest, _ := strings.Cut(c, "\n")
			source, want, _ := strings.Cut(rest, "\n---\n")
			if titles[title] {
				t.Errorf("%s is here twice", title)
			}
			got := "accepted"
			if _, err := Parse("flow.yaml", []byte(source+"\n")); err != nil {
				got, titles[title] = err.Error(), true
			}
			suggests(t, title, got)
			fmt.Fprintf(&out, "=== %s\n%s\n---\n%s\n\n", title, source, got)
			if got != strings.TrimSpace(want) && !*update {
				t.Errorf("%s:\n%s\nis answered by\n%s\nnot by\n%s", title, source, got, strings.TrimSpace(want))
			}
		}
		if *update {
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(titles) < refusedMin {
		t.Errorf("%d wrong workflows, fewer than %d", len(titles), refusedMin)
	}
}

// suggestion is what a message has for people to do.
var suggestion = regexp.MustCompile(`; |\?$|: (?:use|give|end|choose|write) |: it depends on the host: use |with \$secrets write `)

// suggests wants each message to say what to do, or another one of the same
// workflow to say it where the wrong key stands.
func suggests(t *testing.T, title, got string) {
	for _, line := range strings.Split(got, "\n") {
		_, message, _ := strings.Cut(line, ": ")
		if got == "accepted" || suggestion.MatchString(message) {
			continue
		}
		if _, key, missing := strings.Cut(line, " needs the key "); missing && strings.Contains(got, "; write "+key) {
			continue
		}
		t.Errorf("%s: this suggests nothing: %s", title, line)
	}
}

// The examples of the specification, and what each one uses that does not run.
var specExamples = map[string]string{
	"call-asyncapi-publish":                           "call asyncapi",
	"call-asyncapi-subscribe-consume-amount":          "call asyncapi",
	"call-asyncapi-subscribe-consume-forever-foreach": "call asyncapi",
	"call-asyncapi-subscribe-consume-until":           "call asyncapi",
	"call-asyncapi-subscribe-consume-while":           "call asyncapi",
	"call-grpc":                                       "a file",
	"call-mcp":                                        "call mcp",
	"run-container":                                   "run",
	"run-container-cleanup-always":                    "run",
	"run-container-cleanup-eventually":                "run",
	"run-container-stdin-and-arguments":               "run",
	"run-container-with-name":                         "run",
	"run-container-with-pull-policy":                  "run",
	"run-return-all":                                  "run",
	"run-return-code":                                 "run",
	"run-return-none":                                 "run",
	"run-return-stderr":                               "run",
	"run-shell-stdin-and-arguments":                   "run",
}

func TestSpecificationExamples(t *testing.T) {
	const dir = "../tests/conformance/openworkflow"
	files, err := filepath.Glob(filepath.Join(dir, "examples", "*.yaml"))
	if err != nil || len(files) < 60 {
		t.Fatalf("%d examples in %s: %v", len(files), dir, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Parse(name, source)
		why, refused := specExamples[name]
		if refused != (err != nil) {
			t.Errorf("%s: expected refusal %q, got %v", name, why, err)
		}
		for _, word := range strings.Split(why, ", ") {
			key := word[strings.LastIndexAny(word, " .")+1:]
			if refused && err != nil && !strings.Contains(err.Error(), key) {
				t.Errorf("%s: the refusal does not name %s: %v", name, key, err)
			}
		}
	}
	invalid, err := filepath.Glob(filepath.Join(dir, "schema", "invalid-fixtures", "*.yaml"))
	if err != nil || len(invalid) < 3 {
		t.Fatalf("%d invalid fixtures in %s: %v", len(invalid), dir, err)
	}
	for _, file := range invalid {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(file, source); err == nil {
			t.Errorf("%s is accepted", file)
		}
	}
}

const header = "document: { dsl: '1.0.3', namespace: shop, name: place-order, version: '1.0.0', title: Place an order }\n"

func parsed(t *testing.T, source string) *Definition {
	t.Helper()
	d, err := Parse("flow.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDefinitionTellsWhatItNeeds(t *testing.T) {
	d := parsed(t, header+`
schedule:
  on: { any: [ { with: { type: order.placed } }, { with: { type: order.changed, source: /shop } } ] }
do:
  - one: { call: b:2 }
  - two:
      metadata: { weft: { park: PT1H }, other: 1 }
      do:
        - in: { call: a }
        - deep: { call: c:1.0.0@default, metadata: { weft: { park: { minutes: 5 } } } }
  - wait: { listen: { to: { one: { with: { type: paid } } } } }
  - any: { listen: { to: { any: [] } } }
`)
	namespace, name, version := d.ID()
	if namespace != "shop" || name != "place-order" || version != "1.0.0" || d.Title() != "Place an order" {
		t.Errorf("it is called %s %s %s %q", namespace, name, version, d.Title())
	}
	var uses []string
	for _, h := range d.Handlers() {
		uses = append(uses, fmt.Sprintf("%s %d:%d %s", h.Ref, h.Line, h.Column, h.Pointer))
	}
	want := []string{"b:2@default 6:18 /do/0/one", "a@default 10:23 /do/1/two/do/0/in", "c:1.0.0@default 11:25 /do/1/two/do/1/deep"}
	if strings.Join(uses, ", ") != strings.Join(want, ", ") {
		t.Errorf("it calls %v", uses)
	}
	if got := fmt.Sprint(d.Listens()); got != "[paid ]" {
		t.Errorf("it listens to %q", got)
	}
	parks := map[string]time.Duration{}
	for _, task := range d.Tasks() {
		parks[task.Name] = task.ParkMax
	}
	if parks["one"] != ParkDefault || parks["in"] != time.Hour || parks["deep"] != 5*time.Minute || d.ParkMax() != ParkDefault {
		t.Errorf("parks are %v", parks)
	}
	for i, task := range d.Tasks() {
		if task.Index != i {
			t.Errorf("task %s has index %d at %d", task.Name, task.Index, i)
		}
	}
}

func TestTriggersMatch(t *testing.T) {
	d := parsed(t, header+`
schedule:
  on: { any: [ { with: { type: order.placed, data: '${ .total > 10 }' } }, { with: { type: '${ startswith("gift.") }', source: /shop } } ] }
  read: envelope
do: [ { x: { set: { a: 1 } } } ]
`)
	cases := []struct {
		name  string
		event weft.Event
		want  bool
	}{
		{"the type and the data fit", weft.Event{Type: "order.placed", Data: []byte(`{"total":11}`)}, true},
		{"the data does not fit", weft.Event{Type: "order.placed", Data: []byte(`{"total":9}`)}, false},
		{"the data is no JSON", weft.Event{Type: "order.placed", Data: []byte(`{`)}, false},
		{"another type", weft.Event{Type: "order.changed", Data: []byte(`{"total":11}`)}, false},
		{"an expression on the type", weft.Event{Type: "gift.sent", Source: "/shop"}, true},
		{"another source", weft.Event{Type: "gift.sent", Source: "/other"}, false},
	}
	for _, c := range cases {
		got := false
		for _, f := range d.Triggers() {
			ok, err := f.Match(c.event)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			got = got || ok
		}
		if got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	input, err := d.TriggerInput(weft.Event{ID: "1", Source: "/shop", Type: "gift.sent", Data: []byte(`{"a": 1}`)})
	if want := `[{"data":{"a":1},"id":"1","source":"/shop","specversion":"1.0","type":"gift.sent"}]`; err != nil || string(input) != want {
		t.Errorf("the input is %s, %v", input, err)
	}
}

func TestWithVersionKeepsEveryOtherByte(t *testing.T) {
	for _, source := range []string{
		"document: { dsl: '1.0.3', namespace: n, title: größe, name: a, version: '1.0.3' } # 1.0.3\r\ndo:\n  - b: { set: { c: 1.0.3 } }\n",
		"document: { dsl: 1.0.3, namespace: n, name: a, version: \"1.0.3\" }\ndo:\n  - b: { set: { c: 1 } }\n",
		"# übersicht\ndocument:\n  dsl: '1.0.3'\n  version: 1.0.3\n  namespace: n\n  name: a\ndo:\n  - version: { set: { c: 1.0.3 } }\n",
	} {
		text, err := WithVersion("a.yaml", []byte(source), "20.0.0")
		if err != nil {
			t.Fatalf("%v in\n%s", err, source)
		}
		d := parsed(t, string(text))
		if _, _, version := d.ID(); version != "20.0.0" || strings.Count(string(text), "1.0.3") != strings.Count(source, "1.0.3")-1 || len(text) != len(source)+1 {
			t.Errorf("the text is\n%s", text)
		}
	}
	if _, err := WithVersion("a.yaml", []byte("document: {}\n"), "2.0.0"); err == nil {
		t.Error("what is no workflow has got a version")
	}
}

func TestPinKeepsEveryOtherByte(t *testing.T) {
	source := "# übersicht\r\n" + header + `do:
  - 'größe': { call: 'charge', with: { a: 1 } } # charge
  - b: {call:   "ship:2"  , if: '${ true }'}
  - c:
      do:
        - d:
            call: pack:1.4.0@default
        - e: { call: charge:1 }
`
	d := parsed(t, source)
	versions := map[string]string{"charge": "2.0.1", "ship": "2.10.0", "pack": "1.4.0"}
	pinned, err := d.Pin(func(h HandlerUse) (weft.Ref, error) {
		r := h.Ref
		r.Version = versions[r.Name]
		return r, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(
		"'charge'", "'charge:2.0.1@default'", `"ship:2"`, `"ship:2.10.0@default"`, "charge:1 }", "charge:2.0.1@default }",
	).Replace(source)
	if string(pinned.Source()) != want {
		t.Errorf("the source is\n%s\nnot\n%s", pinned.Source(), want)
	}
	for _, h := range pinned.Handlers() {
		if h.Ref.Version != versions[h.Ref.Name] {
			t.Errorf("%s is not pinned", h.Ref)
		}
	}
	again, err := pinned.Pin(func(h HandlerUse) (weft.Ref, error) { return h.Ref, nil })
	if err != nil || string(again.Source()) != want {
		t.Errorf("pinning twice changes the source: %v", err)
	}
}

func TestPinReportsEveryHandlerThatIsMissing(t *testing.T) {
	d := parsed(t, header+"do:\n  - a: { call: charge }\n  - b: { call: ship:2 }\n  - c: { call: pack }\n")
	_, err := d.Pin(func(h HandlerUse) (weft.Ref, error) {
		if h.Ref.Name == "pack" {
			return h.Ref, nil
		}
		return h.Ref, weft.Errorf(weft.NotFound, "test", "no such handler").WithHint("push its module first")
	})
	want := "flow.yaml:3:16: handler charge@default: no such handler; push its module first\n" +
		"flow.yaml:4:16: handler ship:2@default: no such handler; push its module first"
	if err == nil || err.Error() != want {
		t.Errorf("the problems are\n%v\nnot\n%s", err, want)
	}
}

func TestParseDuration(t *testing.T) {
	cases := map[string]time.Duration{
		"PT30S": 30 * time.Second, "PT1H30M": 90 * time.Minute, "P1D": 24 * time.Hour, "P2W": 14 * 24 * time.Hour,
		"PT0.5S": 500 * time.Millisecond, "P1DT1S": 24*time.Hour + time.Second, "PT0S": 0,
		"": -1, "P": -1, "PT": -1, "30s": -1, "P1Y": -1, "P1M": -1, "-PT1S": -1, "P4000D": -1, "PT1": -1, "P1DT": -1,
		"PT99999999999999999999H": -1, "soon": -1, "PTNaNS": -1, "PT1e3S": -1,
	}
	for text, want := range cases {
		got, err := ParseDuration(text)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

func TestStandardErrorTypesHaveOneForm(t *testing.T) {
	for _, same := range []string{
		"https://open-workflow-specification.org/spec/1.0.0/errors/communication",
		"https://open-workflow-specification.org/dsl/errors/types/communication",
		"https://serverlessworkflow.io/spec/1.0.0/errors/communication",
		"https://serverlessworkflow.io/dsl/errors/types/communication",
		"https://serverlessworkflow.io/errors/communication",
	} {
		if got := NormalErrorType(same); got != CommunicationError {
			t.Errorf("%s is %s", same, got)
		}
	}
	if got := NormalErrorType("https://shop.example/errors/communication"); got == CommunicationError {
		t.Error("an error of a shop became a standard one")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header + "do: [ { a: { set: { x: '${ .y }' } } } ]"))
	f.Add([]byte(header + "do:\n  - a:\n      try: [ { b: { call: c:1@default } } ]\n      catch: { retry: { delay: PT1S } }\n"))
	f.Add([]byte(header + "do:\n  - a: { for: { in: .x }, do: [ { b: { wait: { seconds: 1 } } } ], then: end }\n"))
	f.Add([]byte(header + "do:\n  - a: { call: http, with: { method: get, endpoint: 'http://h/{x}' } }\n"))
	f.Fuzz(func(t *testing.T, source []byte) {
		d, err := Parse("f", source)
		if err != nil {
			if problems, ok := err.(Problems); !ok || len(problems) == 0 || len(problems) > ProblemsMax {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		pinned, err := d.Pin(func(h HandlerUse) (weft.Ref, error) {
			r := h.Ref
			r.Version = "1.2.3"
			return r, nil
		})
		if err == nil && len(pinned.Handlers()) != len(d.Handlers()) {
			t.Fatal("pinning changed the handlers")
		}
	})
}
