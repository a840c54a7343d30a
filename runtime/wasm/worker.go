package wasm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Limits of workers.
const (
	workerGrace     = 250 * time.Millisecond // that a worker has after the time of its call, then it is killed
	workerStartMax  = 30 * time.Second       // until it is ready; most of it is the reading of compiled code
	workerStderrMax = 8 << 10                // bytes that are kept
	askMax          = 16 << 20               // bytes of one call of the host
	restCPUMax      = time.Second            // of a processor that an idle worker may use: a little is the Go runtime's
	restLook        = 5 * time.Second        // between two looks at that
	doneSlack       = 4 << 20                // bytes of an answer besides its output: headers, and the text of an error
)

// crew is the workers of one module: processes of this binary, each of which
// serves one call at a time. A worker has loaded its module and nothing else,
// so one module's guests never share a process with another's.
type crew struct {
	m     *Module
	staff *share   // of the worker processes of all guests
	code  *os.File // the metered module, of no name
	order []byte   // what each worker is told at its start
	max   int      // bytes of a frame

	mu     sync.Mutex
	idle   []*worker // guarded by mu; the one used last is last
	closed bool      // guarded by mu

	ending sync.WaitGroup // of idle workers that somebody ends; begun with mu locked, and not when closed
}

// worker is one process.
type worker struct {
	crew     *crew
	cmd      *exec.Cmd
	in       *os.File // its standard input
	out      *os.File // its standard output
	frames   frames
	buf      []byte // to be written
	stderr   bounded
	taken    int64         // of the memory of all guests
	live     int64         // instances, as it says
	rest     *time.Timer   // looks at it while it is idle; nil until it is
	rested   time.Time     // since when it is idle
	restCPU  time.Duration // that it had used by then
	landlock int           // the version that keeps it from files, 0 for none
	dead     chan struct{} // closed when the process has ended
}

// newCrew keeps the metered module where workers can read it, and nobody else.
func newCrew(m *Module, metered []byte, info meter.Info) (*crew, error) {
	const op = "wasm.Runtime.Load"
	name, err := writeTemp(m.rt.opts.CacheDir, metered)
	if err != nil {
		return nil, weft.Errorf(weft.Unavailable, op, "keep the module for its workers: %w", err)
	}
	code, err := os.Open(name) // to read alone
	if err := errors.Join(err, os.Remove(name)); err != nil {
		return nil, weft.Errorf(weft.Unavailable, op, "keep the module for its workers: %w", err)
	}
	info.Customs = nil // they may be long, and say nothing to a worker
	o, err := json.Marshal(order{Limits: m.limits, Lifecycle: m.key.Lifecycle, UsesMax: m.rt.opts.UsesMax, Info: info})
	if err != nil {
		return nil, weft.Errorf(weft.Internal, op, "what workers are told: %w", err)
	}
	return &crew{m: m, staff: m.rt.staff.of(m.share.ns), code: code, order: o, max: max(askMax, m.limits.OutputBytes) + doneSlack}, nil
}

func writeTemp(dir string, data []byte) (string, error) {
	f, err := os.CreateTemp(dir, "metered-")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	return f.Name(), errors.Join(err, f.Close())
}

// call runs a handler in a worker. The module has a slot for it.
func (c *crew) call(ctx context.Context, env Env, export string, in Input) (Output, error) {
	w, err := c.take(ctx)
	if err != nil {
		return Output{}, err
	}
	s := &service{crew: c, worker: w, ctx: ctx, env: env, stream: in.Stream, export: export}
	returned := false // and not ended by something of the caller's, by runtime.Goexit
	defer func() {
		if !returned || s.broken || w.frames.r.Buffered() > 0 {
			w.kill()
		} else {
			c.give(w)
		}
	}()
	out, err := s.run(in)
	returned = true
	return out, err
}

