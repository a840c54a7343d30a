package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/weftrun/weft/workflows/grpc"
)

func TestThePluginAnswersTheCompiler(t *testing.T) {
	const good = `syntax = "proto3"; package a.v1; import "google/protobuf/duration.proto";
		message Pause { google.protobuf.Duration span = 1; } service WaitService { rpc Wait(Pause) returns (stream Pause); }`
	for name, c := range map[string]struct {
		source, parameter string
		says              []string // of the file's text, or of the refusal
	}{
		"Go without options":     {good, "", []string{"package main\n", "//go:wasmexport a.v1.WaitService/Wait\n", "Span *known.Duration\n"}},
		"Go in another package":  {good, "package=wait,lang=go", []string{"package wait\n"}},
		"an option that is none": {good, "paths=source_relative", []string{`"paths=source_relative" is no option: write lang=`}},
		"another language":       {good, "lang=cobol", []string{`there is no generator for "cobol"`}},
		"a group":                {`syntax = "proto2"; package a; message M { optional group G = 1 {} }`, "", []string{"a.M.g is a group, or delimited: it is not supported; make it a field"}},
		"an extension":           {`syntax = "proto2"; package a; message M { extensions 5; } extend M { optional int32 more = 5; }`, "", []string{"a.more extends a.M: it is not supported; make it a field"}},
		"messages with delimiters": {`edition = "2023"; package a; message M { M m = 1 [features.message_encoding = DELIMITED]; }`, "",
			[]string{"a.M.m is a group, or delimited"}},
		"editions as they are": {`edition = "2023"; package a; message M { repeated int32 n = 1 [features.repeated_field_encoding = EXPANDED]; int32 one = 2; int32 two = 3 [features.field_presence = IMPLICIT]; }`, "",
			[]string{"PutList(w, 1, m.N", "One *int32", "Two int32"}},
	} {
		set, err := grpc.Sources(t.Context(), fstest.MapFS{"a.proto": {Data: []byte(c.source)}}, "a.proto")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		q, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{FileToGenerate: []string{"a.proto"}, Parameter: &c.parameter, ProtoFile: set.File})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := plugin(bytes.NewReader(q), &out); err != nil {
			t.Fatal(err)
		}
		answer := &pluginpb.CodeGeneratorResponse{}
		if err := proto.Unmarshal(out.Bytes(), answer); err != nil {
			t.Fatal(err)
		}
		got := answer.GetError()
		if len(answer.File) == 1 {
			got = answer.File[0].GetName() + "\n" + answer.File[0].GetContent()
		}
		for _, s := range c.says {
			if !strings.Contains(got, s) {
				t.Errorf("%s: there is no %q in\n%s", name, s, got)
			}
		}
	}
	if err := plugin(strings.NewReader("hello"), &bytes.Buffer{}); err == nil {
		t.Error("text is no request")
	}
}
