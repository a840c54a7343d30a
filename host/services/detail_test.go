package services_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

// A caller by curl has no types to read a detail with, and one by grpcurl asks
// reflection for them.
func TestDetailsOfErrorsCanBeRead(t *testing.T) {
	info, err := proto.Marshal(&errdetails.ResourceInfo{ResourceName: "o-1"})
	if err != nil {
		t.Fatal(err)
	}
	impl := orders("1")
	impl["Get"] = func(context.Context, *services.Call) error {
		return &weft.Error{Code: weft.NotFound, Op: "orders", Details: []weft.Detail{
			{Type: "google.rpc.ResourceInfo", Value: info},
			{Type: "orders.v1.GetRequest", Value: []byte("\x0a\x03o-1")},
			{Type: "other.v1.Message", Value: []byte("\x0a\x01x")},
			{Type: "orders.v1.GetRequest", Value: []byte("\xff")},
			{Type: "orders.v1.Tags", Value: []byte("\x0a\x05\x0a\x01a\x08\x01")}, // a key twice, once of another type
			{Type: "orders.v1.GetRequest", Value: protowire.AppendString([]byte("\x0a"), strings.Repeat("x", 4<<10))},
		}}
	}
	source := read(t, "orders.proto")
	set := services.New(services.Options{Own: []string{"weft.v1.Runs"}})
	add(t, set, services.Module{Name: "orders", Version: "1", Schema: link(t, "orders", compiled(t, map[string]string{"api.proto": source + "message Tags { map<string, int32> tags = 1; }"})), Impl: impl})
	url := serve(t, set)

	var said struct {
		Details []struct {
			Type  string
			Debug map[string]string
		}
	}
	if _, answer := post(t, url+get.Procedure, `{}`); json.Unmarshal([]byte(answer), &said) != nil || len(said.Details) != 6 {
		t.Fatal(answer)
	}
	for i, want := range []string{"o-1", "o-1", "", "", "", ""} {
		d := said.Details[i]
		if got := d.Debug["resourceName"] + d.Debug["id"]; got != want {
			t.Errorf("%s has %v, want %q", d.Type, d.Debug, want)
		}
	}
	stream := grpcreflect.NewClient(client(url)).NewStream(t.Context())
	defer stream.Close()
	if _, err := stream.FileContainingSymbol("google.rpc.ResourceInfo"); err != nil {
		t.Errorf("reflection: %v", err)
	}
}
