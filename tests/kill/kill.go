// Package kill starts a real weft, loads it, kills it with SIGKILL and starts
// it again, and counts what was acknowledged, lost and doubled.
package kill

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/tests/ask"
	"github.com/weftrun/weft/tests/chaos"
)

// Result is what a loop of kills found.
type Result struct {
	Kills        int
	Acknowledged int // runs whose start was answered
	Transitions  int // times that a client was told more of a run than it knew
	Lost         int // of all that was told, what is not so at the end, or was not after a kill
	Doubled      int // runs, steps, state writes and events that are there twice, or not together; calls under two keys, or two calls under one
	Calls        int // calls that the peer got
	Repeated     int // of these, calls that came again with their key and body
	First        []string
	Cycle        time.Duration // mean time from one kill to the next
}

const workflow = `document: { dsl: '1.0.3', namespace: kill, name: count, version: '1.0.0' }
do:
  - nap: { wait: { milliseconds: 20 } }
  - first: { call: count, with: { key: '${ .key }' } }
  - world: { call: ask, with: { procedures: [ world/kill.World/One, world/kill.World/Two ] } }
  - last: { call: count, with: { key: '${ $workflow.input.key }' } }
`

// workers start runs at once and follow each to its end.
const workers = 16

// enoughMax bounds the answers after which weft is killed.
const enoughMax = 100

// Loop kills the binary so many times, always in the middle of work: after a
// random number of answers, and when the peer has been called. wasm is the
// module of guests/probe, manifest its JSON.
func Loop(ctx context.Context, binary, dir string, wasm, manifest []byte, kills int) (Result, error) {
	l := newLoop()
	l.binary, l.dir = binary, dir
	defer l.client.CloseIdleConnections()
	stop, err := l.peer.serve()
	if err != nil {
		return Result{}, err
	}
	defer stop()
	for i := range workers {
		l.keys[i] = l.key()
	}
	if err := l.deploy(ctx, wasm, manifest); err != nil {
		return Result{}, err
	}
	began := time.Now()
	for range kills {
		if err := l.round(ctx); err != nil {
			return l.result, err
		}
		l.result.Kills++
	}
	l.result.Cycle = time.Since(began) / time.Duration(max(kills, 1))
	return l.result, l.settle(ctx)
}

type loop struct {
	binary, dir, url string
	cmd              *exec.Cmd
	client           *http.Client
	peer             *peer
	keys             [workers]string // each its worker's: of the start that is not answered yet

	mu     sync.Mutex
	told   map[string]chaos.Ack // guarded by mu: by run, the most that was told of it
	recent map[string]bool      // guarded by mu: runs of which something was told since the last start
	fresh  int                  // guarded by mu: transitions told since the last start
	starts int                  // guarded by mu: keys that have been used
	result Result               // guarded by mu
}

func newLoop() *loop {
	return &loop{told: map[string]chaos.Ack{}, recent: map[string]bool{}, peer: newPeer(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}, Timeout: time.Minute}}
}

// key is the idempotency key of a new start.
func (l *loop) key() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starts++
	return fmt.Sprint("k", l.starts)
}

// start starts weft and waits until it answers.
func (l *loop) start(ctx context.Context) error {
	address, err := ask.Address()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(l.dir, "weft.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	l.url = "http://" + address
	l.cmd = exec.Command(l.binary, "dev", "--listen", address, "--db", filepath.Join(l.dir, "weft.db"))
	l.cmd.Stdout, l.cmd.Stderr = log, log
	if err := l.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if res, err := l.client.Get(l.url + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	l.kill()
	return fmt.Errorf("weft did not answer; its log is %s", log.Name())
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
	return l.post("RegistryService/Register", map[string]any{"service": "world", "instance": "one", "url": l.peer.url, "ttl": "3600s"}, &struct{}{})
}

// round starts weft, holds what it says against what was told before, loads it
// and kills it in the middle.
func (l *loop) round(ctx context.Context) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	l.compare()
	work, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { l.work(work, i) })
	}
	calls := l.peer.count()
	enough := 1 + rand.IntN(enoughMax)
	err := until(ctx, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.fresh >= enough && l.peer.count() > calls
	})
	l.kill()
	stop()
	all.Wait()
	return err
}

// until waits for a condition.
func until(ctx context.Context, is func() bool) error {
	for deadline := time.Now().Add(3 * time.Minute); !is(); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("weft does no work, or does not end it")
		}
	}
	return nil
}

