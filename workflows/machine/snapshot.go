package machine

import (
	"encoding/binary"
	"maps"
	"math"
	"math/big"
	"reflect"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
)

// snapshotVersion is the first byte of a snapshot. Another layout takes
// another number.
const snapshotVersion = 3

// AppendSnapshot appends all that the entries so far have made, for Restore.
// Unlike a journal it is a shortcut: what it gives up is how the run came here.
func (m *Machine) AppendSnapshot(dst []byte) []byte {
	w := &encoder{dst: append(dst, snapshotVersion), seen: map[shared]uint64{}, turns: map[*branch]int{}}
	for i, b := range m.ready {
		w.turns[b] = i + 1
	}
	w.bool(m.started)
	w.bool(m.paused)
	w.dst = append(w.dst, byte(m.status))
	w.int(m.now)
	w.int(m.startedAt)
	w.dst = binary.LittleEndian.AppendUint64(w.dst, m.seed)
	w.value(m.input)
	w.uint(uint64(m.steps))
	w.branch(m.root)
	w.uint(uint64(len(m.inbox)))
	for i := range m.inbox {
		w.dst = appendEvent(w.dst, &m.inbox[i])
	}
	w.value(any(m.correlations))
	w.uint(uint64(len(m.held)))
	for _, e := range m.held {
		w.dst = AppendEntry(w.dst, e)
	}
	w.uint(uint64(m.stretch))
	w.text(m.reason)
	w.bytes(m.output)
	w.fault(m.fault)
	return w.dst
}

// Restore is the machine of which AppendSnapshot was called, of the same
// definition. Damaged bytes are an error with the code DataLoss.
func Restore(def *workflows.Definition, info Info, data []byte) (*Machine, error) {
	if len(data) > 0 && data[0] != snapshotVersion {
		return nil, weft.Errorf(weft.FailedPrecondition, "machine.Restore", "snapshot format %d, this weft knows %d", data[0], snapshotVersion).
			WithHint("run the weft that wrote it, or a newer one")
	}
	m := New(def, info)
	r := &restorer{decoder: decoder{src: data}, tasks: def.Tasks(), turns: map[int]*branch{}}
	r.byte()
	r.state(&m.state)
	r.bad = r.bad || m.restoreCredentials() != nil
	m.on = m.root
	if r.bad || len(r.src) > 0 {
		return nil, weft.Errorf(weft.DataLoss, "machine.Restore", "the snapshot of run %s is damaged: %d bytes", info.RunID, len(data))
	}
	return m, nil
}

// encoder writes values as they are in memory: exactly, and each list or
// mapping that is shared once.
type encoder struct {
	dst   []byte
	seen  map[shared]uint64 // number of each list and mapping, in order of first sight
	turns map[*branch]int   // place of each branch in Machine.ready, from 1
}

type shared struct {
	at  uintptr
	len int
}

// Tags of values.
const (
	tagNull byte = iota
	tagFalse
	tagTrue
	tagInt
	tagFloat
	tagBig
	tagText
	tagList
	tagMap
	tagSame // as the list or mapping of that number
)

func (w *encoder) uint(v uint64)  { w.dst = binary.AppendUvarint(w.dst, v) }
func (w *encoder) int(v int64)    { w.dst = binary.AppendVarint(w.dst, v) }
func (w *encoder) text(s string)  { w.dst = appendBytes(w.dst, s) }
func (w *encoder) bytes(b []byte) { w.dst = appendBytes(w.dst, b) }

func (w *encoder) bool(b bool) {
	if b {
		w.dst = append(w.dst, 1)
	} else {
		w.dst = append(w.dst, 0)
	}
}

func (w *encoder) bools(list []bool) {
	w.uint(uint64(len(list)))
	for _, b := range list {
		w.bool(b)
	}
}

