//go:build !wasip1

// Package wefttest runs a guest's handlers in a plain go test, against a host
// in memory:
//
//	h := wefttest.New()
//	h.Peers["payments/payments.v1.Payments/Charge"] = func(req []byte) ([]byte, error) { ... }
//	var payment Payment
//	err := h.Call(chargeCard, Charge{...}, &payment)
package wefttest

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	weft "github.com/weftrun/weft/sdk/go"
)

// Host is a host in memory. Fill its fields before a call and look at them
// after it. As in weft, a call that fails leaves no write and no event, and names,
// values and details that are too long, or not what they must be, are refused. Of
// other limits and of grants there are none. It serves one call at a time.
type Host struct {
	State   map[string][]byte
	Config  map[string]string
	Secrets map[string]string
	Headers map[string]string // of the next calls
	Peers   map[string]Peer   // by procedure
	Refusal []Detail          // of each error that one of Peers returns
	Web     Web               // answers plain HTTP requests; nil refuses them
	Timeout time.Duration     // what a call has left; zero for no limit

	Events   []Published       // of all calls that succeeded
	Answer   map[string]string // headers of the last answer; several values are joined by ", "
	Trailers map[string]string // of the last answer
	Details  []Detail          // of the last error
	Logs     []string

	in, sent [][]byte // messages of the call
	streams  bool
	headed   bool  // headers can no longer be set
	refused  bool  // the last call of a peer gave an error
	stopped  error // what has ended the call, whatever its handler returns
}

// Bounds of docs/ABI.md, in bytes but for detailMax.
const (
	nameMax         = 1 << 10
	headerMax       = 8 << 10
	valueMax        = 1 << 20
	detailMax       = 16
	detailsBytesMax = 16 << 10
)

// Detail is a protobuf message that belongs to an error.
type Detail = weft.Detail

// Peer answers calls of one procedure.
type Peer func(request []byte) ([]byte, error)

// Web answers plain HTTP requests.
type Web func(weft.Request) (weft.Response, error)

// Published is an event that a handler published.
type Published struct {
	Type string
	Data []byte
}

// New is a host that has nothing.
func New() *Host {
	return &Host{State: map[string][]byte{}, Config: map[string]string{}, Secrets: map[string]string{},
		Headers: map[string]string{}, Peers: map[string]Peer{}}
}

