package services_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/weftrun/weft/host/services"
)

func TestPagesOfNamedOriginsMayCall(t *testing.T) {
	const headers = "authorization,connect-timeout-ms,content-type,idempotency-key,weft-module,x-cart,x-grpc-web" // those of a method, too
	set := services.New(services.Options{})
	add(t, set, library(t))
	for _, c := range []struct {
		what    string
		origins []string
		origin  string
		allowed string
	}{
		{"one that is named", []string{"https://shop.example"}, "https://shop.example", "https://shop.example"},
		{"one that is not", []string{"https://shop.example"}, "https://other.example", ""},
		{"none is named", nil, "https://shop.example", ""},
		{"all are", []string{"*"}, "https://other.example", "*"},
	} {
		t.Run(c.what, func(t *testing.T) {
			server := httptest.NewServer(services.CORS(c.origins, set))
			defer server.Close()
			before, _ := ask(t, server.URL, http.MethodOptions, "/v1/books/7", "", "Origin", c.origin,
				"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", headers)
			if got := before.Header.Get("Access-Control-Allow-Origin"); got != c.allowed || c.allowed != "" && (before.Header.Get("Access-Control-Allow-Methods") != "PATCH" || before.Header.Get("Access-Control-Allow-Headers") != headers) {
				t.Errorf("before the call: %v", before.Header)
			}
			w, _ := ask(t, server.URL, http.MethodGet, "/v1/books/7", "", "Origin", c.origin)
			if got := w.Header.Get("Access-Control-Allow-Origin"); got != c.allowed || c.allowed != "" && w.Header.Get("Access-Control-Expose-Headers") != "*" {
				t.Errorf("the call: %v", w.Header)
			}
		})
	}
}
