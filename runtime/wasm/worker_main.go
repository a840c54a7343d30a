package wasm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// order is what a worker is told at its start. The metered module is file 3.
type order struct {
	Limits    weft.Limits
	Lifecycle weft.Lifecycle
	UsesMax   int
	Info      meter.Info // of the module
}

// locked is what a worker says of itself when nothing can be reached from it.
type locked struct {
	Seccomp bool   `json:"seccomp"`
	Error   string `json:"error,omitempty"` // why it is not: then it serves nothing
}

// afterLock is for tests, which look around in a worker.
var afterLock func()

// WorkerMain is a worker: it loads the module that is file 3 from the cache
// whose folder is its last argument, locks itself down, and serves calls from
// standard input until that ends.
func WorkerMain() {
	w := &worksite{in: frames{r: bufio.NewReaderSize(os.Stdin, framePiece), max: 1 << 31}}
	first, err := w.in.next()
	var o order
	if err == nil && (first.kind != frameStart || len(first.parts) != 1) {
		err = errors.New("a worker is started by weft, and by nobody else")
	}
	if err == nil {
		err = json.Unmarshal(first.parts[0], &o)
	}
	var m *Module
	var state locked
	if err == nil {
		m, err = w.load(os.Args[len(os.Args)-1], o)
	}
	if err == nil {
		state.Seccomp, err = lockDown(o.Limits)
	}
	if err != nil {
		state.Error = err.Error()
	}
	if afterLock != nil {
		afterLock()
	}
	said, err := json.Marshal(state)
	if err != nil {
		panic(err) // a bool and a text
	}
	w.say(frame{kind: frameReady, parts: [][]byte{said}})
	for state.Error == "" {
		w.serve(m)
	}
	os.Exit(1)
}

// worksite is a worker from inside. It has one goroutine.
type worksite struct {
	in  frames
	out []byte // to be written
	ctx *far   // of the call in progress
}

