package workflows

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/weftrun/weft"
)

// catalogs checks use.catalogs.
func (p *parser) catalogs(n *node) {
	if n == nil || !p.mapping(n, "use.catalogs") {
		return
	}
	for _, f := range n.pairs {
		if f.key == weft.DefaultCatalog {
			p.report(f.line, f.column, f.key, f.key+" has a meaning already: the handlers of the host", "choose another name")
		}
		p.catalog(f.key, f.value)
	}
}

// catalog reads where a catalog is.
func (p *parser) catalog(name string, n *node) (root, authorization string) {
	what := "use.catalogs." + name
	if !p.fields(n, what, []string{"endpoint"}, nil) || !p.require(n, what, "endpoint") {
		return "", ""
	}
	return p.fixedEndpoint(n.get("endpoint"), what+".endpoint")
}

// farFunction makes a task of a call of a function that stands elsewhere, if it
// is one: by its address, or as name:version@catalog.
func (p *parser) farFunction(t *Task, n *node, name string) bool {
	at := n.get("call")
	var uri, authorization string
	if strings.Contains(name, "://") {
		uri = p.fixedURI(at, name, "call")
	} else {
		function, in, _ := strings.Cut(name, "@")
		list := p.use.get("catalogs")
		if list == nil || in == weft.DefaultCatalog || list.get(in) == nil {
			return false
		}
		uri, authorization = p.cataloged(at, function, in, list.get(in))
	}
	p.arguments(t, n)
	if uri == "" {
		return true
	}
	if text, ok := p.resource(at, uri, authorization); ok {
		p.callOf(t, at, name, func() *Task { return p.expandAlone(name, uri, text) })
	}
	return true
}

// expandAlone reads a function that stands elsewhere. It has what its call gives
// it and what it says itself: nothing of the workflow's use, and no secrets.
func (p *parser) expandAlone(name, uri, text string) (t *Task) {
	use, secrets := p.use, p.secrets
	p.use, p.secrets = &node{kind: isMap}, nil
	p.in(uri, func() {
		if root := p.tree(uri, text); root != nil {
			t = p.expand(pair{key: name, line: 1, column: 1, value: root})
		}
	})
	p.use, p.secrets = use, secrets
	return t
}

var functionForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)

// cataloged is the address of a function of a catalog.
func (p *parser) cataloged(at *node, function, in string, catalog *node) (uri, authorization string) {
	root, authorization := p.catalog(in, catalog)
	name, version, _ := strings.Cut(function, ":")
	if !functionForm.MatchString(name) || !versionForm.MatchString(version) {
		p.wrong(at, "call", "write its name and its whole version, such as log:1.0.0@"+in, "%q is no function of the catalog %s", function, in)
		return "", ""
	}
	u, err := url.Parse(root)
	if err != nil || root == "" {
		return "", "" // told where it is read
	}
	rawFiles(u)
	return u.JoinPath("functions", name, version, "function.yaml").String(), authorization
}

// rawFiles turns the page of a repository into the place of its files, as the
// DSL has it for GitHub and GitLab.
func rawFiles(u *url.URL) {
	path := strings.Trim(u.Path, "/")
	part := strings.SplitN(path, "/", 3)
	switch {
	case u.Host == "github.com" && len(part) == 2:
		u.Host, u.Path = "raw.githubusercontent.com", "/"+path+"/HEAD"
	case u.Host == "github.com" && len(part) == 3 && strings.HasPrefix(part[2], "tree/"):
		branch, below, _ := strings.Cut(strings.TrimPrefix(part[2], "tree/"), "/")
		u.Host, u.Path = "raw.githubusercontent.com", "/"+part[0]+"/"+part[1]+"/refs/heads/"+branch+"/"+below
	case u.Host == "gitlab.com" && !strings.Contains(path, "/-/"):
		u.Path = "/" + path + "/-/raw/HEAD"
	case u.Host == "gitlab.com":
		u.Path = "/" + strings.Replace(path, "/-/tree/", "/-/raw/", 1)
	}
}
