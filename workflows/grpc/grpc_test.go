package grpc_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows/grpc"
)

const orders = `syntax = "proto3";
package orders.v1;
import "google/protobuf/timestamp.proto";
service Orders {
  rpc Place(Order) returns (Order);
  rpc Follow(stream Order) returns (Order);
}
message Order {
  string id = 1;
  int64 cents = 2;
  repeated string items = 3;
  google.protobuf.Timestamp at = 4;
  optional bool gift = 5;
  map<string, bytes> notes = 6;
}
`

func open(t *testing.T, source string) *grpc.Method {
	t.Helper()
	d, err := grpc.Describe(t.Context(), []byte(source), "orders.proto", "orders.v1.Orders")
	if err != nil {
		t.Fatal(err)
	}
	m, err := grpc.Open(d, "orders.v1.Orders", "Place")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAMessageGoesThereAndBack(t *testing.T) {
	cases := []struct{ name, in, out string }{
		{"with all there is", `{"id":"o","cents":"9007199254740993","items":["a"],"at":"2026-01-31T12:00:00Z","gift":false,"notes":{"k":"AQI="}}`,
			`{"id":"o","cents":"9007199254740993","items":["a"],"at":"2026-01-31T12:00:00Z","gift":false,"notes":{"k":"AQI="}}`},
		{"with nothing", `{}`, `{"id":"","cents":"0","items":[],"notes":{}}`},
		{"with a number for a long one", `{"cents":5}`, `{"id":"","cents":"5","items":[],"notes":{}}`},
	}
	m := open(t, orders)
	if m.Path() != "/orders.v1.Orders/Place" {
		t.Error(m.Path())
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			wire, err := m.Message([]byte(c.in))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := m.JSON(wire); err != nil || string(out) != c.out {
				t.Errorf("%s %v", out, err)
			}
		})
	}
	if _, err := m.Message([]byte(`{"cents":"many"}`)); weft.CodeOf(err) != weft.InvalidArgument {
		t.Error(err)
	}
	for _, answer := range []string{"\xff", keyTwice} {
		if _, err := m.JSON([]byte(answer)); weft.CodeOf(err) != weft.Internal {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

// keyTwice has a note whose key comes as a text and then as a number.
const keyTwice = "\x32\x05\x0a\x01a\x08\x01"

func TestADescriptorSetDescribesAServiceToo(t *testing.T) {
	stamp := protodesc.ToFileDescriptorProto(timestamppb.File_google_protobuf_timestamp_proto)
	other := protodesc.ToFileDescriptorProto(wrapperspb.File_google_protobuf_wrappers_proto)
	text, err := grpc.Describe(t.Context(), []byte(orders), "orders.proto", "orders.v1.Orders")
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(text, set); err != nil || len(set.File) != 2 {
		t.Fatal(len(set.File), err)
	}
	set.File = []*descriptorpb.FileDescriptorProto{other, stamp, set.File[1]}
	big, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	small, err := grpc.Describe(t.Context(), big, "orders.binpb", "orders.v1.Orders")
	if err != nil || len(small) >= len(big) {
		t.Fatalf("%d bytes of %d, %v", len(small), len(big), err)
	}
	if _, err := grpc.Open(small, "orders.v1.Orders", "Place"); err != nil {
		t.Error(err)
	}
}

func TestWhatDescribesNothingIsRefused(t *testing.T) {
	cases := []struct{ name, source, want string }{
		{"a slip", strings.Replace(orders, "string id", "strin id", 1), "orders.proto:9:3: "},
		{"an import that is not there", strings.Replace(orders, "google/protobuf/timestamp", "other", 1), "orders.proto:3:8: "},
		{"another service", strings.Replace(orders, "service Orders", "service Order5", 1), "orders.proto has no service orders.v1.Orders, only orders.v1.Order5"},
		{"bytes", "\x01\x02\x03", "neither a .proto file nor a descriptor set"},
		{"nothing", "", "has no service orders.v1.Orders, only none"},
		{"a page", "<html></html>", "orders.proto:1:1: "},
		{"too much", strings.Repeat(" ", grpc.SourceMax+1), "more than"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := grpc.Describe(t.Context(), []byte(c.source), "orders.proto", "orders.v1.Orders")
			if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, not %s", err, c.want)
			}
		})
	}
}

