// Package hostile makes modules that harm a host which takes them: some lie to
// its decoder or eat its compiler and must be refused at upload, some are taken
// and must be stopped when they run.
package hostile

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weftrun/weft/runtime/wasm"
)

// Upload is a module that must be refused.
type Upload struct {
	Name string
	Wasm []byte
	Says string // in the refusal: the cause, with index, figure and limit where there are any
}

// Uploads are the modules to refuse.
func Uploads() []Upload {
	all := lies()
	all = append(all, bombs()...)
	all = append(all, thieves()...)
	return append(all, invalid()...)
}

const billion = 1 << 30

// lies are modules whose counts and sizes are not what follows.
func lies() []Upload {
	var all []Upload
	for _, s := range []struct {
		id   byte
		says string
	}{
		{1, "too many types: 1073741824, the limit is 65536"}, {2, "too many imports: 1073741824, the limit is 256"},
		{3, "too many functions: 1073741824, the limit is 50000"}, {4, "too many tables: 1073741824, the limit is 16"},
		{5, "too many memories: 1073741824, the limit is 1"}, {6, "too many globals: 1073741824, the limit is 4096"},
		{7, "too many exports: 1073741824, the limit is 4096"}, {9, "too many element segments: 1073741824, the limit is 100000"},
		{10, "too many functions: 1073741824, the limit is 50000"}, {11, "too many data segments: 1073741824, the limit is 100000"},
	} {
		all = append(all, Upload{fmt.Sprintf("a section %d of a billion things", s.id), assemble(sec(s.id, u32(billion))), s.says})
	}
	whole := frame{data: []byte("data")}.handler(code([]byte{0x20, 0}))
	return append(all,
		Upload{"a section longer than the module", assemble(cat([]byte{1}, u32(billion))), "says that 1073741824 bytes follow, but 0 do"},
		Upload{"a section shorter than its content", assemble(sec(3, cat(u32(0), u32(7)))), "section 3 goes on after its end"},
		Upload{"a custom section with a name of a billion bytes", assemble(sec(0, u32(billion))), "too many bytes of a name: 1073741824, the limit is 1024"},
		Upload{"a custom section whose name is no text", assemble(sec(0, sized([]byte{0xff, 0xfe}))), "is not UTF-8"},
		Upload{"a type with a billion parameters", assemble(sec(1, cat(u32(1), []byte{0x60}, u32(billion)))), "too many parameters of a function: 1073741824, the limit is 64"},
		Upload{"a type with 1,000 results", assemble(sec(1, vec(cat([]byte{0x60, 0}, sized(repeat(1000, i32)))))), "too many results of a function: 1000, the limit is 64"},
		Upload{"an import with a name of a billion bytes", assemble(sec(1, vec()), sec(2, cat(u32(1), u32(billion)))), "too many bytes of a name: 1073741824, the limit is 1024"},
		Upload{"an export with a name of a billion bytes", assemble(sec(7, cat(u32(1), u32(billion)))), "too many bytes of a name: 1073741824, the limit is 1024"},
		Upload{"a segment of a billion elements", assemble(sec(9, cat(u32(1), []byte{0, 0x41, 0, end}, u32(billion)))), "too many elements in a segment: 1073741824, the limit is 262144"},
		Upload{"a data segment of a billion bytes", assemble(sec(11, cat(u32(1), []byte{1}, u32(billion)))), "says that 1073741824 bytes follow"},
		Upload{"4 billion locals in 9 bytes", one(cat([]byte{1}, u32(1<<32-1), []byte{i32, end})), "function 0 of the module has too many locals: 4294967295, the limit is 5000"},
		Upload{"a billion groups of locals", one(u32(billion)), "function 0 of the module has too many groups of locals: 1073741824, the limit is 1000"},
		Upload{"a function longer than the module", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(10, cat(u32(1), u32(200_000)))), "function 0: it says that 200000 bytes follow"},
		Upload{"a br_table of a billion", one(code([]byte{0x41, 0, 0x0e}, u32(billion))), "function 0 of the module has too many targets of br_table: 1073741824, the limit is 10000"},
		Upload{"a number of 20 bytes", assemble(sec(1, repeat(20, 0x80))), "a number is over 32 bits"},
		Upload{"functions without code", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0}, []byte{0}))), "declares 2 functions and has the code of 0"},
		Upload{"code without functions", assemble(sec(10, vec(sized(code())))), "declares 0 functions and has the code of 1"},
		Upload{"a module cut in its middle", whole[:len(whole)/2], "bytes follow"},
		Upload{"a module cut before its last byte", whole[:len(whole)-1], "bytes follow"},
	)
}

