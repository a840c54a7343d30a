package wasm

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Env is what one call of a handler may reach. Its methods run on the
// goroutine of the call, one at a time. Bytes that they are handed are valid
// until they return, but those of Call and HTTP for good; bytes that they
// return are not changed. An error goes to the guest as minus its code, and to
// Log as text, unless it wraps an *Abort.
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
// dropped, and Module.Call returns Err as it is.
type Abort struct{ Err error }

func (a *Abort) Error() string { return a.Err.Error() }
func (a *Abort) Unwrap() error { return a.Err }

const hostModule = "weft/v1"

// hostFunc is one import that a guest may have.
type hostFunc struct {
	name            string
	params, results []api.ValueType
	reaches         bool // it reaches something through Env, and counts against Limits.HostCalls
	fn              func(c *call, s []uint64)
}

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

func types(t ...api.ValueType) []api.ValueType { return t }

// hostFuncs are the functions of weft/v1 that this host serves. A result of
// i64 is a length, or minus a code.
var hostFuncs = []hostFunc{
	{"input", types(i32, i32, i32), types(i32), false, func(c *call, s []uint64) {
		s[0] = c.part(c.body, s)
	}},
	{"result", types(i32, i32, i32), types(i32), false, func(c *call, s []uint64) {
		s[0] = c.part(c.kept, s)
	}},
	{"output", types(i32, i32), nil, false, func(c *call, s []uint64) {
		c.write(c.view(s[0], s[1]))
	}},
	{"header_get", types(i32, i32, i32, i32), types(i64), false, func(c *call, s []uint64) {
		v, ok := c.header(strings.ToLower(c.text(s[0], s[1])))
		s[0] = c.give([]byte(v), ok, nil, s[2], s[3])
	}},
	{"header_set", types(i32, i32, i32, i32), nil, false, func(c *call, s []uint64) {
		if c.more != nil && c.more.headed {
			stop(weft.FailedPrecondition, "header_set was called when the headers had been sent")
		}
		c.headers = c.field(c.headers, "header", s)
	}},
	{"send_headers", nil, nil, false, func(c *call, _ []uint64) { c.sendHeaders() }},
	{"trailer_set", types(i32, i32, i32, i32), nil, false, func(c *call, s []uint64) {
		x := c.exchange()
		x.trailers = c.field(x.trailers, "trailer", s)
	}},
	{"error_detail", types(i32, i32, i32, i32), nil, false, func(c *call, s []uint64) {
		c.detail(c.text(s[0], s[1]), c.view(s[2], s[3]))
	}},
	{"recv", types(i32, i32), types(i64), false, func(c *call, s []uint64) {
		v, err := c.receive()
		if err == io.EOF {
			c.kept = nil
			s[0] = minus(weft.OutOfRange)
			return
		}
		s[0] = c.give(v, true, err, s[0], s[1])
	}},
	{"send", types(i32, i32), types(i32), false, func(c *call, s []uint64) {
		s[0] = uint64(c.code(c.send(c.view(s[0], s[1]))))
	}},
	{"state_get", types(i32, i32, i32, i32), types(i64), true, func(c *call, s []uint64) {
		v, ok, err := c.env.StateGet(c.text(s[0], s[1]))
		s[0] = c.give(v, ok, err, s[2], s[3])
	}},
	{"state_set", types(i32, i32, i32, i32), types(i32), true, func(c *call, s []uint64) {
		s[0] = uint64(c.code(c.env.StateSet(c.text(s[0], s[1]), c.view(s[2], s[3]))))
	}},
	{"state_delete", types(i32, i32), types(i32), true, func(c *call, s []uint64) {
		s[0] = uint64(c.code(c.env.StateDelete(c.text(s[0], s[1]))))
	}},
	{"publish", types(i32, i32, i32, i32), types(i32), true, func(c *call, s []uint64) {
		s[0] = uint64(c.code(c.env.Publish(c.text(s[0], s[1]), c.view(s[2], s[3]))))
	}},
	{"call", types(i32, i32, i32, i32, i32, i32), types(i64), true, func(c *call, s []uint64) {
		procedure := c.text(s[0], s[1])
		v, err := c.ask(c.view(s[2], s[3]), func(ctx context.Context, request []byte) ([]byte, error) { return c.env.Call(ctx, procedure, request) })
		c.refusal = detailsOf(err)
		s[0] = c.give(v, true, err, s[4], s[5])
	}},
	{"call_detail", types(i32, i32, i32), types(i64), false, func(c *call, s []uint64) {
		var v []byte
		n := uint64(uint32(s[0]))
		there := n < uint64(len(c.refusal))
		if there {
			v = append(append([]byte(c.refusal[n].Type), 0), c.refusal[n].Value...)
		}
		s[0] = c.give(v, there, nil, s[1], s[2])
	}},
	{"http", types(i32, i32, i32, i32), types(i64), true, func(c *call, s []uint64) {
		v, err := c.askHTTP(c.view(s[0], s[1]))
		s[0] = c.give(v, true, err, s[2], s[3])
	}},
	{"config_get", types(i32, i32, i32, i32), types(i64), true, func(c *call, s []uint64) {
		v, ok, err := c.env.Config(c.text(s[0], s[1]))
		s[0] = c.give([]byte(v), ok, err, s[2], s[3])
	}},
	{"secret_get", types(i32, i32, i32, i32), types(i64), true, func(c *call, s []uint64) {
		v, err := c.env.Secret(c.text(s[0], s[1]))
		s[0] = c.give(v, true, err, s[2], s[3])
	}},
	{"deadline", nil, types(i64), false, func(c *call, s []uint64) {
		s[0] = uint64(max(0, c.remaining().Milliseconds()))
	}},
	{"log", types(i32, i32, i32), nil, false, func(c *call, s []uint64) {
		level := slog.LevelDebug + 4*slog.Level(min(uint32(s[0]), 3)) // 0 debug, 1 info, 2 warn, 3 error
		c.log(level, string(c.view(s[1], uint64(min(uint32(s[2]), uint32(c.i.m.limits.LogBytes))))))
	}},
}

