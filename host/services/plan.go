package services

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// plan is the type of a message, compiled for going between protobuf and JSON
// without a message in between. It declines what is rare and what is wrong, and
// protojson decides: a plan accepts only what protojson accepts, and gives the
// same. It does not change.
type plan struct {
	desc     protoreflect.MessageDescriptor
	types    *dynamicpb.Types
	form     form
	fields   []planField // as declared, which is the order of protojson
	byNumber map[protowire.Number]int32
	byName   map[string]int32 // the name in JSON, and the field's own
}

// form is how a message is written in JSON.
type form byte

const (
	object form = iota
	timestamp
	duration
	foreign // by protojson: Any, Struct, wrappers, and what has required fields or extensions
)

type planField struct {
	number   protowire.Number
	kind     protoreflect.Kind
	wire     protowire.Type
	name     string // in JSON, with quotes and colon
	list     bool
	packed   bool
	isMap    bool
	presence bool
	decline  bool  // a group, or an enum that is closed
	oneof    int32 // 1 and up; 0 for none
	sub      *plan // of a message; for a map, of its entry
	enum     *planEnum
}

// planEnum is shared by all fields of an enum, as plans are by those of a message:
// what a schema costs grows with its length alone.
type planEnum struct {
	names  map[int32]string // in quotes
	values map[string]int32
}

// plans compiles the plans of a schema, each type once.
type plans struct {
	types *dynamicpb.Types
	made  map[protoreflect.FullName]*plan
	enums map[protoreflect.FullName]*planEnum
	todo  []*plan // made and not compiled: a chain of types is not to be a stack
}

// plan is that of md, and all that it needs.
func (ps *plans) plan(md protoreflect.MessageDescriptor) *plan {
	p := ps.promise(md)
	for len(ps.todo) > 0 {
		next := ps.todo[len(ps.todo)-1]
		ps.todo = ps.todo[:len(ps.todo)-1]
		ps.compile(next)
	}
	return p
}

func (ps *plans) promise(md protoreflect.MessageDescriptor) *plan {
	p := ps.made[md.FullName()]
	if p == nil {
		p = &plan{desc: md, types: ps.types, form: formOf(md)}
		ps.made[md.FullName()] = p
		ps.todo = append(ps.todo, p)
	}
	return p
}

func formOf(md protoreflect.MessageDescriptor) form {
	switch md.FullName() {
	case "google.protobuf.Timestamp":
		return timestamp
	case "google.protobuf.Duration":
		return duration
	case "google.protobuf.Empty":
		return object
	}
	if md.ParentFile().Package() == "google.protobuf" && !md.IsMapEntry() || md.RequiredNumbers().Len() > 0 || md.ExtensionRanges().Len() > 0 {
		return foreign
	}
	return object
}

func (ps *plans) compile(p *plan) {
	if p.form != object {
		return
	}
	fds := p.desc.Fields()
	p.fields = make([]planField, fds.Len())
	p.byNumber = make(map[protowire.Number]int32, fds.Len())
	p.byName = make(map[string]int32, fds.Len())
	for i := range p.fields {
		fd := fds.Get(i)
		p.fields[i] = ps.field(fd)
		p.byNumber[fd.Number()] = int32(i)
		p.byName[fd.TextName()] = int32(i)
	}
	for i := range p.fields { // the one in JSON comes first where they are mixed up
		p.byName[fds.Get(i).JSONName()] = int32(i)
	}
}

func (ps *plans) field(fd protoreflect.FieldDescriptor) planField {
	name, _ := appendText(nil, []byte(fd.JSONName()))
	f := planField{
		number: fd.Number(), kind: fd.Kind(), wire: wireOf(fd.Kind()), name: string(name) + ":",
		list: fd.IsList(), packed: fd.IsPacked(), isMap: fd.IsMap(), presence: fd.HasPresence(),
		decline: fd.Kind() == protoreflect.GroupKind,
	}
	if o := fd.ContainingOneof(); o != nil && !o.IsSynthetic() {
		f.oneof = int32(o.Index()) + 1
	}
	if fd.Message() != nil {
		f.sub = ps.promise(fd.Message())
	}
	if e := fd.Enum(); e != nil {
		f.decline = e.IsClosed() || e.FullName() == "google.protobuf.NullValue"
		f.enum = ps.enum(e)
	}
	return f
}

func (ps *plans) enum(e protoreflect.EnumDescriptor) *planEnum {
	if made := ps.enums[e.FullName()]; made != nil {
		return made
	}
	made := &planEnum{names: map[int32]string{}, values: map[string]int32{}}
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		made.values[string(v.Name())] = int32(v.Number())
		if _, ok := made.names[int32(v.Number())]; !ok {
			made.names[int32(v.Number())] = `"` + string(v.Name()) + `"`
		}
	}
	ps.enums[e.FullName()] = made
	return made
}

func wireOf(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// exactly is a message in JSON as protobuf. A field that it does not have is an
// error: what is answered is not to be lost in silence.
func (p *plan) exactly(text []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(p.desc)
	if err := (protojson.UnmarshalOptions{Resolver: p.types}).Unmarshal(text, m); err != nil {
		return nil, err
	}
	return proto.Marshal(m)
}

// byMessage appends a message in JSON to dst as protobuf, by a message.
func (p *plan) byMessage(dst, text []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(p.desc)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true, Resolver: p.types}).Unmarshal(text, m); err != nil {
		return dst, err
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// byMessageJSON appends an encoded message to dst as JSON, by a message.
func (p *plan) byMessageJSON(dst, data []byte) (out []byte, err error) {
	defer func() { // protobuf panics where the key of a map is there again with a wrong type
		if r := recover(); r != nil {
			out, err = dst, fmt.Errorf("it cannot be read: %v", r)
		}
	}()
	m := dynamicpb.NewMessage(p.desc)
	if err := (proto.UnmarshalOptions{Resolver: p.types}).Unmarshal(data, m); err != nil {
		return dst, err
	}
	return protojson.MarshalOptions{Resolver: p.types}.MarshalAppend(dst, m)
}

// depthMax is how deep a plan goes before it declines.
const depthMax = 100

// few is how many fields of a message fit into a word.
const few = 64

// marks are the fields of one message that have been there. A message of many
// fields costs what it has, not what it could have.
type marks struct {
	word uint64
	rest map[int32]bool
}

// set reports whether i is new.
func (m *marks) set(i int32) bool {
	if i < few {
		had := m.word&(1<<i) != 0
		m.word |= 1 << i
		return !had
	}
	if m.rest == nil {
		m.rest = map[int32]bool{}
	}
	had := m.rest[i]
	m.rest[i] = true
	return !had
}
