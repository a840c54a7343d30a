package hostile

import "github.com/weftrun/weft"

// Run is a module that is taken at upload. Its handler f is called with 60,000
// bytes, and must end in time, with that code where Code is set and with these
// words where Says is.
type Run struct {
	Name string
	Wasm []byte
	Code weft.Code
	Says string
}

// Runs are the modules to stop.
func Runs() []Run {
	all := endless()
	all = append(all, greedy()...)
	return append(all, liars()...)
}

const fuel, trap = "used up its fuel", "the handler trapped"

// endless do not end by themselves.
func endless() []Run {
	var tree [][]byte // 2^30 calls, no loop, no deep stack
	for k := range 30 {
		tree = append(tree, code([]byte{0x20, 0, 0x10}, u32(k+1), []byte{0x1a, 0x20, 0, 0x10}, u32(k+1)))
	}
	tree = append(tree, code([]byte{0x20, 0}))
	get, drop := []byte{0x20, 0}, []byte{0x1a}
	f := frame{}
	return []Run{
		{"an endless loop", f.handler(code(loop())), weft.ResourceExhausted, fuel},
		{"loops in loops", f.handler(code(loop(loop(loop())))), weft.ResourceExhausted, fuel},
		{"a loop by br_table", f.handler(code([]byte{0x03, 0x40, 0x20, 0, 0x0e, 1, 0, 0, end, 0x00})), weft.ResourceExhausted, fuel},
		{"a loop of 50,000 square roots, the last of which it stores", f.handler(code(loop(konst(0), []byte{0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, repeat(50_000, 0x9f), []byte{0x39, 3, 0}))), weft.ResourceExhausted, fuel},
		{"two loops that hand each other 4,900 locals", f.handler(handing(4_900)), weft.ResourceExhausted, fuel},
		{"a loop of 4,900 divisions", f.handler(code(loop(konst(-1), times(4_900, cat(konst(7), []byte{0x6e})), drop))), weft.ResourceExhausted, fuel},
		{"2^30 calls without a loop", f.handler(tree...), weft.ResourceExhausted, fuel},
		{"a function that calls itself", f.handler(code(get, []byte{0x10, 0})), weft.ResourceExhausted, "nested too deep"},
		{"two functions that call each other", f.handler(code(get, []byte{0x10, 1}), code(get, []byte{0x10, 0})), weft.ResourceExhausted, "nested too deep"},
		{"a recursion through the table", f.handler(code(get, []byte{0x41, 0, 0x11, 0, 0})), weft.ResourceExhausted, "nested too deep"},
		{"a recursion with 4,000 locals", f.handler(locals(4_000, get, []byte{0x10, 0})), weft.ResourceExhausted, "nested too deep"},
		{"a recursion that holds 2,000 values in each call", f.handler(holding(2_000)), weft.ResourceExhausted, "nested too deep"},
		{"a recursion that holds 60,000 values in each call", f.handler(holding(60_000)), weft.ResourceExhausted, "nested too deep"},
		{"a recursion by one of 800 ways, each of which has a place for 100 values", f.handler(wide(800, 100)), weft.ResourceExhausted, "nested too deep"},
		{"an endless start function", frame{start: true}.handler(code(get), code(loop())), weft.ResourceExhausted, fuel},
		{"a start function that calls itself", frame{start: true}.handler(code(get), code([]byte{0x10, 1})), weft.ResourceExhausted, "nested too deep"},
		{"an endless _initialize", frame{initialize: true}.handler(code(get), code(loop())), weft.ResourceExhausted, fuel},
		{"an _initialize that calls the host", frame{initialize: true, imports: []string{"state_delete"}}.handler(code(get), code([]byte{0x41, 0, 0x41, 0, 0x10, 0, 0x1a})), weft.FailedPrecondition, "called outside a handler"},
	}
}

// handing is a function with n locals that are set in a loop which goes back to the loop
// around it before it sets them: each turn of few instructions moves them all, twice.
func handing(n int) []byte {
	var sets []byte
	for i := range n {
		sets = cat(sets, []byte{0x20}, u32(i+1), konst(1), []byte{0x6a, 0x21}, u32(i+1))
	}
	return locals(n, []byte{0x03, 0x40, 0x03, 0x40, 0x20, 0, 0x0d, 1}, sets, []byte{0x0c, 0, end, end, 0x00})
}

// holding is a function that calls itself while it holds n values.
func holding(n int) []byte {
	get := []byte{0x20, 0}
	return code(times(n, cat(get, []byte{0x28, 2, 0})), get, []byte{0x10, 0}, repeat(n, 0x6a))
}

// wide is a function with many ways through it, each of which holds n values while it
// calls the function. Its frame has a place for the values of all.
func wide(ways, n int) []byte {
	get := []byte{0x20, 0}
	targets := cat(get, []byte{0x0e}, u32(ways-1))
	for i := range ways {
		targets = cat(targets, u32(i))
	}
	way := cat([]byte{end}, times(n, cat(get, []byte{0x28, 2, 0})), get, []byte{0x10, 0}, repeat(n, 0x6a), []byte{0x0f})
	return code(repeat(ways, 0x02, 0x40), targets, times(ways, way), []byte{0x00})
}

// greedy want all the memory, the table, the log and the host.
func greedy() []Run {
	get := []byte{0x20, 0}
	grow := cat(konst(64), []byte{0x40, 0, 0x1a})
	whole := konst(60 << 20)
	big := frame{pages: 1024}
	host := func(name string, args ...[]byte) []byte {
		drop := []byte{0x1a}
		if name == "log" || name == "output" {
			drop = nil
		}
		return frame{pages: 32, imports: []string{name}}.handler(code(loop(cat(args...), []byte{0x10, 0}, drop)))
	}
	k, mega := konst, konst(1<<20)
	return []Run{
		{"memory grown without end", frame{}.handler(code(loop(grow))), weft.ResourceExhausted, fuel},
		{"memory grown by 4 GiB", frame{}.handler(code(konst(-1), []byte{0x40, 0, 0x1a}, get)), weft.Unknown, ""},
		{"60 MiB filled again and again", big.handler(code(loop(k(0), k(7), whole, []byte{0xfc, 11, 0}))), weft.ResourceExhausted, fuel},
		{"30 MiB copied again and again", big.handler(code(loop(k(0), k(30<<20), k(30<<20), []byte{0xfc, 10, 0, 0}))), weft.ResourceExhausted, fuel},
		{"a walk through memory that misses every cache", big.handler(locals(1, loop([]byte{0x20, 1}, k(1_664_525), []byte{0x6c}, k(1_013_904_223), []byte{0x6a, 0x22, 1},
			k(0x3fffffc), []byte{0x71, 0x28, 2, 0, 0x20, 1, 0x6a, 0x21, 1}))), weft.ResourceExhausted, fuel},
		{"a table grown without end", frame{}.handler(code(loop([]byte{0xd0, 0x70}, k(1_000), []byte{0xfc, 15, 0, 0x1a}))), weft.ResourceExhausted, fuel},
		{"a table grown by 4 billion", frame{}.handler(code([]byte{0xd0, 0x70}, k(-1), []byte{0xfc, 15, 0, 0x1a}, get)), weft.ResourceExhausted, fuel},
		{"a table filled again and again", frame{}.handler(code([]byte{0xd0, 0x70}, k(60_000), []byte{0xfc, 15, 0, 0x1a}, loop(k(0), []byte{0xd2, 0}, k(60_000), []byte{0xfc, 17, 0}))), weft.ResourceExhausted, fuel},
		{"output without end", host("output", k(0), mega), weft.ResourceExhausted, "its limit of 1048576 bytes"},
		{"output of one byte, without end", host("output", k(0), k(1)), weft.ResourceExhausted, ""},
		{"a log without end", host("log", k(1), k(0), mega), weft.ResourceExhausted, fuel},
		{"calls of the host without end", host("state_get", k(0), k(8), k(0), k(8)), weft.ResourceExhausted, "its limit of 1000"},
		{"events without end", host("publish", k(0), k(8), k(0), k(1_024)), weft.ResourceExhausted, "its limit of 1000"},
		{"the input read without end", host("input", k(0), mega, k(0)), weft.ResourceExhausted, fuel},
		{"headers as large as may be", frame{imports: []string{"header_set"}, data: repeat(8_192, 'x')}.handler(code(loop(k(0), k(1_024), k(0), k(8_192), []byte{0x10, 0}))), weft.ResourceExhausted, "more than 100 headers"},
		{"an answer that is an error of 1 MiB", frame{pages: 32, imports: []string{"output"}}.handler(code(k(0), mega, []byte{0x10, 0}, k(5))), weft.NotFound, ""},
		{"a plug-in that asks for 60 MiB at once", asking(60 << 20), weft.Unknown, ""},
		{"12 MiB of data", frame{pages: 256, data: repeat(12<<20, 7)}.handler(code(get)), weft.Unknown, ""},
	}
}

// asking is a plug-in made for Extism, which asks its host for n bytes.
func asking(n int32) []byte {
	size := konst(n)
	size[0] = 0x42 // as an i64
	return assemble(sec(1, vec([]byte{0x60, 0, 1, i32}, []byte{0x60, 1, i64, 1, i64})), sec(2, vec(cat(text("extism:host/env"), text("alloc"), []byte{0, 1}))),
		sec(3, vec([]byte{0})), sec(7, vec(cat(text("f"), []byte{0, 1}))), sec(10, vec(sized(code(size, []byte{0x10, 0, 0x1a}, konst(0))))))
}

// liars pass what is not theirs, and break.
func liars() []Run {
	get, k := []byte{0x20, 0}, konst
	host := func(name string, result bool, args ...[]byte) []byte {
		drop := []byte{0x1a}
		if !result {
			drop = nil
		}
		return frame{imports: []string{name}}.handler(code(cat(args...), []byte{0x10, 0}, drop, get))
	}
	const outside = "which are not in its memory"
	return []Run{
		{"a pointer past its memory", host("output", false, k(-16), k(256)), weft.Internal, outside},
		{"a length past its memory", host("output", false, k(0), k(-1)), weft.Internal, outside},
		{"a pointer whose end overflows", host("log", false, k(1), k(-1), k(-1)), weft.Internal, outside},
		{"its input to a pointer past its memory", host("input", true, k(-16), k(-1), k(0)), weft.Internal, outside},
		{"a key of 2 GiB", host("state_get", true, k(0), k(1<<31-1), k(0), k(8)), weft.ResourceExhausted, "2147483647 bytes, the limit is 1024"},
		{"a value past its memory", host("state_set", true, k(0), k(8), k(60_000), k(60_000)), weft.Internal, outside},
		{"a procedure that is no text", host("call", true, k(0), k(64), k(0), k(0), k(0), k(0)), weft.Unknown, ""},
		{"a load past its memory", frame{}.handler(code(k(-4), []byte{0x28, 2, 0})), weft.Internal, trap},
		{"a load whose offset overflows", frame{}.handler(code(k(-1), []byte{0x28, 2}, u32(1<<32-1))), weft.Internal, trap},
		{"a call through an empty place", frame{}.handler(code(get, k(1), []byte{0x11, 0, 0})), weft.Internal, trap},
		{"a division by zero", frame{}.handler(code(k(1), k(0), []byte{0x6d})), weft.Internal, trap},
		{"unreachable", frame{}.handler(code([]byte{0x00})), weft.Internal, trap},
		{"a start function that traps", frame{start: true}.handler(code(get), code([]byte{0x00})), weft.Internal, trap},
		{"an answer that is no code", frame{}.handler(code(k(-7))), weft.Unknown, "is no code"},
		{"a data segment past its memory", frame{data: repeat(70_000, 1)}.handler(code(get)), weft.Internal, trap},
	}
}
