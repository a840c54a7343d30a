package wasm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Limits of the child that checks an upload.
const (
	checkMemoryMax = 2 << 30          // bytes of address space
	checkHeapMax   = 1 << 30          // bytes from where on its garbage collector works hard
	checkCPUMax    = 20 * time.Second // of processor time; 14 MiB of Go take half of it
	checkFileMax   = 512 << 20        // bytes of one file, such as of compiled code
	checkSaysMax   = 4 << 20          // bytes of its verdict
	checkStderrMax = 64 << 10
	checksWaitMax  = 1_000 // checks that wait for others
)

// Check validates and compiles an upload in a child process; nothing of it
// runs, and whatever it does to the child leaves this process unharmed. When
// ChecksMax are in progress it waits for its turn. A module that is refused
// is InvalidArgument, one over a limit ResourceExhausted; the message names
// the cause.
func (r *Runtime) Check(ctx context.Context, wasm []byte) (Report, error) {
	return r.CheckFor(ctx, "", wasm)
}

// CheckFor is Check of an upload to a namespace, whose turn it waits for.
func (r *Runtime) CheckFor(ctx context.Context, ns string, wasm []byte) (Report, error) {
	const op = "wasm.Runtime.Check"
	if len(wasm) > r.opts.ModuleMax {
		return Report{}, weft.Errorf(weft.ResourceExhausted, op, "the module has %d bytes, the limit is %d", len(wasm), r.opts.ModuleMax).
			WithHint("strip debug information, for Go with -ldflags='-s -w'")
	}
	report, err := r.check(ctx, ns, wasm)
	if err != nil {
		return Report{}, err
	}
	return report, fits(op, report.memoryPages(), report.Table, r.opts.Limits)
}

// check runs the child, when fewer than ChecksMax run, and understands how it
// ended.
func (r *Runtime) check(ctx context.Context, ns string, wasm []byte) (Report, error) {
	switch err := r.checks.enter(ctx, ns, nil); {
	case errors.Is(err, errFull):
		return Report{}, weft.Errorf(weft.ResourceExhausted, "wasm.Runtime.Check", "the module cannot be checked now: %w", err).WithHint("try it again later")
	case err != nil:
		return Report{}, &weft.Error{Code: weft.CodeOf(err), Op: "wasm.Runtime.Check", Err: fmt.Errorf("waiting for other uploads to be checked: %w", err)}
	}
	defer r.checks.leave(ns)
	cell, err := newCell(r.opts.CacheDir)
	if err != nil {
		return Report{}, err
	}
	defer func() {
		if err := cell.remove(); err != nil {
			r.opts.Log.Warn("what was left of a check of an upload cannot be removed", "error", err)
		}
	}()
	within, cancel := context.WithTimeout(ctx, r.opts.CheckMax)
	defer cancel()
	cmd := exec.CommandContext(within, r.opts.Check[0], append(slices.Clone(r.opts.Check[1:]), r.codeDir, cell.path)...)
	out, stderr := &bounded{max: checkSaysMax}, &bounded{max: checkStderrMax}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(wasm), out, stderr
	// It needs nothing of ours, secrets least of all. A build with the race
	// detector would sleep for a second at its end.
	cmd.Env = []string{"GOTRACEBACK=none", "GOMAXPROCS=1", "GORACE=atexit_sleep_ms=0"}
	cmd.WaitDelay = time.Second
	landlock, err := r.runLocked(cmd, cell)
	var a verdict
	if json.Unmarshal(out.b, &a) != nil || a.Error == "" && (!a.Valid || err != nil) {
		return Report{}, r.deathOf(ctx, within, cmd, err, string(stderr.b))
	}
	r.noteLocks(&r.checkLocks, "checks of uploads", a.Seccomp, landlock)
	if a.Error != "" {
		return Report{}, &weft.Error{Code: a.Code, Op: "wasm.CheckMain", Err: errors.New(a.Error), Hint: a.Hint}
	}
	return r.accept(wasm, cell)
}

// accept believes of a check that the module is valid, and nothing more: what the module is,
// and which code is its own, is found out here.
func (r *Runtime) accept(wasm []byte, c *cell) (Report, error) {
	metered, info, err := meter.Rewrite(wasm, meterOptions())
	if err != nil {
		return Report{}, err
	}
	report, err := reportOf(wasm, info)
	if err != nil {
		return Report{}, err
	}
	return report, r.keep(c, metered)
}

