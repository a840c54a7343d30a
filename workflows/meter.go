package workflows

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/itchyny/gojq"
)

// meter bounds one evaluation. jq asks the context before every instruction
// whether it is done, so counting the questions counts the instructions.
type meter struct {
	steps, bytes int
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done counts one instruction.
func (m *meter) Done() <-chan struct{} {
	if m.steps--; m.steps < 0 {
		return closed
	}
	return nil
}

// Err says what is used up. No try of the expression catches it.
func (m *meter) Err() error {
	switch {
	case m.bytes < 0:
		return fmt.Errorf("it makes more than %d bytes on the way", ExprBytesMax)
	case m.steps < 0:
		return fmt.Errorf("it takes more than %d steps", ExprStepsMax)
	}
	return nil
}

// Deadline is part of context.Context.
func (m *meter) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value is part of context.Context.
func (m *meter) Value(any) any { return nil }

// work takes n steps and fails when they are used up.
func (m *meter) work(n int) error {
	m.steps -= n
	return m.Err()
}

// spend takes n bytes and fails when they are used up.
func (m *meter) spend(n int) error {
	if m.bytes -= n; m.bytes < 0 {
		m.steps = -1
	}
	return m.Err()
}

// meteredFunctions are what the rewriter puts in the place of jq's own. The
// last argument of each but one is the meter.
var meteredFunctions = map[string]gojq.CompilerOption{
	"__add":      gojq.WithFunction("__add", 3, 3, paying(bothGrown, sum)),
	"__multiply": gojq.WithFunction("__multiply", 3, 3, paying(productGrown, product)),
	"__subtract": gojq.WithFunction("__subtract", 3, 3, working(difference)),
	"__contains": gojq.WithFunction("__contains", 3, 3, working(contains)),
	"__inside":   gojq.WithFunction("__inside", 3, 3, working(func(l, r any) any { return contains(r, l) })),
	"__made":     gojq.WithFunction("__made", 1, 1, func(v any, args []any) any { return paid(v, args[0].(*meter).spend(grown(v))) }),
	"__copied":   gojq.WithFunction("__copied", 1, 1, func(v any, args []any) any { return paid(v, args[0].(*meter).work(copied(v))) }),
	"__matchable": gojq.WithFunction("__matchable", 0, 0, func(v any, _ []any) any {
		if s, ok := v.(string); ok && len(s) > MatchTextMax {
			return fmt.Errorf("the text has %d bytes, more than the %d in which all matches may be sought", len(s), MatchTextMax)
		}
		return v
	}),
}

func paid(v any, err error) any {
	if err != nil {
		return err
	}
	return v
}

// paying lets an operator pay for its result before making it.
func paying(weight func(l, r any) int, op func(l, r any) any) func(any, []any) any {
	return func(_ any, args []any) any {
		if n := weight(args[0], args[1]); n > 0 {
			if err := args[2].(*meter).spend(n); err != nil {
				return err
			}
		}
		return op(args[0], args[1])
	}
}

// working lets an operator work that compares each element with each.
func working(op func(l, r any) any) func(any, []any) any {
	return func(_ any, args []any) any {
		l, _ := args[0].([]any)
		r, _ := args[1].([]any)
		if n := len(l) * len(r) / 8; n > 0 {
			if err := args[2].(*meter).work(n); err != nil {
				return err
			}
		}
		return op(args[0], args[1])
	}
}

// These are jq's own. The operators below only take the common cases
// themselves, because calling jq from jq is slow.
var plus, minus, times, contains = own("$l + $r"), own("$l - $r"), own("$l * $r"), own("$l | contains($r)")

func own(source string) func(l, r any) any {
	q, err := gojq.Parse(source)
	if err != nil {
		panic(err)
	}
	code, err := gojq.Compile(q, gojq.WithVariables([]string{"$l", "$r"}))
	if err != nil {
		panic(err)
	}
	return func(l, r any) any {
		v, _ := code.Run(nil, l, r).Next()
		return v
	}
}

func sum(l, r any) any {
	switch a := l.(type) {
	case nil:
		return r
	case int:
		if b, ok := r.(int); ok && small(a) && small(b) {
			return a + b
		}
	case float64:
		if b, ok := r.(float64); ok {
			return a + b
		}
	case string:
		if b, ok := r.(string); ok {
			return a + b
		}
	case []any:
		if b, ok := r.([]any); ok {
			return slices.Concat(a, b)
		}
	case map[string]any:
		if b, ok := r.(map[string]any); ok {
			m := make(map[string]any, len(a)+len(b))
			maps.Copy(m, a)
			maps.Copy(m, b)
			return m
		}
	}
	return plus(l, r)
}

func difference(l, r any) any {
	switch a := l.(type) {
	case int:
		if b, ok := r.(int); ok && small(a) && small(b) {
			return a - b
		}
	case float64:
		if b, ok := r.(float64); ok {
			return a - b
		}
	}
	return minus(l, r)
}

func product(l, r any) any {
	switch a := l.(type) {
	case int:
		if b, ok := r.(int); ok && int(int32(a)) == a && int(int32(b)) == b {
			return a * b
		}
	case float64:
		if b, ok := r.(float64); ok {
			return a * b
		}
	}
	return times(l, r)
}

// small reports whether the sum of two such numbers is an int.
func small(n int) bool { return n>>62 == 0 || n>>62 == -1 }

func bothGrown(l, r any) int { return grown(l) + grown(r) }

func productGrown(l, r any) int {
	if s, ok := l.(string); ok {
		return repeated(s, r)
	}
	if s, ok := r.(string); ok {
		return repeated(s, l)
	}
	return bothGrown(l, r)
}

func repeated(s string, times any) int {
	n, _ := gojq.ToInt(times)
	return len(s) * max(1, min(n, ExprBytesMax+1))
}

// grown is what a value takes by itself, without what is inside its elements.
func grown(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return 16 * len(v)
	case map[string]any:
		return 48 * len(v)
	case *big.Int:
		return v.BitLen() / 8
	case json.Number:
		return len(v)
	}
	return 0
}

// copied is the work of copying v and what is directly inside it, in steps.
func copied(v any) int {
	switch v := v.(type) {
	case []any:
		n := len(v)
		for _, e := range v[:min(len(v), 64)] {
			n += shallow(e)
		}
		return n
	case map[string]any:
		n := shallow(v)
		for _, e := range v {
			n += shallow(e)
		}
		return n
	}
	return 0
}

func shallow(v any) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		return 4 * len(v)
	}
	return 0
}
