package workflows

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
)

// Parse reads a workflow. What does not run is refused, each with its place
// and what to write instead; the error is Problems with all that was found.
// The file name only stands in front of the problems.
func Parse(file string, src []byte) (*Definition, error) { return ParseWith(file, src, nil) }

// ParseWith reads a workflow with texts that it has elsewhere, by URI; Missing
// of what it gives names those that are not among them.
func ParseWith(file string, src []byte, texts map[string]string) (*Definition, error) {
	p := &parser{def: &Definition{file: file, source: slices.Clone(src)}, file: file, resources: texts}
	root := readYAML(src, p.report)
	if root != nil {
		p.workflow(root)
	}
	if len(p.problems) > 0 {
		return nil, p.problems.sorted()
	}
	return p.def, nil
}

type parser struct {
	def       *Definition
	problems  Problems
	seen      map[Problem]bool
	file      string            // of what is read: the definition's, or the URI of a resource
	resources map[string]string // their texts, by URI
	trees     map[string]*node  // of resources that have been read
	locals    []string          // variables of the enclosing for and catch, without dollar
	use       *node
	park      time.Duration
	schemas   map[*node]*Schema // by their document
	states    int               // of their patterns
	secrets   []string          // use.secrets
	inside    []string          // functions that are being read
	expanded  int               // tasks that functions have brought in
	handlers  []handlerUse
	programs  map[program]*Expr
}

type handlerUse struct {
	HandlerUse
	written string // as the author wrote it
}

func (p *parser) report(line, column int, key, message, hint string) {
	problem := Problem{File: p.file, Line: line, Column: column, Key: key, Message: message, Hint: hint}
	if p.seen[problem] || p.full() {
		return
	}
	if p.seen == nil {
		p.seen = map[Problem]bool{}
	}
	p.seen[problem] = true
	p.problems = append(p.problems, problem)
}

// full reports whether so much is wrong that nobody reads on.
func (p *parser) full() bool { return len(p.problems) >= 20*ProblemsMax }

// wrong reports a problem at n.
func (p *parser) wrong(n *node, key, hint, format string, args ...any) {
	p.report(n.line, n.column, key, fmt.Sprintf(format, args...), hint)
}

// fields checks that n is a mapping with known keys only. What is left out of
// the language on purpose is refused with its hint.
func (p *parser) fields(n *node, what string, known []string, refused map[string]string) bool {
	if n.kind != isMap {
		p.wrong(n, what, noMapping(n, what), "%s must be a mapping, not %s", what, n.kind)
		return false
	}
	for _, f := range n.pairs {
		hint, no := refused[f.key]
		switch {
		case no:
			p.report(f.line, f.column, f.key, fmt.Sprintf("%s of %s does not run", f.key, what), hint)
		case !slices.Contains(known, f.key):
			p.report(f.line, f.column, f.key, fmt.Sprintf("%s has no key %s", what, f.key), p.noKey(what, f.key, known))
		}
	}
	return true
}

// noKey is what to write instead of a key that is none.
func (p *parser) noKey(what, key string, known []string) string {
	hint, slip := slips[construct(what)][key]
	switch {
	case slip:
		return hint
	case construct(what) == "the task":
		if near := Nearest(key, taskKeys); near != "" && len(key) < 64 && Nearest(key, known) == "" {
			return "did you mean " + near + "?"
		}
	}
	return p.suggest(key, known)
}

func (p *parser) suggest(key string, known []string) string {
	if len(key) < 64 {
		if near := Nearest(key, known); near != "" {
			return "did you mean " + near + "?"
		}
	}
	return "known are " + strings.Join(known, ", ")
}

// require reports the keys of n that are missing.
func (p *parser) require(n *node, what string, keys ...string) bool {
	ok := true
	for _, key := range keys {
		if n.get(key) == nil {
			hint := cmp.Or(missing[construct(what)+"."+key], missing[key], "add "+key+":")
			for wrong, right := range slips[construct(what)] {
				if n.get(wrong) != nil && right == "write "+key {
					hint = "" // that is told at the key which stands in its place
				}
			}
			p.wrong(n, key, hint, "%s needs the key %s", what, key)
			ok = false
		}
	}
	return ok
}

