package services

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/anypb" // what a module may import and leave out
	_ "google.golang.org/protobuf/types/known/apipb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/emptypb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/sourcecontextpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"
	_ "google.golang.org/protobuf/types/known/typepb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftrun/weft"
)

// Bounds of a schema.
const (
	SchemaMax  = 4 << 20 // bytes of a FileDescriptorSet
	FilesMax   = 500     // that a set has or imports
	MethodsMax = 1000    // of all services
	PartsMax   = 200_000 // messages, fields, methods, comments and whatever else a set is made of
)

// Schema is the protobuf world of one module: files, types, services. It never
// touches the registry of the process, so that two modules, or two versions of
// one, may use the same names. It does not change.
type Schema struct {
	module   string
	files    *protoregistry.Files
	types    *dynamicpb.Types
	services []protoreflect.ServiceDescriptor
	shapes   map[protoreflect.FullName]*shape // of what methods take and give
	plans    plans
	rules    []*rule // of google.api.http
}

// Link makes the schema of a module of an encoded FileDescriptorSet. The set
// has all that its files import; files of google/protobuf may be left out. What
// does not link is refused by name. The paths of its files begin with the
// module's name from then on: each module has an api.proto, and reflection
// tells files apart by their paths.
func Link(module string, set []byte) (*Schema, error) {
	if len(set) > SchemaMax {
		return nil, refused("the descriptors have %d bytes, more than %d", len(set), SchemaMax)
	}
	var fds descriptorpb.FileDescriptorSet
	if parts(set, fds.ProtoReflect().Descriptor(), PartsMax, 0) > PartsMax {
		return nil, refused("the descriptors are made of more than %d parts, or nested deeper than %d", PartsMax, nestingMax).WithHint("leave source information out: protoc without --include_source_info, buf build --exclude-source-info")
	}
	if err := proto.Unmarshal(set, &fds); err != nil {
		return nil, refused("the descriptors are no FileDescriptorSet: %w", err).WithHint("make them with buf build, or protoc --include_imports --descriptor_set_out")
	}
	if err := complete(&fds, module); err != nil {
		return nil, err
	}
	files, err := protodesc.NewFiles(&fds)
	if err != nil {
		return nil, refused("the descriptors do not link: %w", err).WithHint("the set has to hold all imports: protoc --include_imports")
	}
	s := &Schema{module: module, files: files, types: dynamicpb.NewTypes(files), shapes: map[protoreflect.FullName]*shape{}}
	s.plans = plans{types: s.types, made: map[protoreflect.FullName]*plan{}, enums: map[protoreflect.FullName]*planEnum{}}
	files.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			s.services = append(s.services, fd.Services().Get(i))
		}
		return true
	})
	slices.SortFunc(s.services, func(a, b protoreflect.ServiceDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	methods := 0
	for m := range s.methods() {
		if methods++; methods > MethodsMax {
			return nil, refused("the services have more than %d methods", MethodsMax)
		}
		s.shape(m.Input())
		s.shape(m.Output())
	}
	if err := s.httpRules(); err != nil {
		return nil, err
	}
	return s, nil
}

func refused(format string, args ...any) *weft.Error {
	return weft.Errorf(weft.InvalidArgument, "services.Link", format, args...)
}

// complete gives the module's files their own paths, and adds those of
// google/protobuf. These are always the ones of this process: what reads and
// writes JSON takes them to be as they should.
func complete(set *descriptorpb.FileDescriptorSet, module string) error {
	set.File = slices.DeleteFunc(set.File, func(f *descriptorpb.FileDescriptorProto) bool { return wellKnown(f.GetName()) != nil })
	own := func(path string) string {
		if wellKnown(path) != nil {
			return path
		}
		return module + "/" + path
	}
	for _, f := range set.File {
		if f.GetPackage() == "google.protobuf" || strings.HasPrefix(f.GetPackage(), "google.protobuf.") {
			return refused("%s is of the package google.protobuf, which is not a module's to define", f.GetName())
		}
		f.Name = proto.String(own(f.GetName()))
		for i, path := range f.Dependency {
			f.Dependency[i] = own(path)
		}
		for i, path := range f.OptionDependency {
			f.OptionDependency[i] = own(path)
		}
	}
	have := map[string]bool{}
	for i := 0; i < len(set.File); i++ { // it grows
		if len(set.File) > FilesMax {
			return refused("there are more than %d files", FilesMax)
		}
		for _, path := range set.File[i].Dependency {
			if fd := wellKnown(path); fd != nil && !have[path] {
				have[path] = true
				set.File = append(set.File, protodesc.ToFileDescriptorProto(fd))
			}
		}
	}
	return nil
}

// wellKnown is the file of google/protobuf at path, if it is one.
func wellKnown(path string) protoreflect.FileDescriptor {
	if !strings.HasPrefix(path, "google/protobuf/") {
		return nil
	}
	fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil || fd.Package() != "google.protobuf" {
		return nil
	}
	return fd
}

// Services are the full names of the services, sorted.
func (s *Schema) Services() []string {
	names := make([]string, len(s.services))
	for i, svc := range s.services {
		names[i] = string(svc.FullName())
	}
	return names
}

// Streaming are the procedures of the methods that stream, in or out.
func (s *Schema) Streaming() (all []string) {
	for m := range s.methods() {
		if m.IsStreamingClient() || m.IsStreamingServer() {
			all = append(all, procedure(m))
		}
	}
	return all
}

// methods are those of all services.
func (s *Schema) methods() func(yield func(protoreflect.MethodDescriptor) bool) {
	return func(yield func(protoreflect.MethodDescriptor) bool) {
		for _, svc := range s.services {
			for i := range svc.Methods().Len() {
				if !yield(svc.Methods().Get(i)) {
					return
				}
			}
		}
	}
}

// procedure is the path of a method, such as /orders.v1.OrderService/Place.
func procedure(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}
