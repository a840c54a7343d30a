package services

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/weftrun/weft"
)

// corsAge is for how many seconds a browser keeps what it was allowed.
const corsAge = 7200

// CORS lets pages of these origins call h: Connect, gRPC-Web and REST. They may send
// any header, and read all of an answer: methods have headers and trailers of their
// own. An origin is as a browser writes it, https://shop.example; * is all. Pages of
// others, but for h's own, are refused: a call by REST may have no body, or one
// of any kind, and those a browser sends without asking first.
func CORS(origins []string, h http.Handler) http.Handler {
	if len(origins) == 0 {
		return sameSite(h, func(*http.Request) bool { return false })
	}
	c := cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{"*"},
		MaxAge:         corsAge,
	})
	return c.Handler(sameSite(h, c.OriginAllowed))
}

// sameSite refuses what would change something, and comes from a page of another
// site that is not allowed.
func sameSite(h http.Handler, allowed func(*http.Request) bool) http.Handler {
	var pages http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pages.Check(r) != nil && !allowed(r) {
			refuse(w, r, weft.Errorf(weft.PermissionDenied, "services.CORS", "a page of another site may not call this").WithHint("--cors-origin names the pages that may"))
			return
		}
		h.ServeHTTP(w, r)
	})
}
