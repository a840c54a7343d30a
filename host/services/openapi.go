package services

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftrun/weft"
)

// openAPIPath is where descriptions are: /openapi lists them,
// /openapi/{module}/{version}.json is one, and .binpb its descriptors.
const openAPIPath = "/openapi"

// parametersMax is how many parameters of a query are described.
const parametersMax = 50

// OpenAPI describes the services of a schema by OpenAPI 3.1: the paths of Connect
// of methods that do not stream, and those of REST. The same schema gives the
// same text. Of a method that is bound it names the workflow.
func (s *Schema) OpenAPI(title, version string, bound map[string]Binding, plain ...*rule) ([]byte, error) {
	d := description{bound: bound, schemas: schemas{at: "#/components/schemas/", made: jsonObject{}}, paths: jsonObject{}, names: map[string][]string{}}
	d.schemas.made["connect.error"] = jsonObject{
		"type":     "object",
		"required": []string{"code"},
		"properties": jsonObject{
			"code":    jsonObject{"type": "string"},
			"message": jsonObject{"type": "string"},
			"details": jsonObject{"type": "array", "items": jsonObject{"type": "object", "properties": jsonObject{"type": jsonObject{"type": "string"}, "value": jsonObject{"type": "string", "contentEncoding": "base64"}}}},
		},
	}
	for m := range s.methods() {
		if !m.IsStreamingClient() && !m.IsStreamingServer() {
			op := d.operation(m, string(m.FullName()))
			op["requestBody"] = body(d.schemas.message(m.Input()))
			op["responses"].(jsonObject)["200"] = d.answer("application/json", d.schemas.message(m.Output()))
			d.paths[procedure(m)] = jsonObject{"post": op}
		}
	}
	for i, r := range s.rules {
		d.rule(r, fmt.Sprintf("%s.rest%d", r.method.FullName(), i+1))
	}
	for i, r := range plain {
		d.plain(r, fmt.Sprintf("%s.route%d", title, i+1))
	}
	return json.MarshalIndent(jsonObject{
		"openapi":    "3.1.0",
		"info":       jsonObject{"title": title, "version": version},
		"paths":      d.paths,
		"components": jsonObject{"schemas": d.schemas.made},
	}, "", "  ")
}

// description is what is written of a schema.
type description struct {
	bound   map[string]Binding // by procedure
	schemas schemas
	paths   jsonObject
	names   map[string][]string // of the parameters of a path, by what it has for them: those of the first rule
}

func (d *description) operation(m protoreflect.MethodDescriptor, id string) jsonObject {
	op := described(m, jsonObject{
		"operationId": id,
		"tags":        []string{string(m.Parent().FullName())},
		"responses":   jsonObject{"default": d.answer("application/json", jsonObject{"$ref": d.schemas.at + "connect.error"})},
	})
	if b, ok := d.bound[procedure(m)]; ok {
		op["x-weft-workflow"] = b.Workflow
	}
	return op
}

func (d *description) answer(kind string, schema jsonObject) jsonObject {
	what := "what is answered"
	if ref, _ := schema["$ref"].(string); strings.HasSuffix(ref, "connect.error") {
		what = "an error"
	}
	return jsonObject{"description": what, "content": jsonObject{kind: jsonObject{"schema": schema}}}
}

func body(schema jsonObject) jsonObject {
	return jsonObject{"required": true, "content": jsonObject{"application/json": jsonObject{"schema": schema}}}
}

// known are the methods that a path of OpenAPI has.
var known = []string{"GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"}

func (d *description) rule(r *rule, id string) {
	op := d.operation(r.method, id)
	path, parameters := d.path(r)
	in := r.method.Input()
	switch {
	case r.whole:
		op["requestBody"] = body(d.schemas.message(in))
	case r.body != nil:
		op["requestBody"] = body(d.schemas.field(r.body))
		d.schemas.message(in) // and so what the field refers to
		fallthrough
	default:
		parameters = d.query(r, parameters, in, nil)
	}
	op["parameters"] = parameters
	b, ok := d.bound[procedure(r.method)]
	if ok {
		accepted := d.answered(r)
		accepted["description"] = "The run goes on: Weft-Run is its id, Location what became of it."
		op["responses"].(jsonObject)["202"] = accepted
	}
	if !b.Async {
		op["responses"].(jsonObject)["200"] = d.answered(r)
	}
	d.put(path, r.verb, op)
}

// plain adds a path without a method: any JSON.
func (d *description) plain(r *rule, id string) {
	path, parameters := d.path(r)
	responses := jsonObject{"default": d.answer("application/json", jsonObject{"$ref": d.schemas.at + "connect.error"}), "202": d.answer("application/json", jsonObject{})}
	if !r.plain.Bound.Async {
		responses["200"] = d.answer("application/json", jsonObject{})
	}
	d.put(path, r.verb, jsonObject{"operationId": id, "x-weft-workflow": r.plain.Bound.Workflow, "parameters": parameters, "responses": responses,
		"requestBody": jsonObject{"content": jsonObject{"application/json": jsonObject{"schema": jsonObject{}}}}})
}

