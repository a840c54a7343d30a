package trial_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/weftrun/weft/workflows/trial"
)

const head = "document: { dsl: '1.0.3', namespace: test, name: %s, version: '1.0.0' }\n"

// flows are the workflows that tests here name.
var flows = map[string]string{
	"pay.yaml": fmt.Sprintf(head, "pay") + `do:
  - charge: { call: charge-card:1.0.0, with: { amount: '${ .amount }' }, metadata: { weft: { park: PT1H } } }
`,
	"slow.yaml": fmt.Sprintf(head, "slow") + `do:
  - look:
      try:
        - ask: { call: ask:1.0.0, timeout: { after: PT5S } }
      catch:
        errors: { with: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/timeout' } }
        do:
          - late: { set: { late: true } }
`,
	"parent.yaml": fmt.Sprintf(head, "parent") + `do:
  - each:
      for: { each: n, in: '${ .list }' }
      do:
        - half: { run: { workflow: { namespace: test, name: child, version: '1.0.0', input: { n: '${ $n }' } } } }
`,
	"child.yaml": fmt.Sprintf(head, "child") + `do:
  - nap: { wait: { seconds: 1 } }
  - odd: { if: '${ .n % 2 == 1 }', raise: { error: { type: 'https://a.example/odd', status: 422, title: Odd } } }
  - done: { set: { half: '${ .n / 2 }' } }
`,
	"aside.yaml": fmt.Sprintf(head, "aside") + `do:
  - go: { run: { await: false, workflow: { namespace: test, name: child, version: '1.0.0' } } }
`,
	"cut.yaml": fmt.Sprintf(head, "cut") + `do:
  - short:
      timeout: { after: { milliseconds: 500 } }
      run: { workflow: { namespace: test, name: child, version: '1.0.0' } }
`,
	"ear.yaml": fmt.Sprintf(head, "ear") + `do:
  - say: { emit: { event: { with: { source: /ear, type: said, data: { n: 1 } } } } }
  - hear: { listen: { to: { one: { with: { type: said } } } } }
`,
	"loop.yaml": fmt.Sprintf(head, "loop") + `do:
  - day: { wait: { hours: 1 }, then: day }
`,
	"get.yaml": fmt.Sprintf(head, "get") + `do:
  - get: { call: http, with: { method: post, endpoint: 'https://a.example/x', body: { n: 1 } } }
`,
	"greet.yaml": fmt.Sprintf(head, "greet") + `do:
  - greet: { call: grpc, with: { proto: { endpoint: 'https://a.example/greet.proto' }, service: { name: a.Greeter, host: a.example }, method: Hello, arguments: { name: Ada } } }
`,
}

func read(name string) ([]byte, error) {
	if src, ok := flows[name]; ok {
		return []byte(src), nil
	}
	return nil, os.ErrNotExist
}

// one runs a test with one case and gives its failures, a line each.
func one(t *testing.T, files, body string) (trial.Outcome, string) {
	t.Helper()
	src := "workflows: [" + files + "]\ncases:\n  - a case:\n      " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n      ") + "\n"
	f, err := trial.Parse("x.test.yaml", []byte(src), read)
	if err != nil {
		t.Fatalf("%s\n%s", err, src)
	}
	o := f.Cases[0].Run(true)
	return o, strings.Join(o.Failures, "\n")
}

