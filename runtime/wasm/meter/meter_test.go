package meter

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

func u32(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func sized(b []byte) []byte { return cat(u32(len(b)), b) }

func vec(items ...[]byte) []byte { return cat(u32(len(items)), cat(items...)) }

func sec(id byte, content []byte) []byte { return cat([]byte{id}, sized(content)) }

func assemble(sections ...[]byte) []byte { return cat(header, cat(sections...)) }

// function is a module whose function f takes and returns an i32, has two i32
// locals, and a second function g (i32) -> (i32, i32) that returns both x+1 and x.
func function(instructions ...byte) []byte {
	f := cat([]byte{1, 2, 0x7f}, instructions, []byte{0x0b})
	g := []byte{0, 0x20, 0, 0x41, 1, 0x6a, 0x20, 0, 0x0f, 0x0b}
	return assemble(
		sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 1, 0x7f, 2, 0x7f, 0x7f})),
		sec(3, vec([]byte{0}, []byte{1})),
		sec(4, vec([]byte{0x70, 0, 2})),
		sec(5, vec([]byte{0, 1})),
		sec(6, vec([]byte{0x7f, 1, 0x41, 7, 0x0b})),
		sec(7, vec([]byte{1, 'f', 0, 0}, []byte{1, 'g', 0, 1})),
		sec(9, vec([]byte{0, 0x41, 0, 0x0b, 2, 0, 1})),
		sec(10, vec(sized(f), sized(g))),
		sec(11, vec([]byte{0, 0x41, 0, 0x0b, 3, 'a', 'b', 'c'})),
	)
}

// machine runs modules, original or metered.
type machine struct {
	engine wazero.Runtime
	ticks  int
	slice  int64
}

func newMachine(t testing.TB) *machine {
	ctx := context.Background()
	m := &machine{engine: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(64)), slice: 1 << 40}
	t.Cleanup(func() { m.engine.Close(ctx) })
	tick := func(_ context.Context, mod api.Module, _ []uint64) {
		m.ticks++
		mod.ExportedGlobal(FuelExport).(api.MutableGlobal).Set(uint64(m.slice))
	}
	_, err := m.engine.NewHostModuleBuilder(TickModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(tick), nil, nil).Export(TickName).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run calls f of a fresh instance. It says what came of it, memory and the
// first global included, and how much fuel is left.
func (m *machine) run(t testing.TB, wasm []byte, name string, x uint32) (results []uint64, trap string, memory []byte, fuel int64) {
	t.Helper()
	ctx := context.Background()
	mod, err := m.engine.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	defer mod.Close(ctx)
	g, metered := mod.ExportedGlobal(FuelExport).(api.MutableGlobal)
	if metered {
		g.Set(uint64(m.slice))
	}
	results, err = mod.ExportedFunction(name).Call(ctx, uint64(x))
	if err != nil {
		trap, _, _ = strings.Cut(err.Error(), "\n")
	}
	if metered {
		fuel = int64(g.Get())
		if left := int64(mod.ExportedGlobal(DepthExport).Get()); err == nil && left != DepthMax {
			t.Errorf("%d of the depth is left, want all %d", left, DepthMax)
		}
	}
	memory, _ = mod.Memory().Read(0, 1024)
	return results, trap, bytes.Clone(memory), fuel
}