// load makes the module ready.
func (w *worksite) load(cacheDir string, o order) (*Module, error) {
	file := os.NewFile(3, "module")
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// All workers of the module share the file and its offset.
	metered, err := io.ReadAll(io.NewSectionReader(file, 0, info.Size()))
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	ctx := context.Background()
	engine, cache, err := newEngine(ctx, cacheDir)
	var compiled wazero.CompiledModule
	if err == nil {
		compiled, err = engine.CompileModule(ctx, metered)
	}
	if err != nil { // the cache was thrown away, and a worker writes nothing
		if engine, err = engineOf(ctx, wazero.NewRuntimeConfigCompiler()); err == nil {
			compiled, err = engine.CompileModule(ctx, metered)
		}
	}
	if err != nil {
		return nil, err
	}
	// Its host counts what the module logs in a minute, and how many call it.
	limits := o.Limits
	limits.LogMinuteBytes, limits.Concurrency = possible.LogMinuteBytes, 1
	r := &Runtime{opts: Options{UsesMax: o.UsesMax, Log: slog.New(slog.DiscardHandler)}, engine: engine, cache: cache, modules: map[loadKey]*loading{}}
	r.memory.ask = w.memory
	m := newModule(r, loadKey{Terms: Terms{Limits: limits, Lifecycle: o.Lifecycle}}, compiled, o.Info)
	if m.isolated && m.memory { // no file can be had later, nor can one grow
		if m.file, err = m.imageFile(limits.MemoryMiB << 20); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// say writes a frame, after those that were kept.
func (w *worksite) say(f frame) {
	w.out = f.add(w.out)
	if _, err := os.Stdout.Write(w.out); err != nil {
		os.Exit(1) // the host has gone
	}
	if w.out = w.out[:0]; cap(w.out) > 16*framePiece {
		w.out = nil
	}
}

// hear is the next frame of the host, which is of that kind.
func (w *worksite) hear(kind byte) frame {
	f, err := w.in.next()
	if err != nil || f.kind != kind {
		os.Exit(1) // the host has gone
	}
	return f
}

// memory asks for bytes, or gives some back. The error is that of the host's pot.
func (w *worksite) memory(n int64, first bool) error {
	f := frame{kind: frameMemory, n: n}
	if first {
		f.parts = [][]byte{{1}}
	}
	if n < 0 {
		w.out = f.add(w.out) // with the next one
		return nil
	}
	w.say(f)
	answer := w.hear(frameReply)
	if replyFrom(answer.n).signs&signFound != 0 {
		return nil
	}
	return &fullError{text: string(answer.part(0)), hint: string(answer.part(1))}
}

// serve serves one call.
func (w *worksite) serve(m *Module) {
	f := w.hear(frameCall)
	if len(f.parts) != 4 || len(f.parts[1]) != 1 {
		os.Exit(1)
	}
	export, in := string(f.parts[0]), Input{Body: append([]byte(nil), f.parts[2]...)}
	var err error
	if in.Headers, err = unpackHeaders(f.parts[3], len(f.parts[3])); err != nil {
		os.Exit(1)
	}
	w.ctx = &far{Context: context.Background()}
	if f.n > 0 {
		w.ctx.deadline = time.Now().Add(time.Duration(f.n))
	}
	var env Env
	if f.parts[1][0]&withEnv != 0 {
		env = w
	}
	if f.parts[1][0]&withStream != 0 {
		in.Stream = w
	}
	out, err := m.Call(w.ctx, env, export, in)
	done := frame{kind: frameDone, parts: [][]byte{nil, nil, nil, nil, out.Body, packHeaders(out.Fields().Headers), packHeaders(out.Fields().Trailers), packDetails(weft.DetailsOf(err)), m.tally()}}
	if err != nil {
		var e *weft.Error
		if !errors.As(err, &e) {
			e = &weft.Error{Code: weft.Internal, Op: opCall, Err: err}
		}
		done.n = int64(e.Code)
		done.parts[0], done.parts[1], done.parts[2], done.parts[3] = []byte(e.Op), []byte(textOf(e)), []byte(e.Hint), []byte(causeOf(err))
	}
	w.say(done)
}

// textOf is what an error says, without its hint.
func textOf(e *weft.Error) string {
	if e.Err == nil {
		return e.Code.String()
	}
	return e.Err.Error()
}

// far is the context of a call whose caller is in another process.
type far struct {
	context.Context
	deadline time.Time // zero for none
	gone     bool      // the caller has left
}

func (f *far) Deadline() (time.Time, bool) { return f.deadline, !f.deadline.IsZero() }

func (f *far) Err() error {
	switch {
	case f.gone:
		return context.Canceled
	case !f.deadline.IsZero() && !time.Now().Before(f.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// errAborted ends a call of which the host knows why it ends.
var errAborted = errors.New("the host has ended the call")

// told is an error of the host's, which has logged it.
type told struct {
	text string
	size int // that the log line counted
}

func (t *told) Error() string { return t.text }

// warn logs an error that a guest is told of, unless the one who gave it has.
func (c *call) warn(err error, text string) {
	var t *told
	if !errors.As(err, &t) {
		c.log(slog.LevelWarn, text)
		return
	}
	c.logged += t.size
	if text != "" && !strings.Contains(c.words, "panic") {
		c.words = text
	}
}

// ask asks the host. What it gives is the caller's own.
func (w *worksite) ask(kind byte, parts ...[]byte) (value []byte, ok bool, err error) {
	f := frame{kind: kind, parts: parts}
	if n := f.size(); n > askMax && kind != frameSend { // which has its own

		return nil, false, weft.Errorf(weft.ResourceExhausted, opCall, "the handler passed %d bytes to the host at once, the limit in a worker is %d", n, askMax)
	}
	w.say(f)
	answer := w.hear(frameReply)
	r := replyFrom(answer.n)
	if r.signs&signCancel != 0 {
		w.ctx.gone = true
	}
	if r.signs&signAbort != 0 {
		return nil, false, &Abort{Err: errAborted}
	}
	first := answer.part(0)
	if r.code != 0 {
		details, err := unpackDetails(answer.part(1))
		if err != nil {
			os.Exit(1)
		}
		return nil, false, &weft.Error{Code: weft.Code(r.code), Op: opCall, Err: &told{string(first), r.logged}, Details: details}
	}
	return append([]byte(nil), first...), r.signs&signFound != 0, nil
}

// A worksite is the Env of the call in progress.

func (w *worksite) StateGet(key string) ([]byte, bool, error) {
	return w.ask(frameStateGet, []byte(key))
}

func (w *worksite) StateSet(key string, value []byte) error {
	_, _, err := w.ask(frameStateSet, []byte(key), value)
	return err
}

func (w *worksite) StateDelete(key string) error {
	_, _, err := w.ask(frameStateDelete, []byte(key))
	return err
}

func (w *worksite) Publish(eventType string, data []byte) error {
	_, _, err := w.ask(framePublish, []byte(eventType), data)
	return err
}

func (w *worksite) Call(_ context.Context, procedure string, request []byte) ([]byte, error) {
	v, _, err := w.ask(frameCallOut, []byte(procedure), request)
	return v, err
}

func (w *worksite) HTTP(_ context.Context, request []byte) ([]byte, error) {
	v, _, err := w.ask(frameHTTP, request)
	return v, err
}

func (w *worksite) Config(key string) (string, bool, error) {
	v, ok, err := w.ask(frameConfig, []byte(key))
	return string(v), ok, err
}

func (w *worksite) Secret(name string) ([]byte, error) {
	v, _, err := w.ask(frameSecret, []byte(name))
	return v, err
}

func (w *worksite) Log(level slog.Level, message string) {
	w.say(frame{kind: frameLog, n: int64(level), parts: [][]byte{[]byte(message)}})
}