func TestCasesPass(t *testing.T) {
	for name, c := range map[string]struct{ files, body string }{
		"the answer is the output":                {"pay.yaml", "mocks: { charge-card: { answer: { id: 1 } } }\ninput: { amount: 5 }\nexpect: { exactly: { id: 1 }, calls: [charge-card: { amount: 5 }], takes: PT0S }"},
		"an answer may look at the input":         {"pay.yaml", "mocks: { charge-card: { answer: { paid: '${ .amount * 2 }' } } }\ninput: { amount: 5 }\nexpect: { output: { paid: 10 } }"},
		"an expectation may be an expression":     {"pay.yaml", "mocks: { charge-card: { answer: [1, 2] } }\nexpect: { output: '${ length == 2 }' }"},
		"a mock of one version goes first":        {"pay.yaml", "mocks: { charge-card: { answer: 1 }, 'charge-card:1.0.0': { answer: 2 } }\nexpect: { output: 2 }"},
		"an error has its status and message":     {"pay.yaml", "mocks: { charge-card: { fail: { code: not_found, message: no such card } } }\nexpect: { fault: { status: 404, detail: such card, instance: /do/0/charge } }"},
		"an error type is known by either domain": {"pay.yaml", "mocks: { charge-card: { fail: { code: internal } } }\nexpect: { fault: { type: 'https://serverlessworkflow.io/spec/1.0.0/errors/runtime' } }"},
		"an open breaker parks":                   {"pay.yaml", "mocks: { charge-card: { open: PT59M, after: PT1S, answer: 1 } }\nexpect: { output: 1, takes: PT59M1S, calls: [charge-card] }"},
		"one that is open for too long fails":     {"pay.yaml", "mocks: { charge-card: { open: PT2H, answer: 1 } }\nexpect: { fault: { status: 503 }, takes: PT1H }"},
		"a slow answer comes in time":             {"slow.yaml", "mocks: { ask: { after: PT4S, answer: { ok: true } } }\nexpect: { output: { ok: true }, takes: PT4S }"},
		"a timeout goes before a later answer":    {"slow.yaml", "mocks: { ask: { after: PT6S } }\nexpect: { output: { late: true }, takes: PT5S }"},
		"runs of other workflows are run":         {"parent.yaml, child.yaml", "input: { list: [2, 4] }\nexpect: { output: { half: 2 }, takes: PT2S, calls: [] }"},
		"their fault is the fault of the step":    {"parent.yaml, child.yaml", "input: { list: [2, 3] }\nexpect: { fault: { status: 422, title: Odd }, takes: PT2S }"},
		"runs may be mocked too":                  {"parent.yaml", "input: { list: [2] }\nmocks: { test/child: { answer: 7 } }\nexpect: { output: 7, calls: [test/child: { n: 2 }] }"},
		"a run that nobody waits for goes on":     {"aside.yaml, child.yaml", "input: { n: 2 }\nexpect: { output: { n: 2 }, takes: PT0S }"},
		"a run that was given up is cancelled":    {"cut.yaml, child.yaml", "expect: { fault: { status: 408 }, takes: PT0.5S }"},
		"a workflow hears what it says":           {"ear.yaml", "expect: { output: [{ n: 1 }], events: [said] }"},
		"an event may come before its listen":     {"ear.yaml", "events: [{ type: said, data: early }]\nexpect: { output: '${ length == 1 }' }"},
		"gRPC is mocked by service and method":    {"greet.yaml", "mocks: { grpc a.Greeter/Hello: { answer: { text: '${ .name }' } } }\nexpect: { output: { text: Ada }, calls: [grpc a.Greeter/Hello: { name: Ada }] }"},
		"HTTP is mocked by method and address":    {"get.yaml", "mocks: { 'POST https://a.example/*': { status: 201, answer: '${ .body }', headers: { X-A: b } } }\nexpect: { output: { n: 1 }, calls: ['POST https://a.example/x'] }"},
		"an HTTP status may be an error":          {"get.yaml", "mocks: { 'POST *': { status: 404, answer: gone } }\nexpect: { fault: { status: 404, detail: gone } }"},
	} {
		if o, failed := one(t, c.files, c.body); failed != "" || o.Crashes < 2 {
			t.Errorf("%s: %d crashes: %s", name, o.Crashes, failed)
		}
	}
}

