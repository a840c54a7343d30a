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

// By REST a browser may send what it sends without asking first.
func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, library(t))
	shop, other := []string{"Origin", "https://shop.example", "Sec-Fetch-Site", "cross-site"}, []string{"Origin", "https://other.example"}
	for _, c := range []struct {
		what    string
		origins []string
		method  string
		from    []string
		status  int
	}{
		{"a page that is named", []string{"https://shop.example"}, http.MethodDelete, shop, http.StatusOK},
		{"a page that is not", []string{"https://shop.example"}, http.MethodDelete, other, http.StatusForbidden},
		{"a page where none is named", nil, http.MethodDelete, shop, http.StatusForbidden},
		{"a page where all are", []string{"*"}, http.MethodDelete, other, http.StatusOK},
		{"what only reads", nil, http.MethodGet, shop, http.StatusOK},
		{"no page", nil, http.MethodDelete, nil, http.StatusOK},
		{"a page of the same origin", nil, http.MethodDelete, []string{"Sec-Fetch-Site", "same-origin"}, http.StatusOK},
	} {
		server := httptest.NewServer(services.CORS(c.origins, set))
		if res, answer := ask(t, server.URL, c.method, "/v1/books/7", "", c.from...); res.StatusCode != c.status {
			t.Errorf("%s: %d %s", c.what, res.StatusCode, answer)
		}
		server.Close()
	}
}
