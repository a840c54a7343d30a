package simulation

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

// A history has lives runs, each with a key of its own; clients clients do
// clientOps things each, at once. A run has heard enough after two of signals
// different events.
const (
	lives     = 3
	clients   = 6
	clientOps = 14
	signals   = 4
)

// lifeText is the workflow of one key.
func lifeText(n int) text {
	hear := fmt.Sprintf("listen: { to: { one: { with: { type: signal.%d } } } }", n)
	name := fmt.Sprintf("life%d", n)
	return text{name, fmt.Sprintf("document: { dsl: '1.0.3', namespace: sim, name: %s, version: '1.0.0' }\ndo:\n  - one: { %s }\n  - two: { %s }\n  - work: { call: work, with: { do: [add a, ask bank, sleep 700] } }\n", name, hear, hear)}
}

// question is what a client asks of one run, answer what it was told.
type question struct {
	verb verb
	life int
	bit  int // of a signal
}

type answer struct {
	status  engine.Status // get, cancel
	existed bool          // start
	ended   bool          // cancel: refused, for the run has ended
	unknown bool
}

// History lets clients loose on a few runs, with crashes, and gives what they
// asked and were told. It must run in a bubble of testing/synctest, and is not
// the same twice: the clients race.
func History(seed uint64, dir string) []porcupine.Operation {
	var all []text
	for n := range lives {
		all = append(all, lifeText(n))
	}
	h := &history{w: newWorld(seed, dir, all), tokens: make(chan struct{}, clients)}
	h.w.still, h.w.frail = h.stop, 80
	h.w.open()
	h.refill()
	var loose sync.WaitGroup
	for c := range clients {
		loose.Go(func() { h.client(c, rand.New(rand.NewPCG(seed, uint64(3+c)))) })
	}
	done := make(chan struct{})
	go func() { loose.Wait(); close(done) }()
	for {
		select {
		case <-h.w.life.dead:
			h.w.crashed()
			h.refill()
			continue
		case <-done:
		}
		break
	}
	if h.w.life.isDead() {
		h.w.life.bury()
	} else {
		h.w.life.close()
	}
	return h.ops
}

// history is one in the making.
type history struct {
	w      *world
	tokens chan struct{} // a client holds one while it asks; who holds all may change the process
	clock  atomic.Int64

	mu  sync.Mutex
	ops []porcupine.Operation // guarded by mu
	ids [lives]string         // guarded by mu: what starts were told
}

func (h *history) stop() {
	for range clients {
		<-h.tokens
	}
}

func (h *history) refill() {
	for range clients {
		h.tokens <- struct{}{}
	}
}

func (h *history) client(c int, r *rand.Rand) {
	for range clientOps {
		gap := 10 * time.Millisecond
		if r.IntN(5) == 0 {
			gap = time.Second
		}
		time.Sleep(time.Duration(r.IntN(int(gap))))
		q := question{life: r.IntN(lives), verb: []verb{start, start, publish, publish, publish, get, get, get, get, cancel}[r.IntN(10)], bit: r.IntN(signals)}
		h.mu.Lock()
		id := h.ids[q.life]
		h.mu.Unlock()
		if id == "" {
			q.verb = start
		}
		<-h.tokens
		op := porcupine.Operation{ClientId: c, Input: q, Call: h.clock.Add(1)}
		a := h.ask(h.w.life, q, id)
		op.Output, op.Return = a, h.clock.Add(1)
		h.tokens <- struct{}{}
		if a.unknown {
			op.Return = math.MaxInt64 // it may take effect at any time from now on
		}
		h.mu.Lock()
		h.ops = append(h.ops, op)
		h.mu.Unlock()
	}
}

func (h *history) ask(p *process, q question, id string) (a answer) {
	ctx, stop := context.WithTimeout(context.Background(), clientMax)
	defer stop()
	var run engine.Run
	var err error
	switch q.verb {
	case start:
		run, a.existed, err = p.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: fmt.Sprintf("life%d", q.life), Key: "once"})
		if err == nil {
			h.mu.Lock()
			h.ids[q.life] = run.ID
			h.mu.Unlock()
		}
	case publish:
		ev := weft.Event{ID: fmt.Sprint(q.bit), Source: "/clients", Type: fmt.Sprintf("signal.%d", q.life), Data: []byte("1")}
		err = p.Accept(ctx, ns, ev, nil)
	case get:
		run, err = p.Run(ctx, ns, id)
	case cancel:
		run, err = p.Cancel(ctx, ns, id, "not wanted")
		a.ended = weft.CodeOf(err) == weft.FailedPrecondition
	}
	a.status = run.Status
	a.unknown = err != nil && !a.ended || p.isDead()
	return a
}

// life is one run as its clients may see it. That work is over shows only when
// somebody looks.
type life struct {
	is   phase
	seen int // signals, as bits
}

type phase int

const (
	absent phase = iota
	waiting
	working
	over
	cancelled
)

// Life is the model of a run, one a partition.
var Life = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, lives)
		for _, op := range all {
			n := op.Input.(question).life
			parts[n] = append(parts[n], op)
		}
		return parts
	},
	Init: func() any { return life{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(life).step(input.(question), output.(answer))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v %+v", input, output) },
}

func (l life) step(q question, a answer) (bool, life) {
	switch q.verb {
	case start:
		ok := a.unknown || a.existed == (l.is != absent)
		if l.is == absent {
			l.is = waiting
		}
		return ok, l
	case publish:
		if l.is == waiting {
			l.seen |= 1 << q.bit
			if l.seen&(l.seen-1) != 0 {
				l.is = working
			}
		}
		return true, l
	case cancel:
		return l.cancel(a)
	}
	return l.get(a)
}

func (l life) cancel(a answer) (bool, life) {
	switch {
	case a.ended && l.is == working:
		l.is = over
	case a.ended:
		return l.is >= over, l
	case l.is == waiting || l.is == working:
		l.is = cancelled
	default:
		return a.unknown, l
	}
	return true, l
}

func (l life) get(a answer) (bool, life) {
	if a.unknown {
		return true, l
	}
	switch a.status {
	case engine.Parked:
		return l.is == waiting, l
	case engine.Running:
		return l.is == working, l
	case engine.Completed, engine.Faulted:
		ok := l.is == working || l.is == over
		l.is = over
		return ok, l
	case engine.Cancelled:
		return l.is == cancelled, l
	}
	return false, l
}
