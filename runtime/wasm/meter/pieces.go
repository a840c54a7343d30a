package meter

import "slices"

// Memory is filled, copied and initialized by native instructions, in which nobody can
// stop the goroutine: not the garbage collector, and no limit of the call. So where the
// range is longer than a piece, a function that is added does all but the last piece,
// with a tick after each, and the guest's own instruction does the rest. It also traps:
// a range that is not whole in memory, or in its segment, is left to it as it is. What
// works on tables is left alone: they have 512 KiB at most.

// pieceMax is the default of Options.Piece. Where a page that nobody has touched takes
// 20 us to be found, copying one piece of them to another takes 2.6 ms; where all are
// there, its tick takes less than a hundredth of its time.
const pieceMax = 256 << 10

// Instructions behind 0xfc that work on a range of memory.
const (
	memoryInit = 8
	memoryCopy = 10
	memoryFill = 11
)

// pieces is an added function. It takes the operands of its instruction, and returns
// those that the last piece is done with.
type pieces struct {
	op      byte
	segment uint32 // of memoryInit
}

// pieceFunction is the index of the function that does p, which is added where it is not there.
func (m *rewriter) pieceFunction(p pieces) uint32 {
	at := slices.Index(m.pieces, p)
	if at < 0 {
		at = len(m.pieces)
		m.pieces = append(m.pieces, p)
	}
	return uint32(len(m.functions) + 1 + at) // tick is one too
}

// inPieces has all of a long range but its last piece done, before the instruction that
// follows. The operands are on the stack, and their size in its local. The way past
// the call comes first, as it does in tickIfNegative.
func (b *body) inPieces(p pieces) {
	b.blocks += 3
	b.op(opLocalGet, b.sizeLocal())
	b.constant(b.m.Piece)
	b.w = append(b.w, opI32LeU, opIf)
	b.w = append(appendSigned(b.w, b.m.pieceType), opElse)
	b.op(opCall, b.m.pieceFunction(p))
	b.w = append(b.w, opEnd)
}

// code is that of an added function: to is its first parameter, from, or the value, the
// second, and the size the third.
func (p pieces) code(m *rewriter) []byte {
	b := &body{m: m, w: []byte{0, opBlock, 0x40}} // no locals
	b.leaveOutside(pieceTo, b.memoryBytes)
	switch p.op {
	case memoryInit: // one that was dropped has no bytes: then the first piece traps
		b.leaveOutside(pieceFrom, func() { b.w = appendSigned(append(b.w, opI64Const), m.segments[p.segment]) })
	case memoryCopy:
		b.leaveOutside(pieceFrom, b.memoryBytes)
		b.w = append(b.w, opLocalGet, pieceTo, opLocalGet, pieceFrom, opI32GtU, opIf, 0x40) // what is above may lie over what is still to be read
		b.downwards(p)
		b.w = append(b.w, opBr, 1, opEnd)
	}
	b.upwards(p)
	b.w = append(b.w, opEnd)
	return append(b.w, opLocalGet, pieceTo, opLocalGet, pieceFrom, opLocalGet, pieceSize, opEnd)
}

// Parameters of an added function.
const (
	pieceTo = iota
	pieceFrom
	pieceSize
)

// leaveOutside branches away when the range that begins at an operand ends after what
// limit pushes.
func (b *body) leaveOutside(operand byte, limit func()) {
	b.w = append(b.w, opLocalGet, operand, opI64ExtendU, opLocalGet, pieceSize, opI64ExtendU, opI64Add)
	limit()
	b.w = append(b.w, opI64GtU, opBrIf, 0)
}

// memoryBytes pushes the size of memory.
func (b *body) memoryBytes() {
	b.w = append(b.w, opMemorySize, 0, opI64ExtendU, opI64Const, 16, opI64Shl)
}

// upwards does one piece after the other from the beginning on.
func (b *body) upwards(p pieces) {
	b.w = append(b.w, opLoop, 0x40, opLocalGet, pieceTo, opLocalGet, pieceFrom)
	b.piece(p)
	b.step(pieceTo, opI32Add)
	if p.op != memoryFill {
		b.step(pieceFrom, opI32Add)
	}
	b.step(pieceSize, opI32Sub)
	b.whileLong()
}

// downwards does one piece after the other from the end on.
func (b *body) downwards(p pieces) {
	b.w = append(b.w, opLoop, 0x40)
	b.step(pieceSize, opI32Sub)
	b.w = append(b.w, opLocalGet, pieceTo, opLocalGet, pieceSize, opI32Add, opLocalGet, pieceFrom, opLocalGet, pieceSize, opI32Add)
	b.piece(p)
	b.whileLong()
}

// piece is the instruction with its size.
func (b *body) piece(p pieces) {
	b.constant(b.m.Piece)
	b.w = append(b.w, 0xfc, p.op)
	switch p.op {
	case memoryInit:
		b.w = append(appendU32(b.w, p.segment), 0)
	case memoryCopy:
		b.w = append(b.w, 0, 0)
	case memoryFill:
		b.w = append(b.w, 0)
	}
}

// step moves a parameter by a piece.
func (b *body) step(parameter, op byte) {
	b.w = append(b.w, opLocalGet, parameter)
	b.constant(b.m.Piece)
	b.w = append(b.w, op, opLocalSet, parameter)
}

// whileLong ends a loop over pieces: a tick, and another turn while more than one is left.
func (b *body) whileLong() {
	b.op(opCall, uint32(b.m.imported))
	b.w = append(b.w, opLocalGet, pieceSize)
	b.constant(b.m.Piece)
	b.w = append(b.w, opI32GtU, opBrIf, 0, opEnd)
}

// constant pushes an i32 that is not negative.
func (b *body) constant(v int) { b.w = appendSigned(append(b.w, opI32Const), uint32(v)) }