var programs = []struct {
	name string
	code []byte
	fuel int64 // that f(5) burns, were it known; 0 where it does not matter
}{
	{"a constant", []byte{0x41, 42}, 2},
	{"its parameter", []byte{0x20, 0}, 2},
	{"an early return", []byte{0x20, 0, 0x0f}, 0},
	{"a return from inside blocks", []byte{0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0f, 0x0b, 0x0b, 0x41, 1}, 0},
	{"a branch to the function itself", []byte{0x02, 0x40, 0x20, 0, 0x0c, 1, 0x0b, 0x41, 9}, 0},
	{"a conditional branch to the function itself", []byte{0x20, 0, 0x20, 0, 0x0d, 0, 0x1a, 0x41, 9}, 0},
	{"if and else", []byte{0x20, 0, 0x04, 0x7f, 0x41, 1, 0x05, 0x41, 2, 0x0b}, 0},
	{"if without else", []byte{0x20, 0, 0x04, 0x40, 0x41, 3, 0x21, 1, 0x0b, 0x20, 1}, 0},
	{"a loop that sums up to its parameter", []byte{
		0x03, 0x40, 0x20, 1, 0x20, 0, 0x6a, 0x21, 1, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x41, 0, 0x4a, 0x0d, 0, 0x0b, 0x20, 1}, 5*11 + 4},
	{"a loop in a loop", []byte{
		0x03, 0x40, 0x20, 0, 0x21, 2, 0x03, 0x40, 0x20, 1, 0x41, 1, 0x6a, 0x21, 1, 0x20, 2, 0x41, 1, 0x6b, 0x22, 2, 0x41, 0, 0x4a, 0x0d, 0, 0x0b,
		0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x41, 0, 0x4a, 0x0d, 0, 0x0b, 0x20, 1}, 0},
	{"a br_table", []byte{0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 1, 0, 1, 0x0b, 0x41, 10, 0x0f, 0x0b, 0x41, 20}, 0},
	{"a recursion", []byte{0x20, 0, 0x45, 0x04, 0x7f, 0x41, 0, 0x05, 0x20, 0, 0x41, 1, 0x6b, 0x10, 0, 0x20, 0, 0x6a, 0x0b}, 0},
	{"a call with two results", []byte{0x20, 0, 0x10, 1, 0x6a}, 0},
	{"a call through the table", []byte{0x20, 0, 0x41, 1, 0x11, 1, 0, 0x6a}, 0},
	{"a call through the table of the wrong type", []byte{0x20, 0, 0x41, 1, 0x11, 0, 0}, 0},
	{"a call through the table's end", []byte{0x20, 0, 0x41, 9, 0x11, 0, 0}, 0},
	{"a block with two results", []byte{0x20, 0, 0x02, 1, 0x20, 0, 0x0b, 0x6a}, 0},
	{"a global of its own", []byte{0x23, 0, 0x20, 0, 0x6a, 0x24, 0, 0x23, 0}, 0},
	{"stores and loads", []byte{0x41, 0, 0x20, 0, 0x36, 2, 16, 0x41, 0, 0x28, 2, 16}, 0},
	{"data from its segment", []byte{0x20, 0, 0x2d, 0, 0}, 0},
	{"a load outside memory", []byte{0x41, 0x7f, 0x28, 2, 0}, 0},
	{"a division", []byte{0x41, 100, 0x20, 0, 0x6d}, 0},
	{"memory.grow", []byte{0x20, 0, 0x40, 0, 0x3f, 0, 0x6a}, 0},
	{"memory.grow beyond its limit", []byte{0x41, 0xff, 0, 0x40, 0}, 0},
	{"memory.fill", []byte{0x41, 10, 0x41, 7, 0x20, 0, 0xfc, 11, 0, 0x41, 10, 0x2d, 0, 0}, 0},
	{"memory.copy", []byte{0x41, 10, 0x41, 0, 0x20, 0, 0xfc, 10, 0, 0, 0x41, 12, 0x2d, 0, 0}, 0},
	{"memory.fill outside memory", []byte{0x41, 0x7f, 0x41, 7, 0x20, 0, 0xfc, 11, 0, 0x41, 0}, 0},
	{"table.grow and table.size", []byte{0xd0, 0x70, 0x20, 0, 0xfc, 15, 0, 0xfc, 16, 0, 0x6a}, 0},
	{"a reference to a function", []byte{0xd2, 1, 0xd1}, 0},
	{"a select", []byte{0x41, 1, 0x41, 2, 0x20, 0, 0x1b}, 0},
	{"a select with a type", []byte{0x41, 1, 0x41, 2, 0x20, 0, 0x1c, 1, 0x7f}, 0},
	{"vectors", []byte{0x20, 0, 0xfd, 17, 0x20, 0, 0xfd, 17, 0xfd, 0xae, 1, 0xfd, 27, 2}, 0},
	{"numbers of every kind", []byte{0x20, 0, 0xb7, 0x44, 0, 0, 0, 0, 0, 0, 4, 0x40, 0xa2, 0xaa, 0x43, 0, 0, 0, 0x40, 0xfc, 0, 0x6a}, 0},
	{"unreachable", []byte{0x00}, 0},
	{"code that is never reached", []byte{0x20, 0, 0x0f, 0x10, 1, 0x6a, 0x02, 0x40, 0x0c, 0, 0x0b}, 0},
	{"nop and drop", []byte{0x01, 0x41, 5, 0x1a, 0x20, 0}, 0},
}

