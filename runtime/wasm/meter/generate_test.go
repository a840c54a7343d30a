package meter

import "math/rand/v2"

// generator makes valid modules by chance: the same seed, the same module.
// Most of them end by themselves; some run into traps, some do not end.
type generator struct {
	*rand.Rand
	types    []Signature
	imported int
	funcs    []int // type of each function, imported ones first
	globals  []byte

	// Of the function in the making:
	self   int
	locals []byte  // that code may set
	loops  int     // each has a counter, a local after those
	labels []label // blocks that are open, the innermost last
	code   []byte
	left   int // instructions that may still come
}

// label is what a branch to a block has to carry.
type label struct {
	types []byte
	loop  bool
}

var numbers = []byte{i32Type, i64Type, f32Type, f64Type}

// Counts of a generated module that its code relies on.
const (
	tableSize = 8
	dataSize  = 40 // bytes of each of its two data segments
	noteName  = "note"
)

var noteType = Signature{Params: []byte{i32Type}, Results: []byte{i32Type}}

// generate is the module of a seed.
func generate(seed uint64) []byte {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.types = []Signature{noteType, {}, {Params: []byte{i32Type, i32Type}, Results: []byte{i64Type, i32Type}}}
	for range g.IntN(4) {
		g.types = append(g.types, Signature{g.some(3), g.some(3)})
	}
	g.imported = g.IntN(3)
	for range g.imported {
		g.funcs = append(g.funcs, 0)
	}
	for range 2 + g.IntN(4) {
		g.funcs = append(g.funcs, g.IntN(len(g.types)))
	}
	for range g.IntN(4) {
		g.globals = append(g.globals, g.number())
	}
	return g.module()
}

func (g *generator) number() byte { return numbers[g.IntN(len(numbers))] }

// one reports whether something that happens once in n times does.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

// some are up to n number types.
func (g *generator) some(n int) []byte {
	list := make([]byte, g.IntN(n+1))
	for i := range list {
		list[i] = g.number()
	}
	return list
}

func (g *generator) module() []byte {
	var types, imports, kinds, globals, exports, bodies [][]byte
	for _, t := range g.types {
		types = append(types, cat([]byte{0x60}, sized(t.Params), sized(t.Results)))
	}
	for range g.imported {
		imports = append(imports, cat(sized([]byte("env")), sized([]byte(noteName)), []byte{0, 0}))
	}
	for i := g.imported; i < len(g.funcs); i++ {
		kinds = append(kinds, u32(g.funcs[i]))
		exports = append(exports, cat([]byte{2, 'f', '0' + byte(i-g.imported), 0}, u32(i)))
		bodies = append(bodies, sized(g.body(i)))
	}
	for i, t := range g.globals {
		g.code = nil
		g.constant(t)
		globals = append(globals, cat([]byte{t, 1}, g.code, []byte{opEnd}))
		exports = append(exports, cat([]byte{2, 'g', '0' + byte(i), 3}, u32(i)))
	}
	any := func() []byte { return u32(g.IntN(len(g.funcs))) }
	globals = append(globals, cat([]byte{funcrefType, 0, opRefFunc}, any(), []byte{opEnd})) // behind those that code knows: its initial value
	exports = append(exports, []byte{1, 'm', 2, 0})
	sections := [][]byte{sec(1, vec(types...))}
	if g.imported > 0 || g.one(2) {
		sections = append(sections, sec(2, vec(imports...)))
	}
	table := []byte{funcrefType, 0, tableSize}
	if g.one(2) {
		table = []byte{funcrefType, 1, tableSize, tableSize + 4}
	}
	sections = append(sections, sec(3, vec(kinds...)), sec(4, vec(table)), sec(5, vec([]byte{1, 1, 4})), sec(6, vec(globals...)), sec(7, vec(exports...)))
	if start := g.IntN(len(g.funcs)); g.funcs[start] == 1 && g.one(2) {
		sections = append(sections, sec(8, u32(start)))
	}
	active := cat([]byte{0, 0x41, 0, opEnd}, vec(any(), any(), any(), any()))
	var passive []byte
	switch ref := func() []byte { return cat([]byte{opRefFunc}, any(), []byte{opEnd}) }; g.IntN(4) {
	case 0:
		passive = cat([]byte{1, 0}, vec(any(), any(), any()))
	case 1:
		passive = cat([]byte{5, funcrefType}, vec(ref(), []byte{0xd0, funcrefType, opEnd}, ref()))
	case 2:
		passive = cat([]byte{3, 0}, vec(any(), any()))
	case 3: // active, in the middle
		passive = cat([]byte{6, 0, 0x41, 4, opEnd, funcrefType}, vec(ref(), ref()))
	}
	var every [][]byte // so that code may refer to each
	for i := range g.funcs {
		every = append(every, u32(i))
	}
	data := make([]byte, dataSize)
	for i := range data {
		data[i] = byte(g.Uint32())
	}
	return assemble(append(sections, sec(9, vec(active, passive, cat([]byte{3, 0}, vec(every...)))), sec(12, u32(2)), sec(10, vec(bodies...)),
		sec(11, vec(cat([]byte{0, 0x41, 8, opEnd}, sized(data)), cat([]byte{1}, sized(data)))))...)
}