func (w *encoder) value(v any) {
	switch v := v.(type) {
	case nil:
		w.dst = append(w.dst, tagNull)
	case bool:
		w.dst = append(w.dst, tagFalse)
		if v {
			w.dst[len(w.dst)-1] = tagTrue
		}
	case int:
		w.dst = append(w.dst, tagInt)
		w.int(int64(v))
	case float64:
		w.dst = binary.LittleEndian.AppendUint64(append(w.dst, tagFloat), math.Float64bits(v))
	case *big.Int:
		w.dst = append(w.dst, tagBig)
		w.bool(v.Sign() < 0)
		w.bytes(v.Bytes())
	case string:
		w.dst = append(w.dst, tagText)
		w.text(v)
	case []any:
		if w.same(shared{reflect.ValueOf(v).Pointer(), len(v)}) {
			return
		}
		w.dst = append(w.dst, tagList)
		w.uint(uint64(len(v)))
		for _, e := range v {
			w.value(e)
		}
	case map[string]any:
		if v == nil { // correlations that are not there
			w.value(nil)
			return
		}
		if w.same(shared{reflect.ValueOf(v).Pointer(), -1}) {
			return
		}
		w.dst = append(w.dst, tagMap)
		w.uint(uint64(len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			w.text(k)
			w.value(v[k])
		}
	}
}

// same refers to a list or mapping that was written before. Nobody changes
// one, and all are held by the machine: the same place is the same value.
func (w *encoder) same(s shared) bool {
	if s.len == 0 {
		return false // empty lists may lie at one place with anything
	}
	n, ok := w.seen[s]
	if !ok {
		w.seen[s] = uint64(len(w.seen))
		return false
	}
	w.dst = append(w.dst, tagSame)
	w.uint(n)
	return true
}

func (w *encoder) fault(f *Fault) {
	w.bool(f != nil)
	if f != nil {
		w.dst = appendFault(w.dst, f)
	}
}

func (w *encoder) branch(b *branch) {
	w.value(b.context)
	w.uint(uint64(w.turns[b]))
	if b.next != nil { // an enter: nothing else is put off
		w.uint(uint64(b.next.task.Index))
		w.value(b.next.value)
	}
	w.uint(uint64(len(b.stack)))
	for i := range b.stack {
		w.frame(&b.stack[i])
	}
}

func (w *encoder) frame(f *frame) {
	if f.task == nil {
		w.uint(0)
	} else {
		w.uint(uint64(f.task.Index) + 1)
	}
	w.uint(uint64(f.step))
	w.uint(uint64(f.phase))
	w.uint(uint64(f.at))
	w.uint(uint64(f.then.Flow))
	w.uint(uint64(f.then.Next))
	for _, v := range []any{f.raw, f.input, f.result, f.output} {
		w.value(v)
	}
	for _, at := range []int64{f.begun, f.deadline, f.wake, f.tried, f.attemptEnds} {
		w.int(at)
	}
	w.value(f.items)
	w.uint(uint64(f.round))
	w.value(f.outputs)
	w.uint(uint64(f.bytes))
	w.bools(f.met)
	w.bools(f.stopped)
	w.uint(uint64(f.attempt))
	w.fault(f.caught)
	w.uint(uint64(len(f.branches)))
	for _, b := range f.branches {
		w.bool(b != nil)
		if b != nil {
			w.branch(b)
		}
	}
	w.value(f.results)
	if f.task != nil && f.task.Extensions != nil {
		w.uint(uint64(f.extended))
		w.uint(uint64(f.extension))
	}
	w.bool(f.command != nil)
	if f.command != nil {
		w.command(f.command)
	}
}

// command writes what the task does not tell.
func (w *encoder) command(c *Command) {
	w.dst = append(w.dst, byte(c.Kind))
	w.uint(uint64(c.Attempt))
	w.int(c.At)
	w.int(c.Deadline)
	w.bytes(c.Input)
	if c.Kind == CallHTTP {
		w.text(c.HTTP.Method)
		w.text(c.HTTP.URL)
		w.uint(uint64(len(c.HTTP.Headers)))
		for _, name := range slices.Sorted(maps.Keys(c.HTTP.Headers)) {
			w.text(name)
			w.text(c.HTTP.Headers[name])
		}
		w.bytes(c.HTTP.Body)
		if o := c.HTTP.OpenAPI; o != nil {
			w.value(o.Parameters)
		}
		if g := c.HTTP.GRPC; g != nil {
			w.bytes(g.Arguments)
		}
	}
}

// restorer reads what encoder wrote.
type restorer struct {
	decoder
	tasks []*workflows.Task
	seen  []any
	depth int
	turns map[int]*branch // by their place in Machine.ready, from 1
}

func (r *restorer) bool() bool { return r.byte() == 1 }

func (r *restorer) bools() (list []bool) {
	for range r.count() {
		list = append(list, r.bool())
	}
	return list
}

// count is a number of things that follow, each of at least one byte.
func (r *restorer) count() int {
	n := r.uvarint()
	if n > uint64(len(r.src)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *restorer) small() int {
	n := r.uvarint()
	if n > math.MaxInt32 {
		r.bad = true
	}
	return int(n)
}

func (r *restorer) owned() []byte { return slices.Clone(r.bytes()) }

func (r *restorer) state(s *state) {
	s.started, s.paused, s.status = r.bool(), r.bool(), Status(r.byte())
	r.bad = r.bad || int(s.status) >= len(statusNames)
	s.now, s.startedAt, s.seed = r.varint(), r.varint(), r.uint64()
	s.input, s.steps = r.value(), r.uint32()
	s.root = r.branch(nil, 0)
	for i := range len(r.turns) {
		b := r.turns[i+1]
		r.bad = r.bad || b == nil
		s.ready = append(s.ready, b)
	}
	for range r.count() {
		e := *r.event()
		e.Data = slices.Clone(e.Data)
		s.inbox, s.inboxBytes = append(s.inbox, e), s.inboxBytes+len(e.Data)
	}
	s.correlations, _ = r.value().(map[string]any)
	for range r.count() {
		s.held = append(s.held, r.entry())
	}
	s.stretch, s.reason, s.output, s.fault = r.small(), r.string(), r.owned(), r.fault()
	if len(s.output) == 0 {
		s.output = nil
	}
}

func (r *restorer) entry() Entry {
	e, rest, err := DecodeEntry(r.src)
	if err != nil {
		r.bad = true
		return e
	}
	r.src, e.Data = rest, slices.Clone(e.Data)
	return e
}

func (r *restorer) task(i int) *workflows.Task {
	if i < 0 || i >= len(r.tasks) {
		r.bad = true
		return nil
	}
	return r.tasks[i]
}

func (r *restorer) fault() *Fault {
	if !r.bool() {
		return nil
	}
	return r.decoder.fault()
}

func (r *restorer) branch(parent *branch, place int) *branch {
	if r.depth++; r.depth > nestingMax {
		r.bad = true
	}
	defer func() { r.depth-- }()
	b := &branch{parent: parent, place: place, context: r.value()}
	if turn := r.small(); turn > 0 {
		r.turns[turn] = b
		b.next = &move{kind: enter, task: r.task(r.small()), value: r.value()}
	}
	for i := range r.count() {
		if r.bad {
			break
		}
		b.stack = append(b.stack, r.frame(b))
		r.bad = r.bad || (b.stack[i].task == nil) != (parent == nil && i == 0)
	}
	return b
}

func (r *restorer) frame(b *branch) (f frame) {
	if i := r.small(); i > 0 {
		f.task = r.task(i - 1)
	}
	f.step, f.phase, f.at = r.uint32(), phase(r.small()), r.small()
	f.then = workflows.Then{Flow: workflows.Flow(r.small()), Next: r.small()}
	f.raw, f.input, f.result, f.output = r.value(), r.value(), r.value(), r.value()
	f.begun, f.deadline, f.wake, f.tried, f.attemptEnds = r.varint(), r.varint(), r.varint(), r.varint(), r.varint()
	f.items, _ = r.value().([]any)
	f.round = r.small()
	f.outputs, _ = r.value().([]any)
	f.bytes, f.met, f.stopped = r.small(), r.bools(), r.bools()
	f.attempt, f.caught = r.uint32(), r.fault()
	if n := r.count(); n > 0 {
		r.bad = r.bad || f.task == nil || f.task.Kind != workflows.KindFork || n != len(f.task.Do)
		for i := range n {
			var inner *branch
			if !r.bad && r.bool() {
				inner = r.branch(b, i)
			}
			f.branches = append(f.branches, inner)
		}
	}
	if results, _ := r.value().([]any); f.branches != nil {
		r.bad = r.bad || len(results) != len(f.branches)
		f.results = results
	}
	if f.task != nil && f.task.Extensions != nil {
		f.extended, f.extension = r.uint32(), r.small()
	}
	r.bad = r.bad || f.phase.extension() && (f.task == nil || f.extension >= len(f.task.Extensions))
	if r.bool() {
		f.command = r.command(&f)
	}
	return f
}

func (r *restorer) command(f *frame) *Command {
	c := &Command{Kind: CommandKind(r.byte()), Step: f.step, Attempt: r.uint32(), At: r.varint(), Deadline: r.varint(), Input: r.owned()}
	if len(c.Input) == 0 {
		c.Input = nil
	}
	if r.bad || f.task == nil {
		r.bad = true
		return c
	}
	c.Pointer, c.Name, c.ParkMax = f.task.Pointer, f.task.Name, f.task.ParkMax
	switch {
	case c.Kind == CallHandler && f.task.Call != nil:
		c.Handler = f.task.Call.Handler
	case c.Kind == RunWorkflow && f.task.Run != nil:
		c.Run = f.task.Run
	case c.Kind == RunScript && f.task.Script != nil:
		c.Script = f.task.Script
	case c.Kind == CallHTTP && f.task.HTTP != nil:
		c.HTTP = &HTTPRequest{Method: r.string(), URL: r.string(), Headers: map[string]string{}, NoRedirect: !f.task.HTTP.Redirect}
		for range r.count() {
			name := r.string()
			c.HTTP.Headers[name] = r.string()
		}
		if body := r.owned(); len(body) > 0 {
			c.HTTP.Body = body
		}
		if o := f.task.HTTP.OpenAPI; o != nil {
			c.HTTP.OpenAPI = &OpenAPICall{Operation: o.Operation}
			c.HTTP.OpenAPI.Parameters, _ = r.value().(map[string]any)
		}
		if g := f.task.HTTP.GRPC; g != nil {
			c.HTTP.GRPC = grpcCall(g, r.owned())
		}
	default:
		r.bad = true
	}
	return c
}

// nestingMax bounds what is inside each other in a damaged snapshot.
const nestingMax = 10_000

func (r *restorer) value() any {
	if r.depth++; r.depth > nestingMax {
		r.bad = true
	}
	defer func() { r.depth-- }()
	if r.bad {
		return nil
	}
	switch r.byte() {
	case tagNull:
		return nil
	case tagFalse:
		return false
	case tagTrue:
		return true
	case tagInt:
		return int(r.varint())
	case tagFloat:
		return math.Float64frombits(r.uint64())
	case tagBig:
		negative := r.bool()
		v := new(big.Int).SetBytes(r.bytes())
		if negative {
			v.Neg(v)
		}
		return v
	case tagText:
		return r.string()
	case tagList:
		return r.list()
	case tagMap:
		return r.mapping()
	case tagSame:
		if n := r.uvarint(); n < uint64(len(r.seen)) {
			return r.seen[n]
		}
	}
	r.bad = true
	return nil
}

func (r *restorer) list() any {
	list := make([]any, r.count())
	if len(list) > 0 {
		r.seen = append(r.seen, list)
	}
	for i := range list {
		list[i] = r.value()
	}
	return list
}

func (r *restorer) mapping() any {
	n := r.count()
	v := make(map[string]any, min(n, 1024))
	r.seen = append(r.seen, v)
	for range n {
		k := r.string()
		v[k] = r.value()
	}
	return v
}