func TestMeteredProgramsDoWhatTheyDid(t *testing.T) {
	m := newMachine(t)
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			wasm := function(p.code...)
			metered, _, err := Rewrite(wasm, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range []uint32{0, 1, 2, 5} {
				want, wantTrap, wantMemory, _ := m.run(t, wasm, "f", x)
				got, trap, memory, fuel := m.run(t, metered, "f", x)
				if len(got) != len(want) || len(got) > 0 && got[0] != want[0] || trap != wantTrap || !bytes.Equal(memory, wantMemory) {
					t.Errorf("f(%d) = %v %q, but was %v %q", x, got, trap, want, wantTrap)
				}
				if burnt := m.slice - fuel; p.fuel != 0 && x == 5 && burnt != p.fuel || burnt <= 0 {
					t.Errorf("f(%d) burnt %d, want %d", x, burnt, p.fuel)
				}
			}
		})
	}
}

func TestSeveralResultsSurvive(t *testing.T) {
	m := newMachine(t)
	metered, info, err := Rewrite(function(0x41, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, trap, _, _ := m.run(t, metered, "g", 8); len(got) != 2 || got[0] != 9 || got[1] != 8 {
		t.Errorf("g(8) = %v %q", got, trap)
	}
	if s := info.Exports[1].Signature.String(); s != "(i32) -> (i32, i32)" {
		t.Errorf("its signature is %s", s)
	}
}

func TestALoopTicksAsOftenAsItsFuelRunsOut(t *testing.T) {
	m := newMachine(t)
	m.slice = 1_000
	metered, _, err := Rewrite(function(0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b, 0x41, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.run(t, metered, "f", 100_000)
	if want := 100_000 * 5 / 1_000; m.ticks < want*9/10 || m.ticks > want*3/2 {
		t.Errorf("%d ticks for a hundred thousand turns of a loop of 5, want about %d", m.ticks, want)
	}
}

// TestInstructionsCostWhatThePageSays weighs instructions of docs/ABI.md by what
// one more of them burns, the same each time.
func TestInstructionsCostWhatThePageSays(t *testing.T) {
	m := newMachine(t)
	burnt := func(code []byte) int64 {
		t.Helper()
		metered, _, err := Rewrite(function(append(slices.Clone(code), 0x41, 0)...), Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, left := m.run(t, metered, "f", 0)
		if _, _, _, again := m.run(t, metered, "f", 0); again != left {
			t.Errorf("the same call burnt %d, and then %d", m.slice-left, m.slice-again)
		}
		return m.slice - left
	}
	for _, c := range []struct {
		name string
		code []byte
		cost int64
	}{
		{"nothing", []byte{0x01}, 1},
		{"a constant, an addition and a drop", []byte{0x41, 1, 0x41, 1, 0x6a, 0x1a}, 4},
		{"a division between constants", []byte{0x41, 1, 0x41, 1, 0x6d, 0x1a}, 2 + 8 + 1},
		{"growing memory", []byte{0x41, 0, 0x40, 0, 0x1a}, 1 + 1000 + 1},
		{"the dearer way, whichever is taken", []byte{0x41, 1, 0x04, 0x40, 0x01, 0x05, 0x01, 0x01, 0x01, 0x01, 0x0b}, 1 + 1 + 4 + 1},
	} {
		if got := burnt(c.code) - burnt(nil); got != c.cost {
			t.Errorf("%s burnt %d, want %d", c.name, got, c.cost)
		}
	}
	if costCall != 4 {
		t.Errorf("a call costs %d", costCall)
	}
}

func TestBulkInstructionsArePaidBySize(t *testing.T) {
	m := newMachine(t)
	metered, _, err := Rewrite(function(0x41, 0, 0x41, 7, 0x20, 0, 0xfc, 11, 0, 0x41, 0), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, none := m.run(t, metered, "f", 0)
	_, _, _, much := m.run(t, metered, "f", 64_000)
	if none-much != 8_000 {
		t.Errorf("filling 64,000 bytes burnt %d, want 8,000", none-much)
	}
}

func TestAppendCustom(t *testing.T) {
	module := function(0x41, 0)
	before := bytes.Clone(module)
	with := AppendCustom(module, "note", []byte("hello"))
	_, info, err := Rewrite(with, Options{})
	if err != nil || string(info.Customs["note"]) != "hello" {
		t.Errorf("got %q, %v", info.Customs, err)
	}
	if !bytes.Equal(module, before) {
		t.Error("the module itself was changed")
	}
}

// TestNoLieIsBelieved puts a huge number at every place of a module where a
// number may be.
func TestNoLieIsBelieved(t *testing.T) {
	wasm := function(0x41, 0, 0x41, 7, 0x20, 0, 0xfc, 11, 0, 0x20, 0, 0x10, 1, 0x6a)
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for at := len(header); at < len(wasm); at++ {
		lie := cat(wasm[:at], huge, wasm[at+1:])
		if n := testing.AllocsPerRun(1, func() { Rewrite(lie, Options{}) }); n > 2_000 {
			t.Errorf("at byte %d: %v allocations", at, n)
		}
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	wasm := function(0x41, 0)
	for n := range wasm {
		out, _, err := Rewrite(wasm[:n], Options{})
		if err == nil && (compiles(t, wasm[:n]) == nil) != (compiles(t, out) == nil) {
			t.Errorf("the first %d bytes were taken", n)
		}
		if err != nil && weft.CodeOf(err) != weft.InvalidArgument {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// compiles reports what the compiler has against a module.
func compiles(t testing.TB, wasm []byte) error {
	ctx := context.Background()
	engine := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(64))
	defer engine.Close(ctx)
	_, err := engine.CompileModule(ctx, wasm)
	return err
}

// FuzzRewrite: what is not refused compiles if and only if the original does.
func FuzzRewrite(f *testing.F) {
	for _, p := range programs {
		f.Add(function(p.code...))
	}
	guest, err := os.ReadFile("../testdata/guest.wasm")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(guest)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		if len(wasm) > 64<<10 {
			return
		}
		out, _, err := Rewrite(wasm, Options{Imports: imports, Limits: Limits{Locals: 500, Blocks: 500, Complexity: 50_000, Total: 100_000}})
		if err != nil {
			var e *weft.Error
			if e, _ = err.(*weft.Error); e == nil {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		got, want := compiles(t, out), compiles(t, wasm)
		if want != nil && strings.Contains(want.Error(), "custom") {
			return // wazero reads these sections, the rewritten module has none
		}
		if (got == nil) != (want == nil) {
			t.Errorf("the original: %v, the rewritten module: %v", want, got)
		}
	})
}

// imports are those of the guest of the tests.
var imports = func() map[string]Signature {
	i := func(n int) []byte { return bytes.Repeat([]byte{i32Type}, n) }
	w := []byte{i64Type}
	return map[string]Signature{
		"weft/v1.input": {i(3), i(1)}, "weft/v1.result": {i(3), i(1)}, "weft/v1.output": {i(2), nil},
		"weft/v1.header_get": {i(4), w}, "weft/v1.header_set": {i(4), nil}, "weft/v1.state_get": {i(4), w}, "weft/v1.state_set": {i(4), i(1)},
		"weft/v1.state_delete": {i(2), i(1)}, "weft/v1.publish": {i(4), i(1)}, "weft/v1.call": {i(6), w}, "weft/v1.http": {i(4), w},
		"weft/v1.config_get": {i(4), w}, "weft/v1.secret_get": {i(4), w}, "weft/v1.deadline": {nil, w}, "weft/v1.log": {i(3), nil},
	}
}()

func BenchmarkRewrite(b *testing.B) {
	guest, err := os.ReadFile("../testdata/guest.wasm")
	if err != nil {
		b.Fatal(err)
	}
	o := Options{Imports: imports}
	b.SetBytes(int64(len(guest)))
	for b.Loop() {
		if _, _, err := Rewrite(guest, o); err != nil {
			b.Fatal(err)
		}
	}
}
