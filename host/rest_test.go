package host_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/workflows/grpc"
)

// routed is the encoded descriptors of SayService with a route for Echo.
func routed(t *testing.T, path string) []byte {
	t.Helper()
	annotations, err := os.ReadFile("services/testdata/annotations.proto")
	if err != nil {
		t.Fatal(err)
	}
	return compiledSet(t, map[string]string{
		"annotations.proto": string(annotations),
		"api.proto": fmt.Sprintf(`syntax = "proto3"; package say.v1; import "annotations.proto";
			message Said { string text = 1; }
			service SayService {
				rpc Echo(Said) returns (Said) { option (google.api.http) = { get: %q }; }
				rpc Fail(Said) returns (Said);
			}`, path),
	})
}

// compiledSet is the encoded descriptors of files, by name and source.
func compiledSet(t *testing.T, sources map[string]string) []byte {
	t.Helper()
	files := fstest.MapFS{}
	for name, source := range sources {
		files[name] = &fstest.MapFile{Data: []byte(source)}
	}
	set, err := grpc.Compile(t.Context(), files, slices.Collect(maps.Keys(sources))...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (s *served) deployRouted(path string) error {
	_, err := s.push(s.client(), &weftv1.PushHeader{Manifest: sayer("1.0.0"), Descriptors: routed(s.t, path)}, guest(), 256)
	return err
}

func TestAnUploadHasItsRoutesItsDescriptionAndPagesThatCallIt(t *testing.T) {
	const page = "https://shop.example"
	s := serve(t, host.Options{Origins: []string{page}})
	if err := s.deployRouted("/v1/said/{text}"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, verb, path string
		status           int
		allowed          string
		says             string
	}{
		{"a route", http.MethodGet, "/v1/said/grüße", 200, page, `{"text":"grüße"}`},
		{"a route of nothing", http.MethodGet, "/v1/other", 404, page, ""},
		{"the list of descriptions", http.MethodGet, "/openapi", 200, page, "/openapi/sayer/1.0.0.json"},
		{"a description", http.MethodGet, "/openapi/sayer/1.0.0.json", 200, page, "/v1/said/{text}"},
		{"the question before a call", http.MethodOptions, "/say.v1.SayService/Echo", 204, page, ""},
		{"the question before a call of weft itself", http.MethodOptions, "/weft.v1.ModuleService/DeleteModule", 405, "", ""},
		{"the question before a call by name", http.MethodOptions, "/handlers/echo", 405, "", ""},
	} {
		q, err := http.NewRequestWithContext(t.Context(), c.verb, s.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Origin", page)
		if c.verb == http.MethodOptions {
			q.Header.Set("Access-Control-Request-Method", http.MethodPost)
			q.Header.Set("Access-Control-Request-Headers", "connect-protocol-version,content-type")
		}
		res, err := h1(t).Do(q)
		if err != nil {
			t.Fatal(err)
		}
		if answer := text(t, res); res.StatusCode != c.status || res.Header.Get("Access-Control-Allow-Origin") != c.allowed || !strings.Contains(answer, c.says) {
			t.Errorf("%s: %d %v %s", c.what, res.StatusCode, res.Header, answer)
		}
	}
}

func TestNoRouteBeginsWithAPathOfWeftItself(t *testing.T) {
	s := serve(t, host.Options{})
	for _, path := range []string{"/events", "/handlers/{text}", "/hooks/{text}", "/workflows/{text}", "/healthz", "/readyz/{text}", "/metrics", "/openapi/{text}", "/weft.v1.RunService/{text}"} {
		if err := s.deployRouted(path); connect.CodeOf(err) != connect.CodeAlreadyExists || !strings.Contains(err.Error(), "is served by weft itself") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWhatModulesServeIsListedAndDescribed(t *testing.T) {
	s := serve(t, host.Options{})
	if err := s.deployRouted("/v1/said/{text}"); err != nil {
		t.Fatal(err)
	}
	s.deploySayer("1.1.0")
	const first, second = `"version":"1.0.0"`, `"version":"1.1.0","current":true`
	for _, c := range []struct {
		what, call, body string
		status           int
		says             []string
		not              string
	}{
		{"every version", "ListServices", `{}`, 200, []string{first, second, `"module":"sayer"`, `"routes":[{"verb":"GET","path":"/v1/said/{text}"}]`}, "exampleJson"},
		{"a page", "ListServices", `{"pageSize":1}`, 200, []string{first, `"nextPageToken":"say.v1.SayService@1.0.0"`}, second},
		{"the last page", "ListServices", `{"pageSize":1,"pageToken":"say.v1.SayService@1.0.0"}`, 200, []string{second}, "nextPageToken"},
		{"another namespace", "ListServices", `{"namespace":"other"}`, 200, []string{"{}"}, "SayService"},
		{"no page", "ListServices", `{"pageToken":"x"}`, 400, []string{"is no page token"}, ""},
		{"a page of less than none", "ListServices", `{"pageSize":-1}`, 400, []string{"below zero"}, ""},
		{"what is called", "GetService", `{"name":"say.v1.SayService"}`, 200, []string{second, `"procedure":"/say.v1.SayService/Echo"`, `"exampleJson":"{\"text\":\"text\"}"`, `"say.v1.Said":{"properties":{"text":`}, "/v1/said"},
		{"a version", "GetService", `{"name":"say.v1.SayService","version":"1.0.0"}`, 200, []string{first, "/v1/said"}, `"current"`},
		{"no version", "GetService", `{"name":"say.v1.SayService","version":"3.0.0"}`, 404, []string{"at version 3.0.0"}, ""},
		{"no service", "GetService", `{"name":"say.v1.Other"}`, 404, []string{"no module serves say.v1.Other"}, ""},
	} {
		status, answer := s.ask("/weft.v1.ServiceService/"+c.call, c.body)
		answer = compact(answer)
		for _, says := range c.says {
			if status != c.status || !strings.Contains(answer, says) || c.not != "" && strings.Contains(answer, c.not) {
				t.Errorf("%s: %d %s", c.what, status, answer)
			}
		}
	}
}
