package workflows

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of one check. They count what is done, not the clock, so that a
// replay meets them at the same place.
const (
	SchemaStepsMax   = 1_000_000 // rules applied and parts of values looked at
	SchemaDepthMax   = 5_000     // rules inside each other
	SchemaPatternMax = 100_000   // states of all patterns of a workflow
	patternStep      = 64        // characters and states of a pattern that count as one step
)

// Schema is a JSON Schema, compiled when the definition was parsed. It is safe
// for use by several goroutines.
type Schema struct {
	top   *rules
	track bool // a rule asks what others have looked at
}

// Check reports the first place where v does not fit, in an order that is
// always the same; nil where all of it fits. The error tells nothing of v but
// the place and the kind of value.
func (s *Schema) Check(v any) error {
	c := &checking{steps: SchemaStepsMax, track: s.track}
	err := c.apply(s.top, v, nil, nil)
	if c.over != nil {
		return c.over
	}
	if err != nil {
		return err
	}
	return nil
}

// rules are one schema of a document.
type rules struct {
	never bool // the schema false
	tests []test
}

// test is what one keyword wants of a value.
type test func(c *checking, v any, at *spot, s *seen) *misfit

// spot is a place in the value: its key, and the place around it.
type spot struct {
	around *spot
	key    string
}

func (at *spot) in(key string) *spot { return &spot{at, key} }

// misfit is why a value does not fit.
type misfit struct {
	at   *spot
	what string
}

func misfitf(at *spot, format string, args ...any) *misfit {
	return &misfit{at, fmt.Sprintf(format, args...)}
}

// Error is "at /a/b: what", or what alone for the whole value.
func (m *misfit) Error() string {
	if m.at == nil {
		return "it " + m.what
	}
	var keys []string
	for at := m.at; at != nil; at = at.around {
		keys = append(keys, pointerEscape.Replace(at.key))
	}
	slices.Reverse(keys)
	return "/" + strings.Join(keys, "/") + " " + m.what
}

func (m *misfit) depth() (n int) {
	for at := m.at; at != nil; at = at.around {
		n++
	}
	return n
}

// seen is what the rules of a schema have looked at in a value, for
// unevaluatedProperties and unevaluatedItems. A nil seen notes nothing.
type seen struct {
	allKeys, allItems bool
	keys              map[string]bool
	items             map[int]bool
}

func (s *seen) key(k string) {
	if s == nil {
		return
	}
	if s.keys == nil {
		s.keys = map[string]bool{}
	}
	s.keys[k] = true
}

func (s *seen) item(i int) {
	if s == nil {
		return
	}
	if s.items == nil {
		s.items = map[int]bool{}
	}
	s.items[i] = true
}

func (s *seen) add(o *seen) {
	if s == nil || o == nil {
		return
	}
	s.allKeys, s.allItems = s.allKeys || o.allKeys, s.allItems || o.allItems
	for k := range o.keys {
		s.key(k)
	}
	for i := range o.items {
		s.item(i)
	}
}

// checking is one check of a value.
type checking struct {
	steps int // left
	depth int
	track bool
	over  error // set once a bound is passed; what else is found is then void
}

// spend counts n steps. Its misfit only ends the check: over is the error.
func (c *checking) spend(n int) *misfit {
	if c.steps -= n; c.steps < 0 && c.over == nil {
		c.over = fmt.Errorf("it is too large for its schema: the check takes more than %d steps", SchemaStepsMax)
	}
	if c.over != nil {
		return &misfit{what: c.over.Error()}
	}
	return nil
}

// apply holds v against r; s learns what r has looked at.
func (c *checking) apply(r *rules, v any, at *spot, s *seen) *misfit {
	if c.depth++; c.depth > SchemaDepthMax && c.over == nil {
		c.over = fmt.Errorf("it is nested too deeply for its schema: more than %d schemas inside each other", SchemaDepthMax)
	}
	defer func() { c.depth-- }()
	if m := c.spend(1); m != nil {
		return m
	}
	if r.never {
		return misfitf(at, "must not be there")
	}
	var own *seen
	if c.track {
		own = &seen{}
	}
	for _, t := range r.tests {
		if m := t(c, v, at, own); m != nil {
			return m
		}
	}
	s.add(own)
	return nil
}

// pattern is a regular expression, and what it costs for each character.
type pattern struct {
	form *regexp.Regexp
	text string
	cost int
}

// match spends what the search may take.
func (p *pattern) match(c *checking, s string) (bool, *misfit) {
	if m := c.spend(1 + p.cost*len(s)/patternStep); m != nil {
		return false, m
	}
	return p.form.MatchString(s), nil
}

// The kinds of values in the words of JSON Schema.
var schemaTypes = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// typeOf is the kind of v; a whole number is an integer.
func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	}
	if n, ok := plainNumber(v).(float64); ok && (n != math.Trunc(n) || math.IsInf(n, 0)) {
		return "number"
	}
	return "integer"
}

// plainNumber is a number of an expression's text as a float; any other stays.
func plainNumber(v any) any {
	if n, ok := v.(json.Number); ok {
		f, _ := n.Float64() // beyond its range it is an infinity
		return f
	}
	return v
}

// rational is a number exactly as its shortest text has it; nil for none.
func rational(v any) *big.Rat {
	switch v := plainNumber(v).(type) {
	case int:
		return new(big.Rat).SetInt64(int64(v))
	case *big.Int:
		return new(big.Rat).SetInt(v)
	case float64:
		if r, ok := new(big.Rat).SetString(strconv.FormatFloat(v, 'g', -1, 64)); ok {
			return r
		}
	}
	return nil
}

// each holds the elements of a list against r, from one on.
func (c *checking) each(list []any, from int, r *rules, at *spot, s *seen) *misfit {
	for i := from; i < len(list); i++ {
		if m := c.apply(r, list[i], at.in(strconv.Itoa(i)), nil); m != nil {
			return m
		}
	}
	if s != nil {
		s.allItems = true
	}
	return nil
}

// runes is the length of a string in characters.
func runes(s string) int { return utf8.RuneCountInString(s) }

// counted is a number with what it counts.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
