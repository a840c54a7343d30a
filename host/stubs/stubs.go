// Package stubs writes the code of a guest for protobuf services: structs of the
// messages that encode and decode themselves, and the exports that dispatch to
// the methods. Each language is one file over the same Model.
package stubs

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft"
)

// languages are the writers by language. Each gives the text of one file.
var languages = map[string]struct {
	suffix string
	write  func(*Model, Options) ([]byte, error)
}{
	"go": {".weft.go", golang},
}

// Languages are those that Generate knows.
func Languages() []string { return slices.Sorted(maps.Keys(languages)) }

// Options say what to write.
type Options struct {
	Language string // "" is Go
	Package  string // of Go; "" is main
}

// Generate writes the one file that a guest needs for these files of the set: all
// that they define, and what that needs of the files they import. It is named
// after the first. What cannot be written is InvalidArgument, with its name.
func Generate(set *descriptorpb.FileDescriptorSet, files []string, o Options) (name string, text []byte, err error) {
	const op = "stubs.Generate"
	if o.Language == "" {
		o.Language = "go"
	}
	lang, ok := languages[o.Language]
	if !ok {
		return "", nil, weft.Errorf(weft.InvalidArgument, op, "there is no generator for %q", o.Language).WithHint("write one of %s", strings.Join(Languages(), ", "))
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		return "", nil, weft.Errorf(weft.InvalidArgument, op, "the descriptors: %w", err).WithHint("give a set with all that the files import")
	}
	m, err := modelOf(linked, files)
	if err != nil {
		return "", nil, err
	}
	text, err = lang.write(m, o)
	return strings.TrimSuffix(path.Base(files[0]), ".proto") + lang.suffix, text, err
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
