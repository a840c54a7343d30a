package workflows

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/itchyny/gojq"
)

// slips are keys that people write, from other tools or one level too high,
// by the construct in which they stand, each with what to write.
var slips = map[string]map[string]string{
	"the workflow": {
		"steps": "tasks stand under do", "tasks": "tasks stand under do", "jobs": "tasks stand under do",
		"states": "this is the older Serverless Workflow: tasks stand under do, see docs/WORKFLOWS.md",
		"id":     "write it as document.name", "dsl": "put it under document", "namespace": "put it under document", "name": "put it under document",
		"version": "put it under document", "title": "put it under document", "metadata": "put it under document", "specVersion": "write document.dsl: '1.0.3'",
		"on": "events that start a run stand under schedule.on", "triggers": "events that start a run stand under schedule.on", "cron": "put it under schedule",
		"retries": "put it under use", "errors": "put it under use", "timeouts": "put it under use", "authentications": "put it under use",
	},
	"the task": {
		"when": "write if", "as": "write output: { as: ... } to shape the result, or export: { as: ... } to keep it in $context",
		"goto": "write then", "next": "write then", "from": "write input: { from: ... }", "name": "the name is the key of the task", "schema": "put it under input, output or export",
		"catch": "put the task into a list under try, with catch beside it", "retry": "put it under catch of a try around the task",
		"method": "put it under with", "endpoint": "put it under with", "headers": "put it under with", "body": "put it under with", "query": "put it under with",
		"in": "put it under for", "each": "put it under for", "at": "put it under for", "branches": "put it under fork", "compete": "put it under fork",
		"event": "put it under emit", "error": "put it under raise", "errors": "put it under catch", "to": "put it under listen", "read": "put it under listen",
		"workflow": "put it under run", "await": "put it under run",
	},
	"the case":      {"if": "write when", "condition": "write when", "goto": "write then", "do": "a case leads to a task: write then and its name"},
	"for":           {"items": "write in", "of": "write in", "list": "write in", "while": "put it beside for", "do": "put it beside for", "index": "write at", "as": "write each"},
	"foreach":       {"in": "foreach goes through the events that the listen takes", "each": "write item"},
	"raise":         {"type": "put it under error", "status": "put it under error", "title": "put it under error", "detail": "put it under error"},
	"catch":         {"with": "put it under errors", "error": "write as for the name of the error, and errors for those to catch", "limit": "put it under retry", "delay": "put it under retry"},
	"catch.errors":  {"type": "put it under with", "status": "put it under with", "title": "put it under with", "detail": "put it under with"},
	"retry":         {"count": "write limit: { attempt: { count: ... } }", "attempts": "write limit: { attempt: { count: ... } }", "maxAttempts": "write limit: { attempt: { count: ... } }"},
	"retry.limit":   {"count": "put it under attempt", "attempts": "write attempt: { count: ... }"},
	"retry.backoff": {"factor": "write exponential: {}, which doubles the delay", "multiplier": "write exponential: {}, which doubles the delay"},
	"timeout": {
		"days": "put it under after", "hours": "put it under after", "minutes": "put it under after", "seconds": "put it under after", "milliseconds": "put it under after",
	},
	"with": {
		"url": "write endpoint", "uri": "write endpoint", "params": "write query", "data": "write body", "json": "write body",
		"authentication": "write endpoint: { uri: ..., authentication: ... }", "timeout": "put it beside call",
	},
	"endpoint": {"url": "write uri"},
	"authentication": {
		"token": "put it under bearer", "username": "put it under basic, bearer or digest", "password": "put it under basic, bearer or digest",
	},
	"emit":          {"type": "put it under event.with", "source": "put it under event.with", "data": "put it under event.with", "with": "put it under event"},
	"emit.event":    {"type": "put it under with", "source": "put it under with", "subject": "put it under with", "data": "put it under with"},
	"listen":        {"one": "put it under to", "any": "put it under to", "all": "put it under to", "until": "put it under to", "type": "write to: { one: { with: { type: ... } } }"},
	"listen.to":     {"type": "write one: { with: { type: ... } }", "with": "write one: { with: ... }", "event": "write one: { with: { type: ... } }"},
	"schedule.on":   {"type": "write one: { with: { type: ... } }", "with": "write one: { with: ... }"},
	"a filter":      {"type": "put it under with", "source": "put it under with", "subject": "put it under with", "data": "put it under with"},
	"run":           {"namespace": "put it under workflow", "name": "put it under workflow", "version": "put it under workflow", "input": "put it under workflow"},
	"metadata.weft": {"retry": "put the task into a try, with retry under its catch"},
}

