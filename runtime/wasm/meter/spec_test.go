package meter

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

// command is a line of a script of the WebAssembly core test suite, as wazero's
// module carries it: made from the suite's text by wast2json.
type command struct {
	Type, Name, Filename, As string
	Line                     int
	ModuleType               string `json:"module_type"`
	Action                   struct {
		Type, Field, Module string
		Args                []specValue
	}
}

type specValue struct {
	Type     string
	LaneType string `json:"lane_type"`
	Value    any
}

// bits are the value as a call takes it.
func (v specValue) bits() []uint64 {
	one := func(text any, size int) uint64 {
		s, _ := text.(string)
		if strings.HasPrefix(s, "-") {
			n, _ := strconv.ParseInt(s, 10, 64)
			return uint64(n) & (1<<size - 1)
		}
		n, _ := strconv.ParseUint(s, 10, 64) // a NaN without bits is 0: the same for both
		return n
	}
	lanes, ok := v.Value.([]any)
	if !ok {
		size := 64
		if strings.HasSuffix(v.Type, "32") {
			size = 32
		}
		return []uint64{one(v.Value, size)}
	}
	size := 128 / len(lanes)
	halves := make([]uint64, 2)
	for i, lane := range lanes {
		halves[i*size/64] |= one(lane, size) << (i * size % 64)
	}
	return halves
}

// TestTheCoreTestSuiteSeesNoDifference runs the scripts of the suite for
// WebAssembly 2.0 on its modules and on their metered forms, which work on memory in pieces
// of 3 bytes. That the modules
// themselves do as the suite demands is shown by wazero's own tests; here each
// answer, each trap and each refusal must be the same for both.
func TestTheCoreTestSuiteSeesNoDifference(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	suite := filepath.Join(strings.TrimSpace(string(dir)), "internal/integration_test/spectest")
	scripts, err := filepath.Glob(filepath.Join(suite, "v2/testdata/*.json"))
	if err != nil || len(scripts) < 140 {
		t.Fatalf("%d scripts in %s, %v", len(scripts), suite, err)
	}
	s := spec{t: t, refused: map[string]int{}}
	if s.base, err = os.ReadFile(filepath.Join(suite, "testdata/spectest.wasm")); err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		if vectors := strings.HasPrefix(filepath.Base(script), "simd_"); !vectors || !race {
			s.script(script)
		}
	}
	t.Logf("%d modules metered, %d answers and %d traps compared, %d refused by both; by the meter alone: %v", s.metered, s.answers, s.traps, s.bad, s.refused)
	least := spec{answers: 45_000, traps: 2_400, metered: 1_500, bad: 2_800}
	if race { // without those of vectors, which make fuzz-meter runs
		least = spec{answers: 20_000, traps: 2_000, metered: 1_000, bad: 1_500}
	}
	if s.answers < least.answers || s.traps < least.traps || s.metered < least.metered || s.bad < least.bad {
		t.Error("less of the suite was run than there is")
	}
}

// spec runs scripts.
type spec struct {
	t       *testing.T
	base    []byte // the module that the suite imports from
	refused map[string]int

	metered, answers, traps, bad int
}

// stage is one of the two sides.
type stage struct {
	engine wazero.Runtime
	named  map[string]api.Module
	last   api.Module
}

func (s *spec) stage() *stage {
	ctx := context.Background()
	g := &stage{engine: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter()), named: map[string]api.Module{}}
	s.t.Cleanup(func() { g.engine.Close(ctx) })
	tick := func(_ context.Context, m api.Module, _ []uint64) {
		m.ExportedGlobal(FuelExport).(api.MutableGlobal).Set(1 << 60)
	}
	_, err := g.engine.NewHostModuleBuilder(TickModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(tick), nil, nil).Export(TickName).Instantiate(ctx)
	if err == nil {
		_, err = g.engine.InstantiateWithConfig(ctx, s.base, wazero.NewModuleConfig())
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return g
}

