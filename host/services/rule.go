package services

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Bounds of REST.
const (
	RulesMax    = 4000 // of google.api.http, those of all methods
	segmentsMax = 64   // of the template of a path
)

// rule is one binding of google.api.http: which requests call a method, and
// what of a request goes where in its message. It does not change.
type rule struct {
	method   protoreflect.MethodDescriptor // nil where plain is what answers
	plain    *Plain
	verb     string   // GET; * for all
	template string   // as it is written
	path     []string // of the template: a literal, * for one segment, ** for those that are left
	suffix   string   // the custom verb, with its colon
	vars     []variable
	whole    bool                         // the body is the message
	body     protoreflect.FieldDescriptor // the body is this field of it; nil for none
	answer   protoreflect.FieldDescriptor // what is answered of the answer; nil for all
	absent   json.RawMessage              // what stands for it where it is not there
	raw      bool                         // what is answered is an HttpBody
	in, out  *shape
}

// variable is what a template takes out of the path.
type variable struct {
	field    []protoreflect.FieldDescriptor
	plain    string // its name, where there is no message
	from, to int    // segments of the template
}

// name is that of the field, such as book.name.
func (v variable) name() string {
	if v.plain != "" {
		return v.plain
	}
	return nameOf(v.field)
}

func nameOf(path []protoreflect.FieldDescriptor) string {
	names := make([]string, len(path))
	for i, fd := range path {
		names[i] = string(fd.Name())
	}
	return strings.Join(names, ".")
}

// key is the same for rules that the same requests match.
func (r *rule) key() string { return r.verb + " /" + strings.Join(r.path, "/") + r.suffix }

// httpRules adds the rules of all methods to the schema. Two that the same
// requests match are refused.
func (s *Schema) httpRules() error {
	taken := map[string]*rule{}
	for m := range s.methods() {
		all, err := annotated(m)
		if err != nil {
			return refused("%s: its google.api.http: %w", m.FullName(), err)
		}
		if len(all) > 0 && m.IsStreamingClient() {
			return refused("%s: its callers send a stream, which a google.api.http cannot be for", m.FullName()).WithHint("leave the option out: Connect and gRPC serve the method")
		}
		for _, a := range all {
			r := &rule{method: m, verb: a.verb, template: a.path, in: s.shape(m.Input()), out: s.shape(m.Output())}
			if err := r.compile(a); err != nil {
				return refused("%s: its google.api.http: %q: %w", m.FullName(), a.path, err)
			}
			if other := taken[r.key()]; other != nil {
				return refused("%s and %s are both bound to %s", other.method.FullName(), m.FullName(), r.key())
			}
			taken[r.key()] = r
			if s.rules = append(s.rules, r); len(s.rules) > RulesMax {
				return refused("the methods have more than %d bindings of google.api.http", RulesMax)
			}
		}
	}
	return nil
}

// annotation is a google.api.HttpRule as it is written.
type annotation struct {
	verb, path, body, answer string
	more                     []annotation
}

// httpOption is the field of google.api.http in the options of a method. They are
// read by number: a module's own copy of the option's file is no type of ours.
const httpOption protowire.Number = 72295728

// annotated are the annotations of m, the additional ones after the first.
func annotated(m protoreflect.MethodDescriptor) ([]annotation, error) {
	raw, err := proto.Marshal(m.Options())
	if err != nil {
		return nil, err
	}
	var option []byte // encoded messages in a row are their merger
	if err := each(raw, func(n protowire.Number, v []byte) {
		if n == httpOption {
			option = append(option, v...)
		}
	}); err != nil || option == nil {
		return nil, err
	}
	first, err := readAnnotation(option)
	if err != nil {
		return nil, err
	}
	for _, a := range first.more {
		if a.more != nil {
			return nil, fmt.Errorf("additional_bindings in additional_bindings")
		}
	}
	return append([]annotation{first}, first.more...), nil
}

func readAnnotation(raw []byte) (a annotation, err error) {
	inner := func(e error) {
		if err == nil {
			err = e
		}
	}
	inner(each(raw, func(n protowire.Number, v []byte) {
		switch n {
		case 2, 3, 4, 5, 6:
			a.verb, a.path = [...]string{"GET", "PUT", "POST", "DELETE", "PATCH"}[n-2], string(v)
		case 7:
			a.body = string(v)
		case 8:
			a.verb, a.path = "", ""
			inner(each(v, func(n protowire.Number, v []byte) {
				switch n {
				case 1:
					a.verb = string(v)
				case 2:
					a.path = string(v)
				}
			}))
		case 11:
			more, err := readAnnotation(v)
			inner(err)
			a.more = append(a.more, more)
		case 12:
			a.answer = string(v)
		}
	}))
	if err == nil && (a.verb == "" || a.path == "") {
		err = fmt.Errorf("it has no pattern")
	}
	return a, err
}

// each yields the fields of an encoded message that have a length.
func each(raw []byte, yield func(protowire.Number, []byte)) error {
	for len(raw) > 0 {
		num, typ, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return protowire.ParseError(n)
		}
		m := protowire.ConsumeFieldValue(num, typ, raw[n:])
		if m < 0 {
			return protowire.ParseError(m)
		}
		if typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(raw[n:])
			yield(num, v)
		}
		raw = raw[n+m:]
	}
	return nil
}

