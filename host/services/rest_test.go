package services_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

func librarySet(t testing.TB) []byte {
	t.Helper()
	return compiled(t, map[string]string{"library.proto": read(t, "library.proto"), "annotations.proto": read(t, "annotations.proto")})
}

// echo answers every method with what it was sent, and fails where the name is "fail".
type echo struct{}

func (echo) Implements(string) bool { return true }

func (echo) Call(ctx context.Context, c *services.Call) error {
	msg, err := c.Recv()
	if err != nil {
		return err
	}
	fail := &weft.Error{Code: weft.FailedPrecondition, Op: "library", Err: errors.New("it is lent"), Details: []weft.Detail{{Type: "library.v1.Author", Value: []byte{10, 1, 'x'}}}}
	switch method(c.Procedure) {
	case "Cover":
		cover := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "image/png")
		return send(c, protowire.AppendBytes(protowire.AppendTag(cover, 2, protowire.BytesType), []byte("\x89PNG")))
	case "Watch":
		if err := errors.Join(c.AddHeader("X-Seen", "yes"), c.AddTrailer("X-Left", "0"), send(c, msg), send(c, msg)); err != nil {
			return err
		}
	}
	if bytes.Contains(msg, []byte("fail")) {
		return fail
	}
	if err := errors.Join(c.AddHeader("X-Seen", "yes"), c.AddTrailer("X-Left", "0")); err != nil || method(c.Procedure) == "Watch" {
		return err
	}
	if bytes.Contains(msg, []byte("deadline")) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return send(c, msg)
}

func library(t testing.TB) services.Module {
	return services.Module{Name: "library", Version: "1", Schema: link(t, "library", librarySet(t)), Impl: echo{}}
}

func ask(t testing.TB, url, method, path, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(w.Body); err != nil {
		t.Fatal(err)
	}
	return w, b.String()
}

