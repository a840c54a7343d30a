package wasm

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

// holding is the body of a function that calls the function at an index while it
// holds n values. It never ends.
func holding(n, index int) []byte {
	var body []byte
	for i := range n {
		body = cat(body, []byte{0x20, 0, 0x28, 2}, u32(4*i)) // a load
	}
	body = cat(body, []byte{0x20, 0, 0x10}, u32(index))
	for range n {
		body = append(body, 0x6a) // what was loaded is needed
	}
	return code(body...)
}

func TestAStackHasALimitHoweverFewCallsThereAreOnIt(t *testing.T) {
	for _, c := range []struct {
		name  string
		wasm  []byte
		calls int
	}{
		{"2,000 values in each of 700 calls", program(holding(2_000, 0)), 1},
		{"10,000 values in each of 150 calls", program(holding(10_000, 0)), 3},
		{"in a start function", starting(holding(2_000, 0)), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := open(t, Options{MemoryMax: 128 << 20})
			m := loadIn(t, r, c.wasm, weft.Limits{})
			for range c.calls {
				_, err := m.Call(context.Background(), nil, "f", Input{})
				if weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "nested too deep") {
					t.Fatalf("got %v", err)
				}
			}
			if s := m.Stats(); s.Bytes != 0 || r.memory.used.Load() != 0 {
				t.Errorf("%d bytes are held afterwards, %d of all", s.Bytes, r.memory.used.Load())
			}
		})
	}
}

// held is the body of a function that calls itself as often as its argument says while
// it holds n values, and returns.
func held(n int) []byte {
	body := []byte{0x20, 0, 0x45, 0x04, 0x7f, 0x41, 0, 0x05} // if its argument is none: 0, else
	for i := range n {
		body = cat(body, []byte{0x41, 0, 0x28, 2}, u32(4*i))
	}
	body = cat(body, []byte{0x20, 0, 0x41, 1, 0x6b, 0x10, 0})
	for range n {
		body = append(body, 0x6a)
	}
	return code(append(body, 0x0b)...)
}

// The engine makes a stack more than twice as large as it was, whatever is missing.
func TestWhatCountsOfAStackIsWhatItsFramesTake(t *testing.T) {
	for calls, ok := range map[int32]bool{700: true, 950: true, 1_200: false} { // of 8 KiB
		body := code(cat([]byte{0x41}, signed(calls), []byte{0x10, 0})...)
		m := load(t, assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(3, vec([]byte{0}, []byte{0})), sec(5, vec([]byte{0, 1})),
			sec(7, vec([]byte{1, 'f', 0, 1})), sec(10, vec(sized(held(2_000)), sized(body)))), weft.Limits{})
		_, err := m.Call(context.Background(), nil, "f", Input{})
		if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), "nested too deep")) {
			t.Errorf("%d calls: %v", calls, err)
		}
	}
}

func TestTheEngineHasItsStackWhereTheHostLooks(t *testing.T) {
	m := load(t, program(code(0x41, 0)), weft.Limits{})
	if _, err := m.Call(context.Background(), nil, "f", Input{}); err != nil {
		t.Fatal(err)
	}
	function := reflect.TypeOf(m.resident.f).Elem()
	context, _ := function.FieldByName("execCtx")
	for _, c := range []struct {
		in         reflect.Type
		name, want string
	}{{function, "stack", "[]uint8"}, {function, "stackTop", "uintptr"}, {context.Type, "stackPointerBeforeGoCall", "*uint64"}} {
		if field, ok := c.in.FieldByName(c.name); !ok || field.Type.String() != c.want {
			t.Errorf("%s is %v, want %s", c.name, field.Type, c.want)
		}
	}
}

// starting is a module with that body of a function, which its start function calls.
func starting(body []byte) []byte {
	return assemble(
		sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f}, []byte{0x60, 0, 0})),
		sec(3, vec([]byte{0}, []byte{1})),
		sec(5, vec([]byte{0, 1})),
		sec(7, vec([]byte{1, 'f', 0, 0})),
		sec(8, []byte{1}),
		sec(10, vec(sized(body), sized(code(0x41, 0, 0x10, 0, 0x1a)))),
	)
}

func TestAStackCountsAsMemoryOfAllGuests(t *testing.T) {
	m := loadIn(t, open(t, Options{MemoryMax: 4 << 20}), program(holding(2_000, 0)), weft.Limits{})
	_, err := m.Call(context.Background(), nil, "f", Input{})
	if weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), "no memory for the stack of the handler: all guests together have their limit") {
		t.Errorf("got %v", err)
	}
}

// deep is a handler that nests 60,000 calls and returns.
var deep = code(0x20, 0, 0x45, 0x04, 0x7f, 0x41, 0, 0x05, 0x20, 0, 0x41, 1, 0x6b, 0x10, 0, 0x0b)

