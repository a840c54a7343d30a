package meter

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// counted is a module that counts what its instructions cost, each when it is
// executed, in a global that it exports as "paid". What is paid by size is left out.
func counted(t *testing.T, module []byte) []byte {
	m := &rewriter{Options: Options{Imports: map[string]Signature{"env." + noteName: noteType}}, info: Info{Customs: map[string][]byte{}}, inside: -1}
	m.limits.fill()
	out := header
	for _, s := range m.sections(module) {
		m.section(s) // for what it finds in it
		r := &reader{b: s.body}
		switch s.id {
		case globalSection:
			n := r.u32()
			s.body = cat(u32(int(n)+1), s.body[r.p:], []byte{i64Type, 1, opI64Const, 0, opEnd})
		case exportSection:
			n := r.u32()
			s.body = cat(u32(int(n)+1), s.body[r.p:], appendName(nil, "paid"), []byte{3}, u32(m.globals))
		case codeSection:
			s.body = u32(int(r.u32()))
			for r.p < len(r.b) {
				s.body = cat(s.body, sized(countedBody(m, &reader{b: r.take(r.u32())})))
			}
		}
		if out = cat(out, sec(s.id, s.body)); s.id == exportSection && m.start != nil {
			out = cat(out, sec(startSection, m.start))
		}
	}
	return out
}

func countedBody(m *rewriter, r *reader) []byte {
	for range r.u32() { // groups of locals
		r.u32()
		r.byte()
	}
	w := r.b[:r.p:r.p]
	for r.p < len(r.b) {
		start := r.p
		op := r.byte()
		switch op {
		case opBlock, opLoop, opIf:
			r.skip(5)
		case opBr, opBrIf, opCall, opRefFunc:
			r.u32()
		case opBrTable:
			for range r.u32() + 1 {
				r.u32()
			}
		case opElse, opEnd, opReturn, opUnreachable:
		default:
			(&body{m: m, r: r, locals: 1 << 20}).plain(op)
		}
		w = cat(w, []byte{opGlobalGet}, u32(m.globals), appendSigned([]byte{opI64Const}, uint32(cost(op))), []byte{opI64Add, opGlobalSet}, u32(m.globals), r.since(start))
	}
	return w
}

// TestWhatModulesOfChanceDoIsPaid: a call burns no less fuel than its instructions cost, of
// which each is counted here.
func TestWhatModulesOfChanceDoIsPaid(t *testing.T) {
	b := newBench(t, wazero.NewRuntimeConfigInterpreter())
	ctx, calls, loops := context.Background(), 0, 0
	for seed := uint64(1); seed <= 300; seed++ {
		module := generate(seed)
		metered, _, err := Rewrite(module, Options{Imports: map[string]Signature{"env." + noteName: noteType}})
		if err != nil {
			t.Fatal(err)
		}
		b.ticks = 1 // for the start, whose fuel begins at none
		config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
		pay, err := started(b.engine.InstantiateWithConfig(ctx, metered, config))
		if err != nil {
			continue // a start that traps, or that may not end
		}
		count, err := b.engine.InstantiateWithConfig(ctx, counted(t, module), config)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		b.ticks = 0 // what needs more than its first fuel may not end
		left, depth, done := pay.ExportedGlobal(FuelExport).(api.MutableGlobal), pay.ExportedGlobal(DepthExport).(api.MutableGlobal), count.ExportedGlobal("paid").(api.MutableGlobal)
		for _, name := range slices.Sorted(maps.Keys(count.ExportedFunctionDefinitions())) {
			f := count.ExportedFunction(name).Definition()
			args := make([]uint64, len(f.ParamTypes()))
			left.Set(callFuel)
			depth.Set(callDepth)
			done.Set(0)
			if _, err := pay.ExportedFunction(name).Call(ctx, args...); errors.Is(err, errCut) {
				break
			}
			_, _ = count.ExportedFunction(name).Call(ctx, args...) // a trap is as good as an end
			if calls++; done.Get() > 1_000 {
				loops++
			}
			if burnt := callFuel - int64(left.Get()); burnt < int64(done.Get()) {
				t.Errorf("seed %d, %s: it burnt %d, and what it did costs %d", seed, name, burnt, done.Get())
			}
		}
		count.Close(ctx)
		pay.Close(ctx)
	}
	if t.Logf("%d calls, %d of them cost more than 1,000", calls, loops); loops < 20 {
		t.Error("too few to say anything")
	}
}

// TestWhatTakesStackIsPaid: each turn of a loop moves the locals that are set in it, and the
// end of a block those that are set in that; the frame of a call has a place for all ways.
func TestWhatTakesStackIsPaid(t *testing.T) {
	m := newMachine(t)
	countdown := []byte{opLoop, 0x40, opLocalGet, 0, 0x41, 1, 0x6b, opLocalTee, 0, opBrIf, 0, opEnd, opLocalGet, 0}
	sets := bytes.Repeat([]byte{opLocalGet, 0, 0x21, 0}, 32)
	inBlock := cat([]byte{opBlock, 0x40, opLocalGet, 0, opBrIf, 0}, sets, []byte{opEnd, opLocalGet, 0})
	nops := bytes.Repeat([]byte{1}, 200)
	ways := cat([]byte{opLocalGet, 0, 0x45, opIf, 0x40}, nops, []byte{opLocalGet, 0, opCall, 0, 0x1a, opElse}, nops, []byte{opEnd, opLocalGet, 0})
	for _, c := range []struct {
		name   string
		locals int
		code   []byte
		fuel   int64 // that f(100) burns
	}{
		{"a loop of a function with one local", 1, countdown, 100*5 + 4},
		{"a loop of a function with 160 locals", 160, countdown, 100*(5+20) + 4},
		{"a block that sets one local", 1, inBlock, 1 + 2 + 64 + 1 + 2},
		{"a block that sets 32 locals", 160, inBlock, 1 + 2 + 64 + 1 + 4 + 2},
		{"two ways of 200 instructions, one of which calls", 1, ways, 3 + 206 + 1 + 2 + 410/4},
	} {
		f := cat([]byte{1}, u32(c.locals-1), []byte{0x7f}, c.code, []byte{opEnd})
		metered, _, err := Rewrite(assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(3, vec([]byte{0})), sec(5, vec([]byte{0, 1})), sec(7, vec([]byte{1, 'f', 0, 0})), sec(10, vec(sized(f)))), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, left := m.run(t, metered, "f", 100); m.slice-left != c.fuel {
			t.Errorf("%s: it burnt %d, want %d", c.name, m.slice-left, c.fuel)
		}
	}
}
