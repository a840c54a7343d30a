package wasm

import (
	"reflect"
	"sync/atomic"
	"unsafe"

	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

// The engine makes the native stack of a call as its frames need it. How large a
// frame is only the compiler knows: a small function may hold thousands of values
// while it calls. So the depth of calls does not bound it; and a function keeps the
// stack that its calls have grown. Whoever looks once a slice of fuel sees it grow by
// some 200 KiB at most: a value that is held takes 8 bytes, and an instruction made it.
//
// To have a larger stack the engine copies what is on it at once, and no collector of
// garbage can begin meanwhile. Memory that is touched for the first time makes that
// ten times as long, some 20 ms for 5 MiB.
const (
	stackMax     = 8 << 20            // bytes that the frames of one call may take, as in a native thread
	ownStackMax  = 24 << 20           // those of a module of the host's own: the engine of scripts needs 16
	stackMadeMax = 2*stackMax + 8<<20 // the engine makes twice what it needs, and a frame more, from 10 KiB on
	stackCost    = 3                  // times its bytes that a stack counts: it is copied to one of twice its size
	stackKeep    = 32 << 10           // bytes that a function at rest may hold; they are not counted
	functionsMax = 64                 // functions of one instance that are ready to be called
)

// stackFields is where the engine's functions have their stack, which they show nobody:
// how many bytes from the beginning of a function.
type stackFields struct {
	stack   uintptr // of a []byte
	top     uintptr // of a uintptr: where the stack begins, at its end
	pointer uintptr // of a pointer: how far down the guest had come as it called the host
}

// stackAt is set once somebody has asked.
var stackAt atomic.Pointer[stackFields]

// stackIn is a function as bytes, and where it has its stack; a test sees that the
// fields are there, and of which types.
func stackIn(f api.Function) (unsafe.Pointer, *stackFields) {
	v := reflect.ValueOf(f)
	at := stackAt.Load()
	if at == nil {
		function := v.Type().Elem()
		stack, _ := function.FieldByName("stack")
		top, _ := function.FieldByName("stackTop")
		context, _ := function.FieldByName("execCtx")
		pointer, _ := context.Type.FieldByName("stackPointerBeforeGoCall")
		at = &stackFields{stack.Offset, top.Offset, context.Offset + pointer.Offset}
		stackAt.Store(at)
	}
	return v.UnsafePointer(), at
}

// stackOf is how many bytes of stack a function has.
func stackOf(f api.Function) int {
	p, at := stackIn(f)
	return len(*(*[]byte)(unsafe.Add(p, at.stack)))
}

// framesOf is how many of them are in use, of a function that has called the host.
func framesOf(f api.Function) int {
	p, at := stackIn(f)
	return int(*(*uintptr)(unsafe.Add(p, at.top)) - *(*uintptr)(unsafe.Add(p, at.pointer)))
}

// nest bounds the stack of the function that runs: it counts as memory.
func (c *call) nest() {
	if c.i.f == nil {
		return
	}
	n := stackOf(c.i.f)
	if n <= stackKeep {
		return
	}
	limit := stackMax
	if c.i.m.own {
		limit = ownStackMax
	}
	if framesOf(c.i.f) > limit {
		tooDeep(c.i.m.words)
	}
	more := int64(stackCost*n - c.stack)
	if more <= 0 {
		return
	}
	if err := c.i.share.take(more, false); err != nil {
		panic(&stopped{err: refusal(err, "there is no memory for the stack of %s", c.i.m.words)})
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
		c.i.share.give(int64(c.stack))
		c.i.m.bytes.Add(-int64(c.stack))
	}
}