// body is the code of a function with its locals.
func (g *generator) body(i int) []byte {
	t := g.types[g.funcs[i]]
	g.self, g.loops, g.code, g.left = i, 0, nil, 10+g.IntN(120)
	own := g.some(4)
	g.locals = cat(t.Params, own)
	g.labels = []label{{types: t.Results}}
	g.statements()
	g.values(t.Results)
	var groups [][]byte
	for _, l := range own {
		groups = append(groups, []byte{1, l})
	}
	if g.loops > 0 {
		groups = append(groups, cat(u32(g.loops), []byte{i32Type}))
	}
	return cat(vec(groups...), g.code, []byte{opEnd})
}

func (g *generator) emit(b ...byte) { g.code = append(g.code, b...) }

// at is an instruction with an index.
func (g *generator) at(op byte, i int) { g.code = appendU32(append(g.code, op), uint32(i)) }

// i32 pushes a constant below 2^27.
func (g *generator) i32(v int) { g.code = appendSigned(append(g.code, 0x41), uint32(v)) }

func (g *generator) values(types []byte) {
	for _, t := range types {
		g.value(t)
	}
}

func (g *generator) drops(n int) {
	for range n {
		g.emit(0x1a)
	}
}

func (g *generator) constant(t byte) {
	switch t {
	case i32Type:
		if g.one(4) {
			g.emit(0x41, byte(g.IntN(64))|0x40) // below zero
		} else {
			g.i32(g.IntN(1 << uint(1+g.IntN(26))))
		}
	case i64Type:
		g.emit(opI64Const, byte(g.IntN(128)))
	case f32Type:
		g.emit(0x43, byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32()), 0x3f+byte(g.IntN(4))) // no NaN
	case f64Type:
		g.emit(0x44, 0, 0, byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32()), byte(g.Uint32()), 0x3f+byte(g.IntN(4)))
	}
}

// kin is one of the places whose type is t.
func (g *generator) kin(places []byte, t byte) (int, bool) {
	start := g.IntN(len(places) + 1)
	for k := range places {
		if i := (start + k) % len(places); places[i] == t {
			return i, true
		}
	}
	return 0, false
}

// value pushes one value of type t.
func (g *generator) value(t byte) {
	if g.left--; g.left < 0 {
		g.constant(t)
		return
	}
	switch g.IntN(14) {
	case 0:
		g.constant(t)
	case 1, 2, 3:
		if i, ok := g.kin(g.locals, t); ok {
			if g.one(4) {
				g.value(t)
				g.at(opLocalTee, i)
			} else {
				g.at(opLocalGet, i)
			}
			return
		}
		g.constant(t)
	case 4:
		if i, ok := g.kin(g.globals, t); ok {
			g.at(opGlobalGet, i)
			return
		}
		g.operator(t)
	case 5:
		g.block([]byte{opBlock, opLoop, opIf}[g.IntN(3)], []byte{t}, Signature{Results: []byte{t}})
	case 6:
		g.value(t)
		g.value(t)
		g.value(i32Type)
		if g.one(2) {
			g.emit(0x1b)
		} else {
			g.emit(0x1c, 1, t)
		}
	case 7:
		for i, f := range g.funcs {
			if r := g.types[f].Results; len(r) == 1 && r[0] == t && (i > g.self || i < g.imported || g.one(8)) {
				g.values(g.types[f].Params)
				g.at(opCall, i)
				return
			}
		}
		g.operator(t)
	default:
		g.operator(t)
	}
}