func TestAFunctionAtRestHoldsNoDeepStack(t *testing.T) {
	const handlers = 100
	kinds, codes, exports := [][]byte{{0}}, [][]byte{sized(deep)}, [][]byte{}
	for n := 1; n <= handlers; n++ { // each of them nests deep
		kinds = append(kinds, []byte{0})
		codes = append(codes, sized(code(0x41, 0xe0, 0xd4, 0x03, 0x10, 0)))
		exports = append(exports, cat(sized([]byte{'f', byte('0' + n/10), byte('0' + n%10)}), []byte{0}, u32(n)))
	}
	m := load(t, assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(3, vec(kinds...)), sec(7, vec(exports...)), sec(10, vec(codes...))), weft.Limits{})
	for name := range m.handlers {
		if _, err := m.Call(context.Background(), nil, name, Input{}); err != nil {
			t.Fatal(err)
		}
	}
	m.vacate()
	all, ready := 0, 0
	for _, f := range m.idle[0].exports {
		if f != nil {
			ready++
			all += stackOf(f)
		}
	}
	if all == 0 || all > functionsMax*stackKeep || ready > functionsMax {
		t.Errorf("%d functions hold %d bytes of stack", ready, all)
	}
	if used := m.rt.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes of all guests' memory are taken", used)
	}
}

// The stack is deep after so little fuel that nobody has looked at it.
func TestAnInstanceAtRestHoldsNoDeepStack(t *testing.T) {
	m := load(t, assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(3, vec([]byte{0}, []byte{0})), sec(7, vec([]byte{1, 'f', 0, 1})),
		sec(10, vec(sized(deep), sized(code(cat([]byte{0x41}, signed(1_500), []byte{0x10, 0})...))))), weft.Limits{})
	if _, err := m.Call(context.Background(), nil, "f", Input{}); err != nil {
		t.Fatal(err)
	}
	if n := stackOf(m.resident.f); n <= stackKeep {
		t.Fatalf("a stack of %d bytes is not deep", n)
	}
	if n := stackOf(m.atRest().f); n > stackKeep {
		t.Errorf("it holds %d bytes of stack", n)
	}
}

// TestSegmentsAndGlobalsCountAsMemoryOfAllGuests: an instance has 5 MiB of them, beside a
// memory of 64 KiB.
func TestSegmentsAndGlobalsCountAsMemoryOfAllGuests(t *testing.T) {
	const each, globals = 100_000, 4_096
	many := func(n int, b ...byte) []byte { return cat(u32(n), slices.Repeat(b, n)) }
	segments := assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(3, vec([]byte{0})), sec(4, vec([]byte{0x70, 0, 1})), sec(5, vec([]byte{0, 1})),
		sec(6, many(globals, 0x7f, 1, 0x41, 0, 0x0b)), sec(7, vec([]byte{1, 'f', 0, 0})), sec(9, many(each, 1, 0, 0)), sec(10, vec(sized(code(0x41, 0)))), sec(11, many(each, 1, 0)))
	r := open(t, Options{})
	m := loadIn(t, r, segments, weft.Limits{})
	if _, err := m.Call(context.Background(), nil, "f", Input{}); err != nil {
		t.Fatal(err)
	}
	if used, want := r.memory.used.Load(), int64(64<<10+referenceCost+2*each*segmentCost+globals*globalCost); used != want {
		t.Errorf("%d bytes are taken, want %d", used, want)
	}
}

// TestTablesCountAsMemoryOfAllGuests: 16 tables of 65,536 elements are 8 MiB.
func TestTablesCountAsMemoryOfAllGuests(t *testing.T) {
	table := cat([]byte{0x70, 0}, u32(65_536))
	tables := assemble(sec(1, vec([]byte{0x60, 1, 0x7f, 1, 0x7f})), sec(3, vec([]byte{0})), sec(4, vec(slices.Repeat([][]byte{table}, 16)...)),
		sec(7, vec([]byte{1, 'f', 0, 0})), sec(10, vec(sized(code(0x41, 0)))))
	for most, want := range map[int64]weft.Code{12 << 20: weft.OK, 4 << 20: weft.ResourceExhausted} {
		r := open(t, Options{MemoryMax: most})
		m := loadIn(t, r, tables, weft.Limits{})
		for range 2 { // the second takes the instance of the first
			if _, err := m.Call(context.Background(), nil, "f", Input{}); weft.CodeOf(err) != want {
				t.Errorf("with %d MiB for all guests: %v", most>>20, err)
			}
		}
		if used := r.memory.used.Load(); want == weft.OK && used != 8<<20 || want != weft.OK && used != 0 {
			t.Errorf("with %d MiB, %d bytes are taken", most>>20, used)
		}
		r.trim()
		if used, s := r.memory.used.Load(), m.Stats(); used != 0 || s.Bytes != 0 {
			t.Errorf("with %d MiB, %d bytes are taken when nothing is there, %d of the module", most>>20, used, s.Bytes)
		}
	}
}
