package host

import "net/http"

// here serves the calls of this host's handlers and workflows to a service that one
// of its modules has; nil where none has it.
func (h *Host) here(ns, service string) http.Handler {
	if !h.typed.Serves(ns, service) {
		return nil
	}
	return only(service, http.HandlerFunc(h.typed.Inside))
}
