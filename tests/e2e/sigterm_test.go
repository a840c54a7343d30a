package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// caller calls one of two addresses until it is refused there, and then the
// other. It takes only for a refusal what says that nothing was begun: no
// connection, the code unavailable, or the end of a connection that nobody has used
// for a while: HTTP/1.1 lets a server end that, and a caller whom the machine keeps
// waiting calls too late. Whatever else goes wrong is a failure.
type caller struct {
	addresses [2]string
	at        atomic.Int64
	http      *http.Client
	refused   *atomic.Int64
}

func newCaller(addresses [2]string, http2 bool, refused *atomic.Int64) *caller {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &caller{addresses: addresses, http: &http.Client{Transport: &http.Transport{Protocols: protocols}}, refused: refused}
}

// idleMax is how long callers leave a connection unused, but for a busy machine.
const idleMax = 50 * time.Millisecond

// call answers with what the address that took the call said, and which it was.
func (c *caller) call(path, contentType, body string) (answer []byte, at int, err error) {
	for range 4 {
		now := c.at.Load()
		at = int(now) % 2
		q, err := http.NewRequest(http.MethodPost, "http://"+c.addresses[at]+path, strings.NewReader(body))
		if err != nil {
			return nil, at, err
		}
		q.Header.Set("Content-Type", contentType)
		var idle time.Duration // of the connection
		q = q.WithContext(httptrace.WithClientTrace(q.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { idle = got.IdleTime }}))
		status := 0
		res, err := c.http.Do(q)
		if err == nil {
			answer, err = io.ReadAll(res.Body)
			res.Body.Close()
			status = res.StatusCode
		}
		var op *net.OpError
		var said struct{ Code string }
		switch {
		case errors.As(err, &op) && op.Op == "dial":
		case err != nil && idle > idleMax:
		case err != nil:
			return nil, at, fmt.Errorf("%s at %d: %w", path, at, err)
		case status < 300:
			return answer, at, nil
		case status == http.StatusServiceUnavailable && json.Unmarshal(answer, &said) == nil && said.Code == "unavailable":
		default:
			return nil, at, fmt.Errorf("%s at %d: %d %s", path, at, status, answer)
		}
		c.refused.Add(1)
		c.at.CompareAndSwap(now, now+1)
	}
	return nil, at, fmt.Errorf("%s: refused by both, again and again: %s", path, answer)
}

// outcomes are what became of the calls.
type outcomes struct {
	mu       sync.Mutex
	accepted map[string]int // guarded by mu; by kind
	failed   []error        // guarded by mu
	runs     map[string]int // guarded by mu: where a run was started, by its id
	refused  atomic.Int64
}

// more waits until so many more calls of each kind have been accepted, or one has failed.
func (o *outcomes) more(t *testing.T, n int) {
	t.Helper()
	least := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.failed) != 0 {
			return math.MaxInt
		}
		return slices.Min(slices.Collect(maps.Values(o.accepted)))
	}
	before := least()
	if !within(func() bool { return least() >= before+n || least() == math.MaxInt }) {
		t.Fatalf("%d calls of a kind are no load", least()-before)
	}
}

const work = `document: { dsl: '1.0.3', namespace: test, name: work, version: '1.0.0' }
do:
  - one: { call: echo, with: { some: thing } }
  - two: { call: count, with: { key: steps } }
  - nap: { wait: { milliseconds: 300 } }
  - three: { call: count, with: { key: steps } }
`

