package workflows

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/weftrun/weft"
)

// OpenAPI is a call of an operation that an OpenAPI document describes.
type OpenAPI struct {
	Operation  string    // operationId
	Parameters *Template // by name; may be nil
	Auth       *Auth     // of the operation; may be nil
}

func (p *parser) openAPI(n *node) *HTTP {
	known := []string{"document", "operationId", "parameters", "authentication", "output", "redirect"}
	if !p.fields(n, "with", known, nil) || !p.require(n, "with", "document", "operationId") {
		return nil
	}
	h := &HTTP{Method: "GET", OpenAPI: &OpenAPI{
		Operation: p.text(n.get("operationId"), "operationId"),
		Auth:      p.authentication(n.get("authentication")),
	}}
	if list := n.get("parameters"); list != nil && p.mapping(list, "parameters") {
		h.OpenAPI.Parameters = p.template(list, "parameters", inTask)
	}
	h.Output = HTTPOutput(p.oneOf(n.get("output"), "output", "content", "raw", "response"))
	h.Redirect = p.redirect(n.get("redirect"))
	document := n.get("document")
	if p.fields(document, "document", []string{"name", "endpoint"}, nil) && p.require(document, "document", "endpoint") {
		p.text(document.get("name"), "document.name")
		h.Endpoint, h.Auth = p.endpoint(document.get("endpoint"))
	}
	return h
}

// Operation is what an OpenAPI document says of one operation.
type Operation struct {
	Method     string      `json:"method"` // upper case
	URL        string      `json:"url"`    // absolute, with {name} for each parameter in the path
	Parameters []Parameter `json:"parameters,omitempty"`
	Body       string      `json:"body,omitempty"` // content type of the parameter in the body, or of the form
}

// Parameter is one parameter of an operation.
type Parameter struct {
	Name     string `json:"name"`
	In       string `json:"in"` // path, query, header, cookie, body or form
	Required bool   `json:"required,omitempty"`
	Join     string `json:"join,omitempty"` // between the elements of a list; empty repeats the parameter
}

// BodyParameter is the name under which a workflow gives a request body that
// the document does not name. OpenAPI 2 names it, OpenAPI 3 does not.
const BodyParameter = "body"

// openAPIDepth bounds references that lead to references.
const openAPIDepth = 8

// FindOperation reads an operation from a document of OpenAPI 3 or Swagger 2,
// in JSON or in the YAML of workflows, that was fetched from base.
func FindOperation(document []byte, base, id string) (Operation, error) {
	d := &openAPIDocument{}
	fail := func(format string, args ...any) (Operation, error) {
		return Operation{}, weft.Errorf(weft.InvalidArgument, "workflows.FindOperation", format, args...)
	}
	var err error
	if d.base, err = url.Parse(base); err != nil {
		return fail("the document's address: %w", err)
	}
	if d.root, err = readDocument(document); err != nil {
		return fail("%s is no OpenAPI document: %w", base, err)
	}
	version, _ := d.root["openapi"].(string)
	d.two = d.root["swagger"] == "2.0"
	if !d.two && !strings.HasPrefix(version, "3.") {
		return fail("%s is no document of OpenAPI 3 or Swagger 2", base)
	}
	paths, _ := d.root["paths"].(map[string]any)
	var ids []string
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := d.object(paths[path])
		for _, method := range []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"} {
			operation := d.object(item[method])
			name, _ := operation["operationId"].(string)
			if name == id {
				o, err := d.operation(path, method, item, operation)
				if err != nil {
					return fail("operation %s of %s: %w", id, base, err)
				}
				return o, nil
			}
			if name != "" {
				ids = append(ids, name)
			}
		}
	}
	if near := Nearest(id, ids); near != "" {
		return fail("%s has no operation %s; did you mean %s?", base, id, near)
	}
	return fail("%s has no operation %s", base, id)
}

func readDocument(src []byte) (map[string]any, error) {
	v, err := DecodeJSON(src)
	if err != nil {
		var why string
		root := readYAML(src, func(line, _ int, _, message, _ string) {
			if why == "" {
				why = fmt.Sprintf("line %d: %s", line, message)
			}
		})
		if root == nil {
			return nil, fmt.Errorf("it is neither JSON (%w) nor YAML (%s)", err, why)
		}
		v = root.plain()
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it is no object")
	}
	return m, nil
}

