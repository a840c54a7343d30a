package wasm

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// instance is one guest with its memory; it serves one call at a time.
type instance struct {
	m        *Module
	involved bool // each call has more to do before and after it than most have
	mod      api.Module
	export   string             // the handler that it is to run
	f        api.Function       // of it
	exports  []api.Function     // by Module.handlers; nil until it is called
	handler  int                // the place of f in it
	ready    int                // how many of them are not nil
	memory   *linear            // nil without one
	mailbox  *[mailboxSize]byte // nil without one; a part of memory
	fuel     api.MutableGlobal
	depth    api.MutableGlobal
	no       api.MutableGlobal
	touch    api.MutableGlobal   // of an isolated module, as the next three
	numbers  []api.MutableGlobal // the guest's own
	image    *image              // what it begins each call with; nil: it serves one
	touched  bool                // it may have changed state of the host's WASI
	written  [2]lines            // stdout and stderr
	call     call
	stack    [4]uint64
	atStart  int    // bytes of memory after it was made
	share    *share // of the memory of all guests, that this one takes from
	held     int64  // bytes of tables and segments that count as memory of all guests
	uses     int
	counted  int       // of them, those that Module.calls has
	turn     int       // it is given back without a look while it has fewer uses
	covered  time.Time // since when others are used before it, roughly; while it is idle
	broken   bool      // it must not be called again
}

// instantiate makes an instance; its start function and _initialize run
// within the limits of a call.
func (m *Module) instantiate(ctx context.Context, env Env, s *share) (*instance, error) {
	i := &instance{m: m, share: s, exports: make([]api.Function, len(m.handlers))}
	c := &i.call
	c.i = i
	c.begin(ctx, env, &Input{})
	c.starting, c.asked = true, true
	made := false
	defer func() {
		c.finish()
		if !made {
			i.close()
		}
	}()
	if c.spent = m.making; c.spent > m.limits.Fuel {
		m.over(LimitFuel)
		return nil, weft.Errorf(weft.ResourceExhausted, opCall, "an instance of the module burns %d to be made, and may %d (%w)", c.spent, m.limits.Fuel, LimitFuel).
			WithHint("have fewer segments, globals and places in tables, or raise limits.fuel")
	}
	if held := int64(m.references); held > 0 {
		if err := s.take(held, true); err != nil {
			return nil, refusal(err, "there is no memory for the tables of another instance")
		}
		m.bytes.Add(held)
		i.held = held
	}
	if err := i.build(); err != nil {
		return nil, err
	}
	i.globals(i.mod)
	if err := i.startUp(c); err != nil {
		return nil, err
	}
	if err := i.openMailbox(c); err != nil {
		return nil, err
	}
	if err := i.flush(); err != nil {
		return nil, i.failure("start", err)
	}
	if m.isolated {
		if err := i.isolate(); err != nil {
			return nil, refusal(err, "there is no memory for another instance")
		}
	}
	i.atStart = i.size()
	i.involved = m.isolated || m.grows || m.way != Handlers
	made = true
	return i, nil
}

// build has wazero make the guest, without running any of it. When there is no memory
// for one, wazero gives up by a panic.
func (i *instance) build() (err error) {
	c := &i.call
	defer func() {
		if r := recover(); r != nil {
			err = refusal(recovered(r), "there is no memory for another instance")
		}
	}()
	i.written = [2]lines{{call: c, level: slog.LevelInfo}, {call: c, level: slog.LevelWarn}}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithSysWalltime().WithSysNanotime().WithNanosleep(c.sleep).
		WithRandSource(rand.Reader).WithStdout(&i.written[0]).WithStderr(&i.written[1])
	withMemory := experimental.WithMemoryAllocator(c, allocator{uint64(i.m.limits.MemoryMiB) << 20, i})
	if i.mod, err = i.m.rt.engine.InstantiateModule(withMemory, i.m.compiled, i.dress(config)); err != nil {
		return i.failure("start", err)
	}
	return nil
}

// recovered is what somebody has panicked with.
func recovered(r any) error {
	if err, ok := r.(error); ok {
		return err
	}
	return fmt.Errorf("%v", r)
}

// globals finds what the meter has added, and sets how far a table may grow.
func (i *instance) globals(m api.Module) {
	i.fuel = m.ExportedGlobal(meter.FuelExport).(api.MutableGlobal)
	i.depth = m.ExportedGlobal(meter.DepthExport).(api.MutableGlobal)
	i.no = m.ExportedGlobal(meter.NoExport).(api.MutableGlobal)
	m.ExportedGlobal(meter.TableExport).(api.MutableGlobal).Set(uint64(i.m.limits.Table))
	if i.m.isolated {
		i.restorable(m)
	}
}

// close frees the memory, also that of a guest whose making has failed: wazero forgets
// it. An exit code of the guest is no news.
func (i *instance) close() {
	if i.mod != nil {
		_ = i.mod.Close(context.Background())
	} else if i.memory != nil {
		i.memory.Free()
	}
	i.share.give(i.held)
	i.m.bytes.Add(-i.held)
	i.held = 0
}

