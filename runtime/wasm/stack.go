package wasm

import (
	"reflect"
	"sync/atomic"

	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

// The engine makes the native stack of a call as its frames need it. How large a
// frame is only the compiler knows: a small function may hold thousands of values
// while it calls. So the depth of calls does not bound it; and a function keeps the
// stack that its calls have grown. Whoever looks once a slice of fuel sees it grow by
// about a MiB at most: a value that is held takes 8 bytes, and an instruction made it.
const (
	stackMax     = 24 << 20 // bytes of the stack of one call; the engine doubles it, from 10 KiB on
	stackCost    = 3        // times its bytes that a stack counts: it is copied to one of twice its size
	stackKeep    = 32 << 10 // bytes that a function at rest may hold; they are not counted
	functionsMax = 64       // functions of one instance that are ready to be called
)

// stackAt is where the engine's functions have their stack, which it shows nobody.
var stackAt atomic.Pointer[reflect.StructField]

// stackOf is how many bytes of stack a function has.
func stackOf(f api.Function) int {
	v := reflect.ValueOf(f).Elem()
	at := stackAt.Load()
	if at == nil {
		field, _ := v.Type().FieldByName("stack") // a test sees that it is there
		at = &field
		stackAt.Store(at)
	}
	return v.FieldByIndex(at.Index).Len()
}

// nest bounds the stack of the function that runs: it counts as memory.
func (c *call) nest() {
	if c.i.f == nil {
		return
	}
	n := stackOf(c.i.f)
	more := int64(stackCost*n - c.stack)
	if n <= stackKeep || more <= 0 {
		return
	}
	if n > stackMax {
		tooDeep(c.i.m.words)
	}
	if !c.i.m.rt.memory.take(more, false) {
		stop(weft.ResourceExhausted, "there is no memory for the stack of %s: %w", c.i.m.words, errFull)
	}
	c.i.m.bytes.Add(more)
	c.stack = stackCost * n
}

func tooDeep(words string) {
	stop(weft.ResourceExhausted, "the calls of %s are nested too deep: is there a recursion without end?", words)
}

// unnest gives back what nest has taken.
func (c *call) unnest() {
	if c.stack > 0 {
		c.i.m.rt.memory.give(int64(c.stack))
		c.i.m.bytes.Add(-int64(c.stack))
	}
}
