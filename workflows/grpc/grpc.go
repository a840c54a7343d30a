// Package grpc knows the methods of gRPC services by their descriptions: it
// reads a .proto or a descriptor set, and turns JSON into messages and back.
package grpc

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/reporter"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftrun/weft"
)

// SourceMax bounds a description, in bytes.
const SourceMax = 1 << 20

// Method is one method of a service, with one message each way. It is safe for
// use by several goroutines.
type Method struct {
	desc  protoreflect.MethodDescriptor
	types *dynamicpb.Types // that a google.protobuf.Any may hold
}

// Describe reads a description, the text of a .proto file or a descriptor set
// as protoc and buf write it, and gives as much of it as Open needs for a
// service.
func Describe(ctx context.Context, source []byte, from, service string) ([]byte, error) {
	files, err := read(ctx, source, from)
	if err != nil {
		return nil, err
	}
	all := collection{seen: map[string]bool{}}
	var known []string
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			known = append(known, string(s.FullName()))
			if string(s.FullName()) == service {
				all.add(f)
				return all.bytes()
			}
		}
	}
	return nil, fail("%s has no service %s, only %s", from, service, some(known))
}

func fail(format string, args ...any) *weft.Error {
	return weft.Errorf(weft.InvalidArgument, "grpc", format, args...)
}

// some are names for a reader.
func some(names []string) string {
	slices.Sort(names)
	if len(names) == 0 {
		return "none"
	}
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}

func read(ctx context.Context, source []byte, from string) ([]protoreflect.FileDescriptor, error) {
	if len(source) > SourceMax {
		return nil, fail("%s has %d bytes, more than %d", from, len(source), SourceMax)
	}
	if isText(source) {
		return compile(ctx, source, from)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(source, set); err != nil {
		return nil, fail("%s is neither a .proto file nor a descriptor set", from)
	}
	registry, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fail("the descriptor set %s: %w", from, err)
	}
	var files []protoreflect.FileDescriptor
	registry.RangeFiles(func(f protoreflect.FileDescriptor) bool { files = append(files, f); return true })
	return files, nil
}

// isText tells a .proto file from a descriptor set, which has the tags of its
// fields among its bytes.
func isText(source []byte) bool {
	return utf8.Valid(source) && !bytes.ContainsFunc(source, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' })
}

const protoName = "service.proto"

func compile(ctx context.Context, source []byte, from string) ([]protoreflect.FileDescriptor, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{protoName: string(source)})}),
		MaxParallelism: 1,
	}
	files, err := c.Compile(ctx, protoName)
	var wrong reporter.ErrorWithPos
	switch {
	case errors.As(err, &wrong):
		at := wrong.GetPosition()
		err := weft.Errorf(weft.InvalidArgument, "grpc.Describe", "%s:%d:%d: %w", from, at.Line, at.Col, wrong.Unwrap())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, err.WithHint("only google/protobuf can be imported; give a descriptor set, which has all it needs in it: buf build -o")
		}
		return nil, err
	case err != nil:
		return nil, fail("%s: %w", from, err)
	}
	return []protoreflect.FileDescriptor{files[0]}, nil
}

// Open finds a method in what Describe gave.
func Open(description []byte, service, method string) (*Method, error) {
	services, err := Read(description)
	if err != nil {
		return nil, err
	}
	return services.Method(service, method)
}

// Services are those of a descriptor set. They are safe for use by several
// goroutines.
type Services struct{ files *protoregistry.Files }

// Read reads an encoded descriptor set. Files of google/protobuf that it imports
// may be left out.
func Read(set []byte) (*Services, error) {
	all := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(set, all); err != nil {
		return nil, weft.Errorf(weft.DataLoss, "grpc.Read", "a descriptor set cannot be read: %w", err)
	}
	have := map[string]bool{}
	for _, f := range all.File {
		have[f.GetName()] = true
	}
	for i := 0; i < len(all.File); i++ { // it grows
		for _, path := range all.File[i].Dependency {
			if have[path] || !strings.HasPrefix(path, "google/protobuf/") {
				continue
			}
			if f, err := protoregistry.GlobalFiles.FindFileByPath(path); err == nil {
				have[path] = true
				all.File = append(all.File, protodesc.ToFileDescriptorProto(f))
			}
		}
	}
	files, err := protodesc.NewFiles(all)
	if err != nil {
		return nil, fail("the descriptor set: %w", err)
	}
	return &Services{files}, nil
}

// Has reports whether there is such a method.
func (s *Services) Has(service, method string) bool {
	d, err := s.files.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	_, ok := d.(protoreflect.MethodDescriptor)
	return err == nil && ok
}

