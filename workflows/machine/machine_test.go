package machine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

func machineOf(t *testing.T, workflow string) *Machine {
	t.Helper()
	def, err := workflows.Parse("flow.yaml", []byte(head+workflow))
	if err != nil {
		t.Fatal(err)
	}
	return New(def, Info{RunID: "run1", Namespace: "default"})
}

func TestAJournalThatDoesNotFitIsRefused(t *testing.T) {
	m := machineOf(t, "do: [ { a: { call: h } } ]")
	if _, err := m.Advance(Entry{Kind: Fired, At: noon}); err == nil {
		t.Error("a journal may begin without started")
	}
	if _, err := m.Advance(Entry{Kind: Started, At: noon}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Advance(Entry{Kind: Started, At: noon}); err == nil {
		t.Error("a run starts twice")
	}
	if _, err := m.Advance(Entry{Kind: Finished, Step: 2}); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("an answer to a step that never was is %v", err)
	}
	if got, err := m.Advance(Entry{Kind: Finished, At: noon - 1e6, Step: 1, Data: []byte("1")}); err != nil || !got.Accepted || m.Status() != Completed {
		t.Errorf("a clock that goes back stops the run: %+v %v", got, err)
	}
}

func TestCommandsTellTheirDeadlineAndHowLongTheyMayPark(t *testing.T) {
	m := machineOf(t, `
timeout: { after: PT1H }
do:
  - outer:
      timeout: { after: PT30S }
      metadata: { weft: { park: PT5M } }
      try: [ { inner: { call: h, timeout: { after: PT10S } } }, { later: { call: i } } ]
      catch: { retry: { limit: { attempt: { duration: PT20S } } } }
  - last: { call: j }
`)
	call := func(e Entry) Command {
		t.Helper()
		got, err := m.Advance(e)
		if err != nil || len(got.Commands) != 1 {
			t.Fatal(got, err)
		}
		return got.Commands[0]
	}
	if c := call(Entry{Kind: Started, At: noon}); c.Deadline != noon+10e6 || c.ParkMax != 5*time.Minute || c.Pointer != "/do/0/outer/try/0/inner" || c.Name != "inner" {
		t.Errorf("the first call is %+v", c)
	}
	if c := call(Entry{Kind: Finished, At: noon + 1, Step: 2}); c.Deadline != noon+20e6 || c.Attempt != 1 {
		t.Errorf("the second call is %+v", c)
	}
	if c := call(Entry{Kind: Finished, At: noon + 2, Step: 3}); c.Deadline != noon+3600e6 || c.ParkMax != workflows.ParkDefault {
		t.Errorf("the third call is %+v", c)
	}
}

func TestAnInboxIsBounded(t *testing.T) {
	m := machineOf(t, "do: [ { a: { call: h } }, { b: { listen: { to: { one: { with: { type: e } } } } } } ]")
	if _, err := m.Advance(Entry{Kind: Started, At: noon}); err != nil {
		t.Fatal(err)
	}
	e := weft.Event{ID: "1", Source: "/s", Type: "e"}
	for i := range InboxMax + 1 {
		want := i < InboxMax
		got, err := m.Advance(Entry{Kind: Delivered, At: noon, Event: &e})
		if err != nil || got.Accepted != want {
			t.Fatalf("event %d: %+v, %v", i, got, err)
		}
	}
	if m.Wants(e) || !m.Full(e) {
		t.Error("a full inbox wants more")
	}
	if other := (weft.Event{ID: "1", Source: "/s", Type: "other"}); m.Full(other) {
		t.Error("an inbox is full for what nobody listens for")
	}
	large := machineOf(t, "do: [ { b: { listen: { to: { one: { with: { type: e } } } } } } ]")
	e.Data = make([]byte, InboxBytesMax+1)
	if large.Wants(e) {
		t.Error("an inbox wants an event larger than it")
	}
}

