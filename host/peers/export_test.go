package peers

import (
	"context"
	"net"
	"net/http"

	"github.com/weftrun/weft"
)

// SetTransport has calls to peers and to the world go through rt.
func (g *Gate) SetTransport(rt http.RoundTripper) {
	g.http, g.world = rt, func(*weft.Grants, bool) http.RoundTripper { return rt }
}

// SetDial has gRPC calls of workflows dial so.
func (g *Gate) SetDial(dial func(context.Context, string, string) (net.Conn, error)) {
	g.out.transport(nil, true).DialContext = dial
}

// Check asks an instance how it is, once.
func (g *Gate) Check(ctx context.Context, i Instance) error { return g.check(ctx, &lease{Instance: i}) }
