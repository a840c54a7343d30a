package bus

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/weftrun/weft"
)

// Media types of the CloudEvents JSON format, v1.0.2.
const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
)

// BodyMax is how many bytes the body of a request may have.
const BodyMax = 4 << 20

// ServeHTTP takes events by the HTTP binding of CloudEvents 1.0: structured,
// batched and binary. The answer is 202 with the offsets once they are durable.
func (b *Bus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != structured && media != batched && (r.Header.Get("Ce-Specversion") == "" || strings.HasPrefix(media, "application/cloudevents")) {
		answer(w, http.StatusUnsupportedMediaType, weft.Errorf(weft.Unimplemented, "bus.Bus.ServeHTTP",
			"content type %q without ce-specversion: send %s, %s, or ce- headers", media, structured, batched))
		return
	}
	events, err := decode(w, r, media)
	var offsets []int64
	if err == nil {
		offsets, err = b.Publish(r.Context(), weft.NamespaceOr(r.Header.Get("Weft-Namespace")), events...)
	}
	if err != nil {
		Refuse(w, b.opts.Shown(r, err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": len(offsets), "offsets": offsets})
}

// Body reads the body of a request, BodyMax bytes of it at most.
func Body(w http.ResponseWriter, r *http.Request) ([]byte, error) { return BodyOf(w, r, BodyMax) }

// BodyOf is Body with a bound of its own.
func BodyOf(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, weft.Errorf(weft.ResourceExhausted, "bus.Body", "the body is over %d bytes: %w", most, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, weft.Errorf(weft.DeadlineExceeded, "bus.Body", "the body did not come in time")
	}
	if err != nil {
		return nil, weft.Errorf(weft.InvalidArgument, "bus.Body", "the body was cut off: %w", err)
	}
	return body, nil
}

// Refuse answers with an error: its code and message as JSON, and the status
// that belongs to the code; 413 for a body that is too large.
func Refuse(w http.ResponseWriter, err error) {
	status := weft.CodeOf(err).HTTPStatus()
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		status = http.StatusRequestEntityTooLarge
	}
	answer(w, status, err)
}

func answer(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	var details []detail
	for _, d := range weft.DetailsOf(err) {
		details = append(details, detail{d.Type, base64.RawStdEncoding.EncodeToString(d.Value)})
	}
	_ = json.NewEncoder(w).Encode(struct {
		Code    string   `json:"code"`
		Message string   `json:"message"`
		Details []detail `json:"details,omitempty"`
	}{weft.CodeOf(err).String(), err.Error(), details})
}

// detail is one of an error as Connect writes it.
type detail struct {
	Type  string `json:"type"`
	Value string `json:"value"` // base64 without padding
}

func refuse(format string, args ...any) error {
	return weft.Errorf(weft.InvalidArgument, "bus.Bus.ServeHTTP", format, args...)
}

// defined are the attributes that CloudEvents itself defines; others are extensions.
var defined = map[string]bool{"specversion": true, "id": true, "source": true, "type": true, "subject": true, "time": true, "datacontenttype": true, "dataschema": true}

func decode(w http.ResponseWriter, r *http.Request, media string) ([]weft.Event, error) {
	body, err := Body(w, r)
	if err != nil {
		return nil, err
	}
	var e weft.Event
	switch media {
	case structured:
		e, err = DecodeJSON(body)
	case batched:
		return decodeBatch(body)
	default:
		e, err = decodeBinary(r.Header, body)
	}
	return []weft.Event{e}, err
}

func decodeBatch(body []byte) ([]weft.Event, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, refuse("the batch is not a JSON array: %w", err)
	}
	events := make([]weft.Event, len(list))
	for i, raw := range list {
		var err error
		if events[i], err = DecodeJSON(raw); err != nil {
			return nil, refuse("event %d: %w", i, err)
		}
	}
	return events, nil
}

// DecodeJSON reads one event in the CloudEvents JSON format. It refuses what
// the format does not allow, and names the field.
func DecodeJSON(data []byte) (weft.Event, error) {
	fields, err := members(data)
	if err != nil {
		return weft.Event{}, err
	}
	attributes := map[string]string{}
	for name, raw := range fields {
		if name == "data" || name == "data_base64" || string(raw) == "null" {
			continue
		}
		if attributes[name], err = attributeOf(name, raw); err != nil {
			return weft.Event{}, err
		}
	}
	body, encoded := fields["data"], fields["data_base64"]
	if body != nil && encoded != nil {
		return weft.Event{}, refuse("data and data_base64 are both there")
	}
	e := weft.Event{Data: body}
	switch {
	case encoded != nil && string(encoded) != "null":
		if e.Data, err = fromBase64(encoded); err != nil {
			return e, refuse("data_base64 is not base64 in a string: %w", err)
		}
	case body != nil && attributes["datacontenttype"] == "":
		attributes["datacontenttype"] = "application/json"
	case body != nil && !isJSON(attributes["datacontenttype"]):
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return e, refuse("data must be a string where datacontenttype is %s", attributes["datacontenttype"])
		}
		e.Data = []byte(text)
	}
	return assign(e, attributes)
}

