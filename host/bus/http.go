package bus

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/weftrun/weft"
)

// Media types of the CloudEvents JSON format, v1.0.2.
const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
	bodyMax    = 4 << 20
)

// ServeHTTP takes events by the HTTP binding of CloudEvents 1.0: structured,
// batched and binary. The answer is 202 with the offsets once they are durable.
func (b *Bus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	events, err := decode(w, r)
	var offsets []int64
	if err == nil {
		offsets, err = b.Publish(r.Context(), weft.NamespaceOr(r.Header.Get("Weft-Namespace")), events...)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		code := weft.CodeOf(err)
		status, ok := map[weft.Code]int{weft.InvalidArgument: 400, weft.ResourceExhausted: 413, weft.Unimplemented: 415, weft.Unavailable: 503}[code]
		if !ok {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": code.String(), "message": err.Error()})
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": len(offsets), "offsets": offsets})
}

func refuse(format string, args ...any) error {
	return weft.Errorf(weft.InvalidArgument, "bus.Bus.ServeHTTP", format, args...)
}

func decode(w http.ResponseWriter, r *http.Request) ([]weft.Event, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		return nil, weft.Errorf(weft.ResourceExhausted, "bus.Bus.ServeHTTP", "the body is over %d bytes or was cut off", bodyMax)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case media == structured:
		e, err := DecodeJSON(body)
		return []weft.Event{e}, err
	case media == batched:
		return decodeBatch(body)
	case r.Header.Get("Ce-Specversion") != "":
		e, err := decodeBinary(r.Header, body)
		return []weft.Event{e}, err
	}
	return nil, weft.Errorf(weft.Unimplemented, "bus.Bus.ServeHTTP", "content type %q without ce-specversion: send %s, %s, or ce- headers", media, structured, batched)
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

// DecodeJSON reads one event in the CloudEvents JSON format.
func DecodeJSON(data []byte) (weft.Event, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return weft.Event{}, refuse("the event is not a JSON object: %w", err)
	}
	attributes := map[string]string{}
	var e weft.Event
	for name, raw := range fields {
		switch name {
		case "data":
			e.Data = raw
		case "data_base64":
			var s string
			b, err := []byte(nil), json.Unmarshal(raw, &s)
			if err == nil {
				b, err = base64.StdEncoding.DecodeString(s)
			}
			if err != nil {
				return e, refuse("data_base64 is not base64: %w", err)
			}
			e.Data = b
		default:
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return e, refuse("attribute %s: %w", name, err)
			}
			switch v.(type) {
			case nil:
			case string, bool, float64:
				attributes[name] = fmt.Sprint(v)
			default:
				return e, refuse("attribute %s is neither text, number nor boolean", name)
			}
		}
	}
	if fields["data"] != nil && fields["data_base64"] != nil {
		return e, refuse("data and data_base64 are both there")
	}
	if fields["data"] != nil && attributes["datacontenttype"] == "" {
		attributes["datacontenttype"] = "application/json"
	}
	if t := attributes["datacontenttype"]; fields["data"] != nil && !isJSON(t) { // text in a JSON string
		var s string
		if json.Unmarshal(e.Data, &s) == nil {
			e.Data = []byte(s)
		}
	}
	return assign(e, attributes)
}

func isJSON(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func decodeBinary(h http.Header, body []byte) (weft.Event, error) {
	attributes := map[string]string{"datacontenttype": h.Get("Content-Type")}
	for name, values := range h {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			v, err := url.PathUnescape(values[0])
			if err != nil {
				return weft.Event{}, refuse("header %s is not percent-encoded: %w", name, err)
			}
			attributes[attribute] = v
		}
	}
	return assign(weft.Event{Data: body}, attributes)
}

// assign fills an event from its attributes and checks it.
func assign(e weft.Event, attributes map[string]string) (weft.Event, error) {
	if v := attributes["specversion"]; v != "1.0" {
		return e, refuse("attribute specversion is %q, and must be 1.0", v)
	}
	for name, v := range attributes {
		if err := e.SetAttribute(name, v); err != nil {
			return e, refuse("attribute %s: %q is no RFC 3339 time", name, v)
		}
	}
	return e, Check(e)
}