func (r *rule) compile(a annotation) error {
	if err := r.parse(a.path); err != nil {
		return err
	}
	switch a.body {
	case "":
	case "*":
		r.whole = true
	default:
		if r.body = r.method.Input().Fields().ByName(protoreflect.Name(a.body)); r.body == nil {
			return fmt.Errorf("body: %s has no field %q", r.method.Input().FullName(), a.body)
		}
	}
	if err := r.answers(a.answer); err != nil {
		return err
	}
	for i, v := range r.vars {
		if r.body != nil && v.field[0] == r.body {
			return fmt.Errorf("%s is in the path, and in the body", v.name())
		}
		for _, other := range r.vars[:i] {
			if other.name() == v.name() {
				return fmt.Errorf("%s is there twice", v.name())
			}
		}
	}
	return nil
}

// answers takes a field of the answer for what is answered.
func (r *rule) answers(name string) error {
	out := r.method.Output()
	if name == "" {
		r.raw = out.FullName() == httpBody
		return nil
	}
	if r.answer = out.Fields().ByName(protoreflect.Name(name)); r.answer == nil {
		return fmt.Errorf("response_body: %s has no field %q", out.FullName(), name)
	}
	r.raw = isHTTPBody(r.answer)
	text, err := protojson.MarshalOptions{EmitUnpopulated: true, AllowPartial: true}.Marshal(dynamicpb.NewMessage(out))
	if err != nil {
		return err
	}
	var zero map[string]json.RawMessage
	if err := json.Unmarshal(text, &zero); err != nil {
		return err
	}
	if r.absent = zero[r.answer.JSONName()]; r.absent == nil { // of a oneof
		r.absent = json.RawMessage("null")
	}
	return nil
}

// parse reads the template of a path: "/" segments [ ":" verb ].
func (r *rule) parse(t string) error {
	rest, ok := strings.CutPrefix(t, "/")
	if !ok {
		return fmt.Errorf("it does not begin with /")
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexAny(rest, "/}") {
		rest, r.suffix = rest[:i], rest[i:]
		if !literal(r.suffix[1:]) {
			return fmt.Errorf("%q is no verb", r.suffix)
		}
	}
	for {
		var err error
		if strings.HasPrefix(rest, "{") {
			inside, after, closed := strings.Cut(rest[1:], "}")
			if !closed {
				return fmt.Errorf("a { is not closed")
			}
			rest, err = after, r.variable(inside)
		} else {
			end := strings.IndexByte(rest, '/')
			if end < 0 {
				end = len(rest)
			}
			rest, err = rest[end:], r.segments(rest[:end])
		}
		if err != nil {
			return err
		}
		if rest == "" {
			return nil
		}
		if rest, ok = strings.CutPrefix(rest, "/"); !ok {
			return fmt.Errorf("a variable is a segment of its own")
		}
		if r.path[len(r.path)-1] == "**" {
			return fmt.Errorf("** is not at the end")
		}
	}
}

// variable reads what is between braces: a field, and perhaps its segments.
func (r *rule) variable(inside string) error {
	name, pattern, ok := strings.Cut(inside, "=")
	if !ok {
		pattern = "*"
	}
	v := variable{from: len(r.path)}
	if r.method == nil {
		if v.plain = name; !literal(name) || slices.ContainsFunc(r.vars, func(o variable) bool { return o.plain == name }) {
			return fmt.Errorf("%q is no name, or there twice", name)
		}
	} else {
		path, err := fieldPath(r.method.Input(), name)
		if err != nil {
			return err
		}
		if last := path[len(path)-1]; last.IsList() || !isScalar(last) {
			return fmt.Errorf("%s is not one value, which a part of a path is", name)
		}
		v.field = path
	}
	if err := r.segments(pattern); err != nil {
		return err
	}
	v.to = len(r.path)
	r.vars = append(r.vars, v)
	return nil
}

func (r *rule) segments(pattern string) error {
	for s := range strings.SplitSeq(pattern, "/") {
		if s != "*" && s != "**" && !literal(s) {
			return fmt.Errorf("%q is no segment", s)
		}
		if n := len(r.path); n == segmentsMax || n > 0 && r.path[n-1] == "**" {
			return fmt.Errorf("** is not at the end, or there are more than %d segments", segmentsMax)
		}
		r.path = append(r.path, s)
	}
	return nil
}

func literal(s string) bool { return s != "" && !strings.ContainsAny(s, "/{}*:?#%= ") }

// fieldPath finds a field by its name, or by that which it has in JSON; with
// dots, a field of messages in it.
func fieldPath(md protoreflect.MessageDescriptor, name string) (path []protoreflect.FieldDescriptor, err error) {
	for part := range strings.SplitSeq(name, ".") {
		if md == nil {
			return nil, fmt.Errorf("%s is not a message, or not one", nameOf(path))
		}
		fd := md.Fields().ByName(protoreflect.Name(part))
		if fd == nil {
			fd = md.Fields().ByJSONName(part)
		}
		if fd == nil {
			return nil, fmt.Errorf("%s has no field %.100q", md.FullName(), part)
		}
		path, md = append(path, fd), fd.Message()
		if fd.IsList() || fd.IsMap() {
			md = nil
		}
	}
	return path, nil
}

// isScalar reports whether JSON has a text, a number or a boolean for one value
// of the field.
func isScalar(fd protoreflect.FieldDescriptor) bool {
	if fd.Message() == nil {
		return true
	}
	return slices.Contains(scalars, fd.Message().FullName())
}

var scalars = []protoreflect.FullName{
	"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask",
	"google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value", "google.protobuf.UInt64Value",
	"google.protobuf.Int32Value", "google.protobuf.UInt32Value", "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue",
}