// operation is an instruction by its operands.
type operation struct {
	first, last byte // a range of instructions that are alike
	operands    []byte
}

func ops(first, last byte, operands ...byte) operation { return operation{first, last, operands} }

// operations by their result. None tells one NaN from another: which one comes
// of an operation is the machine's choice.
var operations = map[byte][]operation{
	i32Type: {ops(0x45, 0x45, i32Type), ops(0x46, 0x4f, i32Type, i32Type), ops(0x50, 0x50, i64Type), ops(0x51, 0x5a, i64Type, i64Type),
		ops(0x5b, 0x60, f32Type, f32Type), ops(0x61, 0x66, f64Type, f64Type), ops(0x67, 0x69, i32Type), ops(0x6a, 0x78, i32Type, i32Type),
		ops(0x6a, 0x78, i32Type, i32Type), ops(0xa7, 0xa7, i64Type), ops(0xa8, 0xa9, f32Type), ops(0xaa, 0xab, f64Type), ops(0xc0, 0xc1, i32Type)},
	i64Type: {ops(0x79, 0x7b, i64Type), ops(0x7c, 0x8a, i64Type, i64Type), ops(0x7c, 0x8a, i64Type, i64Type), ops(0xac, 0xad, i32Type),
		ops(0xae, 0xaf, f32Type), ops(0xb0, 0xb1, f64Type), ops(0xc2, 0xc4, i64Type)},
	f32Type: {ops(0x8b, 0x91, f32Type), ops(0x92, 0x97, f32Type, f32Type), ops(0xb2, 0xb3, i32Type), ops(0xb4, 0xb5, i64Type), ops(0xb6, 0xb6, f64Type)},
	f64Type: {ops(0x99, 0x9f, f64Type), ops(0xa0, 0xa5, f64Type, f64Type), ops(0xb7, 0xb8, i32Type), ops(0xb9, 0xba, i64Type), ops(0xbb, 0xbb, f32Type)},
}

var loads = map[byte][]byte{i32Type: {0x28, 0x2c, 0x2d, 0x2e, 0x2f}, i64Type: {0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35}, f32Type: {0x2a}, f64Type: {0x2b}}

// operator pushes the result of an operation.
func (g *generator) operator(t byte) {
	switch {
	case g.one(5) && (t == i32Type || t == i64Type):
		g.address()
		g.emit(loads[t][g.IntN(len(loads[t]))], 0, byte(g.IntN(64)))
	case g.one(12) && t == i32Type:
		g.small()
	case g.one(12) && (t == i32Type || t == i64Type): // truncations that do not trap
		from := []byte{f32Type, f64Type}[g.IntN(2)]
		g.value(from)
		op := byte(g.IntN(2))
		if from == f64Type {
			op += 2
		}
		if t == i64Type {
			op += 4
		}
		g.emit(0xfc, op)
	default:
		o := operations[t][g.IntN(len(operations[t]))]
		g.values(o.operands)
		g.emit(o.first + byte(g.IntN(int(o.last-o.first)+1)))
	}
}

// small pushes an i32 that the module has something to do with: sizes, growth,
// references, vectors.
func (g *generator) small() {
	switch g.IntN(6) {
	case 0:
		g.emit(0x3f, 0)
	case 1:
		g.i32(g.IntN(3))
		g.emit(opMemoryGrow, 0)
	case 2:
		g.emit(0xfc, 16, 0) // table.size
	case 3:
		g.at(opRefFunc, g.IntN(len(g.funcs)))
		g.i32(g.IntN(3))
		g.emit(0xfc, 15, 0) // table.grow
	case 4:
		g.index()
		g.emit(0x25, 0, 0xd1) // table.get, ref.is_null
	case 5:
		g.value(i32Type)
		g.emit(0xfd, 17) // splat
		g.value(i32Type)
		g.emit(0xfd, 17, 0xfd, 0xae, 1, 0xfd, 27, byte(g.IntN(4))) // add, extract a lane
	}
}

