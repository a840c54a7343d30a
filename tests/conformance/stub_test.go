package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
)

// stub plays the hosts that the features call, on one server of this machine.
type stub struct {
	server *httptest.Server

	mu   sync.Mutex
	keys map[string]int // guarded by mu: calls of each path, each idempotency key once, in order
	seen map[string]int // guarded by mu: the number of a call, by its key
	last map[string]string

	used    int // guarded by mu: the number of the latest token that came
	revoked int // guarded by mu: the number of a token that is taken no more, nor those before
}

func newStub() *stub {
	s := &stub{keys: map[string]int{}, seen: map[string]int{}, last: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET petstore.swagger.io/v2/pet/findByStatus", func(w http.ResponseWriter, r *http.Request) {
		answer(w, []any{pet(1, r.FormValue("status")), pet(2, r.FormValue("status"))})
	})
	mux.HandleFunc("GET petstore.swagger.io/v2/pet/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id, err := strconv.Atoi(r.PathValue("id")); err == nil && (id == 1 || id == 2) {
			answer(w, pet(id, "available"))
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET petstore.swagger.io/v2/swagger.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, petstore)
	})
	mux.HandleFunc("GET httpbin.org/basic-auth/{user}/{password}", func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok || user != r.PathValue("user") || password != r.PathValue("password") {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		answer(w, map[string]any{"authenticated": true, "user": user})
	})
	mux.HandleFunc("shop.example/", s.shop)
	mux.HandleFunc("shop.example/private/", s.private)
	mux.HandleFunc("shop.example/v1/private/", s.private)
	mux.HandleFunc("GET login.example/realm/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": "https://login.example/realm", "token_endpoint": "https://login.example/realm/token"})
	})
	mux.HandleFunc("POST login.example/realm/token", s.token)
	s.server = httptest.NewServer(mux)
	return s
}

func (s *stub) close() { s.server.Close() }

func pet(id int, status string) map[string]any {
	return map[string]any{"id": id, "name": fmt.Sprint("pet ", id), "status": status}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}

// petstore is as much of the pet store's description as is asked for.
const petstore = `{
	"swagger": "2.0", "host": "petstore.swagger.io", "basePath": "/v2", "schemes": ["https", "http"],
	"paths": {
		"/pet/findByStatus": { "get": { "operationId": "findPetsByStatus", "parameters": [
			{ "name": "status", "in": "query", "required": true, "type": "array", "items": { "type": "string" }, "collectionFormat": "multi" } ] } },
		"/pet/{petId}": { "get": { "operationId": "getPetById", "parameters": [
			{ "name": "petId", "in": "path", "required": true, "type": "integer" } ] } }
	}
}`

// shop is the host of our own features. A call that comes again with its
// idempotency key counts once and is answered as it was.
func (s *stub) shop(w http.ResponseWriter, r *http.Request) {
	n := s.count(r)
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case part[0] == "fail" && len(part) == 3: // /fail/503/2: twice, then well
		status, _ := strconv.Atoi(part[1])
		times, _ := strconv.Atoi(part[2])
		if n <= times {
			http.Error(w, "no", status)
			return
		}
	case part[0] == "fail":
		http.NotFound(w, r)
		return
	case r.URL.Path == "/openapi.json":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, shelves)
		return
	case pages[r.URL.Path] != "":
		_, _ = io.WriteString(w, pages[r.URL.Path])
		return
	case r.URL.Path == "/greet.proto":
		_, _ = io.WriteString(w, greeter)
		return
	case r.URL.Path == "/digest":
		digest(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	answer(w, map[string]any{"call": n, "method": r.Method, "path": r.URL.Path, "query": r.URL.RawQuery,
		"authorization": r.Header.Get("Authorization"), "colour": r.Header.Get("Colour"), "body": string(body)})
}

// pages are what workflows have at the shop.
var pages = map[string]string{
	"/order.json": "{\n\t\"required\": [ \"lines\" ]\n}\n",
	"/functions/ask/1.2.0/function.yaml": "input: { schema: { document: { required: [ colour ] } } }\n" +
		"do:\n  - tell: { call: http, with: { method: post, endpoint: 'https://shop.example/asked', headers: { colour: '${ .colour }' } } }\n" +
		"  - rest: { wait: PT1M }\n  - both: { set: { call: '${ .call }', colour: '${ .colour }' } }\n",
	"/twice.yaml": "do:\n  - one: { call: 'https://shop.example/functions/ask/1.2.0/function.yaml', with: { colour: '${ .colour }' } }\n" +
		"  - two: { call: 'https://shop.example/functions/ask/1.2.0/function.yaml', with: { colour: grey } }\n",
	"/total.js": "import { readFileSync } from 'node:fs'\nconsole.log(JSON.parse(readFileSync(0)).reduce((sum, n) => sum + n, 0))\n",
}

// shelves describes one operation of the shop.
const shelves = `{
	"openapi": "3.0.3", "servers": [ { "url": "/v1" } ],
	"paths": { "/shelves/{shelf}/items": {
		"parameters": [ { "name": "shelf", "in": "path", "required": true } ],
		"post": { "operationId": "addItem", "parameters": [ { "name": "colour", "in": "header" }, { "name": "tag", "in": "query" } ],
			"requestBody": { "content": { "application/json": {} } } } },
		"/private/items": { "post": { "operationId": "addPrivate" } } }
}`

