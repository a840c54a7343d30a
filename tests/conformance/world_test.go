package conformance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
	"github.com/weftrun/weft/runtime/catalog"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/runtime/script"
	"github.com/weftrun/weft/runtime/wasm"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/tests/probe"
)

const ns = "default"

// scripts outlives every process: it holds nothing but compiled code. It is made
// outside the bubbles, whose channels are of no use in the next one.
var scripts *script.Engine

// empty is a file on which nothing has happened. To make one takes longer than most
// scenarios.
var empty []byte

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weft-conformance")
	if err == nil {
		err = probe.Engine(dir)
	}
	ctx := context.Background()
	var rt *wasm.Runtime
	if err == nil {
		rt, err = wasm.Open(ctx, wasm.Options{CacheDir: filepath.Join(dir, "cache")})
	}
	if err == nil {
		scripts = script.New(rt)
		err = scripts.Load(ctx)
	}
	if err == nil {
		empty, err = emptyFile(filepath.Join(dir, "empty.db"))
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func emptyFile(path string) ([]byte, error) {
	db, err := store.Open(context.Background(), store.Options{Path: path})
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// endMax is how long a run may take, in virtual time.
const endMax = 90 * time.Minute

// world is one playing of a scenario. It outlives the crash.
type world struct {
	path    string
	stub    *stub
	dieAt   int // moment at which the process dies; 0 for never
	crashed bool
	life    *process

	name   string // of the workflow that is executed
	input  []byte
	starts int
	run    engine.Run // the latest that was started, or looked for
	events int        // published

	lifecycle string // engine.Options.Lifecycle
}

// play plays the scenario in a bubble of virtual time. The process dies at the
// given moment, if it comes to it, and another takes its place.
func (s *scenario) play(t *testing.T, dieAt int) (crashed bool, err error) {
	w := &world{path: filepath.Join(t.TempDir(), "weft.db"), stub: newStub(), dieAt: dieAt}
	defer w.stub.close()
	if err := os.WriteFile(w.path, empty, 0o600); err != nil {
		return false, err
	}
	synctest.Test(t, func(t *testing.T) {
		if err = w.open(); err != nil {
			return
		}
		for _, step := range s.steps {
			if err = step.do(w); err != nil {
				err = fmt.Errorf("%s: %w", step.text, err)
				break
			}
		}
		if !w.life.disarm() { // it died of what went on behind the last step
			err = errors.Join(err, w.bury())
		}
		err = errors.Join(err, w.life.close(context.Background()))
	})
	return w.crashed, err
}

// process is one life of weft, from an opened file to a crash or an end.
type process struct {
	*engine.Engine
	db    *store.DB
	cat   *catalog.Catalog
	bus   *bus.Bus
	serve sync.WaitGroup
	life  context.Context // ends with the process, or with a crash
	end   context.CancelFunc

	mu      sync.Mutex
	moments int // guarded by mu: how many there have been, in all lives
	dieAt   int // guarded by mu
}

// errDead is what everything meets that a dead process still tries.
var errDead = errors.New("the process is dead")

// open begins a life of weft on the file.
func (w *world) open() (err error) {
	p := &process{}
	if !w.crashed {
		p.dieAt = w.dieAt
	}
	if w.life != nil {
		p.moments = w.life.moments
	}
	ctx := context.Background()
	p.life, p.end = context.WithCancel(ctx)
	// Only the process dies here, so nothing waits for the disk; a snapshot every
	// few entries has most runs begin in the middle.
	if p.db, err = store.Open(ctx, store.Options{Path: w.path, Sync: "normal", Checkpoint: time.Hour, Readers: 2, Fault: p.fault}); err != nil {
		return err
	}
	if p.cat, err = catalog.Open(ctx, p.db, nil, catalog.Options{Scripts: scripts, Out: door{w.stub}}); err != nil {
		return err
	}
	p.Engine = engine.New(p.db, p.cat, door{w.stub}, engine.Options{Snapshot: 5, Scripts: scripts, Secret: w.secret, Lifecycle: w.lifecycle})
	p.cat.OnChange(p.Rescheduled)
	p.bus = bus.New(p.db, bus.Options{})
	w.life = p
	if err := p.Start(ctx); p.died() {
		return w.bury()
	} else if err != nil {
		return err
	}
	p.serve.Go(func() {
		_ = p.bus.Consume(p.life, bus.Group{Namespace: ns, Name: "workflows", Handle: func(ctx context.Context, e weft.Event, ack func(*store.Tx) error) error {
			return p.Accept(ctx, ns, e, ack)
		}}) // it ends with the process
	})
	synctest.Wait() // a group that is new begins with what comes after it
	return nil
}

func (p *process) fault(store.Moment) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moments++
	if p.dieAt == 0 || p.moments < p.dieAt {
		return nil
	}
	p.end()
	return errDead
}

// died reports whether the process has come to the moment of its crash.
func (p *process) died() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dieAt > 0 && p.moments >= p.dieAt
}

