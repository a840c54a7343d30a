package peers

import "net/http"

// SetTransport has calls to peers and to the world go through rt.
func (g *Gate) SetTransport(rt http.RoundTripper) { g.http, g.open = rt, rt }