// address pushes one that is mostly in memory.
func (g *generator) address() {
	g.value(i32Type)
	if !g.one(16) {
		g.i32(0x3fff)
		g.emit(0x71)
	}
}

// beginning pushes the address of a range, now and then near the end of memory.
func (g *generator) beginning() {
	if !g.one(4) {
		g.address()
		return
	}
	g.emit(opMemorySize, 0)
	g.i32(16)
	g.emit(0x74) // shl
	g.i32(g.IntN(32))
	g.emit(opI32Sub)
}

// both pushes the addresses of two ranges, which often overlap: then they are in the
// data at the start of memory.
func (g *generator) both() {
	near := g.one(2)
	for range 2 {
		if g.beginning(); near {
			g.i32(0x1f)
			g.emit(0x71)
		}
	}
}

// index pushes one that is mostly in the table.
func (g *generator) index() {
	g.value(i32Type)
	if !g.one(16) {
		g.i32(tableSize - 1)
		g.emit(0x71)
	}
}

func (g *generator) statements() {
	for range g.IntN(6) {
		if g.left > 0 {
			g.statement()
		}
	}
}

// statement leaves the stack as it was.
func (g *generator) statement() {
	g.left--
	switch g.IntN(14) {
	case 0, 1, 2:
		if n := len(g.locals); n > 0 {
			i := g.IntN(n)
			g.value(g.locals[i])
			g.at(0x21, i)
		}
	case 3:
		if n := len(g.globals); n > 0 {
			i := g.IntN(n)
			g.value(g.globals[i])
			g.at(opGlobalSet, i)
		}
	case 4, 5:
		g.address()
		if g.one(2) {
			g.value(i32Type)
			g.emit([]byte{0x36, 0x3a, 0x3b}[g.IntN(3)], 0, byte(g.IntN(64)))
		} else {
			g.value(i64Type)
			g.emit([]byte{0x37, 0x3c, 0x3d, 0x3e}[g.IntN(4)], 0, byte(g.IntN(64)))
		}
	case 6, 7, 8:
		i := g.IntN(len(g.types))
		t := g.types[i]
		kind := []byte{opBlock, opLoop, opIf}[g.IntN(3)]
		if g.one(2) {
			g.block(kind, []byte{0x40}, Signature{})
			return
		}
		g.values(t.Params)
		g.block(kind, appendSigned(nil, uint32(i)), t)
		g.drops(len(t.Results))
	case 9:
		g.call()
	case 10:
		g.bulk()
	case 11:
		g.value(g.number())
		g.emit(0x1a)
	case 12, 13:
		g.leave()
	}
}

// block is a block, a loop or an if of that type, with its parameters on the
// stack.
func (g *generator) block(kind byte, blockType []byte, t Signature) {
	counter := 0
	switch kind {
	case opLoop:
		counter = g.loops
		g.loops++
		g.i32(1 + g.IntN(6))
		g.counter(0x21, counter)
	case opIf:
		g.value(i32Type)
	}
	g.emit(kind)
	g.emit(blockType...)
	l := label{types: t.Results}
	if kind == opLoop {
		l = label{types: t.Params, loop: true}
	}
	g.labels = append(g.labels, l)
	g.inside(t)
	switch {
	case kind == opIf && (len(t.Results) > 0 || len(t.Params) > 0 || g.one(2)):
		g.emit(opElse)
		g.inside(t)
	case kind == opLoop: // another turn, while its counter is above zero
		g.drops(len(t.Results))
		g.counter(opLocalGet, counter)
		g.i32(1)
		g.emit(0x6b)
		g.counter(opLocalTee, counter)
		g.i32(0)
		g.emit(0x4a, opIf, 0x40)
		g.labels = append(g.labels, label{})
		g.values(t.Params)
		g.at(opBr, 1)
		g.emit(opEnd)
		g.labels = g.labels[:len(g.labels)-1]
		g.values(t.Results)
	}
	g.emit(opEnd)
	g.labels = g.labels[:len(g.labels)-1]
}

