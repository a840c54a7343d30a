package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// allocator gives each instance a reserved stretch of address space that fills
// as the guest touches it, and refuses to grow it beyond max bytes.
type allocator struct{ max uint64 }

func (a allocator) Allocate(_, max uint64) experimental.LinearMemory {
	max = min(max, a.max)
	if max == 0 {
		return &linear{}
	}
	space, err := unix.Mmap(-1, 0, int(max), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return &linear{} // every growth is refused, which ends the instantiation
	}
	return &linear{space: space}
}

type linear struct{ space []byte }

// Reallocate is the memory at its new size, nil when it may not be that large.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.space)) {
		return nil
	}
	return l.space[:size]
}

func (l *linear) Free() {
	if l.space != nil {
		_ = unix.Munmap(l.space) // ours, whole and once: cannot fail
		l.space = nil
	}
}