// meterOptions are the same in the host and in the child that checks.
var meterOptions = sync.OnceValue(func() meter.Options {
	all := map[string]meter.Signature{}
	for _, f := range hostFuncs {
		all[hostModule+"."+f.name] = meter.Signature{Params: f.params, Results: f.results}
	}
	for _, f := range extismFuncs {
		all[extismModule+"."+f.name] = meter.Signature{Params: f.params, Results: f.results}
	}
	ctx := context.Background()
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer engine.Close(ctx)
	wasi, err := wasi_snapshot_preview1.NewBuilder(engine).Compile(ctx)
	if err != nil {
		panic(err) // a module that ships with wazero: only a broken build gets here
	}
	for name, f := range wasi.ExportedFunctions() {
		all[wasi_snapshot_preview1.ModuleName+"."+name] = meter.Signature{Params: f.ParamTypes(), Results: f.ResultTypes()}
	}
	return meter.Options{Imports: all}
})

// installHost puts all that guests may import into an engine.
func installHost(ctx context.Context, engine wazero.Runtime) error {
	for name, funcs := range map[string][]hostFunc{hostModule: hostFuncs, extismModule: extismFuncs} {
		host := engine.NewHostModuleBuilder(name)
		for _, f := range funcs {
			host = host.NewFunctionBuilder().WithGoModuleFunction(f.guarded(), f.params, f.results).Export(f.name)
		}
		if _, err := host.Instantiate(ctx); err != nil {
			return err
		}
	}
	rt := engine.NewHostModuleBuilder(meter.TickModule)
	rt = rt.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(tick), nil, nil).Export(meter.TickName)
	if _, err := rt.Instantiate(ctx); err != nil {
		return err
	}
	return installWASI(ctx, engine)
}

// passing are the functions of WASI that leave nothing behind in the host which
// a later call of the same instance could see. Others open, close or move files.
var passing = map[string]bool{"args_get": true, "args_sizes_get": true, "environ_get": true, "environ_sizes_get": true, "clock_res_get": true,
	"clock_time_get": true, "fd_fdstat_get": true, "fd_filestat_get": true, "fd_prestat_get": true, "fd_prestat_dir_name": true, "fd_write": true,
	"poll_oneoff": true, "proc_exit": true, "random_get": true, "sched_yield": true}

// quick are those that take no longer than a few instructions: they are paid, and
// nobody looks at the clock for them. Go asks for the time in each call.
var quick = map[string]bool{"clock_res_get": true, "clock_time_get": true, "sched_yield": true}

