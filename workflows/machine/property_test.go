package machine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// author writes random workflows.
type author struct {
	r     *rand.Rand
	b     strings.Builder
	lists int
	vars  []string
}

func (a *author) pick(list ...string) string { return list[a.r.IntN(len(list))] }

func (a *author) line(depth int, format string, args ...any) {
	fmt.Fprintf(&a.b, "%s%s\n", strings.Repeat("  ", depth), fmt.Sprintf(format, args...))
}

func (a *author) value() string {
	values := []string{
		`'${ . }'`, `'${ .n }'`, `'${ (.n // 0) + 1 }'`, `'${ $input }'`, `'${ $context }'`, `'${ [$workflow.input] }'`,
		`'${ {n: (.n // 1), s: "x"} }'`, `7`, `text`, `'${ now }'`, `'${ $task.name }'`, `'${ .a.b.c }'`,
	}
	for _, v := range a.vars {
		values = append(values, fmt.Sprintf(`'${ $%s }'`, v))
	}
	return a.pick(values...)
}

func (a *author) tasks(depth, nest int) {
	a.lists++
	list, count := a.lists, 1+a.r.IntN(3)
	for i := range count {
		a.line(depth, "- t%d_%d:", list, i)
		a.task(depth+2, nest)
		switch a.r.IntN(12) {
		case 0:
			a.line(depth+2, "then: %s", a.pick("continue", "exit", "end"))
		case 1:
			if i+1 < count {
				a.line(depth+2, "then: t%d_%d", list, i+1+a.r.IntN(count-i-1))
			}
		}
	}
}

func (a *author) task(depth, nest int) {
	if a.r.IntN(8) == 0 {
		a.line(depth, "input: { from: '${ {n: (try .n catch 1), in: . | type} }' }")
	}
	if a.r.IntN(8) == 0 {
		a.line(depth, "timeout: { after: PT%dS }", 1+a.r.IntN(20))
	}
	if a.r.IntN(6) == 0 {
		a.line(depth, "export: { as: '${ [$output | type] }' }")
	}
	kinds := []string{"set", "call", "call", "wait", "emit", "listen", "raise", "switch", "http"}
	if nest > 0 {
		kinds = append(kinds, "do", "for", "fork", "fork", "try", "try", "try")
	}
	switch a.pick(kinds...) {
	case "set":
		a.line(depth, "set: { n: %s, m: %s }", a.value(), a.value())
	case "call":
		a.line(depth, "call: %s", a.pick("charge:1.0.0@default", "ship", "pack:2"))
		if a.r.IntN(2) == 0 {
			a.line(depth, "with: { a: %s }", a.value())
		}
	case "http":
		a.line(depth, "call: http")
		a.line(depth, "with: { method: post, endpoint: 'http://x.example/{n}', body: %s }", a.value())
	case "wait":
		a.line(depth, "wait: PT%dS", a.r.IntN(4))
	case "emit":
		a.line(depth, "emit: { event: { with: { type: told, data: %s } } }", a.value())
	case "listen":
		a.listen(depth, nest)
	case "raise":
		a.line(depth, "if: %s", a.pick("true", ".n == 1"))
		a.line(depth, "raise: { error: { type: 'https://x.example/e', status: 4%02d } }", a.r.IntN(3))
	case "switch":
		a.line(depth, "switch: [ { a: { when: .n == 1, then: exit } }, { b: { then: continue } } ]")
	case "do":
		a.line(depth, "do:")
		a.tasks(depth+1, nest-1)
	case "for":
		a.loop(depth, nest)
	case "fork":
		a.fork(depth, nest)
	case "try":
		a.try(depth, nest)
	}
}