// Call runs one call of an export with in as JSON and reads the answer into
// out, which may be nil. The error is a *weft.Error.
func (h *Host) Call(export func(uint32) uint32, in, out any) error {
	input, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := h.CallRaw(export, input)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// CallRaw is Call with bytes.
func (h *Host) CallRaw(export func(uint32) uint32, input []byte) ([]byte, error) {
	h.in, h.streams = [][]byte{input}, false
	return h.run(export, input)
}

// Stream runs one call of an export with a stream of messages, and returns those
// that it has sent, up to its error if there is one.
func (h *Host) Stream(export func(uint32) uint32, messages ...[]byte) ([][]byte, error) {
	h.in, h.streams = messages, true
	_, err := h.run(export, nil)
	return h.sent, err
}

func (h *Host) run(export func(uint32) uint32, input []byte) ([]byte, error) {
	before, events := maps.Clone(h.State), len(h.Events)
	h.Answer, h.Trailers, h.Details, h.sent, h.headed, h.refused, h.stopped = map[string]string{}, map[string]string{}, nil, nil, false, false, nil
	answer, err := weft.Simulate(view{h}, export, input)
	switch {
	case err == nil && len(answer) > 0 && (h.streams || h.sent != nil):
		err = weft.Errorf(weft.Internal, "the handler sends its messages, and wrote output besides")
	case err == nil && !h.streams && h.sent != nil:
		answer = h.sent[0]
	}
	if h.stopped != nil {
		err = h.stopped
	}
	if err != nil {
		h.State, h.Events = before, h.Events[:events]
		return nil, err
	}
	h.Details = nil
	return answer, nil
}

// Deliver runs one call of an export with an event whose data is JSON.
func (h *Host) Deliver(export func(uint32) uint32, e weft.Event, data any) error {
	headers := h.Headers
	defer func() { h.Headers = headers }()
	h.Headers = maps.Clone(headers)
	h.Headers["ce-id"], h.Headers["ce-source"] = e.ID, e.Source
	h.Headers["ce-type"], h.Headers["ce-subject"] = e.Type, e.Subject
	if !e.Time.IsZero() {
		h.Headers["ce-time"] = e.Time.Format(time.RFC3339Nano)
	}
	return h.Call(export, data, nil)
}

// view is the Host as the package weft wants to see it.
type view struct{ h *Host }

// stop ends the call: what its handler returns does not count any more.
func (v view) stop(code weft.Code, format string, args ...any) error {
	err := weft.Errorf(code, format, args...)
	if v.h.stopped == nil {
		v.h.stopped = err
	}
	return err
}

// check ends the call for a name or value that is none.
func (v view) check(name string, limit int) error {
	switch {
	case len(name) > limit:
		return v.stop(weft.ResourceExhausted, "the handler passed a name or value of %d bytes, the limit is %d", len(name), limit)
	case !utf8.ValidString(name):
		return v.stop(weft.Internal, "the handler passed a name or value that is not UTF-8")
	}
	return nil
}

func (v view) HeaderGet(name string) ([]byte, error) {
	for k := range v.h.Headers {
		if strings.EqualFold(k, name) {
			name = k
			break
		}
	}
	return find(v, v.h.Headers, name)
}

func (v view) HeaderSet(name, value string) {
	if v.h.headed {
		_ = v.stop(weft.FailedPrecondition, "SetHeader was called when the headers had been sent")
		return
	}
	v.add(v.h.Answer, name, value)
}

func (v view) TrailerSet(name, value string) { v.add(v.h.Trailers, name, value) }
func (v view) SendHeaders()                  { v.h.headed = true }

func (v view) ErrorDetail(kind string, value []byte) {
	if v.check(kind, nameMax) != nil {
		return
	}
	all := len(kind) + len(value)
	for _, d := range v.h.Details {
		all += len(d.Type) + len(d.Value)
	}
	switch {
	case kind == "":
		_ = v.stop(weft.Internal, "the handler passed a detail of an error without its type")
	case len(v.h.Details) == detailMax || all > detailsBytesMax:
		_ = v.stop(weft.ResourceExhausted, "the handler gave more than %d details of its error, or more than %d bytes of them", detailMax, detailsBytesMax)
	default:
		v.h.Details = append(v.h.Details, Detail{Type: kind, Value: bytes.Clone(value)})
	}
}

func (v view) Recv() ([]byte, error) {
	if len(v.h.in) == 0 {
		return nil, weft.Errorf(weft.OutOfRange, "there is no further message")
	}
	m := v.h.in[0]
	v.h.in = v.h.in[1:]
	return m, nil
}

func (v view) Send(message []byte) error {
	if !v.h.streams && v.h.sent != nil {
		return weft.Errorf(weft.FailedPrecondition, "a call without a stream has one answer, and it has been sent")
	}
	v.h.headed = true
	v.h.sent = append(v.h.sent, append([]byte{}, message...))
	return nil
}

func (v view) add(h map[string]string, name, value string) {
	if v.check(name, nameMax) != nil || v.check(value, headerMax) != nil {
		return
	}
	name = strings.ToLower(name)
	if old, ok := h[name]; ok {
		value = old + ", " + value
	}
	h[name] = value
}

func (v view) StateGet(key string) ([]byte, error) { return find(v, v.h.State, key) }

func (v view) StateSet(key string, value []byte) error {
	if err := v.check(key, nameMax); err != nil {
		return err
	}
	if len(value) > valueMax {
		return weft.Errorf(weft.ResourceExhausted, "value of %q has %d bytes, the limit is %d", key, len(value), valueMax)
	}
	v.h.State[key] = bytes.Clone(value)
	return nil
}

func (v view) StateDelete(key string) error {
	delete(v.h.State, key)
	return v.check(key, nameMax)
}

func (v view) Publish(eventType string, data []byte) error {
	if err := v.check(eventType, nameMax); err != nil {
		return err
	}
	switch {
	case eventType == "":
		return weft.Errorf(weft.InvalidArgument, "an event must have a type")
	case strings.HasPrefix(eventType, "weft."):
		return weft.Errorf(weft.InvalidArgument, "event type %q is one of weft itself", eventType)
	case len(data) > valueMax:
		return weft.Errorf(weft.ResourceExhausted, "the data of an event %q has %d bytes, the limit is %d", eventType, len(data), valueMax)
	}
	v.h.Events = append(v.h.Events, Published{Type: eventType, Data: bytes.Clone(data)})
	return nil
}

func (v view) Call(procedure string, request []byte) ([]byte, error) {
	if err := v.check(procedure, nameMax); err != nil {
		return nil, err
	}
	v.h.refused = false
	peer, ok := v.h.Peers[procedure]
	if !ok {
		return nil, weft.Errorf(weft.NotFound, "no such peer")
	}
	answer, err := peer(bytes.Clone(request))
	v.h.refused = err != nil
	return answer, err
}

func (v view) CallDetails() []weft.Detail {
	if !v.h.refused {
		return nil
	}
	return v.h.Refusal
}

func (v view) HTTP(r weft.Request) (weft.Response, error) {
	if v.h.Web == nil {
		return weft.Response{}, weft.Errorf(weft.PermissionDenied, "not granted")
	}
	return v.h.Web(r)
}

func (v view) ConfigGet(key string) ([]byte, error)  { return find(v, v.h.Config, key) }
func (v view) SecretGet(name string) ([]byte, error) { return find(v, v.h.Secrets, name) }

func (v view) Deadline() int64 {
	if v.h.Timeout <= 0 {
		return -1
	}
	return v.h.Timeout.Milliseconds()
}

func (v view) Log(_ weft.Level, message string) { v.h.Logs = append(v.h.Logs, message) }

func find[V string | []byte](v view, m map[string]V, name string) ([]byte, error) {
	if err := v.check(name, nameMax); err != nil {
		return nil, err
	}
	found, ok := m[name]
	if !ok {
		return nil, weft.Errorf(weft.NotFound, "not found")
	}
	return []byte(found), nil
}