func TestFilesOfAFolderAreOneDescriptorSet(t *testing.T) {
	dir := fstest.MapFS{
		"api.proto":   {Data: []byte(`syntax = "proto3"; package a; import "types.proto"; import "google/protobuf/empty.proto"; service S { rpc Do(M) returns (google.protobuf.Empty); }`)},
		"types.proto": {Data: []byte(`syntax = "proto3"; package a; message M { string text = 1; }`)},
		"wrong.proto": {Data: []byte("syntax = \"proto3\";\npackage a;\nmessage M { string text = 1 }\n")},
		"lost.proto":  {Data: []byte("syntax = \"proto3\";\nimport \"nowhere.proto\";\n")},
	}
	set, err := grpc.Compile(t.Context(), dir, "api.proto", "types.proto")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := grpc.Open(set, "a.S", "Do"); err != nil || m.Path() != "/a.S/Do" {
		t.Errorf("%v", err)
	}
	dir["other.proto"] = &fstest.MapFile{Data: []byte("syntax = \"proto3\"; package b; import \"api.proto\"; import \"types.proto\"; import \"google/api/annotations.proto\";\n// Says what.\nservice T { rpc Do(a.M) returns (a.M) { option (google.api.http) = { get: \"/m\" }; } }")}
	if set, err = grpc.Compile(t.Context(), dir, "other.proto"); err != nil {
		t.Fatal(err)
	}
	if _, err := grpc.Open(set, "a.S", "Do"); err == nil {
		t.Error("a service of an imported file is there")
	}
	if _, err := grpc.Open(set, "b.T", "Do"); err != nil || !bytes.Contains(set, []byte("/m")) || !bytes.Contains(set, []byte("Says what.")) {
		t.Errorf("its rule or comment is lost, or %v", err)
	}
	for name, want := range map[string]string{"wrong.proto": "wrong.proto:3:", "lost.proto": "lost.proto:2:", "none.proto": "none.proto"} {
		if _, err := grpc.Compile(t.Context(), dir, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheServicesOfASetAreCalledByTheirNames(t *testing.T) {
	set := compiled(t, `syntax = "proto3"; package a; import "google/protobuf/any.proto"; import "google/protobuf/empty.proto";
		message M { string text = 1; google.protobuf.Any any = 2; }
		service S { rpc Do(M) returns (M); rpc None(google.protobuf.Empty) returns (M); rpc In(stream M) returns (M); rpc Out(M) returns (stream M); }`)
	services, err := grpc.Read(set)
	if err != nil {
		t.Fatal(err)
	}
	m, err := services.Method("a.S", "Do")
	if err != nil {
		t.Fatal(err)
	}
	const text = `{"text":"t","any":{"@type":"x/a.M","text":"inside","any":null}}`
	wire, err := m.Message([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := m.JSON(wire); err != nil || string(out) != strings.Replace(text, `,"any":null`, "", 1) {
		t.Errorf("%s, %v", out, err)
	}
	for _, c := range []struct{ service, method, want string }{
		{"a.S", "In", "a.S/In is a stream; only a method with one message each way can be called; give the service a method"},
		{"a.S", "Out", "a.S/Out is a stream"},
		{"a.S", "Undo", "a.S has no method Undo, only Do, In, None, Out"},
		{"a.T", "Do", "no service a.T"},
		{"a.M", "Do", "no service a.M"},
	} {
		if _, err := services.Method(c.service, c.method); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s/%s: %v", c.service, c.method, err)
		}
	}
}

// compiled is the descriptor set of a file, as protoc writes it without imports.
func compiled(t *testing.T, source string) []byte {
	t.Helper()
	whole, err := grpc.Compile(t.Context(), fstest.MapFS{"api.proto": {Data: []byte(source)}}, "api.proto")
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(whole, set); err != nil {
		t.Fatal(err)
	}
	set.File = set.File[len(set.File)-1:]
	alone, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return alone
}
