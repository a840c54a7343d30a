package meter

// body rewrites the code of one function after the other.
type body struct {
	m      *rewriter
	r      *reader
	w      []byte // the code between the prologue and the epilogue
	head   []byte // the locals as declared, and later the whole function
	locals int    // parameters too; the three that are added come after them
	calls  bool   // it calls another function

	frames  []frame
	path    int64 // cost of the longest way here that repeats no loop; unreachable where none leads here
	longest int64 // of all paths
	blocks  int
	targets int
	sets    int // of locals, so far
	size    int // instructions
}

const unreachable = -1

// frame is a block that is open.
type frame struct {
	kind    byte  // its instruction; 0 for the function itself
	arrives int64 // longest path that reaches its end by a branch
	before  int64 // longest path to its beginning
	takes   int   // parameters
	gives   int   // results
	sets    int   // of locals, before it
}

// Instructions that the rewriting treats in a way of their own.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opIndirect    = 0x11
	opLocalGet    = 0x20
	opLocalSet    = 0x21
	opLocalTee    = 0x22
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opMemorySize  = 0x3f
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opI32GtU      = 0x4b
	opI32LeU      = 0x4d
	opI64GtU      = 0x56
	opI64GeS      = 0x59
	opI32Add      = 0x6a
	opI32Sub      = 0x6b
	opI64Add      = 0x7c
	opI64Sub      = 0x7d
	opI64Or       = 0x84
	opI64Shl      = 0x86
	opI64ShrU     = 0x88
	opI64ExtendU  = 0xad
	opRefFunc     = 0xd2
)

// Costs in units of fuel.
const (
	costMemoryGrow = 1_000
	costCall       = 4
	costDivision   = 8
	costMax        = 1 << 27 // of one function, without what its loops repeat
	valuesPerFuel  = 8       // that are handed on where ways meet: each is read from the stack, and written to a place of its own
	sizePerFuel    = 4       // instructions of a function that calls others: the values of all its ways have a place on the stack
)

// cost of an instruction.
func cost(op byte) int64 {
	switch {
	case op == opCall || op == opIndirect:
		return costCall
	case op >= 0x6d && op <= 0x70 || op >= 0x7f && op <= 0x82 || op == 0x91 || op == 0x95 || op == 0x9f || op == 0xa3: // div, rem, sqrt
		return costDivision
	case op == opMemoryGrow:
		return costMemoryGrow
	}
	return 1
}

// rewrite is the metered code of a function. It is valid until the next call.
// The guest's own code becomes one block in it, so that there is one way out.
func (b *body) rewrite(r *reader, typ uint32) []byte {
	*b = body{m: b.m, r: r, w: b.w[:0], head: b.head[:0], frames: append(b.frames[:0], frame{arrives: unreachable})}
	b.declareLocals(len(b.m.types[typ].Params))
	for len(b.frames) > 0 {
		b.instruction()
	}
	if r.p != len(r.b) {
		malformed("a function goes on after its end")
	}
	b.limit()
	return b.assemble(typ)
}

// assemble puts the prologue and the epilogue around the code: fuel and depth
// are taken at the beginning, the depth is given back at the end.
func (b *body) assemble(typ uint32) []byte {
	code, frame := b.w, uint32(16+b.locals)
	b.w = b.head
	if b.calls {
		b.longest += int64(b.size / sizePerFuel)
	}
	b.spend(b.longest)
	if b.calls {
		b.op(opGlobalGet, b.m.depth())
		b.w = append(appendSigned(append(b.w, opI64Const), frame), opI64Sub)
		b.op(opLocalTee, b.depthLocal())
		b.op(opGlobalSet, b.m.depth())
		b.op(opLocalGet, b.depthLocal())
		b.w = append(b.w, opI64Or) // below zero when one of them is
	}
	b.tickIfNegative()
	b.w = append(append(b.w, opBlock), b.blockType(typ)...)
	b.w = append(b.w, code...)
	if b.calls {
		b.op(opGlobalGet, b.m.depth())
		b.w = append(appendSigned(append(b.w, opI64Const), frame), opI64Add)
		b.op(opGlobalSet, b.m.depth())
	}
	b.head, b.w = append(b.w, opEnd), code
	return b.head
}

// blockType is the type of a block that leaves the results of a function.
func (b *body) blockType(typ uint32) []byte {
	switch results := b.m.types[typ].Results; len(results) {
	case 0:
		return []byte{0x40}
	case 1:
		return results
	}
	return appendSigned(nil, b.m.blockTypes[typ])
}

