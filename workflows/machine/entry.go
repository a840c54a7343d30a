package machine

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/weftrun/weft"
)

// Entry is one line of a run's journal: something that happened to the run.
// The state of a run is the fold of its entries.
type Entry struct {
	Kind    Kind
	At      int64       // unix microseconds
	Seed    uint64      // Started: what the run draws its chance from
	Step    uint32      // of the command that the entry is about
	Ordinal uint32      // Outcome: number of the outbound call within the attempt
	Data    []byte      // Started: input; Finished: output; Cancelled, Paused, Resumed, Parked: reason; Exhausted, Rerun: see there; Outcome: opaque
	Fault   *Fault      // Failed
	Event   *weft.Event // Delivered
}

// Kind is the kind of an Entry, and its first byte when encoded. A kind keeps
// its meaning for ever; another layout takes another number.
type Kind uint8

// The kinds that change a run.
const (
	Started   Kind = 1
	Finished  Kind = 2
	Failed    Kind = 3
	Fired     Kind = 4 // time passed
	Delivered Kind = 5
	Cancelled Kind = 6
	Paused    Kind = 7
	Resumed   Kind = 8
	Continued Kind = 9  // the run goes on after SliceMax tasks
	Exhausted Kind = 10 // the run has used up a limit; Data says which
	Rerun     Kind = 11 // a copy of a run goes on from here; Data says of which
)

// The kinds that are notes: a machine passes over them.
const (
	Attempted Kind = 16 // the step is about to call the outside
	Outcome   Kind = 17 // what one outbound call of the step gave
	Parked    Kind = 18
	Woken     Kind = 19
)

var kindNames = map[Kind]string{
	Started: "started", Finished: "finished", Failed: "failed", Fired: "fired", Delivered: "delivered",
	Cancelled: "cancelled", Paused: "paused", Resumed: "resumed", Continued: "continued", Exhausted: "exhausted", Rerun: "rerun",
	Attempted: "attempted", Outcome: "outcome", Parked: "parked", Woken: "woken",
}

// String is the kind as people read it.
func (k Kind) String() string { return kindNames[k] }

// note reports whether entries of that kind change nothing.
func (k Kind) note() bool { return k >= Attempted }

// AppendEntry appends e as bytes that DecodeEntry reads.
func AppendEntry(dst []byte, e Entry) []byte {
	dst = binary.AppendVarint(append(dst, byte(e.Kind)), e.At)
	switch e.Kind {
	case Started:
		return appendBytes(binary.LittleEndian.AppendUint64(dst, e.Seed), e.Data)
	case Cancelled, Paused, Resumed, Exhausted, Rerun:
		return appendBytes(dst, e.Data)
	case Fired, Continued:
		return dst
	case Delivered:
		return appendEvent(dst, e.Event)
	}
	dst = binary.AppendUvarint(dst, uint64(e.Step))
	switch e.Kind {
	case Failed:
		return appendFault(dst, e.Fault)
	case Finished, Parked:
		return appendBytes(dst, e.Data)
	case Outcome:
		return appendBytes(binary.AppendUvarint(dst, uint64(e.Ordinal)), e.Data)
	}
	return dst
}

func appendBytes[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendFault(dst []byte, f *Fault) []byte {
	if f == nil {
		f = &Fault{}
	}
	dst = binary.AppendVarint(appendBytes(dst, f.Type), int64(f.Status))
	return appendBytes(appendBytes(appendBytes(dst, f.Title), f.Detail), f.Instance)
}

func appendEvent(dst []byte, e *weft.Event) []byte {
	if e == nil {
		e = &weft.Event{}
	}
	for _, s := range []string{e.ID, e.Source, e.Type, e.Subject, e.DataContentType, e.DataSchema} {
		dst = appendBytes(dst, s)
	}
	if e.Time.IsZero() {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendVarint(append(dst, 1), e.Time.Unix())
		dst = binary.AppendUvarint(dst, uint64(e.Time.Nanosecond()))
	}
	dst = appendBytes(dst, e.Data)
	dst = binary.AppendUvarint(dst, uint64(len(e.Extensions)))
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		dst = appendBytes(appendBytes(dst, name), e.Extensions[name])
	}
	return dst
}

// DecodeEntry reads the entry at the start of src and gives what comes after
// it. The entry's Data is part of src. Damaged bytes are an error with the
// code DataLoss.
func DecodeEntry(src []byte) (e Entry, rest []byte, err error) {
	d := decoder{src: src}
	e.Kind = Kind(d.byte())
	if kindNames[e.Kind] == "" {
		d.bad = true
	}
	e.At = d.varint()
	switch e.Kind {
	case Started:
		e.Seed = d.uint64()
		e.Data = d.bytes()
	case Cancelled, Paused, Resumed, Exhausted, Rerun:
		e.Data = d.bytes()
	case Fired, Continued:
	case Delivered:
		e.Event = d.event()
	default:
		e.Step = d.uint32()
		switch e.Kind {
		case Failed:
			e.Fault = d.fault()
		case Finished, Parked:
			e.Data = d.bytes()
		case Outcome:
			e.Ordinal = d.uint32()
			e.Data = d.bytes()
		}
	}
	if d.bad {
		return Entry{}, nil, weft.Errorf(weft.DataLoss, "machine.DecodeEntry", "the entry is damaged: %d bytes starting with %x", len(src), src[:min(len(src), 16)])
	}
	return e, d.src, nil
}

// decoder reads from the front of src. Once it is bad it gives zeros.
type decoder struct {
	src []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.src) {
		d.bad = true
		return nil
	}
	b := d.src[:n:n]
	d.src = d.src[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.src)
	if n <= 0 {
		d.bad = true
	}
	d.take(n)
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		d.bad = true
	}
	d.take(n)
	return v
}

func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	d.bad = d.bad || v > 1<<32-1
	return uint32(v)
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.src)) {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) fault() *Fault {
	f := &Fault{Type: d.string(), Status: int(d.varint())}
	f.Title, f.Detail, f.Instance = d.string(), d.string(), d.string()
	return f
}

func (d *decoder) event() *weft.Event {
	e := &weft.Event{}
	for _, s := range []*string{&e.ID, &e.Source, &e.Type, &e.Subject, &e.DataContentType, &e.DataSchema} {
		*s = d.string()
	}
	switch d.byte() {
	case 0:
	case 1:
		seconds, nanos := d.varint(), d.uvarint()
		d.bad = d.bad || nanos >= 1e9
		e.Time = time.Unix(seconds, int64(nanos)).UTC()
	default:
		d.bad = true
	}
	e.Data = d.bytes()
	count := d.uvarint()
	if count > uint64(len(d.src)) {
		d.bad = true
	}
	for range count {
		if d.bad {
			break
		}
		if e.Extensions == nil {
			e.Extensions = map[string]string{}
		}
		name := d.string()
		e.Extensions[name] = d.string()
	}
	return e
}
