package host_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/runtime/wasm"
)

const sayProto = `syntax = "proto3"; package say.v1;
	message Said { string text = 1; }
	service SayService { rpc Echo(Said) returns (Said); rpc Fail(Said) returns (Said); }`

// said is the encoded descriptors of a file.
func said(t *testing.T, source string) []byte {
	t.Helper()
	return compiledSet(t, map[string]string{"api.proto": source})
}

// sayer is the manifest of a version of the guest that serves SayService.
func sayer(version string) []byte {
	return fmt.Appendf(nil, `{"name":"sayer","version":%q,"handlers":[{"name":"say.v1.SayService/Echo","export":"echo"},{"name":"say.v1.SayService/Fail","export":"fail"}]}`, version)
}

func (s *served) deploySayer(version string) {
	s.t.Helper()
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: sayer(version), Descriptors: said(s.t, sayProto)}, guest(), 256); err != nil {
		s.t.Fatal(err)
	}
}

func TestAnUploadWithDescriptorsIsAServiceAtOnce(t *testing.T) {
	s := serve(t, host.Options{})
	const echo = "/say.v1.SayService/Echo"
	if status, _ := s.ask(echo, `{}`); status != http.StatusNotFound {
		t.Errorf("before: %d", status)
	}
	s.deploySayer("1.0.0")
	served := func(s *served) {
		t.Helper()
		if answer := s.must(echo, `{"text":"grüße"}`); answer != `{"text":"grüße"}` {
			t.Errorf("got %s", answer)
		}
		if status, answer := s.ask("/say.v1.SayService/Fail", `{"text":"why"}`); status != 500 || !strings.Contains(answer, `"code":"internal"`) || !strings.Contains(answer, "why") {
			t.Errorf("an error of the handler: %d %s", status, answer)
		}
		s.must("/grpc.health.v1.Health/Check", `{"service":"say.v1.SayService"}`)
		if answer := compact(s.must("/weft.v1.ModuleService/GetModule", `{"name":"sayer"}`)); !strings.Contains(answer, `"methods":["say.v1.SayService/Echo","say.v1.SayService/Fail"]`) {
			t.Errorf("got %s", answer)
		}
		stream := grpcreflect.NewClient(s.client()).NewStream(t.Context())
		defer stream.Close()
		names, err := stream.ListServices()
		if got := fmt.Sprint(names); err != nil || !strings.Contains(got, "say.v1.SayService") || !strings.Contains(got, "weft.v1.ModuleService") || strings.Count(got, "grpc.health") != 1 {
			t.Errorf("reflection lists %s, %v", got, err)
		}
	}
	served(s)
	if status, _ := s.ask("/handlers/echo", "x"); status != http.StatusNotFound {
		t.Errorf("what the manifest does not list was called: %d", status)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	served(serve(t, host.Options{DB: s.db})) // and after a restart
}

// The answers of methods lie in rooms that the next call has again.
func TestEachCallerGetsItsOwnAnswer(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploySayer("1.0.0")
	var callers sync.WaitGroup
	for n := range 4 {
		callers.Go(func() {
			for i := range 60 {
				message := fmt.Sprintf(`{"text":%q}`, strings.Repeat(string(rune('a'+n)), 1+i*i*29%100_000))
				if status, answer := s.ask("/say.v1.SayService/Echo", message); status != http.StatusOK || answer != message {
					t.Errorf("asked %.20q (%d), got %d %.20q (%d)", message, len(message), status, answer, len(answer))
				}
			}
		})
	}
	callers.Wait()
}

func TestDescriptorsMayBeASectionOfTheModule(t *testing.T) {
	s := serve(t, host.Options{})
	module := wasm.AppendSection(guest(), wasm.DescriptorSection, said(t, sayProto))
	if _, err := s.push(s.client(), &weftv1.PushHeader{Manifest: sayer("1.0.0")}, module, 256); err != nil {
		t.Fatal(err)
	}
	s.must("/say.v1.SayService/Echo", `{"text":"hello"}`)
	res, err := s.push(s.client(), &weftv1.PushHeader{Manifest: sayer("1.0.0")}, module, 256)
	if err != nil || !res.Unchanged {
		t.Errorf("the same again: %v, %v", res, err)
	}
}

func TestServicesThatCannotBeServedAreRefusedByName(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploySayer("1.0.0")
	for name, c := range map[string]struct {
		manifest    string
		descriptors []byte
		code        connect.Code
		says        string
	}{
		"no descriptors at all":         {`{"name":"x","version":"1.0.0"}`, []byte("hello"), connect.CodeInvalidArgument, "no FileDescriptorSet"},
		"an import that is not there":   {`{"name":"x","version":"1.0.0"}`, lonely(t), connect.CodeInvalidArgument, "other.proto"},
		"a method without a handler":    {`{"name":"x","version":"1.0.0","handlers":[{"name":"x.XService/A","export":"echo"}]}`, said(t, `syntax = "proto3"; package x; message M {} service XService { rpc A(M) returns (M); rpc B(M) returns (M); }`), connect.CodeInvalidArgument, "no handler for /x.XService/B"},
		"a service of another module":   {strings.Replace(string(sayer("1.0.0")), `"sayer"`, `"other"`, 1), said(t, sayProto), connect.CodeAlreadyExists, "service say.v1.SayService of module other is served by module sayer"},
		"a service of weft itself":      {`{"name":"x","version":"1.0.0","handlers":[{"name":"weft.v1.ModuleService/A","export":"echo"}]}`, said(t, `syntax = "proto3"; package weft.v1; message M {} service ModuleService { rpc A(M) returns (M); }`), connect.CodeAlreadyExists, "service weft.v1.ModuleService of module x is served by weft itself"},
		"a version with other services": {string(sayer("1.0.0")), said(t, sayProto+"message More {}"), connect.CodeAlreadyExists, "other bytes, descriptors"},
		"a name that is no method's":    {`{"name":"x","version":"1.0.0","handlers":[{"name":"x./A","export":"echo"}]}`, nil, connect.CodeInvalidArgument, `"x./A" is not a handler name`},
	} {
		_, err := s.push(s.client(), &weftv1.PushHeader{Manifest: []byte(c.manifest), Descriptors: c.descriptors}, guest(), 256)
		if connect.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if answer := s.must("/weft.v1.ModuleService/ListModules", `{}`); strings.Count(answer, `"digest"`) != 1 {
		t.Errorf("something refused is there: %s", answer)
	}
}

// lonely is a set whose one file imports another.
func lonely(t *testing.T) []byte {
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{Name: proto.String("a.proto"), Dependency: []string{"other.proto"}}}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestVersionsChangeUnderLoadAndNoCallOfAServiceFails(t *testing.T) {
	s := serve(t, host.Options{})
	s.deploySayer("1.0.0")
	ctx, stop := context.WithCancel(t.Context())
	var calls atomic.Int64
	var callers sync.WaitGroup
	for range 3 {
		client := h1(t)
		callers.Go(func() {
			for ctx.Err() == nil {
				q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/say.v1.SayService/Echo", bytes.NewReader([]byte(`{"text":"a"}`)))
				if err != nil {
					t.Error(err)
					return
				}
				q.Header.Set("Content-Type", "application/json")
				res, err := client.Do(q)
				if err != nil {
					t.Error(err)
					return
				}
				if answer := text(t, res); res.StatusCode != http.StatusOK {
					t.Errorf("a call failed: %d %s", res.StatusCode, answer)
					return
				}
				calls.Add(1)
			}
		})
	}
	called := func() { // by somebody since
		for was := calls.Load(); calls.Load() < was+3 && !t.Failed(); {
			s.must("/say.v1.SayService/Echo", `{}`)
		}
	}
	current := func(version string) {
		t.Helper()
		if answer := compact(s.must("/weft.v1.ModuleService/GetModule", `{"name":"sayer"}`)); !strings.Contains(answer, `"version":"`+version+`"`) {
			t.Errorf("want %s: %s", version, answer)
		}
		called()
	}
	s.deploySayer("1.1.0")
	current("1.1.0")
	s.must("/weft.v1.ModuleService/Promote", `{"name":"sayer","version":"1.0.0"}`)
	current("1.0.0")
	s.deploySayer("1.2.0") // live, and called by its name alone
	current("1.0.0")
	for _, call := range [][]string{{"/sayer@1.2.0/say.v1.SayService/Echo"}, {"/say.v1.SayService/Echo", "Weft-Module", "sayer@1.1.0"}} {
		if status, answer := s.ask(call[0], `{"text":"b"}`, call[1:]...); status != 200 || answer != `{"text":"b"}` {
			t.Errorf("%v: %d %s", call, status, answer)
		}
	}
	s.must("/weft.v1.ModuleService/Promote", `{"name":"sayer"}`)
	current("1.2.0")
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"sayer","version":"1.2.0"}`)
	current("1.1.0")
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"sayer","version":"1.0.0"}`)
	current("1.1.0")
	stop()
	callers.Wait()
	s.must("/weft.v1.ModuleService/DeleteModule", `{"name":"sayer","version":"1.1.0"}`)
	if status, _ := s.ask("/say.v1.SayService/Echo", `{}`); status != http.StatusNotFound {
		t.Errorf("after the last one has gone: %d", status)
	}
	t.Logf("%d calls", calls.Load())
}
