package workflows

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Bounds of the texts that a workflow has elsewhere.
const (
	ResourcesMax = 16      // of one workflow, with those that they name themselves
	ResourceMax  = 1 << 20 // bytes of them all
)

// aloneHint is why a name of the workflow is not known in a function of elsewhere.
const aloneHint = "a function from elsewhere sees nothing of the workflow that calls it"

// Resource is a text that stands elsewhere: a schema, a script or a function.
// It is fetched once, when the workflow is applied, and kept with it.
type Resource struct {
	URI           string
	Authorization string // the header to ask for it with, or empty
	File          string // where it is named: the file, or the URI of another resource
	Line, Column  int    // of the endpoint there
}

// Problem says what is wrong with the resource, where it is named.
func (r Resource) Problem(message, hint string) Problem {
	return Problem{File: r.File, Line: r.Line, Column: r.Column, Key: "endpoint", Message: r.URI + " " + message, Hint: hint}
}

// Missing lists the resources whose texts ParseWith was not given. A definition
// that misses any is there to be looked at; it does not run.
func (d *Definition) Missing() []Resource { return d.missing }

// Resources are the texts that the definition has from elsewhere, by URI, with
// every handler pinned where the definition is. They belong to its Source.
func (d *Definition) Resources() map[string]string { return d.resources }

// textOf is what is read under a name: the source, or a resource.
func (d *Definition) textOf(file string) []byte {
	if text, ok := d.resources[file]; ok {
		return []byte(text)
	}
	return d.source
}

// external reads an external resource. What it gives is of use only if ok.
func (p *parser) external(n *node, what string) (uri, text string, ok bool) {
	if !p.fields(n, what, []string{"name", "endpoint"}, nil) || !p.require(n, what, "endpoint") {
		return "", "", false
	}
	p.text(n.get("name"), what+".name")
	endpoint := n.get("endpoint")
	uri, authorization := p.fixedEndpoint(endpoint, what+".endpoint")
	if uri == "" {
		return "", "", false
	}
	text, ok = p.resource(endpoint, uri, authorization)
	return uri, text, ok
}

// resource gives the text of a resource that n names, or notes that it is missing.
func (p *parser) resource(n *node, uri, authorization string) (text string, ok bool) {
	if text, ok = p.resources[uri]; ok {
		if p.def.resources == nil {
			p.def.resources = map[string]string{}
		}
		p.def.resources[uri] = text
		return text, true
	}
	if slices.ContainsFunc(p.def.missing, func(r Resource) bool { return r.URI == uri }) {
		return "", false
	}
	if len(p.def.missing)+len(p.def.resources) >= ResourcesMax {
		p.wrong(n, "endpoint", "write some of them out", "more than %d texts are elsewhere", ResourcesMax)
		return "", false
	}
	p.def.missing = append(p.def.missing, Resource{URI: uri, Authorization: authorization, File: p.file, Line: n.line, Column: n.column})
	return "", false
}

// fixedEndpoint reads an endpoint that is the same in every run. It gives no
// URI when that is wrong.
func (p *parser) fixedEndpoint(n *node, what string) (uri, authorization string) {
	at := n
	if n.kind == isMap {
		if !p.fields(n, what, []string{"uri", "authentication"}, nil) || !p.require(n, what, "uri") {
			return "", ""
		}
		at = n.get("uri")
	}
	uri = p.fixedURI(at, p.text(at, what), what)
	if a := n.get("authentication"); a != nil {
		authorization = p.authorization(a)
	}
	return uri, authorization
}

func (p *parser) fixedURI(n *node, text, what string) string {
	if n.kind != isString {
		return ""
	}
	u, err := url.Parse(text)
	hint := ""
	switch {
	case strings.ContainsAny(text, "{}$ "):
		p.wrong(n, what, "write the whole address: what it names is fetched once, when the workflow is applied", "%s must be fixed, and is %q", what, text)
		return ""
	case strings.HasPrefix(text, "file:"):
		hint = "a host reads no files of yours: write it out in the workflow, or serve it over https"
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		hint = "start with https:// or http://"
	case u.User != nil:
		hint = "write who asks as endpoint: { uri: ..., authentication: { basic: ... } }"
	case u.Fragment != "":
		hint = "leave out what stands behind #: it is fetched as a whole"
	default:
		return text
	}
	p.wrong(n, what, hint, "%s is %q", what, text)
	return ""
}

// authorization is the header of a policy that needs nothing but what is written here.
func (p *parser) authorization(n *node) string {
	a := p.authentication(n)
	if a == nil {
		return ""
	}
	constant := func(t *Template) (string, bool) {
		if t == nil {
			return "", false
		}
		v, fixed := t.Constant()
		s, is := v.(string)
		return s, fixed && is && !strings.ContainsAny(s, "\r\n\x00")
	}
	if token, ok := constant(a.Token); ok {
		return "Bearer " + token
	}
	user, named := constant(a.User)
	password, ok := constant(a.Password)
	if a.Scheme == AuthBasic && named && ok && !strings.Contains(user, ":") {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	p.wrong(n, "authentication", "write basic or bearer, without expressions and secrets, or write out what it names in the workflow",
		"this authentication does not run where a workflow is applied")
	return ""
}

// in has read report what is wrong as of a resource.
func (p *parser) in(uri string, read func()) {
	file := p.file
	p.file = uri
	read()
	p.file = file
}

// elsewhere reports whether what is read is a resource.
func (p *parser) elsewhere() bool { return p.file != p.def.file }

// tree reads the text of a resource, within in, once. It is nil when that cannot
// be read.
func (p *parser) tree(uri, text string) *node {
	n, done := p.trees[uri]
	if done {
		return n
	}
	source := []byte(text)
	if json.Valid(source) { // tabs are white space in it, and none in YAML
		source = []byte(strings.ReplaceAll(text, "\t", " "))
	}
	if strings.TrimSpace(text) == "" {
		p.report(1, 1, "", "the text is empty", "")
	} else {
		n = readYAML(source, p.report)
	}
	if p.trees == nil {
		p.trees = map[string]*node{}
	}
	p.trees[uri] = n
	return n
}
