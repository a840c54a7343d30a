package workflows

import (
	"net/url"
	"strings"
)

// OAuth says how the token for a call is got (RFC 6749).
type OAuth struct {
	// Use is the secret that is the policy, for OAuthOf, and OIDC says of which of
	// the two; nil where the rest says it.
	Use  *Template
	OIDC bool

	TokenURL string // where tokens are given; empty where Discovery says it
	// Discovery is the address of the authority's configuration (OpenID Connect Discovery 1.0), or empty.
	Discovery string

	Grant      string // client_credentials or password
	Method     string // how the client says who it is, as DSL and OpenID Connect name it
	ID, Secret *Template
	Assertion  *Template // of private_key_jwt
	User       *Template // of password, as Password
	Password   *Template
	Scopes     []*Template
	Audiences  []*Template
	Issuers    []*Template // who may have issued the token; none is anybody
	JSON       bool        // the request is JSON, and no form
}

// discoveryPath is where an authority says what it is.
const discoveryPath = "/.well-known/openid-configuration"

var grants = []string{"client_credentials", "password", "authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"}

var refusedGrants = map[string]string{
	"authorization_code": "it needs a person in front of a browser: use client_credentials",
	"refresh_token":      "the DSL has no place for the refresh token: use client_credentials",
	"urn:ietf:params:oauth:grant-type:token-exchange": "exchange the token with call: http, and give it to bearer",
}

// clientMethods are the ways of a client to say who it is; the first is the default.
var clientMethods = []string{"client_secret_post", "client_secret_basic", "client_secret_jwt", "private_key_jwt", "none"}

// oauth reads oauth2 or oidc. What oidc does not say is looked for in the
// configuration of its authority, and so it is where oauth2 names that one.
func (p *parser) oauth(n *node, what string, oidc bool) *OAuth {
	known := []string{"authority", "grant", "client", "request", "issuers", "scopes", "audiences", "username", "password"}
	if !oidc {
		known = append(known, "endpoints")
	}
	refused := map[string]string{
		"subject": refusedGrants[grants[4]],
		"actor":   refusedGrants[grants[4]],
	}
	if !p.fields(n, what, known, refused) || !p.require(n, what, "authority", "grant") {
		return nil
	}
	o := &OAuth{
		Grant:     grants[p.oneOf(n.get("grant"), what+".grant", grants...)],
		Scopes:    p.texts(n.get("scopes"), what+".scopes"),
		Audiences: p.texts(n.get("audiences"), what+".audiences"),
		Issuers:   p.texts(n.get("issuers"), what+".issuers"),
	}
	if hint, no := refusedGrants[o.Grant]; no {
		p.wrong(n.get("grant"), "grant", hint, "%s.grant %s does not run", what, o.Grant)
	}
	if o.Grant == "password" && p.require(n, what, "username", "password") {
		o.User, o.Password = p.credential(n, "username"), p.credential(n, "password")
	}
	p.client(o, n, what)
	if r := n.get("request"); r != nil && p.fields(r, what+".request", []string{"encoding"}, nil) {
		o.JSON = p.oneOf(r.get("encoding"), what+".request.encoding", formType, "application/json") == 1
	}
	p.authority(o, n, what, oidc)
	return o
}

func (p *parser) client(o *OAuth, n *node, what string) {
	if !p.require(n, what, "client") {
		return
	}
	c := n.get("client")
	what += ".client"
	if !p.fields(c, what, []string{"id", "secret", "assertion", "authentication"}, nil) {
		return
	}
	o.Method = clientMethods[p.oneOf(c.get("authentication"), what+".authentication", clientMethods...)]
	switch o.Method {
	case "none":
	case "private_key_jwt":
		p.require(c, what, "id", "assertion")
	default:
		p.require(c, what, "id", "secret")
	}
	o.ID, o.Secret, o.Assertion = p.credential(c, "id"), p.credential(c, "secret"), p.credential(c, "assertion")
}

// authority reads where tokens are given.
func (p *parser) authority(o *OAuth, n *node, what string, oidc bool) {
	base := p.address(n.get("authority"), what+".authority")
	path, named := "/oauth2/token", false
	if e := n.get("endpoints"); e != nil && p.fields(e, what+".endpoints", []string{"token", "revocation", "introspection"}, nil) {
		p.text(e.get("revocation"), what+".endpoints.revocation")
		p.text(e.get("introspection"), what+".endpoints.introspection")
		if token := e.get("token"); token != nil {
			path = p.text(token, what+".endpoints.token")
			if u, err := url.Parse(path); token.kind == isString && (err != nil || u.Host != "" || u.Scheme != "" || strings.ContainsAny(path, "{}$ ")) {
				p.wrong(token, "token", "write a path such as /oauth2/token, below the authority", "%s.endpoints.token is %q", what, path)
			}
			named = true
		}
	}
	if !named && (oidc || strings.HasSuffix(base, discoveryPath)) {
		o.Discovery = strings.TrimSuffix(base, discoveryPath) + discoveryPath
		return
	}
	o.TokenURL = strings.TrimSuffix(base, discoveryPath) + "/" + strings.TrimPrefix(path, "/")
}

// address reads a fixed address, and gives it without a slash at the end.
func (p *parser) address(n *node, what string) string {
	s := p.text(n, what)
	u, err := url.Parse(s)
	if n.kind == isString && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(s, "{}$ ")) {
		p.wrong(n, what, "write the whole address, such as https://login.example/realms/shop", "%s is %q, no fixed address", what, s)
	}
	return strings.TrimSuffix(s, "/")
}

// texts reads a list of strings, each of which may be an expression.
func (p *parser) texts(n *node, what string) (list []*Template) {
	if n == nil {
		return nil
	}
	if n.kind != isList {
		p.wrong(n, what, listHint, "%s must be a list, not %s", what, n.kind)
		return nil
	}
	for _, item := range n.items {
		if item.kind != isString {
			p.wrong(item, what, "put it in quotes", "%s must be a list of strings, and one of it is %s", what, item.kind)
			continue
		}
		list = append(list, p.template(item, what, inTask))
	}
	return list
}
