// Package kill starts a real weft, loads it, kills it with SIGKILL and starts
// it again, and counts what was acknowledged and lost.
package kill

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Result is what a loop of kills found.
type Result struct {
	Kills        int
	Acknowledged int // runs whose start was answered
	Lost         int // of these, not there or not completed at the end
	Counted      int // by the handler's state: as many as runs completed, or a step was doubled or lost
}

const workflow = `document: { dsl: '1.0.3', namespace: kill, name: count, version: '1.0.0' }
do:
  - nap: { wait: { milliseconds: 20 } }
  - add: { call: count, with: { key: all } }
`

// Loop kills the binary so many times, with workers that start runs as fast as
// they are answered. wasm is the module of guests/probe, manifest its JSON.
func Loop(ctx context.Context, binary, dir string, wasm, manifest []byte, kills int) (Result, error) {
	l := &loop{binary: binary, dir: dir, started: map[string]bool{}}
	if err := l.deploy(ctx, wasm, manifest); err != nil {
		return Result{}, err
	}
	for range kills {
		if err := l.round(ctx); err != nil {
			return Result{}, err
		}
	}
	return l.settle(ctx, kills)
}

type loop struct {
	binary, dir, url string
	cmd              *exec.Cmd

	mu      sync.Mutex
	started map[string]bool // guarded by mu: ids of acknowledged runs
	next    int             // guarded by mu
}

// start starts weft and waits until it answers.
func (l *loop) start(ctx context.Context) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(l.dir, "weft.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	l.url = "http://" + address
	l.cmd = exec.Command(l.binary, "dev", "--listen", address, "--db", filepath.Join(l.dir, "weft.db"))
	l.cmd.Stdout, l.cmd.Stderr = log, log
	if err := l.cmd.Start(); err != nil {
		return err
	}
	for range 1600 {
		if res, err := http.Get(l.url + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	l.kill()
	return fmt.Errorf("weft did not answer; its log is %s", log.Name())
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

func (l *loop) kill() {
	_ = l.cmd.Process.Kill() // it may have ended
	_ = l.cmd.Wait()
}

func (l *loop) deploy(ctx context.Context, wasm, manifest []byte) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	defer l.kill()
	files := map[string][]byte{"probe.wasm": wasm, "probe.yaml": manifest, "count.yaml": []byte(workflow)}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(l.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"module", "push", filepath.Join(l.dir, "probe.wasm"), "--grant"}, {"workflow", "apply", filepath.Join(l.dir, "count.yaml")}} {
		if out, err := exec.CommandContext(ctx, l.binary, append(args, "--server", l.url)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// round loads a weft for a moment and kills it in the middle.
func (l *loop) round(ctx context.Context) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.startRun()
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	l.kill()
	close(stop)
	all.Wait()
	return nil
}

func (l *loop) startRun() {
	l.mu.Lock()
	l.next++
	key := fmt.Sprint("k", l.next)
	l.mu.Unlock()
	var answer struct{ Run struct{ ID string } }
	if err := l.post("RunService/Start", map[string]any{"workflow": "count", "idempotencyKey": key}, &answer); err != nil || answer.Run.ID == "" {
		time.Sleep(2 * time.Millisecond)
		return
	}
	l.mu.Lock()
	l.started[answer.Run.ID] = true
	l.mu.Unlock()
}

func (l *loop) post(method string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	res, err := http.Post(l.url+"/weft.v1."+method, "application/json", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", method, data)
	}
	return json.Unmarshal(data, out)
}

// settle starts weft for the last time, lets every run end and counts.
func (l *loop) settle(ctx context.Context, kills int) (Result, error) {
	if err := l.start(ctx); err != nil {
		return Result{}, err
	}
	defer l.kill()
	r := Result{Kills: kills, Acknowledged: len(l.started)}
	completed := map[string]bool{}
	for deadline := time.Now().Add(60 * time.Second); ; {
		live, err := l.list(completed)
		if err != nil {
			return r, err
		}
		if live == 0 || time.Now().After(deadline) || ctx.Err() != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for id := range l.started {
		if !completed[id] {
			r.Lost++
		}
	}
	var count struct{ Output struct{ Count int } }
	if err := l.post("HandlerService/Call", map[string]any{"handler": "read", "input": map[string]any{"key": "all"}}, &count); err != nil {
		return r, err
	}
	r.Counted = count.Output.Count
	if r.Counted != len(completed) {
		return r, fmt.Errorf("%d runs completed, and the handler counted %d", len(completed), r.Counted)
	}
	return r, nil
}

// list fills completed and says how many runs have not ended.
func (l *loop) list(completed map[string]bool) (live int, err error) {
	for token := ""; ; {
		var page struct {
			Runs          []struct{ ID, Status string }
			NextPageToken string
		}
		if err := l.post("RunService/ListRuns", map[string]any{"pageSize": 1000, "pageToken": token}, &page); err != nil {
			return 0, err
		}
		for _, run := range page.Runs {
			switch run.Status {
			case "RUN_STATUS_COMPLETED":
				completed[run.ID] = true
			case "RUN_STATUS_RUNNING", "RUN_STATUS_PARKED":
				live++
			}
		}
		if token = page.NextPageToken; token == "" {
			return live, nil
		}
	}
}
