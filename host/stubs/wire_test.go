package stubs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftrun/weft/workflows/grpc"
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
		message Inner { optional Old old = 1; enum Deep { ZERO = 0; } optional Deep deep = 2; }
		repeated Inner inner = 11;
	}
	message Strict { required string name = 1; optional bytes data = 2; }`

// kinds is every kind of field there is.
func kinds(t *testing.T) (files fstest.MapFS) {
	t.Helper()
	text, err := os.ReadFile("../services/testdata/kinds.proto")
	if err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"kinds.proto": {Data: text}, "old.proto": {Data: []byte(oldProto)}}
}

// program reads requests, each a name and a message, and writes what the generated
// code makes of it: 0 and the encoding, or 1 and the error.
const program = `package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"

	"github.com/weftrun/weft/sdk/go/wire"
)

func main() {
	in, out := bufio.NewReader(os.Stdin), bufio.NewWriter(os.Stdout)
	frame := func() []byte {
		var n uint32
		if binary.Read(in, binary.LittleEndian, &n) != nil {
			os.Exit(0)
		}
		b := make([]byte, n)
		io.ReadFull(in, b)
		return b
	}
	for {
		m := map[string]wire.Message{"Plain": &Plain{}, "Lists": &Lists{}, "Maps": &Maps{}, "Known": &Known{}, "Mixed": &Mixed{}}[string(frame())]
		kind, answer := byte(0), []byte(nil)
		if err := wire.Unmarshal(frame(), m); err != nil {
			kind, answer = 1, []byte(err.Error())
		} else {
			answer = wire.Marshal(m)
		}
		out.WriteByte(kind)
		binary.Write(out, binary.LittleEndian, uint32(len(answer)))
		out.Write(answer)
		out.Flush()
	}
}
`

// guest is a program that has the generated code in it.
type guest struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func startGuest(t *testing.T, files fstest.MapFS, names ...string) *guest {
	t.Helper()
	dir := t.TempDir()
	sdk, err := filepath.Abs("../../sdk/go")
	if err != nil {
		t.Fatal(err)
	}
	set, err := grpc.Sources(t.Context(), files, names...)
	if err != nil {
		t.Fatal(err)
	}
	name, text, err := Generate(set, names, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mod := "module kinds\n\ngo 1.26\n\nrequire github.com/weftrun/weft/sdk/go v0.0.0\n\nreplace github.com/weftrun/weft/sdk/go => " + sdk + "\n"
	for file, text := range map[string]string{name: string(text), "main.go": program, "go.mod": mod} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", "guest", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "guest"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return &guest{t, in, bufio.NewReader(out)}
}

// echo is what the generated code makes of a message.
func (g *guest) echo(name string, message []byte) ([]byte, error) {
	g.t.Helper()
	var q []byte
	for _, part := range [][]byte{[]byte(name), message} {
		q = append(binary.LittleEndian.AppendUint32(q, uint32(len(part))), part...)
	}
	if _, err := g.in.Write(q); err != nil {
		g.t.Fatal(err)
	}
	var head [5]byte
	if _, err := io.ReadFull(g.out, head[:]); err != nil {
		g.t.Fatalf("the guest has ended at %s %x: %v", name, message, err)
	}
	answer := make([]byte, binary.LittleEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(g.out, answer); err != nil {
		g.t.Fatal(err)
	}
	if head[0] != 0 {
		return nil, fmt.Errorf("%s", answer)
	}
	return answer, nil
}

// The generated code and Google's agree on every message, and on damaged ones too.
func TestTheGeneratedCodeSpeaksProtobuf(t *testing.T) {
	files := kinds(t)
	set, err := grpc.Sources(t.Context(), files, "kinds.proto")
	if err != nil {
		t.Fatal(err)
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	g := startGuest(t, files, "kinds.proto")
	r := chance{rand.New(rand.NewPCG(6, 5))}
	errPanic := errors.New("protobuf panics") // v1.36.12 at a map's key that comes twice, once of another type
	parse := func(d protoreflect.MessageDescriptor, data []byte) (_ proto.Message, err error) {
		m := dynamicpb.NewMessage(d)
		defer func() {
			if recover() != nil {
				err = errPanic
			}
		}()
		return m, proto.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}.Unmarshal(data, m)
	}
	refused, accepted := 0, 0
	for round := range 1500 {
		for _, name := range []string{"Plain", "Lists", "Maps", "Known", "Mixed"} {
			d := messageNamed(t, linked, "kinds."+name)
			m := dynamicpb.NewMessage(d)
			r.fill(m, 4)
			data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := g.echo(name, data)
			if err != nil {
				t.Fatalf("%s %x: %v", name, data, err)
			}
			if got, err := parse(d, answer); err != nil || !proto.Equal(got, m) {
				t.Fatalf("round %d: %s was\n%v\nand is\n%v, %v", round, name, m, got, err)
			}
			if name == "Mixed" { // values that a closed enum does not know are kept
				continue
			}
			damaged := r.damage(data)
			answer, err = g.echo(name, damaged)
			want, wanted := parse(d, damaged)
			if wanted == errPanic {
				continue
			}
			if (err == nil) != (wanted == nil) {
				t.Fatalf("%s %x: %v, and protobuf says %v", name, damaged, err, wanted)
			}
			if err != nil {
				refused++
				continue
			}
			accepted++
			if got, err := parse(d, answer); err != nil || !proto.Equal(got, want) {
				t.Fatalf("%s %x was\n%v\nand is\n%v, %v", name, damaged, want, got, err)
			}
		}
	}
	if refused < 1000 || accepted < 1000 {
		t.Errorf("of the damaged messages %d were refused and %d were not", refused, accepted)
	}
	if _, err := g.echo("Plain", bytes.Repeat([]byte{0x8a, 0x01, 0x7f}, 1)); err == nil {
		t.Error("a message of 127 bytes that are not there")
	}
	deep := []byte{}
	for range 200 {
		deep = append(binary.AppendUvarint([]byte{0x8a, 0x01}, uint64(len(deep))), deep...)
	}
	if _, err := g.echo("Plain", deep); err == nil || !strings.Contains(err.Error(), "more than 100 deep") {
		t.Errorf("200 messages in each other: %v", err)
	}
}

func messageNamed(t *testing.T, files *protoregistry.Files, name string) protoreflect.MessageDescriptor {
	t.Helper()
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	return d.(protoreflect.MessageDescriptor)
}

// chance makes messages, and damages them.
type chance struct{ *rand.Rand }

func (r chance) damage(in []byte) []byte {
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

// fill sets some fields of m.
func (r chance) fill(m protoreflect.Message, depth int) {
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

func (r chance) value(fd protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	if fd.Message() == nil {
		return r.scalar(fd)
	}
	v := fresh()
	r.fill(v.Message(), depth-1-r.IntN(2))
	return v
}

func (r chance) scalar(fd protoreflect.FieldDescriptor) protoreflect.Value {
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