// lengths are those whose work is as long as a guest says: by which argument, and what
// one of it costs in fuel. A random byte takes as long as an instruction.
var lengths = map[string]struct {
	argument int
	cost     int64
}{"random_get": {1, 1}, "poll_oneoff": {2, costHostCall}, "fd_write": {2, 8}, "fd_read": {2, 8}, "fd_pwrite": {2, 8}, "fd_pread": {2, 8}, "sock_recv": {2, 8}, "sock_send": {2, 8}}

// badFile is WASI's word for a file that is not there (EBADF).
const badFile = 8

// installWASI offers wazero's WASI with a look at the clock after each call of most:
// one of them may take as long as guest memory is large.
func installWASI(ctx context.Context, engine wazero.Runtime) error {
	wasi, err := wasi_snapshot_preview1.NewBuilder(engine).Compile(ctx)
	if err != nil {
		return err
	}
	host := engine.NewHostModuleBuilder(wasi_snapshot_preview1.ModuleName)
	for name, f := range wasi.ExportedFunctions() {
		fn := f.GoFunction().(api.GoModuleFunction).Call
		touches, quick, length := !passing[name], quick[name], lengths[name]
		// There is no folder that a path could begin at, and a path may be as long as memory; of
		// files of its own a guest has none, and the engine panics over the times of others.
		if strings.HasPrefix(name, "path_") || name == "fd_filestat_set_times" {
			fn = func(_ context.Context, _ api.Module, s []uint64) { s[0] = badFile }
		}
		guarded := api.GoModuleFunc(func(ctx context.Context, m api.Module, s []uint64) {
			c := callOf(ctx)
			c.charge(costHostCall)
			if quick {
				fn(ctx, m, s)
				return
			}
			c.start()
			if length.cost > 0 {
				c.charge(int64(uint32(s[length.argument])) * length.cost)
			}
			c.i.touched = c.i.touched || touches
			fn(ctx, m, s)
			c.look()
		})
		if name == "fd_write" { // which logs
			guarded = returning(guarded)
		}
		host = host.NewFunctionBuilder().WithGoModuleFunction(guarded, f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	_, err = host.Instantiate(ctx)
	return err
}

// guarded charges for the call and counts it against its limit before it is
// served.
func (f hostFunc) guarded() api.GoModuleFunc {
	serve := func(ctx context.Context, m api.Module, s []uint64) {
		c := callOf(ctx)
		c.charge(costHostCall)
		if f.reaches {
			c.admit(f.name)
		}
		f.fn(c, s)
	}
	if f.reaches || foreign[f.name] || strings.HasPrefix(f.name, "log") {
		return returning(serve)
	}
	return serve
}

// foreign are the functions in which something of the caller's runs, beside those that
// reach something through Env and those that log.
var foreign = map[string]bool{"header_get": true, "recv": true, "send": true, "send_headers": true}

// returning ends the call when something of the caller's does not return but ends the
// goroutine, by runtime.Goexit: then nobody comes back to end it.
func returning(serve api.GoModuleFunc) api.GoModuleFunc {
	return func(ctx context.Context, m api.Module, s []uint64) {
		returned := false
		defer func() {
			if returned {
				return
			}
			if r := recover(); r != nil {
				panic(r)
			}
			callOf(ctx).abandon()
		}()
		serve(ctx, m, s)
		returned = true
	}
}

// abandon ends a call whose goroutine ends. Who makes an instance, or drives one, does it
// without.
func (c *call) abandon() {
	if c.starting || c.guest != nil {
		return
	}
	i := c.i
	i.broken = true
	c.finish()
	i.m.give(i)
}

// admit refuses a call to what lies behind Env when there were too many, or
// when there is nothing behind it.
func (c *call) admit(name string) {
	if c.starting || c.env == nil {
		outsideHandler(name)
	}
	c.start()
	limit := c.i.m.limits.HostCalls
	if c.hostCalls++; c.hostCalls > limit {
		exceed(LimitHostCalls, "the handler made more calls to the host than its limit of %d", limit)
	}
}

func outsideHandler(name string) {
	stop(weft.FailedPrecondition, "%s was called outside a handler: _initialize reaches nothing", name)
}