// take is an idle worker that lives, or a new one.
func (c *crew) take(ctx context.Context) (*worker, error) {
	for {
		w, err := c.pick()
		if err != nil {
			return nil, err
		}
		if w == nil {
			return c.spawn(ctx)
		}
		select {
		case <-w.dead:
			w.kill()
		default:
			if !w.restless() {
				return w, nil
			}
			w.expel()
		}
	}
}

// pick is an idle worker, nil where there is none.
func (c *crew) pick() (*worker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	switch {
	case c.closed:
		return nil, errClosed()
	case n == 0:
		return nil, nil
	}
	w := c.idle[n-1]
	c.idle[n-1], c.idle = nil, c.idle[:n-1]
	w.rest.Stop() // should it have fired: it finds the worker at work
	return w, nil
}

// give makes a worker idle.
func (c *crew) give(w *worker) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		w.rested, w.restCPU = time.Now(), w.cpu()
		if c.idle = append(c.idle, w); w.rest == nil {
			w.rest = time.AfterFunc(restLook, func() { c.look(w) })
		} else {
			w.rest.Reset(restLook)
		}
	}
	c.mu.Unlock()
	if closed {
		w.kill()
	}
}

// look ends a worker that is still idle and has been for long, or that is at work
// all the same.
func (c *crew) look(w *worker) {
	c.mu.Lock()
	n := slices.Index(c.idle, w)
	if n < 0 {
		c.mu.Unlock()
		return
	}
	restless, long := w.restless(), time.Since(w.rested) >= IdleMax
	if restless || long {
		c.idle = slices.Delete(c.idle, n, n+1)
		c.ending.Add(1)
		defer c.ending.Done()
	} else {
		w.rest.Reset(restLook)
	}
	c.mu.Unlock()
	switch {
	case restless:
		w.expel()
	case long:
		w.kill()
	}
}

// cpu is the time of processors that the process has used.
func (w *worker) cpu() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(int32(^w.cmd.Process.Pid)<<3|2, &t) != nil { // as clock_getcpuclockid(3) has it
		return 0 // it has ended
	}
	return time.Duration(t.Nano())
}

// restless reports whether an idle worker is at work all the same.
func (w *worker) restless() bool { return w.cpu()-w.restCPU > restCPUMax }

// expel ends a worker that no honest one is like.
func (w *worker) expel() {
	m := w.crew.m
	m.rt.opts.Log.Error("an idle worker was at work: has its guest broken out?", "digest", m.key.digest, "cpu", w.cpu()-w.restCPU)
	w.kill()
}

// trim ends the idle workers, for good when the module is closed, and reports
// whether there was one.
func (c *crew) trim(forGood bool) bool {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, c.closed || forGood
	if len(idle) > 0 {
		c.ending.Add(1)
		defer c.ending.Done()
	}
	c.mu.Unlock()
	for _, w := range idle {
		w.rest.Stop()
		w.kill()
	}
	return len(idle) > 0
}

// resting is how many instances the idle workers have.
func (c *crew) resting() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.idle {
		n += int(w.live)
	}
	return n
}

// close forgets the module, when no worker is left.
func (c *crew) close() error {
	c.ending.Wait()
	if err := c.code.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil // again
}

// spawn starts a worker and waits until it is locked down.
func (c *crew) spawn(ctx context.Context) (*worker, error) {
	r := c.m.rt
	hire := func() error { return c.staff.take(1, true) }
	err := hire()
	if err != nil {
		err = r.squeeze(c.staff, err, hire)
	}
	if err != nil {
		return nil, refusal(err, "there is no worker process for the call")
	}
	w, err := c.start()
	if err != nil {
		c.staff.give(1)
		return nil, weft.Errorf(weft.Unavailable, opCall, "a worker process of the module could not be started: %w", err)
	}
	until := time.Now().Add(workerStartMax)
	w.limit(until)
	leave := w.endWith(ctx, 0)
	err = w.greet()
	leave()
	if err == nil {
		return w, nil
	}
	w.kill()
	if ctx.Err() != nil {
		return nil, &weft.Error{Code: weft.CodeOf(ctx.Err()), Op: opCall, Err: fmt.Errorf("waiting for a worker process: %w", ctx.Err())}
	}
	r.opts.Log.Error("a worker did not start", "digest", c.m.key.digest, "error", err, "stderr", firstLine(string(w.stderr.b)))
	if errors.Is(err, errUnfiltered) {
		return nil, weft.Errorf(weft.Unavailable, opCall, "a worker process of the module was not started: %w", err).
			WithHint("run weft where seccomp is to be had, or with --workers-without-seccomp")
	}
	return nil, weft.Errorf(weft.Unavailable, opCall, "a worker process of the module did not start: %w", err)
}