// text is the string at n; n may be nil.
func (p *parser) text(n *node, what string) string {
	if n == nil {
		return ""
	}
	s, ok := n.value.(string)
	if !ok {
		hint := "put it in quotes"
		if n.kind == isList || n.kind == isMap {
			hint = "write one text in its place"
		}
		p.wrong(n, what, hint, "%s must be a string, not %s", what, n.kind)
	}
	return s
}

func (p *parser) oneOf(n *node, what string, words ...string) int {
	if n == nil {
		return 0
	}
	s := p.text(n, what)
	if i := slices.Index(words, s); i >= 0 {
		return i
	}
	if n.kind == isString {
		p.wrong(n, what, p.suggest(s, words), "%s is %q", what, s)
	}
	return 0
}

var (
	dslForm     = regexp.MustCompile(`^1\.0\.[0-9]+$`)
	nameForm    = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	versionForm = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)` +
		`(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?$`)
)

func (p *parser) workflow(root *node) {
	known := []string{"document", "input", "use", "do", "timeout", "output", "schedule", "evaluate"}
	if !p.fields(root, "the workflow", known, nil) {
		return
	}
	p.require(root, "the workflow", "document", "do")
	p.park = ParkDefault
	p.document(root.get("document"))
	p.def.parkMax = p.park
	p.def.document, _ = root.plain().(map[string]any)
	p.uses(root.get("use"))
	p.evaluate(root.get("evaluate"))
	p.schedule(root.get("schedule"))
	p.def.input = p.from(root.get("input"), "input", "from", inWorkflowInput)
	p.def.output = p.from(root.get("output"), "output", "as", inWorkflowOutput)
	p.def.inputSchema = p.schema(root.get("input"), "input")
	p.def.outputSchema = p.schema(root.get("output"), "output")
	p.def.timeout = p.timeout(root.get("timeout"), inWorkflowInput)
	if do := root.get("do"); do != nil {
		p.def.do = p.tasks(do, "/do", "do")
	}
	p.extensions(p.use.get("extensions"))
	p.finish()
}

// finish puts together what the tasks named.
func (p *parser) finish() {
	slices.SortStableFunc(p.handlers, func(a, b handlerUse) int {
		return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column)
	})
	p.def.handlers = p.handlers
	for _, f := range p.def.filters {
		if t := f.Type(); !slices.Contains(p.def.listens, t) {
			p.def.listens = append(p.def.listens, t)
		}
	}
}

func (p *parser) document(n *node) {
	known := []string{"dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"}
	if n == nil || !p.fields(n, "document", known, nil) || !p.require(n, "document", "dsl", "namespace", "name", "version") {
		return
	}
	p.matches(n.get("dsl"), "document.dsl", dslForm, "write '1.0.3'")
	p.def.namespace = p.name(n.get("namespace"), "document.namespace")
	p.def.name = p.name(n.get("name"), "document.name")
	p.def.version = p.matches(n.get("version"), "document.version", versionForm, "write a semantic version such as '1.0.0'")
	p.def.title = p.text(n.get("title"), "document.title")
	p.text(n.get("summary"), "document.summary")
	if tags := n.get("tags"); tags != nil && tags.kind != isMap {
		p.wrong(tags, "tags", forms["document.tags"], "document.tags must be a mapping, not %s", tags.kind)
	}
	p.metadata(n.get("metadata"))
}

func (p *parser) name(n *node, what string) string {
	hint := "use up to 63 letters, digits and dashes"
	if text, _ := n.value.(string); dashed(text) != "" {
		hint = "did you mean " + dashed(text) + "?"
	}
	return p.matches(n, what, nameForm, hint)
}

func (p *parser) matches(n *node, what string, form *regexp.Regexp, hint string) string {
	s := p.text(n, what)
	if n.kind == isString && !form.MatchString(s) {
		p.wrong(n, what, hint, "%s is %q", what, s)
	}
	return s
}

// metadata reads weft.park, which holds from here on inwards.
func (p *parser) metadata(n *node) {
	if n == nil {
		return
	}
	if !p.mapping(n, "metadata") {
		return
	}
	knobs := n.get("weft")
	if knobs == nil || !p.fields(knobs, "metadata.weft", []string{"park"}, nil) {
		return
	}
	if park := knobs.get("park"); park != nil {
		d := p.duration(park, "metadata.weft.park", inNothing)
		if d != nil && d.expr != nil {
			p.wrong(park, "park", "write a duration such as PT1H", "metadata.weft.park must be fixed")
		} else if d != nil {
			p.park = d.fixed
		}
	}
}

func (p *parser) evaluate(n *node) {
	if n == nil || !p.fields(n, "evaluate", []string{"language", "mode"}, nil) {
		return
	}
	if l := n.get("language"); l != nil && p.text(l, "evaluate.language") != "jq" {
		p.wrong(l, "language", "write jq", "expressions are in jq only")
	}
	if m := n.get("mode"); m != nil && p.text(m, "evaluate.mode") != "strict" {
		p.wrong(m, "mode", "write strict, and each expression as ${ }", "only the strict mode runs")
	}
}

func (p *parser) schedule(n *node) {
	if n == nil || !p.fields(n, "schedule", []string{"cron", "every", "after", "on", "read"}, nil) {
		return
	}
	p.times(n)
	on, read := n.get("on"), n.get("read")
	if read != nil && on == nil {
		p.wrong(read, "read", "name the events under schedule.on", "schedule.read needs schedule.on")
	}
	p.def.read = p.read(read, "schedule.read")
	if on != nil {
		p.def.triggers = p.strategy(on, "schedule.on", inTrigger)
	}
}

func (p *parser) read(n *node, what string) Read {
	return Read(p.oneOf(n, what, "data", "envelope", "raw"))
}

func (p *parser) uses(n *node) {
	p.use = &node{kind: isMap}
	if n == nil || !p.fields(n, "use", []string{"errors", "retries", "timeouts", "authentications", "extensions", "secrets", "functions", "catalogs"}, nil) {
		return
	}
	p.use = n
	p.secretNames(n.get("secrets"))
	// Each is read again where it is named, with the variables of that place.
	// Here it is checked once, so that a mistake in an unused one is found.
	named := func(key string, check func(*node)) {
		if m := n.get(key); m != nil && p.mapping(m, "use."+key) {
			for _, f := range m.pairs {
				check(f.value)
			}
		}
	}
	named("errors", func(n *node) { p.raised(n) })
	named("authentications", func(n *node) { p.policy(n) })
	named("timeouts", func(n *node) { p.timeout(n, inTask) })
	named("retries", func(n *node) {
		p.within(func() { p.retry(n) }, "error")
	})
	p.catalogs(n.get("catalogs"))
	p.functions(n.get("functions"))
}

func (p *parser) mapping(n *node, what string) bool {
	if n.kind != isMap {
		p.wrong(n, what, mappingHint, "%s must be a mapping, not %s", what, n.kind)
	}
	return n.kind == isMap
}

// named follows a string to what use.list holds under that name.
func (p *parser) named(n *node, list string) *node {
	if n.kind != isString {
		return n
	}
	name, _ := n.value.(string)
	var known []string
	if m := p.use.get(list); m != nil {
		if found := m.get(name); found != nil {
			return found
		}
		for _, f := range m.pairs {
			known = append(known, f.key)
		}
	}
	hint := fmt.Sprintf("define it under use.%s, or write it out here", list)
	if _, err := ParseDuration(name); err == nil && list == "timeouts" {
		hint = fmt.Sprintf("write timeout: { after: %s }", name)
	}
	if near := Nearest(name, known); near != "" {
		hint = "did you mean " + near + "?"
	}
	if p.elsewhere() {
		hint = "write it out here: " + aloneHint
	}
	p.wrong(n, name, hint, "use.%s has no %s", list, name)
	return nil
}

// within runs read with more variables in sight.
func (p *parser) within(read func(), names ...string) {
	before := p.locals
	p.locals = append(slices.Clone(before), names...)
	read()
	p.locals = before
}

func (p *parser) timeout(n *node, at place) *Duration {
	if n == nil {
		return nil
	}
	if n = p.named(n, "timeouts"); n == nil || !p.fields(n, "timeout", []string{"after"}, nil) || !p.require(n, "timeout", "after") {
		return nil
	}
	return p.duration(n.get("after"), "timeout.after", at)
}

var durationUnits = map[string]time.Duration{
	"days": 24 * time.Hour, "hours": time.Hour, "minutes": time.Minute, "seconds": time.Second, "milliseconds": time.Millisecond,
}

func (p *parser) duration(n *node, what string, at place) *Duration {
	switch n.kind {
	case isMap:
		return p.durationFields(n, what)
	case isString:
		text, _ := n.value.(string)
		if _, ok := marked(text); ok {
			return &Duration{expr: p.expr(n, what, at)}
		}
		d, err := ParseDuration(text)
		if err != nil && isoOf(text) != "" {
			p.wrong(n, what, "did you mean "+isoOf(text)+"?", "%s: %q is no ISO 8601 duration", what, text)
		} else if err != nil {
			p.wrong(n, what, "", "%s: %s", what, err)
		}
		return &Duration{fixed: d}
	}
	p.wrong(n, what, "write PT30S or { seconds: 30 }", "%s must be a duration, not %s", what, n.kind)
	return nil
}

func (p *parser) durationFields(n *node, what string) *Duration {
	units := slices.Sorted(maps.Keys(durationUnits))
	if len(n.pairs) == 0 {
		p.wrong(n, what, "write PT30S or { seconds: 30 }", "%s is empty", what)
		return nil
	}
	if !p.fields(n, what, units, nil) {
		return nil
	}
	var sum time.Duration
	for _, f := range n.pairs {
		count, ok := f.value.value.(int)
		if !ok || count < 0 {
			p.wrong(f.value, f.key, "write it without quotes, and a part of it in a smaller unit", "%s.%s must be a whole number from 0", what, f.key)
			return nil
		}
		unit := durationUnits[f.key]
		if unit > 0 && time.Duration(count) > DurationMax/unit || sum > DurationMax {
			p.wrong(f.value, f.key, "let a schedule start a run then", "%s is longer than ten years", what)
			return nil
		}
		sum += time.Duration(count) * unit
	}
	return &Duration{fixed: sum}
}

func (p *parser) ref(n *node, text, pointer string) weft.Ref {
	r, err := weft.ParseRef(text)
	if err != nil {
		hint := "write charge-card, charge-card:2 or charge-card:2.0.1; without a version it is the newest; a method is package.Service/Method; or the name of a function of use.functions"
		p.wrong(n, "call", hint, "%q is not a handler reference", text)
		return r
	}
	if r.Elsewhere() && !weft.IsProcedure(r.Name) {
		hint := "name it under use.catalogs, or upload a handler and write @default"
		if p.elsewhere() {
			hint = "call it by its address: " + aloneHint
		}
		p.wrong(n, "call", hint, "there is no catalog %s", r.Catalog)
	}
	if slices.ContainsFunc(p.handlers, func(h handlerUse) bool { return h.File == p.file && h.Line == n.line && h.Column == n.column }) {
		return r // in a function that is called again
	}
	use := HandlerUse{Ref: r, File: p.file, Line: n.line, Column: n.column, Pointer: pointer}
	p.handlers = append(p.handlers, handlerUse{HandlerUse: use, written: text})
	return r
}
