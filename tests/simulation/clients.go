package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// verb is what a client does.
type verb string

const (
	start   verb = "start"   // a workflow, perhaps with a key
	publish verb = "publish" // an event, perhaps again
	cancel  verb = "cancel"
	pause   verb = "pause"
	resume  verb = "resume"
	call    verb = "call" // a handler, outside any run
	get     verb = "get"
	rerun   verb = "rerun" // a run that has ended, from a step or from where it failed
)

// fact is what a client did and what it was told.
type fact struct {
	verb       verb
	what       string // run, workflow, event type or script
	key        string // of a start; id of an event; idempotency key of a call; step of a rerun
	begun, end time.Time
	told       string // what the answer says
	acked      bool   // the client was told that it is done
	refused    bool   // the client was told that it is not done
	run        engine.Run
	reads      map[string]any // what a call read
}

func (f *fact) String() string {
	result := "nobody knows"
	if f.acked || f.refused {
		result = f.told
	}
	return fmt.Sprintf("%s %s %s: %s", f.verb, f.what, f.key, result)
}

// clientMax is how long a client waits for an answer.
const clientMax = 30 * time.Second

// step is the next thing that the seed wants done.
func (w *world) step() {
	if w.life.isBroken() && w.r.IntN(3) == 0 {
		w.restart()
		return
	}
	switch n := w.r.IntN(120); {
	case n < 30:
		w.do(start, "w"+strconv.Itoa(w.r.IntN(len(w.code.all))))
	case n < 50:
		w.do(publish, (&author{r: w.r}).pick(slices.Concat(asked, begin, told[:1])))
	case n < 58:
		w.do(call, (&author{r: w.r}).script())
	case n < 63:
		w.do(cancel, w.someRun())
	case n < 70:
		w.do(pause, w.someRun())
	case n < 78:
		w.do(resume, w.someRun())
	case n < 84:
		w.do(get, w.someRun())
	case n < 89:
		w.peers.fall(w.somePeer(), []time.Duration{0, 50 * time.Millisecond, 10 * time.Minute}[w.r.IntN(3)])
	case n < 94:
		w.peers.rise(w.somePeer())
	case n < 97:
		w.rest(time.Duration(1+w.r.IntN(30)) * time.Second)
	case n < 100:
		w.restart()
	case n < 102:
		w.apply(true)
	case n < 112 && w.disk.ails:
		w.disk.ail()
	default:
		w.do(rerun, w.someRun())
	}
}

func (w *world) somePeer() string {
	return append(peer[:3:3], "http://shop.example:80")[w.r.IntN(4)]
}

// someRun is a run that some client knows, a newer one rather than an old one.
func (w *world) someRun() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var known []string
	for _, f := range w.facts {
		if (f.verb == start || f.verb == rerun) && f.acked {
			known = append(known, f.run.ID)
		}
	}
	n := len(known)
	if n == 0 {
		return "r00-000"
	}
	return known[n-1-min(w.r.IntN(n), w.r.IntN(n))]
}

// do begins something and does not wait for its end.
func (w *world) do(v verb, what string) {
	p, n := w.life, len(w.facts)
	f := &fact{verb: v, what: what, begun: time.Now()}
	switch {
	case v == publish:
		f.key = "ev-" + strconv.Itoa(n)
		if was := w.facts[w.r.IntN(n+1)%max(n, 1)*min(n, 1):]; len(was) > 0 && was[0].verb == publish {
			f.what, f.key = was[0].what, was[0].key // the same again
		}
	case v == call:
		f.key = "op-" + strconv.Itoa(n)
	case v == rerun:
		f.key = strconv.Itoa(w.r.IntN(2) * w.r.IntN(12))
	case v == start && w.r.IntN(2) == 0:
		f.key = "k" + strconv.Itoa(w.r.IntN(4))
	}
	w.mu.Lock()
	w.facts = append(w.facts, f)
	w.mu.Unlock()
	w.ops.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), clientMax)
		defer cancel()
		err := w.act(ctx, p, f)
		w.mu.Lock()
		defer w.mu.Unlock()
		f.end = time.Now()
		switch code := weft.CodeOf(err); {
		case v == get && !p.isDead() && err != nil && code != weft.NotFound:
			w.violate("%s %s: runs cannot be read: %v", v, what, err)
		case p.tight && err == nil && (v == rerun || v == start && strings.HasSuffix(f.told, " false")):
			w.violate("%s %s was taken with no room on the disk", v, what)
		case p.tight && v != start && v != rerun && code == weft.ResourceExhausted:
			w.violate("%s %s is refused, for there is little room: %v", v, what, err)
		case p.isDead() || code == weft.Unavailable || code == weft.Canceled || code == weft.DeadlineExceeded:
			return // nobody knows
		case p.tight && code == weft.ResourceExhausted:
			f.refused, f.told = true, "there is little room" // how much is another thing each time
		case err != nil:
			f.refused, f.told = true, err.Error()
		default:
			f.acked = true
		}
	})
}

