package meter

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

var (
	modules   = flag.Int("modules", 0, "how many modules of chance are compared with their metered form; default 2,000, and 200 with the race detector")
	firstSeed = flag.Uint64("seed", 1, "the first seed")
)

// Bounds of a call in the comparison.
const (
	callFuel  = 300_000
	callDepth = 8_000 // below what the engine itself stops at
	callPiece = 8     // so that what modules of chance do to memory is done in pieces
)

var errCut = errors.New("cut")

// bench runs a module and its metered form side by side.
type bench struct {
	engine  wazero.Runtime
	notes   []uint32 // what the module told the host
	ticks   int      // that are left
	between int      // ticks between pieces so far
}

func newBench(t testing.TB, config wazero.RuntimeConfig) *bench {
	ctx := context.Background()
	b := &bench{engine: wazero.NewRuntimeWithConfig(ctx, config.WithMemoryLimitPages(8))}
	t.Cleanup(func() { b.engine.Close(ctx) })
	i32s := []api.ValueType{api.ValueTypeI32}
	note := func(_ context.Context, _ api.Module, s []uint64) {
		x := uint32(s[0]) // the upper half may hold anything
		b.notes = append(b.notes, x)
		s[0] = uint64(3*x + 1)
	}
	tick := func(_ context.Context, m api.Module, _ []uint64) {
		fuel, depth := m.ExportedGlobal(FuelExport).(api.MutableGlobal), m.ExportedGlobal(DepthExport)
		if int64(fuel.Get()) >= 0 && int64(depth.Get()) >= 0 {
			b.between++
			return
		}
		if b.ticks--; b.ticks < 0 || int64(depth.Get()) < 0 {
			panic(errCut)
		}
		fuel.Set(callFuel)
	}
	for module, f := range map[string]struct {
		name string
		f    api.GoModuleFunc
		i, o []api.ValueType
	}{"env": {noteName, note, i32s, i32s}, TickModule: {TickName, tick, nil, nil}} {
		if _, err := b.engine.NewHostModuleBuilder(module).NewFunctionBuilder().WithGoModuleFunction(f.f, f.i, f.o).Export(f.name).Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// started runs the start function of a metered module, which is the host's to run.
func started(mod api.Module, err error) (api.Module, error) {
	if err != nil || mod.ExportedFunction(StartExport) == nil {
		return mod, err
	}
	_, err = mod.ExportedFunction(StartExport).Call(context.Background())
	return mod, err
}

// outcome is all that can be seen of a module that was run.
type outcome struct {
	invalid bool // it does not compile
	cut     bool // it ran out of fuel or depth: nothing can be said
	lines   []string
	memory  []byte
}

func (o outcome) differs(p outcome) string {
	switch {
	case o.invalid != p.invalid:
		return fmt.Sprintf("does not compile: %v, metered: %v", o.invalid, p.invalid)
	case !slices.Equal(o.lines, p.lines):
		for i := range min(len(o.lines), len(p.lines)) {
			if o.lines[i] != p.lines[i] {
				return fmt.Sprintf("%s, metered: %s", o.lines[i], p.lines[i])
			}
		}
		return fmt.Sprintf("%d lines, metered: %d", len(o.lines), len(p.lines))
	case !bytes.Equal(o.memory, p.memory):
		return "memory differs"
	}
	return ""
}

// run calls every function of a fresh instance, with arguments by the seed.
// Whatever a trap leaves behind is there in the next call.
func (b *bench) run(wasm []byte, seed uint64) (o outcome) {
	ctx := context.Background()
	b.notes, b.ticks = nil, 1
	compiled, err := b.engine.CompileModule(ctx, wasm)
	if err != nil {
		o.invalid = true
		return o
	}
	defer compiled.Close(ctx)
	mod, err := started(b.engine.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions()))
	if o.said("start", nil, nil, err); err != nil {
		return o
	}
	defer mod.Close(ctx)
	fuel, _ := mod.ExportedGlobal(FuelExport).(api.MutableGlobal)
	depth, _ := mod.ExportedGlobal(DepthExport).(api.MutableGlobal)
	r := rand.New(rand.NewPCG(seed, 3))
	functions := compiled.ExportedFunctions()
	var names []string
	for name := range functions {
		if name != StartExport {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range append(names, names...) {
		var args []uint64
		for _, t := range functions[name].ParamTypes() {
			args = append(args, argument(r, t))
		}
		if b.ticks = 0; fuel != nil {
			fuel.Set(callFuel)
			depth.Set(callDepth)
		}
		results, err := mod.ExportedFunction(name).Call(ctx, args...)
		if o.said(name, functions[name].ResultTypes(), results, err); o.cut {
			return o
		}
		if err == nil && depth != nil && depth.Get() != callDepth {
			o.lines = append(o.lines, "the depth is not given back")
		}
	}
	for i := range 10 {
		if g := mod.ExportedGlobal(fmt.Sprintf("g%d", i)); g != nil {
			o.lines = append(o.lines, show(g.Type(), g.Get()))
		}
	}
	o.lines = append(o.lines, fmt.Sprint("notes ", b.notes))
	if len(compiled.ExportedMemories()) > 0 {
		all, _ := mod.Memory().Read(0, mod.Memory().Size())
		o.memory = bytes.Clone(all)
	}
	return o
}

// said notes what came of a call.
func (o *outcome) said(name string, types []api.ValueType, results []uint64, err error) {
	if errors.Is(err, errCut) {
		o.cut = true
		return
	}
	line := name
	if err != nil {
		trap, _, _ := strings.Cut(err.Error(), "\n")
		_, trap, _ = strings.Cut(trap, "wasm error:") // what is before it has the index of a start function
		line += " trap" + trap
	}
	for i, v := range results {
		line += " " + show(types[i], v)
	}
	o.lines = append(o.lines, line)
}

func argument(r *rand.Rand, t api.ValueType) uint64 {
	switch t {
	case api.ValueTypeI32:
		return uint64(uint32(r.IntN(64) - 8))
	case api.ValueTypeI64:
		return uint64(r.IntN(64) - 8)
	case api.ValueTypeF32:
		return api.EncodeF32(r.Float32() * 100)
	case api.ValueTypeF64:
		return api.EncodeF64(r.Float64() * 100)
	}
	return 0
}

// show is a value; one NaN is as good as another, and so is one reference.
func show(t api.ValueType, v uint64) string {
	switch t {
	case api.ValueTypeI32:
		return fmt.Sprint("i32:", uint32(v))
	case api.ValueTypeF32:
		if f := api.DecodeF32(v); !math.IsNaN(float64(f)) {
			return fmt.Sprint("f32:", f)
		}
		return "nan"
	case api.ValueTypeF64:
		if f := api.DecodeF64(v); !math.IsNaN(f) {
			return fmt.Sprint("f64:", f)
		}
		return "nan"
	case api.ValueTypeExternref, api.ValueType(funcrefType):
		return fmt.Sprint("null:", v == 0)
	}
	return fmt.Sprint(api.ValueTypeName(t), ":", v)
}

// tally counts what became of the modules.
type tally struct{ compared, cut, invalid, refused int }

// compare runs a module and its metered form, and says how they differ.
func (t *tally) compare(b *bench, wasm []byte, seed uint64) string {
	metered, _, err := Rewrite(wasm, Options{Imports: map[string]Signature{"env." + noteName: noteType}, Piece: callPiece})
	if err != nil {
		t.refused++
		return ""
	}
	// The metered form goes first: only that one is sure to end.
	is := b.run(metered, seed)
	if is.cut {
		t.cut++
		return ""
	}
	was := b.run(wasm, seed)
	if was.invalid {
		t.invalid++
	} else {
		t.compared++
	}
	return was.differs(is)
}

// TestMeteredModulesOfChanceDoWhatTheyDid compares modules and mutants of them,
// in turns in the interpreter and in the compiler.
func TestMeteredModulesOfChanceDoWhatTheyDid(t *testing.T) {
	benches := []*bench{newBench(t, wazero.NewRuntimeConfigInterpreter()), newBench(t, wazero.NewRuntimeConfigCompiler())}
	var whole, mutants tally
	enough := *modules
	if enough == 0 {
		if enough = 2_000; race {
			enough = 200
		}
	}
	for seed := *firstSeed; whole.compared+mutants.compared < enough; seed++ {
		b, wasm := benches[0], generate(seed)
		if seed%8 == 0 {
			b = benches[1]
		}
		before := whole
		difference := whole.compare(b, wasm, seed)
		if whole.invalid+whole.refused > before.invalid+before.refused {
			t.Fatalf("seed %d: a module that is not valid was made: %v", seed, compiles(t, wasm))
		}
		for i := range uint64(3) {
			if difference == "" {
				difference = mutants.compare(b, mutate(wasm, 3*seed+i), seed)
			}
		}
		if difference != "" {
			t.Fatalf("seed %d: %s", seed, difference) // what comes next may not end
		}
	}
	between := benches[0].between + benches[1].between
	t.Logf("modules: %+v, mutants: %+v, with %d ticks between pieces of memory", whole, mutants, between)
	if between < enough/4 {
		t.Error("too little memory was worked on in pieces")
	}
	if whole.cut > whole.compared/5 {
		t.Error("too many modules do not end: they show nothing")
	}
}

// TestRefusalsOfMutantsAreMeant: what the engine takes and the meter does not is
// over a limit, or something that the meter refuses by design.
func TestRefusalsOfMutantsAreMeant(t *testing.T) {
	meant := []string{"imports", "exports \"weft:", "custom"}
	for seed := range uint64(200) {
		wasm := mutate(generate(seed), seed)
		_, _, err := Rewrite(wasm, Options{Imports: map[string]Signature{"env." + noteName: noteType}})
		if err == nil || weft.CodeOf(err) == weft.ResourceExhausted || slices.ContainsFunc(meant, func(s string) bool { return strings.Contains(err.Error(), s) }) {
			continue
		}
		if compiles(t, wasm) == nil {
			t.Errorf("seed %d: the engine takes what the meter refuses: %v", seed, err)
		}
	}
}

// FuzzDifference is the same comparison, of whatever the fuzzer comes upon.
func FuzzDifference(f *testing.F) {
	b := newBench(f, wazero.NewRuntimeConfigInterpreter())
	for seed := range uint64(20) {
		f.Add(generate(seed), seed)
	}
	f.Fuzz(func(t *testing.T, wasm []byte, seed uint64) {
		var all tally
		if difference := all.compare(b, wasm, seed); difference != "" && len(wasm) < 64<<10 {
			t.Error(difference)
		}
	})
}