// declareLocals copies the locals and adds two i64 and an i32.
func (b *body) declareLocals(params int) {
	groups := b.r.count("groups of locals", 1000)
	start, n := b.r.p, uint64(params)
	for range groups {
		n += uint64(b.r.u32())
		over("locals", n, b.m.limits.Locals)
		b.r.valueType()
	}
	b.locals = int(n)
	b.m.locals += int(n)
	over("locals, with those of the functions before it", uint64(b.m.locals), b.m.limits.AllLocals)
	b.head = append(appendU32(b.head, groups+2), b.r.since(start)...)
	b.head = append(b.head, 2, i64Type, 1, i32Type)
}

func (b *body) fuelLocal() uint32  { return uint32(b.locals) }
func (b *body) depthLocal() uint32 { return uint32(b.locals) + 1 }
func (b *body) sizeLocal() uint32  { return uint32(b.locals) + 2 }

// op appends an instruction with an index.
func (b *body) op(op byte, index uint32) { b.w = appendU32(append(b.w, op), index) }

// pay is fuel = fuel - cost; if fuel < 0 { tick() }.
func (b *body) pay(cost int64) {
	b.blocks++
	b.spend(cost)
	b.tickIfNegative()
}

// again is a branch back to the beginning of a loop, which pays for the way that it
// has come from there. A tick is beside the way of the loop itself, so that the
// compiler can keep values in registers on that.
func (b *body) again(op byte, depth uint32, cost int64) {
	if b.to(depth).takes > 0 { // what a block inside cannot hand on
		b.pay(cost)
		b.op(op, depth)
		return
	}
	if op == opBrIf {
		b.blocks++
		b.w = append(b.w, opIf, 0x40)
		depth++
	}
	b.blocks++
	b.spend(cost)
	b.w = append(b.w, opI64Const, 0, opI64GeS, opIf, 0x40)
	b.op(opBr, depth+1)
	b.w = append(b.w, opEnd)
	b.op(opCall, uint32(b.m.imported))
	b.op(opBr, depth)
	if op == opBrIf {
		b.w = append(b.w, opEnd)
	}
}

// spend takes a cost from the fuel, and leaves the rest on the stack.
func (b *body) spend(cost int64) {
	b.op(opGlobalGet, b.m.fuel())
	b.w = appendSigned(append(b.w, opI64Const), uint32(cost))
	b.burn()
}

// burn takes what is on the stack from the fuel below it, and leaves the rest.
func (b *body) burn() {
	b.w = append(b.w, opI64Sub)
	b.op(opLocalTee, b.fuelLocal())
	b.op(opGlobalSet, b.m.fuel())
	b.op(opLocalGet, b.fuelLocal())
}

// tickIfNegative calls the host when the i64 on top of the stack is below zero.
// The way past the call comes first: the compiler keeps values in registers on the
// way that it meets first.
func (b *body) tickIfNegative() {
	b.w = append(b.w, opI64Const, 0, opI64GeS, opIf, 0x40, opElse)
	b.op(opCall, uint32(b.m.imported))
	b.w = append(b.w, opEnd)
}

// touch notes that what follows changes more than memory and numbers.
func (b *body) touch() {
	b.w = append(b.w, opI64Const, 1)
	b.op(opGlobalSet, b.m.touch())
}

// chargeSize burns the i32 on top of the stack, a number of bytes or elements,
// divided by a power of two.
func (b *body) chargeSize(shift byte) {
	b.op(opLocalTee, b.sizeLocal())
	b.op(opGlobalGet, b.m.fuel())
	b.op(opLocalGet, b.sizeLocal())
	b.w = append(b.w, opI64ExtendU, opI64Const, shift, opI64ShrU)
	b.burn()
	b.tickIfNegative()
}

// add counts n units on the path.
func (b *body) add(n int64) {
	if b.path != unreachable {
		b.path += n
		b.longest = max(b.longest, b.path)
	}
}

func (b *body) top() *frame { return b.to(0) }

// to is the block that a branch of that depth leads to.
func (b *body) to(depth uint32) *frame { return &b.frames[len(b.frames)-1-int(depth)] }

// branch notes that the path here leads to the block at that depth. Where it is a
// loop, it leads back: again is what that costs, and 0 otherwise.
func (b *body) branch(depth uint32) (again int64) {
	within("label", depth, len(b.frames))
	to := b.to(depth)
	switch {
	case b.path == unreachable:
	case to.kind == opLoop:
		return b.path - to.before
	default:
		to.arrives = max(to.arrives, b.path)
	}
	return 0
}

