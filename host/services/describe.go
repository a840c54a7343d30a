package services

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftrun/weft"
)

// Service is what a person has to know to call a service.
type Service struct {
	Name    string // orders.v1.OrderService
	Comment string // of the source, if the descriptors have it
	Methods []Method
}

// Method is one method of a service.
type Method struct {
	Name         string
	Comment      string
	Procedure    string // /orders.v1.OrderService/Place
	ClientStream bool
	ServerStream bool
	Routes       []Route
	Request      string          // full name of the message, a key of the schemas
	Response     string          // the same
	Example      json.RawMessage // of a request
	Bound        Binding         // the workflow that answers; none where a handler does
}

// Route is a binding to REST.
type Route struct {
	Verb string // GET; * for all
	Path string // the template, as it is written
	Body string // the field that is the body, * for the whole message, empty for none
}

// Describe lists the services, sorted, and the messages that they need as JSON
// Schema, by full name; they refer to each other by #/$defs/ and the name.
func (s *Schema) Describe() ([]Service, map[string]json.RawMessage, error) {
	ss := schemas{at: "#/$defs/", made: jsonObject{}}
	routes := map[protoreflect.FullName][]Route{}
	for _, r := range s.rules {
		route := Route{Verb: r.verb, Path: r.template}
		if r.whole {
			route.Body = "*"
		} else if r.body != nil {
			route.Body = string(r.body.Name())
		}
		routes[r.method.FullName()] = append(routes[r.method.FullName()], route)
	}
	all := make([]Service, 0, len(s.services))
	for _, svc := range s.services {
		one := Service{Name: string(svc.FullName()), Comment: comment(svc)}
		for i := range svc.Methods().Len() {
			m := svc.Methods().Get(i)
			example, err := s.example(m.Input())
			if err != nil {
				return nil, nil, err
			}
			ss.message(m.Input())
			ss.message(m.Output())
			one.Methods = append(one.Methods, Method{
				Name: string(m.Name()), Comment: comment(m), Procedure: procedure(m),
				ClientStream: m.IsStreamingClient(), ServerStream: m.IsStreamingServer(),
				Routes: routes[m.FullName()], Request: string(m.Input().FullName()), Response: string(m.Output().FullName()), Example: example,
			})
		}
		all = append(all, one)
	}
	made := make(map[string]json.RawMessage, len(ss.made))
	for name, schema := range ss.made {
		text, err := json.Marshal(schema)
		if err != nil {
			return nil, nil, err
		}
		made[name] = text
	}
	return all, made, nil
}

// Offer is a service of a version that is live.
type Offer struct {
	Service
	Module  string
	Version string
	Current bool                       // it is called where no version is named
	Schemas map[string]json.RawMessage // those of its version; not to be changed
}

// Offers lists what is live in a namespace, by name and version.
func (s *Set) Offers(namespace string) ([]Offer, error) {
	namespace = weft.NamespaceOr(namespace)
	current := map[*version]bool{}
	s.mu.Lock()
	for of, v := range s.live {
		if of.namespace == namespace {
			current[v] = s.chosen[of.module] == of.version
		}
	}
	s.mu.Unlock()
	var all []Offer
	for v, is := range current {
		d, err := v.explained()
		if err != nil {
			return nil, err
		}
		for _, one := range d.services {
			all = append(all, Offer{one, v.Name, v.Version, is, d.schemas})
		}
	}
	slices.SortFunc(all, func(a, b Offer) int { return strings.Compare(a.Key(), b.Key()) })
	return all, nil
}

// Key is what the offers of a namespace are sorted by: there is one of each.
func (o Offer) Key() string { return o.Name + "@" + o.Version }

// explanation is what Describe says of a version.
type explanation struct {
	services []Service
	schemas  map[string]json.RawMessage
}

// Bounds of an example.
const (
	exampleDepth  = 3  // of messages in messages
	exampleFields = 40 // in all
)

// example is a message with its fields set, in JSON.
func (s *Schema) example(md protoreflect.MessageDescriptor) (json.RawMessage, error) {
	m := dynamicpb.NewMessage(md)
	left := exampleFields
	if !isKnown(md) { // its zero is an example
		exemplify(m, exampleDepth, &left)
	}
	text, err := protojson.MarshalOptions{Resolver: s.types, AllowPartial: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer // its spaces differ from build to build
	err = json.Compact(&b, text)
	return b.Bytes(), err
}

func exemplify(m protoreflect.Message, depth int, left *int) {
	fds := m.Descriptor().Fields()
	for i := range fds.Len() {
		fd := fds.Get(i)
		if oneof := fd.ContainingOneof(); *left == 0 || fd.IsMap() || oneof != nil && m.WhichOneof(oneof) != nil {
			continue
		}
		*left--
		to := m.NewField(fd)
		switch {
		case fd.Message() == nil:
			to = exampleOf(fd)
			if fd.IsList() {
				list := m.NewField(fd)
				list.List().Append(to)
				to = list
			}
		case isKnown(fd.Message()):
			if fd.IsList() || !isScalar(fd) {
				continue
			}
		case depth == 0:
			continue
		case fd.IsList():
			exemplify(to.List().AppendMutable().Message(), depth-1, left)
		default:
			exemplify(to.Message(), depth-1, left)
		}
		m.Set(fd, to)
	}
}

func isKnown(md protoreflect.MessageDescriptor) bool {
	_, ok := wellKnownSchemas[md.FullName()]
	return ok
}

func exampleOf(fd protoreflect.FieldDescriptor) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(string(fd.Name()))
	case protoreflect.EnumKind:
		values := fd.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(min(1, values.Len()-1)).Number())
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(fd.Name()))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(1.5)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1.5)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(1)
	}
	return protoreflect.ValueOfInt64(1)
}
