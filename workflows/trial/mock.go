package trial

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// answer is what a mock does with one call.
type answer struct {
	value  *workflows.Template // on the input of the call
	code   weft.Code           // OK: it answers
	text   string              // of the error
	after  time.Duration       // until it answers
	open   time.Duration       // its peer is not there so long: the step parks
	status int                 // of HTTP
	header map[string]string   // of HTTP
}

// mocks reads the mocks under a key; each is one answer, or a list of them in
// turn, of which the last one stays.
func (p *parser) mocks(f *File, t workflows.Tree, in map[string]workflows.Tree, key string) map[string][]answer {
	all := map[string][]answer{}
	if _, ok := in[key]; !ok {
		return all
	}
	if !t.IsMap() {
		p.wrong(t, "write charge-card: { answer: { id: pay-1 } }", "mocks must be a mapping")
	}
	known := callable(f)
	for _, b := range t.Branches() {
		if !slices.Contains(known, b.Key) && !strings.Contains(b.Key, " ") {
			hint := "they call " + strings.Join(known, ", ")
			if near := workflows.Nearest(b.Key, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			p.wrong(b.At, hint, "no workflow of this test calls %s", b.Key)
		}
		list, many := b.Tree.Items()
		if !many {
			list = []workflows.Tree{b.Tree}
		}
		if len(list) == 0 {
			p.wrong(b.Tree, "write { answer: ... }", "%s has no answer", b.Key)
		}
		for _, t := range list {
			all[b.Key] = append(all[b.Key], p.answer(t, b.Key))
		}
	}
	return all
}

// callable lists the names under which handlers and workflows may be mocked.
func callable(f *File) []string {
	names := map[string]bool{}
	for _, d := range f.defs {
		for _, h := range d.Handlers() {
			for _, name := range handlerNames(h.Ref) {
				names[name] = true
			}
		}
		for _, w := range d.Workflows() {
			for _, name := range workflowNames(w.Ref) {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// The names of what is called, the most exact one first.
func handlerNames(r weft.Ref) []string {
	if r.Version == "" {
		return []string{r.Name}
	}
	return []string{r.Name + ":" + r.Version, r.Name}
}

func workflowNames(r workflows.WorkflowRef) []string {
	return []string{r.String(), r.Namespace + "/" + r.Name}
}

func (p *parser) answer(t workflows.Tree, name string) answer {
	a := answer{status: 200, value: p.null()}
	known := []string{"answer", "fail", "after", "open"}
	if strings.Contains(name, " ") {
		known = append(known, "status", "headers")
	}
	at := p.fields(t, "the mock of "+name, known...)
	if v, ok := at["answer"]; ok {
		a.value = p.template(v)
	}
	if v, ok := at["fail"]; ok {
		a.code, a.text = p.failure(v)
		if _, both := at["answer"]; both {
			p.wrong(v, "write one of them, or a list of both in turn", "the mock of %s has both answer and fail", name)
		}
	}
	if v, ok := at["after"]; ok {
		a.after = p.duration(v, "after")
	}
	if v, ok := at["open"]; ok {
		a.open = p.duration(v, "open")
	}
	if v, ok := at["status"]; ok {
		n, ok := v.Value().(int)
		if !ok || n < 100 || n > 599 {
			p.wrong(v, "write one such as 404", "status must be a whole number from 100 to 599")
		}
		a.status = n
	}
	if v, ok := at["headers"]; ok {
		a.header = map[string]string{}
		for _, b := range v.Branches() {
			a.header[strings.ToLower(b.Key)] = p.text(b.Tree, b.Key)
		}
	}
	return a
}

func (p *parser) null() *workflows.Template {
	t, _ := workflows.TemplateOf(nil) // holds no expression that could be wrong
	return t
}

func (p *parser) failure(t workflows.Tree) (weft.Code, string) {
	at := p.fields(t, "fail", "code", "message")
	v, ok := at["code"]
	if !ok {
		p.wrong(t, "write fail: { code: unavailable, message: ... }", "fail has no code")
		return weft.Unknown, ""
	}
	name := p.text(v, "code")
	code := weft.ParseCode(name)
	if code == weft.OK || code == weft.Unknown && name != "unknown" {
		p.wrong(v, "write one of Connect's, such as unavailable, not_found or invalid_argument", "there is no code %s", name)
	}
	text := name
	if v, ok := at["message"]; ok {
		text = p.text(v, "message")
	}
	return code, text
}

// call is what a run asks of the outside: names under which a mock may stand,
// and what its expressions see.
type call struct {
	names []string
	input any
}

func callOf(c machine.Command) (call, error) {
	if c.Kind == machine.CallHTTP && c.HTTP.GRPC != nil {
		input, err := workflows.DecodeJSON(c.HTTP.GRPC.Arguments)
		return call{[]string{c.HTTP.GRPC.Name()}, input}, err
	}
	if o := c.HTTP; c.Kind == machine.CallHTTP && o.OpenAPI != nil {
		return call{[]string{"openapi " + o.OpenAPI.Operation}, map[string]any{"document": o.URL, "parameters": any(o.OpenAPI.Parameters)}}, nil
	}
	if c.Kind == machine.CallHTTP {
		input := map[string]any{"method": c.HTTP.Method, "url": c.HTTP.URL, "headers": map[string]any{}, "body": nil}
		for name, v := range c.HTTP.Headers {
			input["headers"].(map[string]any)[name] = v
		}
		if len(c.HTTP.Body) > 0 {
			body, err := workflows.DecodeContent(c.HTTP.Body, c.HTTP.Headers["content-type"])
			if err != nil {
				return call{}, err
			}
			input["body"] = body
		}
		return call{[]string{c.HTTP.Method + " " + c.HTTP.URL}, input}, nil
	}
	input, err := workflows.DecodeJSON(c.Input)
	if c.Kind == machine.RunWorkflow {
		return call{workflowNames(c.Run.Workflow), input}, err
	}
	return call{handlerNames(c.Handler), input}, err
}

// mock is the name of the mock that takes the call, or "". A name that ends in
// a star takes what begins like it; the longest such name goes first.
func (c *Case) mock(names []string) string {
	best := ""
	for _, name := range names {
		if c.mocks[name] != nil {
			return name
		}
		for pattern := range c.mocks {
			if prefix, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(name, prefix) && len(pattern) > len(best) {
				best = pattern
			}
		}
	}
	return best
}

// entry is what the answer makes of a command.
func (a answer) entry(c machine.Command, input any) machine.Entry {
	failed := func(err error) machine.Entry {
		return machine.Entry{Kind: machine.Failed, Step: c.Step, Fault: machine.FaultOf(err)}
	}
	if a.code != weft.OK {
		return failed(&weft.Error{Code: a.code, Op: "trial.mock", Err: fmt.Errorf("%s", a.text)})
	}
	v, err := a.value.Eval(input, workflows.NoVariables, workflows.OutputMax)
	if err != nil {
		return failed(weft.Errorf(weft.Internal, "trial.mock", "the answer of the mock: %w", err))
	}
	if c.Kind != machine.CallHTTP || c.HTTP.GRPC != nil {
		return machine.Entry{Kind: machine.Finished, Step: c.Step, Data: workflows.AppendJSON(nil, v)}
	}
	header := map[string]string{"content-type": "application/json"}
	maps.Copy(header, a.header)
	res := weft.Response{Status: a.status, Headers: header, Body: workflows.EncodeContent(v, header["content-type"])}
	if c.HTTP.OpenAPI != nil {
		return machine.Entry{Kind: machine.Finished, Step: c.Step, Data: machine.EncodeOperation(c.HTTP, res)}
	}
	return machine.Entry{Kind: machine.Finished, Step: c.Step, Data: machine.EncodeHTTP(res)}
}
