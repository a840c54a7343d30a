// Command load is the process whose power is cut: the real store and engine,
// and workers that use them and write down what they were told.
package main

// #include <stdlib.h>
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/chaos"
	"github.com/weftrun/weft/tests/probe"
	"github.com/weftrun/weft/workflows/machine"
)

const ns = weft.DefaultNamespace

// calmMax bounds a round on a sound disk.
const calmMax = time.Minute

func main() {
	wasm.Child()
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		C.exit(1)
	}
	C.exit(0) // not os.Exit: the recorder finishes its record
}

func run(ctx context.Context, arg string) error {
	var job chaos.Job
	if err := json.Unmarshal([]byte(arg), &job); err != nil {
		return err
	}
	w := &world{job: job}
	w.calm, w.end = context.WithCancel(ctx)
	defer w.end()
	var err error
	if job.Record != "" {
		if w.record, err = os.OpenFile(job.Record, os.O_WRONLY|os.O_APPEND, 0); err != nil {
			return err
		}
	}
	switch job.Do {
	case "open":
		return w.open(ctx)
	case "prepare":
		return w.prepare(ctx)
	case "load":
		return w.load(ctx)
	case "finish":
		return w.finish(ctx)
	}
	return fmt.Errorf("no job %q", job.Do)
}

// world is the process: its rooms, and its side of the record.
type world struct {
	job    chaos.Job
	record *os.File
	db     *store.DB
	rt     *wasm.Runtime
	cat    *catalog.Catalog
	*engine.Engine

	struck atomic.Bool     // the fault has been told
	calm   context.Context // ends a while after that
	end    context.CancelFunc
	mu     sync.Mutex
	runs   []string // guarded by mu: acknowledged
	report chaos.Report
}

// tell writes down what was acknowledged, behind all that the disk has done for it.
func (w *world) tell(a chaos.Ack) {
	if w.record == nil {
		return
	}
	data, err := json.Marshal(a)
	if err == nil {
		_, err = w.record.Write(chaos.AppendOp(nil, chaos.Op{Kind: chaos.OpAck, Data: data}))
	}
	if err != nil {
		panic(err) // the proof would have a hole
	}
}

// Do is the outside: it answers everything, and notes that it was asked.
func (w *world) Do(_ context.Context, r weft.Request) (weft.Response, error) {
	w.tell(chaos.Ack{Left: r.IdempotencyKey})
	return weft.Response{Status: 200, Body: []byte(`{"ok":true}`)}, nil
}

// open makes a new file, writes a little and closes it.
func (w *world) open(ctx context.Context) error {
	db, err := store.Open(ctx, store.Options{Path: w.job.DB, Sync: w.job.Sync, Checkpoint: w.job.Checkpoint})
	if err != nil {
		return err
	}
	for i := range w.job.Rounds {
		id := fmt.Sprint(i)
		if err := db.Update(ctx, func(tx *store.Tx) error { _, err := tx.Receive("open", "/load", id); return err }); err != nil {
			return err
		}
		w.tell(chaos.Ack{Inbox: "open", Event: id})
	}
	return db.Close()
}

func (w *world) rooms(ctx context.Context) (err error) {
	if w.db, err = store.Open(ctx, store.Options{Path: w.job.DB, Sync: w.job.Sync, Checkpoint: w.job.Checkpoint}); err != nil {
		return err
	}
	if w.rt, err = wasm.Open(ctx, wasm.Options{CacheDir: w.job.Cache}); err != nil {
		return err
	}
	if w.cat, err = catalog.Open(ctx, w.db, w.rt, catalog.Options{}); err != nil {
		return err
	}
	w.Engine = engine.New(w.db, w.cat, w, engine.Options{})
	return w.Start(ctx)
}

func (w *world) close(ctx context.Context) error {
	return errors.Join(w.Close(ctx), w.db.Close(), w.rt.Close(ctx))
}

var flows = map[string]string{
	"work": `
do:
  - first: { call: count, with: { key: '${ .key }' } }
  - nap: { wait: { milliseconds: 2 } }
  - world: { call: ask, with: { procedures: [ world/world.World/One, world/world.World/Two ] } }
  - last: { call: count, with: { key: '${ $workflow.input.key }' } }
`,
	"triggered": `
schedule: { on: { one: { with: { type: chaos.in } } } }
do:
  - count: { call: count, with: { key: '${ $workflow.input[0].key }' } }
`,
	"hear": `
do:
  - answer:
      listen:
        to: { one: { with: { type: chaos.answer }, correlate: { run: { from: '${ .subject }', expect: '${ $workflow.id }' } } } }
`,
}

