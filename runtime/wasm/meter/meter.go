// Package meter checks an untrusted WebAssembly module against limits and
// rewrites it so that it burns fuel and yields to the host. It is pure.
//
// At every function entry the rewritten code subtracts the cost of the longest
// path that repeats no loop from a global, and before each branch back to a loop
// the cost of the longest path from the loop to that branch; when the global falls
// below zero it calls the host, which looks at the clock and refuels. So all that
// is executed is paid: a path forward is part of what the entry paid, and a branch
// back pays again for what lies between.
// A long range of memory is worked on in pieces, with a call of the host between them.
// Functions that call others also take their frame from a second global and
// give it back at their end, so that recursion is bounded. A guest cannot name
// what is added: every index of its own is checked against the counts of the
// original module.
//
// Binary format: WebAssembly Core Specification 2.0, section 5.
package meter

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/weftrun/weft"
)

// What Rewrite adds to a module: exported globals and an import.
const (
	FuelExport  = "weft:fuel"  // mutable i64; the host sets it, the guest burns it
	DepthExport = "weft:depth" // mutable i64; what is left of DepthMax
	TableExport = "weft:table" // mutable i64; elements that a table may grow to. It begins as Limits.Table
	TouchExport = "weft:touch" // mutable i64; not 0 when the guest may have changed what is neither memory nor a number in a global: tables, segments
	NoExport    = "weft:no"    // mutable i64; how often a table was not allowed to grow
	StartExport = "weft:start" // () -> (), where the module has a start function: the host calls it, so that it has the stack in its hands
	TickModule  = "weft/rt"
	TickName    = "tick" // () -> (), called when fuel or depth is below zero, and between the pieces of a long range of memory
	reserved    = "weft:"
)

// GlobalExport is the name by which the host finds the guest's own mutable
// global i, of Info.Mutable.
func GlobalExport(i int) string { return reserved + strconv.Itoa(i) }

// DepthMax is how deep calls may nest: a frame counts 16 and one for each
// local, so that it is about the stack in words of 8 bytes, and 8 MiB as a
// native thread has it. The host sets the global to it before each call; it
// begins so.
const DepthMax = 1 << 20

// Limits of a module. A zero field means its default.
type Limits struct {
	Functions     int // default 50,000
	FunctionBytes int // code of one function; default 512 KiB
	Locals        int // of one function; default 5,000
	Blocks        int // of one function, with everything that a compiler makes blocks of; default 5,000
	Square        int // blocks times blocks of each function, together; default 250,000,000
	Nesting       int // of blocks; default 5,000
	Complexity    int // blocks times locals of one function; default 500,000
	Total         int // complexity of all functions; default 5,000,000
	Targets       int // of the br_tables of one function; default 10,000
	Types         int // default 65,536
	Imports       int // default 256
	Exports       int // default 4,096
	Globals       int // default 4,096
	Params        int // and results of one type; default 64
	Table         int // elements of one table, now and ever; default 65,536
	Tables        int // default 16
	Segments      int // of data, and of elements; default 100,000
	Elements      int // of all segments; default 131,072
	AllLocals     int // of all functions; default 4,000,000
	AllParams     int // and results of all types; default 1,000,000
	Customs       int // custom sections; default 1,000
	Name          int // bytes of a name; default 1,024
	Names         int // of all names; default 512 KiB
	MemoryPages   int // of 64 KiB that the module wants at the start; default 16,384
}