// instruction rewrites the next instruction.
func (b *body) instruction() {
	start := b.r.p
	op := b.r.byte()
	b.size++
	b.add(cost(op))
	switch {
	case op == opBlock || op == opLoop || op == opIf:
		b.open(op, start)
		return
	case op == opElse:
		f := b.top()
		if f.kind != opIf {
			malformed("else without if")
		}
		f.arrives, f.kind = max(f.arrives, b.path), opElse
		b.path = f.before
	case op == opEnd:
		b.close()
	case op == opBr || op == opBrIf:
		depth := b.r.u32()
		again := b.branch(depth)
		if op == opBr {
			b.path = unreachable
		}
		if again > 0 {
			b.again(op, depth, again)
			return
		}
	case op == opBrTable:
		n := b.r.count("targets of br_table", b.m.limits.Targets)
		if b.targets += int(n); b.targets > b.m.limits.Targets {
			over("targets of br_table", uint64(b.targets), b.m.limits.Targets)
		}
		again := int64(0)
		for range n + 1 {
			again = max(again, b.branch(b.r.u32()))
		}
		b.path = unreachable
		if again > 0 {
			b.pay(again)
		}
	case op == opUnreachable:
		b.path = unreachable
	case op == opReturn:
		b.op(opBr, uint32(len(b.frames)-1))
		b.path = unreachable
		return
	case op == opCall || op == opRefFunc:
		b.calls = b.calls || op == opCall
		i := b.r.u32()
		if op == opRefFunc && b.m.starts(i) && !b.m.declared {
			malformed("undeclared function index %d for ref.func", i)
		}
		b.op(op, b.m.function(i))
		return
	default:
		b.plain(op)
	}
	b.w = append(b.w, b.r.since(start)...)
}

func (b *body) open(op byte, start int) {
	f := frame{kind: op, arrives: unreachable, before: b.path, sets: b.sets}
	switch c := b.r.byte(); {
	case c == 0x40: // no result
	case c > 0x40 && c < 0x80:
		b.r.p--
		b.r.valueType()
	default:
		b.r.p--
		t := &b.m.types[within("type", b.r.u32(), len(b.m.types))]
		f.takes, f.gives = len(t.Params), len(t.Results)
		if b.r.b[b.r.p-1]&0x40 != 0 { // the number has a sign, and the compiler would see a value type
			malformed("a block has a type below zero")
		}
	}
	b.w = append(b.w, b.r.since(start)...)
	over("blocks inside each other", uint64(len(b.frames)), b.m.limits.Nesting)
	b.blocks++
	b.frames = append(b.frames, f)
	if op == opLoop { // which of them are set in it is not known yet
		b.add(int64((b.locals + f.takes) / valuesPerFuel))
	}
}

func (b *body) close() {
	f := *b.top()
	b.frames = b.frames[:len(b.frames)-1]
	b.path = max(b.path, f.arrives)
	switch f.kind {
	case opLoop, 0: // no other way leads here, or no local is read after it
		return
	case opIf: // without an else the way past it leads here too
		b.path = max(b.path, f.before)
	}
	b.add(int64((min(b.sets-f.sets, b.locals) + f.gives) / valuesPerFuel))
}

// plain passes over the immediates of an instruction that has no say in the
// flow of control.
func (b *body) plain(op byte) {
	r := b.r
	switch {
	case op == 0x01 || op == 0x1a || op == 0x1b || op == 0xd1: // nop, drop, select, ref.is_null
	case op >= 0x45 && op <= 0xc4: // numeric
		if op >= 0x6d && op <= 0x70 || op >= 0x7f && op <= 0x82 || op >= 0xa8 && op <= 0xb1 {
			b.blocks++ // it may trap
		}
	case op >= opLocalGet && op <= opLocalTee:
		if within("local", r.u32(), b.locals); op != opLocalGet {
			b.sets++
		}
	case op == opGlobalGet || op == opGlobalSet:
		if i := within("global", r.u32(), b.m.globals); op == opGlobalSet && b.m.others[i] {
			b.touch()
		}
	case op == 0x25 || op == 0x26: // table.get, table.set
		r.u32()
		if op == 0x26 {
			b.touch()
		}
	case op == opIndirect:
		b.calls = true
		b.blocks++
		within("type", r.u32(), len(b.m.types))
		r.u32()
	case op == 0x1c: // select with a type
		r.valueTypes(r.count("types of a select", 1))
	case op >= 0x28 && op <= 0x3e: // loads and stores
		r.u32()
		r.u32()
	case op == opMemorySize:
		r.byte()
	case op == opMemoryGrow:
		r.byte()
	case op == opI32Const:
		r.skip(5)
	case op == opI64Const:
		r.skip(10)
	case op == 0x43:
		r.take(4)
	case op == 0x44:
		r.take(8)
	case op == 0xd0: // ref.null
		r.refType()
	case op == 0xfc:
		b.bulk()
	case op == 0xfd:
		b.vector()
	default:
		malformed("instruction %#x is not one of WebAssembly 2.0", op)
	}
}