// act does it, on the goroutine of the client.
func (w *world) act(ctx context.Context, p *process, f *fact) (err error) {
	switch f.verb {
	case start:
		var existed bool
		f.run, existed, err = p.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: f.what, Input: []byte(`{"n":1}`), Key: f.key})
		f.told = fmt.Sprintf("%s %v", f.run.ID, existed)
	case publish:
		err = p.db.Update(ctx, func(tx *store.Tx) error { _, err := tx.AppendEvent(ns, f.event()); return err })
	case cancel:
		f.run, err = p.Cancel(ctx, ns, f.what, "not wanted")
	case pause:
		f.run, err = p.Pause(ctx, ns, f.what, "paused by hand")
	case resume:
		f.run, err = p.Resume(ctx, ns, f.what)
	case get:
		f.run, err = p.Run(ctx, ns, f.what)
		f.told = f.run.Status.String()
	case rerun:
		f.run, err = p.Rerun(ctx, ns, f.what, f.step())
		f.told = f.run.ID
	case call:
		err = w.call(ctx, p, f)
	}
	return err
}

// called is what the engine puts before the key of a call of the handler work.
const called = "work-"

func (w *world) call(ctx context.Context, p *process, f *fact) error {
	res, err := p.Call(ctx, weft.Call{Namespace: ns, Handler: weft.Ref{Name: "work"}, Headers: weft.Header{"idempotency-key": {f.key}},
		Input: []byte(scriptOf(f.what))})
	if err != nil {
		return err
	}
	f.told = string(res.Output)
	return json.Unmarshal(res.Output, &f.reads)
}

// scriptOf is the input of work for a script as it stands in a workflow.
func scriptOf(text string) string {
	input, _ := json.Marshal(script{Do: strings.Split(text, ", ")}) // strings: cannot fail
	return string(input)
}

// step is the one that a rerun is from; 0 is where the run failed.
func (f *fact) step() uint32 {
	n, _ := strconv.Atoi(f.key) // do wrote it
	return uint32(n)
}

func (f *fact) event() weft.Event {
	return weft.Event{ID: f.key, Source: "/clients", Type: f.what, DataContentType: "application/json", Data: []byte(`{"n":1}`)}
}

// carry begins the bus of a process: events from the log to the workflows and
// to the handler hear, in order, at least once.
func (w *world) carry(p *process) {
	if w.bus {
		w.ride(p)
		return
	}
	for _, group := range []string{"workflows", "hear"} {
		wake := make(chan struct{}, 1)
		p.db.OnAppend(func(string) {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		p.courier.Go(func() {
			for p.life.Err() == nil {
				w.serve(p, group)
				select {
				case <-wake:
				case <-p.life.Done():
				}
			}
		})
	}
}

// serve hands out all that is in the log and that the group has not had.
func (w *world) serve(p *process, group string) {
	for {
		after, _, err := p.db.Cursor(p.life, ns, group)
		if err != nil {
			return
		}
		list, err := p.db.Messages(p.life, ns, after, 1)
		if err != nil || len(list) == 0 {
			return
		}
		name := fmt.Sprintf("%s %d", group, list[0].Offset)
		if p.pause(p.life, 3*time.Millisecond, name) != nil {
			return
		}
		if err := w.hand(p, group, list[0]); err != nil && p.pause(p.life, time.Second, name) != nil {
			return
		}
	}
}

func (w *world) hand(p *process, group string, m store.Message) error {
	ev := m.Event()
	ack := func(tx *store.Tx) error {
		if _, err := tx.Receive(group, ev.Source, ev.ID); err != nil {
			return err
		}
		return tx.SetCursor(ns, group, m.Offset)
	}
	if group == "hear" {
		had, err := p.db.InInbox(p.life, group, ev.Source, ev.ID)
		if err != nil {
			return err
		}
		if had || !weft.Allows([]string{"told.*"}, ev.Type) {
			return p.db.Update(p.life, ack)
		}
		return p.Deliver(p.life, ns, weft.Ref{Name: "hear"}, ev, ack)
	}
	var twice sync.WaitGroup
	if w.chance(6, "twice", ev.ID) == 0 { // another producer, or another host, is slower or faster
		twice.Go(func() {
			if p.pause(p.life, 3*time.Millisecond, "again "+ev.ID) == nil {
				_ = p.Accept(p.life, ns, ev, nil) // the other one counts
			}
		})
	}
	defer twice.Wait()
	err := p.Accept(p.life, ns, ev, ack)
	if err == nil && !p.isDead() {
		w.took(w.mark(m))
	}
	return err
}

func (w *world) told() (lines []string) {
	for i, f := range w.facts {
		lines = append(lines, fmt.Sprintf("%3d %12.6f %s", i, f.begun.Sub(w.begun).Seconds(), f))
	}
	return lines
}
