//go:build !wasip1

package weft

import (
	"encoding/json"
	"sync"
)

// Host stands in for weft when a guest runs outside Wasm. An error it returns
// reaches the handler with its code. Package wefttest has one in memory.
type Host interface {
	HeaderGet(name string) ([]byte, error)
	HeaderSet(name, value string)
	StateGet(key string) ([]byte, error) // an absent key is NotFound
	StateSet(key string, value []byte) error
	StateDelete(key string) error
	Publish(eventType string, data []byte) error
	Call(procedure string, request []byte) ([]byte, error)
	CallDetails() []Detail // of the last Call's error
	HTTP(request Request) (Response, error)
	ConfigGet(key string) ([]byte, error) // an absent key is NotFound
	SecretGet(name string) ([]byte, error)
	Deadline() int64 // milliseconds left, or negative
	Log(level Level, message string)
	Recv() ([]byte, error) // OutOfRange after the last message
	Send(message []byte) error
	SendHeaders()
	TrailerSet(name, value string)
	ErrorDetail(kind string, value []byte)
}

// Simulate runs one call of an export outside Wasm, against h, and returns what
// the caller would get. Several may run at once.
func Simulate(h Host, export func(uint32) uint32, input []byte) ([]byte, error) {
	c := &Context{host: host{h}, input: input}
	id := calls.add(c)
	defer calls.remove(id)
	if code := Code(export(id)); code != OK {
		return nil, &Error{Code: code, Message: string(c.output)}
	}
	return c.output, nil
}

// calls are the simulated calls that are running: outside Wasm the argument of
// an export is not the length of the input but the number of the call.
var calls callTable

type callTable struct {
	mu      sync.Mutex
	last    uint32              // guarded by mu
	running map[uint32]*Context // guarded by mu
}

func (t *callTable) add(c *Context) uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == nil {
		t.running = map[uint32]*Context{}
	}
	t.last++
	t.running[t.last] = c
	return t.last
}

func (t *callTable) remove(id uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, id)
}

func (t *callTable) get(id uint32) *Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running[id]
}

func handle(n uint32, bytes func(*Context) ([]byte, error), fn func(*Context) error) uint32 {
	c := calls.get(n)
	if c == nil {
		panic("weft: a handler was called outside weft: build the module with GOOS=wasip1 GOARCH=wasm -buildmode=c-shared, or test it with package wefttest")
	}
	code, err := OK, error(nil)
	if bytes != nil {
		c.output, err = bytes(c)
	} else {
		err = fn(c)
	}
	if err != nil {
		c.output, code = fail(c, err)
	}
	return uint32(code)
}

type host struct{ Host }

func (h host) headerGet(name string) ([]byte, error)             { return h.HeaderGet(name) }
func (h host) headerSet(name, value string)                      { h.HeaderSet(name, value) }
func (h host) stateGet(key string) ([]byte, error)               { return h.StateGet(key) }
func (h host) stateSet(key string, value []byte) error           { return h.StateSet(key, value) }
func (h host) stateDelete(key string) error                      { return h.StateDelete(key) }
func (h host) publish(eventType string, data []byte) error       { return h.Publish(eventType, data) }
func (h host) call(procedure string, req []byte) ([]byte, error) { return h.Call(procedure, req) }

func (h host) callDetail(n uint32) ([]byte, error) {
	all := h.CallDetails()
	if n >= uint32(len(all)) {
		return nil, &Error{Code: NotFound}
	}
	return append(append([]byte(all[n].Type), 0), all[n].Value...), nil
}

func (h host) http(request []byte) ([]byte, error) {
	var r Request
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, err
	}
	answer, err := h.HTTP(r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

func (h host) configGet(key string) ([]byte, error)  { return h.ConfigGet(key) }
func (h host) secretGet(name string) ([]byte, error) { return h.SecretGet(name) }
func (h host) deadline() int64                       { return h.Deadline() }
func (h host) log(level Level, message string)       { h.Log(level, message) }
func (h host) recv() ([]byte, error)                 { return h.Recv() }
func (h host) send(message []byte) error             { return h.Send(message) }
func (h host) sendHeaders()                          { h.SendHeaders() }
func (h host) trailerSet(name, value string)         { h.TrailerSet(name, value) }
func (h host) errorDetail(kind string, value []byte) { h.ErrorDetail(kind, value) }