// disarm lets the process live on to its end, unless it has died before.
func (p *process) disarm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dieAt > 0 && p.moments >= p.dieAt {
		return false
	}
	p.dieAt = 0
	return true
}

// close ends the process; what it has not committed within ctx is lost.
func (p *process) close(ctx context.Context) error {
	p.end()
	p.serve.Wait()
	return errors.Join(p.Close(ctx), p.db.Close())
}

// restart ends the process and begins another on the same file, some time
// later. It may crash at the end.
func (w *world) restart(away time.Duration) error {
	err := w.life.close(context.Background())
	if w.life.died() {
		w.crashed = true
	} else if err != nil {
		return err
	}
	time.Sleep(away)
	return w.open()
}

// survive does something that is safe to do twice: again if the process dies.
func (w *world) survive(do func(context.Context, *process) error) error {
	for {
		p := w.life
		err := do(p.life, p)
		if !p.died() {
			return err
		}
		if err := w.bury(); err != nil {
			return err
		}
	}
}

// secret are the secrets of the features.
func (w *world) secret(_, name string) ([]byte, error) {
	text, ok := map[string]string{"api-key": "k3y-\"of\" the shop", "login": `{ "username": "ada", "password": "lovelace", "token": "t0k3n-of-ada" }`,
		"client": `{ "authority": "https://login.example/realm", "grant": "client_credentials", "client": { "id": "weft", "secret": "s3cr3t" } }`}[name]
	if !ok {
		return nil, weft.Errorf(weft.NotFound, "conformance", "there is no secret %s", name)
	}
	return []byte(text), nil
}

// bury clears up after a crash and begins again after an outage.
func (w *world) bury() error {
	w.crashed = true
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.life.close(cut) // it cannot flush: the disk is gone
	time.Sleep(time.Second)
	return w.open()
}

// pass lets time go by.
func (w *world) pass(d time.Duration) error {
	until := time.Now().Add(d)
	return w.survive(func(ctx context.Context, _ *process) error {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return nil
	})
}

// deploy applies a definition; the one that is executed is the first of them.
func (w *world) deploy(text string) error {
	return w.survive(func(ctx context.Context, p *process) error {
		a, err := p.cat.Apply(ctx, ns, "flow.yaml", []byte(text))
		w.name = a.Space + "/" + a.Name
		return err
	})
}

// start starts a run of the workflow, once, whoever dies meanwhile.
func (w *world) start() error {
	w.starts++
	return w.survive(func(ctx context.Context, p *process) (err error) {
		w.run, _, err = p.StartRun(ctx, engine.StartRun{Namespace: ns, Workflow: w.name, Input: w.input, Key: fmt.Sprint("start ", w.starts)})
		return err
	})
}

// ended waits until the run is over.
func (w *world) ended() error {
	if w.run.ID == "" {
		return errors.New("no run was started")
	}
	until := time.Now().Add(endMax)
	return w.survive(func(ctx context.Context, p *process) error {
		wait, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		run, err := p.Wait(wait, ns, w.run.ID)
		if err == nil {
			w.run = run
		} else if now, failed := p.Run(ctx, ns, w.run.ID); failed == nil {
			err = fmt.Errorf("it has not ended but is %s: %s", now.Status, now.Reason)
		}
		return err
	})
}