type openAPIDocument struct {
	root map[string]any
	base *url.URL
	two  bool // Swagger 2
}

// object is v as an object, behind references to other places of the document.
func (d *openAPIDocument) object(v any) map[string]any {
	for range openAPIDepth {
		m, _ := v.(map[string]any)
		ref, ok := m["$ref"].(string)
		if !ok {
			return m
		}
		v = d.at(ref)
	}
	return nil
}

func (d *openAPIDocument) at(ref string) (v any) {
	pointer, local := strings.CutPrefix(ref, "#/")
	if !local {
		return nil
	}
	v = d.root
	for _, key := range strings.Split(pointer, "/") {
		m, _ := v.(map[string]any)
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
	}
	return v
}

func (d *openAPIDocument) operation(path, method string, item, operation map[string]any) (Operation, error) {
	server, err := d.server(item, operation)
	if err != nil {
		return Operation{}, err
	}
	o := Operation{Method: strings.ToUpper(method), URL: strings.TrimSuffix(server, "/") + path}
	shared, _ := item["parameters"].([]any)
	own, _ := operation["parameters"].([]any)
	for _, v := range slices.Concat(own, shared) { // those of the operation come first and hide the others
		q, err := d.parameter(d.object(v))
		if err != nil {
			return Operation{}, err
		}
		if !slices.ContainsFunc(o.Parameters, func(p Parameter) bool { return p.Name == q.Name && p.In == q.In }) {
			o.Parameters = append(o.Parameters, q)
		}
	}
	if d.two {
		o.Body, err = d.consumes(operation, o.Parameters)
	} else if body := d.object(operation["requestBody"]); body != nil {
		required, _ := body["required"].(bool)
		o.Parameters = append(o.Parameters, Parameter{Name: BodyParameter, In: "body", Required: required})
		content, _ := body["content"].(map[string]any)
		o.Body, err = contentType(slices.Sorted(maps.Keys(content)))
	}
	return o, err
}

// server is the address that the path is under.
func (d *openAPIDocument) server(item, operation map[string]any) (string, error) {
	address := "/"
	if d.two {
		address = d.swaggerServer()
	} else {
		for _, from := range []map[string]any{operation, item, d.root} {
			if list, _ := from["servers"].([]any); len(list) > 0 {
				address = serverURL(d.object(list[0]))
				break
			}
		}
	}
	u, err := d.base.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("its server is %q, no address that starts with http:// or https://", address)
	}
	return u.String(), nil
}

func (d *openAPIDocument) swaggerServer() string {
	scheme, host := d.base.Scheme, d.base.Host
	if h, ok := d.root["host"].(string); ok {
		host = h
	}
	if schemes, _ := d.root["schemes"].([]any); len(schemes) > 0 && !slices.Contains(schemes, any(scheme)) {
		scheme, _ = schemes[0].(string)
	}
	base, _ := d.root["basePath"].(string)
	return scheme + "://" + host + "/" + strings.TrimPrefix(base, "/")
}

// serverURL is the address of a server, with the defaults of its variables.
func serverURL(server map[string]any) string {
	address, _ := server["url"].(string)
	variables, _ := server["variables"].(map[string]any)
	for name, v := range variables {
		m, _ := v.(map[string]any)
		value, _ := m["default"].(string)
		address = strings.ReplaceAll(address, "{"+name+"}", value)
	}
	return address
}

func (d *openAPIDocument) parameter(m map[string]any) (Parameter, error) {
	var p Parameter
	p.Name, _ = m["name"].(string)
	p.In, _ = m["in"].(string)
	p.Required, _ = m["required"].(bool)
	if p.In == "formData" {
		p.In = "form"
	}
	if p.Name == "" || !slices.Contains([]string{"path", "query", "header", "cookie", "body", "form"}, p.In) {
		return p, fmt.Errorf("a parameter that cannot be read: name %q, in %q", p.Name, p.In)
	}
	if d.two {
		format, _ := m["collectionFormat"].(string)
		join, known := map[string]string{"": ",", "csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|", "multi": ""}[format]
		if !known {
			return p, fmt.Errorf("parameter %s has the collectionFormat %q", p.Name, format)
		}
		p.Join = join
		return p, nil
	}
	if explode, set := m["explode"].(bool); p.In != "query" || set && !explode {
		p.Join = ","
	}
	return p, nil
}

