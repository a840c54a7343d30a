package wasm

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// TestMain is also the child that checks uploads.
func TestMain(m *testing.M) {
	Child()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "__burglar": // looks around in a worker that is locked down
			afterLock = func() { burgle(os.Args[len(os.Args)-1]) }
			WorkerMain()
		case "__burglar-check":
			afterLock = func() { burgle(filepath.Dir(os.Args[len(os.Args)-1])) }
			CheckMain()
		case "__planter": // leaves what is not its module's
			afterLock = func() { plant(os.Args[3], os.Args[4], os.Args[2]) }
			CheckMain()
		case "__half":
			half(os.Args[2], os.Args[3])
		case "__barred": // the same before the filter of calls
			burgle(os.Args[len(os.Args)-1])
		case "__liar":
			lie(os.Args[2])
		case "__hog": // wants more memory than it may have
			fmt.Println(limitSelf(), len(make([]byte, 2*checkMemoryMax)))
		case "__sleep":
			time.Sleep(time.Minute)
		case "__killed":
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		case "__broken":
			fmt.Fprintln(os.Stderr, "panic: index out of range")
			os.Exit(2)
		case "__other": // version, which compiles something else, and has no filter
			fmt.Println(`{"valid":true}`)
			os.Exit(0)
		case "__silent":
			os.Exit(0)
		}
	}
	var err error
	if scratch, err = os.MkdirTemp("", "weft-wasm-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

// scratch is a folder that all tests share.
var scratch string

// isolation is that of the modules that tests load: see inWorkers.
var isolation = weft.Inline

//go:embed testdata/guest.wasm
var guest []byte

// open is a runtime of its own, closed at the end of the test.
func open(t testing.TB, o Options) *Runtime {
	t.Helper()
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	if o.Check == nil {
		o.Check = checkArgs()
	}
	if o.Worker == nil {
		o.Worker = []string{checkArgs()[0], "__worker"}
	}
	if o.CheckMax == 0 {
		o.CheckMax = 5 * time.Minute // its processor time is limited too, and that by no neighbour's
	}
	r, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// load is the module of wasm in a runtime of its own.
func load(t testing.TB, wasm []byte, limits weft.Limits) *Module {
	t.Helper()
	return loadIn(t, open(t, Options{}), wasm, limits)
}

func loadIn(t testing.TB, r *Runtime, wasm []byte, limits weft.Limits) *Module {
	t.Helper()
	m, err := r.Load(context.Background(), t.Name(), bytesOf(wasm), Terms{Limits: limits, Isolation: isolation})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// bytesOf hands Load a module that is at hand.
func bytesOf(wasm []byte) func() ([]byte, error) {
	return func() ([]byte, error) { return wasm, nil }
}

// memEnv is an Env in memory. fail, when set, is what every method returns.
type memEnv struct {
	mu     sync.Mutex
	state  map[string][]byte
	events []string
	lines  []string
	bytes  int // logged
	fail   error
	kill   func() error // called by StateGet, when set
	block  bool         // calls to the outside last until their context ends
}

func newEnv() *memEnv { return &memEnv{state: map[string][]byte{}} }

func (e *memEnv) StateGet(key string) ([]byte, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kill != nil {
		if err := e.kill(); err != nil {
			return nil, false, err
		}
	}
	v, ok := e.state[key]
	return v, ok, e.fail
}

func (e *memEnv) StateSet(key string, value []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state[key] = append([]byte{}, value...)
	return e.fail
}

func (e *memEnv) StateDelete(key string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.state, key)
	return e.fail
}

func (e *memEnv) Publish(eventType string, data []byte) error {
	e.events = append(e.events, eventType+" "+string(data))
	return e.fail
}

func (e *memEnv) Call(ctx context.Context, procedure string, request []byte) ([]byte, error) {
	if e.block {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return []byte(procedure + " answers " + string(request)), e.fail
}

func (e *memEnv) HTTP(ctx context.Context, request []byte) ([]byte, error) {
	return append([]byte("200 to "), request...), e.fail
}

func (e *memEnv) Config(key string) (string, bool, error) { return "high", key == "level", e.fail }

func (e *memEnv) Secret(name string) ([]byte, error) {
	if name != "token" {
		return nil, weft.Errorf(weft.PermissionDenied, "test", "secret %s was not granted", name)
	}
	return []byte("s3cret"), e.fail
}

func (e *memEnv) Log(level slog.Level, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bytes += len(message)
	e.lines = append(e.lines, level.String()+" "+message)
}
