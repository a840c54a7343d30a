package services

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weftrun/weft"
)

// timeoutHeader is for how long a caller waits, in milliseconds: Connect's own.
const timeoutHeader = "Connect-Timeout-Ms"

// ServeHTTP serves a call by REST.
func (f found) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if text := r.Header.Get(timeoutHeader); text != "" {
		ms, err := strconv.ParseUint(text, 10, 33)
		if err != nil {
			refuseREST(w, wire(badREST("%s: %.20q is no number of milliseconds", timeoutHeader, text)))
			return
		}
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer end()
	}
	if f.rule.plain != nil {
		f.servePlain(ctx, w, r)
		return
	}
	msg, err := f.message(r)
	if err != nil {
		refuseREST(w, wire(err))
		return
	}
	info := &connect.CallInfo{Protocol: "rest", Codec: "json", PeerAddr: r.RemoteAddr}
	for name, values := range r.Header {
		info.RequestHeader().SetValues(name, values)
	}
	a := &restAnswer{rule: f.rule, w: w, info: info, msg: msg, status: http.StatusOK}
	info.TransportInfo = a
	a.events = strings.Contains(strings.Join(r.Header.Values("Accept"), ","), "text/event-stream")
	a.finish(f.v.server.Call(ctx, procedure(f.rule.method), info, a))
}

// refuseREST answers with an error: Connect's JSON and status.
func refuseREST(w http.ResponseWriter, err error) {
	_ = errorWriter.Write(w, &http.Request{}, err) // the caller has gone
}

func badREST(format string, args ...any) error {
	return weft.Errorf(weft.InvalidArgument, "services.REST", format, args...)
}

// message is that of the request: what the body says, then the query, then the
// path. Encoded messages in a row are their merger.
func (f found) message(r *http.Request) ([]byte, error) {
	msg, err := f.fromBody(r)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badREST("the query: %w", err)
	}
	type parameter struct {
		path   []protoreflect.FieldDescriptor
		values []string
	}
	given := map[string]parameter{} // by the one name of the field
	for _, name := range slices.Sorted(maps.Keys(query)) {
		path, err := f.rule.parameter(name)
		if err != nil {
			return nil, badREST("parameter %.100q: %w", name, err)
		}
		of := nameOf(path)
		given[of] = parameter{path, append(given[of].values, query[name]...)}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if msg, err = f.rule.set(msg, given[name].path, given[name].values); err != nil {
			return nil, badREST("parameter %.100q: %w", name, err)
		}
	}
	for _, v := range f.rule.vars {
		if msg, err = f.rule.set(msg, v.field, []string{f.text(v)}); err != nil {
			return nil, badREST("%s in the path: %w", v.name(), err)
		}
	}
	return msg, nil
}

// text is what the path has for a variable. In one of several segments a %2F
// stays, for it does not part them.
func (f found) text(v variable) string {
	if f.rule.path[v.to-1] != "**" && v.to == v.from+1 {
		return f.segments[v.from].text
	}
	to := v.to
	if f.rule.path[v.to-1] == "**" {
		to = len(f.segments)
	}
	var parts []string
	for _, s := range f.segments[v.from:to] {
		if strings.Contains(s.text, "/") {
			s.text, _ = url.PathUnescape(slashes.Replace(s.raw)) // it could be before
		}
		parts = append(parts, s.text)
	}
	return strings.Join(parts, "/")
}

var slashes = strings.NewReplacer("%2F", "%252F", "%2f", "%252f")

// parameter is the field that a parameter of the query is for: one that is
// neither in the path nor in the body.
func (r *rule) parameter(name string) ([]protoreflect.FieldDescriptor, error) {
	path, err := fieldPath(r.method.Input(), name)
	if err != nil {
		return nil, err
	}
	if r.whole || path[0] == r.body {
		return nil, fmt.Errorf("it is in the body")
	}
	for _, v := range r.vars {
		if slices.Equal(v.field, path) {
			return nil, fmt.Errorf("it is in the path")
		}
	}
	return path, nil
}

// set appends to msg a field that has been written as text, once or, where it is
// repeated, several times. It becomes JSON, which knows the forms of all types.
func (r *rule) set(msg []byte, path []protoreflect.FieldDescriptor, values []string) ([]byte, error) {
	fd := path[len(path)-1]
	if fd.IsMap() || !isScalar(fd) {
		return nil, fmt.Errorf("%s has no form as text", fd.FullName())
	}
	if len(values) > 1 && !fd.IsList() {
		return nil, fmt.Errorf("there are %d values, and the field has one", len(values))
	}
	var text []byte
	for _, step := range path {
		text = append(text, '{')
		text = append(append(text, jsonName(step)...), ':')
	}
	if fd.IsList() {
		text = append(text, '[')
	}
	for i, value := range values {
		one, err := asJSON(fd, value)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, one...)
	}
	if fd.IsList() {
		text = append(text, ']')
	}
	return r.in.fromJSON(msg, append(text, bytes.Repeat([]byte{'}'}, len(path))...))
}