func (l *Limits) fill() {
	for _, f := range []struct {
		field *int
		value int
	}{{&l.Functions, 50_000}, {&l.FunctionBytes, 512 << 10}, {&l.Locals, 5_000}, {&l.Blocks, 5_000}, {&l.Square, 250_000_000}, {&l.Nesting, 5_000}, {&l.Complexity, 500_000},
		{&l.Total, 5_000_000}, {&l.Targets, 10_000}, {&l.Types, 65_536}, {&l.Imports, 256}, {&l.Exports, 4_096}, {&l.Globals, 4_096}, {&l.Params, 64},
		{&l.Table, 65_536}, {&l.Tables, 16}, {&l.Segments, 100_000}, {&l.Elements, 131_072}, {&l.AllLocals, 4_000_000}, {&l.AllParams, 1_000_000},
		{&l.Customs, 1_000}, {&l.Name, 1_024}, {&l.Names, 512 << 10}, {&l.MemoryPages, 16_384}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
}

// Options of Rewrite.
type Options struct {
	Limits  Limits
	Imports map[string]Signature // what may be imported, as module.name
	Piece   int                  // bytes of memory that one instruction works on between two ticks, at most 1 GiB; default 256 KiB
}

// Signature is the type of a function: one byte a value type, as in the binary format.
type Signature struct{ Params, Results []byte }

// String is the signature in the text format's words.
func (s Signature) String() string {
	list := func(ts []byte) string {
		names := make([]string, len(ts))
		for i, t := range ts {
			names[i] = typeNames[t]
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(s.Params) + " -> " + list(s.Results)
}

func (s Signature) equal(o Signature) bool {
	return bytes.Equal(s.Params, o.Params) && bytes.Equal(s.Results, o.Results)
}

// Info is what Rewrite found in a module.
type Info struct {
	Imports     []Function
	Exports     []Function
	Customs     map[string][]byte // custom sections; the first of each name
	Memory      bool              // it has one
	MemoryPages int               // of it, at the start
	Table       int               // elements of its largest table, at the start
	Tables      int               // how many there are
	Elements    int               // of all segments
	Segments    int               // of data, and of elements
	Lists       int               // of them, those of elements
	Globals     int
	Grows       bool // it has an instruction that grows a table
	Mutable     int  // its mutable globals that hold numbers
}

// Function is an imported or exported function; Module is empty for an export.
type Function struct {
	Module, Name string
	Signature    Signature
}

var header = []byte("\x00asm\x01\x00\x00\x00")

// Rewrite checks a module and returns it metered. A module that is refused is
// InvalidArgument, or ResourceExhausted with the number and the limit; what is
// in a function is told with its index, imported functions counted first. Names
// of functions and other custom sections are dropped: their indices would be wrong.
func Rewrite(module []byte, o Options) (out []byte, info Info, err error) {
	o.Limits.fill()
	if o.Piece = min(o.Piece, 1<<30); o.Piece <= 0 {
		o.Piece = pieceMax
	}
	m := &rewriter{Options: o, limits: o.Limits, info: Info{Customs: map[string][]byte{}}, inside: -1}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			out, info, err = nil, Info{}, m.refused(r)
		case *weft.Error:
			out, info, err = nil, Info{}, r
		default:
			panic(r)
		}
	}()
	if !bytes.HasPrefix(module, header) {
		malformed("it does not begin as a WebAssembly 1.0 core module does")
	}
	out = append(make([]byte, 0, len(module)+len(module)/2), header...)
	sections := m.sections(module)
	for _, code := range []bool{false, true} { // that last: it has to do with all the others
		for i, s := range sections {
			if (s.id == codeSection) == code {
				sections[i].body = m.section(s)
			}
		}
	}
	if len(m.functions)-m.imported != m.bodies {
		malformed("it declares %d functions and has the code of %d", len(m.functions)-m.imported, m.bodies)
	}
	for _, s := range sections {
		if s.id == functionSection {
			s.body = m.declarations()
		}
		out = appendSection(out, s.id, s.body)
	}
	return out, m.info, nil
}

// refused is the error for a module that is refused.
func (m *rewriter) refused(r refusal) error {
	const op = "meter.Rewrite"
	switch in := m.inside; {
	case r.code == weft.ResourceExhausted && in < 0:
		return weft.Errorf(r.code, op, "the module has %s", r.text)
	case r.code == weft.ResourceExhausted:
		return weft.Errorf(r.code, op, "function %d of the module has %s", in, r.text)
	case in < 0:
		return weft.Errorf(r.code, op, "the module is not valid: %s", r.text)
	default:
		return weft.Errorf(r.code, op, "the module is not valid: function %d: %s", in, r.text)
	}
}

// AppendCustom returns the module with one more custom section.
func AppendCustom(module []byte, name string, data []byte) []byte {
	return appendSection(bytes.Clone(module), 0, append(appendName(nil, name), data...))
}

// Custom is the first custom section of that name in a module that Rewrite has
// taken; nil where it has none.
func Custom(module []byte, name string) []byte {
	for r := (&reader{b: module, p: len(header)}); r.p < len(r.b); {
		id, content := r.byte(), r.take(r.u32())
		if id != customSection {
			continue
		}
		if c := (&reader{b: content}); c.name(len(content)) == name {
			return content[c.p:]
		}
	}
	return nil
}

// Section ids, in the order that a module has them in.
const (
	customSection   = 0
	typeSection     = 1
	importSection   = 2
	functionSection = 3
	tableSection    = 4
	memorySection   = 5
	globalSection   = 6
	exportSection   = 7
	startSection    = 8
	elementSection  = 9
	countSection    = 12 // of data segments, before the code
	codeSection     = 10
	dataSection     = 11
)

var sectionOrder = []byte{typeSection, importSection, functionSection, tableSection, memorySection, globalSection, exportSection, startSection,
	elementSection, countSection, codeSection, dataSection}

type section struct {
	id   byte
	body []byte
}

// rewriter holds the counts of the original module while it is walked.
type rewriter struct {
	Options
	limits Limits
	info   Info

	types      []Signature
	start      []byte   // the section of the start function; nil where there is none
	declared   bool     // ref.func may name the start function: it is named outside of code
	blockTypes []uint32 // of each type with several results, the added type of a block with those
	functions  []uint32 // type of each, imports first
	imported   int      // how many of functions
	tickType   uint32
	pieceType  uint32
	pieces     []pieces // functions that are added
	segments   []uint32 // bytes of each data segment
	globals    int
	mutable    []uint32 // those globals that are, and hold numbers
	others     []bool   // of each global: it is mutable and holds something else
	bodies     int
	names      int // bytes of all so far
	complexity int // of all functions so far
	square     int // the same of blocks times blocks
	locals     int // the same of locals
	inside     int // the function whose code is walked, -1 outside
	code       *body
}

// sections splits the module, keeps the custom sections' content for Info, and
// sees to it that those to which something is added are there.
func (m *rewriter) sections(module []byte) []section {
	found := map[byte][]byte{typeSection: {0}, importSection: {0}, globalSection: {0}, exportSection: {0}}
	r, last, customs := &reader{b: module, p: len(header)}, -1, 0
	for r.p < len(module) {
		id, content := r.byte(), r.take(r.u32())
		if id == customSection {
			c := &reader{b: content}
			customs++
			over("custom sections", uint64(customs), m.limits.Customs)
			if name := m.name(c); m.info.Customs[name] == nil {
				m.info.Customs[name] = content[c.p:]
			}
			continue
		}
		place := slices.Index(sectionOrder, id)
		if place <= last {
			malformed("section %d is unknown, twice or out of order", id)
		}
		last = place
		found[id] = content
	}
	m.start = found[startSection] // it becomes an export
	delete(found, startSection)
	var list []section
	for _, id := range sectionOrder {
		if content, ok := found[id]; ok {
			list = append(list, section{id, content})
		}
	}
	return list
}

// name is the next name: the host tells of them, so all of them have a limit too.
func (m *rewriter) name(r *reader) string {
	s := r.name(m.limits.Name)
	m.names += len(s)
	over("bytes of names", uint64(m.names), m.limits.Names)
	return s
}

// section is the new content of one section.
func (m *rewriter) section(s section) []byte {
	r := &reader{b: s.body}
	var w []byte
	switch s.id {
	case typeSection:
		w = m.typeSection(r)
	case importSection:
		w = m.importSection(r)
	case functionSection:
		w = m.functionSection(r)
	case tableSection:
		w = m.tableSection(r)
	case memorySection:
		w = m.memorySection(r)
	case globalSection:
		w = m.globalSection(r)
	case exportSection:
		w = m.exportSection(r)
	case elementSection:
		w = m.elementSection(r)
	case codeSection:
		w = m.codeSection(r)
	case dataSection:
		w = m.dataSection(r)
	case countSection:
		r.u32()
		w = s.body
	}
	if r.p != len(r.b) {
		malformed("section %d goes on after its end", s.id)
	}
	return w
}

func (m *rewriter) typeSection(r *reader) []byte {
	n, values := r.count("types", m.limits.Types), 0
	start := r.p
	for range n {
		if r.byte() != 0x60 {
			malformed("a type is no function type")
		}
		params := r.valueTypes(r.count("parameters of a function", m.limits.Params))
		results := r.valueTypes(r.count("results of a function", m.limits.Params))
		m.types = append(m.types, Signature{params, results})
		values += len(params) + len(results)
		over("parameters and results of all functions", uint64(values), m.limits.AllParams)
	}
	types := bytes.Clone(r.since(start))
	m.blockTypes = make([]uint32, len(m.types))
	added := n
	for i, t := range m.types {
		if len(t.Results) > 1 {
			m.blockTypes[i] = added
			added++
			types = append(appendU32(append(types, 0x60, 0), uint32(len(t.Results))), t.Results...)
		}
	}
	m.tickType, m.pieceType = added, added+1
	types = append(types, 0x60, 0, 0)
	types = append(types, 0x60, 3, i32Type, i32Type, i32Type, 3, i32Type, i32Type, i32Type)
	return append(appendU32(nil, added+2), types...)
}

func (m *rewriter) importSection(r *reader) []byte {
	n := r.count("imports", m.limits.Imports)
	start := r.p
	for range n {
		module, name := m.name(r), m.name(r)
		if kind := r.byte(); kind != 0 {
			malformed("it imports %s, which is no function", shown(module+"."+name))
		}
		t := within("type", r.u32(), len(m.types))
		m.admit(Function{module, name, m.types[t]})
		m.functions = append(m.functions, t)
	}
	m.imported = len(m.functions)
	w := append(appendU32(nil, n+1), r.since(start)...)
	w = appendName(appendName(w, TickModule), TickName)
	return appendU32(append(w, 0), m.tickType) // tick, as the last imported function
}

// shown is a name with signs for what cannot be printed: a terminal would obey it.
func shown(name string) string {
	q := strconv.Quote(name)
	return q[1 : len(q)-1]
}

// admit refuses an import that is not on the list.
func (m *rewriter) admit(f Function) {
	name := f.Module + "." + f.Name
	want, ok := m.Imports[name]
	if !ok {
		panic(weft.Errorf(weft.InvalidArgument, "meter.Rewrite", "the module imports %s, which this host does not offer", shown(name)).
			WithHint("docs/ABI.md lists what a module may import"))
	}
	if !want.equal(f.Signature) {
		panic(weft.Errorf(weft.InvalidArgument, "meter.Rewrite", "the module imports %s as %s, but it is %s", name, f.Signature, want))
	}
	m.info.Imports = append(m.info.Imports, f)
}

func (m *rewriter) functionSection(r *reader) []byte {
	for range r.count("functions", m.limits.Functions) {
		m.functions = append(m.functions, within("type", r.u32(), len(m.types)))
	}
	return r.b
}

// declarations is the section of functions with those that are added, once the code has
// been walked.
func (m *rewriter) declarations() []byte {
	own := m.functions[m.imported:]
	w := appendU32(nil, uint32(len(own)+len(m.pieces)))
	for _, t := range own {
		w = appendU32(w, t)
	}
	for range m.pieces {
		w = appendU32(w, m.pieceType)
	}
	return w
}

// function is the new index of a function: tick comes after the imported ones.
func (m *rewriter) function(i uint32) uint32 {
	if within("function", i, len(m.functions)); m.inside < 0 && m.starts(i) {
		m.declared = true
	}
	if int(i) >= m.imported {
		return i + 1
	}
	return i
}

// starts reports whether i is the start function.
func (m *rewriter) starts(i uint32) bool { return m.start != nil && (&reader{b: m.start}).u32() == i }

// tableSection gives every table a maximum, so that it cannot grow without end.
func (m *rewriter) tableSection(r *reader) []byte {
	n := r.count("tables", m.limits.Tables)
	m.info.Tables = int(n)
	w := appendU32(nil, n)
	for range n {
		element, flags := r.refType(), r.byte()
		least, most := r.count("elements in a table", m.limits.Table), uint32(m.limits.Table)
		if flags > 1 {
			malformed("a table has flags %d", flags)
		}
		if flags == 1 {
			most = min(most, r.u32())
		}
		if most < least {
			malformed("a table begins larger than it may be")
		}
		m.info.Table = max(m.info.Table, int(least))
		w = appendU32(appendU32(append(w, element, 1), least), most)
	}
	return w
}

func (m *rewriter) memorySection(r *reader) []byte {
	if r.count("memories", 1) == 1 {
		flags := r.byte()
		if flags > 1 {
			malformed("its memory is shared or 64-bit")
		}
		m.info.Memory = true
		m.info.MemoryPages = int(r.count("pages of memory at the start", m.limits.MemoryPages))
		if flags == 1 {
			r.u32()
		}
	}
	return r.b
}

func (m *rewriter) globalSection(r *reader) []byte {
	n := r.count("globals", m.limits.Globals)
	m.info.Globals = int(n)
	w := appendU32(nil, n+5)
	for i := range n {
		kind, mutable := r.valueType(), r.byte()
		number := kind >= f64Type
		if mutable == 1 && number {
			m.mutable = append(m.mutable, i)
		}
		m.others = append(m.others, mutable == 1 && !number)
		w = m.constant(r, append(w, kind, mutable))
		m.globals++ // an initial value sees the globals before it only
	}
	w = append(w, i64Type, 1, opI64Const, 0, opEnd) // the fuel, mutable
	for _, first := range []int{DepthMax, m.limits.Table} {
		w = append(appendSigned(append(w, i64Type, 1, opI64Const), uint32(first)), opEnd)
	}
	for range 2 {
		w = append(w, i64Type, 1, opI64Const, 0, opEnd)
	}
	m.info.Mutable = len(m.mutable)
	return w
}

// fuel and those after it are the indices of the globals that are added.
func (m *rewriter) fuel() uint32  { return uint32(m.globals) }
func (m *rewriter) depth() uint32 { return uint32(m.globals) + 1 }
func (m *rewriter) table() uint32 { return uint32(m.globals) + 2 }
func (m *rewriter) touch() uint32 { return uint32(m.globals) + 3 }
func (m *rewriter) no() uint32    { return uint32(m.globals) + 4 }

// constant copies a constant expression.
func (m *rewriter) constant(r *reader, w []byte) []byte {
	for {
		p := r.p
		op := r.byte()
		switch op {
		case 0x0b:
			return append(w, op)
		case 0x41:
			r.skip(5)
		case 0x42:
			r.skip(10)
		case 0x43:
			r.take(4)
		case 0x44:
			r.take(8)
		case 0x23:
			within("global", r.u32(), m.globals)
		case 0xd0:
			r.refType()
		case 0xd2:
			w = appendU32(append(w, op), m.function(r.u32()))
			continue
		case 0xfd:
			if r.vectorOp() != 12 {
				malformed("a constant uses a vector instruction")
			}
			r.take(16)
		default:
			malformed("a constant uses instruction %#x", op)
		}
		w = append(w, r.since(p)...)
	}
}

func (m *rewriter) exportSection(r *reader) []byte {
	n := r.count("exports", m.limits.Exports)
	added := n + 5 + uint32(len(m.mutable))
	if m.start != nil {
		added++
	}
	w := appendU32(nil, added)
	for range n {
		name := m.name(r)
		if strings.HasPrefix(name, reserved) {
			malformed("it exports %q, and names that begin with %s are the host's", name, reserved)
		}
		kind, i := r.byte(), r.u32()
		switch kind {
		case 0:
			within("function", i, len(m.functions))
			m.info.Exports = append(m.info.Exports, Function{Name: name, Signature: m.types[m.functions[i]]})
			i = m.function(i)
		case 3:
			within("global", i, m.globals)
		}
		w = appendU32(append(appendName(w, name), kind), i)
	}
	for i, name := range []string{FuelExport, DepthExport, TableExport, TouchExport, NoExport} {
		w = appendU32(append(appendName(w, name), 3), m.fuel()+uint32(i))
	}
	for i, global := range m.mutable {
		w = appendU32(append(appendName(w, GlobalExport(i)), 3), global)
	}
	if m.start != nil {
		w = appendU32(append(appendName(w, StartExport), 0), m.startFunction())
	}
	return w
}

// startFunction is the new index of the start function.
func (m *rewriter) startFunction() uint32 {
	r := &reader{b: m.start}
	i, declared := r.u32(), m.declared
	f := m.function(i)
	m.declared = declared // being exported is the host's doing
	if s := m.types[m.functions[i]]; len(s.Params)+len(s.Results) > 0 {
		malformed("its start function %d is %s, and must be () -> ()", i, s)
	}
	if r.p != len(r.b) {
		malformed("section %d goes on after its end", startSection)
	}
	return f
}

func (m *rewriter) elementSection(r *reader) []byte {
	n := r.count("element segments", m.limits.Segments)
	m.info.Segments += int(n)
	m.info.Lists = int(n)
	w := appendU32(nil, n)
	for range n {
		flags := r.u32()
		if flags > 7 {
			malformed("an element segment has flags %d", flags)
		}
		w = appendU32(w, flags)
		if flags&1 == 0 { // active: a table, which the compiler checks, and an offset
			if flags&2 != 0 {
				w = appendU32(w, r.u32())
			}
			w = m.constant(r, w)
		}
		switch { // what it holds: a kind, of which there is one, or a type
		case flags&3 == 0:
		case flags&4 == 0:
			if w = append(w, r.byte()); w[len(w)-1] != 0 {
				malformed("an element segment holds no functions")
			}
		default:
			w = append(w, r.refType())
		}
		elements := r.count("elements in a segment", 4*m.limits.Table)
		m.info.Elements += int(elements)
		over("elements in all segments", uint64(m.info.Elements), m.limits.Elements)
		w = appendU32(w, elements)
		for range elements {
			if flags&4 != 0 {
				w = m.constant(r, w)
			} else {
				w = appendU32(w, m.function(r.u32()))
			}
		}
	}
	return w
}

func (m *rewriter) codeSection(r *reader) []byte {
	n := r.count("functions", m.limits.Functions)
	if int(n) != len(m.functions)-m.imported {
		malformed("it declares %d functions and has the code of %d", len(m.functions)-m.imported, n)
	}
	m.code = &body{m: m}
	w := make([]byte, 0, len(r.b)*2)
	for range n {
		m.inside = m.imported + m.bodies
		size := r.count("bytes of code", m.limits.FunctionBytes)
		code := m.code.rewrite(&reader{b: r.take(size)}, m.functions[m.inside])
		w = append(appendU32(w, uint32(len(code))), code...)
		m.bodies++
	}
	m.inside = -1
	for _, p := range m.pieces {
		code := p.code(m)
		w = append(appendU32(w, uint32(len(code))), code...)
	}
	return slices.Insert(w, 0, appendU32(nil, n+uint32(len(m.pieces)))...)
}

// dataSection only checks: it holds no index that moves, but its sizes must
// not be lies, for a decoder may believe them. The code asks for them.
func (m *rewriter) dataSection(r *reader) []byte {
	n := r.count("data segments", m.limits.Segments)
	m.info.Segments += int(n)
	for range n {
		flags := r.u32()
		if flags > 2 {
			malformed("a data segment has flags %d", flags)
		}
		if flags == 2 {
			r.u32()
		}
		if flags != 1 {
			m.constant(r, nil)
		}
		m.segments = append(m.segments, uint32(len(r.take(r.u32()))))
	}
	return r.b
}

// segment is how many bytes a data segment has; 0 where there is none.
func (m *rewriter) segment(i uint32) int {
	if int(i) >= len(m.segments) {
		return 0
	}
	return int(m.segments[i])
}