// bombs are small or valid modules that a compiler, a table or a memory takes
// very long or very much for.
func bombs() []Upload {
	get := []byte{0x20, 0}
	var functions [][]byte
	for range 50_001 {
		functions = append(functions, []byte{0})
	}
	heavy := locals(400, repeat(1200, 2, 0x40, end), get) // 480,000 blocks times locals
	branchy := code(repeat(4_900, 0x41, 0, 4, 0x40, end), get)
	return []Upload{
		{"100,000 loops in each other", one(code(repeat(100_000, 3, 0x40), repeat(100_000, end))), "function 0 of the module has too many blocks inside each other: 5001, the limit is 5000"},
		{"100,000 blocks in each other", one(code(repeat(100_000, 2, 0x40), repeat(100_000, end))), "blocks inside each other: 5001, the limit is 5000"},
		{"100,000 loops in a row", one(code(repeat(100_000, 3, 0x40, end))), "function 0 of the module has too many blocks: 100000, the limit is 5000"},
		{"4,999 loops in each other that repeat", one(code(repeat(4_999, 3, 0x40), repeat(4_999, 0x41, 0, 0x0d, 0, end))), "function 0 of the module has too many blocks: 14997, the limit is 5000"},
		{"eleven functions of 4,900 branches, the last of them one too many", frame{}.handler(branchy, branchy, branchy, branchy, branchy, branchy, branchy, branchy, branchy, branchy, branchy), "function 10 of the module has too many blocks times blocks, with those of the functions before it: 264110000, the limit is 250000000"},
		{"100,000 divisions", one(code(times(100_000, []byte{0x41, 1, 0x41, 1, 0x6d, 0x1a}))), "too many"},
		{"3,000 copies of memory", frame{}.handler(code(times(3_000, cat(get, get, get, []byte{0xfc, 10, 0, 0})), get)), "too many blocks: 21000, the limit is 5000"},
		{"5,000 locals in 1,000 blocks", one(locals(5_000, repeat(1_000, 2, 0x40, end))), "function 0 of the module has too many blocks times locals: 5000000, the limit is 500000"},
		{"eleven heavy functions, the last of them one too many", frame{}.handler(slices.Repeat([][]byte{heavy}, 11)...), "function 10 of the module has too many blocks times locals, with those of the functions before it: 5293200, the limit is 5000000"},
		{"10,000 branches back to a loop", one(code([]byte{3, 0x40}, times(10_000, []byte{0x41, 0, 0x0d, 0}), []byte{end})), "too many blocks: 20001, the limit is 5000"},
		{"a function of 1 MiB", one(code(repeat(1<<20, 1))), "function 0 of the module has too many bytes of code: 1048578, the limit is 524288"},
		{"twenty br_tables of 600", one(code(times(20, cat([]byte{2, 0x40, 0x41, 0, 0x0e}, u32(600), repeat(601, 0), []byte{end})))), "function 0 of the module has too many targets of br_table: 10200, the limit is 10000"},
		{"50,001 functions", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec(functions...))), "too many functions: 50001, the limit is 50000"},
		{"a table of a billion", assemble(sec(4, vec(cat([]byte{0x70, 0}, u32(billion))))), "too many elements in a table: 1073741824, the limit is 65536"},
		{"17 tables", assemble(sec(4, vec(func() (t [][]byte) {
			for range 17 {
				t = append(t, []byte{0x70, 0, 1})
			}
			return t
		}()...))), "too many tables: 17, the limit is 16"},
		{"a memory of 4 GiB", assemble(sec(5, vec(cat([]byte{0}, u32(65_536))))), "too many pages of memory at the start: 65536, the limit is 16384"},
		{"a memory of 128 MiB", frame{pages: 2048}.handler(code(get)), "wants 131072 KiB of memory at its start, the limit is 64 MiB"},
		{"a million elements in passive segments", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(9, vec(slices.Repeat([][]byte{cat([]byte{1, 0}, sized(repeat(200_000, 0)))}, 5)...)), sec(10, vec(sized(code())))),
			"too many elements in all segments: 200000, the limit is 131072"},
		{"1,000 functions of 4,990 locals", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, sized(repeat(1_000, 0))), sec(10, vec(slices.Repeat([][]byte{sized(locals(4_990))}, 1_000)...))),
			"function 801 of the module has too many locals, with those of the functions before it: 4001980, the limit is 4000000"},
		{"20,000 types of 64 parameters", assemble(sec(1, vec(slices.Repeat([][]byte{cat([]byte{0x60}, sized(repeat(64, i32)), []byte{0})}, 20_000)...))),
			"too many parameters and results of all functions: 1000064, the limit is 1000000"},
		{"800 exports with names of 1,000 bytes", assemble(sec(1, vec([]byte{0x60, 1, i32, 1, i32})), sec(3, vec([]byte{0})), sec(7, vec(func() (all [][]byte) {
			for n := range 800 {
				all = append(all, cat(text(fmt.Sprintf("%01000d", n)), []byte{0, 0}))
			}
			return all
		}()...)), sec(10, vec(sized(code(konst(0)))))), "too many bytes of names: 525000, the limit is 524288"},
		{"2,000 custom sections", assemble(times(2_000, sec(0, text("x")))), "too many custom sections: 1001, the limit is 1000"},
		{"17 MiB", repeat(17<<20, 0), "has 17825792 bytes, the limit is 16777216"},
		{"a manifest nested 20,000 deep", wasm.AppendSection(frame{}.handler(code(get)), wasm.ManifestSection,
			cat([]byte(`{"handlers":[{"name":"f","input":`), times(20_000, []byte(`{"a":`)), []byte("1"), repeat(20_000, '}'), []byte("}]}"))), "exceeded max depth"},
		{"a manifest of 1 MiB", wasm.AppendSection(frame{}.handler(code(get)), wasm.ManifestSection, repeat(1<<20, ' ')), "the manifest has 1048576 bytes, the limit is 262144"},
	}
}