func TestAListenIsBounded(t *testing.T) {
	started := func() *Machine {
		m := machineOf(t, "do: [ { a: { listen: { to: { any: [], until: 'false' } } } } ]")
		if _, err := m.Advance(Entry{Kind: Started, At: noon}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	hear := func(m *Machine, data []byte) {
		t.Helper()
		if _, err := m.Advance(Entry{Kind: Delivered, At: noon, Event: &weft.Event{ID: "1", Source: "/s", Type: "e", Data: data}}); err != nil {
			t.Fatal(err)
		}
	}
	m := started()
	for i := range ListenMax + 1 {
		if m.Status() != Running {
			t.Fatalf("after %d events the run is %s", i, m.Status())
		}
		hear(m, nil)
	}
	if f := m.Fault(); f == nil || f.Instance != "/do/0/a" || !strings.Contains(f.Detail, "more than 10000 events") {
		t.Errorf("after too many events the fault is %+v", f)
	}
	large := []byte(`"` + strings.Repeat("x", ListenBytesMax/2) + `"`)
	m = started()
	hear(m, large)
	if m.Status() != Running {
		t.Fatalf("half of the bytes are too many: %+v", m.Fault())
	}
	hear(m, large)
	if m.Status() != Faulted {
		t.Errorf("a listen keeps more than %d bytes", ListenBytesMax)
	}
}

func TestFaultOf(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{weft.Errorf(weft.InvalidArgument, "x", "no id").WithHint("give one"), "validation 400 Invalid argument: no id; give one"},
		{weft.Errorf(weft.Unauthenticated, "x", "who"), "authentication 401 Unauthenticated: who"},
		{weft.Errorf(weft.PermissionDenied, "x", "no"), "authorization 403 Permission denied: no"},
		{weft.Errorf(weft.Unavailable, "x", "down"), "communication 503 Unavailable: down"},
		{&weft.OpenError{Peer: "payments", Reason: "gone"}, "communication 503 Unavailable: peer payments takes no calls (gone)"},
		{weft.Errorf(weft.DeadlineExceeded, "x", "late"), "timeout 408 Deadline exceeded: late"},
		{weft.Errorf(weft.Internal, "x", "trap"), "runtime 500 Internal: trap"},
		{errors.New("anything"), "runtime 500 Unknown: anything"},
	}
	for _, c := range cases {
		f := FaultOf(c.err)
		if got := fmt.Sprintf("%s %d %s: %s", f.Type[strings.LastIndex(f.Type, "/")+1:], f.Status, f.Title, f.Detail); got != c.want {
			t.Errorf("%v is %s", c.err, got)
		}
	}
	if f := FaultOf(errors.New(strings.Repeat("ü", DetailMax))); len(f.Detail) > DetailMax || strings.Trim(f.Detail, "ü") != "" {
		t.Errorf("a long detail has %d bytes", len(f.Detail))
	}
}

// TestRunsShareADefinition lets many runs use one definition at once; the race
// detector watches that nobody writes to what they share.
func TestRunsShareADefinition(t *testing.T) {
	def, err := workflows.Parse("flow.yaml", []byte(head+`
do:
  - one: { set: { list: [1, { a: 2 }], kept: '${ . }' } }
  - two: { set: '${ .list[1].a += 1 | .list += [3] | .kept.x = 1 | .at = now }', export: { as: '${ $context + {n: (.list | length)} }' } }
  - loop: { for: { each: e, in: [ { b: 1 }, { b: 2 } ] }, do: [ { each: { set: '${ .sum += $e.b | .t = ("b-\\($e.b)" | test("b-[0-9]")) }' } } ] }
  - call: { call: h, input: { from: '${ $workflow.definition.document + {sum: .sum, n: $context.n} }' } }
`))
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				m := New(def, Info{RunID: "run1"})
				got, err := m.Advance(Entry{Kind: Started, At: noon, Data: []byte(`{"x": {"y": 1}}`)})
				want := `{"dsl":"1.0.3","n":3,"name":"flow","namespace":"test","sum":3,"version":"1.2.3"}`
				if err != nil || len(got.Commands) != 1 || string(got.Commands[0].Input) != want {
					t.Errorf("%+v %v %+v", got, err, m.Fault())
					return
				}
			}
		})
	}
	wait.Wait()
}

