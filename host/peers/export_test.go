package peers

import (
	"context"
	"net/http"

	"github.com/weftrun/weft"
)

// SetTransport has calls to peers and to the world go through rt.
func (g *Gate) SetTransport(rt http.RoundTripper) {
	g.http, g.world = rt, func(*weft.Grants, bool) http.RoundTripper { return rt }
}

// Check asks an instance how it is, once.
func (g *Gate) Check(ctx context.Context, i Instance) error { return g.check(ctx, &lease{Instance: i}) }