func (s *spec) script(file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var script struct{ Commands []command }
	if err := json.Unmarshal(data, &script); err != nil {
		s.t.Fatal(err)
	}
	was, is := s.stage(), s.stage()
	for i, c := range script.Commands {
		at := fmt.Sprintf("%s:%d %s", strings.TrimSuffix(filepath.Base(file), ".json"), c.Line, c.Type)
		switch c.Type {
		case "module", "assert_uninstantiable", "assert_unlinkable", "assert_invalid", "assert_malformed":
			if c.ModuleType == "text" {
				continue // it has no binary form
			}
			wasm, err := os.ReadFile(filepath.Join(filepath.Dir(file), c.Filename))
			if err != nil {
				s.t.Fatal(err)
			}
			name := ""
			if i+1 < len(script.Commands) && script.Commands[i+1].Type == "register" {
				name = script.Commands[i+1].As
			}
			s.module(at, was, is, c.Name, name, wasm)
		case "assert_return", "assert_trap", "action", "assert_exhaustion":
			s.action(at, was, is, c)
		}
	}
}

// module makes an instance on both sides, or sees both refuse.
func (s *spec) module(at string, was, is *stage, name, as string, wasm []byte) {
	compiled, err := was.engine.CompileModule(context.Background(), wasm)
	all := map[string]Signature{}
	if err == nil {
		for _, f := range compiled.ImportedFunctions() {
			module, name, _ := f.Import()
			all[module+"."+name] = Signature{f.ParamTypes(), f.ResultTypes()}
		}
	}
	metered, _, refusal := Rewrite(wasm, Options{Imports: all, Piece: 3})
	if refusal != nil { // then it is on neither side, for it may change what others see
		was.instantiate(name, as, nil)
		is.instantiate(name, as, nil)
		if err != nil {
			s.bad++
			return
		}
		s.refused[reason(refusal)]++
		if weft.CodeOf(refusal) != weft.ResourceExhausted && !strings.Contains(refusal.Error(), "which is no function") && !strings.Contains(refusal.Error(), "not wasm.overloaded") {
			s.t.Errorf("%s: the engine takes it, the meter says %v", at, refusal)
		}
		return
	}
	want, got := was.instantiate(name, as, wasm), is.instantiate(name, as, metered)
	if (got == nil) != (want == nil) {
		s.t.Errorf("%s: %v, metered: %v", at, want, got)
	}
	if want == nil {
		s.metered++
	} else {
		s.bad++
	}
}

// instantiate makes the module the last one. Without it there is none.
func (g *stage) instantiate(name, as string, wasm []byte) (err error) {
	g.last = nil
	if wasm != nil {
		g.last, err = started(g.engine.InstantiateWithConfig(context.Background(), wasm, wazero.NewModuleConfig().WithName(as).WithStartFunctions()))
	}
	if err != nil {
		g.last = nil
	}
	if name != "" {
		g.named[name] = g.last
	}
	return err
}

func (g *stage) of(name string) api.Module {
	if name == "" {
		return g.last
	}
	return g.named[name]
}

func (s *spec) action(at string, was, is *stage, c command) {
	a, b := was.of(c.Action.Module), is.of(c.Action.Module)
	if b == nil || a == nil {
		return // refused by the meter alone, which is counted
	}
	if c.Action.Type == "get" {
		if g, h := a.ExportedGlobal(c.Action.Field).Get(), b.ExportedGlobal(c.Action.Field).Get(); g != h {
			s.t.Errorf("%s: %d, metered: %d", at, g, h)
		}
		s.answers++
		return
	}
	var args []uint64
	for _, v := range c.Action.Args {
		args = append(args, v.bits()...)
	}
	f := a.ExportedFunction(c.Action.Field)
	want, wantErr := f.Call(context.Background(), args...)
	got, err := b.ExportedFunction(c.Action.Field).Call(context.Background(), args...)
	if references := slices.ContainsFunc(f.Definition().ResultTypes(), func(t api.ValueType) bool { return t == funcrefType }); references {
		want, got = nil, nil // addresses
	}
	if !slices.Equal(want, got) || trapOf(wantErr) != trapOf(err) {
		s.t.Errorf("%s %s: %v %v, metered: %v %v", at, c.Action.Field, want, wantErr, got, err)
	}
	if err == nil {
		s.answers++
	} else {
		s.traps++
	}
}

func trapOf(err error) string {
	if err == nil {
		return ""
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// reason is a refusal without what differs from one to the next.
func reason(err error) string {
	if strings.Contains(err.Error(), "which is no function") {
		return "imports other than functions"
	}
	first, _, _ := strings.Cut(err.Error(), ":")
	return first
}
