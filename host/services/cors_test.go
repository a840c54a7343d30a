package services_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftrun/weft/host/services"
)

func TestPagesOfNamedOriginsMayCall(t *testing.T) {
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
				"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,connect-timeout-ms,content-type,weft-module,x-grpc-web")
			if got := before.Header.Get("Access-Control-Allow-Origin"); got != c.allowed || c.allowed != "" && before.Header.Get("Access-Control-Allow-Methods") != "PATCH" {
				t.Errorf("before the call: %v", before.Header)
			}
			w, _ := ask(t, server.URL, http.MethodGet, "/v1/books/7", "", "Origin", c.origin)
			exposed := strings.ToLower(w.Header.Get("Access-Control-Expose-Headers"))
			if got := w.Header.Get("Access-Control-Allow-Origin"); got != c.allowed || c.allowed != "" && !strings.Contains(exposed, "grpc-status") {
				t.Errorf("the call: %v", w.Header)
			}
		})
	}
}
