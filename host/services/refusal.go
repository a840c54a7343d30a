package services

import (
	"fmt"
	"net/http"
	"strings"
)

// refusal writes a line below a status by which connect refuses a call without a
// word: what to send instead.
type refusal struct {
	http.ResponseWriter
	r  *http.Request
	to route
}

// told is a refusal for what connect may refuse so, and w for other calls.
func told(w http.ResponseWriter, r *http.Request, to route) http.ResponseWriter {
	kind, post := r.Header.Get("Content-Type"), r.Method == http.MethodPost
	_, rest := to.Handler.(found)
	switch {
	case rest,
		post && strings.HasPrefix(kind, "application/grpc"),
		post && to.unary && (strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "application/proto")),
		post && !to.unary && strings.HasPrefix(kind, "application/connect+"):
		return w
	}
	return &refusal{w, r, to}
}

// Unwrap is for http.ResponseController.
func (w *refusal) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *refusal) WriteHeader(status int) {
	line := ""
	switch {
	case w.Header().Get("Content-Type") != "": // it has said what
	case status == http.StatusMethodNotAllowed:
		line = "this path has other methods"
	case status != http.StatusUnsupportedMediaType:
	case w.r.Method == http.MethodGet:
		line = "by GET the message is in the query: ?encoding=json&message={}, escaped"
	case w.to.unary:
		line = fmt.Sprintf("the body is %.100q; send JSON with Content-Type: application/json, or protobuf with application/proto", w.r.Header.Get("Content-Type"))
	default:
		line = "this method streams; send Content-Type: application/connect+json with five bytes before each message, or call it by gRPC"
	}
	if line == "" {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	http.Error(w.ResponseWriter, line, status)
}