// prepare deploys what the load runs.
func (w *world) prepare(ctx context.Context) error {
	if err := w.rooms(ctx); err != nil {
		return err
	}
	module, err := probe.Build()
	if err != nil {
		return err
	}
	if _, err := w.cat.Push(ctx, ns, catalog.Push{Wasm: module, Manifest: probe.Manifest(), Grant: true}); err != nil {
		return err
	}
	for name, do := range flows {
		src := "document: { dsl: '1.0.3', namespace: chaos, name: " + name + ", version: '1.0.0' }" + do
		if _, err := w.cat.Apply(ctx, ns, name+".yaml", []byte(src)); err != nil {
			return err
		}
	}
	if _, err := w.Call(ctx, weft.Call{Namespace: ns, Handler: weft.Ref{Name: "noop"}}); err != nil { // compile it, once for all
		return err
	}
	return w.close(ctx)
}

// load has all workers do their rounds. It ends without closing anything, as a
// process does whose power is cut.
func (w *world) load(ctx context.Context) error {
	if err := w.rooms(ctx); err != nil {
		return err
	}
	var all sync.WaitGroup
	for i := range w.job.Workers {
		all.Go(func() {
			for round := 0; round < w.job.Rounds || i == 0 && w.awaits(round); round++ {
				if i == 0 && round == w.job.Rounds/2 && w.job.Fault != (chaos.Fault{}) {
					w.strike()
				}
				w.round(ctx, i, round)
			}
		})
	}
	all.Wait()
	w.look(ctx)
	return json.NewEncoder(os.Stdout).Encode(w.report)
}

// awaits reports whether the fault has been told and has met nothing yet, as
// may be before the next checkpoint.
func (w *world) awaits(round int) bool {
	const roundsMax = 1000
	if !w.struck.Load() || round >= roundsMax {
		return false
	}
	hits, err := chaos.Hits(w.job.FaultPage)
	if err != nil {
		panic(err)
	}
	return hits == 0
}

func (w *world) strike() {
	w.struck.Store(true)
	if err := w.job.Fault.Tell(w.job.FaultPage); err != nil {
		panic(err)
	}
	time.AfterFunc(w.job.Stricken, w.end)
}

