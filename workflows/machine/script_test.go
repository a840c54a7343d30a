package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

const head = "document: { dsl: '1.0.3', namespace: test, name: flow, version: '1.2.3' }\n"

// start of every script, in unix microseconds: 2026-01-01T12:00:00Z.
const noon = 1767268800_000_000

// TestScripts runs testdata/*.txt. A case is a title after ===, a workflow
// without its document, a line ---, and what happens, a line each:
//
//	start JSON                       the run starts with that input
//	calls REF JSON                   the run calls a handler with that input; may end in "(attempt N)"
//	requests METHOD URL [BODY]       the run makes an HTTP call
//	runs REF JSON                    the run runs another workflow with that input
//	gives up REF                     nobody waits for that run any more
//	emits TYPE JSON                  the run emits an event with that data
//	answer JSON | fail CODE TEXT     the last call is answered
//	respond STATUS TYPE BODY         the last HTTP call is answered
//	late answer JSON                 the same, but nobody waits for it any more
//	answer @TASK JSON                the last call of that task is answered; so with fail, respond and late answer
//	event TYPE [name=value ...] JSON an event is delivered
//	unwanted TYPE [name=value ...] JSON   the same, but no listen wants it
//	at DURATION                      that time after the start comes
//	timer DURATION | no timer        the next timer
//	waits for TEXT                   Waiting
//	pause TEXT | resume | cancel TEXT | exhaust TEXT
//	rerun DURATION                   a copy of the run goes on from here, at that time after the start
//	status WORD
//	completes JSON                   the run is over, with that output
//	faults STATUS TYPE POINTER TEXT  the run is over with a fault; the detail contains the text
//
// Every command that a run gives must be named by a line.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts in testdata", err)
	}
	for _, file := range files {
		for _, c := range readScripts(t, file) {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+c.title, func(t *testing.T) {
				entries, def := c.run(t)
				checkReplay(t, def, entries)
			})
		}
	}
}

type script struct {
	title, workflow string
	lines           []scriptLine
}

type scriptLine struct {
	text  string
	where string
}

func readScripts(t *testing.T, file string) []script {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []script
	inWorkflow := false
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		title, isTitle := strings.CutPrefix(line, "=== ")
		switch {
		case isTitle:
			all = append(all, script{title: title})
			inWorkflow = true
		case line == "---":
			inWorkflow = false
		case len(all) == 0:
		case inWorkflow:
			all[len(all)-1].workflow += line + "\n"
		case strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#"):
			c := &all[len(all)-1]
			c.lines = append(c.lines, scriptLine{text: line, where: fmt.Sprintf("%s:%d", file, n)})
		}
	}
	return all
}

// player runs one script.
type player struct {
	t        *testing.T
	m        *Machine
	now      int64
	entries  []Entry
	commands []Command         // not yet named by a line
	cuts     []Command         // the same
	last     uint32            // step of the last call
	called   map[string]uint32 // of the last call of each task, by its name
	where    string
}

func (c script) run(t *testing.T) ([]Entry, *workflows.Definition) {
	def, err := workflows.Parse("flow.yaml", []byte(head+c.workflow))
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, m: New(def, Info{RunID: "run1", Namespace: "default"}), now: noon, called: map[string]uint32{}}
	for _, line := range c.lines {
		p.where = line.where
		p.play(line.text)
	}
	p.nothingLeft()
	return p.entries, def
}

func (p *player) fail(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf("%s: %s", p.where, fmt.Sprintf(format, args...))
}

func (p *player) play(line string) {
	verb, rest, _ := strings.Cut(line, " ")
	if verb == "late" {
		rest = strings.TrimPrefix(rest, "answer ")
	}
	if name, ok := strings.CutPrefix(rest, "@"); ok {
		name, rest, _ = strings.Cut(name, " ")
		if p.last, ok = p.called[name]; !ok {
			p.fail("the task %s has called nothing", name)
		}
	}
	switch verb {
	case "start":
		p.advance(Entry{Kind: Started, Data: []byte(rest), Seed: 42}, true)
	case "calls":
		p.calls(rest)
	case "requests":
		p.requests(rest)
	case "runs":
		p.runs(rest)
	case "gives":
		if len(p.cuts) == 0 || "up "+p.cuts[0].Run.Workflow.String() != rest {
			p.fail("it gave up %v", p.cuts)
		}
		p.cuts = p.cuts[1:]
	case "exhaust":
		p.advance(Entry{Kind: Exhausted, Data: []byte(rest)}, true)
	case "rerun":
		p.now = noon + p.duration(rest)
		p.advance(Entry{Kind: Rerun, Data: []byte("run0")}, true)
	case "emits":
		p.emits(rest)
	case "answer":
		p.advance(Entry{Kind: Finished, Step: p.last, Data: []byte(rest)}, true)
	case "late":
		p.advance(Entry{Kind: Finished, Step: p.last, Data: []byte(rest)}, false)
	case "fail":
		code, message, _ := strings.Cut(rest, " ")
		err := weft.Errorf(weft.ParseCode(code), "test", "%s", message)
		p.advance(Entry{Kind: Failed, Step: p.last, Fault: FaultOf(err)}, true)
	case "respond":
		p.respond(rest)
	case "event":
		p.advance(Entry{Kind: Delivered, Event: p.event(rest)}, true)
	case "unwanted":
		p.advance(Entry{Kind: Delivered, Event: p.event(rest)}, false)
	case "at":
		p.now = noon + p.duration(rest)
		p.advance(Entry{Kind: Fired}, true)
	case "pause", "resume", "cancel":
		kind := map[string]Kind{"pause": Paused, "resume": Resumed, "cancel": Cancelled}[verb]
		p.advance(Entry{Kind: kind, Data: []byte(rest)}, true)
	default:
		p.look(line, verb, rest)
	}
}

