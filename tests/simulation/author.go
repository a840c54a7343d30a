package simulation

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// text is one workflow as its author wrote it.
type text struct {
	name string
	yaml string
}

// Of what the workflows of a world speak.
var (
	keys  = []string{"a", "b", "c"}      // of counters
	told  = []string{"told.1", "told.2"} // event types of workflows and handlers
	asked = []string{"ask.1", "ask.2"}   // event types of clients; they start no run
	begin = []string{"begin.1", "begin.2"}
	peer  = []string{"bank", "post", "ware"}
)

// write makes the workflows of a world: some started by clients, some by events;
// with families, some run others.
func write(r *rand.Rand, families bool) []text {
	var all []text
	for i := range 2 + r.IntN(3) {
		a := &author{r: r}
		if families {
			a.older = i
		}
		name := "w" + strconv.Itoa(i)
		a.line(0, "document: { dsl: '1.0.3', namespace: sim, name: %s, version: '1.0.0'%s }", name, a.maybe(3, ", metadata: { weft: { park: PT3M } }"))
		switch {
		case i > 0 && r.IntN(2) == 0:
			a.line(0, "schedule: { on: { one: { with: { type: %s } } } }", a.pick(begin))
		case r.IntN(5) == 0:
			a.line(0, "schedule: { %s }", a.pick([]string{"every: PT5S", "every: PT31S", "after: PT3S", "after: PT40S", "every: PT20S, after: PT10S",
				"cron: '* * * * *'", "cron: 'CRON_TZ=Asia/Kolkata 1-59/2 5 * * *'"}))
		}
		if r.IntN(5) == 0 {
			a.line(0, "timeout: { after: PT%d.000%dS }", 1+r.IntN(300), 137+r.IntN(300))
		}
		a.line(0, "do:")
		a.tasks(1, 3)
		all = append(all, text{name, a.b.String()})
	}
	return all
}

// author writes a random workflow. It ends, if peers heal and clients answer.
type author struct {
	r     *rand.Rand
	older int // workflows that it may run: those before it, or none
	b     strings.Builder
	lists int
}

func (a *author) line(depth int, format string, args ...any) {
	fmt.Fprintf(&a.b, "%s%s\n", strings.Repeat("  ", depth), fmt.Sprintf(format, args...))
}

func (a *author) pick(list []string) string { return list[a.r.IntN(len(list))] }

// maybe is s once in n times.
func (a *author) maybe(n int, s string) string {
	if a.r.IntN(n) == 0 {
		return s
	}
	return ""
}

func (a *author) value() string {
	return a.pick([]string{`'${ .n? }'`, `'${ ((.n? | numbers) // 0) + 1 }'`, `'${ [$workflow.input] }'`, `1`, `'${ $task.name }'`, `'${ now }'`})
}

func (a *author) tasks(depth, nest int) {
	a.lists++
	list := a.lists
	for i := range 1 + a.r.IntN(4) {
		a.line(depth, "- t%d_%d:", list, i)
		a.task(depth+2, nest)
		if a.r.IntN(15) == 0 {
			a.line(depth+2, "then: %s", a.pick([]string{"exit", "end"}))
		}
	}
}

