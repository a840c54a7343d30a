package services

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Descriptors is the schema as an encoded FileDescriptorSet, for those who
// generate code from it: imports before what imports them, comments included, and
// the paths that the files had in the module. The same schema gives the same bytes.
func (s *Schema) Descriptors() ([]byte, error) {
	var files []protoreflect.FileDescriptor
	s.files.RangeFiles(func(fd protoreflect.FileDescriptor) bool { files = append(files, fd); return true })
	slices.SortFunc(files, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		for i := range fd.Imports().Len() {
			add(fd.Imports().Get(i).FileDescriptor)
		}
		file := protodesc.ToFileDescriptorProto(fd)
		file.Name = proto.String(s.given(file.GetName()))
		for i, path := range file.Dependency {
			file.Dependency[i] = s.given(path)
		}
		for i, path := range file.OptionDependency {
			file.OptionDependency[i] = s.given(path)
		}
		set.File = append(set.File, file)
	}
	for _, fd := range files {
		add(fd)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(set)
}

// given is what a file was called before it was given a path of the module.
func (s *Schema) given(own string) string {
	if wellKnown(own) != nil {
		return own
	}
	return strings.TrimPrefix(own, s.module+"/")
}
