package e2e_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/weftrun/weft/tests/messages"
	"github.com/weftrun/weft/tests/page"
	"github.com/weftrun/weft/workflows/grpc"
)

// stubLanguages are those that code is generated for: what tests a new module, the
// file that testdata/stubs has, where it goes, and what finds the compiler, or how
// that is got.
var stubLanguages = []struct{ name, test, from, to, find, missing string }{
	{"go", "go test .", "main.go.txt", "main.go", "command -v go", "Go"},
	{"assemblyscript", "npm install && weft module build . && node --test main.test.mjs", "main.ts.txt", "main.ts", "./find-npm-tool asc", "node and AssemblyScript (make toolchains)"},
	{"c", "cc -o echo_test echo_test.c && ./echo_test", "echo.c.txt", "echo.c", "./find-clang", "a clang that links for wasm32 (apt-get install clang lld)"},
	{"rust", "cargo test", "lib.rs", "src/lib.rs", "./find-rustc", "a rustc with the target wasm32-unknown-unknown (apt-get install rustc cargo libstd-rust-dev-wasm32)"},
	{"zig", "zig test main.zig --mod weft::weft.zig --deps weft", "main.zig.txt", "main.zig", "./find-npm-tool zig", "Zig 0.11 (make toolchains)"},
}

// A module of each language serves the same methods, and its generated code is at
// one with Google's about every message, and about damaged ones.
func TestEachLanguageServesTypedMethods(t *testing.T) {
	protos := t.TempDir()
	sources := messages.Kinds(t)
	sources["echo.proto"] = string(read(t, "testdata/stubs/echo.proto"))
	for name, text := range sources {
		page.Write(t, filepath.Join(protos, name), text)
	}
	for _, l := range stubLanguages {
		t.Run(l.name, func(t *testing.T) {
			tool := page.Tool{Find: l.find}.At(t, filepath.Join(root, "guests"))
			if tool == "" {
				t.Skipf("missing: %s", l.missing)
			}
			w := newTalking(t, "inline")
			t.Setenv("PATH", filepath.Dir(tool)+":"+filepath.Dir(weftPath)+":"+os.Getenv("PATH"))
			if said := w.must("module", "new", "--lang", l.name, "--proto", filepath.Join(protos, "echo.proto"), "echo"); !strings.Contains(said, "cd echo && "+l.test+"\n") {
				t.Errorf("it says %s", said)
			}
			first := exec.Command("sh", "-c", strings.TrimPrefix(l.test, "npm install && ")) // the toolchain is there
			first.Dir = filepath.Join(w.dir, "echo")
			if out, err := first.CombinedOutput(); err != nil {
				t.Fatalf("the tests of a new module: %v\n%s", err, out)
			}
			w.write(filepath.Join("echo", l.to), read(t, filepath.Join("testdata/stubs", l.from)))
			t.Setenv("CARGO_PROFILE_RELEASE_LTO", "false") // it takes a minute
			t.Setenv("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
			if said := w.must("module", "build", "echo"); !strings.Contains(said, "mailbox ") {
				t.Errorf("it has no mailbox: %s", said)
			}
			w.start()
			w.must("module", "push", "echo/echo.wasm", "--grant")
			echoes(t, protos, w)
			streams(t, w)
		})
	}
}

// echo asks a method of the module.
func (w *talking) echo(method, kind string, body []byte) (status int, answer string) {
	w.t.Helper()
	return w.send(http.MethodPost, "/echo.v1.EchoService/"+method, kind, body)
}

func echoes(t *testing.T, protos string, w *talking) {
	t.Helper()
	set, err := grpc.Sources(t.Context(), os.DirFS(protos), "echo.proto")
	if err != nil {
		t.Fatal(err)
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	r := messages.Chance{Rand: rand.New(rand.NewPCG(1, 6))}
	refused, accepted := 0, 0
	for round := range 150 {
		for _, name := range []string{"Plain", "Lists", "Maps", "Known", "Mixed"} {
			found, err := linked.FindDescriptorByName(protoreflect.FullName("kinds." + name))
			if err != nil {
				t.Fatal(err)
			}
			d := found.(protoreflect.MessageDescriptor)
			m := dynamicpb.NewMessage(d)
			r.Fill(m, 4)
			data, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			got := dynamicpb.NewMessage(d)
			status, answer := w.echo(name, "application/proto", data)
			if status != http.StatusOK {
				t.Fatalf("round %d: %s %x: %d %s", round, name, data, status, answer)
			}
			if err := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal([]byte(answer), got); err != nil || !proto.Equal(got, m) {
				t.Fatalf("round %d: %s was\n%v\nand is\n%v, %v", round, name, m, got, err)
			}
			if name != "Plain" && name != "Lists" { // the others have maps, at which protobuf may panic, and closed enums
				continue
			}
			damaged := r.Damage(data)
			want := dynamicpb.NewMessage(d)
			wrong := proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true}.Unmarshal(damaged, want)
			status, answer = w.echo(name, "application/proto", damaged)
			switch {
			case wrong != nil && status == http.StatusBadRequest && strings.Contains(answer, "invalid_argument"):
				refused++
			case wrong != nil || status != http.StatusOK:
				t.Fatalf("%s %x: %d %s, and protobuf says %v", name, damaged, status, answer, wrong)
			default:
				accepted++
				got.Reset()
				if err := (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal([]byte(answer), got); err != nil || !proto.Equal(got, want) {
					t.Fatalf("%s %x was\n%v\nand is\n%v, %v", name, damaged, want, got, err)
				}
			}
		}
	}
	deep := func(n int) (m []byte) {
		for range n {
			m = append(binary.AppendUvarint([]byte{0x8a, 0x01}, uint64(len(m))), m...)
		}
		return m
	}
	if status, answer := w.echo("Plain", "application/proto", deep(90)); status != http.StatusOK || answer != string(deep(90)) {
		t.Errorf("90 messages in each other: %d %x", status, answer)
	}
	if status, answer := w.echo("Plain", "application/proto", deep(5000)); status != http.StatusBadRequest || !strings.Contains(answer, "more than 100 deep") {
		t.Errorf("5,000 messages in each other: %d %s", status, answer)
	}
	if refused < 50 || accepted < 50 {
		t.Errorf("of the damaged messages %d were refused and %d were not", refused, accepted)
	}
}

func streams(t *testing.T, w *talking) {
	t.Helper()
	for _, c := range []struct{ method, messages, want string }{
		{"Count", `{} {} {}`, `^\{"anInt32":3\}\{\}$`},
		{"Count", ``, `^\{\}\{\}$`},
		{"Repeat", `{"anInt32":3}`, `^\{\}\{"anInt32":1\}\{"anInt32":2\}\{\}$`},
		{"Talk", `{"aString":"a"} {"aString":"b"}`, `^\{"aString":"a"\}\{"aString":"b"\}\{\}$`},
		{"Talk", `{"aString":"a"} {"aString":"stop"} {"aString":"b"}`, `^\{"aString":"a"\}\{"error":.*"code":"aborted","message":"stopped".*"type":"kinds.Plain","value":"cgRzdG9w"`},
	} {
		_, answer := w.echo(c.method, "application/connect+json", framed(strings.Fields(c.messages)...))
		var all string
		for in := strings.NewReader(answer); in.Len() > 0; {
			m, _, err := hear(in)
			if err != nil {
				t.Fatal(err)
			}
			all += m
		}
		if !regexp.MustCompile(c.want).MatchString(all) {
			t.Errorf("%s of %s: %s is not %s", c.method, c.messages, all, c.want)
		}
	}
	// A malformed message of a stream.
	if _, answer := w.echo("Talk", "application/connect+proto", []byte{0, 0, 0, 0, 1, 0xff}); !strings.Contains(answer, "invalid_argument") {
		t.Errorf("a malformed message of a stream: %q", answer)
	}
}
