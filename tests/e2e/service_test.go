package e2e_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftrun/weft/tests/probe"
)

const (
	talkProto = `syntax = "proto3"; package talk.v1; message Said { string text = 1; }
		service TalkService { rpc Echo(Said) returns (Said); rpc Talk(stream Said) returns (stream Said); }`
	talkManifest = `name: talker
version: 1.0.0
handlers:
  - { name: talk.v1.TalkService/Echo, export: echo }
  - { name: talk.v1.TalkService/Talk, export: tally }
  - { name: total, export: read }
grants: { state: ["*"] }
`
)

// talker is the probe as a module that serves, with its files.
func talker(t *testing.T) map[string][]byte {
	t.Helper()
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"talk.proto": talkProto})}}
	files, err := c.Compile(t.Context(), "talk.proto")
	if err != nil {
		t.Fatal(err)
	}
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(files[0])}})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"talker.wasm": probe.Wasm(t), "talker.yaml": []byte(talkManifest), "talker.binpb": set}
}

// post sends JSON as curl does. The answer is the output.
func post(ts *testscript.TestScript, not bool, args []string) {
	res, err := http.Post(ts.Getenv("WEFT_SERVER")+args[0], "application/json", strings.NewReader(args[1]))
	ts.Check(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", answer)
	if ok := res.StatusCode == http.StatusOK; ok == not {
		ts.Fatalf("%s: %s %s", args[0], res.Status, answer)
	}
}

// weft is killed in the middle of a stream.
func TestNothingThatAStreamHasToldIsLostWhenWeftIsKilled(t *testing.T) {
	dir := t.TempDir()
	for name, data := range talker(t) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	weft := func(args ...string) *exec.Cmd {
		cmd := exec.Command(weftPath, args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "WEFT_LISTEN="+address, "WEFT_SERVER=http://"+address, "WEFT_DB="+filepath.Join(dir, "weft.db"))
		return cmd
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := weft(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("weft %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	start := func() *exec.Cmd {
		t.Helper()
		cmd := weft("dev")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if !within(func() bool {
			res, err := http.Get("http://" + address + "/readyz")
			if err == nil {
				res.Body.Close()
			}
			return err == nil && res.StatusCode == http.StatusOK
		}) {
			t.Fatal("weft is not ready")
		}
		return cmd
	}
	end := func(cmd *exec.Cmd) {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}
	served := start()
	must("module", "push", "talker.wasm", "--descriptors", "talker.binpb", "--grant")
	told := 0
	for round := range 3 {
		body, say := io.Pipe()
		answers := make(chan *http.Response, 1)
		go func() { answers <- talk(t, "http://"+address, body) }()
		for range 5 + round { // counts, and asks for the count
			for _, m := range []string{"a", ""} {
				if _, err := say.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)); err != nil {
					t.Fatal(err)
				}
			}
		}
		res := <-answers
		if res == nil {
			t.Fatal("no answer")
		}
		for i := range 5 + round {
			if i == 4 {
				end(served) // while later answers are on their way
			}
			var head [5]byte
			if _, err := io.ReadFull(res.Body, head[:]); err != nil {
				break
			}
			count := make([]byte, binary.BigEndian.Uint32(head[1:]))
			if _, err := io.ReadFull(res.Body, count); err != nil || head[0] != 0 {
				break
			}
			if _, err := fmt.Sscan(string(count), &told); err != nil {
				t.Fatal(err)
			}
		}
		res.Body.Close()
		_ = say.Close()
		served = start()
		var left struct{ Count int }
		if err := json.Unmarshal([]byte(must("handler", "call", "total", "--input", `{"key":"a"}`)), &left); err != nil {
			t.Fatal(err)
		}
		if left.Count < told || told == 0 {
			t.Errorf("told %d, and %d is left", told, left.Count)
		}
	}
	end(served)
}

// talk opens a stream over h2 whose messages are what comes from body; nil is no answer.
func talk(t *testing.T, url string, body io.Reader) *http.Response {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/talk.v1.TalkService/Talk", body)
	if err != nil {
		t.Error(err)
		return nil
	}
	q.Header.Set("Content-Type", "application/connect+proto")
	res, err := (&http.Client{Transport: &http.Transport{Protocols: protocols}}).Do(q)
	if err != nil {
		t.Error(err)
		return nil
	}
	return res
}
