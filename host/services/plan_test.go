package services

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

var messages = flag.Int("messages", 3000, "how many messages of chance go through JSON, each with four damaged texts and four damaged encodings")

// kinds is the schema of testdata/kinds.proto: all that a field can be.
func kinds(t testing.TB) *Schema {
	t.Helper()
	files := map[string]string{}
	for _, name := range []string{"kinds.proto", "old.proto"} {
		source, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(source)
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(files)})}
	linked, err := c.Compile(t.Context(), "kinds.proto", "old.proto")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	for _, f := range linked {
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(f))
	}
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Link("kinds", raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plansOf are those of what the methods take.
func plansOf(s *Schema) (all []*plan) {
	for m := range s.methods() {
		all = append(all, s.shape(m.Input()).plan)
	}
	return all
}

// normal is an encoded message as all of its encodings are.
func normal(p *plan, data []byte) ([]byte, error) {
	m := dynamicpb.NewMessage(p.desc)
	if err := (proto.UnmarshalOptions{Resolver: p.types}).Unmarshal(data, m); err != nil {
		return nil, err
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// sameFromJSON reports whether the plan took the text, and how it differs from protojson then.
func sameFromJSON(p *plan, text []byte) (took bool, err error) {
	before := []byte("before")
	got, ok := p.fromJSON(before, text)
	if !ok {
		return false, nil
	}
	want, err := p.byMessage(nil, text)
	if err != nil {
		return true, fmt.Errorf("%s: took %q, which protojson refuses: %w", p.desc.Name(), text, err)
	}
	if !bytes.HasPrefix(got, before) {
		return true, fmt.Errorf("%s: %q: what was there is not", p.desc.Name(), text)
	}
	a, err := normal(p, got[len(before):])
	if err != nil {
		return true, fmt.Errorf("%s: %q gave %x, which is no message: %w", p.desc.Name(), text, got[len(before):], err)
	}
	if b, err := normal(p, want); err != nil || !bytes.Equal(a, b) {
		return true, fmt.Errorf("%s: %q\ngot  %x\nwant %x (%v)", p.desc.Name(), text, a, b, err)
	}
	return true, nil
}

func sameToJSON(p *plan, data []byte) (took bool, err error) {
	got, ok := p.toJSON([]byte("before"), data, 0)
	if !ok {
		return false, nil
	}
	want, err := p.byMessageJSON([]byte("before"), data)
	if err != nil {
		return true, fmt.Errorf("%s: took %x, which protojson refuses: %w", p.desc.Name(), data, err)
	}
	var a, b bytes.Buffer // protojson puts spaces where it likes
	err = errors.Join(json.Compact(&a, bytes.TrimPrefix(got, []byte("before"))), json.Compact(&b, want[len("before"):]))
	if err != nil || !bytes.HasPrefix(got, []byte("before")) || a.String() != b.String() {
		return true, fmt.Errorf("%s: %x\ngot  %s\nwant %s (%v)", p.desc.Name(), data, got, want, err)
	}
	return true, nil
}

func TestPlansDoAsProtojsonDoes(t *testing.T) {
	all := plansOf(kinds(t))
	r := chance{rand.New(rand.NewPCG(1, uint64(*messages)))}
	took := map[string]int{}
	check := func(what string, took2 bool, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if took2 {
			took[what]++
		}
	}
	for i := range *messages {
		p := all[i%len(all)]
		m := dynamicpb.NewMessage(p.desc)
		r.fill(m, 4)
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		text, err := (protojson.MarshalOptions{Resolver: p.types, UseProtoNames: i%3 == 0, EmitUnpopulated: i%5 == 0, Multiline: i%7 == 0, UseEnumNumbers: i%4 == 0}).Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		ok, err := sameFromJSON(p, text)
		check("texts", ok, err)
		ok, err = sameToJSON(p, data)
		check("messages", ok, err)
		for range 4 {
			ok, err = sameFromJSON(p, r.damage(text, jsonPieces))
			check("damaged texts", ok, err)
			ok, err = sameToJSON(p, r.damage(data, nil))
			check("damaged messages", ok, err)
		}
	}
	t.Log(*messages, took)
	// A plan that declines everything is right, and slow.
	for what, least := range map[string]int{"texts": *messages / 2, "messages": *messages / 2, "damaged texts": *messages / 4, "damaged messages": *messages / 4} {
		if took[what] < least {
			t.Errorf("of %s the plans took %d, less than %d", what, took[what], least)
		}
	}
}

func FuzzJSON(f *testing.F) {
	all := plansOf(kinds(f))
	r := chance{rand.New(rand.NewPCG(2, 2))}
	for i, p := range all {
		m := dynamicpb.NewMessage(p.desc)
		r.fill(m, 3)
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		text, err := protojson.MarshalOptions{Resolver: p.types}.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint(i), text, data)
	}
	f.Fuzz(func(t *testing.T, which uint, text, data []byte) {
		p := all[which%uint(len(all))]
		if _, err := sameFromJSON(p, text); err != nil {
			t.Error(err)
		}
		if _, err := sameToJSON(p, data); err != nil {
			t.Error(err)
		}
	})
}

// TestPlansTake what is usual: whatever they decline is slow.
func TestPlansTakeWhatIsUsual(t *testing.T) {
	s := kinds(t)
	for _, c := range []struct{ what, message, text string }{
		{"numbers of all kinds", "Plain", `{"aDouble":-1.5e3,"aFloat":2,"anInt32":-1,"anInt64":"-9223372036854775808","aUint64":"18446744073709551615","aSint32":-5,"aSfixed64":7}`},
		{"numbers in quotes", "Plain", `{"aDouble":"1.5","anInt32":"-1","aFixed32":"7","aFloat":"-Infinity"}`},
		{"names as in the schema", "Plain", `{"a_string":"x","may_int32":0}`},
		{"a name that is odd", "Plain", `{"o\"d\\d <&> \u00e9":"x"}`},
		{"escapes", "Plain", `{"aString":"\"\\\/\b\f\n\r\t\u0041\ud83d\ude00 é"}`},
		{"bytes in both alphabets", "Plain", `{"someBytes":"-_-_","mayBytes":"+/+/aQ=="}`},
		{"enums by name and by number", "Plain", `{"color":"ROUGE","mayColor":-7}`},
		{"null", "Plain", `{"aString":null,"plain":null}`},
		{"fields that are not known", "Plain", `{"new":{"a":[1,true,"x",null]},"aBool":true}`},
		{"spaces", "Plain", " {\n\t\"aBool\" : true\r\n} "},
		{"messages in messages", "Plain", `{"plain":{"plain":{"inner":{}}}}`},
		{"lists", "Lists", `{"doubles":[1,2.5,"NaN"],"int64s":[1,"2"],"strings":["a",""],"plains":[{},{"aBool":true}],"int32s":[]}`},
		{"maps", "Maps", `{"strings":{"a":"b","":""},"bools":{"true":1,"false":2},"sint32s":{"-1":{}},"values":{"x":[1,null]}}`},
		{"times", "Known", `{"time":"2026-01-02T03:04:05.678+02:00","span":"-0.000000001s"}`},
		{"what protojson does for a plan", "Known", `{"fields":{"a":[1,null]},"value":null,"aDouble":1,"mask":"a.b,c","any":{"@type":"x/kinds.Plain","aBool":true}}`},
		{"what is strict", "Mixed", `{"strict":[{"name":"x"}],"stricts":{"1":{"name":"y"}},"old":{"text":"x","numbers":[1],"packed":[1,2]},"wide":{"n70":1,"n1":2}}`},
	} {
		t.Run(c.what, func(t *testing.T) {
			d, err := s.files.FindDescriptorByName(protoreflect.FullName("kinds." + c.message))
			if err != nil {
				t.Fatal(err)
			}
			p := s.plans.made[d.FullName()]
			if took, err := sameFromJSON(p, []byte(c.text)); !took || err != nil {
				t.Fatalf("from JSON: took %v, %v", took, err)
			}
			data, _ := p.fromJSON(nil, []byte(c.text))
			if took, err := sameToJSON(p, data); !took || err != nil {
				t.Errorf("to JSON: took %v, %v", took, err)
			}
		})
	}
}

func TestAMapOfAWrongKeyIsRefused(t *testing.T) {
	s := kinds(t)
	entry := []byte{0x08, 1, 0x0a, 0} // the key as a number, and as a text
	data := append([]byte{0x1a, byte(len(entry))}, entry...)
	if _, err := (&shape{desc: s.plans.made["kinds.Maps"].desc, plan: s.plans.made["kinds.Maps"]}).toJSON(nil, data); err == nil {
		t.Error("it passed")
	}
}

// A schema of a stranger is a chain of 10,000 types, or an enum of many values in
// many fields, or a message of many fields that is sent many times. Each costs
// what it is long.
func TestHostileSchemasCostWhatTheyAreLong(t *testing.T) {
	const n = 10_000
	var chain, fields, values, uses strings.Builder
	for i := range n {
		fmt.Fprintf(&chain, "message M%d { M%d m = 1; }\n", i, i+1)
		fmt.Fprintf(&fields, "int32 f%d = %d;\n", i, i+20_000)
		fmt.Fprintf(&values, "V%d = %d;\n", i, i)
	}
	for i := range n {
		fmt.Fprintf(&uses, "E e%d = %d;\n", i, i+20_000)
	}
	source := "syntax = \"proto3\"; package h;\n" + chain.String() + fmt.Sprintf("message M%d {}\nmessage Wide { repeated Wide w = 1; map<string, Wide> m = 2; %s }\nenum E { %s }\nmessage Uses { %s }\n", n, &fields, &values, &uses) +
		"service S { rpc A(M0) returns (Uses); rpc B(Wide) returns (Wide); }"
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"h.proto": source})}}
	linked, err := c.Compile(t.Context(), "h.proto")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(linked[0])}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	s, err := Link("h", raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("linked after %v", time.Since(began))
	p := s.plans.made["h.Wide"]
	var keys []string
	for i := n; i > 0; i-- {
		keys = append(keys, fmt.Sprintf(`"f%d":%d`, i-1, i))
	}
	for _, text := range []string{
		`{"w":[` + strings.Repeat(`{},`, 200_000) + `{}]}`,
		`{` + strings.Join(keys, ",") + `}`,
		strings.Repeat(`{"w":[`, 90) + `{"f1":1}` + strings.Repeat(`]}`, 90),
	} {
		data, ok := p.fromJSON(nil, []byte(text))
		if !ok {
			t.Fatalf("declined %.40s", text)
		}
		if _, ok := p.toJSON(nil, data, 0); !ok {
			t.Fatalf("declined %.40s on its way back", text)
		}
		t.Logf("%.40s after %v", text, time.Since(began))
	}
	if took := time.Since(began); took > time.Minute { // a square of it is minutes
		t.Errorf("it took %v", took)
	}
}