// greeter describes the service of greeter.example.
const greeter = `syntax = "proto3";
package greet.v1;
service Greeter {
  rpc Hello(Name) returns (Greeting);
  rpc Away(Name) returns (Greeting);
}
message Name { string name = 1; }
message Greeting { string text = 1; int32 times = 2; }
`

// greet is greeter.example. Away is so in the first call.
func (d door) greet(r weft.Request) (weft.Response, error) {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.URL, "http://greeter.example:5011/greet.v1.Greeter/") {
		return weft.Response{}, weft.Errorf(weft.Unimplemented, "conformance.door.greet", "%s %s", r.Method, r.URL)
	}
	if strings.HasSuffix(r.URL, "/Away") {
		q, err := http.NewRequest(r.Method, r.URL, nil)
		if err != nil {
			return weft.Response{}, err
		}
		q.Header.Set("Idempotency-Key", r.IdempotencyKey)
		if d.count(q) == 1 {
			return weft.Response{}, weft.Errorf(weft.Unavailable, "conformance.door.greet", "away")
		}
		return weft.Response{Status: 200, Body: []byte("\x0a\x04back")}, nil
	}
	name := r.Body[2:] // of field 1, after its tag and its length
	text := append([]byte("Hello "), name...)
	return weft.Response{Status: 200, Body: append([]byte{0x0a, byte(len(text))}, text...)}, nil
}

// digest lets ada in, with the password lovelace, as RFC 7616 has it.
func digest(w http.ResponseWriter, r *http.Request) {
	const realm, nonce = "shop", "n0nce"
	sum := func(parts ...string) string {
		return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(parts, ":"))))
	}
	field := map[string]string{}
	for _, part := range strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Digest "), ", ") {
		name, v, _ := strings.Cut(part, "=")
		field[name] = strings.Trim(v, `"`)
	}
	want := sum(sum("ada", realm, "lovelace"), nonce, field["nc"], field["cnonce"], "auth", sum(r.Method, r.URL.Path))
	if field["response"] != want || field["opaque"] != "o" {
		w.Header().Set("WWW-Authenticate", `Digest realm="`+realm+`", qop="auth", algorithm=SHA-256, nonce="`+nonce+`", opaque="o"`)
		http.Error(w, "who?", http.StatusUnauthorized)
		return
	}
	answer(w, map[string]any{"ok": true})
}

// token lets the client weft in. A token has its number and its time.
func (s *stub) token(w http.ResponseWriter, r *http.Request) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if id != "weft" || secret != "s3cr3t" || r.FormValue("grant_type") != "client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[r.URL.Path]++
	answer(w, map[string]any{"access_token": fmt.Sprintf("%d.%d", s.keys[r.URL.Path], time.Now().Unix()), "token_type": "bearer", "expires_in": 300})
}

// private takes tokens of the last five minutes. The path /revoked takes back
// a token that was used before.
func (s *stub) private(w http.ResponseWriter, r *http.Request) {
	var n int
	var at int64
	_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer %d.%d", &n, &at)
	s.mu.Lock()
	if strings.HasSuffix(r.URL.Path, "/revoked") && n <= s.used {
		s.revoked = n
	}
	s.used = max(s.used, n)
	valid := err == nil && n > s.revoked && time.Now().Unix()-at < 300
	s.mu.Unlock()
	if !valid {
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	answer(w, map[string]any{"path": r.URL.Path})
}

func (s *stub) count(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if s.seen[key] == 0 {
		s.keys[r.URL.Path]++
		s.seen[key] = s.keys[r.URL.Path]
	}
	return s.seen[key]
}

// calls is how often a path of the shop was called.
func (s *stub) calls(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[path]
}

// door is the way out, which leads to the stub alone. A path that begins with
// /slow/ answers after so many milliseconds.
type door struct{ *stub }

func (d door) Do(ctx context.Context, r weft.Request) (weft.Response, error) {
	fail := func(code weft.Code, err error) (weft.Response, error) {
		return weft.Response{}, weft.Errorf(code, "conformance.door.Do", "%w", err)
	}
	if r.GRPC {
		return d.greet(r)
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return fail(weft.InvalidArgument, err)
	}
	if rest, ok := strings.CutPrefix(u.Path, "/slow/"); ok {
		ms, _ := strconv.Atoi(rest)
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-ctx.Done():
			return fail(weft.DeadlineExceeded, ctx.Err())
		}
	}
	q, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return fail(weft.InvalidArgument, err)
	}
	for name, v := range r.Headers {
		q.Header.Set(name, v)
	}
	q.Header.Set("Idempotency-Key", r.IdempotencyKey)
	q.URL.Scheme, q.URL.Host, q.Host = "http", d.server.Listener.Addr().String(), u.Host
	// A connection that stays open would keep virtual time from passing.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	res, err := client.Do(q)
	if err != nil {
		return fail(weft.Unavailable, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return fail(weft.Unavailable, err)
	}
	headers := map[string]string{}
	for name := range res.Header {
		headers[strings.ToLower(name)] = res.Header.Get(name)
	}
	return weft.Response{Status: res.StatusCode, Headers: headers, Body: body}, nil
}
