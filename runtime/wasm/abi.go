package wasm

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Env is what one call of a handler may reach. Its methods run on the goroutine
// of the call, one at a time. An error goes to the guest as minus its code,
// unless it wraps an *Abort.
type Env interface {
	StateGet(key string) (value []byte, ok bool, err error)
	StateSet(key string, value []byte) error
	StateDelete(key string) error
	Publish(eventType string, data []byte) error
	Call(ctx context.Context, procedure string, request []byte) ([]byte, error)
	HTTP(ctx context.Context, request []byte) ([]byte, error)
	Config(key string) (string, bool, error)
	Secret(name string) ([]byte, error)
	Log(level slog.Level, message string)
}

// Abort ends a call at once: the guest does not run on, its instance is
// dropped, and Module.Call returns Err.
type Abort struct{ Err error }

func (a *Abort) Error() string { return a.Err.Error() }
func (a *Abort) Unwrap() error { return a.Err }

// Bounds of one call that no module can change.
const (
	KeyMax    = 1 << 10   // bytes of a key, a header, an event type or a procedure
	HeaderMax = 100       // headers that a handler sets
	LogMax    = 64 << 10  // bytes that a handler logs
	slice     = 1_000_000 // fuel between two looks at the clock, about a millisecond
)

const (
	levelInfo = slog.LevelInfo
	levelWarn = slog.LevelWarn
)

// call is one invocation as the host functions see it. It is the context that
// wazero hands them, so that they find it without a search.
type call struct {
	context.Context
	i          *instance
	env        Env
	in         Input
	out        []byte
	outHeaders map[string]string
	kept       []byte // a result that did not fit, for result()
	deadline   time.Time
	hostCalls  int
	logged     int
	spent      int64 // fuel of slices that are used up
	starting   bool  // in _initialize, which reaches nothing
	last       string
}

func (c *call) begin(i *instance, ctx context.Context, env Env, in Input) {
	limits := &i.m.limits
	deadline := time.Now().Add(time.Duration(limits.TimeoutMS) * time.Millisecond)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	out := c.out[:0]
	if cap(out) > 64<<10 {
		out = nil
	}
	*c = call{Context: ctx, i: i, env: env, in: in, out: out, deadline: deadline}
}

// finish drops what belongs to the caller.
func (c *call) finish() {
	c.Context, c.env, c.in, c.outHeaders, c.kept = context.Background(), nil, Input{}, nil, nil
}

type callKey struct{}