func (a *author) task(depth, nest int) {
	kinds := []string{"call", "call", "call", "call", "set", "wait", "wait", "http", "emit", "listen", "raise", "switch"}
	if nest > 0 {
		kinds = append(kinds, "for", "for", "fork", "fork", "try", "try", "try", "try", "try")
	}
	if a.older > 0 {
		kinds = append(kinds, "run", "run")
	}
	kind := a.pick(kinds)
	if kind == "raise" && a.r.IntN(3) > 0 {
		kind = "call"
	}
	if kind == "listen" && a.r.IntN(3) > 0 || a.r.IntN(8) == 0 {
		a.timeout(depth, kind)
	}
	switch kind {
	case "call":
		a.line(depth, "call: work")
		a.line(depth, "with: { do: [%s], n: %s }", a.script(), a.value())
	case "set":
		a.line(depth, "set: { n: %s }", a.value())
	case "wait":
		a.line(depth, "wait: %s", a.pick([]string{"PT0S", "PT0.05S", "PT0.3S", "PT2S", "PT20S", "PT5M"}))
	case "http":
		a.line(depth, "call: http")
		a.line(depth, "with: { method: post, endpoint: 'http://shop.example/order', body: { n: %s } }", a.value())
	case "run":
		a.line(depth, "run: {%s workflow: { namespace: sim, name: w%d, version: '1.0.0', input: { n: 1 } } }", a.maybe(4, " await: false,"), a.r.IntN(a.older))
	case "emit":
		a.line(depth, "emit: { event: { with: { type: %s, data: { n: %s } } } }", a.pick(told), a.value())
	case "listen":
		a.line(depth, "listen: { to: { one: { with: { type: %s } } } }", a.pick(append(told[:1:1], asked...)))
	case "raise":
		a.line(depth, "if: %s", a.pick([]string{"true", "'${ .n? == 1 }'"}))
		a.line(depth, "raise: { error: { type: 'https://x.example/e', status: 4%02d } }", a.r.IntN(3))
	case "switch":
		a.line(depth, "switch: [ { a: { when: '${ .n? == 1 }', then: exit } }, { b: { then: continue } } ]")
	case "for":
		a.line(depth, "for: { each: i, in: '${ [range(%d)] }' }", a.r.IntN(5))
		a.line(depth, "do:")
		a.tasks(depth+1, nest-1)
	case "fork":
		a.fork(depth, nest)
	case "try":
		a.try(depth, nest)
	}
}

// fork writes branches, now and then one that is a race.
func (a *author) fork(depth, nest int) {
	a.line(depth, "fork:")
	if a.r.IntN(2) == 0 {
		a.line(depth+1, "compete: true")
	}
	a.line(depth+1, "branches:")
	a.lists++
	list := a.lists
	for i := range 2 + a.r.IntN(3) {
		a.line(depth+2, "- b%d_%d:", list, i)
		a.line(depth+4, "do:")
		a.tasks(depth+5, nest-1)
	}
}

// timeout ends at microseconds of its own, see odd.
func (a *author) timeout(depth int, kind string) {
	seconds := 1 + a.r.IntN(10)
	if kind == "listen" {
		seconds *= 30
	}
	a.line(depth, "timeout: { after: PT%d.000%dS }", seconds, 401+a.r.IntN(90))
}

func (a *author) try(depth, nest int) {
	a.line(depth, "try:")
	a.tasks(depth+1, nest-1)
	a.line(depth, "catch:")
	a.line(depth+1, "errors: {%s }", a.maybe(3, " with: { status: 503 }"))
	if a.r.IntN(3) > 0 {
		a.line(depth+1, "retry: { delay: PT%dS, backoff: { %s: {} }, limit: { attempt: { count: %d } } }",
			a.r.IntN(3), a.pick([]string{"constant", "linear", "exponential"}), 1+a.r.IntN(3))
	}
	if a.r.IntN(2) == 0 {
		a.line(depth+1, "do:")
		a.tasks(depth+2, nest-1)
	}
}

// script is what a call of the handler work does.
func (a *author) script() string {
	var ops []string
	for range 1 + a.r.IntN(5) {
		ops = append(ops, a.op())
	}
	return strings.Join(ops, ", ")
}

func (a *author) op() string {
	switch a.r.IntN(14) {
	case 0, 1, 2, 3:
		return "add " + a.pick(keys)
	case 4:
		return "read " + a.pick(keys)
	case 5, 6:
		return "tell " + a.pick(told)
	case 7, 8, 9, 10:
		return "ask " + a.pick(peer)
	case 11, 12:
		return "sleep " + a.pick([]string{"1", "40", "700", "9000"})
	default:
		return "fail " + a.pick([]string{"unavailable", "invalid_argument", "internal"})
	}
}
