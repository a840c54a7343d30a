package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/wasm/meter"
)

// Import is a function that the host offers to a module of its own, beside
// those that every module may import. Its parameters and its result are i32.
type Import struct {
	Module, Name string
	Params       int
	Result       bool
	Do           func(g *Guest, args []uint64) uint64 // the result, if it has one
}

// Own loads a module that comes with the host, such as the engine of a
// language, for Drive. It is metered and has limits as any other; only the check
// in a child is left out, for nobody has uploaded it. The same module is loaded
// once, and what its imports do is decided then. In errors the module is called
// what words says, such as "the script".
//
// Such a module may be an interpreter. The meter charges for the longest path
// through a loop, which in the loop of an interpreter is many times what it does.
// So a slice of its fuel counts for no more time than has passed.
func (r *Runtime) Own(ctx context.Context, code []byte, words string, imports []Import, limits weft.Limits) (*Module, error) {
	sum := sha256.Sum256(code)
	key := loadKey{hex.EncodeToString(sum[:]), Terms{within(limits, r.opts.Limits), weft.Pool, weft.Inline, ""}}
	return r.once(ctx, key, func() (*Module, error) {
		if err := r.offer(imports); err != nil {
			return nil, err
		}
		o := meterOptions()
		o.Imports = maps.Clone(o.Imports)
		for _, i := range imports {
			params, results := i.types()
			o.Imports[i.Module+"."+i.Name] = meter.Signature{Params: params, Results: results}
		}
		m, err := r.compile(key, code, o, true)
		if err == nil {
			m.words, m.own = words, true
		}
		return m, err
	})
}

func (i Import) types() (params, results []api.ValueType) {
	if i.Result {
		results = types(i32)
	}
	return slices.Repeat(types(i32), i.Params), results
}

// offer puts imports into the engine. A module that is uploaded cannot have
// them: its check knows none of them.
func (r *Runtime) offer(imports []Import) error {
	groups := map[string][]Import{}
	for _, i := range imports {
		groups[i.Module] = append(groups[i.Module], i)
	}
	for name, group := range groups {
		if r.engine.Module(name) != nil {
			continue // since an attempt that failed later
		}
		host := r.engine.NewHostModuleBuilder(name)
		for _, i := range group {
			params, results := i.types()
			fn := api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
				c := callOf(ctx)
				c.charge(costHostCall)
				args := make([]uint64, i.Params)
				for n := range args {
					args[n] = uint64(uint32(s[n])) // the upper half may be anything
				}
				if v := i.Do(c.guest, args); i.Result {
					s[0] = v
				}
			})
			host = host.NewFunctionBuilder().WithGoModuleFunction(fn, params, results).Export(i.Name)
		}
		if _, err := host.Instantiate(context.Background()); err != nil {
			return weft.Errorf(weft.Internal, "wasm.Runtime.Own", "host functions: %w", err)
		}
	}
	return nil
}

// Guest is an instance in the hands of Drive. It serves one goroutine, until
// Drive's function returns. What ends the guest, a limit or a trap, unwinds
// that function, and Drive returns it.
type Guest struct {
	Value any // the driver's own, for what its imports do

	i *instance
}

// Drive has do drive an instance by its exports, for a namespace: it waits for its turn
// and takes memory of its share. The instance is a new one, which
// nobody uses afterwards: nothing is left of one call for the next. All that do
// calls is within the limits of one call. The error is that of do, or what has
// ended the guest, as Module.Call has it.
func (m *Module) Drive(ctx context.Context, ns string, value any, do func(*Guest) error) (err error) {
	if err := m.turn(ctx, ns); err != nil {
		return err
	}
	defer m.rt.driven.leave(ns)
	memory := m.rt.memory.of(ns)
	defer memory.letGo()
	i, err := m.enter(ctx)
	if i == nil && err == nil { // as always: none is idle
		i, err = m.fresh(ctx, nil, memory)
	}
	if err != nil {
		return err
	}
	i.counted++
	i.uses++
	i.broken = true // for whoever comes next
	defer func() { m.give(i) }()
	i.call.begin(ctx, nil, &Input{})
	i.call.start()
	defer i.call.finish()
	i.call.guest, i.call.asked = &Guest{Value: value, i: i}, true
	defer func() {
		if r := recover(); r != nil {
			s, ours := r.(*stopped)
			if !ours {
				panic(r)
			}
			if err = s.err; s.limit != "" {
				m.over(s.limit)
			}
		}
	}()
	return do(i.call.guest)
}

// turn waits for the turn of a namespace, no longer than for a place of the module.
func (m *Module) turn(ctx context.Context, ns string) error {
	within, cancel := context.WithTimeout(ctx, time.Duration(m.limits.TimeoutMS)*time.Millisecond)
	defer cancel()
	err := m.rt.driven.enter(within, ns, m.closing)
	switch {
	case err == nil, weft.CodeOf(err) == weft.Unavailable:
		return err
	case errors.Is(err, errFull):
		m.over(LimitQueue)
		return refusal(err, "%s cannot wait for its turn (%w)", m.words, LimitQueue)
	case errors.Is(err, context.Canceled):
		return &weft.Error{Code: weft.Canceled, Op: opCall, Err: fmt.Errorf("waiting for other scripts to end: %w", err)}
	}
	m.over(LimitConcurrency)
	return refusal(err, "%s did not have its turn in time: others did not end (%w)", m.words, LimitConcurrency)
}

// Call calls an export whose parameters and result are i32. It may be called by
// an import while another call is in progress. Where there is no result, what it
// gives means nothing.
func (g *Guest) Call(export string, args ...uint64) uint64 {
	f := g.i.mod.ExportedFunction(export) // a new one each time: none can be called inside itself
	if f == nil {
		panic(&stopped{err: weft.Errorf(weft.Internal, opCall, "the module has no export %q", export)})
	}
	stack := make([]uint64, max(len(args), 1))
	copy(stack, args)
	outer := g.i.f
	g.i.f = f
	defer func() { g.i.f = outer }()
	if err := f.CallWithStack(&g.i.call, stack); err != nil {
		panic(&stopped{err: g.i.failure(export, err)})
	}
	return uint64(uint32(stack[0]))
}

// Limits are those of the guest.
func (g *Guest) Limits() weft.Limits { return g.i.m.limits }

// Bytes is the guest's memory there, valid until the guest runs again.
func (g *Guest) Bytes(ptr, n uint64) []byte { return g.i.call.view(ptr, n) }

// Stop ends the guest; Drive returns err.
func (g *Guest) Stop(err error) { panic(&stopped{err: err}) }