// deathOf says how a child ended that left no verdict.
func (r *Runtime) deathOf(ctx, within context.Context, cmd *exec.Cmd, err error, stderr string) error {
	const op, tooBig = "wasm.Runtime.Check", "the module cannot be compiled within the limits of an upload: "
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return &weft.Error{Code: weft.CodeOf(ctx.Err()), Op: op, Err: fmt.Errorf("the check of the module was stopped: %w", ctx.Err())}
	case within.Err() != nil:
		return weft.Errorf(weft.ResourceExhausted, op, tooBig+"it took longer than %s", r.opts.CheckMax)
	case err == nil:
		return weft.Errorf(weft.Internal, op, "the child that checks uploads (%s) gave no verdict", r.opts.Check[0])
	case !errors.As(err, &exit):
		return weft.Errorf(weft.Unavailable, op, "the child that checks uploads could not be run: %w", err)
	case strings.Contains(stderr, "out of memory") || strings.Contains(stderr, "cannot allocate") || strings.Contains(stderr, "failed to reserve"):
		return weft.Errorf(weft.ResourceExhausted, op, tooBig+"it took more than %d MiB of memory", checkMemoryMax>>20)
	case cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime() >= checkCPUMax-time.Second: // the kernel rounds
		return weft.Errorf(weft.ResourceExhausted, op, tooBig+"it took more than %s of processor time", checkCPUMax)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		return weft.Errorf(weft.ResourceExhausted, op, tooBig+"the system killed the check, perhaps for want of memory")
	}
	return weft.Errorf(weft.InvalidArgument, op, "the compiler broke down over the module (%s): %s", exit, firstLine(stderr))
}

// bounded keeps the first max bytes that are written to it.
type bounded struct {
	b   []byte
	max int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.b = append(b.b, p[:min(len(p), b.max-len(b.b))]...)
	return len(p), nil
}

// verdict is what the child writes.
type verdict struct {
	Valid bool      `json:"valid,omitempty"`
	Code  weft.Code `json:"code,omitempty"`
	Error string    `json:"error,omitempty"`
	Hint  string    `json:"hint,omitempty"`

	Seccomp bool `json:"seccomp,omitempty"` // the child could filter its system calls
}

// CheckMain is the child: it limits and locks itself, reads a module from standard
// input, compiles it into the folder that is its last argument, writes its verdict to
// standard output and exits. The argument before is where compiled code is kept: what is
// there is not compiled again.
func CheckMain() {
	var v verdict
	seccomp, err := lockCheck()
	if err == nil {
		err = checkSelf(os.Args[len(os.Args)-2], os.Args[len(os.Args)-1])
	}
	v.Seccomp = seccomp
	var refused *weft.Error
	switch {
	case err == nil:
		v.Valid = true
	case errors.As(err, &refused):
		v.Code, v.Error, v.Hint = refused.Code, refused.Err.Error(), refused.Hint
	default:
		v.Code, v.Error = weft.Internal, err.Error()
	}
	if json.NewEncoder(os.Stdout).Encode(v) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func checkSelf(codeDir, folder string) error {
	wasm, err := io.ReadAll(os.Stdin)
	if err != nil {
		return weft.Errorf(weft.Internal, "wasm.CheckMain", "read the module: %w", err)
	}
	metered, info, err := meter.Rewrite(wasm, meterOptions())
	if err != nil {
		return err
	}
	if _, err := reportOf(wasm, info); err != nil {
		return err
	}
	// It may be seen that a file is there, but not what is in it.
	if inCache(codeDir, entryOf(metered)) {
		return nil
	}
	ctx := context.Background()
	engine, _, err := newEngine(ctx, folder)
	if err != nil {
		return err
	}
	if _, err := engine.CompileModule(ctx, metered); err != nil {
		// The engine counts functions, and the upload has one less.
		if _, own := engine.CompileModule(ctx, wasm); own != nil {
			err = own
		}
		return weft.Errorf(weft.InvalidArgument, "wasm.CheckMain", "the module is not valid: %w", err)
	}
	return nil
}

// limitSelf bounds this process. What it compiles must be written to the
// folder of the check, so files are bounded by their size.
func limitSelf() error {
	debug.SetMemoryLimit(checkHeapMax)
	for resource, max := range map[int]uint64{unix.RLIMIT_AS: checkMemoryMax, unix.RLIMIT_CPU: uint64(checkCPUMax.Seconds()), unix.RLIMIT_FSIZE: checkFileMax, unix.RLIMIT_CORE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: max, Max: max}); err != nil {
			return weft.Errorf(weft.Internal, "wasm.CheckMain", "limit the check: %w", err)
		}
	}
	return nil
}
