package weft

import (
	"runtime"
	"unsafe"
)

//go:wasmimport weft/v1 input
func wasmInput(dst unsafe.Pointer, size, offset uint32) uint32

//go:wasmimport weft/v1 output
func wasmOutput(src unsafe.Pointer, n uint32)

//go:wasmimport weft/v1 result
func wasmResult(dst unsafe.Pointer, size, offset uint32) uint32

//go:wasmimport weft/v1 header_get
func wasmHeaderGet(name string, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 header_set
func wasmHeaderSet(name, value string)

//go:wasmimport weft/v1 state_get
func wasmStateGet(key string, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 state_set
func wasmStateSet(key string, src unsafe.Pointer, n uint32) uint32

//go:wasmimport weft/v1 state_delete
func wasmStateDelete(key string) uint32

//go:wasmimport weft/v1 publish
func wasmPublish(eventType string, src unsafe.Pointer, n uint32) uint32

//go:wasmimport weft/v1 call
func wasmCall(procedure string, src unsafe.Pointer, n uint32, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 call_detail
func wasmCallDetail(n uint32, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 http
func wasmHTTP(src unsafe.Pointer, n uint32, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 config_get
func wasmConfigGet(key string, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 secret_get
func wasmSecretGet(name string, dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 deadline
func wasmDeadline() int64

//go:wasmimport weft/v1 log
func wasmLog(level uint32, message string)

//go:wasmimport weft/v1 recv
func wasmRecv(dst unsafe.Pointer, size uint32) int64

//go:wasmimport weft/v1 send
func wasmSend(src unsafe.Pointer, n uint32) uint32

//go:wasmimport weft/v1 send_headers
func wasmSendHeaders()

//go:wasmimport weft/v1 trailer_set
func wasmTrailerSet(name, value string)

//go:wasmimport weft/v1 error_detail
func wasmErrorDetail(kind string, src unsafe.Pointer, n uint32)

// host has no state: its methods are the imports. They are methods of a struct
// and not an interface, so that the linker drops the imports a module does not
// use and the rest says truly what the module can reach.
type host struct{}

// An instance has one call at a time, so one of each is enough.
var (
	current Context
	served  uint32
	scratch = make([]byte, 1024) // answers of the host; longer ones are fetched with result
)

// mailbox is where the host puts an input and takes the output, without a call of it:
// docs/ABI.md.
var mailbox struct{ served, room, roomFor, in, out, outLen uint32 }

//go:wasmexport weft_mailbox
func wasmMailbox() uint32 {
	makeRoom(1024)
	return uint32(uintptr(unsafe.Pointer(&mailbox)))
}

// makeRoom has the next input of n bytes fit.
func makeRoom(n uint32) {
	current.input = make([]byte, n)
	mailbox.room, mailbox.roomFor = uint32(uintptr(address(current.input))), n
}

// handle runs bytes, or else fn. It is in one piece, and writes the lengths of the last
// call's slices alone where they have room: to call a function takes 8 ns here, 13 with a
// call of the host in it, and about a pointer that is written the collector is asked first.
func handle(n uint32, bytes func(*Context) ([]byte, error), fn func(*Context) error) uint32 {
	c := &current
	if n != mailbox.in {
		if int(n) > cap(c.input) {
			makeRoom(n)
		}
		wasmInput(address(c.input), n, 0)
	}
	c.input, c.output = c.input[:n], c.output[:0]
	var out []byte
	var err error
	if bytes != nil {
		out, err = bytes(c)
	} else {
		err = fn(c)
		out = c.output
	}
	code := OK
	if err != nil {
		out, code = fail(c, err)
	}
	if served++; served%turn == 0 {
		giveWay()
	}
	if len(out) > 0 {
		if mailbox.served == 0 {
			wasmOutput(address(out), uint32(len(out)))
		} else {
			mailbox.out, mailbox.outLen = uint32(uintptr(address(out))), uint32(len(out))
		}
	}
	return uint32(code)
}

// How many calls an instance serves until the goroutines that handlers have left behind
// get their turn, and until what waits for the scheduler alone does: timers, finalizers,
// cleanups. It takes as long as fifteen calls that do nothing. The memory does not
// depend on it, for who allocates does the collector's work.
const (
	turn       = 16
	longerTurn = 64 * turn
)

func giveWay() {
	if runtime.NumGoroutine() > 1 || served%longerTurn == 0 {
		runtime.Gosched()
	}
}

func address(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// fetch is the answer of a host call that wrote into scratch and returned n.
func fetch(n int64) ([]byte, error) {
	switch {
	case n < 0:
		return nil, failure(Code(-n))
	case n > int64(cap(scratch)):
		scratch = make([]byte, n)
		n = int64(wasmResult(address(scratch), uint32(n), 0))
	}
	return scratch[:n], nil
}

func status(code uint32) error {
	if code == 0 {
		return nil
	}
	return failure(Code(code))
}

// failure is the error of the last host call, whose text the host has kept.
func failure(code Code) error {
	n := wasmResult(address(scratch), uint32(cap(scratch)), 0)
	return &Error{Code: code, Message: string(scratch[:n])}
}

func (host) headerGet(name string) ([]byte, error) {
	return fetch(wasmHeaderGet(name, address(scratch), uint32(cap(scratch))))
}

func (host) headerSet(name, value string) { wasmHeaderSet(name, value) }

func (host) stateGet(key string) ([]byte, error) {
	return fetch(wasmStateGet(key, address(scratch), uint32(cap(scratch))))
}

func (host) stateSet(key string, value []byte) error {
	return status(wasmStateSet(key, address(value), uint32(len(value))))
}

func (host) stateDelete(key string) error { return status(wasmStateDelete(key)) }

func (host) publish(eventType string, data []byte) error {
	return status(wasmPublish(eventType, address(data), uint32(len(data))))
}

func (host) call(procedure string, request []byte) ([]byte, error) {
	return fetch(wasmCall(procedure, address(request), uint32(len(request)), address(scratch), uint32(cap(scratch))))
}

func (host) callDetail(n uint32) ([]byte, error) {
	return fetch(wasmCallDetail(n, address(scratch), uint32(cap(scratch))))
}

func (host) http(request []byte) ([]byte, error) {
	return fetch(wasmHTTP(address(request), uint32(len(request)), address(scratch), uint32(cap(scratch))))
}

func (host) configGet(key string) ([]byte, error) {
	return fetch(wasmConfigGet(key, address(scratch), uint32(cap(scratch))))
}

func (host) secretGet(name string) ([]byte, error) {
	return fetch(wasmSecretGet(name, address(scratch), uint32(cap(scratch))))
}

func (host) deadline() int64 { return wasmDeadline() }

func (host) log(level Level, message string) { wasmLog(uint32(level), message) }

func (host) recv() ([]byte, error) { return fetch(wasmRecv(address(scratch), uint32(cap(scratch)))) }

func (host) send(message []byte) error {
	return status(wasmSend(address(message), uint32(len(message))))
}

func (host) sendHeaders() { wasmSendHeaders() }

func (host) trailerSet(name, value string) { wasmTrailerSet(name, value) }

func (host) errorDetail(kind string, value []byte) {
	wasmErrorDetail(kind, address(value), uint32(len(value)))
}