// bulk handles the instructions behind 0xfc. Those that work on a range are
// charged by its size: 8 bytes or an element a unit.
func (b *body) bulk() {
	r, op := b.r, b.r.u32()
	if op >= 8 {
		b.blocks += 4 // a compiler makes several blocks of it
	}
	if op == 9 || op >= 12 && op != 16 { // all but what works on memory or only asks
		b.touch()
	}
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // truncations
	case memoryInit:
		segment := r.u32()
		r.u32()
		b.chargeSize(3)
		if b.m.segment(segment) > b.m.Piece {
			b.inPieces(pieces{memoryInit, segment})
		}
	case memoryCopy:
		r.u32()
		r.u32()
		b.chargeSize(3)
		b.inPieces(pieces{op: memoryCopy})
	case memoryFill:
		r.u32()
		b.chargeSize(3)
		b.inPieces(pieces{op: memoryFill})
	case 12, 14: // table.init, table.copy
		r.u32()
		r.u32()
		b.chargeSize(0)
	case 15: // table.grow
		table := r.u32()
		b.m.info.Grows = true
		b.chargeSize(0)
		b.boundGrowth(table)
	case 17: // table.fill
		r.u32()
		b.chargeSize(0)
	case 9, 13, 16: // data.drop, elem.drop, table.size
		r.u32()
	default:
		malformed("instruction 0xfc %d is not one of WebAssembly 2.0", op)
	}
}

// boundGrowth puts 2^32-1 in the place of the growth on top of the stack, which
// no table can have, when the table would be larger than the host lets it.
func (b *body) boundGrowth(table uint32) {
	b.w = appendU32(append(b.w, 0x41, 0x7f, 0xfc, 16), table) // i32.const -1, table.size
	b.w = append(b.w, opI64ExtendU)
	b.op(opLocalGet, b.sizeLocal())
	b.w = append(b.w, opI64ExtendU, opI64Add)
	b.op(opGlobalGet, b.m.table())
	b.w = append(b.w, 0x57) // i64.le_s
	b.op(opLocalTee, b.sizeLocal())
	b.w = append(b.w, 0x1b) // select
	b.op(opGlobalGet, b.m.no())
	b.op(opLocalGet, b.sizeLocal())
	b.w = append(b.w, 0x45, opI64ExtendU, opI64Add) // i32.eqz
	b.op(opGlobalSet, b.m.no())
}

// vector handles the instructions behind 0xfd.
func (b *body) vector() {
	r, op := b.r, b.r.vectorOp()
	switch {
	case op <= 11 || op == 92 || op == 93: // loads and stores
		r.u32()
		r.u32()
	case op == 12 || op == 13: // constant, shuffle
		r.take(16)
	case op >= 21 && op <= 34: // lanes
		r.byte()
	case op >= 84 && op <= 91: // loads and stores of lanes
		r.u32()
		r.u32()
		r.byte()
	}
}

// limit refuses functions that would take a compiler too long. It asks of each
// block by which way it is come to from the beginning, through all those between:
// their number counts by its square.
func (b *body) limit() {
	l := &b.m.limits
	over("instructions in one stretch of code", uint64(b.longest), costMax)
	over("blocks", uint64(b.blocks), l.Blocks)
	b.m.square += b.blocks * b.blocks
	over("blocks times blocks, with those of the functions before it", uint64(b.m.square), l.Square)
	complexity := b.blocks * b.locals
	over("blocks times locals", uint64(complexity), l.Complexity)
	b.m.complexity += complexity
	over("blocks times locals, with those of the functions before it", uint64(b.m.complexity), l.Total)
}