// asJSON is one value of a field in JSON. Most types may be in quotes.
func asJSON(fd protoreflect.FieldDescriptor, text string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("it is no UTF-8")
	}
	switch {
	case fd.Kind() == protoreflect.BoolKind, fd.Message() != nil && fd.Message().FullName() == "google.protobuf.BoolValue":
		if text != "true" && text != "false" {
			return nil, fmt.Errorf("%.100q is not true or false", text)
		}
		return []byte(text), nil
	case fd.Kind() == protoreflect.EnumKind:
		if fd.Enum().Values().ByName(protoreflect.Name(text)) != nil {
			break
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s has no value %.100q", fd.Enum().FullName(), text)
		}
		return strconv.AppendInt(nil, n, 10), nil
	}
	return json.Marshal(text)
}

const httpBody protoreflect.FullName = "google.api.HttpBody" // a body that is not JSON

// body is that of the request, as it came.
func (f found) body(r *http.Request) ([]byte, error) {
	most := f.v.opts.MessageMax
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(most)+1))
	if err != nil {
		return nil, badREST("the body ends early: %w", err)
	}
	if len(body) > most {
		return nil, weft.Errorf(weft.ResourceExhausted, "services.REST", "the body has more than %d bytes", most)
	}
	if packed := r.Header.Get("Content-Encoding"); len(body) > 0 && packed != "" && packed != "identity" {
		return nil, badREST("a body in %.20q is not read", packed)
	}
	return body, nil
}

// fromBody is what the body gives to the message.
func (f found) fromBody(r *http.Request) ([]byte, error) {
	body, err := f.body(r)
	if err != nil || len(body) == 0 {
		return nil, err
	}
	kind := r.Header.Get("Content-Type")
	switch to := f.rule.body; {
	case f.rule.whole && f.rule.method.Input().FullName() == httpBody:
		return asHTTPBody(kind, body), nil
	case isHTTPBody(to):
		return protowire.AppendBytes(protowire.AppendTag(nil, to.Number(), protowire.BytesType), asHTTPBody(kind, body)), nil
	case !f.rule.whole && to == nil:
		return nil, badREST("%s takes no body", f.rule.key())
	case !isJSON(kind): // a page of another site may send what it likes, but for JSON
		return nil, badREST("the body is %.50q and not application/json", kind)
	case f.rule.whole:
		return f.rule.in.fromJSON(nil, body)
	case !json.Valid(body): // or it could go on after the field
		return nil, badREST("the body is no JSON")
	default:
		return f.rule.in.fromJSON(nil, slices.Concat([]byte{'{'}, jsonName(to), []byte{':'}, body, []byte{'}'}))
	}
}

// jsonName is the name of a field in JSON, in quotes.
func jsonName(fd protoreflect.FieldDescriptor) []byte {
	name, _ := json.Marshal(fd.JSONName()) // a text has a form in JSON
	return name
}

func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

func isHTTPBody(fd protoreflect.FieldDescriptor) bool {
	return fd != nil && !fd.IsList() && fd.Message() != nil && fd.Message().FullName() == httpBody
}

func asHTTPBody(kind string, body []byte) []byte {
	msg := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), kind)
	return protowire.AppendBytes(protowire.AppendTag(msg, 2, protowire.BytesType), body)
}

// restAnswer is the stream of a call by REST: one message comes in. One answer
// waits until the call has ended, as it may yet fail; those of a stream go out as
// they come: a line of JSON each, or an event for who accepts those.
type restAnswer struct {
	rule   *rule
	w      http.ResponseWriter
	info   *connect.CallInfo
	msg    []byte
	events bool   // text/event-stream
	read   bool   // the message has been
	begun  bool   // the headers are out
	body   []byte // the one answer
	kind   string // its content type
	status int    // of the one answer
}

var _ connect.ServerStream = (*restAnswer)(nil)

func (a *restAnswer) Receive(msg any) error {
	if a.read {
		return io.EOF
	}
	a.read = true
	m := msg.(*message)
	m.data = append(m.data[:0], a.msg...)
	return nil
}

func (a *restAnswer) SendHeaders() error {
	if !a.rule.method.IsStreamingServer() || a.rule.raw {
		return nil // the content type comes with the answer
	}
	a.begin("")
	return a.flush()
}

