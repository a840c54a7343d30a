package wasm

import "runtime"

// pieceMax is how many bytes are copied or cleared at a stretch. Nothing stops a goroutine
// meanwhile, no collector of garbage either; a page of new memory may take 20 us.
const pieceMax = 1 << 20

// move is copy in pieces.
func move(dst, src []byte) {
	for len(src) > pieceMax {
		n := copy(dst, src[:pieceMax])
		dst, src = dst[n:], src[n:]
		runtime.Gosched()
	}
	copy(dst, src)
}

// wipe is clear in pieces.
func wipe(b []byte) {
	for len(b) > pieceMax {
		clear(b[:pieceMax])
		b = b[pieceMax:]
		runtime.Gosched()
	}
	clear(b)
}

// cloned is a copy that is made in pieces.
func cloned(b []byte) []byte {
	c := make([]byte, len(b))
	move(c, b)
	return c
}