// size is the memory that the guest has now.
func (i *instance) size() int {
	if i.memory == nil {
		return 0
	}
	return i.memory.size
}

// worn reports whether a fresh instance should take the place of this one.
func (i *instance) worn() bool {
	if i.broken || i.uses >= i.m.rt.opts.UsesMax {
		return true
	}
	size := i.size()
	return size > i.atStart && size > i.m.memoryMark
}

// pick has the instance run a handler.
func (i *instance) pick(export string, handler int) {
	i.shed()
	if i.exports[handler] == nil {
		if i.ready++; i.ready > functionsMax {
			clear(i.exports)
			i.ready = 1
		}
		i.exports[handler] = i.mod.ExportedFunction(export)
	}
	i.export, i.handler, i.f = export, handler, i.exports[handler]
}

// shed has the function that ran last hold no deep stack.
func (i *instance) shed() {
	if i.f != nil && stackOf(i.f) > stackKeep {
		i.renew()
	}
}

// renew lets go of the stack of the function that ran last.
func (i *instance) renew() {
	i.f = i.mod.ExportedFunction(i.export)
	i.exports[i.handler] = i.f
}

// run calls the handler that was picked. Unless it has said something, or asked the
// host for something, that was all.
func (i *instance) run(ctx context.Context, env Env, in *Input) (said bool, err error) {
	c := &i.call
	c.begin(ctx, env, in)
	i.uses++
	if i.mailbox != nil && len(in.Body) > 0 {
		i.deliver(in.Body)
	}
	i.stack[0] = uint64(len(in.Body))
	err = i.f.CallWithStack(c, i.stack[:])
	if err != nil || c.asked || i.stack[0] != uint64(weft.OK) || i.used() {
		return true, err
	}
	c.from = from{}
	return false, nil
}

// answer is that of a call. After an error that is not the guest's own answer the
// instance is broken.
func (i *instance) answer(err error) (out Output, _ error) {
	c := &i.call
	i.broken = true // until it is known
	if c.asked {
		if lost := i.flush(); err == nil {
			err = lost
		}
		if c.stack > 0 {
			i.renew()
		}
	}
	if i.m.grows {
		i.refusals()
	}
	if i.m.way != Handlers {
		err = i.settle(err)
	}
	if err == nil && i.mailbox != nil {
		err = i.collect()
	}
	if err != nil {
		return out, i.failure(i.export, err)
	}
	i.broken = i.m.way == Command
	if out.Body = c.out; c.headers != nil {
		out.With = &Fields{Headers: c.headers}
	}
	if code := weft.Code(i.stack[0]); code != weft.OK {
		err, out.Body = c.details(failed(i.export, code, out.Body)), nil
	}
	if c.more != nil || c.in.Stream != nil {
		err = c.exchanged(i.export, &out, err)
	}
	return out, err
}

// flush logs what the guest has written without ending the line: the next call
// is another's. The error is what Env.Log has panicked with.
func (i *instance) flush() (err error) {
	for n := range i.written {
		if l := &i.written[n]; len(l.rest) > 0 && err == nil {
			err = l.end()
		}
	}
	return err
}

// refusals counts how often a table was not allowed to grow.
func (i *instance) refusals() {
	if n := i.no.Get(); n > 0 {
		i.m.refused(LimitTable, int64(n))
		i.no.Set(0)
	}
}

// failed is the error that a guest returned: a code, and as its output the
// message for it.
func failed(export string, code weft.Code, message []byte) *weft.Error {
	text := string(bytes.ToValidUTF8(message[:min(len(message), MessageMax)], []byte("\uFFFD")))
	if code > weft.Unauthenticated {
		return weft.Errorf(weft.Unknown, "handler "+export, "the handler returned %d, which is no code: %s", uint32(code), text)
	}
	if text == "" {
		text = code.String()
	}
	return &weft.Error{Code: code, Op: "handler " + export, Err: errors.New(text)}
}

// failure is what ended a call that did not return.
func (i *instance) failure(export string, err error) error {
	var stop *stopped
	if errors.As(err, &stop) {
		if stop.limit != "" {
			i.m.over(stop.limit)
		}
		return stop.err
	}
	i.m.traps.Add(1)
	op, said := "handler "+export, i.call.lastWords()
	var exit *sys.ExitError
	if errors.As(err, &exit) {
		return weft.Errorf(weft.Internal, op, "%w: it exited with code %d%s", ErrTrap, exit.ExitCode(), said)
	}
	var bug runtime.Error
	if errors.As(err, &bug) { // ours or wazero's, in a host function
		i.m.rt.opts.Log.Error("a host function panicked", "handler", export, "digest", i.m.key.digest, "error", err)
	}
	return weft.Errorf(weft.Internal, op, "%w: %s%s", ErrTrap, firstLine(err.Error()), said)
}

// sleep is how a guest sleeps: no longer than its call may last.
func (c *call) sleep(ns int64) {
	t := time.NewTimer(min(time.Duration(ns), c.remaining()))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.Done():
	}
	c.look()
}
