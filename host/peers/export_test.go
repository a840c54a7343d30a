package peers

import (
	"context"
	"net/http"
)

// SetTransport has calls to peers and to the world go through rt.
func (g *Gate) SetTransport(rt http.RoundTripper) { g.http, g.open = rt, rt }

// Check asks an instance how it is, once.
func (g *Gate) Check(ctx context.Context, i Instance) error { return g.check(ctx, &lease{Instance: i}) }
