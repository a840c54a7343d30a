package bus_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/bus"
)

const (
	structured = "application/cloudevents+json"
	batched    = "application/cloudevents-batch+json"
)

// post sends events to a bus and returns the answer.
func post(b *bus.Bus, contentType, body string, headers map[string]string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/events", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	for k, v := range headers {
		for _, one := range strings.Split(v, "\n") {
			r.Header.Add(k, one)
		}
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// binary are the headers of an event in binary mode, with others set or, where empty, left out.
func binary(with map[string]string) map[string]string {
	h := map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "t"}
	for k, v := range with {
		if h[k] = v; v == "" {
			delete(h, k)
		}
	}
	return h
}

func TestEventsAreTakenInThreeModes(t *testing.T) {
	for name, c := range map[string]struct {
		contentType, body string
		headers           map[string]string
		want              []weft.Event
	}{
		"structured": {structured, `{"specversion":"1.0","id":"1","source":"/a","type":"t","subject":"s","dataschema":"https://s/1","data":{"a":1}}`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", Subject: "s", DataSchema: "https://s/1", DataContentType: "application/json", Data: []byte(`{"a":1}`)}}},
		"structured, with a charset": {structured + "; charset=utf-8", `{"specversion":"1.0","id":"1","source":"/a","type":"t"}`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t"}}},
		"structured, with text": {structured, `{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"text/plain","data":"a \"b\""}`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", DataContentType: "text/plain", Data: []byte(`a "b"`)}}},
		"structured, with bytes": {structured, `{"specversion":"1.0","id":"1","source":"/a","type":"t","datacontenttype":"image/png","data_base64":"AAH/"}`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", DataContentType: "image/png", Data: []byte{0, 1, 255}}}},
		"structured, data before the rest": {structured, `{"data":[1],"datacontenttype":"text/json","type":"t","source":"/a","id":"1","specversion":"1.0"}`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", DataContentType: "text/json", Data: []byte(`[1]`)}}},
		"structured, extensions of each type": {structured, `{"specversion":"1.0","id":"1","source":"/a","type":"t","s":"é€","n":-2147483648,"b":true,"gone":null,"subject":null}`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", Extensions: map[string]string{"s": "é€", "n": "-2147483648", "b": "true"}}}},
		"batch": {batched, `[{"specversion":"1.0","id":"1","source":"/a","type":"t"},{"specversion":"1.0","id":"2","source":"/a","type":"u"}]`, nil,
			[]weft.Event{{ID: "1", Source: "/a", Type: "t"}, {ID: "2", Source: "/a", Type: "u"}}},
		"an empty batch": {batched, `[]`, nil, nil},
		"binary": {"text/plain", "hello", binary(map[string]string{"ce-subject": "s", "ce-x": "y"}),
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", Subject: "s", DataContentType: "text/plain", Data: []byte("hello"), Extensions: map[string]string{"x": "y"}}}},
		"binary, without data": {"", "", binary(nil), []weft.Event{{ID: "1", Source: "/a", Type: "t"}}},
		"binary, percent-encoded": {"", "", binary(map[string]string{"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80%25", "ce-x": "a+b"}),
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", Subject: "Euro € 😀%", Extensions: map[string]string{"x": "a+b"}}}},
		"binary, a quoted string": {"", "", binary(map[string]string{"ce-subject": `"a \"b\" %E2%82%AC"`}),
			[]weft.Event{{ID: "1", Source: "/a", Type: "t", Subject: `a "b" €`}}},
	} {
		t.Run(name, func(t *testing.T) {
			b, db := open(t)
			w := post(b, c.contentType, c.body, c.headers)
			if w.Code != http.StatusAccepted {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			list, err := db.Messages(t.Context(), ns, 0, 10)
			if err != nil || len(list) != len(c.want) {
				t.Fatalf("%d events in the log: %v", len(list), err)
			}
			for i, m := range list {
				got := m.Event()
				if got.Time.IsZero() {
					t.Error("no time was filled in")
				}
				got.Time = c.want[i].Time
				if len(got.Data) == 0 {
					got.Data = nil
				}
				a, _ := json.Marshal(got)
				b, _ := json.Marshal(c.want[i])
				if string(a) != string(b) {
					t.Errorf("%s\nand not\n%s", a, b)
				}
			}
		})
	}
}

func TestEventsAreRefusedWithTheFieldNamed(t *testing.T) {
	b, db := open(t)
	event := func(more string) string { return `{"specversion":"1.0","id":"1","source":"/a","type":"t"` + more + `}` }
	long := strings.Repeat("x", bus.TextMax+1)
	for name, c := range map[string]struct {
		contentType, body string
		headers           map[string]string
		status            int
		says              string
	}{
		"no id":                      {structured, `{"specversion":"1.0","source":"/a","type":"t"}`, nil, 400, "attribute id"},
		"an empty id":                {structured, `{"specversion":"1.0","id":"","source":"/a","type":"t"}`, nil, 400, "attribute id"},
		"an id that is a number":     {structured, `{"specversion":"1.0","id":1,"source":"/a","type":"t"}`, nil, 400, "attribute id"},
		"no type":                    {structured, `{"specversion":"1.0","id":"1","source":"/a"}`, nil, 400, "attribute type"},
		"an empty source":            {structured, `{"specversion":"1.0","id":"1","source":"","type":"t"}`, nil, 400, "attribute source"},
		"a source that is none":      {structured, `{"specversion":"1.0","id":"1","source":"%zz","type":"t"}`, nil, 400, "attribute source"},
		"a type of weft's own":       {structured, `{"specversion":"1.0","id":"1","source":"/a","type":"weft.breaker.opened"}`, nil, 400, "choose one that does not begin with weft."},
		"one in binary mode":         {"", "", binary(map[string]string{"ce-type": "weft.x"}), 400, "is one of weft itself"},
		"no version":                 {structured, `{"id":"1","source":"/a","type":"t"}`, nil, 400, "specversion"},
		"another version":            {structured, `{"specversion":"0.3","id":"1","source":"/a","type":"t"}`, nil, 400, "specversion"},
		"an empty subject":           {structured, event(`,"subject":""`), nil, 400, "attribute subject"},
		"a relative dataschema":      {structured, event(`,"dataschema":"/s"`), nil, 400, "attribute dataschema"},
		"a time that is none":        {structured, event(`,"time":"now"`), nil, 400, "attribute time"},
		"an upper-case extension":    {structured, event(`,"Bad":"x"`), nil, 400, `extension "Bad"`},
		"an extension without name":  {structured, event(`,"":"x"`), nil, 400, `extension ""`},
		"a long extension name":      {structured, event(`,"abcdefghijklmnopqrstu":"x"`), nil, 400, "abcdefghijklmnopqrstu"},
		"a fraction":                 {structured, event(`,"n":1.5`), nil, 400, "attribute n"},
		"a large integer":            {structured, event(`,"n":2147483648`), nil, 400, "attribute n"},
		"an object in an extension":  {structured, event(`,"n":{"a":1}`), nil, 400, "attribute n"},
		"control characters":         {structured, event(`,"n":"a\u0000b"`), nil, 400, "extension n"},
		"a notbefore that is none":   {structured, event(`,"notbefore":"soon"`), nil, 400, "extension notbefore"},
		"data twice":                 {structured, event(`,"data":1,"data_base64":"AA=="`), nil, 400, "data and data_base64"},
		"data twice, null":           {structured, event(`,"data":null,"data_base64":"AA=="`), nil, 400, "data and data_base64"},
		"bytes that are a number":    {structured, event(`,"data_base64":1`), nil, 400, "data_base64"},
		"bytes that are not base64":  {structured, event(`,"data_base64":"?"`), nil, 400, "data_base64"},
		"text that is no string":     {structured, event(`,"datacontenttype":"text/plain","data":{}`), nil, 400, "data must be a string"},
		"a field twice":              {structured, event(`,"id":"2"`), nil, 400, "field id is there twice"},
		"more behind the event":      {structured, event("") + `{}`, nil, 400, "followed"},
		"no JSON":                    {structured, `{`, nil, 400, "JSON"},
		"no object":                  {structured, `"x"`, nil, 400, "JSON object"},
		"an array":                   {structured, `[` + event("") + `]`, nil, 400, "JSON object"},
		"a long attribute":           {structured, event(`,"subject":"` + long + `"`), nil, 429, "attribute subject"},
		"a long dataschema":          {structured, event(`,"dataschema":"http://` + long + `"`), nil, 429, "attribute dataschema"},
		"a long extension":           {structured, event(`,"n":"` + long + `"`), nil, 429, "extension n"},
		"large data":                 {structured, event(`,"data":"` + strings.Repeat("x", bus.DataMax) + `"`), nil, 429, "data has"},
		"a large body":               {structured, strings.Repeat(" ", bus.BodyMax+1), nil, 413, "the body is over"},
		"a batch that is no array":   {batched, event(""), nil, 400, "JSON array"},
		"a bad event in a batch":     {batched, `[` + event("") + `,` + event(`,"Bad":1`) + `]`, nil, 400, "event 1"},
		"a large batch":              {batched, `[` + strings.Repeat(event("")+",", bus.BatchMax) + event("") + `]`, nil, 429, "1001 events"},
		"binary without id":          {"", "", binary(map[string]string{"ce-id": ""}), 400, "attribute id"},
		"binary without source":      {"", "", binary(map[string]string{"ce-source": ""}), 400, "attribute source"},
		"binary of another version":  {"", "", binary(map[string]string{"ce-specversion": "2"}), 400, "specversion"},
		"binary with a bad time":     {"", "", binary(map[string]string{"ce-time": "now"}), 400, "attribute time"},
		"binary, bad name":           {"", "", binary(map[string]string{"ce-my_x": "1"}), 400, "my_x"},
		"binary, data in a header":   {"", "", binary(map[string]string{"ce-data": "1"}), 400, `extension "data"`},
		"binary, data_base64":        {"", "", binary(map[string]string{"ce-data_base64": "1"}), 400, "data_base64"},
		"binary, type of data twice": {"", "", binary(map[string]string{"ce-datacontenttype": "text/plain"}), 400, "Content-Type"},
		"binary, a header twice":     {"", "", binary(map[string]string{"ce-x": "1\n2"}), 400, "Ce-X"},
		"binary, a bad encoding":     {"", "", binary(map[string]string{"ce-subject": "50%"}), 400, "Ce-Subject"},
		"binary, not UTF-8":          {"", "", binary(map[string]string{"ce-subject": "%ff"}), 400, "attribute subject"},
		"another media type":         {"text/plain", "x", nil, 415, "content type"},
		"another format":             {"application/cloudevents+xml", "x", binary(nil), 415, "content type"},
	} {
		w := post(b, c.contentType, c.body, c.headers)
		if w.Code != c.status || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), c.says) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if head, err := db.Head(t.Context(), ns); err != nil || head != 0 {
		t.Errorf("the log has %d events: %v", head, err)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"a":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, err := bus.DecodeJSON(data); err == nil && (e.ID == "" || e.Type == "" || e.Source == "") {
			t.Errorf("accepted %+v", e)
		}
	})
}
