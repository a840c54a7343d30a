// Package stubs writes the code of a guest for protobuf services: structs of the
// messages that encode and decode themselves, and the exports that dispatch to
// the methods. Each language is one file over the same Model.
package stubs

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft"
)

// language writes the code of a guest.
type language struct {
	suffix   string // of the file's name, behind its folder
	write    func(*Model, Options) ([]byte, error)
	skeleton func(*Model, Options) (map[string][]byte, error) // a first module over it, with its test
}

var languages = map[string]language{
	"assemblyscript": {".weft.ts", assemblyscript, tsSkeleton},
	"c":              {".weft.h", c, cSkeleton},
	"go":             {".weft.go", golang, goSkeleton},
	"rust":           {"src/.weft.rs", rust, rustSkeleton},
	"zig":            {".weft.zig", zig, zigSkeleton},
}

// Languages are those that Generate knows.
func Languages() []string { return slices.Sorted(maps.Keys(languages)) }

// Options say what to write.
type Options struct {
	Language string // "" is Go
	Package  string // of Go; "" is main
	Module   string // name of the module, for Skeleton
}

// Generate writes the one file that a guest needs for these files of the set: all
// that they define, and what that needs of the files they import. It is named
// after the first. What cannot be written is InvalidArgument, with its name.
func Generate(set *descriptorpb.FileDescriptorSet, files []string, o Options) (name string, text []byte, err error) {
	lang, m, err := read(set, files, o)
	if err != nil {
		return "", nil, err
	}
	text, err = lang.write(m, o)
	return path.Join(path.Dir(lang.suffix), baseOf(files[0])+path.Base(lang.suffix)), text, err
}

// baseOf is the name of a file without its folder and end.
func baseOf(file string) string { return strings.TrimSuffix(path.Base(file), ".proto") }

// Skeleton writes a first module over what Generate writes: each method, which is
// Unimplemented, and its test.
func Skeleton(set *descriptorpb.FileDescriptorSet, files []string, o Options) (map[string][]byte, error) {
	lang, m, err := read(set, files, o)
	if err != nil {
		return nil, err
	}
	if len(m.Services) == 0 {
		return nil, refuse("%s has no service", strings.Join(files, ", ")).WithHint("write one into it, such as service OrderService { rpc PlaceOrder(PlaceOrderRequest) returns (PlaceOrderResponse); }")
	}
	return lang.skeleton(m, o)
}

// Services are the names of the services in these files of the set.
func Services(set *descriptorpb.FileDescriptorSet, files []string) (names []string) {
	for _, f := range set.File {
		if slices.Contains(files, f.GetName()) {
			for _, s := range f.Service {
				names = append(names, strings.TrimPrefix(f.GetPackage()+"."+s.GetName(), "."))
			}
		}
	}
	return names
}

func read(set *descriptorpb.FileDescriptorSet, files []string, o Options) (language, *Model, error) {
	if o.Language == "" {
		o.Language = "go"
	}
	lang, ok := languages[o.Language]
	if !ok {
		return lang, nil, refuse("there is no generator for %q", o.Language).WithHint("write one of %s", strings.Join(Languages(), ", "))
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		return lang, nil, refuse("the descriptors: %w", err).WithHint("give a set with all that the files import")
	}
	m, err := modelOf(linked, files)
	return lang, m, err
}

func refuse(format string, args ...any) *weft.Error {
	return weft.Errorf(weft.InvalidArgument, "stubs.Generate", format, args...)
}

// writer is a text in the making.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) {
	if len(args) == 0 {
		w.WriteString(format)
	} else {
		fmt.Fprintf(w, format, args...)
	}
	w.WriteByte('\n')
}

// comment writes what a .proto says about something.
func (w *writer) comment(indent, mark, text string) {
	for line := range strings.Lines(text) {
		w.line("%s", strings.TrimRight(indent+mark+" "+strings.TrimSpace(line), " "))
	}
}

// doc is comment, or name where the .proto says nothing, in front of what it is about.
func (w *writer) doc(indent, name, comment string) {
	w.comment(indent, "///", cmp.Or(comment, name+"."))
}

// whole is the text, with one end of a line at its end.
func (w *writer) whole() []byte { return []byte(strings.TrimRight(w.String(), "\n") + "\n") }

// named is a text in the making with the names of what it defines.
type named struct {
	writer
	names map[any]string  // of messages, enums and services, and of what a field or a value needs
	taken map[string]bool // at the top
}

// newNamed has a name in one word for everything, and none of those taken.
func newNamed(m *Model, taken string) named {
	n := named{names: map[any]string{}, taken: map[string]bool{}}
	for name := range strings.FieldsSeq(taken) {
		n.taken[name] = true
	}
	claim := func(of any, path []string) { n.names[of] = n.free(strings.ReplaceAll(goPath(path), "_", "")) }
	for _, x := range m.Messages {
		claim(x, x.Path)
	}
	for _, e := range m.Enums {
		claim(e, e.Path)
	}
	for _, s := range m.Services {
		claim(s, s.Path)
	}
	return n
}

// single is the type of a single value, where kinds has those that are no messages
// and no enums.
func (n *named) single(f *Field, kinds map[string]string) string {
	switch {
	case f.Message != nil:
		return n.names[f.Message]
	case f.Enum != nil:
		return n.names[f.Enum]
	}
	return kinds[goKinds[f.Kind]]
}

// free is a name that nothing has yet.
func (n *named) free(name string) string {
	for n.taken[name] {
		name += "_"
	}
	n.taken[name] = true
	return name
}
