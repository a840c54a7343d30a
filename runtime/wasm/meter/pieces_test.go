package meter

import (
	"bytes"
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Sizes of the module that works on ranges.
const (
	rangeMemory  = 1 << 16
	rangeSegment = 50
)

// ranges is a module with a function for each instruction on a range of memory, and drop,
// which drops the segment that init is of. Memory is not the same twice at its beginning
// and its end.
func ranges() []byte {
	three := []byte{0x20, 0, 0x20, 1, 0x20, 2}
	f := func(instructions ...byte) []byte { return sized(cat([]byte{0}, three, instructions, []byte{opEnd})) }
	data := make([]byte, 64)
	for i := range data {
		data[i] = byte(i + 1)
	}
	return assemble(
		sec(1, vec([]byte{0x60, 3, i32Type, i32Type, i32Type, 0}, []byte{0x60, 0, 0})),
		sec(3, vec([]byte{0}, []byte{0}, []byte{0}, []byte{1})),
		sec(5, vec([]byte{0, 1})),
		sec(7, vec(cat(sized([]byte("fill")), []byte{0, 0}), cat(sized([]byte("copy")), []byte{0, 1}), cat(sized([]byte("init")), []byte{0, 2}),
			cat(sized([]byte("drop")), []byte{0, 3}), cat(sized([]byte("m")), []byte{2, 0}))),
		sec(12, u32(3)),
		sec(10, vec(f(0xfc, 11, 0), f(0xfc, 10, 0, 0), f(0xfc, 8, 1, 0), sized([]byte{0, 0xfc, 9, 1, opEnd}))),
		sec(11, vec(cat([]byte{0, 0x41, 0, opEnd}, sized(data)), cat([]byte{1}, sized(bytes.Repeat([]byte("segment "), 7)[:rangeSegment])),
			cat(appendSigned([]byte{0, 0x41}, rangeMemory-64), []byte{opEnd}, sized(data)))),
	)
}

// pair is a module and its metered form, which is called in the same way.
type pair struct {
	t            *testing.T
	m            *machine
	was, is      api.Module
	trapped      bool // in the last call
	ticks        int  // of it
	calls, traps int
}

func newPair(t *testing.T, module []byte, o Options) *pair {
	t.Helper()
	p := &pair{t: t, m: newMachine(t)}
	metered, _, err := Rewrite(module, o)
	if err != nil {
		t.Fatal(err)
	}
	instance := func(wasm []byte) api.Module {
		mod, err := p.m.engine.InstantiateWithConfig(context.Background(), wasm, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatal(err)
		}
		return mod
	}
	p.was, p.is = instance(module), instance(metered)
	p.is.ExportedGlobal(FuelExport).(api.MutableGlobal).Set(1 << 40)
	return p
}

// call calls a function of both, and wants the same of both.
func (p *pair) call(name string, args ...uint64) {
	p.t.Helper()
	_, want := p.was.ExportedFunction(name).Call(context.Background(), args...)
	p.m.ticks = 0
	_, got := p.is.ExportedFunction(name).Call(context.Background(), args...)
	p.trapped, p.ticks = got != nil, p.m.ticks
	if p.calls++; p.trapped {
		p.traps++
	}
	if trapOf(got) != trapOf(want) {
		p.t.Errorf("%s%v: %q, metered: %q", name, args, trapOf(want), trapOf(got))
	}
	was, _ := p.was.Memory().Read(0, p.was.Memory().Size())
	is, _ := p.is.Memory().Read(0, p.is.Memory().Size())
	if !bytes.Equal(was, is) {
		p.t.Fatalf("%s%v left something else in memory", name, args)
	}
}

func TestARangeIsDoneInPiecesAsItWasAtOnce(t *testing.T) {
	const end, piece, segment = rangeMemory, 8, rangeSegment
	for _, c := range []struct {
		name     string
		function string
		args     []uint64
		ticks    int // between pieces
		traps    bool
	}{
		{"a fill of nothing", "fill", []uint64{7, 9, 0}, 0, false},
		{"a fill of less than a piece", "fill", []uint64{7, 9, piece - 1}, 0, false},
		{"a fill of one piece", "fill", []uint64{7, 9, piece}, 0, false},
		{"a fill of a byte more", "fill", []uint64{7, 9, piece + 1}, 1, false},
		{"a fill of two pieces", "fill", []uint64{7, 9, 2 * piece}, 1, false},
		{"a fill of two and a half", "fill", []uint64{7, 9, 2*piece + 4}, 2, false},
		{"a fill of all memory", "fill", []uint64{0, 9, end}, end/piece - 1, false},
		{"a fill with a value of more than a byte", "fill", []uint64{0, 0x1ff, 5 * piece}, 4, false},
		{"a fill of nothing at the end of memory", "fill", []uint64{end, 9, 0}, 0, false},
		{"a fill of nothing past the end of memory", "fill", []uint64{end + 1, 9, 0}, 0, true},
		{"a fill to the end of memory", "fill", []uint64{end - 3*piece, 9, 3 * piece}, 2, false},
		{"a fill to a byte past the end of memory", "fill", []uint64{end - 3*piece, 9, 3*piece + 1}, 0, true},
		{"a fill whose end overflows", "fill", []uint64{1<<32 - piece, 9, 3 * piece}, 0, true},
		{"a fill of 4 GiB", "fill", []uint64{0, 9, 1<<32 - 1}, 0, true},
		{"a copy of less than a piece", "copy", []uint64{3, 1, piece}, 0, false},
		{"a copy to a byte above", "copy", []uint64{1, 0, 5*piece + 1}, 5, false},
		{"a copy to a byte below", "copy", []uint64{0, 1, 5*piece + 1}, 5, false},
		{"a copy to a piece above", "copy", []uint64{piece, 0, 4 * piece}, 3, false},
		{"a copy to a piece below", "copy", []uint64{0, piece, 4 * piece}, 3, false},
		{"a copy to where it is", "copy", []uint64{5, 5, 4 * piece}, 3, false},
		{"a copy far away", "copy", []uint64{1_000, 0, 6*piece + 3}, 6, false},
		{"a copy from the end of memory to its beginning", "copy", []uint64{0, end - 4*piece, 4 * piece}, 3, false},
		{"a copy from past the end of memory", "copy", []uint64{0, end - 4*piece, 4*piece + 1}, 0, true},
		{"a copy to past the end of memory", "copy", []uint64{end - 4*piece, 0, 4*piece + 1}, 0, true},
		{"a copy from an end that overflows", "copy", []uint64{0, 1<<32 - piece, 3 * piece}, 0, true},
		{"a copy to an end that overflows", "copy", []uint64{1<<32 - piece, 0, 3 * piece}, 0, true},
		{"the whole segment", "init", []uint64{1, 0, segment}, segment / piece, false},
		{"the rest of the segment", "init", []uint64{1, 7, segment - 7}, (segment - 7) / piece, false},
		{"a byte more than the rest of the segment", "init", []uint64{1, 7, segment - 6}, 0, true},
		{"the segment to the end of memory", "init", []uint64{end - segment, 0, segment}, segment / piece, false},
		{"the segment to past the end of memory", "init", []uint64{end - segment + 1, 0, segment}, 0, true},
		{"from a place in the segment that overflows", "init", []uint64{0, 1<<32 - piece, 3 * piece}, 0, true},
		{"nothing from the end of the segment", "init", []uint64{0, segment, 0}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, ranges(), Options{Piece: piece})
			if p.call(c.function, c.args...); p.trapped != c.traps || p.ticks != c.ticks {
				t.Errorf("it trapped: %v, want %v; %d ticks, want %d", p.trapped, c.traps, p.ticks, c.ticks)
			}
			p.call("drop")
			if p.call(c.function, c.args...); c.function == "init" && p.trapped != (c.args[1]+c.args[2] > 0) {
				t.Errorf("when the segment is gone it trapped: %v", p.trapped)
			}
		})
	}
}

