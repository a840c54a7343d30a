package stubs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
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

	"github.com/weftrun/weft/tests/messages"
	"github.com/weftrun/weft/workflows/grpc"
)

var rounds = flag.Int("rounds", 1500, "messages of chance of each type")

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
	files := fstest.MapFS{}
	for name, text := range messages.Kinds(t) {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	set, err := grpc.Sources(t.Context(), files, "kinds/kinds.proto")
	if err != nil {
		t.Fatal(err)
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	g := startGuest(t, files, "kinds/kinds.proto")
	r := messages.Chance{Rand: rand.New(rand.NewPCG(6, uint64(*rounds)))}
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
	for round := range *rounds {
		for _, name := range []string{"Plain", "Lists", "Maps", "Known", "Mixed"} {
			d := messageNamed(t, linked, "kinds."+name)
			m := dynamicpb.NewMessage(d)
			r.Fill(m, 4)
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
			damaged := r.Damage(data)
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
	if refused < *rounds/2 || accepted < *rounds/2 {
		t.Errorf("of the damaged messages %d were refused and %d were not", refused, accepted)
	}
	if _, err := g.echo("Plain", []byte{0x8a, 0x01, 0x7f}); err == nil {
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
