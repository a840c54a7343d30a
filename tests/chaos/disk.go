package chaos

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Op is one thing that a process did to the files of its folder, or an
// acknowledgement that it gave meanwhile.
type Op struct {
	Kind byte   // as recorder/disk.c has them, and OpAck
	Name string // of the file; "/" for the folder
	Off  int64  // offset, size, or number of a sync
	Data []byte
}

// OpAck is the kind of an acknowledgement; its data is an Ack as JSON.
const OpAck = 'A'

const (
	opLoaded   = 'H'
	opCreate   = 'C'
	opWrite    = 'W'
	opTruncate = 'T'
	opSyncing  = 'B'
	opSynced   = 'S'
	opUnsynced = 'E'
	opUnlink   = 'U'
)

// A record begins with kind (1), name (43, padded with zeros), length of the
// data (4) and Off (8).
const headSize, nameMax = 56, 43

// AppendOp appends the op as a record.
func AppendOp(dst []byte, o Op) []byte {
	head := make([]byte, headSize)
	head[0] = o.Kind
	copy(head[1:nameMax], o.Name)
	binary.NativeEndian.PutUint32(head[44:], uint32(len(o.Data)))
	binary.NativeEndian.PutUint64(head[48:], uint64(o.Off))
	return append(append(dst, head...), o.Data...)
}

// parse reads a record whole.
func parse(record []byte) ([]Op, error) {
	var ops []Op
	for len(record) > 0 {
		if len(record) < headSize {
			return nil, fmt.Errorf("the record ends within an entry")
		}
		n := headSize + int(binary.NativeEndian.Uint32(record[44:]))
		if len(record) < n {
			return nil, fmt.Errorf("the record ends within the data of an entry")
		}
		ops = append(ops, Op{Kind: record[0], Name: strings.TrimRight(string(record[1:1+nameMax]), "\x00"),
			Off: int64(binary.NativeEndian.Uint64(record[48:])), Data: record[headSize:n]})
		record = record[n:]
	}
	if len(ops) == 0 || ops[0].Kind != opLoaded {
		return nil, fmt.Errorf("the recorder was not loaded: the program must be linked dynamically with libc (CGO_ENABLED=1, no -static), on Linux")
	}
	return ops, nil
}

// Disk is a folder as a process sees it, and as a power cut could leave it.
type Disk struct {
	names  map[string]*file // as the process sees them
	saved  map[string]*file // as the last sync of the folder left them
	folder []change         // what was done to names since, in order
	syncs  map[int64][]*change
}

// file is the content of one file: a base that is on the disk, and what was
// done since, in order.
type file struct {
	base    []byte
	changes []*change
}

type change struct {
	Op
	file  *file
	safe  bool // it is on the disk
	maybe bool // a sync of it has failed: the next one does not try it again, as Linux has it
}

// NewDisk is a folder with these files, all of them safe.
func NewDisk(files map[string][]byte) *Disk {
	d := &Disk{names: map[string]*file{}, saved: map[string]*file{}, syncs: map[int64][]*change{}}
	for name, data := range files {
		f := &file{base: slices.Clone(data)}
		d.names[name], d.saved[name] = f, f
	}
	return d
}

// Do takes the next op of a record.
func (d *Disk) Do(o Op) error {
	f := d.names[o.Name]
	switch o.Kind {
	case opLoaded: // another process: the syncs that the last one was in are given up
		clear(d.syncs)
		return nil
	case opCreate:
		f = &file{}
		d.names[o.Name] = f
		d.folder = append(d.folder, change{Op: o, file: f})
		return nil
	case opUnlink:
		delete(d.names, o.Name)
		d.folder = append(d.folder, change{Op: o})
		return nil
	case opSyncing, opSynced, opUnsynced:
		if o.Name == "/" {
			d.syncFolder(o)
			return nil
		}
	case opWrite, opTruncate:
	default:
		return nil
	}
	if f == nil {
		return fmt.Errorf("the record has a change of %s, which is not there", o.Name)
	}
	f.do(d, o)
	return nil
}

func (f *file) do(d *Disk, o Op) {
	switch o.Kind {
	case opWrite, opTruncate:
		f.changes = append(f.changes, &change{Op: o})
	case opSyncing: // later changes may miss this sync
		for _, c := range f.changes {
			if !c.safe && !c.maybe {
				d.syncs[o.Off] = append(d.syncs[o.Off], c)
			}
		}
	case opSynced:
		for _, c := range d.syncs[o.Off] {
			c.safe = c.safe || !c.maybe
		}
		delete(d.syncs, o.Off)
		f.settle()
	case opUnsynced:
		for _, c := range d.syncs[o.Off] {
			c.maybe = !c.safe
		}
		delete(d.syncs, o.Off)
	}
}

// settle folds what is safe into the base, as far as the order allows.
func (f *file) settle() {
	n := 0
	for n < len(f.changes) && f.changes[n].safe {
		f.base = f.changes[n].apply(f.base)
		n++
	}
	f.changes = slices.Delete(f.changes, 0, n)
}

// syncFolder makes names safe. The folder's own changes are few and nobody
// makes them while another syncs it.
func (d *Disk) syncFolder(o Op) {
	if o.Kind != opSynced {
		return
	}
	for _, c := range d.folder {
		c.rename(d.saved)
	}
	d.folder = nil
}

func (c *change) rename(names map[string]*file) {
	if c.Kind == opUnlink {
		delete(names, c.Name)
	} else {
		names[c.Name] = c.file
	}
}

func (c *change) apply(data []byte) []byte {
	end := int(c.Off) + len(c.Data)
	if len(data) < end {
		data = append(data, make([]byte, end-len(data))...)
	}
	if c.Kind == opTruncate {
		return data[:c.Off:c.Off]
	}
	copy(data[c.Off:], c.Data)
	return data
}

// Cut is what a power cut does to that which no sync has made safe.
type Cut int

// Dropped loses all of it and Kept nothing. Partly keeps some writes and not
// others, whichever came first: a disk writes in an order of its own, and of
// two writes to one place that leaves the older or the newer. Torn decides so
// for each sector of 512 bytes.
const (
	Dropped Cut = iota
	Kept
	Partly
	Torn
	cuts
)

func (c Cut) String() string { return [...]string{"dropped", "kept", "partly kept", "torn"}[c] }

const sector = 512

// After is the folder after a power cut.
func (d *Disk) After(cut Cut, chance *rand.Rand) map[string][]byte {
	share := 0.1 + 0.8*chance.Float64()
	keep := func() bool { return cut == Kept || cut != Dropped && chance.Float64() < share }
	names := map[string]*file{}
	for name, f := range d.saved {
		names[name] = f
	}
	for _, c := range d.folder {
		if keep() {
			c.rename(names)
		}
	}
	files := map[string][]byte{}
	for name, f := range names {
		data := slices.Clone(f.base)
		for _, c := range f.changes {
			if cut == Torn && !c.safe && c.Kind == opWrite {
				data = c.torn(data, keep)
			} else if c.safe || keep() {
				data = c.apply(data)
			}
		}
		files[name] = data
	}
	return files
}

func (c *change) torn(data []byte, keep func() bool) []byte {
	for n := 0; n < len(c.Data); {
		end := min(len(c.Data), n+sector-(int(c.Off)+n)%sector)
		if keep() {
			part := change{Op: Op{Kind: opWrite, Off: c.Off + int64(n), Data: c.Data[n:end]}}
			data = part.apply(data)
		}
		n = end
	}
	return data
}
