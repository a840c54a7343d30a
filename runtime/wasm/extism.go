package wasm

import (
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/tetratelabs/wazero/api"

	"github.com/weftrun/weft"
)

// extismModule is where plug-ins made for Extism have their imports from.
const extismModule = "extism:host/env"

// kernel is the memory between a plug-in and its host, as Extism has it: blocks
// that the plug-in asks for by their size and knows by an offset, and which both
// read and write. It belongs to one call.
type kernel struct {
	mem    []byte  // an offset of 0 is none
	blocks []block // by offset
	taken  int64   // of the share of the instance

	input, output, err block
	status             int               // of the last HTTP answer
	headers            map[string]string // of it
}

type block struct{ at, n uint64 }

const (
	kernelBegin = 16 // the first offset
	blockCost   = 16 // bytes that a block counts besides its own
)

// plugin is the kernel of a call, with the input in it.
func (c *call) plugin() *kernel {
	if c.kernel == nil {
		c.kernel = &kernel{}
		c.kernel.extend(c, kernelBegin)
		c.kernel.input = c.kernel.put(c, c.body)
	}
	return c.kernel
}

// extend makes n bytes more of memory, within the limits of the module and of
// all guests together.
func (k *kernel) extend(c *call, n uint64) {
	most := uint64(c.i.m.limits.MemoryMiB) << 20
	if have := uint64(len(k.mem) + blockCost*len(k.blocks)); n > most || have+n > most {
		exceed(LimitMemory, "the plug-in wants more memory for input, output and variables than its limit of %d MiB", c.i.m.limits.MemoryMiB)
	}
	c.charge(int64(n) / bytesPerFuel)
	if old, need := cap(k.mem), len(k.mem)+int(n); need > old {
		room := min(max(need, 2*old), int(most))
		more := int64(room - old)
		if err := c.i.share.take(more, false); err != nil {
			panic(&stopped{err: refusal(err, "there is no memory for the plug-in")})
		}
		k.taken += more
		c.i.m.bytes.Add(more)
		grown := make([]byte, len(k.mem), room)
		move(grown, k.mem)
		k.mem = grown
	}
	k.mem = k.mem[:len(k.mem)+int(n)]
}

func (k *kernel) alloc(c *call, n uint64) block {
	if n == 0 {
		return block{}
	}
	b := block{uint64(len(k.mem)), n}
	k.extend(c, n)
	wipe(k.mem[b.at:])
	k.blocks = append(k.blocks, b)
	return b
}

func (k *kernel) put(c *call, data []byte) block {
	b := k.alloc(c, uint64(len(data)))
	move(k.mem[b.at:], data)
	return b
}

// found is the offset of what was found, 0 where it was not.
func (k *kernel) found(c *call, data []byte, ok bool) uint64 {
	if !ok {
		return 0
	}
	return k.put(c, data).at
}

// free takes the latest block back; others go with the call.
func (k *kernel) free(at uint64) {
	if last := len(k.blocks) - 1; last >= 0 && k.blocks[last].at == at && at != k.input.at {
		k.mem, k.blocks = k.mem[:at], k.blocks[:last]
	}
}

// length is that of the block at an offset, 0 where there is none.
func (k *kernel) length(at uint64) uint64 {
	n, found := slices.BinarySearchFunc(k.blocks, at, func(b block, at uint64) int {
		switch {
		case b.at < at:
			return -1
		case b.at > at:
			return 1
		}
		return 0
	})
	if !found {
		return 0
	}
	return k.blocks[n].n
}

// view is n bytes of memory from an offset on.
func (k *kernel) view(at, n uint64) []byte {
	if at > uint64(len(k.mem)) || n > uint64(len(k.mem))-at {
		stop(weft.Internal, "the plug-in named %d bytes at %#x of the memory that it shares with the host, which has %d", n, at, len(k.mem))
	}
	return k.mem[at : at+n]
}

func (k *kernel) whole(at uint64) []byte { return k.view(at, k.length(at)) }

