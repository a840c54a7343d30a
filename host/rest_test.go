package host_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
)

// routed is the encoded descriptors of SayService with a route for Echo.
func routed(t *testing.T, path string) []byte {
	t.Helper()
	annotations, err := os.ReadFile("services/testdata/annotations.proto")
	if err != nil {
		t.Fatal(err)
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{
		"annotations.proto": string(annotations),
		"api.proto": fmt.Sprintf(`syntax = "proto3"; package say.v1; import "annotations.proto";
			message Said { string text = 1; }
			service SayService {
				rpc Echo(Said) returns (Said) { option (google.api.http) = { get: %q }; }
				rpc Fail(Said) returns (Said);
			}`, path),
	})})}
	var set descriptorpb.FileDescriptorSet
	for _, name := range []string{"annotations.proto", "api.proto"} {
		files, err := c.Compile(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(files[0]))
	}
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return raw
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
	for _, path := range []string{"/events", "/handlers/{text}", "/healthz", "/readyz/{text}", "/metrics", "/openapi/{text}", "/weft.v1.RunService/{text}"} {
		if err := s.deployRouted(path); connect.CodeOf(err) != connect.CodeAlreadyExists || !strings.Contains(err.Error(), "is served by weft itself") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