// Value finds the call itself; wazero and WASI wrap the context at times.
func (c *call) Value(key any) any {
	if _, ok := key.(callKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func callOf(ctx context.Context) *call {
	if c, ok := ctx.(*call); ok {
		return c
	}
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// stopped unwinds a guest that must not run on.
type stopped struct{ err error }

func (s *stopped) Error() string { return s.err.Error() }

func stop(code weft.Code, format string, args ...any) {
	panic(&stopped{weft.Errorf(code, "wasm.Module.Call", format, args...)})
}

// look stops a guest whose time is up or whose caller has gone.
func (c *call) look() {
	if err := c.Err(); err != nil {
		panic(&stopped{&weft.Error{Code: weft.CodeOf(err), Op: "wasm.Module.Call", Err: err}})
	}
	if time.Now().After(c.deadline) {
		stop(weft.DeadlineExceeded, "the handler was not done in time: its limit is %d ms", c.i.m.limits.TimeoutMS)
	}
}

// tick is called by metered code whenever a slice of fuel is used up.
func tick(ctx context.Context, _ api.Module, _ []uint64) {
	c := callOf(ctx)
	if c == nil {
		stop(weft.Internal, "metered code ran outside a call")
	}
	c.spent += slice
	if limit := c.i.m.limits.CPUMS; c.spent > limit*slice {
		stop(weft.ResourceExhausted, "the handler computed too long: its limit is %d ms of fuel", limit)
	}
	c.look()
	c.i.fuel.Set(slice)
}

// message is what the guest wrote before it returned a code.
func (c *call) message(code weft.Code) string {
	if len(c.out) == 0 {
		return code.String()
	}
	return strings.ToValidUTF8(string(c.out), "\uFFFD")
}

// hostFunc is one import that a guest may have.
type hostFunc struct {
	name            string
	params, results []api.ValueType
	fn              func(c *call, m api.Module, s []uint64)
}

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

func types(t ...api.ValueType) []api.ValueType { return t }

// hostFuncs are the functions of weft/v1 that this host serves: docs/ABI.md.
var hostFuncs = []hostFunc{
	{"input", types(i32, i32, i32), types(i32), func(c *call, m api.Module, s []uint64) { s[0] = part(m, c.in.Body, s) }},
	{"result", types(i32, i32, i32), types(i32), func(c *call, m api.Module, s []uint64) { s[0] = part(m, c.kept, s) }},
	{"output", types(i32, i32), nil, func(c *call, m api.Module, s []uint64) {
		b := view(m, s[0], s[1])
		if limit := c.i.m.limits.OutputBytes; len(c.out)+len(b) > limit {
			stop(weft.ResourceExhausted, "the handler's output is over its limit of %d bytes", limit)
		}
		c.out = append(c.out, b...)
	}},
	{"header_get", types(i32, i32, i32, i32), types(i64), func(c *call, m api.Module, s []uint64) {
		v, ok := c.in.Headers[strings.ToLower(text(m, s[0], s[1]))]
		s[0] = c.give(m, []byte(v), ok, nil, s[2], s[3])
	}},
	{"header_set", types(i32, i32, i32, i32), nil, func(c *call, m api.Module, s []uint64) {
		if len(c.outHeaders) >= HeaderMax {
			stop(weft.ResourceExhausted, "the handler set more than %d headers", HeaderMax)
		}
		if c.outHeaders == nil {
			c.outHeaders = map[string]string{}
		}
		c.outHeaders[strings.ToLower(text(m, s[0], s[1]))] = text(m, s[2], s[3])
	}},
	{"state_get", types(i32, i32, i32, i32), types(i64), func(c *call, m api.Module, s []uint64) {
		v, ok, err := c.env.StateGet(text(m, s[0], s[1]))
		s[0] = c.give(m, v, ok, err, s[2], s[3])
	}},
	{"state_set", types(i32, i32, i32, i32), types(i32), func(c *call, m api.Module, s []uint64) {
		s[0] = c.code(c.env.StateSet(text(m, s[0], s[1]), view(m, s[2], s[3])))
	}},
	{"state_delete", types(i32, i32), types(i32), func(c *call, m api.Module, s []uint64) {
		s[0] = c.code(c.env.StateDelete(text(m, s[0], s[1])))
	}},
	{"publish", types(i32, i32, i32, i32), types(i32), func(c *call, m api.Module, s []uint64) {
		s[0] = c.code(c.env.Publish(text(m, s[0], s[1]), view(m, s[2], s[3])))
	}},
	{"call", types(i32, i32, i32, i32, i32, i32), types(i64), func(c *call, m api.Module, s []uint64) {
		ctx, cancel := c.outside()
		defer cancel()
		v, err := c.env.Call(ctx, text(m, s[0], s[1]), append([]byte(nil), view(m, s[2], s[3])...))
		s[0] = c.give(m, v, true, err, s[4], s[5])
	}},
	{"http", types(i32, i32, i32, i32), types(i64), func(c *call, m api.Module, s []uint64) {
		ctx, cancel := c.outside()
		defer cancel()
		v, err := c.env.HTTP(ctx, append([]byte(nil), view(m, s[0], s[1])...))
		s[0] = c.give(m, v, true, err, s[2], s[3])
	}},
	{"config_get", types(i32, i32, i32, i32), types(i64), func(c *call, m api.Module, s []uint64) {
		v, ok, err := c.env.Config(text(m, s[0], s[1]))
		s[0] = c.give(m, []byte(v), ok, err, s[2], s[3])
	}},
	{"secret_get", types(i32, i32, i32, i32), types(i64), func(c *call, m api.Module, s []uint64) {
		v, err := c.env.Secret(text(m, s[0], s[1]))
		s[0] = c.give(m, v, true, err, s[2], s[3])
	}},
	{"deadline", nil, types(i64), func(c *call, _ api.Module, s []uint64) {
		s[0] = uint64(max(0, c.remaining().Milliseconds()))
	}},
	{"log", types(i32, i32, i32), nil, func(c *call, m api.Module, s []uint64) {
		level := slog.LevelDebug + 4*slog.Level(min(uint32(s[0]), 3)) // 0 debug, 1 info, 2 warn, 3 error
		c.log(level, string(view(m, s[1], uint64(min(uint32(s[2]), LogMax)))))
	}},
}

// allowed is every function that a module may import, with its signature.
var allowed = sync.OnceValue(func() map[string]meter.Signature {
	all := map[string]meter.Signature{}
	for _, f := range hostFuncs {
		all["weft/v1."+f.name] = meter.Signature{Params: f.params, Results: f.results}
	}
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer rt.Close(ctx)
	wasi, err := wasi_snapshot_preview1.NewBuilder(rt).Compile(ctx)
	if err != nil {
		panic(err) // a module that ships with wazero: only a broken build gets here
	}
	for name, f := range wasi.ExportedFunctions() {
		all[wasi_snapshot_preview1.ModuleName+"."+name] = meter.Signature{Params: f.ParamTypes(), Results: f.ResultTypes()}
	}
	return all
})

func meterOptions() meter.Options { return meter.Options{Imports: allowed()} }

func installHost(ctx context.Context, rt wazero.Runtime) error {
	b := rt.NewHostModuleBuilder("weft/v1")
	for _, f := range hostFuncs {
		b = b.NewFunctionBuilder().WithGoModuleFunction(f.guarded(), f.params, f.results).Export(f.name)
	}
	_, err := b.Instantiate(ctx)
	if err != nil {
		return err
	}
	_, err = rt.NewHostModuleBuilder(meter.TickModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(tick), nil, nil).Export(meter.TickName).Instantiate(ctx)
	return err
}

// guarded counts the call against its limit before it is served.
func (f hostFunc) guarded() api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, s []uint64) {
		c := callOf(ctx)
		if c == nil || c.starting && f.name != "log" {
			stop(weft.FailedPrecondition, "%s was called outside a handler", f.name)
		}
		if c.hostCalls++; c.hostCalls > c.i.m.limits.HostCalls && f.name != "input" && f.name != "output" && f.name != "result" {
			stop(weft.ResourceExhausted, "the handler made more than %d calls to the host, its limit", c.i.m.limits.HostCalls)
		}
		if c.hostCalls&63 == 0 {
			c.look()
		}
		f.fn(c, m, s)
	}
}

// view is guest memory, valid until the guest runs again. Any pointer will do
// when the length is zero.
func view(m api.Module, ptr, n uint64) []byte {
	if uint32(n) == 0 {
		return nil
	}
	if mem := m.Memory(); mem != nil {
		if b, ok := mem.Read(uint32(ptr), uint32(n)); ok {
			return b
		}
	}
	stop(weft.Internal, "the handler passed %d bytes at %#x, which is outside its memory", uint32(n), uint32(ptr))
	return nil
}

// text is a short string of the guest's.
func text(m api.Module, ptr, n uint64) string {
	if uint32(n) > KeyMax {
		stop(weft.InvalidArgument, "the handler passed a name of %d bytes, the limit is %d", uint32(n), KeyMax)
	}
	return string(view(m, ptr, n))
}

// part copies src from an offset into the guest, for input and result: s is
// dst, cap, off.
func part(m api.Module, src []byte, s []uint64) uint64 {
	off := uint64(uint32(s[2]))
	if off >= uint64(len(src)) {
		return 0
	}
	src = src[off:]
	src = src[:min(uint64(len(src)), uint64(uint32(s[1])))]
	return uint64(copy(view(m, s[0], uint64(len(src))), src))
}

// give answers a guest with v: its length, or minus a code. What does not fit
// is kept for result.
func (c *call) give(m api.Module, v []byte, ok bool, err error, dst, capacity uint64) uint64 {
	if err != nil {
		return -c.code(err)
	}
	if !ok {
		return negative(weft.NotFound)
	}
	if c.kept = nil; uint64(len(v)) > uint64(uint32(capacity)) {
		c.kept = v
	} else {
		copy(view(m, dst, uint64(len(v))), v)
	}
	return uint64(len(v))
}

func negative(code weft.Code) uint64 { return -uint64(code) }

// code is err as a guest sees it; an Abort ends the call.
func (c *call) code(err error) uint64 {
	if err == nil {
		return 0
	}
	var abort *Abort
	if errors.As(err, &abort) {
		panic(&stopped{abort.Err})
	}
	c.log(slog.LevelWarn, err.Error())
	return uint64(weft.CodeOf(err))
}

// outside is the context of a call to the outside: it ends with this call.
func (c *call) outside() (context.Context, context.CancelFunc) {
	c.look()
	return context.WithDeadline(c.Context, c.deadline)
}

// log hands a line to the caller, up to a limit.
func (c *call) log(level slog.Level, message string) {
	if c.logged > LogMax {
		return
	}
	if c.logged += len(message) + 16; c.logged > LogMax {
		message = "the handler logs more than its limit: the rest is dropped"
	}
	if !strings.HasPrefix(c.last, "panic:") { // what follows is only where
		c.last = message
	}
	c.env.Log(level, strings.ToValidUTF8(message, "\uFFFD"))
}

// lastLine is the last thing that the guest logged, which often says why it trapped.
func (c *call) lastLine() string {
	if c.last == "" {
		return ""
	}
	return " (it last wrote: " + firstLine(c.last) + ")"
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s[:min(len(s), 500)]
}

// lines turns what a guest writes to stdout or stderr into log lines.
type lines struct {
	c     *call
	level slog.Level
	rest  []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := strings.Cut(string(l.rest), "\n")
		if !ok {
			break
		}
		l.rest = append(l.rest[:0], rest...)
		if line != "" && l.c.env != nil {
			l.c.log(l.level, line)
		}
	}
	if len(l.rest) > 4096 {
		l.rest = l.rest[:0]
	}
	return len(p), nil
}
