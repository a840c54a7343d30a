package wasm

import (
	"bytes"
	"reflect"
	"unsafe"

	"github.com/tetratelabs/wazero/api"
	"golang.org/x/sys/unix"

	"github.com/weftrun/weft/runtime/wasm/meter"
)

// image is the state of a guest that has started and served nobody: what every
// call of an isolated module begins with. Its memory is a file without a name,
// which instances map: a page is theirs only once they have written to it.
type image struct {
	m       *Module
	fd      int // -1 without memory
	size    int // bytes
	globals []uint64
	seeds   []int // see findSeeds
}

// pageBytes is the unit that the kernel maps.
const pageBytes = 4 << 10

// newImage is nil when there is no memory for it, of that for all guests or of
// the kernel's.
func newImage(i *instance) *image {
	image := &image{m: i.m, fd: -1, size: i.size()}
	for _, g := range i.numbers {
		image.globals = append(image.globals, g.Get())
	}
	if image.size == 0 {
		return image
	}
	if i.m.share.take(int64(image.size), false) != nil {
		return nil
	}
	fd, err := i.m.imageFile(image.size)
	if err != nil {
		i.m.share.give(int64(image.size))
		return nil
	}
	i.m.bytes.Add(int64(image.size))
	image.fd = fd
	memory, zero := i.memory.space[:image.size], make([]byte, pageBytes)
	shared, err := unix.Mmap(fd, 0, image.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		image.close()
		return nil
	}
	for at := 0; at < image.size; at += pageBytes {
		if page := memory[at : at+pageBytes]; !bytes.Equal(page, zero) { // the others stay holes
			copy(shared[at:], page)
		}
	}
	_ = unix.Munmap(shared) // ours, whole and once: cannot fail
	image.seeds = findSeeds(memory)
	return image
}

// imageFile is a file without a name, of that many bytes or more. A worker has
// made it before it was locked down.
func (m *Module) imageFile(size int) (int, error) {
	if m.file > 0 {
		return m.file, nil
	}
	fd, err := unix.MemfdCreate("weft-image", unix.MFD_CLOEXEC)
	if err == nil {
		if err = unix.Ftruncate(fd, int64(size)); err != nil {
			_ = unix.Close(fd)
		}
	}
	return fd, err
}

// close may be called again. Those who map the file have it still.
func (x *image) close() {
	if x != nil && x.fd >= 0 {
		_ = unix.Close(x.fd) // a file in memory: nothing is lost
		x.m.share.give(int64(x.size))
		x.m.bytes.Add(-int64(x.size))
		x.fd = -1
	}
}

// isolate makes an instance that has started begin with the image of its module,
// which is taken from the first. Tables, segments and files are as its own start
// left them.
func (i *instance) isolate() error {
	m := i.m
	i.touched = false
	i.touch.Set(0)
	m.imaging.Lock()
	defer m.imaging.Unlock()
	if m.image == nil {
		m.image = newImage(i)
	}
	image := m.image
	if i.image = image; image == nil || image.size == 0 {
		return nil
	}
	if more := image.size - i.size(); more > 0 {
		if _, ok := i.mod.Memory().Grow(uint32(more / wasmPage)); !ok {
			return errFull
		}
	}
	_, err := unix.MmapPtr(image.fd, 0, unsafe.Pointer(unsafe.SliceData(i.memory.space)), uintptr(image.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	for n, g := range i.numbers {
		g.Set(image.globals[n])
	}
	return nil
}

// changed reports whether the guest may have changed what a reset does not
// bring back.
func (i *instance) changed() bool { return i.touched || i.touch.Get() != 0 }

// reset brings an instance back to the image, and reports whether it could.
func (i *instance) reset() bool {
	image := i.image
	if image == nil || i.changed() || i.size() != image.size && !i.shrink(image.size) {
		return false
	}
	if image.size > 0 && advise(i.memory.space[:image.size], unix.MADV_DONTNEED) != nil {
		return false
	}
	for n, g := range i.numbers {
		g.Set(image.globals[n])
	}
	return true
}

// shrink takes away what a call has grown its memory by, and reports whether it could.
// The engine only knows how to grow: it is told of a page less than there is to be, by a
// field of its own, and then grows by that page.
func (i *instance) shrink(size int) bool {
	l := i.memory
	if size == 0 || advise(l.space[size:l.size], unix.MADV_DONTNEED) != nil { // the next to grow finds zeros there
		return false
	}
	more := l.taken - int64(size)
	i.share.give(more)
	i.m.bytes.Add(-more)
	l.taken, l.ready = int64(size), min(l.ready, size)
	reflect.ValueOf(i.mod.Memory()).Elem().FieldByName("Buffer").SetBytes(l.space[:size-wasmPage])
	_, ok := i.mod.Memory().Grow(1)
	return ok
}

// wake readies an isolated instance for a call: nothing of its memory is its
// own yet. See linear.Reallocate for what is above lazyMax.
func (i *instance) wake() {
	image := i.image
	if image == nil || image.size == 0 {
		return
	}
	memory := i.memory.space[:image.size]
	if image.size > lazyMax {
		_ = advise(memory[lazyMax:], unix.MADV_POPULATE_WRITE)
	}
	for _, at := range image.seeds {
		reseed(memory[at:])
	}
}

// restorable finds the globals that a reset sets, and what the meter noted.
func (i *instance) restorable(m api.Module) {
	i.touch = m.ExportedGlobal(meter.TouchExport).(api.MutableGlobal)
	for n := range i.m.mutable {
		i.numbers = append(i.numbers, m.ExportedGlobal(meter.GlobalExport(n)).(api.MutableGlobal))
	}
}
