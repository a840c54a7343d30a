package wasm

import (
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// allocator gives an instance a reserved stretch of address space, which costs
// memory only where the guest has touched it and never moves as it grows.
type allocator struct {
	max uint64 // bytes of one instance
	i   *instance
}

// Allocate cannot return an error; instantiate recovers its panic.
func (a allocator) Allocate(_, max uint64) experimental.LinearMemory {
	max = min(max, a.max)
	if max == 0 {
		a.i.memory = &linear{i: a.i}
		return a.i.memory
	}
	space, err := unix.Mmap(-1, 0, int(max), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Errorf("reserve %d bytes: %w", max, err))
	}
	a.i.memory = &linear{space: space, i: a.i}
	return a.i.memory
}

// lazyMax is how many bytes of a memory come into being as they are touched.
const lazyMax = 4 << 20

type linear struct {
	space []byte
	size  int // that the guest has
	ready int // bytes that are there, or that come when they are touched
	i     *instance
	taken int64 // of the share
	born  bool  // it has had its first size
}

// Reallocate is the memory at its new size, nil when it may not be that large.
// What is above lazyMax is made here, where the goroutine can be stopped: were
// it left to the guest's first touch, a slice of fuel that touches it all would
// hold up the whole process until the kernel has found the pages.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.space)) {
		l.i.m.over(LimitMemory)
		return nil
	}
	if more := int64(size) - l.taken; more > 0 {
		if err := l.i.share.take(more, !l.born); err != nil {
			if l.born {
				return nil
			}
			l.Free() // nobody else will
			panic(err)
		}
		l.taken += more
		l.i.m.bytes.Add(more)
	}
	l.born, l.size, l.i.turn = true, int(size), 0
	if from := max(l.ready, lazyMax); int(size) > from {
		_ = advise(l.space[from:size], unix.MADV_POPULATE_WRITE) // a kernel before 5.14 cannot, and the guest pays on touch
		l.ready = int(size)
	}
	return l.space[:size]
}

// advise has the kernel make memory or take it away, and no more than lazyMax at once: while
// it is at that it maps nothing else in this process, and the collector of garbage, for
// whom everybody waits, may want some.
func advise(space []byte, advice int) error {
	for step := range slices.Chunk(space, lazyMax) {
		if err := unix.Madvise(step, advice); err != nil {
			return err
		}
	}
	return nil
}

// view is n bytes of it, if the guest has them.
func (l *linear) view(ptr, n uint32) ([]byte, bool) {
	if l == nil || uint64(ptr)+uint64(n) > uint64(l.size) {
		return nil, false
	}
	return l.space[ptr:][:n:n], true
}

func (l *linear) Free() {
	l.i.share.give(l.taken)
	l.i.m.bytes.Add(-l.taken)
	l.taken = 0
	if l.space != nil {
		_ = advise(l.space[:l.size], unix.MADV_DONTNEED)
		_ = unix.Munmap(l.space) // ours, whole and once: cannot fail
		l.space = nil
	}
}
