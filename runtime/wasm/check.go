package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// ManifestSection names the custom section that holds a weft.Manifest as JSON.
const ManifestSection = "weft.manifest"

// Report is what a check found in a module.
type Report struct {
	Digest   string         `json:"digest"`   // sha256 of the upload, lower-case hex
	Size     int64          `json:"size"`     // bytes of the upload
	Imports  []string       `json:"imports"`  // such as weft/v1.call, sorted
	Handlers []string       `json:"handlers"` // exported functions (i32) -> i32, sorted
	Manifest *weft.Manifest `json:"manifest,omitempty"`
}

// Limits of the child that checks an upload.
const (
	checkMemoryMax = 3 << 30 // bytes of address space
	checkCPUMax    = 20      // seconds of processor time
	checkOutputMax = 4 << 20 // bytes of its report
)

// Check validates and compiles an upload in a child process; nothing of it
// runs, and whatever it does to the child leaves this process unharmed. A
// module that is refused is InvalidArgument, one over a limit
// ResourceExhausted; the message names the cause.
func (r *Runtime) Check(ctx context.Context, wasm []byte) (Report, error) {
	const op = "wasm.Runtime.Check"
	if len(wasm) > r.opts.ModuleMax {
		return Report{}, weft.Errorf(weft.ResourceExhausted, op, "the module has %d bytes, the limit is %d", len(wasm), r.opts.ModuleMax).
			WithHint("strip debug information, for Go with -ldflags='-s -w'")
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.CheckMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.opts.Check[0], append(slices.Clone(r.opts.Check[1:]), r.opts.CacheDir)...)
	var out, errOut bounded
	out.max, errOut.max = checkOutputMax, 64<<10
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(wasm), &out, &errOut
	cmd.Env = append(os.Environ(), "GOTRACEBACK=none", "GOMAXPROCS=1")
	err := cmd.Run()
	var a answer
	if json.Unmarshal(out.Bytes(), &a) == nil && (a.Report != nil || a.Error != "") {
		if a.Report == nil {
			return Report{}, &weft.Error{Code: a.Code, Op: op, Err: errors.New(a.Error)}
		}
		return *a.Report, nil
	}
	if ctx.Err() != nil {
		return Report{}, weft.Errorf(weft.ResourceExhausted, op, "the module was not checked within %s", r.opts.CheckMax)
	}
	return Report{}, weft.Errorf(weft.ResourceExhausted, op, "the module cannot be compiled within the limits (%d GiB of memory, %d s of processor time): %s",
		checkMemoryMax>>30, checkCPUMax, deathOf(err, errOut.String()))
}

// deathOf says how the child ended.
func deathOf(err error, stderr string) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		if err == nil {
			return "the check gave no report"
		}
		return "the check could not be started: " + err.Error()
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		if s := status.Signal(); s == syscall.SIGXCPU || s == syscall.SIGKILL {
			return "it took too much processor time"
		}
		return "the check ended by signal " + status.Signal().String()
	}
	if strings.Contains(stderr, "out of memory") || strings.Contains(stderr, "cannot allocate") || strings.Contains(stderr, "cannot reserve") {
		return "it took too much memory"
	}
	return "the check ended with code " + strconv.Itoa(exit.ExitCode()) + ": " + firstLine(stderr)
}

// bounded is a buffer that drops what is over max.
type bounded struct {
	bytes.Buffer
	max int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.max - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// answer is what the child writes.
type answer struct {
	Report *Report   `json:"report,omitempty"`
	Code   weft.Code `json:"code,omitempty"`
	Error  string    `json:"error,omitempty"`
}

// CheckMain is the child: it limits itself, reads a module from standard
// input, compiles it into the cache whose folder is its last argument, writes
// its answer to standard output and exits.
func CheckMain() {
	var a answer
	report, err := checkSelf(os.Args[len(os.Args)-1])
	if err != nil {
		a.Code, a.Error = weft.CodeOf(err), err.Error()
	} else {
		a.Report = &report
	}
	if json.NewEncoder(os.Stdout).Encode(a) != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

func checkSelf(cacheDir string) (Report, error) {
	for resource, max := range map[int]uint64{unix.RLIMIT_AS: checkMemoryMax, unix.RLIMIT_CPU: checkCPUMax, unix.RLIMIT_CORE: 0} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: max, Max: max}); err != nil {
			return Report{}, weft.Errorf(weft.Internal, "wasm.CheckMain", "limit the check: %w", err)
		}
	}
	wasm, err := io.ReadAll(os.Stdin)
	if err != nil {
		return Report{}, weft.Errorf(weft.Internal, "wasm.CheckMain", "read the module: %w", err)
	}
	metered, info, err := meter.Rewrite(wasm, meterOptions())
	if err != nil {
		return Report{}, err
	}
	report, err := reportOf(wasm, info)
	if err != nil {
		return Report{}, err
	}
	ctx := context.Background()
	rt, _, err := newRuntime(ctx, cacheDir)
	if err != nil {
		return Report{}, err
	}
	if _, err := rt.CompileModule(ctx, metered); err != nil {
		return Report{}, weft.Errorf(weft.InvalidArgument, "wasm.CheckMain", "the module is not valid: %w", err)
	}
	return report, nil
}

func reportOf(wasm []byte, info meter.Info) (Report, error) {
	sum := sha256.Sum256(wasm)
	r := Report{Digest: hex.EncodeToString(sum[:]), Size: int64(len(wasm)), Handlers: handlersOf(info)}
	for _, i := range info.Imports {
		r.Imports = append(r.Imports, i.Module+"."+i.Name)
	}
	slices.Sort(r.Imports)
	r.Imports = slices.Compact(r.Imports)
	if data, ok := info.Customs[ManifestSection]; ok {
		m, err := ParseManifest(data)
		if err != nil {
			return r, err
		}
		r.Manifest = m
	}
	return r, nil
}

// ParseManifest reads a manifest; a field that it does not know is an error.
func ParseManifest(data []byte) (*weft.Manifest, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	m := &weft.Manifest{}
	if err := d.Decode(m); err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "wasm.ParseManifest", "the manifest is not as docs/ABI.md describes it: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, weft.Errorf(weft.InvalidArgument, "wasm.ParseManifest", "the manifest goes on after its end")
	}
	return m, nil
}

// handlersOf lists the exports that can be called as handlers, sorted.
func handlersOf(info meter.Info) []string {
	var names []string
	for _, e := range info.Exports {
		if slices.Equal(e.Signature.Params, types(api.ValueTypeI32)) && slices.Equal(e.Signature.Results, types(api.ValueTypeI32)) {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names
}

// AppendSection adds a custom section to a module.
func AppendSection(wasm []byte, name string, data []byte) []byte {
	return meter.AppendCustom(wasm, name, data)
}