func TestAMethodIsServedByREST(t *testing.T) {
	set := services.New(services.Options{MessageMax: 10_000})
	add(t, set, library(t))
	url := serve(t, set)
	for _, c := range []struct {
		what, method, path, body string
		status                   int
		answer                   string // all of it; for an error, a part
	}{
		{"a variable of several segments", "GET", "/v1/shelves/1/books/2", "", 200, `{"name":"shelves/1/books/2"}`},
		{"a variable of one", "GET", "/v1/books/7", "", 200, `{"id":"7"}`},
		{"a slash in a variable of one", "GET", "/v1/books/a%2Fb%20c", "", 200, `{"id":"a/b c"}`},
		{"a slash in a variable of several stays as it is", "GET", "/v1/shelves/a%2Fb%20c/books/2", "", 200, `{"name":"shelves/a%2Fb c/books/2"}`},
		{"a literal may be encoded", "GET", "/%76%31/books/7", "", 200, `{"id":"7"}`},
		{"variables deep in the message, and of other types", "GET", "/v1/of/Lem/KIND_PRINT", "", 200, `{"book":{"author":{"name":"Lem"}},"kind":"KIND_PRINT"}`},
		{"a variable that its type does not have", "GET", "/v1/of/Lem/KIND_NONE", "", 400, `library.v1.Kind has no value \"KIND_NONE\"`},
		{"what is left of a path", "GET", "/v1/files/a/b/c.txt", "", 200, `{"name":"a/b/c.txt"}`},
		{"nothing left of it", "GET", "/v1/files", "", 200, `{}`},
		{"a segment that is empty is none", "GET", "/v1/books/", "", 404, "no module serves this path"},
		{"a segment too many", "GET", "/v1/books/7/8", "", 404, "no module serves this path"},
		{"another method", "TRACE", "/v1/books/7", "", 405, "this path has other methods"},
		{"no body, all else from the query", "DELETE", "/v1/books/7?page_size=6&all=true&rate=1.5&token=aGk%3D&edition=0", "", 200,
			`{"id":"7","pageSize":"6","all":true,"rate":1.5,"token":"aGk=","edition":0}`},
		{"fields of messages in the query", "GET", "/v1/books/7?book.title=Solaris&book.author.name=Lem&book.sequel.sequel.id=9", "", 200,
			`{"id":"7","book":{"title":"Solaris","author":{"name":"Lem"},"sequel":{"sequel":{"id":"9"}}}}`},
		{"repeated fields", "GET", "/v1/books/7?tags=a&tags=b&kinds=KIND_SOUND&kinds=1", "", 200, `{"id":"7","tags":["a","b"],"kinds":["KIND_SOUND","KIND_PRINT"]}`},
		{"well-known types", "GET", "/v1/books/7?since=2026-01-02T03:04:05Z&age=1.5s&mask=book.title,tags&count=3&lent=false", "", 200,
			`{"id":"7","since":"2026-01-02T03:04:05Z","age":"1.500s","mask":"book.title,tags","count":3,"lent":false}`},
		{"one of several", "GET", "/v1/books/7?number=3", "", 200, `{"id":"7","number":3}`},
		{"a field that is not there", "GET", "/v1/books/7?nam=x", "", 400, `parameter \"nam\": library.v1.Request has no field \"nam\"`},
		{"a field that is in the path", "GET", "/v1/books/7?id=8", "", 400, "it is in the path"},
		{"two values of one", "GET", "/v1/books/7?name=8&name=9", "", 400, "there are 2 values, and the field has one"},
		{"two values under two names", "GET", "/v1/books/7?page_size=5&pageSize=6", "", 400, "there are 2 values, and the field has one"},
		{"a map in the query", "GET", "/v1/books/7?labels=8", "", 400, "has no form as text"},
		{"a message in the query", "GET", "/v1/books/7?book=8", "", 400, "has no form as text"},
		{"a field of no message", "GET", "/v1/books/7?name.x=8", "", 400, "name is not a message"},
		{"no number", "GET", "/v1/books/7?page_size=many", "", 400, "invalid_argument"},
		{"no boolean", "GET", "/v1/books/7?all=1", "", 400, `\"1\" is not true or false`},
		{"the body is a field, the rest in path and query", "POST", "/v1/shelves/1/books?page_size=3", `{"title":"Solaris"}`, 200, `{"parent":"shelves/1","book":{"title":"Solaris"},"pageSize":"3"}`},
		{"the body is a field, and not in the query", "POST", "/v1/shelves/1/books?book.title=x", `{"title":"Solaris"}`, 400, "it is in the body"},
		{"the body does not go on after the field", "POST", "/v1/shelves/1/books", `{},"name":"x"`, 400, "the body is no JSON"},
		{"the body is all, but for the path", "PATCH", "/v1/books/7", `{"book":{"id":"8","title":"Solaris"},"tags":["a"],"extra":{"a":[1]}}`, 200,
			`{"book":{"id":"7","title":"Solaris"},"tags":["a"],"extra":{"a":[1]}}`},
		{"the body is all, and there is no query", "PATCH", "/v1/books/7?name=x", `{}`, 400, "it is in the body"},
		{"the body is a repeated field", "PUT", "/v1/books/7", `["a","b"]`, 200, `{"book":{"id":"7"},"tags":["a","b"]}`},
		{"a body where there is none", "GET", "/v1/books/7", `{}`, 400, "GET /v1/books/* takes no body"},
		{"a body that is too long", "PATCH", "/v1/books/7", `{"name":"` + strings.Repeat("x", 10_000) + `"}`, 429, "the body has more than 10000 bytes"},
		{"a custom verb", "POST", "/v1/books/7:cancel", `{"name":"x"}`, 200, `{"name":"x","id":"7"}`},
		{"a custom verb before a variable", "GET", "/v1/books/77:fetch", "", 200, `{"id":"77"}`},
		{"a custom verb of a literal", "GET", "/v1/books:search?name=x", "", 200, `{"name":"x"}`},
		{"a colon that is no verb", "GET", "/v1/books/77:else", "", 200, `{"id":"77:else"}`},
		{"a colon that is encoded", "GET", "/v1/books/77%3Afetch", "", 200, `{"id":"77:fetch"}`},
		{"a custom method", "REPORT", "/v1/peek?name=x", "", 200, `{"name":"x"}`},
		{"any method", "LOCK", "/v1/any/x/of/a/b?name=x", "", 200, `{"name":"x"}`},
		{"one field of the answer", "GET", "/v1/tags?tags=a&tags=b", "", 200, `["a","b"]`},
		{"one field that is empty", "GET", "/v1/tags", "", 200, `[]`},
		{"one message that is not there", "GET", "/v1/book", "", 200, `null`},
		{"an answer that is no JSON", "GET", "/v1/cover", "", 200, "\x89PNG"},
		{"an error has its code and its details", "GET", "/v1/books/fail", "", 400, `"code":"failed_precondition","message":"it is lent","details":[{"type":"library.v1.Author","value":"CgF4"`},
		{"a version by path", "GET", "/library@1/v1/shelves/a%2Fb/books/2", "", 200, `{"name":"shelves/a%2Fb/books/2"}`},
		{"Connect beside it", "POST", "/library.v1.LibraryService/GetBook", `{"id":"7"}`, 200, `{"id":"7"}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			w, answer := ask(t, url, c.method, c.path, c.body, "Content-Type", "application/json")
			if c.status == 200 && w.Header.Get("Content-Type") == "application/json" {
				answer = compact(t, answer)
			}
			if w.StatusCode != c.status || c.status == 200 && answer != c.answer || !strings.Contains(answer, c.answer) {
				t.Errorf("got %d %s\nwant %d %s", w.StatusCode, answer, c.status, c.answer)
			}
		})
	}
}

func TestRESTHasHeadersTrailersAndDeadlines(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, library(t))
	url := serve(t, set)
	w, _ := ask(t, url, "GET", "/v1/books/7", "")
	if w.Header.Get("X-Seen") != "yes" || w.Header.Get("Trailer-X-Left") != "0" {
		t.Errorf("headers: %v", w.Header)
	}
	w, _ = ask(t, url, "TRACE", "/v1/books/7", "")
	if got := w.Header.Get("Allow"); got != "DELETE, GET, PATCH, PUT" {
		t.Errorf("Allow: %s", got)
	}
	w, answer := ask(t, url, "HEAD", "/v1/books/7", "")
	if w.StatusCode != 200 || answer != "" || w.ContentLength == 0 {
		t.Errorf("HEAD: %d %q of %d bytes", w.StatusCode, answer, w.ContentLength)
	}
	if w, answer := ask(t, url, "GET", "/v1/books/deadline", "", "Connect-Timeout-Ms", "5"); w.StatusCode != 504 {
		t.Errorf("a deadline: %d %s", w.StatusCode, answer)
	}
	if w, answer := ask(t, url, "GET", "/v1/books/7", "", "Connect-Timeout-Ms", "soon"); w.StatusCode != 400 {
		t.Errorf("a deadline that is none: %d %s", w.StatusCode, answer)
	}
	if w, answer := ask(t, url, "PATCH", "/v1/books/7", `{}`, "Content-Type", "text/plain"); w.StatusCode != 400 || !strings.Contains(answer, "not application/json") {
		t.Errorf("text: %d %s", w.StatusCode, answer)
	}
	if w, answer := ask(t, url, "PATCH", "/v1/books/7", `{}`, "Content-Encoding", "gzip"); w.StatusCode != 400 || !strings.Contains(answer, "is not read") {
		t.Errorf("packed: %d %s", w.StatusCode, answer)
	}
	w, answer = ask(t, url, "PUT", "/v1/cover/7", "GIF89a", "Content-Type", "image/gif")
	if w.StatusCode != 200 || answer != "GIF89a" || w.Header.Get("Content-Type") != "image/gif" {
		t.Errorf("a body that is no JSON: %d %s %v", w.StatusCode, answer, w.Header)
	}
}

func TestAStreamIsLinesOrEvents(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, library(t))
	url := serve(t, set)
	for _, c := range []struct{ what, name, accept, kind, want string }{
		{"lines", "x", "*/*", "application/x-ndjson", `{"name":"x"}` + "\n" + `{"name":"x"}` + "\n"},
		{"events", "x", "text/event-stream", "text/event-stream", `data: {"name":"x"}` + "\n\n" + `data: {"name":"x"}` + "\n\n"},
		{"lines and an error", "fail", "", "application/x-ndjson", `{"name":"fail"}` + "\n" + `{"name":"fail"}` + "\n" + `{"error":{"code":"failed_precondition"`},
		{"events and an error", "fail", "text/html, text/event-stream", "text/event-stream", "event: error\ndata: {\"code\":\"failed_precondition\""},
	} {
		t.Run(c.what, func(t *testing.T) {
			w, answer := ask(t, url, "GET", "/v1/books:watch?name="+c.name, "", "Accept", c.accept)
			if w.StatusCode != 200 || !strings.Contains(answer, c.want) || w.Header.Get("Content-Type") != c.kind || w.Trailer.Get("X-Left") != "0" || w.Header.Get("X-Seen") != "yes" {
				t.Errorf("got %d %s %v %v", w.StatusCode, answer, w.Header, w.Trailer)
			}
		})
	}
}

// bound is a module of one method with that rule.
func bound(t testing.TB, rule string) []byte {
	t.Helper()
	return compiled(t, map[string]string{"annotations.proto": read(t, "annotations.proto"), "a.proto": `syntax = "proto3"; package a; import "annotations.proto";
		message M { string s = 1; repeated string r = 2; M m = 3; map<string, string> p = 4; }
		service S {
			rpc Do(M) returns (M) { option (google.api.http) = {` + rule + `}; }
		}`})
}

func TestRulesThatCannotBeAreRefusedByName(t *testing.T) {
	for _, c := range []struct{ what, rule, want string }{
		{"no slash", `get: "v1"`, "it does not begin with /"},
		{"nothing", `get: "/"`, `"" is no segment`},
		{"an empty segment", `get: "/v1//x"`, `"" is no segment`},
		{"no pattern", `body: "*"`, "it has no pattern"},
		{"a brace that is open", `get: "/v1/{s"`, "a { is not closed"},
		{"a part of a segment", `get: "/v1/{s}x"`, "a variable is a segment of its own"},
		{"a variable in a variable", `get: "/v1/{s={s}}"`, `"{s" is no segment`},
		{"no such field", `get: "/v1/{t}"`, `a.M has no field "t"`},
		{"a repeated field in the path", `get: "/v1/{r}"`, "r is not one value"},
		{"a message in the path", `get: "/v1/{m}"`, "m is not one value"},
		{"a map on the way", `get: "/v1/{p.key}"`, "p is not a message, or not one"},
		{"a field twice", `get: "/v1/{s}/{s}"`, "s is there twice"},
		{"** in the middle", `get: "/v1/**/x"`, "** is not at the end"},
		{"** in the middle of a variable", `get: "/v1/{s=**/x}"`, "** is not at the end"},
		{"no verb", `get: "/v1/x:"`, `":" is no verb`},
		{"a body that there is not", `post: "/v1" body: "t"`, `body: a.M has no field "t"`},
		{"a body that is in the path", `post: "/v1/{m.s}" body: "m"`, "m.s is in the path, and in the body"},
		{"an answer that there is not", `get: "/v1" response_body: "t"`, `response_body: a.M has no field "t"`},
		{"bindings in bindings", `get: "/v1" additional_bindings { get: "/v2" additional_bindings { get: "/v3" } }`, "additional_bindings in additional_bindings"},
		{"a binding twice", `get: "/v1/{s}" additional_bindings { get: "/v1/{m.s}" }`, "a.S.Do and a.S.Do are both bound to GET /v1/*"},
		{"more segments than there may be", `get: "` + strings.Repeat("/x", 65) + `"`, "there are more than 64 segments"},
	} {
		t.Run(c.what, func(t *testing.T) {
			_, err := services.Link("a", bound(t, c.rule))
			if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(fmt.Sprint(err), "a.S.Do") || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	_, err := services.Link("a", compiled(t, map[string]string{"annotations.proto": read(t, "annotations.proto"), "a.proto": `syntax = "proto3"; package a; import "annotations.proto";
		message M {}
		service S { rpc Up(stream M) returns (M) { option (google.api.http) = {post: "/v1"}; } }`}))
	if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), "a.S.Up: its callers send a stream") {
		t.Errorf("a stream: %v", err)
	}
}

func TestAPathHasOneModule(t *testing.T) {
	module := func(name, rule string) services.Module {
		raw := bytes.ReplaceAll(bound(t, rule), []byte("\x12\x01a"), []byte("\x12\x01"+name[:1]))
		raw = bytes.ReplaceAll(raw, []byte(".a."), []byte("."+name[:1]+"."))
		return services.Module{Name: name, Version: "1", Schema: link(t, name, raw), Impl: echo{}}
	}
	set := services.New(services.Options{Paths: []string{"/handlers/"}})
	first := module("first", `get: "/v1/{s}"`)
	add(t, set, first)
	for _, c := range []struct {
		what, rule, want string
	}{
		{"the same path under other names", `get: "/v1/{m.s}"`, "GET /v1/* of module second (s.S.Do) is served by module first"},
		{"a path of the process", `get: "/handlers/{s}"`, "GET /handlers/* of module second (s.S.Do) is served by weft itself"},
	} {
		t.Run(c.what, func(t *testing.T) {
			m := module("second", c.rule)
			for _, err := range []error{set.Check(m), set.Add(m)} {
				if weft.CodeOf(err) != weft.AlreadyExists || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
		})
	}
	m := module("second", `get: "/v1/{s}:ask"`)
	other := module("first", `get: "/v1/{s}"`)
	other.Namespace = "elsewhere"
	newer := module("first", `get: "/v2/{s}"`)
	newer.Version = "2"
	for _, m := range []services.Module{m, other, newer} {
		if err := set.Add(m); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
	}
	url := serve(t, set)
	if w, _ := ask(t, url, "GET", "/v2/x", ""); w.StatusCode != 404 {
		t.Errorf("a version that was not promoted: %d", w.StatusCode)
	}
	keep(t, set, first, m, other, newer)
	for path, status := range map[string]int{"/v2/x": 200, "/v1/x": 404, "/first@1/v1/x": 200, "/v1/x:ask": 200} {
		if w, answer := ask(t, url, "GET", path, ""); w.StatusCode != status {
			t.Errorf("%s: %d %s", path, w.StatusCode, answer)
		}
	}
}

func read(t testing.TB, name string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

func compact(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return b.String()
}
