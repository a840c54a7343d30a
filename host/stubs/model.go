package stubs

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Model is what a generator writes. Everything stands in the order of the files;
// a message that another one needs may stand behind it.
type Model struct {
	Sources  []string // the files, as people name them
	Enums    []*Enum
	Messages []*Message // those of maps are not among them
	Services []*Service
}

// each hands over what m defines, in the order of a file.
func (m *Model) each(enum func(*Enum), message func(*Message), service func(*Service)) {
	for _, e := range m.Enums {
		enum(e)
	}
	for _, x := range m.Messages {
		message(x)
	}
	for _, s := range m.Services {
		service(s)
	}
}

// Enum is open in every language: a number without a name is a value too.
type Enum struct {
	Name    string // full, such as shop.v1.Order.Kind
	Path    []string
	File    string // that defines it
	Comment string
	Values  []Value
}

// Value is a value of an enum. Several may have one number.
type Value struct {
	Name, Comment string
	Number        int32
}

// Message is a message.
type Message struct {
	Name    string   // full, such as shop.v1.Order.Item
	Path    []string // of names, from the outermost message to itself
	File    string   // that defines it
	Comment string
	Fields  []*Field
	// Recursive is a message that may hold itself, through others or not.
	Recursive bool
}

// Field is a field of a message.
type Field struct {
	Name, Comment string
	Number        int32
	Kind          protoreflect.Kind // never a group
	Message       *Message          // of a MessageKind
	Enum          *Enum             // of an EnumKind
	List, Packed  bool
	Presence      bool   // of a value that is neither a list nor a map: absent is not zero
	Oneof         string // whose fields exclude each other, empty for none
	Default       protoreflect.Value
	Key, Value    *Field // of a map; the Kind of the field itself says nothing then
}

// Service is a service.
type Service struct {
	Name    string // full
	Path    []string
	Comment string
	Methods []Method
}

// Method is one of a service. Its export is named service.Name/Method.Name.
type Method struct {
	Name, Comment                string
	In, Out                      *Message
	ClientStreams, ServerStreams bool
}

func (s *Service) streams() bool {
	return slices.ContainsFunc(s.Methods, func(m Method) bool { return m.ClientStreams || m.ServerStreams })
}

// builder makes a Model.
type builder struct {
	Model
	enums    map[protoreflect.FullName]*Enum
	messages map[protoreflect.FullName]*Message
	err      error // the first
}

func modelOf(linked *protoregistry.Files, files []string) (*Model, error) {
	b := builder{enums: map[protoreflect.FullName]*Enum{}, messages: map[protoreflect.FullName]*Message{}}
	if len(files) == 0 {
		return nil, refuse("there is no file to generate code for").WithHint("name a .proto")
	}
	for _, name := range files {
		f, err := linked.FindFileByPath(name)
		if err != nil {
			return nil, refuse("there is no file %s", name).WithHint("name one of the descriptor set, by its path in it")
		}
		b.Sources = append(b.Sources, name)
		b.file(f)
	}
	for _, m := range b.Messages {
		m.Recursive = reaches(m, m, map[*Message]bool{})
	}
	return &b.Model, b.err
}

// refuse keeps the first refusal: what is not supported, and what to write instead.
func (b *builder) refuse(what, name, instead string) {
	if b.err == nil {
		b.err = refuse("%s %s: it is not supported", name, what).WithHint("%s", instead)
	}
}

// file takes all that a file defines.
func (b *builder) file(f protoreflect.FileDescriptor) {
	for i := range f.Extensions().Len() {
		b.extension(f.Extensions().Get(i))
	}
	for i := range f.Enums().Len() {
		b.enum(f.Enums().Get(i))
	}
	b.all(f.Messages())
	for i := range f.Services().Len() {
		b.service(f.Services().Get(i))
	}
}

// extension refuses one, unless it is an option, which is no data.
func (b *builder) extension(x protoreflect.ExtensionDescriptor) {
	if !strings.HasPrefix(string(x.ContainingMessage().FullName()), "google.protobuf.") {
		b.refuse("extends "+string(x.ContainingMessage().FullName()), string(x.FullName()), "make it a field of that message")
	}
}

