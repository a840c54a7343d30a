package connect

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftrun/weft/host"
)

var whole = flag.Bool("whole", false, "all cases of the configuration that weft ships, not the short set")

const (
	modfile = "-modfile=../../../.ci/conformance/go.mod"
	setEnv  = "WEFT_CONFORMANCE_SET" // makes this test the server, of these descriptors
	dirEnv  = "WEFT_CONFORMANCE_DIR" // the same, of what has been uploaded there

	processEnv = "WEFT_CONFORMANCE_PROCESS" // and it runs in workers
)

func TestMain(m *testing.M) {
	host.Child()
	var err error
	file, dir := os.Getenv(setEnv), os.Getenv(dirEnv)
	switch {
	case len(os.Args) > 1 && os.Args[1] == "__upload":
		err = Upload(context.Background(), dir)
	case dir != "":
		err = ServeProcess(Uploaded(dir, os.Getenv(processEnv) != ""))
	case file != "":
		var set []byte
		if set, err = os.ReadFile(file); err == nil {
			err = ServeProcess(Native(set))
		}
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestConnectConformance(t *testing.T) {
	set := filepath.Join(t.TempDir(), "set")
	if err := os.WriteFile(set, descriptors(t), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	judge(t, self, setEnv+"="+set)
}

// The service is a guest: uploaded, checked, sandboxed, and each call a
// transaction; in the host's process and in workers. Its servers are without the race detector, under which compiling
// a module takes longer than it may.
func TestConnectConformanceInsideAGuest(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "set"), descriptors(t), 0o600); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "server")
	run(t, ".", nil, "go", "test", "-c", "-o", self, ".")
	run(t, "guest", []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS="},
		"go", "build", "-buildvcs=false", "-buildmode=c-shared", "-ldflags=-s -w", "-o", filepath.Join(dir, "guest.wasm"), ".")
	run(t, ".", []string{dirEnv + "=" + dir}, self, "__upload")
	for name, process := range map[string]string{"inline": "", "process": "yes"} {
		t.Run(name, func(t *testing.T) { judge(t, self, dirEnv+"="+dir, processEnv+"="+process) })
	}
}

func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// judge has the suite's own runner call what a program serves. A deadline ends the
// suite's client and the server at one moment, and the client may examine an answer
// that it has just given up: such a case is judged anew, alone.
func judge(t *testing.T, program string, env ...string) {
	t.Helper()
	out, failed := judged(t, program, env)
	var again []string
	for _, f := range regexp.MustCompile(`(?m)^FAILED: (.*):\n\s*(.*)$`).FindAllSubmatch(out, -1) {
		if strings.HasPrefix(string(f[1]), "Timeouts/") && string(f[2]) == "connect error JSON: unexpected end of JSON input" {
			again = append(again, "--run", string(f[1]))
		}
	}
	if len(again) == 2*failed && failed > 0 {
		t.Logf("judged anew: %v", again)
		out, failed = judged(t, program, env, again...)
	}
	if failed != 0 {
		t.Fatalf("%s", out)
	}
}

// judged is what the runner says, and how many cases failed.
func judged(t *testing.T, program string, env []string, flags ...string) (out []byte, failed int) {
	t.Helper()
	config := "short.yaml"
	if *whole {
		config = "shipped.yaml"
	}
	args := append([]string{"run", modfile, "connectrpc.com/conformance/cmd/connectconformance",
		"--mode", "server", "--conf", config, "--max-servers", "2", "-p", "4"}, flags...)
	cmd := exec.CommandContext(t.Context(), "go", append(args, "--", program)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	total := regexp.MustCompile(`(?m)^Total cases: (\d+)\n(\d+) passed, (\d+) failed`).FindSubmatch(out)
	if total == nil || err == nil && !bytes.Equal(total[1], total[2]) {
		t.Fatalf("%v\n%s", err, out)
	}
	if failed, _ = strconv.Atoi(string(total[3])); failed == 0 && err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s of %s cases passed", total[2], total[1])
	return out, failed
}

// descriptors are those of ConformanceService, of the suite's own sources.
func descriptors(t *testing.T) []byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", modfile, "-m", "-f", "{{.Dir}}", "connectrpc.com/conformance").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{filepath.Join(strings.TrimSpace(string(dir)), "proto")}})}
	files, err := c.Compile(t.Context(), "connectrpc/conformance/v1/config.proto", "connectrpc/conformance/v1/service.proto")
	if err != nil {
		t.Fatal(err)
	}
	set := descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(anypb.File_google_protobuf_any_proto)}}
	for _, f := range files {
		set.File = append(set.File, protoutil.ProtoFromFileDescriptor(f))
	}
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
