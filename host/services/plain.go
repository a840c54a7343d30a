package services

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/weftrun/weft"
)

// Plain is a path that a module answers without a method: JSON comes in, and what
// Serve likes goes out.
type Plain struct {
	Route string // POST /v1/checkout/{id}
	Bound Binding
	// Serve answers a request. Its input is the body as it came; where there are
	// parameters in the path or in the query, an object with them as fields too.
	Serve func(w http.ResponseWriter, r *http.Request, input []byte)
}

// plainRules are the rules of a module's plain paths.
func (m Module) plainRules() ([]*rule, error) {
	var all []*rule
	taken := map[string]bool{}
	for _, r := range m.Schema.rules {
		taken[r.key()] = true
	}
	for i := range m.Plain {
		p := &m.Plain[i]
		verb, path, _ := strings.Cut(p.Route, " ")
		r := &rule{plain: p, verb: verb, template: path}
		err := r.parse(path)
		switch {
		case verb == "" || strings.Trim(verb, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || err != nil:
			return nil, weft.Errorf(weft.InvalidArgument, "services.Add", "module %s: %.200q is no route", m.Name, p.Route).WithHint("write such as POST /v1/checkout/{id}")
		case taken[r.key()]:
			return nil, weft.Errorf(weft.InvalidArgument, "services.Add", "module %s has %s twice", m.Name, r.key()).WithHint("bind it once")
		}
		taken[r.key()] = true
		all = append(all, r)
	}
	return all, nil
}

// bound is what a rule is for, to those who read of it.
func (r *rule) bound() string {
	if r.plain != nil {
		return "to " + r.plain.Bound.Workflow
	}
	return string(r.method.FullName())
}

// servePlain serves a call of a plain path.
func (f found) servePlain(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	input, err := f.input(r)
	if err != nil {
		refuseREST(w, wire(err))
		return
	}
	ctx, end := weft.Until(ctx, f.v.life)
	defer end(nil)
	f.rule.plain.Serve(w, r.WithContext(ctx), input)
}

// input is what a plain path is given. The path has the last word, then the query.
func (f found) input(r *http.Request) ([]byte, error) {
	body, err := f.body(r)
	if err != nil {
		return nil, err
	}
	if len(body) > 0 && !isJSON(r.Header.Get("Content-Type")) {
		return nil, badREST("the body is %.50q and not application/json", r.Header.Get("Content-Type"))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badREST("the query: %w", err)
	}
	if len(query) == 0 && len(f.rule.vars) == 0 {
		return body, nil
	}
	fields := map[string]json.RawMessage{}
	if len(body) > 0 && json.Unmarshal(body, &fields) != nil {
		return nil, badREST("the body is no JSON object, which parameters can be put into")
	}
	if fields == nil { // it was null
		fields = map[string]json.RawMessage{}
	}
	put := func(name string, value any) {
		fields[name], err = json.Marshal(value) // texts have a form in JSON
	}
	for name, values := range query {
		if len(values) == 1 {
			put(name, values[0])
		} else {
			put(name, values)
		}
	}
	for _, v := range f.rule.vars {
		put(v.name(), f.text(v))
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}
