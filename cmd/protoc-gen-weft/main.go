// Command protoc-gen-weft is a plugin of protoc and buf: it writes what a guest of
// weft needs to serve the services of a .proto. Its options are lang=LANGUAGE,
// which is Go where it is left out, and of Go package=NAME, which is main.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/weftrun/weft/host/stubs"
)

func main() {
	if err := plugin(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "protoc-gen-weft:", err)
		os.Exit(1)
	}
}

// plugin answers a request of the compiler. What is wrong with the files is part
// of the answer, as the compiler wants it.
func plugin(in io.Reader, out io.Writer) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	q := &pluginpb.CodeGeneratorRequest{}
	if err := proto.Unmarshal(data, q); err != nil {
		return fmt.Errorf("standard input is no request of protoc: %w", err)
	}
	all := pluginpb.CodeGeneratorResponse_FEATURE_PROTO3_OPTIONAL | pluginpb.CodeGeneratorResponse_FEATURE_SUPPORTS_EDITIONS
	answer := &pluginpb.CodeGeneratorResponse{
		SupportedFeatures: proto.Uint64(uint64(all)),
		MinimumEdition:    proto.Int32(int32(descriptorpb.Edition_EDITION_PROTO2)),
		MaximumEdition:    proto.Int32(int32(descriptorpb.Edition_EDITION_2024)),
	}
	if name, text, err := generate(q); err != nil {
		answer.Error = proto.String(err.Error())
	} else {
		answer.File = []*pluginpb.CodeGeneratorResponse_File{{Name: &name, Content: proto.String(string(text))}}
	}
	if data, err = proto.Marshal(answer); err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

func generate(q *pluginpb.CodeGeneratorRequest) (name string, text []byte, err error) {
	var o stubs.Options
	for option := range strings.SplitSeq(q.GetParameter(), ",") {
		switch key, value, _ := strings.Cut(option, "="); key {
		case "":
		case "lang":
			o.Language = value
		case "package":
			o.Package = value
		default:
			return "", nil, fmt.Errorf("%q is no option: write lang=LANGUAGE or package=NAME", option)
		}
	}
	return stubs.Generate(&descriptorpb.FileDescriptorSet{File: q.ProtoFile}, q.FileToGenerate, o)
}