func TestWhatFailsSaysHow(t *testing.T) {
	const paid = "mocks: { charge-card: { answer: { id: 1, list: [1, 2] } } }\ninput: { amount: 5 }\nexpect: "
	for name, c := range map[string]struct{ files, body, want string }{
		"another value":          {"pay.yaml", paid + "{ output: { id: 2 } }", "output.id is 1, expected 2"},
		"a missing key":          {"pay.yaml", paid + "{ output: { it: 2 } }", "output.it is null, expected 2"},
		"a key too many":         {"pay.yaml", paid + "{ exactly: { id: 1 } }", "output.list is [1,2], and not expected"},
		"a list of other length": {"pay.yaml", paid + "{ output: { list: [1] } }", "output.list is [1,2], expected a list of 1"},
		"an expression":          {"pay.yaml", paid + "{ output: { id: '${ . > 1 }' } }", "output.id is 1, for which . > 1 does not hold"},
		"no mapping":             {"pay.yaml", paid + "{ output: { id: { a: 1 } } }", "output.id is 1, expected a mapping with a"},
		"another call":           {"pay.yaml", paid + "{ calls: [refund] }", "call 1 is charge-card:1.0.0, expected refund; the calls were: charge-card:1.0.0"},
		"a call too many":        {"pay.yaml", paid + "{ calls: [] }", "1 calls were made, expected 0; after these came charge-card:1.0.0"},
		"a call too few":         {"pay.yaml", paid + "{ calls: [charge-card, charge-card] }", "call 2 is missing, expected charge-card; the calls were: charge-card:1.0.0"},
		"another input":          {"pay.yaml", paid + "{ calls: [charge-card: { amount: 6 }] }", "the input of call 1, charge-card:.amount is 5, expected 6"},
		"another duration":       {"pay.yaml", paid + "{ takes: PT2M }", "it took 0s, expected 2m"},
		"no event":               {"pay.yaml", paid + "{ events: [said] }", "event 1 is missing, expected said; the events were: "},
		"another event":          {"ear.yaml", "expect: { events: [{ type: said, data: { n: 2 } }] }", "event 1.data.n is 1, expected 2"},
		"an event too many":      {"ear.yaml", "expect: { events: [] }", "1 events were emitted, expected 0; after these came said"},
		"a run that completes":   {"pay.yaml", paid + "{ fault: { status: 404 } }", "the run is completed, expected faulted"},
		"a fault that nobody expected": {"pay.yaml", "mocks: { charge-card: { fail: { code: not_found, message: gone } } }",
			"the run is faulted with 404 Not found: gone (https://open-workflow-specification.org/spec/1.0.0/errors/communication), expected completed"},
		"another fault": {"pay.yaml", "mocks: { charge-card: { fail: { code: not_found, message: gone } } }\nexpect: { fault: { detail: lost, status: 405 } }",
			"fault.detail is \"gone\", expected something with \"lost\" in it\nfault.status is 404, expected 405"},
		"a call without a mock":         {"pay.yaml", "input: {}", "the task charge calls charge-card:1.0.0, which has no mock; write it under mocks"},
		"a run that is not given":       {"parent.yaml", "input: { list: [1] }", "the task half calls test/child:1.0.0, which has no mock; write it under mocks"},
		"a run that never ends":         {"loop.yaml", "input: {}", "it has not ended after 100000 journal entries"},
		"a mock whose expression fails": {"pay.yaml", "mocks: { charge-card: { answer: '${ error(\"no\") }' } }\nexpect: { output: 1 }", "the run is faulted with 500 Internal: the answer of the mock: error(\"no\"): error: no (https://open-workflow-specification.org/spec/1.0.0/errors/runtime), expected completed"},
	} {
		if _, failed := one(t, c.files, c.body); failed != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, failed, c.want)
		}
	}
}