// Two wefts under load are ended by SIGTERM and started again, one after the
// other. Who may go to the other sees no call fail, and what was answered was
// done once: what was refused was not begun.
func TestNoCallFailsWhenWeftIsEndedUnderLoad(t *testing.T) {
	var wefts [2]*talking
	var addresses [2]string
	for i := range wefts {
		w := startTalking(t, "inline")
		for name, data := range map[string]string{"probe.wasm": string(read(t, filepath.Join(w.dir, "talker.wasm"))), "probe.yaml": string(read(t, filepath.Join(root, "guests/probe/weft.yaml"))), "work.yaml": work} {
			w.write(name, []byte(data))
		}
		w.must("module", "push", "probe.wasm", "--grant")
		w.must("workflow", "apply", "work.yaml")
		wefts[i], addresses[i] = w, w.address
	}
	load := &outcomes{accepted: map[string]int{}, runs: map[string]int{}}
	kinds := map[string]func(c *caller, n int) error{
		"handler": func(c *caller, n int) error {
			_, _, err := c.call("/handlers/count", "application/json", `{"key":"handler"}`)
			return err
		},
		"connect": func(c *caller, n int) error {
			_, _, err := c.call("/weft.v1.HandlerService/Call", "application/json", `{"handler":"count","input":{"key":"connect"}}`)
			return err
		},
		"typed": func(c *caller, n int) error {
			answer, _, err := c.call("/talk.v1.TalkService/Echo", "application/json", `{"text":"hello"}`)
			if err == nil && !strings.Contains(string(answer), "hello") {
				err = fmt.Errorf("answered %s", answer)
			}
			return err
		},
		"event": func(c *caller, n int) error {
			_, _, err := c.call("/events", "application/cloudevents+json", fmt.Sprintf(`{"specversion":"1.0","type":"probe.event","source":"/load","id":"%p-%d","data":{"key":"event"}}`, c, n))
			return err
		},
		"start": func(c *caller, n int) error {
			answer, at, err := c.call("/weft.v1.RunService/Start", "application/json", `{"workflow":"work"}`)
			if err != nil {
				return err
			}
			var started struct{ Run struct{ ID string } }
			if err := json.Unmarshal(answer, &started); err != nil || started.Run.ID == "" {
				return fmt.Errorf("started %s: %w", answer, err)
			}
			load.mu.Lock()
			defer load.mu.Unlock()
			load.runs[started.Run.ID] = at
			return nil
		},
	}
	stop, all := make(chan struct{}), sync.WaitGroup{}
	for kind := range kinds {
		load.accepted[kind] = 0
	}
	for kind, call := range kinds {
		for _, http2 := range []bool{false, true} {
			c := newCaller(addresses, http2, &load.refused)
			all.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
					err := call(c, n)
					load.mu.Lock()
					if load.accepted[kind]++; err != nil {
						load.accepted[kind]--
						load.failed = append(load.failed, err)
					}
					load.mu.Unlock()
				}
			})
		}
	}
	for range 2 {
		for _, w := range wefts {
			load.more(t, 30)
			if err := w.end(syscall.SIGTERM); err != nil {
				t.Errorf("weft ends with %v", err)
			}
			w.start()
		}
	}
	close(stop)
	all.Wait()
	t.Logf("accepted %v, refused %d", load.accepted, load.refused.Load())
	if len(load.failed) != 0 {
		t.Errorf("%d calls failed: %v", len(load.failed), load.failed[:min(len(load.failed), 5)])
	}
	if load.refused.Load() == 0 {
		t.Error("nobody was refused: that was no end under load")
	}
	for id, at := range load.runs {
		if !completes(addresses[at], id) {
			t.Errorf("run %s does not complete", id)
		}
	}
	for what, want := range map[string]int{"handler": load.accepted["handler"], "connect": load.accepted["connect"], "seen-event": load.accepted["event"], "steps": 2 * load.accepted["start"]} {
		var got int
		if !within(func() bool {
			got = 0
			for _, w := range wefts {
				var out struct{ Count int }
				if err := json.Unmarshal([]byte(w.must("handler", "call", "read", "--input", `{"key":"`+what+`"}`)), &out); err != nil {
					t.Fatal(err)
				}
				got += out.Count
			}
			return got >= want
		}) || got != want {
			t.Errorf("%s was done %d times, and answered %d times", what, got, want)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// completes waits for a run to end, and is false when it has not completed.
func completes(address, id string) bool {
	var run struct{ Run struct{ Status string } }
	return within(func() bool {
		err := asked("http://"+address+"/weft.v1.RunService/GetRun", `{"id":"`+id+`"}`, &run)
		return err == nil && (run.Run.Status == "RUN_STATUS_COMPLETED" || run.Run.Status == "RUN_STATUS_FAULTED")
	}) && run.Run.Status == "RUN_STATUS_COMPLETED"
}

const pay = `document: { dsl: '1.0.3', namespace: test, name: pay, version: '1.0.0' }
do:
  - charge: { call: charge-card, with: { orderId: '${ .order }', amount: 100, currency: EUR } }
`

// Two payment peers under load are ended by SIGTERM and started again, one after
// the other and then together. The steps have no second attempt, and none fails.
func TestNoStepFailsWhenItsPeerIsEndedUnderLoad(t *testing.T) {
	w := startTalking(t, "inline")
	program := filepath.Join(t.TempDir(), "payments")
	for _, build := range [][]string{{"-o", program, "./payments-peer"}, {"-buildmode=c-shared", "-ldflags=-s -w", "-o", filepath.Join(w.dir, "payment.wasm"), "./payment"}} {
		cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, build...)...)
		cmd.Dir, cmd.Env = filepath.Join(root, "guests"), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if strings.HasSuffix(build[len(build)-1], "/payment") {
			cmd.Env = append(cmd.Env, "GOOS=wasip1", "GOARCH=wasm")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	for name, data := range map[string][]byte{"payment.yaml": read(t, filepath.Join(root, "guests/payment/weft.yaml")), "pay.yaml": []byte(pay)} {
		w.write(name, data)
	}
	w.must("module", "push", "payment.wasm", "--grant")
	w.must("workflow", "apply", "pay.yaml")
	ledger := func(i int) string { return filepath.Join(w.dir, fmt.Sprintf("payments-%d.jsonl", i)) }
	begin := func(i int) *process {
		return start(t, w.dir, program, "-listen", "127.0.0.1:0", "-server", "http://"+w.address, "-instance", fmt.Sprintf("p%d", i), "-db", ledger(i), "-delay", "30ms")
	}
	peers := []*process{begin(0), begin(1)}
	live := func() (n int) {
		var out struct{ Instances []struct{ Status string } }
		if err := asked("http://"+w.address+"/weft.v1.RegistryService/Lookup", `{"service":"payments"}`, &out); err == nil {
			n = len(out.Instances)
		}
		return n
	}
	both := func() {
		if !within(func() bool { return live() == 2 }) {
			t.Fatalf("%d peers are registered", live())
		}
	}
	both()
	var runs []string
	var begun atomic.Int64
	more := func() { // of the load
		before := begun.Load()
		if !within(func() bool { return begun.Load() >= before+30 }) {
			t.Fatal("no runs begin")
		}
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				ended <- nil
				return
			case <-time.After(5 * time.Millisecond):
			}
			var started struct{ Run struct{ ID string } }
			if err := asked("http://"+w.address+"/weft.v1.RunService/Start", fmt.Sprintf(`{"workflow":"pay","input":{"order":"o-%d"}}`, n), &started); err != nil {
				ended <- err
				return
			}
			runs = append(runs, started.Run.ID)
			begun.Add(1)
		}
	}()
	for range 2 {
		for i := range peers {
			more()
			peers[i].end(syscall.SIGTERM)
			peers[i] = begin(i)
			both()
		}
	}
	for i := range peers {
		peers[i].end(syscall.SIGTERM)
	}
	more() // they park
	for i := range peers {
		peers[i] = begin(i)
	}
	both()
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, id := range runs {
		if !completes(w.address, id) {
			failed++
		}
	}
	charges := 0
	for i := range peers {
		peers[i].end(syscall.SIGTERM)
		charges += strings.Count(string(read(t, ledger(i))), "\n")
	}
	t.Logf("%d runs, %d charges", len(runs), charges)
	if failed != 0 {
		t.Errorf("%d of %d runs failed", failed, len(runs))
	}
	if charges != len(runs) {
		t.Errorf("%d charges for %d runs", charges, len(runs))
	}
}
