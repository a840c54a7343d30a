package services

import (
	"net/http"
	"slices"

	connectcors "connectrpc.com/cors"
	"github.com/rs/cors"
)

// corsAge is for how many seconds a browser keeps what it was allowed.
const corsAge = 7200

// CORS lets pages of these origins call h: Connect, gRPC-Web and REST, with their
// headers. An origin is as a browser writes it, https://shop.example; * is all.
// Without any, h is as it was: only pages of its own origin reach it.
func CORS(origins []string, h http.Handler) http.Handler {
	if len(origins) == 0 {
		return h
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: slices.Concat(connectcors.AllowedHeaders(), []string{"Authorization", NamespaceHeader, ModuleHeader}),
		ExposedHeaders: connectcors.ExposedHeaders(),
		MaxAge:         corsAge,
	}).Handler(h)
}
