package workflows

import (
	"encoding/base64"
	"time"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"github.com/weftrun/weft"
)

// EventFilter picks events by their attributes and data.
type EventFilter struct {
	attributes []Attribute
	data       *Template // may be nil
	Correlate  []Correlation
}

// Correlation ties an event to a run: From is evaluated on the event as an
// envelope and must equal Expect, or, where that is nil, what it first gave
// in this run under this name.
type Correlation struct {
	Name   string
	From   *Expr
	Expect *Template
}

// Match reports whether e passes the filter of a workflow's schedule.
func (f EventFilter) Match(e weft.Event) (bool, error) { return f.MatchIn(e, noVariables{}) }

type noVariables struct{}

func (noVariables) Variable(Variable) any { return nil }

// MatchIn reports whether the attributes and the data of e pass, where
// expressions may read the variables of s. Correlations are the caller's.
//
// A constant must equal the attribute. An expression is evaluated on the
// attribute (for data, on the decoded data); true or false decides, any other
// value must equal it.
func (f EventFilter) MatchIn(e weft.Event, s Scope) (bool, error) {
	if !f.Could(e) {
		return false, nil
	}
	for _, a := range f.attributes {
		got, _ := e.Attribute(a.Name)
		if ok, err := passes(a.Value, got, s); !ok || err != nil {
			return false, err
		}
	}
	if f.data == nil {
		return true, nil
	}
	data, err := EventData(e)
	if err != nil {
		return false, nil // data that is no JSON matches nothing
	}
	return passes(f.data, data, s)
}

func passes(t *Template, got any, s Scope) (bool, error) {
	want, err := t.Eval(got, s, OutputMax)
	if err != nil {
		return false, err
	}
	if decided, ok := want.(bool); ok && t.Expr() != nil {
		return decided, nil
	}
	return Equal(want, got), nil
}

// Could reports whether e passes the filter as far as constants decide it.
func (f EventFilter) Could(e weft.Event) bool {
	for _, a := range f.attributes {
		got, ok := e.Attribute(a.Name)
		if !ok {
			return false
		}
		if want, constant := a.Value.Constant(); constant && !Equal(want, got) {
			return false
		}
	}
	return true
}

// Type is the one event type that the filter takes, or "" for any.
func (f EventFilter) Type() string {
	for _, a := range f.attributes {
		if v, ok := a.Value.Constant(); ok && a.Name == "type" {
			s, _ := v.(string)
			return s
		}
	}
	return ""
}

// Equal reports whether two values are the same to jq, where 1 equals 1.0.
func Equal(a, b any) bool { return gojq.Compare(a, b) == 0 }

// EventData is the data of e: decoded where the content type is JSON or
// missing, text as a string, anything else as base64.
func EventData(e weft.Event) (any, error) { return DecodeContent(e.Data, e.DataContentType) }

// EventValue is e as a workflow reads it.
func EventValue(e weft.Event, read Read) (any, error) {
	switch read {
	case ReadRaw:
		if utf8.Valid(e.Data) {
			return string(e.Data), nil
		}
		return base64.StdEncoding.EncodeToString(e.Data), nil
	case ReadData:
		return EventData(e)
	}
	data, err := EventData(e)
	if err != nil {
		return nil, err
	}
	v := map[string]any{"specversion": "1.0", "id": e.ID, "source": e.Source, "type": e.Type}
	for _, name := range []string{"subject", "datacontenttype", "dataschema"} {
		if s, ok := e.Attribute(name); ok {
			v[name] = s
		}
	}
	if !e.Time.IsZero() {
		v["time"] = e.Time.UTC().Format(time.RFC3339Nano)
	}
	for name, s := range e.Extensions {
		v[name] = s
	}
	if len(e.Data) > 0 {
		v["data"] = data
	}
	return v, nil
}