// forms are what a mapping looks like where people often write something else.
var forms = map[string]string{
	"the workflow": "start with document: { dsl: '1.0.3', namespace: ..., name: ..., version: ... }",
	"the task":     "write name: { call: ... }, or another of " + strings.Join(taskKeys, ", "),
	"the case":     "write name: { when: ..., then: ... }",
	"input":        "write input: { from: ... }", "output": "write output: { as: ... }", "export": "write export: { as: ... }",
	"retry.backoff": "write backoff: { exponential: {} }", "retry.jitter": "write jitter: { from: PT0S, to: PT1S }",
	"retry.limit": "write limit: { attempt: { count: 3 } }", "retry.limit.attempt": "write attempt: { count: 3 }",
	"run.workflow": "write workflow: { namespace: ..., name: ..., version: '1.0.0' }",
	"schedule":     "write schedule: { cron: '0 9 * * *' }, or { every: PT1H }", "schedule.on": "write on: { one: { with: { type: ... } } }",
	"listen": "write listen: { to: { one: { with: { type: ... } } } }", "listen.to": "write to: { one: { with: { type: ... } } }",
	"a filter": "write { with: { type: ... } }", "a correlation": "write name: { from: .data.id }",
	"emit": "write emit: { event: { with: { type: ... } } }", "emit.event": "write event: { with: { type: ... } }",
	"for": "write for: { each: item, in: '${ .items }' }", "fork": "write fork: { branches: [ - name: { ... } ] }",
	"raise": "write raise: { error: { type: ..., status: 422 } }", "catch": "write catch: { do: [ ... ] }, or catch: { retry: ... }",
	"document.tags": "write tags: { team: shop }",
}

// What to write where a mapping or a list must stand, and nothing better is known.
const (
	mappingHint = "write KEY: VALUE"
	listHint    = "write - and one of them a line"
)

// missing are examples of keys that must be there.
var missing = map[string]string{
	"version": "add version: '1.0.0'", "dsl": "add dsl: '1.0.3'", "namespace": "add namespace: shop", "name": "add name: place-order",
	"the workflow.document": "add document: { dsl: '1.0.3', namespace: ..., name: ..., version: ... }",
	"catch":                 "add catch: { do: [ ... ] }, or catch: { retry: ... }", "in": "add in: '${ .items }'", "the case.then": "add then: and the name of a task, or continue, exit or end",
	"status": "add status: 422", "type": "add type: and what it is called", "after": "add after: PT30S", "error": "add error: { type: ..., status: 422 }",
	"a correlation.from": "add from: .data.id", "listen.to": "add to: { one: { with: { type: ... } } }", "branches": "add branches: and - name: { ... } for each",
	"event": "add event: { with: { type: ... } }", "endpoint": "add endpoint: https://...", "method": "add method: get",
}

// construct is the name under which the tables know what a message is about.
func construct(what string) string {
	for _, named := range []string{"the task", "the case"} {
		if strings.HasPrefix(what, named+" ") {
			return named
		}
	}
	switch {
	case strings.Contains(what, ".correlate."):
		return "a correlation"
	case strings.HasSuffix(what, ".one"), strings.HasSuffix(what, ".any"), strings.HasSuffix(what, ".all"):
		return "a filter"
	}
	return what
}