// counter is an instruction on the counter of a loop.
func (g *generator) counter(op byte, i int) { g.at(op, len(g.locals)+i) }

func (g *generator) inside(t Signature) {
	g.drops(len(t.Params))
	g.statements()
	g.values(t.Results)
}

func (g *generator) call() {
	if g.one(3) {
		i := g.IntN(len(g.types))
		g.values(g.types[i].Params)
		g.index()
		g.at(opIndirect, i)
		g.emit(0)
		g.drops(len(g.types[i].Results))
		return
	}
	i := g.IntN(len(g.funcs))
	if i >= g.imported && i <= g.self && !g.one(6) {
		return // most calls go onwards, so that they end
	}
	t := g.types[g.funcs[i]]
	g.values(t.Params)
	g.at(opCall, i)
	g.drops(len(t.Results))
}

// bulk is an instruction on a range of memory or table.
func (g *generator) bulk() {
	size := func() { g.i32(g.IntN(24)) }
	switch g.IntN(8) {
	case 0:
		g.beginning()
		g.value(i32Type)
		size()
		g.emit(0xfc, 11, 0)
	case 1:
		g.both()
		size()
		g.emit(0xfc, 10, 0, 0)
	case 2:
		g.beginning()
		g.i32(g.IntN(dataSize))
		size()
		g.emit(0xfc, 8, 1, 0)
	case 3:
		g.emit(0xfc, 9, 1)
	case 4:
		g.index()
		g.i32(0)
		g.i32(g.IntN(4))
		g.emit(0xfc, 12, 1, 0)
	case 5:
		g.index()
		g.index()
		g.i32(g.IntN(4))
		g.emit(0xfc, 14, 0, 0)
	case 6:
		g.index()
		g.at(opRefFunc, g.IntN(len(g.funcs)))
		g.emit(0x26, 0)
	case 7:
		g.index()
		g.at(opGlobalGet, len(g.globals)) // the reference
		g.i32(g.IntN(3))
		g.emit(0xfc, 17, 0)
	}
}

// leave branches away, on a condition or for good: then what follows is dead.
func (g *generator) leave() {
	dead := g.one(6)
	if !dead {
		g.value(i32Type)
		g.emit(opIf, 0x40)
		g.labels = append(g.labels, label{})
	}
	switch g.IntN(8) {
	case 0:
		g.values(g.labels[0].types)
		g.emit(opReturn)
	case 1:
		g.emit(opUnreachable)
	case 2, 3:
		depth, l := g.label()
		g.values(l.types)
		g.value(i32Type)
		g.at(opBrIf, depth)
		g.drops(len(l.types))
	case 4, 5:
		depth, l := g.label()
		same := []int{depth}
		for d := range g.labels {
			if o := g.labels[len(g.labels)-1-d]; !o.loop && string(o.types) == string(l.types) {
				same = append(same, d)
			}
		}
		g.values(l.types)
		g.value(i32Type)
		n := g.IntN(5)
		g.at(opBrTable, n)
		for range n + 1 {
			g.code = appendU32(g.code, uint32(same[g.IntN(len(same))]))
		}
	default:
		depth, l := g.label()
		g.values(l.types)
		g.at(opBr, depth)
	}
	if !dead {
		g.emit(opEnd)
		g.labels = g.labels[:len(g.labels)-1]
	}
}

// label is a block to branch to; a loop now and then, which may never end.
func (g *generator) label() (int, label) {
	for {
		depth := g.IntN(len(g.labels))
		if l := g.labels[len(g.labels)-1-depth]; !l.loop || g.one(12) {
			return depth, l
		}
	}
}

// mutate is the module with a few bytes changed, neither in its types nor in the
// content of its data.
func mutate(module []byte, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	m := append([]byte(nil), module...)
	first, last := len(m)/4, len(m)-2*dataSize
	for range 1 + r.IntN(3) {
		at := first + r.IntN(last-first)
		switch r.IntN(4) {
		case 0:
			m[at] = byte(r.Uint32())
		case 1:
			m[at]++
		case 2:
			m[at]--
		case 3:
			m[at] = m[first+r.IntN(last-first)]
		}
	}
	return m
}