// work starts runs, one after the other, and follows each to its end. A start
// that was not answered is made again with its key, also after the kill.
func (l *loop) work(ctx context.Context, worker int) {
	input := map[string]string{"key": fmt.Sprint("c", worker%4)} // counters are shared, for the runs to meet
	for ctx.Err() == nil {
		var answer struct{ Run run }
		if l.post("RunService/Start", map[string]any{"workflow": "count", "idempotencyKey": l.keys[worker], "input": input}, &answer) != nil {
			continue // weft is gone, and so is ctx in a moment
		}
		l.keys[worker] = l.key()
		l.tell(answer.Run)
		for ended := answer.Run.status().Ended(); !ended && ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
			knew := l.known(answer.Run.ID)
			if l.post("RunService/GetRun", map[string]any{"id": answer.Run.ID}, &answer) != nil {
				break
			}
			l.hold(knew, answer.Run)
			ended = l.tell(answer.Run).Status.Ended()
		}
	}
}

// run is a run as the API has it.
type run struct {
	ID, Status string
	Entries    int64 `json:",string"`
	Output     json.RawMessage
}

func (r run) status() engine.Status {
	return map[string]engine.Status{"RUN_STATUS_RUNNING": engine.Running, "RUN_STATUS_PARKED": engine.Parked, "RUN_STATUS_COMPLETED": engine.Completed,
		"RUN_STATUS_FAULTED": engine.Faulted, "RUN_STATUS_CANCELLED": engine.Cancelled}[r.Status]
}

// output is as the file has it: without the spaces that the API puts in.
func (r run) output() string {
	var out bytes.Buffer
	_ = json.Compact(&out, r.Output) // none is empty
	return out.String()
}

func (l *loop) known(id string) chaos.Ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told[id]
}

// tell notes what was told of a run, and gives the most that is known of it.
func (l *loop) tell(r run) chaos.Ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent[r.ID] = true
	if was := l.told[r.ID]; was.Run != "" && was.Entries >= r.Entries {
		return was
	}
	l.told[r.ID] = chaos.Ack{Run: r.ID, Entries: r.Entries, Status: r.status(), Output: r.output()}
	l.fresh++
	l.result.Transitions++
	return l.told[r.ID]
}

// hold counts a run as lost that is not as far as it was known to be when it
// was asked for.
func (l *loop) hold(knew chaos.Ack, r run) {
	if r.Entries < knew.Entries || knew.Status.Ended() && (r.status() != knew.Status || r.output() != knew.Output) {
		l.lost("run %s has %d entries and is %s with %s, and was told to have %d and be %s with %s", r.ID, r.Entries, r.status(), r.output(), knew.Entries, knew.Status, knew.Output)
	}
}

func (l *loop) lost(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Lost++
	l.result.note(format, args...)
}

func (r *Result) note(format string, args ...any) {
	if len(r.First) < 10 {
		r.First = append(r.First, fmt.Sprintf(format, args...))
	}
}

// compare asks for all of which something was told since the last start.
func (l *loop) compare() {
	l.mu.Lock()
	recent := slices.Collect(maps.Keys(l.recent))
	l.recent, l.fresh = map[string]bool{}, 0
	l.mu.Unlock()
	for _, id := range recent {
		var answer struct{ Run run }
		if err := l.post("RunService/GetRun", map[string]any{"id": id}, &answer); err != nil {
			l.lost("run %s: %v", id, err)
			continue
		}
		l.hold(l.known(id), answer.Run)
	}
}

func (l *loop) post(method string, in, out any) error {
	return ask.JSON(l.client, l.url+"/weft.v1."+method, in, out)
}

// settle starts weft for the last time, lets every run end, ends weft and
// judges the file.
func (l *loop) settle(ctx context.Context) error {
	if err := l.start(ctx); err != nil {
		return err
	}
	defer l.kill()
	l.compare()
	err := until(ctx, func() bool {
		var page struct{ Runs []run }
		err := l.post("RunService/ListRuns", map[string]any{"statuses": []string{"RUN_STATUS_RUNNING", "RUN_STATUS_PARKED"}, "pageSize": 1}, &page)
		return err == nil && len(page.Runs) == 0
	})
	if err != nil {
		return err
	}
	l.kill()
	return l.judge(ctx)
}

// judge holds the file against all that was told, and against what the peer was asked.
func (l *loop) judge(ctx context.Context) error {
	acks := slices.Collect(maps.Values(l.told))
	l.peer.judge(&l.result)
	for key := range l.peer.calls {
		acks = append(acks, chaos.Ack{Left: key})
	}
	v, err := chaos.Check(ctx, filepath.Join(l.dir, "weft.db"), acks)
	if err != nil {
		return err
	}
	r := &l.result
	r.Acknowledged = len(l.told)
	if v.Runs > l.starts {
		v.Wrong = append(v.Wrong, fmt.Sprintf("%d runs are there, of %d starts", v.Runs, l.starts))
	}
	if v.Going > 0 {
		v.Lost = append(v.Lost, fmt.Sprintf("%d runs have not completed", v.Going))
	}
	r.Lost, r.Doubled = r.Lost+len(v.Lost), r.Doubled+len(v.Wrong)
	for _, what := range append(v.Wrong, v.Lost...) {
		r.note("%s", what)
	}
	return nil
}
