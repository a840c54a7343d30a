package workflows

import (
	"regexp"
	"strconv"
)

// GRPC is a call of a method of a gRPC service.
type GRPC struct {
	Address   string // scheme, host and port
	Service   string // full name
	Method    string
	Arguments *Template // a mapping; may be nil
	Auth      *Auth     // may be nil
}

// tlsPort is the port that is spoken to with TLS, and the one where none is named.
const tlsPort = 443

var (
	hostForm       = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-.]{0,61}[a-zA-Z0-9])?$`)
	serviceForm    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
	grpcMethodForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (p *parser) grpc(n *node) *HTTP {
	if !p.fields(n, "with", []string{"proto", "service", "method", "arguments"}, nil) || !p.require(n, "with", "proto", "service", "method") {
		return nil
	}
	g := &GRPC{Method: p.matches(n.get("method"), "method", grpcMethodForm, "write the name of a method of the service")}
	h := &HTTP{Method: "GET", GRPC: g}
	source := n.get("proto")
	if p.fields(source, "proto", []string{"name", "endpoint"}, nil) && p.require(source, "proto", "endpoint") {
		p.text(source.get("name"), "proto.name")
		h.Endpoint, h.Auth = p.endpoint(source.get("endpoint"))
	}
	if a := n.get("arguments"); a != nil && p.mapping(a, "arguments") {
		g.Arguments = p.template(a, "arguments", inTask)
	}
	p.service(g, n.get("service"))
	return h
}

func (p *parser) service(g *GRPC, n *node) {
	if !p.fields(n, "service", []string{"name", "host", "port", "authentication"}, nil) || !p.require(n, "service", "name", "host") {
		return
	}
	g.Service = p.matches(n.get("name"), "service.name", serviceForm, "write its full name, such as orders.v1.OrderService")
	host := p.matches(n.get("host"), "service.host", hostForm, "write the name of a host alone")
	port, scheme := tlsPort, "https"
	if v := n.get("port"); v != nil {
		var ok bool
		if port, ok = v.value.(int); !ok || port < 1 || port > 65535 {
			p.wrong(v, "port", "leave it out for 443", "service.port must be a whole number from 1 to 65535")
		}
	}
	if port != tlsPort {
		scheme = "http"
	}
	g.Address = scheme + "://" + host + ":" + strconv.Itoa(port)
	if a := n.get("authentication"); a != nil {
		if g.Auth = p.authentication(a); g.Auth != nil && g.Auth.Scheme == AuthDigest {
			p.wrong(a, "authentication", "use bearer, oauth2 or oidc", "gRPC knows no digest")
		}
	}
}