// put adds an operation of a path.
func (d *description) put(path, verb string, op jsonObject) {
	item, _ := d.paths[path].(jsonObject)
	if item == nil {
		item = jsonObject{}
		d.paths[path] = item
	}
	if slices.Contains(known, verb) {
		if item[strings.ToLower(verb)] == nil { // * and ** are one to OpenAPI: the first is there
			item[strings.ToLower(verb)] = op
		}
		return
	}
	others, _ := item["x-methods"].(jsonObject)
	if others == nil {
		others = jsonObject{}
		item["x-methods"] = others
	}
	others[verb] = op
}

func (d *description) answered(r *rule) jsonObject {
	if r.raw {
		return d.answer("*/*", jsonObject{})
	}
	schema := d.schemas.message(r.method.Output())
	if r.answer != nil {
		schema = d.schemas.field(r.answer)
	}
	if !r.method.IsStreamingServer() {
		return d.answer("application/json", schema)
	}
	a := d.answer("application/x-ndjson", schema)
	a["content"].(jsonObject)["text/event-stream"] = jsonObject{"schema": jsonObject{"type": "string"}}
	return a
}

// path is that of a rule, and its parameters: each * and ** is one. Paths that
// differ in names alone are one path, with the names of the first.
func (d *description) path(r *rule) (string, []jsonObject) {
	var names []string
	var about []jsonObject
	var parts []string
	for i, s := range r.path {
		if s != "*" && s != "**" {
			parts = append(parts, s)
			continue
		}
		name, schema := fmt.Sprintf("segment%d", i+1), jsonObject{"type": "string"}
		for _, v := range r.vars {
			if i >= v.from && i < v.to {
				name = v.name()
				if v.to-v.from == 1 && v.plain == "" {
					schema = d.schemas.one(v.field[len(v.field)-1])
				} else if v.to-v.from > 1 {
					name = fmt.Sprintf("%s.%d", name, i-v.from+1)
				}
			}
		}
		p := jsonObject{"in": "path", "required": true, "schema": schema}
		if s == "**" {
			p["description"] = "It may have several segments."
		}
		parts, names, about = append(parts, "{}"), append(names, name), append(about, p)
	}
	shape := "/" + strings.Join(parts, "/") + r.suffix
	if d.names[shape] == nil {
		d.names[shape] = names
	}
	path := shape
	for i, name := range d.names[shape] {
		path = strings.Replace(path, "{}", "{"+name+"}", 1)
		about[i]["name"] = name
	}
	return path, about
}

// query adds what may be in the query: fields that are one value or a list of
// them, those of messages too, but not of messages in themselves.
func (d *description) query(r *rule, to []jsonObject, md protoreflect.MessageDescriptor, within []protoreflect.FieldDescriptor) []jsonObject {
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		path := append(slices.Clone(within), fd)
		taken := path[0] == r.body || slices.ContainsFunc(r.vars, func(v variable) bool { return slices.Equal(v.field, path) })
		switch {
		case len(to) >= parametersMax || taken || fd.IsMap():
		case isScalar(fd):
			to = append(to, described(fd, jsonObject{"name": nameOf(path), "in": "query", "schema": d.schemas.field(fd)}))
		case fd.IsList() || fd.Message() == md || slices.ContainsFunc(within, func(f protoreflect.FieldDescriptor) bool { return f.Message() == fd.Message() }):
		case !strings.HasPrefix(string(fd.Message().FullName()), "google.protobuf."):
			to = d.query(r, to, fd.Message(), path)
		}
	}
	return to
}

// serveOpenAPI serves descriptions of what is live in a namespace.
func (s *Set) serveOpenAPI(w http.ResponseWriter, r *http.Request) {
	namespace := weft.NamespaceOr(r.Header.Get(NamespaceHeader))
	var all []id
	var found, described *version
	s.mu.Lock()
	for of, v := range s.live {
		if of.namespace != namespace {
			continue
		}
		all = append(all, of)
		switch r.URL.Path {
		case of.openAPI():
			found = v
		case of.descriptors():
			described = v
		}
	}
	s.mu.Unlock()
	var answer []byte
	var err error
	kind := "application/json"
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this path has other methods", http.StatusMethodNotAllowed)
		return
	case found != nil:
		answer, err = found.described()
	case described != nil:
		kind = "application/x-protobuf"
		answer, err = described.descriptors()
	case r.URL.Path == openAPIPath:
		list := make([]jsonObject, 0, len(all))
		slices.SortFunc(all, func(a, b id) int { return strings.Compare(a.String(), b.String()) })
		for _, of := range all {
			list = append(list, jsonObject{"module": of.name, "version": of.version, "path": of.openAPI(), "descriptors": of.descriptors()})
		}
		answer, err = json.Marshal(jsonObject{"descriptions": list})
	default:
		err = weft.Errorf(weft.NotFound, "services.OpenAPI", "%.200q is no description", r.URL.Path).WithHint("%s lists them", openAPIPath)
	}
	if err != nil {
		refuseREST(w, wire(err))
		return
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(answer) // the caller has gone
}

func (of id) openAPI() string     { return openAPIPath + "/" + of.name + "/" + of.version + ".json" }
func (of id) descriptors() string { return openAPIPath + "/" + of.name + "/" + of.version + ".binpb" }