// consumes is the content type of a Swagger 2 request with a body or a form.
func (d *openAPIDocument) consumes(operation map[string]any, parameters []Parameter) (string, error) {
	in := func(where string) bool {
		return slices.ContainsFunc(parameters, func(p Parameter) bool { return p.In == where })
	}
	if !in("body") && !in("form") {
		return "", nil
	}
	list, ok := operation["consumes"].([]any)
	if !ok {
		list, _ = d.root["consumes"].([]any)
	}
	var types []string
	for _, v := range list {
		s, _ := v.(string)
		types = append(types, s)
	}
	switch {
	case in("form") && len(types) > 0 && !slices.Contains(types, formType):
		return "", fmt.Errorf("its form is sent as %s, which is not written here", strings.Join(types, ", "))
	case in("form"):
		return formType, nil
	case len(types) == 0:
		return "application/json", nil
	}
	return contentType(types)
}

const formType = "application/x-www-form-urlencoded"

// contentType chooses one that can be written.
func contentType(types []string) (string, error) {
	for _, can := range []func(string) bool{isJSONType, func(t string) bool { return t == formType }, func(t string) bool { return strings.HasPrefix(t, "text/") }} {
		if i := slices.IndexFunc(types, can); i >= 0 {
			return types[i], nil
		}
	}
	if slices.Contains(types, "*/*") || slices.Contains(types, "application/*") {
		return "application/json", nil
	}
	return "", fmt.Errorf("its body is sent as %s, which is not written here", strings.Join(types, ", "))
}

// HTTPCall is a plain HTTP request.
type HTTPCall struct {
	Method, URL string
	Headers     map[string]string // names in lower case
	Body        []byte
}

// Call is the request that calls o with the given values of its parameters.
func (o Operation) Call(values map[string]any) (HTTPCall, error) {
	q := HTTPCall{Method: o.Method, URL: o.URL, Headers: map[string]string{}}
	fail := func(format string, args ...any) (HTTPCall, error) {
		return HTTPCall{}, weft.Errorf(weft.InvalidArgument, "workflows.Operation.Call", format, args...)
	}
	query, form, known := url.Values{}, url.Values{}, map[string]bool{}
	var cookies []string
	for _, p := range o.Parameters {
		known[p.Name] = true
		v, given := values[p.Name]
		if !given || v == nil {
			if p.Required {
				return fail("the parameter %s is required", p.Name)
			}
			continue
		}
		switch p.In {
		case "path":
			q.URL = strings.ReplaceAll(q.URL, "{"+p.Name+"}", strings.ReplaceAll(url.QueryEscape(plainText(v, p.Join)), "+", "%20"))
		case "query":
			p.add(query, v)
		case "form":
			p.add(form, v)
		case "header":
			q.Headers[strings.ToLower(p.Name)] = plainText(v, p.Join)
		case "cookie":
			cookies = append(cookies, p.Name+"="+url.QueryEscape(plainText(v, p.Join)))
		case "body":
			body, err := o.body(v)
			if err != nil {
				return fail("%w", err)
			}
			q.Body, q.Headers["content-type"] = body, o.Body
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !known[name] {
			return fail("the operation has no parameter %s, only %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	if len(form) > 0 {
		q.Body, q.Headers["content-type"] = []byte(form.Encode()), formType
	}
	if len(cookies) > 0 {
		q.Headers["cookie"] = strings.Join(cookies, "; ")
	}
	if len(query) > 0 {
		mark := "?"
		if strings.Contains(q.URL, "?") {
			mark = "&"
		}
		q.URL += mark + query.Encode()
	}
	return q, nil
}

func (p Parameter) add(to url.Values, v any) {
	list, ok := v.([]any)
	if !ok || p.Join != "" {
		to.Add(p.Name, plainText(v, p.Join))
		return
	}
	for _, e := range list {
		to.Add(p.Name, plainText(e, ","))
	}
}

func (o Operation) body(v any) ([]byte, error) {
	if o.Body != formType {
		return EncodeContent(v, o.Body), nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the body is a form: give it as a mapping")
	}
	form := url.Values{}
	for name, e := range m {
		Parameter{Name: name}.add(form, e)
	}
	return []byte(form.Encode()), nil
}

// plainText is v as text in a request: a list joined, a string as it is,
// anything else as JSON.
func plainText(v any, join string) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = plainText(e, join)
		}
		return strings.Join(parts, join)
	}
	return string(AppendJSON(nil, v))
}
