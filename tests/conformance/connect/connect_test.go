package connect

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/anypb"
)

var whole = flag.Bool("whole", false, "all cases of the configuration that weft ships, not the short set")

const (
	modfile = "-modfile=../../../.ci/conformance/go.mod"
	setEnv  = "WEFT_CONFORMANCE_SET" // makes this test the server
)

func TestMain(m *testing.M) {
	if file := os.Getenv(setEnv); file != "" {
		if err := ServeProcess(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The suite's own runner is the judge.
func TestConnectConformance(t *testing.T) {
	config := "short.yaml"
	if *whole {
		config = "shipped.yaml"
	}
	set := filepath.Join(t.TempDir(), "set")
	if err := os.WriteFile(set, descriptors(t), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", modfile, "connectrpc.com/conformance/cmd/connectconformance",
		"--mode", "server", "--conf", config, "--max-servers", "2", "-p", "4", "--", self)
	cmd.Env = append(os.Environ(), setEnv+"="+set)
	out, err := cmd.CombinedOutput()
	passed := regexp.MustCompile(`(?m)^Total cases: (\d+)\n(\d+) passed, (\d+) failed`).FindSubmatch(out)
	if err != nil || passed == nil || !bytes.Equal(passed[1], passed[2]) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s of %s cases passed", passed[2], passed[1])
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
