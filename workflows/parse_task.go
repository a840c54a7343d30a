package workflows

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftrun/weft"
)

// baseKeys may stand in every task.
var baseKeys = []string{"if", "input", "output", "export", "timeout", "then", "metadata"}

// taskExtras are the keys that go with the one that makes a task what it is.
var taskExtras = map[string][]string{"call": {"with"}, "for": {"while", "do"}, "listen": {"foreach"}, "try": {"catch"}}

// The order matters: a for has a do of its own.
var taskKeys = []string{"call", "emit", "for", "fork", "listen", "raise", "run", "set", "switch", "try", "wait", "do"}

var refusedKeys = map[string]string{
	"retry": "put it under catch of a try around the task",
}

// tasks reads a list of tasks that run one after the other. The pointer is
// that of the list.
func (p *parser) tasks(n *node, pointer, what string) []*Task {
	list, nodes := p.list(n, pointer, what)
	for i, t := range list {
		p.directions(t, nodes[i], list)
	}
	return list
}

// branches reads a list of tasks that run at the same time: none leads to another.
func (p *parser) branches(n *node, pointer, what string) []*Task {
	list, nodes := p.list(n, pointer, what)
	for i, t := range list {
		p.directions(t, nodes[i], nil)
	}
	return list
}

// list reads named tasks, and gives what stands under each name too.
func (p *parser) list(n *node, pointer, what string) ([]*Task, []*node) {
	if n.kind != isList {
		p.wrong(n, what, "write - name: { ... } for each task", "%s must be a list of tasks, not %s", what, n.kind)
		return nil, nil
	}
	if len(n.items) == 0 {
		p.wrong(n, what, "write - name: { ... } for each task", "%s is empty", what)
		return nil, nil
	}
	var list []*Task
	var nodes []*node
	for i, item := range n.items {
		if p.full() {
			break
		}
		if item.kind != isMap || len(item.pairs) != 1 {
			p.wrong(item, what, "write - name: { ... }, one name each", "a task must be one name with its definition, not %s", shape(item))
			continue
		}
		f := item.pairs[0]
		if j := slices.IndexFunc(list, func(t *Task) bool { return t.Name == f.key }); j >= 0 {
			p.report(f.line, f.column, f.key, fmt.Sprintf("the task %s is here twice, first at line %d", f.key, list[j].Line), "give each task of a list its own name")
		}
		if f.key == "continue" || f.key == "exit" || f.key == "end" {
			p.report(f.line, f.column, f.key, fmt.Sprintf("%s is a word of then, no name for a task", f.key), "choose another name")
		}
		at := pointer + "/" + strconv.Itoa(i) + "/" + pointerEscape.Replace(f.key)
		list = append(list, p.task(f, at))
		nodes = append(nodes, f.value)
	}
	return list, nodes
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

func shape(n *node) string {
	if n.kind == isMap {
		return fmt.Sprintf("%d names", len(n.pairs))
	}
	return n.kind.String()
}

// task reads one task. Its own tasks come after it in the definition.
func (p *parser) task(f pair, pointer string) *Task {
	t := &Task{Index: len(p.def.tasks), Name: f.key, Pointer: pointer, Line: f.line, Column: f.column, Definition: f.value.plain()}
	p.def.tasks = append(p.def.tasks, t)
	if len(p.inside) > 0 {
		p.expanded++
	}
	n := f.value
	if n.kind != isMap {
		hint := noMapping(n, "the task "+f.key)
		if text, _ := n.value.(string); strings.Contains(hint, "call: ...") {
			if _, err := weft.ParseRef(text); err == nil {
				hint = fmt.Sprintf("write %s: { call: %s }", f.key, text)
			}
		}
		p.wrong(n, f.key, hint, "the task %s must be a mapping, not %s", f.key, n.kind)
		return t
	}
	park := p.park
	defer func() { p.park = park }()
	p.metadata(n.get("metadata"))
	t.ParkMax = p.park
	kind := p.kind(f, t)
	if kind == "" {
		return t
	}
	p.fields(n, "the task "+t.Name, slices.Concat(baseKeys, []string{kind}, taskExtras[kind]), refusedKeys)
	t.If = p.condition(n.get("if"), "if", inTaskInput)
	t.Input = p.from(n.get("input"), "input", "from", inTaskInput)
	t.Timeout = p.timeout(n.get("timeout"), inTask)
	p.body(kind, t, n)
	t.Output = p.from(n.get("output"), "output", "as", inTaskOutput)
	t.Export = p.from(n.get("export"), "export", "as", inTaskExport)
	t.InputSchema, t.OutputSchema = p.schema(n.get("input"), "input"), p.schema(n.get("output"), "output")
	t.ExportSchema = p.schema(n.get("export"), "export")
	return t
}

func (p *parser) body(kind string, t *Task, n *node) {
	switch kind {
	case "call":
		p.call(t, n)
	case "do":
		p.doTasks(t, n)
	case "emit":
		p.emit(t, n)
	case "for":
		p.forEach(t, n)
	case "fork":
		p.fork(t, n)
	case "listen":
		p.listen(t, n)
	case "raise":
		p.raise(t, n)
	case "run":
		p.run(t, n)
	case "set":
		p.set(t, n)
	case "switch":
		p.switchCases(t, n)
	case "try":
		p.try(t, n)
	case "wait":
		p.wait(t, n)
	}
}

// kind is the key that makes the task what it is, or "" after a report.
func (p *parser) kind(f pair, t *Task) string {
	var found []pair
	for _, g := range f.value.pairs {
		if slices.Contains(taskKeys, g.key) {
			found = append(found, g)
		}
	}
	if len(found) == 2 && f.value.get("for") != nil && f.value.get("do") != nil {
		return "for"
	}
	switch len(found) {
	case 0:
		p.report(f.line, f.column, f.key, fmt.Sprintf("the task %s does nothing", f.key), p.meant(f.value))
		return ""
	case 1:
		return found[0].key
	}
	p.report(found[1].line, found[1].column, found[1].key,
		fmt.Sprintf("the task %s has both %s and %s", f.key, found[0].key, found[1].key), "make two tasks of it")
	return ""
}

func (p *parser) meant(n *node) string {
	for _, g := range n.pairs {
		if hint, ok := slips["the task"][g.key]; ok {
			return hint
		}
		if !slices.Contains(baseKeys, g.key) && len(g.key) < 64 {
			if near := Nearest(g.key, taskKeys); near != "" {
				return fmt.Sprintf("did you mean %s for %s?", near, g.key)
			}
		}
	}
	return "give it one of " + strings.Join(taskKeys, ", ")
}

// directions resolves every then that leads from t to a task of its list.
func (p *parser) directions(t *Task, n *node, list []*Task) {
	if n.kind != isMap {
		return
	}
	t.Then = p.then(n.get("then"), list)
	if cases := n.get("switch"); cases != nil {
		for i, c := range cases.items {
			if i < len(t.Switch) && len(c.pairs) == 1 {
				t.Switch[i].Then = p.then(c.pairs[0].value.get("then"), list)
			}
		}
	}
	if catch := n.get("catch"); catch != nil && t.Catch != nil {
		t.Catch.HasThen = catch.get("then") != nil
		t.Catch.Then = p.then(catch.get("then"), list)
	}
}

func (p *parser) then(n *node, list []*Task) Then {
	switch s := p.text(n, "then"); s {
	case "", "continue":
		return Then{Flow: Continue}
	case "exit":
		return Then{Flow: Exit}
	case "end":
		return Then{Flow: End}
	default:
		names := []string{"continue", "exit", "end"}
		for i, t := range list {
			if t.Name == s {
				return Then{Flow: Goto, Next: i}
			}
			names = append(names, t.Name)
		}
		hint := "then leads to a task of the same list: " + strings.Join(names[3:], ", ")
		if len(list) == 0 {
			hint = "it stands alone: put tasks that follow each other into a do"
		}
		if near := Nearest(s, names); near != "" {
			hint = "did you mean " + near + "?"
		}
		p.wrong(n, "then", hint, "there is no task %s here", s)
		return Then{}
	}
}

func (p *parser) set(t *Task, n *node) {
	t.Kind = KindSet
	set := n.get("set")
	if set.kind == isMap && len(set.pairs) == 0 {
		p.wrong(set, "set", "name at least one value, or write ${ {} }", "set is empty")
		return
	}
	if set.kind == isMap || set.kind == isString {
		if text, ok := set.value.(string); ok {
			if _, is := marked(text); !is {
				p.wrong(set, "set", "write a mapping, or one expression as ${ }", "set is text without an expression")
				return
			}
		}
		t.Set = p.template(set, "set", inTask)
		return
	}
	p.wrong(set, "set", "write a mapping, or one expression as ${ }", "set must be a mapping, not %s", set.kind)
}

var refusedProcesses = map[string]string{
	"container": "call a handler, or a peer that runs it",
	"shell":     "call a handler, or a peer that runs it",
	"return":    "a workflow gives its output, and there is no process to read from",
}

func (p *parser) run(t *Task, n *node) {
	t.Kind = KindRun
	head := n.get("run")
	if head.get("script") != nil {
		p.script(t, head)
		return
	}
	if !p.fields(head, "run", []string{"workflow", "script", "await"}, refusedProcesses) || !p.require(head, "run", "workflow") {
		return
	}
	w := head.get("workflow")
	if !p.fields(w, "run.workflow", []string{"namespace", "name", "version", "input"}, nil) || !p.require(w, "run.workflow", "namespace", "name", "version") {
		return
	}
	t.Run = &Run{Workflow: WorkflowRef{
		Namespace: p.matches(w.get("namespace"), "run.workflow.namespace", nameForm, "write it as in the document of that workflow"),
		Name:      p.matches(w.get("name"), "run.workflow.name", nameForm, "write it as in the document of that workflow"),
		Version:   p.matches(w.get("version"), "run.workflow.version", versionForm, "write the whole version such as '1.0.0'"),
	}}
	if in := w.get("input"); in != nil && in.kind != isMap {
		p.wrong(in, "input", "leave it out to give the task's input, which input.from shapes", "run.workflow.input must be a mapping, not %s", in.kind)
	} else if in != nil {
		t.Run.Input = p.template(in, "run.workflow.input", inTask)
	}
	if a := head.get("await"); a != nil {
		await, ok := a.value.(bool)
		if !ok {
			p.wrong(a, "await", "write true or false", "run.await must be a boolean, not %s", a.kind)
		}
		t.Run.Detached = ok && !await
	}
	p.def.workflows = append(p.def.workflows, WorkflowUse{Ref: t.Run.Workflow, File: p.file, Line: w.line, Column: w.column})
}

func (p *parser) doTasks(t *Task, n *node) {
	t.Kind = KindDo
	t.Do = p.tasks(n.get("do"), t.Pointer+"/do", "do")
}

func (p *parser) wait(t *Task, n *node) {
	t.Kind = KindWait
	t.Wait = p.duration(n.get("wait"), "wait", inTask)
}

func (p *parser) switchCases(t *Task, n *node) {
	t.Kind = KindSwitch
	cases := n.get("switch")
	if cases.kind != isList || len(cases.items) == 0 {
		p.wrong(cases, "switch", "write - name: { when: ..., then: ... } for each case", "switch must be a list of cases, not %s", cases.kind)
		return
	}
	defaults := 0
	for _, item := range cases.items {
		t.Switch = append(t.Switch, Case{})
		if item.kind != isMap || len(item.pairs) != 1 {
			p.wrong(item, "switch", "write - name: { when: ..., then: ... }", "a case must be one name with its definition, not %s", shape(item))
			continue
		}
		f := item.pairs[0]
		if !p.fields(f.value, "the case "+f.key, []string{"when", "then"}, nil) || !p.require(f.value, "the case "+f.key, "then") {
			continue
		}
		c := Case{Name: f.key, When: p.condition(f.value.get("when"), "when", inTask)}
		if f.value.get("when") == nil {
			if defaults++; defaults > 1 {
				p.report(f.line, f.column, f.key, "a second case without when", "only one case may be the default")
			}
		}
		t.Switch[len(t.Switch)-1] = c
	}
}

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// variable reads the name of a variable that a task brings in.
func (p *parser) variable(n *node, what, otherwise string) string {
	if n == nil {
		return otherwise
	}
	s := strings.TrimPrefix(p.text(n, what), "$")
	_, reserved := variableNames["$"+s]
	switch {
	case n.kind != isString:
		return otherwise
	case !variableForm.MatchString(s) || strings.HasPrefix(s, "__"):
		p.wrong(n, what, "use letters, digits and underscores", "%s is %q, no name for a variable", what, s)
	case reserved || s == "secrets" || s == "authorization" || s == "ENV":
		p.wrong(n, what, "choose another name", "%s is %s, which has a meaning already", what, s)
	}
	return s
}

func (p *parser) forEach(t *Task, n *node) {
	t.Kind = KindFor
	head := n.get("for")
	if !p.fields(head, "for", []string{"each", "in", "at"}, nil) || !p.require(head, "for", "in") {
		return
	}
	if !p.require(n, "the task "+t.Name, "do") {
		return
	}
	t.For = &For{
		Each: p.variable(head.get("each"), "for.each", "item"),
		At:   p.variable(head.get("at"), "for.at", "index"),
	}
	if in := head.get("in"); in.kind == isList {
		for _, item := range in.items {
			if item.kind != isMap {
				p.wrong(item, "in", "write such a list as an expression: ${ [1, 2] }", "for.in must be a list of mappings, and one of it is %s", item.kind)
			}
		}
		t.For.In = p.template(in, "for.in", inTask)
	} else if e := p.expr(in, "for.in", inTask); e != nil {
		t.For.In = &Template{expr: e}
	}
	p.within(func() {
		t.For.While = p.condition(n.get("while"), "while", inTask)
		t.Do = p.tasks(n.get("do"), t.Pointer+"/do", "do")
	}, t.For.Each, t.For.At)
}

func (p *parser) fork(t *Task, n *node) {
	t.Kind = KindFork
	t.Fork = &Fork{}
	head := n.get("fork")
	if !p.fields(head, "fork", []string{"branches", "compete"}, nil) || !p.require(head, "fork", "branches") {
		return
	}
	if c := head.get("compete"); c != nil {
		yes, ok := c.value.(bool)
		if !ok {
			p.wrong(c, "compete", "write true or false", "fork.compete must be a boolean, not %s", c.kind)
		}
		t.Fork.Compete = yes
	}
	t.Do = p.branches(head.get("branches"), t.Pointer+"/fork/branches", "fork.branches")
}

func (p *parser) raise(t *Task, n *node) {
	t.Kind = KindRaise
	head := n.get("raise")
	if !p.fields(head, "raise", []string{"error"}, nil) || !p.require(head, "raise", "error") {
		return
	}
	if e := p.named(head.get("error"), "errors"); e != nil {
		t.Raise = p.raised(e)
	}
}

func (p *parser) raised(n *node) *Raise {
	known := []string{"type", "status", "title", "detail", "instance"}
	if !p.fields(n, "error", known, nil) || !p.require(n, "error", "type", "status") {
		return nil
	}
	field := func(key string) *Template {
		v := n.get(key)
		if v == nil {
			return nil
		}
		t := p.template(v, "error."+key, inTask)
		if c, ok := t.Constant(); ok {
			p.errorField(v, key, c)
		}
		return t
	}
	return &Raise{Type: field("type"), Status: field("status"), Title: field("title"), Detail: field("detail"), Instance: field("instance")}
}

func (p *parser) errorField(n *node, key string, v any) {
	if key == "status" {
		if s, ok := v.(int); !ok || s < 100 || s > 599 {
			p.wrong(n, key, "write a status such as 422", "error.status must be a whole number from 100 to 599")
		}
		return
	}
	p.text(n, "error."+key)
}

func (p *parser) try(t *Task, n *node) {
	t.Kind = KindTry
	if !p.require(n, "the task "+t.Name, "catch") {
		return
	}
	t.Do = p.tasks(n.get("try"), t.Pointer+"/try", "try")
	c := n.get("catch")
	known := []string{"errors", "as", "when", "exceptWhen", "retry", "do", "then"}
	if !p.fields(c, "catch", known, nil) {
		return
	}
	t.Catch = &Catch{As: p.variable(c.get("as"), "catch.as", "error")}
	if e := c.get("errors"); e != nil && p.fields(e, "catch.errors", []string{"with"}, nil) {
		t.Catch.With = p.errorFilter(e.get("with"))
	}
	p.within(func() {
		t.Catch.When = p.condition(c.get("when"), "catch.when", inTask)
		t.Catch.ExceptWhen = p.condition(c.get("exceptWhen"), "catch.exceptWhen", inTask)
		if r := c.get("retry"); r != nil {
			t.Catch.Retry = p.retry(p.named(r, "retries"))
		}
		if do := c.get("do"); do != nil {
			t.Catch.Do = p.tasks(do, t.Pointer+"/catch/do", "catch.do")
		}
	}, t.Catch.As)
}

func (p *parser) errorFilter(n *node) map[string]any {
	known := []string{"type", "status", "title", "detail", "details", "instance"}
	if n == nil || !p.fields(n, "catch.errors.with", known, nil) {
		return nil
	}
	with := map[string]any{}
	for _, f := range n.pairs {
		key := f.key
		if key == "details" { // so the official schema spells it
			key = "detail"
		}
		if s, ok := f.value.value.(string); ok && strings.Contains(s, "${") {
			p.wrong(f.value, f.key, "compare in catch.when", "catch.errors.with takes fixed values only")
		}
		if _, whole := f.value.value.(int); key == "status" && !whole {
			p.wrong(f.value, f.key, "write a status such as 503, without quotes", "catch.errors.with.status must be a whole number")
		} else if key != "status" {
			p.text(f.value, "catch.errors.with."+f.key)
		}
		with[key] = f.value.plain()
	}
	if s, ok := with["type"].(string); ok {
		with["type"] = NormalErrorType(s)
	}
	return with
}

func (p *parser) retry(n *node) *Retry {
	known := []string{"when", "exceptWhen", "delay", "backoff", "limit", "jitter"}
	if n == nil || !p.fields(n, "retry", known, nil) {
		return nil
	}
	r := &Retry{
		When:       p.condition(n.get("when"), "retry.when", inTask),
		ExceptWhen: p.condition(n.get("exceptWhen"), "retry.exceptWhen", inTask),
		Delay:      p.optionalDuration(n.get("delay"), "retry.delay"),
		Count:      RetriesMax,
	}
	if b := n.get("backoff"); b != nil {
		r.Backoff = p.backoff(b)
	}
	if l := n.get("limit"); l != nil && p.fields(l, "retry.limit", []string{"attempt", "duration"}, nil) {
		r.Within = p.optionalDuration(l.get("duration"), "retry.limit.duration")
		p.attempts(r, l.get("attempt"))
	}
	if j := n.get("jitter"); j != nil && p.fields(j, "retry.jitter", []string{"from", "to"}, nil) && p.require(j, "retry.jitter", "from", "to") {
		r.JitterFrom = p.duration(j.get("from"), "retry.jitter.from", inTask)
		r.JitterTo = p.duration(j.get("to"), "retry.jitter.to", inTask)
	}
	return r
}

func (p *parser) optionalDuration(n *node, what string) *Duration {
	if n == nil {
		return nil
	}
	return p.duration(n, what, inTask)
}

func (p *parser) attempts(r *Retry, n *node) {
	if n == nil || !p.fields(n, "retry.limit.attempt", []string{"count", "duration"}, nil) {
		return
	}
	r.Attempt = p.optionalDuration(n.get("duration"), "retry.limit.attempt.duration")
	if c := n.get("count"); c != nil {
		count, ok := c.value.(int)
		if !ok || count < 0 || count > RetriesMax {
			p.wrong(c, "count", "write a count such as 3, without quotes", "retry.limit.attempt.count must be a whole number from 0 to %d", RetriesMax)
			return
		}
		r.Count = count
	}
}

func (p *parser) backoff(n *node) Backoff {
	words := []string{"constant", "linear", "exponential"}
	if !p.fields(n, "retry.backoff", words, nil) {
		return 0
	}
	if len(n.pairs) != 1 {
		p.wrong(n, "backoff", "write backoff: { exponential: {} }", "retry.backoff must name one of %s", strings.Join(words, ", "))
		return 0
	}
	f := n.pairs[0]
	if f.value.kind != isNull && (f.value.kind != isMap || len(f.value.pairs) > 0) {
		p.wrong(f.value, f.key, "write "+f.key+": {}", "retry.backoff.%s takes no settings", f.key)
	}
	return Backoff(slices.Index(words, f.key))
}
