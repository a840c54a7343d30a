package e2e_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weftrun/weft/tests/ask"
	"github.com/weftrun/weft/tests/page"
	"github.com/weftrun/weft/tests/probe"
	"github.com/weftrun/weft/workflows/grpc"
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
	set, err := grpc.Compile(t.Context(), fstest.MapFS{"talk.proto": {Data: []byte(talkProto)}}, "talk.proto")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"talker.wasm": probe.Wasm(t), "talker.yaml": []byte(talkManifest), "talker.binpb": set}
}

// post sends JSON as curl does. The answer is the output.
func post(ts *testscript.TestScript, not bool, args []string) {
	q, err := http.NewRequest(http.MethodPost, ts.Getenv("WEFT_SERVER")+args[0], strings.NewReader(args[1]))
	ts.Check(err)
	q.Header.Set("Content-Type", "application/json")
	for i := 2; i < len(args); i += 2 {
		q.Header.Set(args[i], args[i+1])
	}
	res, err := http.DefaultClient.Do(q)
	ts.Check(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", answer)
	if ok := res.StatusCode == http.StatusOK || res.StatusCode == http.StatusAccepted; ok == not {
		ts.Fatalf("%s: %s %s", args[0], res.Status, answer)
	}
}

// talking is a weft with a folder and an address of its own.
type talking struct {
	t            *testing.T
	dir, address string
	isolation    string
	cmd          *exec.Cmd // that serves
}

// isolated runs a test of the talker in the host's process and in workers.
func isolated(t *testing.T, test func(*testing.T, *talking)) {
	t.Parallel() // they wait more than they work
	for _, isolation := range []string{"inline", "process"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			test(t, startTalking(t, isolation))
		})
	}
}

// newTalking is one to start, which is killed when the test ends.
func newTalking(t *testing.T, isolation string) *talking {
	t.Helper()
	address, err := ask.Address()
	if err != nil {
		t.Fatal(err)
	}
	w := &talking{t: t, dir: t.TempDir(), address: address, isolation: isolation}
	t.Cleanup(func() {
		if w.cmd != nil {
			_ = w.end(syscall.SIGKILL) // it may have ended
		}
	})
	return w
}

// startTalking has the talker uploaded.
func startTalking(t *testing.T, isolation string) *talking {
	t.Helper()
	w := newTalking(t, isolation)
	for name, data := range talker(t) {
		w.write(name, data)
	}
	w.start()
	w.must("module", "push", "talker.wasm", "--descriptors", "talker.binpb", "--grant")
	return w
}

// write writes a file of the folder.
func (w *talking) write(name string, data []byte) {
	w.t.Helper()
	page.Write(w.t, filepath.Join(w.dir, name), string(data))
}

func (w *talking) weft(args ...string) *exec.Cmd {
	cmd := exec.Command(weftPath, args...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "WEFT_LISTEN="+w.address, "WEFT_SERVER=http://"+w.address, "WEFT_DB="+filepath.Join(w.dir, "weft.db"))
	return cmd
}

func (w *talking) must(args ...string) string {
	w.t.Helper()
	out, err := w.weft(args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("weft %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (w *talking) start() {
	w.t.Helper()
	w.cmd = w.weft("dev", "--isolation", w.isolation)
	log, err := os.Create(filepath.Join(w.dir, "weft.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	w.cmd.Stderr = log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	if !within(func() bool { return ask.Ready("http://" + w.address) }) {
		w.t.Fatalf("weft is not ready: %s", read(w.t, log.Name()))
	}
}

// end is what weft exits with.
func (w *talking) end(sig syscall.Signal) error {
	if err := w.cmd.Process.Signal(sig); err != nil {
		return err
	}
	return w.cmd.Wait()
}

// talk opens a stream to the talker; the answer comes when there is a first message.
func (w *talking) talk() (say *io.PipeWriter, answer <-chan *http.Response) {
	body, say := io.Pipe()
	answers := make(chan *http.Response, 1)
	go func() { answers <- talk(w.t, "http://"+w.address, body) }()
	return say, answers
}

func tell(t *testing.T, say io.Writer, messages ...string) {
	t.Helper()
	if _, err := say.Write(framed(messages...)); err != nil {
		t.Fatal(err)
	}
}

// framed are messages of a stream, as Connect sends them.
func framed(messages ...string) (body []byte) {
	for _, m := range messages {
		body = append(binary.BigEndian.AppendUint32(append(body, 0), uint32(len(m))), m...)
	}
	return body
}

// hear is the next message of a stream, and whether it is the end's.
func hear(from io.Reader) (message string, last bool, err error) {
	var head [5]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return "", false, err
	}
	m := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err = io.ReadFull(from, m)
	return string(m), head[0] == 2, err
}

// weft is killed in the middle of a stream.
func TestNothingThatAStreamHasToldIsLostWhenWeftIsKilled(t *testing.T) {
	isolated(t, nothingToldIsLost)
}

func nothingToldIsLost(t *testing.T, w *talking) {
	told := 0
	for round := range 3 {
		say, answer := w.talk()
		for range 5 + round { // counts, and asks for the count
			tell(t, say, "a", "")
		}
		res := <-answer
		if res == nil {
			t.Fatal("no answer")
		}
		for i := range 5 + round {
			if i == 4 {
				_ = w.end(syscall.SIGKILL) // while later answers are on their way
			}
			m, last, err := hear(res.Body)
			if err != nil || last {
				break
			}
			if _, err := fmt.Sscan(m, &told); err != nil {
				t.Fatal(err)
			}
		}
		res.Body.Close()
		say.Close()
		w.start()
		var left struct{ Count int }
		if err := json.Unmarshal([]byte(w.must("handler", "call", "total", "--input", `{"key":"a"}`)), &left); err != nil {
			t.Fatal(err)
		}
		if left.Count < told || told == 0 {
			t.Errorf("told %d, and %d is left", told, left.Count)
		}
	}
}

func TestAStreamThatGoesOnIsToldThatWeftEnds(t *testing.T) {
	isolated(t, toldThatWeftEnds)
}

func toldThatWeftEnds(t *testing.T, w *talking) {
	say, answer := w.talk()
	defer say.Close()
	tell(t, say, "a", "")
	res := <-answer
	if res == nil {
		t.Fatal("no answer")
	}
	defer res.Body.Close()
	if m, last, err := hear(res.Body); m != "1" || last || err != nil {
		t.Fatal(m, last, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.end(syscall.SIGTERM) }()
	if m, last, err := hear(res.Body); !last || err != nil || !strings.Contains(m, `"code":"unavailable"`) || !strings.Contains(m, "weft is shutting down") {
		t.Errorf("the stream ends with %q, %v", m, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("weft ends with %v", err)
	}
}

// talk opens a stream over h2 whose messages are what comes from body; nil is no answer.
func talk(t *testing.T, url string, body io.Reader) *http.Response {
	q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/talk.v1.TalkService/Talk", body)
	if err != nil {
		t.Error(err)
		return nil
	}
	q.Header.Set("Content-Type", "application/connect+proto")
	res, err := h2c.Do(q)
	if err != nil {
		t.Error(err)
		return nil
	}
	return res
}

var h2c = func() *http.Client {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}}
}()

// send is a request over h2, and its answer.
func (w *talking) send(method, path, kind string, body []byte) (status int, answer string) {
	w.t.Helper()
	q, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.address+path, bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	q.Header.Set("Content-Type", kind)
	res, err := h2c.Do(q)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}
