package services_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/services"
)

func TestDescriptorsThatDoNotLinkAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		what, want string
		set        []byte
	}{
		{"bytes that are none", "the descriptors are no FileDescriptorSet", []byte("\xff\xff")},
		{"more bytes than are taken", "the descriptors have 4194305 bytes, more than 4194304", make([]byte, services.SchemaMax+1)},
		{"a million parts of two bytes", "more than 200000 parts", inFile(bytes.Repeat([]byte{4<<3 | 2, 0}, 1_000_000))},
		{"messages in each other 10,000 deep", "nested deeper than 100", inFile(nested(10_000))},
		{"an import that is not there", "shop/money.proto", without(t, "money.proto", map[string]string{
			"api.proto":   `syntax = "proto3"; import "money.proto"; message M { Money m = 1; }`,
			"money.proto": `syntax = "proto3"; message Money {}`})},
		{"a Timestamp of its own", "time.proto is of the package google.protobuf", renamed(t, "google.protobuf", compiled(t, map[string]string{"time.proto": `syntax = "proto3"; package mine; message Timestamp {}`}))},
	} {
		t.Run(c.what, func(t *testing.T) {
			if _, err := services.Link("shop", c.set); weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// inFile is a set of one file with that content.
func inFile(content []byte) []byte { return protowire.AppendBytes([]byte{1<<3 | 2}, content) }

// nested is the content of a file with messages in each other.
func nested(deep int) (b []byte) {
	for range deep {
		b = protowire.AppendBytes([]byte{3<<3 | 2}, b)
	}
	return protowire.AppendBytes([]byte{4<<3 | 2}, b)
}

func TestLimitsHold(t *testing.T) {
	impl := orders("1")
	impl["Get"] = func(_ context.Context, c *services.Call) error {
		if err := c.AddHeader("x-small", "1"); err != nil {
			return err
		}
		return c.AddHeader("x-large", strings.Repeat("x", 100))
	}
	held, leave := make(chan bool), make(chan bool)
	impl["Place"] = func(_ context.Context, c *services.Call) error {
		msg, err := c.Recv()
		if err != nil {
			return err
		}
		if len(msg) == 0 {
			held <- true
			<-leave
			return c.Send(nil)
		}
		if err := c.Send(nil); err != nil {
			return err
		}
		return c.Send(nil)
	}
	set := services.New(services.Options{MessageMax: 1000, HeadersMax: 100, CallsMax: 2, CallsOf: 1})
	add(t, set, services.Module{Name: "orders", Version: "1", Schema: link(t, "orders", ordersSet(t)), Impl: impl})
	add(t, set, services.Module{Namespace: "other", Name: "orders", Version: "1", Schema: link(t, "orders", ordersSet(t)), Impl: impl})
	url := serve(t, set) + "/orders.v1.OrderService/"
	for _, c := range []struct{ what, method, body, want string }{
		{"a message that is too long", "Place", `{"items":[{"sku":"` + strings.Repeat("x", 1000) + `"}]}`, "resource_exhausted"},
		{"headers that are too long", "Get", `{}`, "headers and trailers of an answer have more than 100 bytes"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if _, answer := post(t, url+c.method, c.body); !strings.Contains(answer, c.want) {
				t.Errorf("got %s, want %s", answer, c.want)
			}
		})
	}
	first := make(chan int)
	go func() {
		status, _ := post(t, url+"Place", `{}`)
		first <- status
	}()
	<-held
	if status, answer := post(t, url+"Place", `{}`); status != 429 || !strings.Contains(answer, "1 calls are in progress of namespace default, and no more may; try again in a moment") {
		t.Errorf("a call too many of a namespace: %d %s", status, answer)
	}
	second := make(chan int)
	go func() {
		status, _ := post(t, url+"Place", `{}`, services.NamespaceHeader, "other")
		second <- status
	}()
	<-held
	if status, answer := post(t, url+"Place", `{}`, services.NamespaceHeader, "third"); status != 429 || !strings.Contains(answer, "2 calls are in progress of this host, and no more may") {
		t.Errorf("a call too many of the host: %d %s", status, answer)
	}
	close(leave)
	if a, b := <-first, <-second; a != 200 || b != 200 {
		t.Errorf("the calls that were there first: %d and %d", a, b)
	}
	if taken, refused := set.Calls().Count(); taken != 0 || refused != 2 {
		t.Errorf("%d calls are in progress, %d found no place", taken, refused)
	}
}

// without is the set of files, but for one.
func without(t *testing.T, name string, files map[string]string) []byte {
	t.Helper()
	return edited(t, compiled(t, files), func(set *descriptorpb.FileDescriptorSet) {
		set.File = slices.DeleteFunc(set.File, func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == name })
	})
}

// renamed is a set whose files are of another package, which no compiler lets pass.
func renamed(t *testing.T, pkg string, raw []byte) []byte {
	t.Helper()
	return edited(t, raw, func(set *descriptorpb.FileDescriptorSet) {
		for _, f := range set.File {
			f.Package = &pkg
		}
	})
}

func edited(t *testing.T, raw []byte, edit func(*descriptorpb.FileDescriptorSet)) []byte {
	t.Helper()
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	edit(&set)
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAPanicIsLoggedAndNotShown(t *testing.T) {
	var logged error
	impl := orders("1")
	impl["Get"] = func(context.Context, *services.Call) error { panic("the inside") }
	set := services.New(services.Options{Shown: func(_ string, err error) error { logged = err; return err }})
	add(t, set, services.Module{Name: "orders", Version: "1", Schema: link(t, "orders", ordersSet(t)), Impl: impl})
	status, answer := post(t, serve(t, set)+"/orders.v1.OrderService/Get", `{}`)
	if status != 500 || strings.Contains(answer, "inside") || logged == nil || !strings.Contains(logged.Error(), "panic: the inside") {
		t.Errorf("shown %d %s, logged %v", status, answer, logged)
	}
}