// members are the fields of a JSON object, none of which is there twice.
func members(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, refuse("the event is not a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, refuse("the event is not a JSON object: %w", err)
		}
		name, _ := t.(string) // where a value may follow, a token of an object is its key
		if fields[name] != nil {
			return nil, refuse("field %s is there twice", name)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, refuse("field %s is not JSON: %w", name, err)
		}
		fields[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, refuse("the event is not a JSON object: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, refuse("the event is followed by something else")
	}
	return fields, nil
}

// attributeOf is the canonical string of an attribute's value: those that
// CloudEvents defines are strings, an extension may also be an integer or a boolean.
func attributeOf(name string, raw json.RawMessage) (string, error) {
	if raw[0] == '"' {
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	}
	if defined[name] {
		return "", refuse("attribute %s is not a string", name)
	}
	s := string(raw)
	if s == "true" || s == "false" {
		return s, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return "", refuse("attribute %s is neither a string, a boolean nor an integer of 32 bits", name)
	}
	return strconv.FormatInt(n, 10), nil
}

func fromBase64(raw json.RawMessage) ([]byte, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(s)
}

func isJSON(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func decodeBinary(h http.Header, body []byte) (weft.Event, error) {
	attributes := map[string]string{}
	if t := h.Get("Content-Type"); t != "" {
		attributes["datacontenttype"] = t
	}
	for name, values := range h {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-")
		switch {
		case !ok:
			continue
		case attribute == "datacontenttype":
			return weft.Event{}, refuse("header %s: the type of the data is the header Content-Type", name)
		case len(values) > 1:
			return weft.Event{}, refuse("header %s is there %d times", name, len(values))
		}
		v, err := headerText(values[0])
		if err != nil {
			return weft.Event{}, refuse("header %s is not percent-encoded: %w", name, err)
		}
		attributes[attribute] = v
	}
	return assign(weft.Event{Data: body}, attributes)
}

// headerText reads a header's value as the HTTP binding writes it: first as a
// quoted string, if it is one, then percent-encoded.
func headerText(v string) (string, error) {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		var plain strings.Builder
		for i := 1; i < len(v)-1; i++ {
			if v[i] == '\\' && i < len(v)-2 {
				i++
			}
			plain.WriteByte(v[i])
		}
		v = plain.String()
	}
	return url.PathUnescape(v)
}

// assign fills an event from its attributes and checks it.
func assign(e weft.Event, attributes map[string]string) (weft.Event, error) {
	if v := attributes["specversion"]; v != "1.0" {
		return e, refuse("attribute specversion is %q, and must be 1.0", v)
	}
	for name, v := range attributes {
		if v == "" && defined[name] {
			return e, refuse("attribute %s is empty: leave it out", name)
		}
		if err := e.SetAttribute(name, v); err != nil {
			return e, refuse("attribute %s: %q is no RFC 3339 time", name, v)
		}
	}
	return e, Check(e)
}
