package services

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonObject is one; its keys are written in order.
type jsonObject = map[string]any

// schemas are messages and enums as JSON Schema, by full name. Each is there
// once, and refers to others by at.
type schemas struct {
	at   string // such as #/components/schemas/
	made jsonObject
	todo []protoreflect.MessageDescriptor
}

// wellKnownSchemas are of messages that have a form of their own in JSON.
var wellKnownSchemas = map[protoreflect.FullName]jsonObject{
	"google.protobuf.Timestamp":   {"type": "string", "format": "date-time"},
	"google.protobuf.Duration":    {"type": "string", "pattern": `^-?[0-9]+(\.[0-9]{1,9})?s$`},
	"google.protobuf.FieldMask":   {"type": "string"},
	"google.protobuf.Struct":      {"type": "object"},
	"google.protobuf.Value":       {},
	"google.protobuf.ListValue":   {"type": "array"},
	"google.protobuf.Empty":       {"type": "object"},
	"google.protobuf.Any":         {"type": "object", "properties": jsonObject{"@type": jsonObject{"type": "string"}}},
	"google.protobuf.StringValue": {"type": []string{"string", "null"}},
	"google.protobuf.BytesValue":  {"type": []string{"string", "null"}, "contentEncoding": "base64"},
	"google.protobuf.BoolValue":   {"type": []string{"boolean", "null"}},
	"google.protobuf.Int32Value":  {"type": []string{"integer", "null"}},
	"google.protobuf.UInt32Value": {"type": []string{"integer", "null"}},
	"google.protobuf.Int64Value":  {"type": []string{"string", "null"}, "format": "int64"},
	"google.protobuf.UInt64Value": {"type": []string{"string", "null"}, "format": "int64"},
	"google.protobuf.FloatValue":  {"type": []string{"number", "null"}},
	"google.protobuf.DoubleValue": {"type": []string{"number", "null"}},
}

// message refers to the schema of md. Those it needs are made until none is
// left: a chain of types is not to be a stack.
func (ss *schemas) message(md protoreflect.MessageDescriptor) jsonObject {
	ref := ss.refer(md)
	for len(ss.todo) > 0 {
		next := ss.todo[len(ss.todo)-1]
		ss.todo = ss.todo[:len(ss.todo)-1]
		ss.fields(next)
	}
	return ref
}

func (ss *schemas) refer(md protoreflect.MessageDescriptor) jsonObject {
	if known, ok := wellKnownSchemas[md.FullName()]; ok {
		return known
	}
	if ss.made[string(md.FullName())] == nil {
		ss.made[string(md.FullName())] = jsonObject{}
		ss.todo = append(ss.todo, md)
	}
	return jsonObject{"$ref": ss.at + string(md.FullName())}
}

func (ss *schemas) fields(md protoreflect.MessageDescriptor) {
	props, required := jsonObject{}, []string{}
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		props[fd.JSONName()] = described(fd, ss.field(fd))
		if fd.Cardinality() == protoreflect.Required {
			required = append(required, fd.JSONName())
		}
	}
	schema := described(md, jsonObject{"type": "object", "properties": props})
	if len(required) > 0 {
		schema["required"] = required
	}
	ss.made[string(md.FullName())] = schema
}

func (ss *schemas) field(fd protoreflect.FieldDescriptor) jsonObject {
	switch {
	case fd.IsMap():
		return jsonObject{"type": "object", "additionalProperties": ss.one(fd.MapValue())}
	case fd.IsList():
		return jsonObject{"type": "array", "items": ss.one(fd)}
	}
	return ss.one(fd)
}

func (ss *schemas) one(fd protoreflect.FieldDescriptor) jsonObject {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return ss.refer(fd.Message())
	case protoreflect.EnumKind:
		return ss.enum(fd.Enum())
	case protoreflect.BoolKind:
		return jsonObject{"type": "boolean"}
	case protoreflect.StringKind:
		return jsonObject{"type": "string"}
	case protoreflect.BytesKind:
		return jsonObject{"type": "string", "contentEncoding": "base64"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return jsonObject{"type": "number"}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return jsonObject{"type": "string", "format": "int64"} // as JSON's numbers do not reach that far
	}
	return jsonObject{"type": "integer"}
}

func (ss *schemas) enum(e protoreflect.EnumDescriptor) jsonObject {
	if e.FullName() == "google.protobuf.NullValue" {
		return jsonObject{"type": "null"}
	}
	if ss.made[string(e.FullName())] == nil {
		names := make([]string, e.Values().Len())
		for i := range names {
			names[i] = string(e.Values().Get(i).Name())
		}
		ss.made[string(e.FullName())] = described(e, jsonObject{"type": "string", "enum": names})
	}
	return jsonObject{"$ref": ss.at + string(e.FullName())}
}

// described adds what the source says of d, if the descriptors have it.
func described(d protoreflect.Descriptor, to jsonObject) jsonObject {
	text := comment(d)
	if text == "" {
		return to
	}
	own := jsonObject{"description": text} // the schema may be shared
	for k, v := range to {
		own[k] = v
	}
	return own
}

func comment(d protoreflect.Descriptor) string {
	return strings.TrimSpace(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments)
}