// round uses the house in every way that it acknowledges. Four counters of
// each sort are shared by all workers.
func (w *world) round(ctx context.Context, worker, round int) {
	limit := w.job.Stricken
	if !w.struck.Load() {
		ctx, limit = w.calm, calmMax
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	id := fmt.Sprintf("%s-%d-%d", w.job.Name, worker, round)
	shared := worker % 4
	w.note(w.work(ctx, id, fmt.Sprint("w", shared)))
	w.note(w.call(ctx, fmt.Sprint("d", shared)))
	w.note(w.deliver(ctx, id, fmt.Sprint("s", shared)))
	w.note(w.trigger(ctx, id, fmt.Sprint("t", shared)))
	w.note(w.hear(ctx, id))
}

// note counts how a request ended after the fault.
func (w *world) note(err error) {
	if !w.struck.Load() {
		if err != nil {
			panic(err) // the disk is well
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.report.Accepted++
		return
	}
	w.report.Refused++
	var e *weft.Error
	if errors.As(err, &e) && e.Code == weft.Unavailable && e.Hint != "" {
		w.report.Hints++
	}
	for _, known := range w.report.Errors {
		if known == err.Error() {
			return
		}
	}
	w.report.Errors = append(w.report.Errors, err.Error())
}

func (w *world) told(run engine.Run) {
	w.tell(chaos.Ack{Run: run.ID, Entries: run.Entries, Status: run.Status, Output: string(run.Output)})
}

// start starts a run and follows it to its end.
func (w *world) start(ctx context.Context, s engine.StartRun, also func(engine.Run) error) error {
	s.Namespace = ns
	run, _, err := w.StartRun(ctx, s)
	if err != nil {
		return err
	}
	w.told(run)
	w.mu.Lock()
	w.runs = append(w.runs, run.ID)
	w.mu.Unlock()
	if also != nil {
		if err := also(run); err != nil {
			return err
		}
	}
	return w.Watch(ctx, ns, run.ID, func(run engine.Run, _ []machine.Step) error { w.told(run); return nil })
}

func (w *world) work(ctx context.Context, id, key string) error {
	return w.start(ctx, engine.StartRun{Workflow: "work", Key: id, Input: []byte(`{"key":"` + key + `"}`)}, nil)
}

func (w *world) call(ctx context.Context, key string) error {
	r, err := w.Call(ctx, weft.Call{Namespace: ns, Handler: weft.Ref{Name: "count"}, Input: []byte(`{"key":"` + key + `"}`)})
	if err != nil {
		return err
	}
	var counted struct{ Count int }
	if err := json.Unmarshal(r.Output, &counted); err != nil {
		return err
	}
	w.tell(chaos.Ack{Counter: key, Count: counted.Count})
	return nil
}

func event(eventType, id, key string) weft.Event {
	return weft.Event{ID: id, Source: "/load", Type: eventType, DataContentType: "application/json", Data: []byte(`{"key":"` + key + `","id":"` + id + `"}`)}
}

// receive is the ack of an event, as the bus has it.
func (w *world) receive(inbox string, ev weft.Event) func(*store.Tx) error {
	return func(tx *store.Tx) error { _, err := tx.Receive(inbox, ev.Source, ev.ID); return err }
}

func (w *world) deliver(ctx context.Context, id, key string) error {
	ev := event("probe.event", id, key)
	if err := w.Deliver(ctx, ns, weft.Ref{Name: "seen"}, ev, w.receive(key, ev)); err != nil {
		return err
	}
	w.tell(chaos.Ack{Inbox: key, Event: id})
	return nil
}

func (w *world) trigger(ctx context.Context, id, key string) error {
	ev := event("chaos.in", id, key)
	if err := w.Accept(ctx, ns, ev, w.receive("triggered", ev)); err != nil {
		return err
	}
	w.tell(chaos.Ack{Inbox: "triggered", Event: id})
	return nil
}

func (w *world) hear(ctx context.Context, id string) error {
	return w.start(ctx, engine.StartRun{Workflow: "hear", Key: id}, func(run engine.Run) error {
		ev := event("chaos.answer", id, "")
		ev.Subject = run.ID
		if err := w.Accept(ctx, ns, ev, w.receive("heard", ev)); err != nil {
			return err
		}
		w.tell(chaos.Ack{Inbox: "heard", Event: id, Heard: run.ID})
		return nil
	})
}

// look reads all runs once more, and then starts one on a disk that is well again.
func (w *world) look(ctx context.Context) {
	for _, id := range w.runs {
		if _, err := w.Run(ctx, ns, id); err != nil {
			w.report.Unread++
		} else {
			w.report.Read++
		}
	}
	if !w.struck.Load() {
		return
	}
	if err := (chaos.Fault{}).Tell(w.job.FaultPage); err != nil {
		panic(err)
	}
	for begun := time.Now(); time.Since(begun) < mendMax; time.Sleep(10 * time.Millisecond) {
		err := w.call(ctx, "d0")
		if err == nil {
			w.report.Freed = ""
			return
		}
		w.report.Freed = err.Error()
	}
}

// mendMax is how long weft may take to see that a full disk has room.
const mendMax = 10 * time.Second

// finishMax bounds the time in which all runs must end.
const finishMax = time.Minute

// finish lets every run end that needs nothing from outside.
func (w *world) finish(ctx context.Context) error {
	if err := w.rooms(ctx); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, finishMax)
	defer cancel()
	for _, workflow := range []string{"work", "triggered"} {
		for {
			runs, _, err := w.List(ctx, engine.ListRuns{Namespace: ns, Workflow: workflow, Statuses: []engine.Status{engine.Running, engine.Parked}, PageSize: 1})
			if err != nil {
				return err
			}
			if len(runs) == 0 {
				break
			}
			if _, err := w.Wait(waiting, ns, runs[0].ID); err != nil {
				return err
			}
		}
	}
	return w.close(ctx)
}