func (a *author) listen(depth, nest int) {
	filter := func() string {
		return "{ with: { type: " + a.pick("e1", "e2", "e3") + " }" + a.pick("", ", correlate: { k: { from: .subject } }") + " }"
	}
	any := "any: " + a.pick("[]", "[ "+filter()+", "+filter()+" ]")
	to := a.pick("one: "+filter(), "all: [ "+filter()+", "+filter()+" ]", any, any+", until: 'length > 1'", any+", until: { one: "+filter()+" }",
		any+", until: { all: [ "+filter()+", "+filter()+" ] }")
	a.line(depth, "listen: { to: { %s }, read: %s }", to, a.pick("data", "envelope", "raw"))
	if a.r.IntN(3) != 0 {
		return
	}
	a.line(depth, "foreach:")
	a.line(depth+1, "item: event")
	a.vars = append(a.vars, "event")
	if nest > 0 {
		a.line(depth+1, "do:")
		a.tasks(depth+2, nest-1)
	}
	if a.r.IntN(2) == 0 {
		a.line(depth+1, "output: { as: '${ {n: $index, was: (. | type)} }' }")
	}
	if a.r.IntN(2) == 0 {
		a.line(depth+1, "export: { as: '${ [$event | type] }' }")
	}
	a.vars = a.vars[:len(a.vars)-1]
}

func (a *author) fork(depth, nest int) {
	a.line(depth, "fork:")
	if a.r.IntN(3) == 0 {
		a.line(depth+1, "compete: true")
	}
	a.line(depth+1, "branches:")
	a.lists++
	list := a.lists
	for i := range 1 + a.r.IntN(4) {
		a.line(depth+2, "- b%d_%d:", list, i)
		a.task(depth+4, nest-1)
		if a.r.IntN(20) == 0 {
			a.line(depth+4, "then: end")
		}
	}
}

func (a *author) loop(depth, nest int) {
	each := "v" + strconv.Itoa(a.r.IntN(3))
	a.line(depth, "for: { each: %s, in: '${ [range(%d)] }' }", each, a.r.IntN(4))
	if a.r.IntN(3) == 0 {
		a.line(depth, "while: $index < 2")
	}
	a.line(depth, "do:")
	a.vars = append(a.vars, each)
	a.tasks(depth+1, nest-1)
	a.vars = a.vars[:len(a.vars)-1]
}

func (a *author) try(depth, nest int) {
	a.line(depth, "try:")
	a.tasks(depth+1, nest-1)
	a.line(depth, "catch:")
	a.line(depth+1, "as: err")
	switch a.r.IntN(4) {
	case 0:
		a.line(depth+1, "errors: { with: { status: %s } }", a.pick("400", "401", "408", "503"))
	case 1:
		a.line(depth+1, "when: $err.status %s 405", a.pick("<", ">"))
	}
	if a.r.IntN(2) == 0 {
		a.line(depth+1, "retry: { delay: PT%dS, backoff: { %s: {} }, jitter: { from: PT0S, to: PT2S }, limit: { attempt: { count: %d, duration: PT9S } } }",
			a.r.IntN(3), a.pick("constant", "linear", "exponential"), a.r.IntN(3))
	}
	if a.r.IntN(2) == 0 {
		a.line(depth+1, "do:")
		a.vars = append(a.vars, "err")
		a.tasks(depth+2, nest-1)
		a.vars = a.vars[:len(a.vars)-1]
	}
}

// world answers the commands of a run at random.
type world struct {
	r       *rand.Rand
	m       *Machine
	now     int64
	entries []Entry
	issued  []Command
}

func (w *world) next() Entry {
	w.now += int64(w.r.IntN(1_500_000))
	e := Entry{At: w.now}
	open := w.m.Outstanding()
	at, timer := w.m.NextTimer()
	switch n := w.r.IntN(20); {
	case n < 9 && len(open) > 0:
		return w.answer(e, open[w.r.IntN(len(open))])
	case n < 12 && timer:
		w.now = max(w.now, at)
		e.At, e.Kind = w.now, Fired
	case n < 15:
		e.Kind, e.Event = Delivered, &weft.Event{
			ID: strconv.Itoa(len(w.entries)), Source: "/w", Type: "e" + strconv.Itoa(1+w.r.IntN(3)),
			Subject: strconv.Itoa(w.r.IntN(2)), Data: []byte(`{"n":1}`),
		}
	case n == 15 && len(w.issued) > 0: // perhaps too late
		return w.answer(e, w.issued[w.r.IntN(len(w.issued))])
	case n == 16:
		e.Kind = Paused
	case n == 17 && w.r.IntN(20) == 0:
		e.Kind, e.Data = Cancelled, []byte("by hand")
	case n == 18 && len(open) > 0:
		e.Kind, e.Step, e.Data = Parked, open[0].Step, []byte("peer is open")
	case w.m.Status() == StatusPaused:
		e.Kind = Resumed
	default:
		e.Kind = Fired
	}
	return e
}

