package workflows

import "slices"

// FunctionTasksMax bounds the tasks that functions bring in: each call has its
// own, also where functions call functions.
const FunctionTasksMax = 10_000

// builtIn are the names of calls that the language has.
var builtIn = []string{"http", "openapi", "grpc", "asyncapi", "mcp", "a2a"}

// function is the task that use.functions has under a name.
func (p *parser) function(name string) (pair, bool) {
	if list := p.use.get("functions"); list != nil {
		for _, f := range list.pairs {
			if f.key == name {
				return f, true
			}
		}
	}
	return pair{}, false
}

// functions checks each function once, so that a mistake in one that nobody
// calls is found. What it brings in is dropped.
func (p *parser) functions(n *node) {
	if n == nil || !p.mapping(n, "use.functions") {
		return
	}
	for _, f := range n.pairs {
		if slices.Contains(builtIn, f.key) {
			p.report(f.line, f.column, f.key, f.key+" is a call of the language, no name for a function", "choose another name")
			continue
		}
		def, handlers := *p.def, p.handlers
		p.expand(f)
		*p.def, p.handlers = def, handlers
	}
}

// callFunction makes a task of the function's own, to which the call gives its
// arguments.
func (p *parser) callFunction(t *Task, n *node, f pair) {
	p.arguments(t, n)
	p.callOf(t, n.get("call"), f.key, func() *Task { return p.expand(f) })
}

// arguments reads what the call gives to the function.
func (p *parser) arguments(t *Task, n *node) {
	t.Kind = KindDo
	if with := n.get("with"); with != nil {
		t.With = p.with(with)
	}
}

// callOf puts a function into the task that calls it.
func (p *parser) callOf(t *Task, at *node, name string, expand func() *Task) {
	switch {
	case slices.Contains(p.inside, name):
		p.wrong(at, "call", "let it call another workflow with run", "the function %s calls itself", name)
	case p.expanded > FunctionTasksMax:
		p.wrong(at, "call", "let a workflow run others with run", "functions come to more than %d tasks", FunctionTasksMax)
	default:
		if task := expand(); task != nil {
			t.Do = []*Task{task}
		}
	}
}

// expand reads a function as the task that a call of it runs. It sees no
// variables of who calls it.
func (p *parser) expand(f pair) *Task {
	locals := p.locals
	p.locals, p.inside = nil, append(p.inside, f.key)
	t := p.task(f, "/use/functions/"+pointerEscape.Replace(f.key))
	if f.value.kind == isMap {
		p.directions(t, f.value, nil)
	}
	p.locals, p.inside = locals, p.inside[:len(p.inside)-1]
	return t
}