func TestTraceTellsTheSteps(t *testing.T) {
	m := machineOf(t, `
do:
  - order:
      try:
        - charge: { call: 'charge:1.0.0@default', with: { id: '${ .id }' } }
      catch: { retry: { delay: PT2S, limit: { attempt: { count: 3 } } } }
  - skipped: { if: .never, set: { a: 1 } }
  - slow: { call: h, timeout: { after: PT5S } }
`)
	entries := []Entry{
		{Kind: Started, At: noon, Data: []byte(`{"id": 7, "never": false}`)},
		{Kind: Parked, At: noon + 1, Step: 2, Data: []byte("peer payments is open")},
		{Kind: Woken, At: noon + 2, Step: 2},
		{Kind: Failed, At: noon + 3, Step: 2, Fault: FaultOf(weft.Errorf(weft.Unavailable, "t", "closed"))},
		{Kind: Fired, At: noon + 3e6},
		{Kind: Finished, At: noon + 4e6, Step: 3, Data: []byte(`{"paid": true, "never": false}`)},
		{Kind: Parked, At: noon + 4e6 + 1, Step: 5, Data: []byte("peer h is open")},
	}
	tell := func(entries []Entry) string {
		t.Helper()
		steps, err := New(m.def, m.info).Trace(slices.Values(entries))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, s := range steps {
			fmt.Fprintf(&b, "%d<%d %s %s %s try %d in %s out %s", s.ID, s.Parent, s.Name, s.Kind, s.Status, s.Attempt, s.Input, s.Output)
			if s.Fault != nil {
				fmt.Fprintf(&b, " fault %s", s.Fault.Detail)
			}
			if s.Waiting != "" {
				fmt.Fprintf(&b, " waits for %s", s.Waiting)
			}
			for _, n := range s.Notes {
				fmt.Fprintf(&b, " %s %s", n.Kind, n.Text)
			}
			if !s.Ended.IsZero() {
				fmt.Fprintf(&b, " took %v", s.Ended.Sub(s.Started))
			}
			b.WriteString("\n")
		}
		return b.String()
	}
	want := `1<0 order try completed try 2 in {"id":7,"never":false} out {"never":false,"paid":true} took 4s
2<1 charge call faulted try 1 in {"id":7} out  fault closed parked peer payments is open woken  took 3µs
3<1 charge call completed try 2 in {"id":7} out {"never":false,"paid":true} took 1s
4<0 skipped set skipped try 1 in {"never":false,"paid":true} out  took 0s
5<0 slow call parked try 1 in {"never":false,"paid":true} out  waits for peer h is open parked peer h is open
`
	if got := tell(entries); got != want {
		t.Errorf("the steps are\n%s\nnot\n%s", got, want)
	}
	late := tell(append(entries, Entry{Kind: Fired, At: noon + 10e6}))
	if !strings.HasSuffix(late, "5<0 slow call faulted try 1 in {\"never\":false,\"paid\":true} out  fault the task slow took too long parked peer h is open took 6s\n") {
		t.Errorf("after the timeout the steps are\n%s", late)
	}
	cancelled := tell(append(entries, Entry{Kind: Cancelled, At: noon + 5e6}))
	if !strings.Contains(cancelled, "5<0 slow call cancelled") {
		t.Errorf("after the cancellation the steps are\n%s", cancelled)
	}
}

func TestTraceTellsTheBranchesOfAFork(t *testing.T) {
	m := machineOf(t, `
do:
  - race:
      fork:
        compete: true
        branches:
          - fast: { do: [ { a: { call: a } }, { b: { call: b } } ] }
          - slow: { try: [ { c: { call: c } } ], catch: { retry: { limit: { attempt: { count: 2 } } } } }
`)
	entries := []Entry{
		{Kind: Started, At: noon, Data: []byte(`{}`)},
		{Kind: Failed, At: noon + 1, Step: 5, Fault: FaultOf(weft.Errorf(weft.Unavailable, "t", "closed"))},
		{Kind: Finished, At: noon + 2, Step: 3, Data: []byte("1")},
		{Kind: Finished, At: noon + 3, Step: 7, Data: []byte("2")},
	}
	tell := func(m *Machine, entries []Entry) string {
		t.Helper()
		steps, err := m.Trace(slices.Values(entries))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, s := range steps {
			fmt.Fprintf(&b, "%d<%d %s %s %s try %d %s\n", s.ID, s.Parent, s.Name, s.Kind, s.Status, s.Attempt, s.Waiting)
		}
		return b.String()
	}
	waiting := `1<0 race fork running try 1 
2<1 fast do running try 1 
3<2 a call completed try 1 
4<1 slow try running try 2 
5<4 c call faulted try 1 
6<4 c call running try 2 handler c@default
7<2 b call running try 1 handler b@default
`
	if got := tell(New(m.def, m.info), entries[:3]); got != waiting {
		t.Errorf("in the middle the steps are\n%s", got)
	}
	for _, e := range entries[:3] {
		if _, err := m.Advance(e); err != nil {
			t.Fatal(err)
		}
	}
	ended := `1<0 race fork completed try 1 
2<1 fast do completed try 1 
4<1 slow try cancelled try 2 
6<4 c call cancelled try 2 
7<2 b call completed try 1 
`
	if got := tell(restored(t, m), entries[3:]); got != ended {
		t.Errorf("from the middle to the end the steps are\n%s", got)
	}
}
