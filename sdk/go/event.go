package weft

import (
	"encoding/json"
	"strings"
	"time"
)

// Event is a CloudEvent that a handler subscribed to. ID and Source together
// are unique: a handler that remembers them acts once on an event that is
// delivered twice.
type Event struct {
	ID      string
	Source  string
	Type    string
	Subject string
	Time    time.Time
	Data    []byte // valid until the handler returns
}

// structured is the media type of an event with its attributes in the body.
const structured = "application/cloudevents+json"

// Event is the event that this call delivers. The host sends the attributes as
// headers named ce-id, ce-type and so on, with the data as input; an event as one JSON
// object, content type application/cloudevents+json, is understood too.
func (c *Context) Event() (Event, error) {
	if strings.HasPrefix(c.Header("content-type"), structured) {
		return parseEvent(c.input)
	}
	e := Event{
		ID:      c.Header("ce-id"),
		Source:  c.Header("ce-source"),
		Type:    c.Header("ce-type"),
		Subject: c.Header("ce-subject"),
		Data:    c.input,
	}
	e.Time, _ = time.Parse(time.RFC3339Nano, c.Header("ce-time"))
	return e, e.check()
}

func parseEvent(src []byte) (Event, error) {
	var wire struct {
		ID      string          `json:"id"`
		Source  string          `json:"source"`
		Type    string          `json:"type"`
		Subject string          `json:"subject"`
		Time    time.Time       `json:"time"`
		Data    json.RawMessage `json:"data"`
		Base64  []byte          `json:"data_base64"`
	}
	if err := decode("event", src, &wire); err != nil {
		return Event{}, err
	}
	e := Event{ID: wire.ID, Source: wire.Source, Type: wire.Type, Subject: wire.Subject, Time: wire.Time, Data: wire.Data}
	if wire.Base64 != nil {
		e.Data = wire.Base64
	}
	return e, e.check()
}

func (e Event) check() error {
	if e.ID == "" || e.Type == "" {
		return Errorf(InvalidArgument, "the input is no event: it has no id or no type")
	}
	return nil
}