// chance makes messages, and damages what is written of them.
type chance struct{ *rand.Rand }

// damage changes a few bytes, or puts pieces in.
func (r chance) damage(in []byte, pieces []string) []byte {
	b := bytes.Clone(in)
	for range 1 + r.IntN(2) {
		at := r.IntN(len(b) + 1)
		to := min(len(b), at+r.IntN(4))
		switch r.IntN(4) {
		case 0:
			b = append(b[:at:at], b[to:]...)
		case 1:
			b = append(b[:at:at], append(bytes.Clone(b[at:to]), b[at:]...)...)
		case 2:
			if at < len(b) {
				b[at] ^= 1 << r.IntN(8)
			}
		default:
			piece := string([]byte{byte(r.Uint32())})
			if pieces != nil {
				piece = pieces[r.IntN(len(pieces))]
			}
			b = append(b[:at:at], append([]byte(piece), b[at:]...)...)
		}
	}
	return b
}

var jsonPieces = []string{"0", "-", "1", ".", "e1", "E+2", `"`, `\`, `\u00e9`, `\ud800`, "null", "true", "{", "}", "[", "]", ",", ":", " ", "\n", "\x00", "\xff", "é", "[]", "{}", `"a":1,`, `"color":"NEW",`, `"[x]":1,`, "s", "Z", "+", "_", "1e400", "00"}

// fill sets some fields of m.
func (r chance) fill(m protoreflect.Message, depth int) {
	switch d := m.Descriptor(); d.FullName() {
	case "google.protobuf.Timestamp":
		m.Set(d.Fields().ByNumber(1), protoreflect.ValueOfInt64(secondsMin+r.Int64N(secondsMax-secondsMin)))
		m.Set(d.Fields().ByNumber(2), protoreflect.ValueOfInt32(r.nanos()))
		return
	case "google.protobuf.Duration":
		sign := int64(1 - 2*r.IntN(2))
		m.Set(d.Fields().ByNumber(1), protoreflect.ValueOfInt64(sign*r.Int64N(3)*r.Int64N(durationMax/3)))
		m.Set(d.Fields().ByNumber(2), protoreflect.ValueOfInt32(int32(sign)*r.nanos()))
		return
	case "google.protobuf.FieldMask":
		m.Mutable(d.Fields().ByNumber(1)).List().Append(protoreflect.ValueOfString("a_b.c"))
		return
	case "google.protobuf.Any":
		return // empty: an address that is none is refused
	case "google.protobuf.Value":
		kind := d.Oneofs().Get(0).Fields()
		fd := kind.Get(r.IntN(kind.Len()))
		if depth <= 0 || fd.Kind() == protoreflect.DoubleKind {
			m.Set(kind.ByName("number_value"), protoreflect.ValueOfFloat64(float64(r.IntN(100))))
			return
		}
		m.Set(fd, r.one(m, fd, depth))
		return
	}
	fds := m.Descriptor().Fields()
	for i := range fds.Len() {
		fd := fds.Get(i)
		if r.IntN(3) > 0 && fds.Len() > 3 && fd.Cardinality() != protoreflect.Required || depth <= 0 && fd.Message() != nil {
			continue
		}
		switch {
		case fd.IsMap():
			for range r.IntN(3) {
				value := m.Mutable(fd).Map().NewValue()
				if fd.MapValue().Message() == nil {
					value = r.scalar(fd.MapValue())
				} else {
					r.fill(value.Message(), depth-2)
				}
				m.Mutable(fd).Map().Set(r.scalar(fd.MapKey()).MapKey(), value)
			}
		case fd.IsList():
			for range r.IntN(4) {
				value := m.Mutable(fd).List().NewElement()
				if fd.Message() == nil {
					value = r.scalar(fd)
				} else {
					r.fill(value.Message(), depth-2)
				}
				m.Mutable(fd).List().Append(value)
			}
		default:
			m.Set(fd, r.one(m, fd, depth))
		}
	}
}

func (r chance) one(m protoreflect.Message, fd protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	if fd.Message() == nil {
		return r.scalar(fd)
	}
	value := m.NewField(fd)
	r.fill(value.Message(), depth-1)
	return value
}

func (r chance) nanos() int32 {
	return []int32{0, 1, 1000, 120_000_000, 999_999_999, r.Int32N(1_000_000_000)}[r.IntN(6)]
}

// bits are small, large, zero or anything.
func (r chance) bits() uint64 {
	return []uint64{0, 1, math.MaxUint64, uint64(r.IntN(300)), r.Uint64(), uint64(r.Uint32())}[r.IntN(6)]
}

func (r chance) scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
	n := r.bits()
	text := []string{"", "x", "a \"b\"\\\n\x01\x7f", "é😀\u2028", "null", "0"}[r.IntN(6)]
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 == 1)
	case protoreflect.EnumKind:
		if values := fd.Enum().Values(); fd.Enum().IsClosed() || r.IntN(4) > 0 {
			return protoreflect.ValueOfEnum(values.Get(r.IntN(values.Len())).Number())
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(int32(n)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32([]float32{0, float32(math.Copysign(0, -1)), 1.5, 1e-7, 1e21, math.Float32frombits(uint32(n)), float32(math.Inf(1))}[r.IntN(7)])
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{0, math.Copysign(0, -1), 1.5, 1e-7, -1e21, math.Float64frombits(n), math.NaN()}[r.IntN(7)])
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text + string([]byte{0xff, 0xfe, byte(n)})[:r.IntN(4)]))
	}
	return protoreflect.ValueOfString(text)
}

func BenchmarkJSON(b *testing.B) {
	s := kinds(b)
	p := s.plans.made["kinds.Lists"]
	text := []byte(`{"strings":["tea"],"int64s":["1","2"],"plains":[` + strings.Repeat(`{"aString":"tea","anInt32":3,"color":"RED","aDouble":1.5},`, 4) + `{"aString":"milk","aBool":true}],"times":["2026-01-02T03:04:05Z"]}`)
	data, ok := p.fromJSON(nil, text)
	if !ok {
		b.Fatal("declined")
	}
	room := make([]byte, 0, 4096)
	for _, c := range []struct {
		name string
		do   func() bool
	}{
		{"from/plan", func() bool { _, ok := p.fromJSON(room, text); return ok }},
		{"from/message", func() bool { _, err := p.byMessage(room, text); return err == nil }},
		{"to/plan", func() bool { _, ok := p.toJSON(room, data, 0); return ok }},
		{"to/message", func() bool { _, err := p.byMessageJSON(room, data); return err == nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.do() {
					b.Fatal("declined")
				}
			}
		})
	}
}