// noMapping is what to write where a mapping must stand instead of n.
func noMapping(n *node, what string) string {
	text, _ := n.value.(string)
	if key, rest, found := strings.Cut(text, ":"); found && isWord(key) && rest != "" && !strings.HasPrefix(rest, "//") {
		return fmt.Sprintf("a key needs a space after its colon: %s: %s", key, rest)
	}
	return cmp.Or(forms[construct(what)], mappingHint)
}

// monthsForm is ISO 8601 with years or months, which are not minutes.
var monthsForm = regexp.MustCompile(`^P[0-9]+[YM]`)

// isoOf is the duration that somebody probably meant, or "".
func isoOf(text string) string {
	if monthsForm.MatchString(text) {
		return ""
	}
	for _, try := range []string{strings.ToUpper(text), "PT" + strings.ToUpper(strings.TrimPrefix(strings.ToUpper(text), "P"))} {
		if _, err := ParseDuration(try); err == nil {
			return try
		}
	}
	if d, err := time.ParseDuration(strings.ReplaceAll(text, " ", "")); err == nil && d > 0 && d < DurationMax {
		return "PT" + strings.ToUpper(ShowDuration(d))
	}
	return ""
}

// notJQ is what to write instead of what other languages have.
func notJQ(text string) string {
	for _, other := range []struct{ sign, hint string }{
		{"${", `one ${ } is the whole value: write ${ "Hello \(.name)" } for text with values in it`},
		{"===", "jq compares with =="}, {"!==", "jq compares with !="}, {"&&", "jq says: .a and .b"}, {"||", "jq says: .a or .b"},
		{"'", `texts take double quotes in jq: .state == "paid"`}, {"{ .", "one pair of braces is enough: ${ .id }"}, {"{.", "one pair of braces is enough: ${ .id }"},
		{" ? ", "jq says: if .a then 1 else 2 end"}, {"!", "jq says: .a | not"}, {"=>", "jq says: map(.price)"},
	} {
		if strings.Contains(text, other.sign) {
			return other.hint
		}
	}
	return "jq paths start with a dot: .order.id"
}

// functionsElsewhere are functions of other languages, with those of jq.
var functionsElsewhere = map[string]string{
	"toLower": "ascii_downcase", "lower": "ascii_downcase", "toLowerCase": "ascii_downcase", "toUpper": "ascii_upcase", "upper": "ascii_upcase", "toUpperCase": "ascii_upcase",
	"len": "length", "size": "length", "count": "length", "concat": "+", "includes": "contains", "toString": "tostring", "parseInt": "tonumber", "toNumber": "tonumber",
	"substring": ".[0:3]", "trim": "ltrimstr or sub", "replace": "sub or gsub", "date": "todate", "sum": "add", "filter": "map(select(...))", "uuid": "",
}

// noFunction is about a function that jq does not have, named as name/arguments.
func noFunction(function string) string {
	name, args, _ := strings.Cut(function, "/")
	if other, ok := functionsElsewhere[name]; ok && other != "" {
		return "jq has " + other
	} else if ok {
		return "take $workflow.id, or an id from the input: an expression gives the same each time"
	}
	for n := range 4 {
		q, err := gojq.Parse(name + []string{"", "(.)", "(.; .)", "(.; .; .)"}[n])
		if err != nil {
			break
		}
		if _, err := gojq.Compile(q); err == nil {
			return fmt.Sprintf("write it as %s", name+[]string{"", "(f)", "(f; g)", "(f; g; h)"}[n])
		}
	}
	if args == "0" {
		return "a path starts with a dot: ." + name
	}
	return "see the functions of jq 1.7: https://jqlang.org/manual"
}

// dashed is text as a name, or "".
func dashed(text string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return '-'
		}
		return r
	}, text), "-")
	if nameForm.MatchString(name) {
		return name
	}
	return ""
}