// thieves reach for what is the host's.
func thieves() []Upload {
	from := func(module, name string, description ...byte) []byte {
		return assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(2, vec(cat(text(module), text(name), description))))
	}
	export := func(name string) []byte {
		return assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(7, vec(cat(text(name), []byte{0, 0}))), sec(10, vec(sized(code()))))
	}
	return []Upload{
		{"the call that refuels", from("weft/rt", "tick", 0, 0), "imports weft/rt.tick, which this host does not offer"},
		{"an import that nobody offers", from("env", "system", 0, 0), "imports env.system, which this host does not offer"},
		{"an import whose name clears a terminal", from("env", "\x1b[2J", 0, 0), `imports env.\x1b[2J, which this host does not offer`},
		{"an import with another type", from("weft/v1", "input", 0, 0), "imports weft/v1.input as () -> (), but it is (i32, i32, i32) -> (i32)"},
		{"a memory of the host's", from("weft/v1", "memory", 2, 0, 1), "imports weft/v1.memory, which is no function"},
		{"a table of the host's", from("weft/v1", "table", 1, 0x70, 0, 1), "imports weft/v1.table, which is no function"},
		{"a global of the host's", from("weft/rt", "fuel", 3, i64, 1), "imports weft/rt.fuel, which is no function"},
		{"the fuel as an export", export("weft:fuel"), `exports "weft:fuel"`},
		{"the fuel as the first global", one(code([]byte{0x42, 0, 0x24, 0})), "function 0: global 0 does not exist, there are 0"},
		{"the depth as the second global", one(code([]byte{0x42, 0, 0x24, 1})), "function 0: global 1 does not exist, there are 0"},
		{"the local that holds the fuel", one(code([]byte{0x42, 0, 0x21, 0})), "function 0: local 0 does not exist, there are 0"},
		{"a call of the function behind the last", one(code([]byte{0x10, 1})), "function 0: function 1 does not exist, there are 1"},
		{"a branch past the function", one(code([]byte{0x0c, 1})), "function 0: label 1 does not exist, there are 1"},
		{"the type of the call that refuels", one(code([]byte{0x02, 1, end})), "function 0: type 1 does not exist, there are 1"},
		{"an endless loop in what one reader takes for a constant", frame{}.handler(code([]byte{0x02, 0x40, 0x0c, 0, 0xfd, 0x8c, 0, end, 0x03, 0x40, 0x0c, 0, end, 0x02, 0x40}, repeat(8, 1), []byte{end, 0x20, 0})),
			"function 0: instruction 0xfd 12 in 2 bytes is not one of WebAssembly 2.0"},
		{"a block whose type is below zero", assemble(sec(1, cat(u32(20_000), times(20_000, []byte{0x60, 0, 0}))), sec(3, vec([]byte{0})), sec(10, vec(sized(code([]byte{0x02, 0xe3, 0x7f, end}))))),
			"function 0: a block has a type below zero"},
	}
}