// look checks what can be seen of the run.
func (p *player) look(line, verb, rest string) {
	switch verb {
	case "timer":
		at, ok := p.m.NextTimer()
		if want := noon + p.duration(rest); !ok || at != want {
			p.fail("the next timer is %v %v after the start, not %s", ok, time.Duration(at-noon)*time.Microsecond, rest)
		}
	case "no":
		if at, ok := p.m.NextTimer(); ok {
			p.fail("there is a timer at %v", time.Duration(at-noon)*time.Microsecond)
		}
	case "waits":
		if got := "for " + p.m.Waiting(); got != rest {
			p.fail("it waits %s", got)
		}
	case "status":
		if got := p.m.Status().String(); got != rest {
			p.fail("the status is %s", got)
		}
	case "completes":
		p.nothingLeft()
		if p.m.Status() != Completed || !sameJSON(string(p.m.Output()), rest) {
			p.fail("the run is %s with output %s, fault %+v", p.m.Status(), p.m.Output(), p.m.Fault())
		}
	case "faults":
		p.faults(rest)
	default:
		p.fail("no such line: %s", line)
	}
}

func (p *player) advance(e Entry, accepted bool) {
	if e.Kind != Continued {
		p.nothingLeft()
	}
	e.At = p.now
	got, err := p.m.Advance(e)
	if err != nil {
		p.fail("%v", err)
	}
	if got.Accepted != accepted {
		p.fail("accepted is %v; the run is %s, fault %+v", got.Accepted, p.m.Status(), p.m.Fault())
	}
	p.entries = append(p.entries, e)
	p.commands, p.cuts = append(p.commands, got.Commands...), append(p.cuts, got.Cut...)
	if got.More {
		p.advance(Entry{Kind: Continued}, true)
	}
}

func (p *player) nothingLeft() {
	for _, c := range p.commands {
		p.fail("a command that no line names: kind %d of %s, handler %s with %s", c.Kind, c.Pointer, c.Handler, c.Input)
	}
	for _, c := range p.cuts {
		p.fail("a run was given up, which no line names: %s", c.Run.Workflow)
	}
}

func (p *player) command(kind CommandKind) Command {
	if len(p.commands) == 0 {
		p.fail("no command; the run is %s, output %s, fault %+v, waiting %q", p.m.Status(), p.m.Output(), p.m.Fault(), p.m.Waiting())
	}
	c := p.commands[0]
	p.commands = p.commands[1:]
	if c.Kind != kind {
		p.fail("the command is of kind %d", c.Kind)
	}
	if kind != Emit {
		p.last, p.called[c.Name] = c.Step, c.Step
	}
	return c
}

func (p *player) calls(rest string) {
	c := p.command(CallHandler)
	want := fmt.Sprintf("%s %s", c.Handler, c.Input)
	rest, attempt, ok := strings.Cut(rest, " (attempt ")
	ref, input, _ := strings.Cut(rest, " ")
	if ref != c.Handler.String() || !sameJSON(input, string(c.Input)) {
		p.fail("it calls %s", want)
	}
	if ok && strings.TrimSuffix(attempt, ")") != strconv.Itoa(int(c.Attempt)) {
		p.fail("it is attempt %d", c.Attempt)
	}
}

func (p *player) runs(rest string) {
	c := p.command(RunWorkflow)
	ref, input, _ := strings.Cut(rest, " ")
	if ref != c.Run.Workflow.String() || !sameJSON(input, string(c.Input)) {
		p.fail("it runs %s with %s", c.Run.Workflow, c.Input)
	}
}

func (p *player) requests(rest string) {
	c := p.command(CallHTTP)
	got := c.HTTP.Method + " " + c.HTTP.URL
	if len(c.HTTP.Body) > 0 {
		got += " " + string(c.HTTP.Body)
	}
	if got != rest {
		p.fail("it requests %s", got)
	}
}

func (p *player) emits(rest string) {
	c := p.command(Emit)
	if got := c.Event.Type + " " + string(c.Event.Data); got != rest {
		p.fail("it emits %s", got)
	}
}

