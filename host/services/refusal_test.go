package services_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/weftrun/weft/host/services"
)

// Who calls by hand is told what to send: a status alone says little.
func TestARefusedRequestSaysWhatToSend(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1"))
	url := serve(t, set)
	for _, c := range []struct {
		what, method, path, kind string
		status                   int
		want                     string
	}{
		{"a form, as curl -d sends it", "POST", get.Procedure, "application/x-www-form-urlencoded", 415, `the body is "application/x-www-form-urlencoded"; send JSON`},
		{"a body of no kind", "POST", get.Procedure, "", 415, "Content-Type: application/json"},
		{"what is for a stream", "POST", get.Procedure, "application/connect+json", 415, "Content-Type: application/json"},
		{"JSON for a stream", "POST", watch.Procedure, "application/json", 415, "application/connect+json"},
		{"GET without a message", "GET", get.Procedure, "", 415, "?encoding=json&message={}"},
		{"GET of what has effects", "GET", "/orders.v1.OrderService/Place", "", 405, "this path has other methods"},
		{"a method of HTTP that no method takes", "PUT", get.Procedure, "application/json", 405, "this path has other methods"},
		{"what is right", "POST", get.Procedure, "application/json; charset=utf-8", 200, `{"id":"1"}`},
		{"what is right by GET", "GET", get.Procedure + "?encoding=json&message={}", "", 200, `{"id":"1"}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			body := "{}"
			if c.method == http.MethodGet {
				body = ""
			}
			w, answer := ask(t, url, c.method, c.path, body, "Content-Type", c.kind)
			if w.StatusCode != c.status || !strings.Contains(answer, c.want) {
				t.Errorf("got %d %s, want %d %s", w.StatusCode, answer, c.status, c.want)
			}
			if c.status == http.StatusMethodNotAllowed && w.Header.Get("Allow") == "" {
				t.Error("it does not say which")
			}
		})
	}
}