// name is a block as a short text.
func (k *kernel) name(at uint64) string {
	b := k.whole(at)
	if len(b) > KeyMax {
		stop(weft.ResourceExhausted, "the plug-in passed a name of %d bytes, the limit is %d", len(b), KeyMax)
	}
	if !utf8.Valid(b) {
		stop(weft.Internal, "the plug-in passed a name that is not UTF-8")
	}
	return string(b)
}

// finish makes the output of a call that returned, and its result. Of a command
// what it wrote to standard output counts, unless it has set an output here.
func (k *kernel) finish(c *call, returned uint32, plugin bool) (err error) {
	if k == nil {
		if plugin && returned != 0 {
			c.out = []byte("the plug-in returned " + itoa(returned))
			c.i.stack[0] = uint64(weft.Unknown)
		}
		return nil
	}
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *stopped:
			err = r
		default:
			panic(r)
		}
	}()
	if returned != 0 {
		if c.out = slices.Clone(k.whole(k.err.at)); k.err.at == 0 || len(c.out) == 0 {
			c.out = []byte("the plug-in returned " + itoa(returned))
		}
		c.i.stack[0] = uint64(weft.Unknown)
		return nil
	}
	if plugin || k.output.n > 0 {
		c.out = c.out[:0]
		c.write(k.view(k.output.at, k.output.n))
	}
	return nil
}

