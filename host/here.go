package host

import (
	"context"
	"net/http"
)

// here serves the calls of this host's handlers and workflows to a service that one
// of its modules has; nil where none has it.
func (h *Host) here(ns, service string) http.Handler {
	if !h.typed.Serves(ns, service) {
		return nil
	}
	return only(service, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.typed.Inside(w, r.WithContext(context.WithValue(r.Context(), fromHere{}, true)))
	}))
}

// fromHere is the key under which the context of such a call says that it is one.
type fromHere struct{}

// drainOf ends when a call is to be sent away. One that comes from here is not: who
// makes it is itself in progress, and would take that for the answer.
func (h *Host) drainOf(ctx context.Context) context.Context {
	if ctx.Value(fromHere{}) != nil {
		return context.Background()
	}
	return h.drain
}