func (a *restAnswer) Send(msg any) error {
	body, kind, err := a.rule.answerOf(msg.(*message))
	if err != nil {
		return wire(err)
	}
	if len(body) > answerMax {
		return connect.Errorf(connect.CodeResourceExhausted, "the answer has %d bytes, more than %d", len(body), answerMax)
	}
	if !a.rule.method.IsStreamingServer() {
		a.body, a.kind = body, kind
		return nil
	}
	a.begin(kind)
	if !a.rule.raw {
		body = a.line("", body)
	}
	if _, err := a.w.Write(body); err != nil {
		return connect.NewError(connect.CodeCanceled, "the caller has gone")
	}
	return a.flush()
}

// line is a message of a stream.
func (a *restAnswer) line(event string, text []byte) []byte {
	if !a.events {
		return append(text, '\n')
	}
	return fmt.Appendf(nil, "%sdata: %s\n\n", event, text)
}

func (a *restAnswer) flush() error {
	if err := http.NewResponseController(a.w).Flush(); err != nil {
		return connect.NewError(connect.CodeCanceled, "the caller has gone")
	}
	return nil
}

// begin sends the headers of a stream, once.
func (a *restAnswer) begin(kind string) {
	if a.begun {
		return
	}
	a.begun = true
	a.headers("", a.info.ResponseHeader())
	switch {
	case a.rule.raw:
	case a.events:
		kind = "text/event-stream"
		a.w.Header().Set("Cache-Control", "no-store")
	default:
		kind = "application/x-ndjson"
	}
	a.w.Header().Set("Content-Type", kind)
	a.w.WriteHeader(http.StatusOK)
}

// headers adds what the implementation has, but for what HTTP or we decide.
func (a *restAnswer) headers(prefix string, h *connect.Header) {
	for name, values := range h.All() {
		if name = http.CanonicalHeaderKey(name); name == "Content-Type" || name == "Content-Encoding" || Framing(name) {
			continue
		}
		for _, value := range values {
			a.w.Header().Add(prefix+name, value)
		}
	}
}

// Framing reports whether a header is the server's alone to write.
func Framing(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Connection", "Content-Length", "Date", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// finish ends the answer. An error after the headers is the last line: an object
// whose one field is error, or the event error.
func (a *restAnswer) finish(err error) {
	switch {
	case err != nil && !a.begun:
		a.headers("", a.info.ResponseHeader())
		a.headers("Trailer-", a.info.ResponseTrailer())
		refuseREST(a.w, err)
		return
	case !a.rule.method.IsStreamingServer():
		a.headers("", a.info.ResponseHeader())
		a.headers("Trailer-", a.info.ResponseTrailer())
		a.w.Header().Set("Content-Type", a.kind)
		a.w.WriteHeader(a.status)
		_, _ = a.w.Write(a.body) // the caller has gone
		return
	}
	a.begin("")
	if err != nil && !a.rule.raw {
		var text captured
		refuseREST(&text, err)
		last := append(append([]byte(`{"error":`), text.Bytes()...), '}')
		if a.events {
			last = text.Bytes()
		}
		_, _ = a.w.Write(a.line("event: error\n", last))
	}
	a.headers(http.TrailerPrefix, a.info.ResponseTrailer())
	if err != nil && a.rule.raw {
		panic(http.ErrAbortHandler) // or it would seem to be whole
	}
}

// captured is an answer whose body goes into another one.
type captured struct{ bytes.Buffer }

func (c *captured) Header() http.Header { return http.Header{} }
func (c *captured) WriteHeader(int)     {}

// answerOf is what is written of an answer, and its content type.
func (r *rule) answerOf(m *message) (body []byte, kind string, err error) {
	if r.raw {
		data := m.data
		if r.answer != nil {
			if data, err = field(data, r.answer.Number()); err != nil {
				return nil, "", weft.Errorf(weft.Internal, "services.REST", "the answer is no %s: %w", r.out.desc.FullName(), err)
			}
		}
		body, kind, err = fromHTTPBody(data)
		return body, kind, err
	}
	text, err := r.out.toJSON(nil, m.data)
	if err != nil || r.answer == nil {
		return text, "application/json", err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, "", weft.Errorf(weft.Internal, "services.REST", "the answer: %w", err)
	}
	if one, ok := all[r.answer.JSONName()]; ok {
		return one, "application/json", nil
	}
	return slices.Clone(r.absent), "application/json", nil
}

// field are the bytes of a field that is a message.
func field(data []byte, number protowire.Number) (out []byte, err error) {
	err = each(data, func(n protowire.Number, v []byte) {
		if n == number {
			out = append(out, v...)
		}
	})
	return out, err
}

func fromHTTPBody(data []byte) (body []byte, kind string, err error) {
	kind = "application/octet-stream"
	err = each(data, func(n protowire.Number, v []byte) {
		switch n {
		case 1:
			kind = string(v)
		case 2:
			body = v
		}
	})
	if err != nil {
		return nil, "", weft.Errorf(weft.Internal, "services.REST", "the answer is no %s: %w", httpBody, err)
	}
	return slices.Clone(body), kind, nil
}