// start makes the process.
func (c *crew) start() (_ *worker, err error) {
	r := c.m.rt
	nest, err := r.hatch()
	if err != nil {
		return nil, err
	}
	w := &worker{crew: c, stderr: bounded{max: workerStderrMax}, dead: make(chan struct{})}
	w.cmd = exec.Command(r.opts.Worker[0], append(slices.Clone(r.opts.Worker[1:]), r.opts.CacheDir)...)
	w.cmd.Env = []string{"GOTRACEBACK=none", "GOMAXPROCS=2", "GORACE=atexit_sleep_ms=0"} // nothing of ours, as for a check
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.cmd.ExtraFiles, w.cmd.Stderr = []*os.File{c.code}, &w.stderr
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), in.Close())
	}
	w.in, w.out, w.cmd.Stdin, w.cmd.Stdout = in, out, stdin, stdout
	w.landlock = nest.landlock
	err = nest.run(w.cmd)
	if err = errors.Join(err, stdin.Close(), stdout.Close()); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	w.frames = frames{r: bufio.NewReaderSize(out, framePiece/4), max: c.max}
	go func() {
		w.cmd.Wait() // how it ended is in ProcessState
		close(w.dead)
	}()
	return w, nil
}

var errUnfiltered = errors.New("the kernel does not filter its system calls (seccomp)")

// greet tells the worker what to serve, and hears that it is locked down.
func (w *worker) greet() error {
	if err := w.say(frame{kind: frameStart, parts: [][]byte{w.crew.order}}); err != nil {
		return w.ended(err)
	}
	f, err := w.frames.next()
	if err != nil {
		return w.ended(err)
	}
	var state locked
	if f.kind != frameReady || len(f.parts) != 1 || json.Unmarshal(f.parts[0], &state) != nil {
		return &breach{"no word of being ready"}
	}
	if state.Error != "" {
		return errors.New(strings.ToValidUTF8(state.Error, "\uFFFD"))
	}
	r := w.crew.m.rt
	if !state.Seccomp && !r.opts.Unfiltered {
		return errUnfiltered
	}
	r.noteLocks(&r.locks, "workers", state.Seccomp, w.landlock)
	return nil
}

// ended says why a worker that cannot be read or written any more is gone.
func (w *worker) ended(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	w.kill()
	return fmt.Errorf("it ended (%s): %s", w.cmd.ProcessState, firstLine(string(w.stderr.b)))
}

func (w *worker) say(f frame) error {
	w.buf = f.add(w.buf[:0])
	_, err := w.in.Write(w.buf)
	if cap(w.buf) > 16*framePiece {
		w.buf = nil
	}
	return err
}

// limit is until when the worker may be waited for.
func (w *worker) limit(t time.Time) {
	_ = w.in.SetWriteDeadline(t) // pipes have deadlines
	_ = w.out.SetReadDeadline(t)
}

// endWith has the wait for the worker end some time after ctx has. leave takes
// that back.
func (w *worker) endWith(ctx context.Context, grace time.Duration) (leave func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		w.limit(time.Now().Add(grace))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// kill ends the process and waits until it has; it may be called again.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.dead
	if w.taken >= 0 {
		w.in.Close()
		w.out.Close()
		w.crew.m.share.give(w.taken)
		w.crew.m.bytes.Add(-w.taken)
		w.crew.m.live.Add(-w.live)
		w.crew.staff.give(1)
		w.taken = -1
	}
}
