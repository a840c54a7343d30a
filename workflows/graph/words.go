package graph

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/weftrun/weft/workflows"
)

// Lengths of texts, in characters. A longer one ends in an ellipsis.
const (
	nameMax  = 40
	lineMax  = 44
	labelMax = 32
	linesMax = 12
)

// clipped is s on one line of at most that many characters.
func clipped(s string, max int) string {
	runes := []rune(strings.Join(strings.Fields(s), " "))
	if len(runes) <= max {
		return string(runes)
	}
	return strings.TrimRight(string(runes[:max-1]), " ") + "…"
}

// details are the lines under the name of a task.
func details(t *workflows.Task) []string {
	var lines []string
	if t.If != nil {
		lines = append(lines, "if "+t.If.String())
	}
	lines = append(lines, work(t)...)
	if t.Timeout != nil {
		lines = append(lines, "timeout "+t.Timeout.String())
	}
	for _, e := range t.Extensions {
		lines = append(lines, "extended by "+e.Name)
	}
	return shortened(lines)
}

func shortened(lines []string) []string {
	if len(lines) > linesMax {
		lines = append(lines[:linesMax-1:linesMax-1], fmt.Sprintf("and %d more", len(lines)-linesMax+1))
	}
	for i, l := range lines {
		lines[i] = clipped(l, lineMax)
	}
	return lines
}

// work says what a task does.
func work(t *workflows.Task) []string {
	switch t.Kind {
	case workflows.KindCall:
		return []string{strings.TrimSuffix(t.Call.Handler.String(), "@default")}
	case workflows.KindHTTP:
		if g := t.HTTP.GRPC; g != nil {
			return []string{g.Service + "/" + g.Method}
		}
		return []string{t.HTTP.Method + " " + address(t.HTTP.Endpoint)}
	case workflows.KindEmit:
		for _, a := range t.Emit.Attributes {
			if a.Name == "type" {
				return []string{shown(a.Value)}
			}
		}
	case workflows.KindFor:
		lines := []string{"each $" + t.For.Each + " in " + shown(t.For.In)}
		if t.For.While != nil {
			lines = append(lines, "while "+t.For.While.String())
		}
		return lines
	case workflows.KindFork:
		if t.Fork.Compete {
			return []string{"the first one wins"}
		}
	case workflows.KindListen:
		return heard(t.Listen)
	case workflows.KindRaise:
		return []string{raised(t.Raise)}
	case workflows.KindRun:
		lines := []string{t.Run.Workflow.String()}
		if t.Run.Detached {
			lines = append(lines, "without waiting for it")
		}
		return lines
	case workflows.KindScript:
		return []string{"JavaScript: " + t.Script.Code}
	case workflows.KindSet:
		return []string{assigned(t.Set)}
	case workflows.KindWait:
		return []string{t.Wait.String()}
	}
	return nil
}

// shown is a template as a reader needs it: an expression, or the value.
func shown(t *workflows.Template) string {
	if e := t.Expr(); e != nil {
		return e.String()
	}
	v, constant := t.Constant()
	if s, ok := v.(string); ok {
		return s
	}
	if constant {
		return string(workflows.AppendJSON(nil, v))
	}
	return "…"
}

func address(e workflows.Endpoint) string {
	if e.Expr() != nil {
		return e.Expr().String()
	}
	var b strings.Builder
	for i, part := range e.Parts() {
		if i%2 == 1 {
			part = "{" + part + "}"
		}
		b.WriteString(part)
	}
	return b.String()
}

func heard(l *workflows.Listen) []string {
	var lines []string
	for i, f := range l.Filters {
		line := eventType(f)
		if i > 0 {
			line = "or " + line
		}
		lines = append(lines, line)
		for _, c := range f.Correlate {
			by := "by " + c.From.String()
			if c.Expect != nil {
				by += " = " + shown(c.Expect)
			}
			lines = append(lines, by)
		}
	}
	return lines
}

func eventType(f workflows.EventFilter) string {
	if f.Type() == "" {
		return "any event"
	}
	return f.Type()
}

func raised(r *workflows.Raise) string {
	s := shown(r.Status)
	if r.Title != nil {
		return s + " " + shown(r.Title)
	}
	return s + " " + path.Base(shown(r.Type))
}

// assigned names what a set sets.
func assigned(t *workflows.Template) string {
	if t.Expr() != nil {
		return t.Expr().String()
	}
	return strings.Join(t.Keys(), ", ")
}

// caught says which errors a catch takes, and how it tries again.
func caught(c *workflows.Catch) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(c.With)) {
		v, ok := c.With[name].(string)
		if !ok {
			v = string(workflows.AppendJSON(nil, c.With[name]))
		}
		if name == "type" {
			v = path.Base(v)
		}
		lines = append(lines, name+" "+v)
	}
	if c.When != nil {
		lines = append(lines, "when "+c.When.String())
	}
	if c.ExceptWhen != nil {
		lines = append(lines, "except when "+c.ExceptWhen.String())
	}
	if len(lines) == 0 {
		lines = []string{"any error"}
	}
	if c.Retry != nil {
		lines = append(lines, again(c.Retry)...)
	}
	return shortened(lines)
}

var backoffs = map[workflows.Backoff]string{workflows.BackoffLinear: ", 2×, 3×, …", workflows.BackoffExponential: ", doubling"}

func again(r *workflows.Retry) []string {
	first := "try again"
	if r.Count < workflows.RetriesMax {
		first += fmt.Sprintf(" %d×", r.Count)
	}
	if r.Delay != nil {
		first += " after " + r.Delay.String() + backoffs[r.Backoff]
	}
	lines := []string{first}
	if r.When != nil {
		lines = append(lines, "if "+r.When.String())
	}
	if r.ExceptWhen != nil {
		lines = append(lines, "except if "+r.ExceptWhen.String())
	}
	if r.Within != nil {
		lines = append(lines, "within "+r.Within.String())
	}
	if r.Attempt != nil {
		lines = append(lines, "each within "+r.Attempt.String())
	}
	if r.JitterTo != nil {
		lines = append(lines, "jitter "+r.JitterFrom.String()+" to "+r.JitterTo.String())
	}
	return lines
}
