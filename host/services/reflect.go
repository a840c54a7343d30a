package services

import (
	"context"
	"net/http"
	"slices"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weftrun/weft"
)

// view is what reflection tells of: modules that are live together, and the
// services of the process itself. It does not change; who has opened a stream
// sees what was live then.
type view struct {
	modules []*Schema
	own     []string
}

// reflected adds gRPC's reflection of what v sees to routes. Its streams end
// with life.
func (s *Set) reflected(life context.Context, v view, to routes) {
	server := connect.NewServer(func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			ctx, end := weft.Until(ctx, life)
			defer end(nil)
			defer interrupt(ctx)()
			leave, err := s.place(ctx)
			if err != nil {
				return wire(err)
			}
			defer leave()
			err = next(ctx, spec, stream)
			if err != nil && ctx.Err() != nil {
				err = wire(context.Cause(ctx))
			}
			return err
		}
	})
	grpcreflect.Register(server,
		grpcreflect.WithNamer(grpcreflect.NamerFunc(v.names)),
		grpcreflect.WithDescriptorResolver(v),
		grpcreflect.WithExtensionResolver(v))
	connecthttp.Mount(mounted(func(path string, h http.Handler) { to[path] = route{Handler: h} }), server, s.http...)
}

// place is that of a stream of reflection.
func (s *Set) place(ctx context.Context) (leave func(), err error) {
	ns := NamedBy(ctx)
	if err := weft.CheckNamespace(ns); err != nil {
		return nil, err
	}
	return s.opts.Place(weft.NamespaceOr(ns))
}

func (v view) names() []string {
	names := slices.Clone(v.own)
	for _, m := range v.modules {
		names = append(names, m.Services()...)
	}
	slices.Sort(names)
	return names
}

// FindFileByPath is the file at that path, of a module first.
func (v view) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	for _, m := range v.modules {
		if fd, err := m.files.FindFileByPath(path); err == nil {
			return fd, nil
		}
	}
	if len(v.own) == 0 {
		return nil, protoregistry.NotFound
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

// FindDescriptorByName is what has that full name. Modules may have the same
// names for messages, and each tells of its own where the name is of a service.
func (v view) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	for _, m := range v.modules {
		if d, err := m.files.FindDescriptorByName(name); err == nil {
			return d, nil
		}
	}
	if len(v.own) == 0 {
		return nil, protoregistry.NotFound
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

// FindExtensionByName is a module's extension.
func (v view) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	for _, m := range v.modules {
		if x, err := m.types.FindExtensionByName(name); err == nil {
			return x, nil
		}
	}
	return nil, protoregistry.NotFound
}

// FindExtensionByNumber is a module's extension of a message.
func (v view) FindExtensionByNumber(of protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	for _, m := range v.modules {
		if x, err := m.types.FindExtensionByNumber(of, number); err == nil {
			return x, nil
		}
	}
	return nil, protoregistry.NotFound
}

// RangeExtensionsByMessage yields the modules' extensions of a message.
func (v view) RangeExtensionsByMessage(of protoreflect.FullName, yield func(protoreflect.ExtensionType) bool) {
	for _, m := range v.modules {
		for _, x := range m.extensions() {
			if x.TypeDescriptor().ContainingMessage().FullName() == of && !yield(x) {
				return
			}
		}
	}
}

// extensions are all that the schema defines.
func (s *Schema) extensions() (all []protoreflect.ExtensionType) {
	type scope interface {
		Extensions() protoreflect.ExtensionDescriptors
		Messages() protoreflect.MessageDescriptors
	}
	var in func(scope)
	in = func(sc scope) {
		for i := range sc.Extensions().Len() {
			if x, err := s.types.FindExtensionByName(sc.Extensions().Get(i).FullName()); err == nil {
				all = append(all, x)
			}
		}
		for i := range sc.Messages().Len() {
			in(sc.Messages().Get(i))
		}
	}
	s.files.RangeFiles(func(fd protoreflect.FileDescriptor) bool { in(fd); return true })
	return all
}