// all takes messages and what is defined in them.
func (b *builder) all(ds protoreflect.MessageDescriptors) {
	for i := range ds.Len() {
		d := ds.Get(i)
		if d.IsMapEntry() {
			continue
		}
		b.message(d)
		for i := range d.Extensions().Len() {
			b.extension(d.Extensions().Get(i))
		}
		for i := range d.Enums().Len() {
			b.enum(d.Enums().Get(i))
		}
		b.all(d.Messages())
	}
}

func (b *builder) enum(d protoreflect.EnumDescriptor) *Enum {
	if e := b.enums[d.FullName()]; e != nil {
		return e
	}
	e := &Enum{Name: string(d.FullName()), Path: pathOf(d), File: d.ParentFile().Path(), Comment: commentOf(d)}
	for i := range d.Values().Len() {
		v := d.Values().Get(i)
		e.Values = append(e.Values, Value{Name: string(v.Name()), Number: int32(v.Number()), Comment: commentOf(v)})
	}
	b.enums[d.FullName()] = e
	b.Enums = append(b.Enums, e)
	return e
}

func (b *builder) message(d protoreflect.MessageDescriptor) *Message {
	if m := b.messages[d.FullName()]; m != nil {
		return m
	}
	m := &Message{Name: string(d.FullName()), Path: pathOf(d), File: d.ParentFile().Path(), Comment: commentOf(d)}
	b.messages[d.FullName()] = m
	b.Messages = append(b.Messages, m)
	if o, ok := d.Options().(*descriptorpb.MessageOptions); ok && o.GetMessageSetWireFormat() {
		b.refuse("has message_set_wire_format", string(d.FullName()), "leave the option out, and make the extensions fields")
	}
	for i := range d.Fields().Len() {
		m.Fields = append(m.Fields, b.field(d.Fields().Get(i)))
	}
	return m
}

func (b *builder) field(d protoreflect.FieldDescriptor) *Field {
	f := &Field{Name: string(d.Name()), Comment: commentOf(d), Number: int32(d.Number()), Kind: d.Kind(),
		List: d.IsList(), Packed: d.IsPacked(), Presence: d.HasPresence() && !d.IsList() && !d.IsMap()}
	if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.Oneof = string(o.Name())
	}
	if d.HasDefault() {
		f.Default = d.Default()
	}
	switch {
	case d.IsMap():
		f.Key, f.Value = b.field(d.MapKey()), b.field(d.MapValue())
		f.Key.Presence, f.Value.Presence = false, f.Value.Kind == protoreflect.MessageKind // also in proto2
	case d.Kind() == protoreflect.GroupKind:
		b.refuse("is a group, or delimited", string(d.FullName()), "make it a field of a message, without DELIMITED")
	case d.Kind() == protoreflect.MessageKind:
		f.Message = b.message(d.Message())
	case d.Kind() == protoreflect.EnumKind:
		f.Enum = b.enum(d.Enum())
	}
	return f
}

func (b *builder) service(d protoreflect.ServiceDescriptor) {
	s := &Service{Name: string(d.FullName()), Path: pathOf(d), Comment: commentOf(d)}
	for i := range d.Methods().Len() {
		m := d.Methods().Get(i)
		s.Methods = append(s.Methods, Method{Name: string(m.Name()), Comment: commentOf(m), In: b.message(m.Input()), Out: b.message(m.Output()),
			ClientStreams: m.IsStreamingClient(), ServerStreams: m.IsStreamingServer()})
	}
	b.Services = append(b.Services, s)
}

func (m *Model) serviceNames() (names []string) {
	for _, s := range m.Services {
		names = append(names, s.Name)
	}
	return names
}

// pathOf are the names from the outermost definition to d.
func pathOf(d protoreflect.Descriptor) (names []string) {
	for ; d.Parent() != nil; d = d.Parent() {
		if _, ok := d.(protoreflect.FileDescriptor); ok {
			break
		}
		names = append(names, string(d.Name()))
	}
	slices.Reverse(names)
	return names
}

func commentOf(d protoreflect.Descriptor) string {
	return strings.TrimRight(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments, "\n ")
}

// reaches says whether a field of m leads to a message, over those not yet seen.
func reaches(m, to *Message, seen map[*Message]bool) bool {
	if seen[m] {
		return false
	}
	seen[m] = true
	for _, f := range m.Fields {
		if f.Value != nil {
			f = f.Value
		}
		if f.Message != nil && (f.Message == to || reaches(f.Message, to, seen)) {
			return true
		}
	}
	return false
}