// What is written wrong is refused at its place.
func TestTestsAreReadStrictly(t *testing.T) {
	flows["far.yaml"] = fmt.Sprintf(head, "far") + "input: { schema: { resource: { endpoint: https://a.example/o } } }\ndo: [ { a: { set: { x: 1 } } } ]\n"
	for name, c := range map[string]struct{ src, want string }{
		"no workflows":                      {"cases: []", "x:1:1: the test names no workflows; write workflows: [ place-order.yaml ]"},
		"an unknown key":                    {"workflows: [pay.yaml]\ncases:\n  - a: { inptu: 1 }", "x:3:10: the case has no key inptu; did you mean input?"},
		"a file that is gone":               {"workflows: [gone.yaml]\ncases: []", "x:1:13: file does not exist"},
		"a mock of nothing":                 {"workflows: [pay.yaml]\nmocks: { charge-cart: { answer: 1 } }\ncases: []", "x:2:10: no workflow of this test calls charge-cart; did you mean charge-card?"},
		"an unknown code":                   {"workflows: [pay.yaml]\nmocks: { charge-card: { fail: { code: gone } } }\ncases: []", "x:2:39: there is no code gone; write one of Connect's, such as unavailable, not_found or invalid_argument"},
		"answer and fail":                   {"workflows: [pay.yaml]\nmocks: { charge-card: { answer: 1, fail: { code: internal } } }\ncases: []", "x:2:42: the mock of charge-card has both answer and fail; write one of them, or a list of both in turn"},
		"a wrong duration":                  {"workflows: [pay.yaml]\ncases:\n  - a: { expect: { takes: 5s } }", "x:3:27: takes is no ISO 8601 duration; write one such as PT30S, PT15M or P1D"},
		"a wrong expression":                {"workflows: [pay.yaml]\ncases:\n  - a: { expect: { output: '${ .a + }' } }", "x:3:28: "},
		"a case twice":                      {"workflows: [pay.yaml]\ncases:\n  - a: {}\n  - a: {}", "x:4:5: the case \"a\" is here twice"},
		"an event of no type":               {"workflows: [pay.yaml]\ncases:\n  - a: { events: [{ at: PT1S }] }", "x:3:19: the event has no type; write type: shop.order.placed"},
		"an unknown workflow":               {"workflows: [pay.yaml]\ncases:\n  - a: { workflow: slow }", "x:3:20: no workflow of this test is slow; there are pay"},
		"output and fault":                  {"workflows: [pay.yaml]\ncases:\n  - a: { expect: { output: 1, fault: { status: 1 } } }", "x:3:18: a run that faults has no output to expect"},
		"a call of two names":               {"workflows: [pay.yaml]\ncases:\n  - a: { expect: { calls: [{ a: 1, b: 2 }] } }", "x:3:28: calls has an element that names nothing; write a name, or name: { ... }"},
		"a text elsewhere that is not here": {"workflows: [far.yaml]\ncases: []", "x:1:13: far.yaml:2:42: https://a.example/o is not here; a test fetches nothing: write resources: { https://a.example/o: { file: ... } }"},
		"a text elsewhere of two kinds":     {"workflows: [far.yaml]\nresources: { https://a.example/o: { file: o, text: o } }\ncases: []", "x:2:35: the resource https://a.example/o must have either file or text; write { file: order.json }, or { text: ... }"},
		"a text of nowhere":                 {"workflows: [far.yaml]\nresources: { https://a.example/o: { text: '{}' }, https://a.example/oo: { text: '{}' } }\ncases: []", "x:2:51: no workflow of this test has anything at https://a.example/oo; did you mean https://a.example/o?"},
		"text that is no YAML":              {"a: [", "x:2:1: this is not YAML: the text ends inside a bracket"},
	} {
		_, err := trial.Parse("x", []byte(c.src), read)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, c.want)
		}
	}
}

// A run that waits for an event that does not come may be what is expected.
func TestARunMayWait(t *testing.T) {
	flows["wait.yaml"] = fmt.Sprintf(head, "wait") + "do:\n  - hear: { listen: { to: { one: { with: { type: never } } } } }\n"
	if _, failed := one(t, "wait.yaml", "expect: { waits: event never }"); failed != "" {
		t.Error(failed)
	}
	if _, failed := one(t, "wait.yaml", "expect: { output: 1 }"); failed != "the run is running and waits for event never, expected completed" {
		t.Error(failed)
	}
}
