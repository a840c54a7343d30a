// Package messages makes protobuf messages of chance, of every kind of field, for
// the tests of generated code.
package messages

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// oldProto is what of proto2 is supported.
const oldProto = `syntax = "proto2"; package old;
	enum Shut { FIRST = 0; SECOND = 3; }
	message Old {
		optional string text = 1 [default = "no"];
		optional int32 number = 2 [default = 7];
		repeated int32 numbers = 3;
		repeated int32 packed = 4 [packed = true];
		optional Shut shut = 5 [default = SECOND];
		map<string, Shut> shuts = 7;
		optional double far = 9 [default = inf];
		optional bytes data = 10 [default = "\001x"];
		optional Map map = 12;
		message Inner { optional Old old = 1; enum Deep { ZERO = 0; } optional Deep deep = 2; }
		repeated Inner inner = 11;
	}
	message Strict { required string name = 1; optional bytes data = 2; optional Odd odd = 3; }
	message Odd { // names that languages, or the code, have need of
		optional string type = 1; optional int32 self = 2; optional int32 read = 3; optional int32 write = 4; optional string full_name = 5;
		optional int32 get_self = 6; optional int32 has_self = 7; optional int32 constructor = 8; optional int32 proto_name = 9;
		optional int32 proto = 10; optional int32 default = 11; optional bool bool = 12; optional string string = 13; optional string super = 14;
		optional Word word = 15; message Option { optional int32 fn = 1; } optional Option option = 16; optional int32 _1 = 17;
	}
	enum Word { OK = 0; type = 1; error = 2; WORD_1 = 3; None = 4; }
	message String { optional int32 delete = 1; }
	message Map { optional String string = 1; optional int32 u32 = 2; optional int32 var = 3; optional int32 this = 4; }`

// Kinds are the sources of package kinds, which has every kind of field there is:
// kinds/kinds.proto and what it imports.
func Kinds(t *testing.T) map[string]string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(here), "../../host/services/testdata/kinds.proto"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"kinds/kinds.proto": strings.Replace(string(text), `"old.proto"`, `"kinds/old.proto"`, 1), "kinds/old.proto": oldProto}
}

// Chance makes messages, and damages them.
type Chance struct{ *rand.Rand }

// Damage changes a few bytes.
func (r Chance) Damage(in []byte) []byte {
	b := bytes.Clone(in)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b) + 1)
		switch to := min(len(b), at+r.IntN(4)); r.IntN(4) {
		case 0:
			b = append(b[:at:at], b[to:]...)
		case 1:
			b = append(b[:at:at], append(bytes.Clone(b[at:to]), b[at:]...)...)
		case 2:
			if at < len(b) {
				b[at] ^= 1 << r.IntN(8)
			}
		default:
			b = append(b[:at:at], append([]byte{byte(r.Uint32())}, b[at:]...)...)
		}
	}
	return b
}

// Fill sets some fields of m, and of those in it.
func (r Chance) Fill(m protoreflect.Message, depth int) {
	fds := m.Descriptor().Fields()
	for i := range fds.Len() {
		fd := fds.Get(i)
		if r.IntN(3) > 0 && fds.Len() > 3 || depth <= 0 && (fd.Message() != nil) {
			continue
		}
		switch {
		case fd.IsMap():
			for range r.IntN(3) {
				m.Mutable(fd).Map().Set(r.scalar(fd.MapKey()).MapKey(), r.value(fd.MapValue(), m.Mutable(fd).Map().NewValue, depth))
			}
		case fd.IsList():
			for range r.IntN(4) {
				m.Mutable(fd).List().Append(r.value(fd, m.Mutable(fd).List().NewElement, depth))
			}
		default:
			m.Set(fd, r.value(fd, func() protoreflect.Value { return m.NewField(fd) }, depth))
		}
	}
}

func (r Chance) value(fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	if fd.Message() == nil {
		return r.scalar(fd)
	}
	v := fresh()
	r.Fill(v.Message(), depth-1-r.IntN(2))
	return v
}

func (r Chance) scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
	n := []uint64{0, 1, math.MaxUint64, uint64(r.IntN(300)), r.Uint64(), uint64(r.Uint32())}[r.IntN(6)]
	text := []string{"", "x", "é😀", strings.Repeat("long ", 40)}[r.IntN(4)]
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
		return protoreflect.ValueOfFloat32([]float32{0, float32(math.Copysign(0, -1)), 1.5, math.Float32frombits(uint32(n))}[r.IntN(4)])
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64([]float64{0, math.Copysign(0, -1), 1.5, math.Float64frombits(n)}[r.IntN(4)])
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text)
	default:
		return protoreflect.ValueOfBytes([]byte(text))
	}
}
