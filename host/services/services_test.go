package services_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

// compiled is the encoded FileDescriptorSet of files, each path/name = source.
// What they import of google/protobuf is left out.
func compiled(t testing.TB, files map[string]string) []byte {
	t.Helper()
	c := protocompile.Compiler{SourceInfoMode: protocompile.SourceInfoStandard, Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(files)})}
	var set descriptorpb.FileDescriptorSet
	for name := range files {
		linked, err := c.Compile(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(linked[0]))
	}
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func ordersSet(t testing.TB) []byte {
	t.Helper()
	source, err := os.ReadFile(filepath.Join("testdata", "orders.proto"))
	if err != nil {
		t.Fatal(err)
	}
	return compiled(t, map[string]string{"api.proto": string(source)})
}

func link(t testing.TB, module string, set []byte) *services.Schema {
	t.Helper()
	s, err := services.Link(module, set)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// handlers are an implementation: one function a method.
type handlers map[string]func(ctx context.Context, c *services.Call) error

func (h handlers) Implements(procedure string) bool { return h[method(procedure)] != nil }

func (h handlers) Call(ctx context.Context, c *services.Call) error {
	return h[method(c.Procedure)](ctx, c)
}

func method(procedure string) string { return procedure[strings.LastIndexByte(procedure, '/')+1:] }

// orders is a version of the module orders. The order it gives is named after it.
func orders(version string) handlers {
	order := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), version)
	return handlers{
		"Place": func(_ context.Context, c *services.Call) error {
			msg, err := c.Recv()
			if err != nil {
				return err
			}
			if len(msg) == 0 {
				return &weft.Error{Code: weft.InvalidArgument, Op: "orders", Err: errors.New("no items"), Details: []weft.Detail{{Type: "orders.v1.GetRequest", Value: order}}}
			}
			o := append(order[:len(order):len(order)], retag(msg, 2)...)
			return send(c, protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), o))
		},
		"Get": func(_ context.Context, c *services.Call) error {
			if _, err := c.Recv(); err != nil {
				return err
			}
			return send(c, order)
		},
		"Import": func(_ context.Context, c *services.Call) error {
			n := uint64(0)
			for {
				switch _, err := c.Recv(); {
				case err == io.EOF:
					return send(c, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), n))
				case err != nil:
					return err
				}
				n++
			}
		},
		"Watch": func(ctx context.Context, c *services.Call) error {
			if _, err := c.Recv(); err != nil {
				return err
			}
			if err := send(c, order); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		},
		"Talk": func(_ context.Context, c *services.Call) error {
			for {
				switch msg, err := c.Recv(); {
				case err == io.EOF:
					return nil
				case err != nil:
					return err
				default:
					if err := send(c, msg); err != nil {
						return err
					}
				}
			}
		},
	}
}

// send sends a message that lies where something else does at once.
func send(c *services.Call, msg []byte) error {
	room := bytes.Clone(msg)
	defer clear(room)
	return c.Send(room)
}

// retag is a message of field 1 alone, that field being num now.
func retag(msg []byte, num protowire.Number) (out []byte) {
	for len(msg) > 0 {
		_, _, n := protowire.ConsumeTag(msg)
		b, m := protowire.ConsumeBytes(msg[n:])
		out = protowire.AppendBytes(protowire.AppendTag(out, num, protowire.BytesType), b)
		msg = msg[n+m:]
	}
	return out
}

func add(t testing.TB, s *services.Set, m services.Module) {
	t.Helper()
	if err := s.Add(m); err != nil {
		t.Fatal(err)
	}
}

func ordersModule(t testing.TB, version string) services.Module {
	return services.Module{Name: "orders", Version: version, Schema: link(t, "orders", ordersSet(t)), Impl: orders(version)}
}

// serve serves a set on 127.0.0.1, over HTTP/1.1 and h2 without TLS.
func serve(t testing.TB, s *services.Set) (url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(s)
	server.Config.Protocols = &http.Protocols{}
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// post is one unary call by Connect, in JSON.
func post(t testing.TB, url, body string, headers ...string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return answerOf(t, r)
}

func answerOf(t testing.TB, r *http.Request) (status int, answer string) {
	t.Helper()
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.StatusCode, string(b)
}

func TestAMethodIsServedFromItsDescriptorAlone(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1.0.0"))
	url := serve(t, set)
	for _, c := range []struct {
		what, path, body string
		headers          []string
		status           int
		answer           string // a part of it
	}{
		{what: "JSON in, JSON out", path: "/orders.v1.OrderService/Place", body: `{"items":[{"sku":"tea","quantity":2}]}`,
			status: 200, answer: `{"order":{"id":"1.0.0","items":[{"sku":"tea","quantity":2}]}}`},
		{what: "an error has its code and its details", path: "/orders.v1.OrderService/Place", body: `{}`,
			status: 400, answer: `{"code":"invalid_argument","message":"no items","details":[{"type":"orders.v1.GetRequest","value":"CgUxLjAuMA"`},
		{what: "JSON that is no such message", path: "/orders.v1.OrderService/Place", body: `{"items":3}`,
			status: 400, answer: `"code":"invalid_argument"`},
		{what: "a version by path", path: "/orders@1.0.0/orders.v1.OrderService/Get", body: `{}`, status: 200, answer: `{"id":"1.0.0"}`},
		{what: "a version by header", path: "/orders.v1.OrderService/Get", body: `{}`, headers: []string{"Weft-Module", "orders@1.0.0"}, status: 200, answer: `{"id":"1.0.0"}`},
		{what: "a version that is not live", path: "/orders@2.0.0/orders.v1.OrderService/Get", body: `{}`, status: 404, answer: `"code":"not_found","message":"module \"orders@2.0.0\" is not live`},
		{what: "a path that nobody serves", path: "/orders.v1.Other/Get", body: `{}`, status: 404, answer: "no module serves this path"},
		{what: "a method that there is not", path: "/orders.v1.OrderService/Steal", body: `{}`, status: 501, answer: `"code":"unimplemented"`},
		{what: "another namespace", path: "/orders.v1.OrderService/Get", body: `{}`, headers: []string{"Weft-Namespace", "other"}, status: 404, answer: "no module serves this path"},
	} {
		t.Run(c.what, func(t *testing.T) {
			status, answer := post(t, url+c.path, c.body, c.headers...)
			if status != c.status || !strings.Contains(strings.ReplaceAll(answer, `, "`, `,"`), c.answer) {
				t.Errorf("got %d %s\nwant %d %s", status, answer, c.status, c.answer)
			}
		})
	}
}

func TestAMethodWithoutSideEffectsIsServedByGET(t *testing.T) {
	set := services.New(services.Options{})
	add(t, set, ordersModule(t, "1.0.0"))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, serve(t, set)+"/orders.v1.OrderService/Get?connect=v1&encoding=json&message=%7B%7D", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := answerOf(t, r); status != 200 || answer != `{"id":"1.0.0"}` {
		t.Errorf("got %d %s", status, answer)
	}
}
