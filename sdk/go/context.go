package weft

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
)

// Context is one call of a handler: its input, and everything it may reach.
// It is valid until the handler returns, for one goroutine.
type Context struct {
	host   host
	input  []byte
	output []byte
}

// Input is what the caller sent. The bytes are reused by the next call: copy
// what outlives this one.
func (c *Context) Input() []byte { return c.input }

// Write adds to the output, which the caller gets when the handler returns nil.
func (c *Context) Write(p []byte) (int, error) {
	c.output = append(c.output, p...)
	return len(p), nil
}

// Recv waits for the next message of the call; io.EOF after the last. Of a call
// without a stream the input is the only message.
func (c *Context) Recv() ([]byte, error) {
	v, err := c.recv()
	return bytes.Clone(v), err
}

// recv is Recv whose bytes are valid until the next host call.
func (c *Context) recv() ([]byte, error) {
	v, err := c.host.recv()
	if CodeOf(err) == OutOfRange {
		return nil, io.EOF
	}
	return v, describe(err, "", "recv")
}

// Send sends a message, and waits until there is room for it. A call without a
// stream has one. Whoever sends writes no output besides.
func (c *Context) Send(message []byte) error { return describe(c.host.send(message), "", "send") }

// SendHeaders sends the headers of the answer, which the first Send does too. None
// can be set afterwards.
func (c *Context) SendHeaders() { c.host.sendHeaders() }

// SetTrailer adds a value to a trailer of the answer.
func (c *Context) SetTrailer(name, value string) { c.host.trailerSet(name, value) }

// AddDetail adds a protobuf message to the error that the handler is going to
// return, by its full name such as google.rpc.RetryInfo.
func (c *Context) AddDetail(kind string, value []byte) { c.host.errorDetail(kind, value) }

// Header is a header of the call, by its lower-case name, or empty. Several values
// are joined by ", ". The name :names lists all, :procedure is what was called.
func (c *Context) Header(name string) string {
	v, err := c.host.headerGet(name)
	if err != nil {
		return ""
	}
	return string(v)
}

// SetHeader adds a value to a header of the answer.
func (c *Context) SetHeader(name, value string) { c.host.headerSet(name, value) }

// Get reads a key of the module's state. A key that was never set, or was
// deleted, is not found, and no error.
func (c *Context) Get(key string) (value []byte, found bool, err error) {
	v, found, err := c.get(key)
	return bytes.Clone(v), found, err
}

// get is Get whose bytes are valid until the next host call.
func (c *Context) get(key string) ([]byte, bool, error) {
	v, err := c.host.stateGet(key)
	if CodeOf(err) == NotFound {
		return nil, false, nil
	}
	return v, err == nil, describe(err, "state key ", key)
}

// Set writes a key of the module's state. Later reads of this call see it;
// others see it when the handler has returned nil.
func (c *Context) Set(key string, value []byte) error {
	return describe(c.host.stateSet(key, value), "state key ", key)
}

// Delete removes a key of the module's state; one that is not there is fine.
func (c *Context) Delete(key string) error {
	return describe(c.host.stateDelete(key), "state key ", key)
}

// Publish sends an event of this type with JSON data, once the handler has
// returned nil.
func (c *Context) Publish(eventType string, data []byte) error {
	return describe(c.host.publish(eventType, data), "event ", eventType)
}

// Call asks a peer, as in "payments/payments.v1.Payments/Charge", and returns
// its answer. The host finds an instance, retries, and guards the peer with a
// breaker: while that is open in a workflow, the host parks the step and this
// call does not return.
func (c *Context) Call(procedure string, request []byte) ([]byte, error) {
	v, err := c.host.call(procedure, request)
	return bytes.Clone(v), describe(err, "call of ", procedure)
}

// Detail is a protobuf message that belongs to an error, by its full name.
type Detail struct {
	Type  string
	Value []byte
}

// CallDetails are the details of the error that the last Call has returned, or one of
// CallJSON and CallMessage.
func (c *Context) CallDetails() (all []Detail) {
	for {
		v, err := c.host.callDetail(uint32(len(all)))
		if err != nil {
			return all
		}
		kind, value, _ := bytes.Cut(v, []byte{0})
		all = append(all, Detail{string(kind), bytes.Clone(value)})
	}
}

// Config reads a configuration value of the module.
func (c *Context) Config(key string) (value string, found bool, err error) {
	v, err := c.host.configGet(key)
	if CodeOf(err) == NotFound {
		return "", false, nil
	}
	return string(v), err == nil, describe(err, "config key ", key)
}

// Secret reads a secret that the module was granted. Do not log it.
func (c *Context) Secret(name string) ([]byte, error) {
	v, err := c.host.secretGet(name)
	return bytes.Clone(v), describe(err, "secret ", name)
}

// Remaining is the time left for this call; false when there is no limit.
func (c *Context) Remaining() (time.Duration, bool) {
	ms := c.host.deadline()
	return time.Duration(max(ms, 0)) * time.Millisecond, ms >= 0
}

// Level says how much a log line matters.
type Level uint32

// The levels of Log.
const (
	LevelDebug Level = iota
	LevelInfo
	LevelWarn
	LevelError
)

// Log writes one line into the host's log.
func (c *Context) Log(level Level, message string) { c.host.log(level, message) }

// describe says which name a host error is about.
func describe(err error, kind, name string) error {
	if err == nil {
		return nil
	}
	code := CodeOf(err)
	message := err.Error()
	if message == "" {
		message = code.String()
	}
	return &Error{Code: code, Message: kind + name + ": " + message}
}

// GetJSON reads a key of the module's state as JSON. An absent key is the zero
// value and not found.
func GetJSON[T any](c *Context, key string) (value T, found bool, err error) {
	v, found, err := c.get(key)
	if err != nil || !found {
		return value, found, err
	}
	if err := json.Unmarshal(v, &value); err != nil {
		return value, true, Errorf(DataLoss, "state key %s: %v", key, err)
	}
	return value, true, nil
}

// SetJSON writes a key of the module's state as JSON.
func SetJSON(c *Context, key string, value any) error {
	v, err := json.Marshal(value)
	if err != nil {
		return Errorf(Internal, "state key %s: %v", key, err)
	}
	return c.Set(key, v)
}

// PublishJSON publishes an event with value as its data.
func PublishJSON(c *Context, eventType string, value any) error {
	v, err := json.Marshal(value)
	if err != nil {
		return Errorf(Internal, "event %s: %v", eventType, err)
	}
	return c.Publish(eventType, v)
}

// CallJSON asks a peer in JSON.
func CallJSON[Out any](c *Context, procedure string, request any) (answer Out, err error) {
	req, err := json.Marshal(request)
	if err != nil {
		return answer, Errorf(Internal, "call of %s: %v", procedure, err)
	}
	v, err := c.host.call(procedure, req)
	if err != nil {
		return answer, describe(err, "call of ", procedure)
	}
	if err := json.Unmarshal(v, &answer); err != nil {
		return answer, Errorf(Internal, "answer of %s: %v", procedure, err)
	}
	return answer, nil
}
