package services

import (
	"net/http"

	"github.com/rs/cors"
)

// corsAge is for how many seconds a browser keeps what it was allowed.
const corsAge = 7200

// CORS lets pages of these origins call h: Connect, gRPC-Web and REST. They may send
// any header, and read all of an answer: methods have headers and trailers of their
// own. An origin is as a browser writes it, https://shop.example; * is all.
// Without any, h is as it was: only pages of its own origin reach it.
func CORS(origins []string, h http.Handler) http.Handler {
	if len(origins) == 0 {
		return h
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{"*"},
		MaxAge:         corsAge,
	}).Handler(h)
}