func (w *world) answer(e Entry, c Command) Entry {
	e.Step = c.Step
	switch w.r.IntN(4) {
	case 0:
		codes := []weft.Code{weft.Unavailable, weft.InvalidArgument, weft.Unauthenticated, weft.Internal}
		e.Kind, e.Fault = Failed, FaultOf(weft.Errorf(codes[w.r.IntN(len(codes))], "world", "no"))
	default:
		e.Kind, e.Data = Finished, []byte(fmt.Sprintf(`{"n":%d,"s":"%x"}`, w.r.IntN(4), w.r.IntN(99)))
		if c.Kind == CallHTTP {
			e.Data = EncodeHTTP(weft.Response{Status: 200 + 303*w.r.IntN(2), Headers: map[string]string{"content-type": "application/json"}, Body: e.Data})
		}
	}
	return e
}

// TestRandomRuns lets random workflows run in a random world and checks that
// no run is stuck, that every call is answered or outstanding, and that a
// replay cut anywhere is equal. WEFT_RUNS sets how many.
func TestRandomRuns(t *testing.T) {
	runs := 400
	if s := os.Getenv("WEFT_RUNS"); s != "" {
		runs, _ = strconv.Atoi(s)
	}
	ended := map[Status]int{}
	for seed := range runs {
		a := &author{r: rand.New(rand.NewPCG(uint64(seed), 7))}
		a.line(0, "do:")
		a.tasks(1, 3)
		def, err := workflows.Parse("flow.yaml", []byte(head+a.b.String()))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, a.b.String())
		}
		w := &world{r: a.r, m: New(def, Info{RunID: "run1", Namespace: "default"}), now: noon}
		if problem := w.live(); problem != "" {
			t.Fatalf("seed %d: %s\n%s", seed, problem, a.b.String())
		}
		ended[w.m.Status()]++
		checkReplay(t, def, w.entries)
		if t.Failed() {
			t.Fatalf("seed %d\n%s", seed, a.b.String())
		}
	}
	t.Logf("how the runs ended: %v", ended)
	if ended[Completed] == 0 || ended[Faulted] == 0 || ended[StatusCancelled] == 0 {
		t.Errorf("the runs are not various enough: %v", ended)
	}
}

func (w *world) live() (problem string) {
	e := Entry{Kind: Started, At: noon, Seed: 42, Data: []byte(`{"n":1}`)}
	for range 60 {
		got, err := w.m.Advance(e)
		if err != nil {
			return err.Error()
		}
		w.entries = append(w.entries, e)
		if problem := w.check(e, got); problem != "" {
			return fmt.Sprintf("after %d entries: %s", len(w.entries), problem)
		}
		if w.m.Status().Ended() {
			return ""
		}
		e = w.next()
	}
	return ""
}

func (w *world) check(e Entry, got Effects) string {
	open := map[uint32]bool{}
	for _, c := range w.m.Outstanding() {
		open[c.Step] = true
	}
	for _, c := range got.Commands {
		if c.Kind == Emit {
			continue
		}
		if !open[c.Step] {
			return fmt.Sprintf("the command of step %d is given but not outstanding", c.Step)
		}
		w.issued = append(w.issued, c)
	}
	if w.m.Idle() != (len(open) == 0) {
		return "idle and outstanding differ"
	}
	for b := range w.m.leaves() {
		if f := b.top(); w.m.Status() == Running && b.next == nil && w.m.waitingFor(f) == "" {
			return "a branch waits for nothing: " + f.task.Pointer
		}
	}
	if e.Kind == Finished || e.Kind == Failed {
		if open[e.Step] {
			return "a call is outstanding after its answer"
		}
	}
	return ""
}
