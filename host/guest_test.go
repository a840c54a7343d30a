package host_test

import "encoding/binary"

// guest is a small module, made by hand: one that is compiled takes the check
// seconds under the race detector. Its handlers:
//
//	echo  answers with its input
//	fail  answers with the code internal, and its input as the message
//	boom  traps
//	key   answers with the idempotency key of its call
//	ask   answers with what the peer "peer" answers to its input, or why it does not
//	page  answers with its input as HTML, and lies about its length
func guest() []byte { return guestAsking("peer/ask", "idempotency-key") }

// guestAsking is the guest with another procedure that ask calls, and another header
// that key tells.
func guestAsking(path, key string) []byte {
	const ( // where things are in its memory
		keyAt        = 0
		typeAt, kind = 32, "content-type"
		htmlAt, html = 48, "text/html"
		lenAt, size  = 64, "content-length"
		pathAt       = 128
		inputAt      = 1 << 10
		answerAt     = 2 << 20
		answerMax    = 1 << 20
		pages        = 48 // of 64 KiB
	)
	const ( // types, and functions in the order of imports and exports
		asI32, asI64                                 = 0x7f, 0x7e
		inputType, outputType                        = 0, 1
		headerType, callType, handlerType, setType   = 2, 3, 4, 5
		inputFn, outputFn, headerFn, callFn, setFn   = 0, 1, 2, 3, 4
		resultFn                                     = 5
		echoFn, failFn, boomFn, keyFn, askFn, pageFn = 6, 7, 8, 9, 10, 11
	)
	signature := func(result []byte, params ...byte) []byte { return join([]byte{0x60}, vector(params), vector(result)) }
	imported := func(name string, kind byte) []byte {
		return join(vector([]byte("weft/v1")), vector([]byte(name)), []byte{0, kind})
	}
	exported := func(name string, kind, index byte) []byte { return join(vector([]byte(name)), []byte{kind, index}) }
	num := func(n int) []byte { return join([]byte{0x41}, sleb(n)) }
	n, result := []byte{0x20, 0}, []byte{0x20, 1} // the parameter, and a local
	call := func(fn byte) []byte { return []byte{0x10, fn} }
	drop, wrap, keep, end := []byte{0x1a}, []byte{0xa7}, []byte{0x21, 1}, []byte{0x0b}
	code := func(parts ...[]byte) []byte { return vector(join(append([][]byte{{1, 1, asI32}}, parts...)...)) }
	placed := func(at int, text string) []byte { return join([]byte{0}, num(at), end, vector([]byte(text))) }
	read := join(num(inputAt), n, num(0), call(inputFn), drop)
	write := func(at int, length []byte) []byte { return join(num(at), length, call(outputFn)) }
	set := func(name, nameLen, value, valueLen int) []byte {
		return join(num(name), num(nameLen), num(value), num(valueLen), call(setFn))
	}
	refused := join(result, num(0), []byte{0x48, 0x04, 0x40}, num(0), result, []byte{0x6b, 0x0f, 0x0b}) // if result < 0 { return -result }

	told := join(result, num(0), []byte{0x48, 0x04, 0x40}, write(answerAt, join(num(answerAt), num(answerMax), num(0), call(resultFn))), num(0), result, []byte{0x6b, 0x0f, 0x0b}) // and why

	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, signature([]byte{asI32}, asI32, asI32, asI32), signature(nil, asI32, asI32), signature([]byte{asI64}, asI32, asI32, asI32, asI32),
			signature([]byte{asI64}, asI32, asI32, asI32, asI32, asI32, asI32), signature([]byte{asI32}, asI32), signature(nil, asI32, asI32, asI32, asI32)),
		section(2, imported("input", inputType), imported("output", outputType), imported("header_get", headerType), imported("call", callType), imported("header_set", setType), imported("result", inputType)),
		section(3, []byte{handlerType}, []byte{handlerType}, []byte{handlerType}, []byte{handlerType}, []byte{handlerType}, []byte{handlerType}),
		section(5, []byte{0, pages}),
		section(7, exported("memory", 2, 0), exported("echo", 0, echoFn), exported("fail", 0, failFn), exported("boom", 0, boomFn), exported("key", 0, keyFn), exported("ask", 0, askFn), exported("page", 0, pageFn)),
		section(10,
			code(read, write(inputAt, n), num(0), end),
			code(read, write(inputAt, n), num(13), end),
			code([]byte{0x00}, end),
			code(num(keyAt), num(len(key)), num(answerAt), num(answerMax), call(headerFn), wrap, keep, refused, write(answerAt, result), num(0), end),
			code(read, num(pathAt), num(len(path)), num(inputAt), n, num(answerAt), num(answerMax), call(callFn), wrap, keep, told, write(answerAt, result), num(0), end),
			code(read, set(typeAt, len(kind), htmlAt, len(html)), set(lenAt, len(size), htmlAt, 4), write(inputAt, n), num(0), end)),
		section(11, placed(keyAt, key), placed(pathAt, path), placed(typeAt, kind), placed(htmlAt, html), placed(lenAt, size)))
}

const guestManifest = `{"name":"guest","version":"1.0.0","grants":{"peers":["*"]}}`

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func vector(data []byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(data))), data...) }

func section(id byte, items ...[]byte) []byte {
	return join([]byte{id}, vector(join(binary.AppendUvarint(nil, uint64(len(items))), join(items...))))
}

// sleb is a number as signed LEB128.
func sleb(n int) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
