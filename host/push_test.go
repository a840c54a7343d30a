package host_test

import (
	"bytes"
	"database/sql"
	"errors"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/weftrun/weft/host"
	weftv1 "github.com/weftrun/weft/proto/weft/v1"
	"github.com/weftrun/weft/proto/weft/v1/weftv1connect"
)

func TestARefusedPushLeavesNothingAndNamesItsCause(t *testing.T) {
	const moduleMax = 3 << 20
	s := serve(t, host.Options{ModuleMax: moduleMax})
	header := func(h *weftv1.PushHeader) *weftv1.PushRequest {
		if h.Name == "" {
			h.Name, h.Version = "bad", "1.0.0"
		}
		return &weftv1.PushRequest{Part: &weftv1.PushRequest_Header{Header: h}}
	}
	chunk := func(data []byte) *weftv1.PushRequest {
		return &weftv1.PushRequest{Part: &weftv1.PushRequest_Chunk{Chunk: data}}
	}
	mib := make([]byte, 1<<20)
	for name, c := range map[string]struct {
		send []*weftv1.PushRequest
		code connect.Code
		says string
	}{
		"nothing at all":              {nil, connect.CodeInvalidArgument, "first message is not the header"},
		"no header":                   {[]*weftv1.PushRequest{chunk(guest())}, connect.CodeInvalidArgument, "first message is not the header"},
		"two headers":                 {[]*weftv1.PushRequest{header(&weftv1.PushHeader{}), header(&weftv1.PushHeader{})}, connect.CodeInvalidArgument, "second header"},
		"no module":                   {[]*weftv1.PushRequest{header(&weftv1.PushHeader{})}, connect.CodeInvalidArgument, "does not begin"},
		"text":                        {[]*weftv1.PushRequest{header(&weftv1.PushHeader{}), chunk([]byte("hello"))}, connect.CodeInvalidArgument, "does not begin"},
		"half a module":               {[]*weftv1.PushRequest{header(&weftv1.PushHeader{}), chunk(guest()[:200])}, connect.CodeInvalidArgument, "bytes"},
		"fewer bytes than announced":  {[]*weftv1.PushRequest{header(&weftv1.PushHeader{Size: 10_000}), chunk(guest())}, connect.CodeInvalidArgument, "10000 bytes were announced"},
		"more announced than allowed": {[]*weftv1.PushRequest{header(&weftv1.PushHeader{Size: moduleMax + 1})}, connect.CodeResourceExhausted, "the limit is 3145728"},
		"more sent than allowed":      {[]*weftv1.PushRequest{header(&weftv1.PushHeader{}), chunk(mib), chunk(mib), chunk(mib), chunk(mib)}, connect.CodeResourceExhausted, "over 3145728 bytes"},
		"a chunk that is too large":   {[]*weftv1.PushRequest{header(&weftv1.PushHeader{}), chunk(append(mib, 0))}, connect.CodeResourceExhausted, "a chunk has 1048577 bytes, the limit is 1048576"},
		"a message that is too large": {[]*weftv1.PushRequest{header(&weftv1.PushHeader{}), chunk(bytes.Repeat(mib, 5))}, connect.CodeResourceExhausted, "larger than"},
		"no name for a module":        {[]*weftv1.PushRequest{header(&weftv1.PushHeader{Name: "B a d", Version: "1.0.0"}), chunk(guest())}, connect.CodeInvalidArgument, "not a module name"},
		"no version":                  {[]*weftv1.PushRequest{header(&weftv1.PushHeader{Name: "bad", Version: "one"}), chunk(guest())}, connect.CodeInvalidArgument, "not a semantic version"},
		"a manifest with a new field": {[]*weftv1.PushRequest{header(&weftv1.PushHeader{Manifest: []byte(`{"shiny":1}`)}), chunk(guest())}, connect.CodeInvalidArgument, "shiny"},
		"a handler it does not have": {[]*weftv1.PushRequest{header(&weftv1.PushHeader{Manifest: []byte(`{"handlers":[{"name":"fly"}]}`)}), chunk(guest())},
			connect.CodeInvalidArgument, `no function "fly"`},
	} {
		stream, err := weftv1connect.NewModuleServiceClient(s.client()).Push(t.Context())
		for _, m := range c.send {
			if err == nil {
				err = stream.Send(m)
			}
		}
		if err == nil || errors.Is(err, io.EOF) {
			_, err = stream.CloseAndReceive()
		}
		if connect.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}

	stored, err := sql.Open("sqlite3", "file:"+s.db)
	if err != nil {
		t.Fatal(err)
	}
	defer stored.Close()
	var modules, blobs int
	if err := stored.QueryRow("select (select count(*) from module), (select count(*) from blob)").Scan(&modules, &blobs); err != nil || modules != 0 || blobs != 0 {
		t.Errorf("%d modules and %d blobs are stored: %v", modules, blobs, err)
	}
	if answer := s.must("/weft.v1.ModuleService/ListModules", `{}`); answer != "{}" {
		t.Errorf("live: %s", answer)
	}
}