// close gives the memory back.
func (k *kernel) close(c *call) {
	if k != nil {
		c.i.share.give(k.taken)
		c.i.m.bytes.Add(-k.taken)
	}
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// orStop ends the call where the way in has no word for an error.
func (c *call) orStop(err error) {
	if err == nil {
		return
	}
	code := c.code(err)
	if len(c.kept) == 0 {
		stop(code, "the host could not serve the plug-in")
	}
	stop(code, "%s", c.kept)
}

// variable is the state key of a variable: it outlives the instance, and the
// call's transaction has it.
func variable(name string) string { return "var/" + name }

// extismFuncs are the functions of extism:host/env that this host serves: all
// that plug-ins' kits know.
var extismFuncs = func() []hostFunc {
	fn := func(name string, params, results []api.ValueType, do func(c *call, k *kernel, s []uint64)) hostFunc {
		return hostFunc{name, params, results, false, func(c *call, s []uint64) { do(c, c.plugin(), s) }}
	}
	reaching := func(f hostFunc) hostFunc {
		f.reaches = true
		return f
	}
	one, two := types(i64), types(i64, i64)
	all := []hostFunc{
		fn("alloc", one, one, func(c *call, k *kernel, s []uint64) { s[0] = k.alloc(c, s[0]).at }),
		fn("free", one, nil, func(_ *call, k *kernel, s []uint64) { k.free(s[0]) }),
		fn("length", one, one, func(_ *call, k *kernel, s []uint64) { s[0] = k.length(s[0]) }),
		fn("length_unsafe", one, one, func(_ *call, k *kernel, s []uint64) { s[0] = k.length(s[0]) }),
		fn("load_u8", one, types(i32), func(_ *call, k *kernel, s []uint64) { s[0] = uint64(k.view(s[0], 1)[0]) }),
		fn("load_u64", one, one, func(_ *call, k *kernel, s []uint64) { s[0] = binary.LittleEndian.Uint64(k.view(s[0], 8)) }),
		fn("store_u8", types(i64, i32), nil, func(_ *call, k *kernel, s []uint64) { k.view(s[0], 1)[0] = byte(s[1]) }),
		fn("store_u64", two, nil, func(_ *call, k *kernel, s []uint64) { binary.LittleEndian.PutUint64(k.view(s[0], 8), s[1]) }),
		fn("input_offset", nil, one, func(_ *call, k *kernel, s []uint64) { s[0] = k.input.at }),
		fn("input_length", nil, one, func(_ *call, k *kernel, s []uint64) { s[0] = k.input.n }),
		fn("input_load_u8", one, types(i32), func(_ *call, k *kernel, s []uint64) { s[0] = uint64(k.inInput(s[0], 1)[0]) }),
		fn("input_load_u64", one, one, func(_ *call, k *kernel, s []uint64) { s[0] = binary.LittleEndian.Uint64(k.inInput(s[0], 8)) }),
		fn("output_set", two, nil, func(_ *call, k *kernel, s []uint64) { k.view(s[0], s[1]); k.output = block{s[0], s[1]} }),
		fn("error_set", one, nil, func(_ *call, k *kernel, s []uint64) { k.err = block{s[0], k.length(s[0])} }),
		fn("http_status_code", nil, types(i32), func(_ *call, k *kernel, s []uint64) { s[0] = uint64(uint32(k.status)) }),
		fn("http_headers", nil, one, func(c *call, k *kernel, s []uint64) {
			data, _ := json.Marshal(k.headers) // strings: cannot fail
			s[0] = k.put(c, data).at
		}),
		fn("get_log_level", nil, types(i32), func(_ *call, _ *kernel, s []uint64) { s[0] = 1 }), // debug
		reaching(fn("config_get", one, one, func(c *call, k *kernel, s []uint64) {
			v, ok, err := c.env.Config(k.name(s[0]))
			c.orStop(err)
			s[0] = k.found(c, []byte(v), ok)
		})),
		reaching(fn("var_get", one, one, func(c *call, k *kernel, s []uint64) {
			v, ok, err := c.env.StateGet(variable(k.name(s[0])))
			c.orStop(err)
			s[0] = k.found(c, v, ok)
		})),
		reaching(fn("var_set", two, nil, func(c *call, k *kernel, s []uint64) {
			key := variable(k.name(s[0]))
			if s[1] == 0 {
				c.orStop(c.env.StateDelete(key))
				return
			}
			c.orStop(c.env.StateSet(key, k.whole(s[1])))
		})),
		reaching(fn("http_request", two, one, func(c *call, k *kernel, s []uint64) { s[0] = c.pluginHTTP(k, k.whole(s[0]), s[1]).at })),
	}
	for n, name := range []string{"trace", "debug", "info", "warn", "error"} {
		level := slog.LevelDebug + 4*slog.Level(max(n-1, 0))
		all = append(all, fn("log_"+name, one, nil, func(c *call, k *kernel, s []uint64) {
			text := k.whole(s[0])
			c.log(level, string(text[:min(len(text), c.i.m.limits.LogBytes)]))
		}))
	}
	return all
}()

// inInput is n bytes of the input.
func (k *kernel) inInput(at, n uint64) []byte {
	if at > k.input.n || n > k.input.n-at {
		stop(weft.Internal, "the plug-in read %d bytes at %d of an input of %d", n, at, k.input.n)
	}
	return k.view(k.input.at+at, n)
}

// pluginHTTP makes the call that a plug-in describes, and gives the body of its
// answer.
func (c *call) pluginHTTP(k *kernel, request []byte, body uint64) block {
	if err := c.readable(request); err != nil {
		c.orStop(err)
	}
	var q struct {
		URL     string            `json:"url"`
		Method  string            `json:"method,omitempty"`
		Headers map[string]string `json:"headers,omitempty"`
		Body    []byte            `json:"body,omitempty"`
	}
	if err := json.Unmarshal(request, &q); err != nil {
		stop(weft.InvalidArgument, "the plug-in's HTTP request is no JSON: %w", err)
	}
	if q.Body = nil; body != 0 {
		q.Body = k.whole(body)
	}
	if len(q.Body) > RequestMax { // before it is copied
		stop(weft.ResourceExhausted, "the plug-in's HTTP request has a body of %d bytes, the limit is %d", len(q.Body), RequestMax)
	}
	if q.Method == "" {
		q.Method = "GET"
	}
	data, err := json.Marshal(q)
	c.orStop(err)
	answer, err := c.askHTTP(data)
	c.orStop(err)
	var a struct {
		Status  int               `json:"status"`
		Headers map[string]string `json:"headers"`
		Body    []byte            `json:"body"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		stop(weft.Internal, "the answer of the host is no JSON: %w", err)
	}
	k.status, k.headers = a.Status, a.Headers
	return k.put(c, a.Body)
}