// invalid are modules of another kind or with an error in them.
func invalid() []Upload {
	op := func(b ...byte) []byte { return one(code(b)) }
	newer := func(name string, b ...byte) Upload {
		return Upload{name, op(b...), fmt.Sprintf("function 0: instruction %#x is not one of WebAssembly 2.0", b[0])}
	}
	return []Upload{
		{"nothing", nil, "does not begin as a WebAssembly 1.0 core module does"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), "does not begin as a WebAssembly 1.0 core module does"},
		{"text", []byte("(module)"), "does not begin as a WebAssembly 1.0 core module does"},
		{"sections out of order", assemble(sec(3, vec()), sec(1, vec())), "section 1 is unknown, twice or out of order"},
		{"a section twice", assemble(sec(1, vec()), sec(1, vec())), "section 1 is unknown, twice or out of order"},
		{"a shared memory", assemble(sec(5, vec([]byte{3, 1, 1}))), "its memory is shared or 64-bit"},
		{"a memory of 64 bits", assemble(sec(5, vec([]byte{4, 1}))), "its memory is shared or 64-bit"},
		{"a table that begins above its limit", assemble(sec(4, vec([]byte{0x70, 1, 9, 3}))), "a table begins larger than it may be"},
		newer("an exception", 0x06, 0x40, end), newer("a tail call", 0x12, 0), newer("a garbage-collected struct", 0xfb, 0, 0), newer("an atomic", 0xfe, 3, 0),
		{"a value type of a later kind", one([]byte{1, 1, 0x63, 1, end}), "function 0: value type 0x63 is not one of WebAssembly 2.0"},
		{"an addition of nothing", op(0x6a, 0x1a), "invalid function[0]"},
		{"a result that is not there", frame{}.handler(code()), "invalid function[0]"},
		{"a store aligned to 2^32", frame{}.handler(cat(code([]byte{0x41, 0, 0x41, 0, 0x36, 32, 0, 0x20, 0}))), "invalid function[0]"},
		{"a load without memory", op(0x41, 0, 0x28, 2, 0, 0x1a), "invalid function[0]"},
		{"a start function with a parameter", assemble(sec(1, vec([]byte{0x60, 1, i32, 0})), sec(3, vec([]byte{0})), sec(8, []byte{0}), sec(10, vec(sized(code())))), "start"},
		{"two exports of one name", assemble(sec(1, vec([]byte{0x60, 0, 0})), sec(3, vec([]byte{0})), sec(7, vec([]byte{1, 'f', 0, 0}, []byte{1, 'f', 0, 0})), sec(10, vec(sized(code())))), "duplicates"},
		{"data without memory", assemble(sec(11, vec([]byte{0, 0x41, 0, end, 1, 'x'}))), "the module is not valid"},
		{"an export whose name clears a terminal", assemble(sec(1, vec([]byte{0x60, 1, i32, 1, i32})), sec(3, vec([]byte{0})), sec(7, vec(cat(text("\x1b[2J"), []byte{0, 0}))), sec(10, vec(sized(code(konst(0)))))),
			`"\x1b[2J", whose name cannot be printed`},
		{"a section whose name is two lines", wasm.AppendSection(frame{}.handler(code([]byte{0x20, 0})), "a\n  signed    by key 1", nil), `"a\n  signed    by key 1", whose name cannot be printed`},
		{"a manifest that is no JSON", wasm.AppendSection(frame{}.handler(code([]byte{0x20, 0})), wasm.ManifestSection, []byte("name: shop")), "the manifest cannot be read"},
		{"chance", chance(4096), "the module is not valid"},
	}
}

// chance is a header with n bytes that look like nothing.
func chance(n int) []byte {
	b, x := assemble(), uint64(1)
	for range n / 8 {
		x = x*6364136223846793005 + 1442695040888963407
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}