func (p *player) respond(rest string) {
	parts := strings.SplitN(rest+" ", " ", 3)
	status, err := strconv.Atoi(parts[0])
	if err != nil {
		p.fail("%v", err)
	}
	r := weft.Response{Status: status, Headers: map[string]string{"content-type": parts[1]}, Body: []byte(strings.TrimSpace(parts[2]))}
	p.advance(Entry{Kind: Finished, Step: p.last, Data: EncodeHTTP(r)}, true)
}

func (p *player) event(rest string) *weft.Event {
	words := strings.Split(rest, " ")
	e := &weft.Event{ID: fmt.Sprintf("e%d", len(p.entries)), Source: "/test", Type: words[0], DataContentType: "application/json"}
	words = words[1:]
	for len(words) > 0 && strings.Contains(words[0], "=") {
		name, value, _ := strings.Cut(words[0], "=")
		if err := setAttribute(e, name, value); err != nil {
			p.fail("%v", err)
		}
		words = words[1:]
	}
	e.Data = []byte(strings.Join(words, " "))
	return e
}

func (p *player) duration(s string) int64 {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.fail("%v", err)
	}
	return d.Microseconds()
}

func (p *player) faults(rest string) {
	p.nothingLeft()
	f := p.m.Fault()
	if f == nil {
		p.fail("the run is %s, output %s", p.m.Status(), p.m.Output())
	}
	words := strings.SplitN(rest+"   ", " ", 4)
	errorType := words[1]
	if !strings.Contains(errorType, ":") {
		errorType = strings.TrimSuffix(workflows.RuntimeError, "runtime") + errorType
	}
	detail := strings.TrimSpace(words[3])
	if strconv.Itoa(f.Status) != words[0] || f.Type != errorType || f.Instance != words[2] || !strings.Contains(f.Detail, detail) {
		p.fail("the fault is %+v", f)
	}
}

func sameJSON(a, b string) bool {
	x, err := workflows.DecodeJSON([]byte(a))
	if err != nil {
		return false
	}
	y, err := workflows.DecodeJSON([]byte(b))
	return err == nil && reflect.DeepEqual(x, y)
}

// seen is all that shows of a machine.
type seen struct {
	Status      Status
	Outstanding []Command
	Timer       int64
	HasTimer    bool
	Waiting     string
	Idle        bool
	Output      string
	Fault       *Fault
}

func see(m *Machine) seen {
	s := seen{Status: m.Status(), Outstanding: m.Outstanding(), Waiting: m.Waiting(), Idle: m.Idle(), Output: string(m.Output()), Fault: m.Fault()}
	s.Timer, s.HasTimer = m.NextTimer()
	return s
}

// checkReplay folds the entries again, through their encoding and with a
// restart from a snapshot at every place, and compares all that shows.
func checkReplay(t *testing.T, def *workflows.Definition, entries []Entry) {
	t.Helper()
	info := Info{RunID: "run1", Namespace: "default"}
	var views []seen
	var effects []Effects
	var journal []byte
	live := New(def, info)
	for _, e := range entries {
		got, err := live.Advance(e)
		if err != nil {
			t.Fatal(err)
		}
		effects, views = append(effects, got), append(views, see(live))
		journal = AppendEntry(journal, e)
	}
	if len(entries) > 50 { // a loop without end: one fold of it takes long enough
		return
	}
	for cut := 1; cut <= len(entries); cut++ {
		m := New(def, info)
		rest := journal
		for i := range entries {
			if i > 0 && !reflect.DeepEqual(see(m), views[i-1]) {
				t.Fatalf("after %d entries: replay shows %+v, the run was %+v", i, see(m), views[i-1])
			}
			if i == cut {
				m = restored(t, m)
			}
			var e Entry
			var err error
			if e, rest, err = DecodeEntry(rest); err != nil {
				t.Fatal(err)
			}
			got, err := m.Advance(e)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, effects[i]) {
				t.Fatalf("entry %d: replay gives %+v, the run gave %+v", i, got, effects[i])
			}
		}
	}
}

// restored is m by way of a snapshot, which must be the same whoever takes it.
func restored(t *testing.T, m *Machine) *Machine {
	t.Helper()
	data := m.AppendSnapshot(nil)
	again, err := Restore(m.def, m.info, data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(see(again), see(m)) {
		t.Fatalf("the snapshot shows %+v, the run is %+v", see(again), see(m))
	}
	if !bytes.Equal(again.AppendSnapshot(nil), data) {
		t.Fatalf("a snapshot of what was restored differs: %x, %x", again.AppendSnapshot(nil), data)
	}
	for n := range min(len(data), 1000) { // what is cut short is refused
		if n%17 == 0 {
			if _, err := Restore(m.def, m.info, data[:n]); err == nil {
				t.Fatalf("%d of %d bytes of a snapshot are accepted", n, len(data))
			}
		}
	}
	return again
}