// TestRangesThatOverlap copies from every place to every other one near the beginning,
// and near the end of memory.
func TestRangesThatOverlap(t *testing.T) {
	p := newPair(t, ranges(), Options{Piece: 4})
	for _, first := range []uint64{0, rangeMemory - 16} {
		for to := first; to < first+14; to++ {
			for from := first; from < first+14; from++ {
				for _, n := range []uint64{3, 4, 5, 8, 9, 13, 16} {
					p.call("copy", to, from, n)
				}
				p.call("init", first, to&15, 16) // what is not the same twice again
			}
		}
	}
	if t.Logf("%d calls, %d traps", p.calls, p.traps); p.traps < 100 || p.calls-p.traps < 1_000 {
		t.Error("too few of one kind")
	}
}

// TestALongRangeTicksBetweenItsPieces has no fuel run out.
func TestALongRangeTicksBetweenItsPieces(t *testing.T) {
	const size = 4 << 20
	k := func(v uint32) []byte { return appendSigned([]byte{0x41}, v) }
	grow := cat(k(size>>16-1), []byte{opMemoryGrow, 0, 0x1a})
	m := newMachine(t)
	for name, code := range map[string][]byte{
		"fill": cat(grow, k(0), k(7), k(size), []byte{0xfc, 11, 0}, k(0)),
		"copy": cat(grow, k(1), k(0), k(size-1), []byte{0xfc, 10, 0, 0}, k(0)),
	} {
		metered, _, err := Rewrite(function(code...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		m.ticks = 0
		if _, trap, _, _ := m.run(t, metered, "f", 0); trap != "" || m.ticks != size/pieceMax-1 {
			t.Errorf("%s: %d ticks, want one between each two of %d pieces; %s", name, m.ticks, size/pieceMax, trap)
		}
	}
}

// TestOnlyWhatIsUsedIsAdded counts functions, of which a module has two of its own.
func TestOnlyWhatIsUsedIsAdded(t *testing.T) {
	fill, copy := []byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 11, 0}, []byte{0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 10, 0, 0}
	for _, c := range []struct {
		code []byte
		want int
	}{{nil, 2}, {fill, 3}, {cat(fill, fill), 3}, {cat(fill, copy, fill), 4}} {
		metered, _, err := Rewrite(function(cat(c.code, []byte{0x41, 0})...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := &rewriter{info: Info{}}
		m.limits.fill()
		got := 0
		for _, s := range m.sections(metered) {
			if s.id == functionSection {
				got = int((&reader{b: s.body}).u32())
			}
		}
		if got != c.want {
			t.Errorf("%d functions, want %d: % x", got, c.want, c.code)
		}
	}
	whole, _, err := Rewrite(ranges(), Options{}) // its segment is shorter than a piece
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(whole, []byte{0xfc, 8, 1, 0}) != 1 {
		t.Error("a short segment has a function of its own")
	}
}