// Method finds a method by the full name of its service and its own. One that
// streams is refused.
func (s *Services) Method(service, method string) (*Method, error) {
	d, err := s.files.FindDescriptorByName(protoreflect.FullName(service))
	of, ok := d.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, weft.Errorf(weft.NotFound, "grpc.Services.Method", "the description has no service %s", service)
	}
	m := of.Methods().ByName(protoreflect.Name(method))
	if m == nil {
		names := map[string]bool{}
		for i := range of.Methods().Len() {
			names[string(of.Methods().Get(i).Name())] = true
		}
		return nil, fail("%s has no method %s, only %s", service, method, some(slices.Collect(maps.Keys(names))))
	}
	if m.IsStreamingClient() || m.IsStreamingServer() {
		return nil, fail("%s/%s is a stream; only a method with one message each way can be called", service, method).WithHint("give the service a method that takes and gives one message, or call it from a client")
	}
	return &Method{m, dynamicpb.NewTypes(s.files)}, nil
}

// Path is where a server has the method, such as /orders.v1.Orders/Place.
func (m *Method) Path() string {
	return fmt.Sprintf("/%s/%s", m.desc.Parent().FullName(), m.desc.Name())
}

// Message is what the method is sent, from JSON as protobuf maps it.
func (m *Method) Message(arguments []byte) ([]byte, error) {
	in := dynamicpb.NewMessage(m.desc.Input())
	if err := (protojson.UnmarshalOptions{Resolver: m.types}).Unmarshal(arguments, in); err != nil {
		return nil, fail("the arguments of %s: %w", m.Path(), err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(in)
}

// JSON is an answer of the method as protobuf maps it. Every field without
// presence is there, also with its zero value.
func (m *Method) JSON(message []byte) (answer []byte, err error) {
	defer func() { // protobuf panics where the key of a map is there again with a wrong type
		if r := recover(); r != nil {
			answer, err = nil, weft.Errorf(weft.Internal, "grpc", "the answer of %s cannot be read: %v", m.Path(), r)
		}
	}()
	out := dynamicpb.NewMessage(m.desc.Output())
	if err := proto.Unmarshal(message, out); err != nil {
		return nil, weft.Errorf(weft.Internal, "grpc", "the answer of %s is no %s", m.Path(), m.desc.Output().FullName())
	}
	text, err := protojson.MarshalOptions{EmitDefaultValues: true, Resolver: m.types}.Marshal(out)
	if err != nil {
		return nil, weft.Errorf(weft.Internal, "grpc", "the answer of %s: %w", m.Path(), err)
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text) // protojson adds blanks at random
	return compact.Bytes(), err
}

// google are files that many services import and few have: the rules of REST, and
// details of errors. Those of google/protobuf the compiler has itself.
//
//go:embed google
var google embed.FS

// Compile is the descriptor set of .proto files: those named, in a folder that
// also has what they import. Those of google/protobuf, and the common ones of
// google/api and google/rpc, are there besides. Comments are kept, for OpenAPI;
// services of imported files are not, for they are somebody else's.
func Compile(ctx context.Context, dir fs.FS, names ...string) ([]byte, error) {
	set, err := Sources(ctx, dir, names...)
	if err != nil {
		return nil, err
	}
	for _, f := range set.File {
		if !slices.Contains(names, f.GetName()) {
			f.Service, f.SourceCodeInfo = nil, nil
			continue
		}
		info := f.GetSourceCodeInfo()
		info.Location = slices.DeleteFunc(info.GetLocation(), func(l *descriptorpb.SourceCodeInfo_Location) bool { return l.GetLeadingComments() == "" })
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(set)
}

// Sources is Compile for those who read on, with all that the compiler tells of the
// sources.
func Sources(ctx context.Context, dir fs.FS, names ...string) (*descriptorpb.FileDescriptorSet, error) {
	c := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
			f, err := dir.Open(path)
			if errors.Is(err, fs.ErrNotExist) {
				return google.Open(path)
			}
			return f, err
		}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := c.Compile(ctx, names...)
	var wrong reporter.ErrorWithPos
	switch {
	case errors.As(err, &wrong):
		at := wrong.GetPosition()
		return nil, weft.Errorf(weft.InvalidArgument, "grpc.Compile", "%s:%d:%d: %w", at.Filename, at.Line, at.Col, wrong.Unwrap())
	case err != nil:
		return nil, fail("%w", err)
	}
	all := collection{seen: map[string]bool{}, comments: true}
	for _, f := range files {
		all.add(f)
	}
	return &all.set, nil
}

// collection is a descriptor set in the making: what a file imports comes before it.
type collection struct {
	set      descriptorpb.FileDescriptorSet
	seen     map[string]bool
	comments bool
}

func (c *collection) add(f protoreflect.FileDescriptor) {
	if c.seen[f.Path()] {
		return
	}
	c.seen[f.Path()] = true
	for i := range f.Imports().Len() {
		c.add(f.Imports().Get(i).FileDescriptor)
	}
	p := protodesc.ToFileDescriptorProto(f)
	if !c.comments {
		p.SourceCodeInfo = nil
	}
	c.set.File = append(c.set.File, p)
}

func (c *collection) bytes() ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(&c.set)
}
