package host_test

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/weftrun/weft/host"
)

func TestPlainCallsOfHandlers(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploy("")
	binary := "\x00\xff\xfe"
	for name, c := range map[string]struct {
		path, body string
		headers    []string
		status     int
		answer     string // the whole of it, or a part where it is an error
		kind       string
	}{
		"JSON":                      {"/handlers/echo", `{"a":1}`, nil, 200, `{"a":1}`, "application/json"},
		"text":                      {"/handlers/echo", "grüße", []string{"Content-Type", "text/plain"}, 200, "grüße", "text/plain; charset=utf-8"},
		"bytes":                     {"/handlers/echo", binary, []string{"Content-Type", "application/octet-stream"}, 200, binary, "application/octet-stream"},
		"nothing":                   {"/handlers/echo", "", nil, 200, "", "text/plain; charset=utf-8"},
		"HTML that nobody meant":    {"/handlers/echo", "<script>x()</script>", nil, 200, "<script>x()</script>", "text/plain; charset=utf-8"},
		"HTML that the handler set": {"/handlers/page", "<b>hello</b>", nil, 200, "<b>hello</b>", "text/html"},
		"a version":                 {"/handlers/echo:1@default", "x", nil, 200, "x", "text/plain; charset=utf-8"},
		"an idempotency key":        {"/handlers/key", "", []string{"Idempotency-Key", "k-1"}, 200, "k-1", "text/plain; charset=utf-8"},
		"a key that is too long":    {"/handlers/key", "", []string{"Idempotency-Key", strings.Repeat("k", 257)}, 400, `"code":"invalid_argument","message":"the idempotency key has 257 bytes`, "application/json"},
		"no such version":           {"/handlers/echo:2", "", nil, 404, `"code":"not_found","message":"handler echo has no version 2`, "application/json"},
		"no such handler":           {"/handlers/ecko", "", nil, 404, `did you mean echo?`, "application/json"},
		"a name that is none":       {"/handlers/a%20b", "", nil, 400, `"code":"invalid_argument"`, "application/json"},
		"an error of the handler":   {"/handlers/fail", `say "why"`, nil, 500, `{"code":"internal","message":"say \"why\""}`, "application/json"},
		"a peer that nobody knows":  {"/handlers/ask", `{}`, nil, 404, `"code":"not_found"`, "application/json"},
	} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(c.headers); i += 2 {
			q.Header.Set(c.headers[i], c.headers[i+1])
		}
		res, err := h1(t).Do(q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		answer := text(t, res)
		if res.StatusCode != c.status || res.Header.Get("Content-Type") != c.kind || answer != c.answer && (c.status == 200 || !strings.Contains(answer, c.answer)) {
			t.Errorf("%s: %d %s %q", name, res.StatusCode, res.Header.Get("Content-Type"), answer)
		}
		if c.status == 200 && res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may guess", name)
		}
	}
	res, err := http.Get(s.url + "/handlers/echo")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", res.StatusCode)
	}
}

func TestTheIdempotencyKeyReachesThePeer(t *testing.T) {
	keys := make(chan string, 2)
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys <- r.Header.Get("Idempotency-Key")
		_, _ = w.Write([]byte(`{}`))
	}))
	defer peer.Close()
	s := serve(t, host.Options{})
	s.deploy("")
	s.must("/weft.v1.RegistryService/Register", `{"service":"peer","instance":"one","url":"`+peer.URL+`"}`)
	if status, answer := s.ask("/handlers/ask", `{}`, "Idempotency-Key", "k-1"); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	s.must("/weft.v1.HandlerService/Call", `{"handler":"ask","input":{},"idempotencyKey":"k-1"}`)
	if first, second := <-keys, <-keys; first != second || !strings.Contains(first, "k-1") {
		t.Errorf("the peer got %q and %q", first, second)
	}
}

func TestAPageOfAnotherSiteReachesNoPlainPath(t *testing.T) {
	const page = "https://shop.example"
	s := serve(t, host.Options{Origins: []string{page}})
	s.deploy("")
	for _, path := range []string{"/handlers/echo", "/workflows/nap", "/events", "/hooks/github"} {
		for _, from := range [][]string{{"Origin", page}, {"Sec-Fetch-Site", "cross-site"}} {
			if status, answer := s.ask(path, "x", append(from, "Content-Type", "text/plain")...); status != http.StatusForbidden || !strings.Contains(answer, "a page of another site may not ask for this") {
				t.Errorf("%s, %v: %d %s", path, from, status, answer)
			}
		}
	}
	for _, from := range [][]string{{"Origin", s.url}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}} { // a page of weft itself, and who types the address
		if status, answer := s.ask("/handlers/echo", "x", from...); status != http.StatusOK {
			t.Errorf("%v: %d %s", from, status, answer)
		}
	}
}

// A peer that is away opens its breaker, and whoever calls the handler then hears
// when to come again.
func TestTheCallerOfAHandlerHearsWhenItsPeerMayBeBack(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploy("")
	s.must("/weft.v1.RegistryService/Register", `{"service":"peer","instance":"one","url":"http://127.0.0.1:1"}`)
	for call, c := range []struct {
		path, body string
		open       bool
	}{
		{"/handlers/ask", `{}`, false}, // three attempts
		{"/handlers/ask", `{}`, true},  // two more, and the breaker is open
		{"/weft.v1.HandlerService/Call", `{"handler":"ask","input":{}}`, true},
	} {
		res, err := http.Post(s.url+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		after, answer := res.Header.Get("Retry-After"), text(t, res)
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%s %s", res.Status, answer)
		}
		if seconds, err := strconv.Atoi(after); (err == nil && seconds > 10 && seconds <= 36) != c.open || c.open == (after == "") {
			t.Errorf("call %d: Retry-After %q", call, after)
		}
	}
}
