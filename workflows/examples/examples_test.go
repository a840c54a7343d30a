// Package examples_test runs the examples as a machine sees them: each call is
// answered by a table, timers fire at once.
package examples_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

func load(t *testing.T, name string) *workflows.Definition {
	t.Helper()
	src, err := os.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	def, err := workflows.Parse(name+".yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	return def
}

func TestEveryExampleIsNamedAsItsFile(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		if _, got, _ := load(t, name).ID(); got != name {
			t.Errorf("%s holds the workflow %s", file, got)
		}
	}
}

// world answers what a run asks for, and notes it.
type world struct {
	answers map[string]any // by handler or URL: an answer, an error, or a list of them in turn
	noted   []string       // calls and events, in order
	waited  time.Duration
}

// next is the answer to a call of name.
func (w *world) next(name string) any {
	a, ok := w.answers[name]
	if list, turns := a.([]any); turns && len(list) > 0 {
		w.answers[name] = list[1:]
		return list[0]
	}
	if !ok {
		return map[string]any{"id": name + "-1"}
	}
	return a
}

// run runs a workflow to its end, or until only an event helps.
func (w *world) run(t *testing.T, def *workflows.Definition, input any) *machine.Machine {
	t.Helper()
	w.answers = maps.Clone(w.answers)
	if w.answers == nil {
		w.answers = map[string]any{}
	}
	m := machine.New(def, machine.Info{RunID: "run1", Namespace: "default"})
	at := int64(0)
	queue := w.advance(t, m, machine.Entry{Kind: machine.Started, Data: encode(input)})
	for !m.Status().Ended() {
		if len(queue) > 0 {
			e := w.answer(queue[0])
			e.At = at
			queue = append(queue[1:], w.advance(t, m, e)...)
			continue
		}
		due, ok := m.NextTimer()
		if !ok {
			break
		}
		w.waited += time.Duration(due-at) * time.Microsecond
		at = due
		queue = w.advance(t, m, machine.Entry{Kind: machine.Fired, At: at})
	}
	return m
}

// advance gives the calls that e leads to; events are noted.
func (w *world) advance(t *testing.T, m *machine.Machine, e machine.Entry) (calls []machine.Command) {
	t.Helper()
	effects, err := m.Advance(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range effects.Commands {
		if c.Kind == machine.Emit {
			w.noted = append(w.noted, c.Event.Type+" "+string(c.Event.Data))
			continue
		}
		calls = append(calls, c)
	}
	return calls
}

func (w *world) answer(c machine.Command) machine.Entry {
	name := c.Handler.Name
	if c.Kind == machine.CallHTTP {
		name = c.HTTP.Method + " " + c.HTTP.URL
	}
	w.noted = append(w.noted, strings.TrimSpace(name+" "+string(c.Input)))
	switch a := w.next(name).(type) {
	case error:
		return machine.Entry{Kind: machine.Failed, Step: c.Step, Fault: machine.FaultOf(a)}
	case weft.Response:
		return machine.Entry{Kind: machine.Finished, Step: c.Step, Data: machine.EncodeHTTP(a)}
	default:
		return machine.Entry{Kind: machine.Finished, Step: c.Step, Data: encode(a)}
	}
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("the test's own value %v: %v", v, err))
	}
	return b
}

type object = map[string]any

// order is what validate-order answers.
var order = object{"orderId": "o1", "customer": "ada", "total": 1500, "currency": "EUR", "country": "DE", "status": "accepted",
	"items": []object{{"sku": "mug", "quantity": 2, "price": 750}}}

const (
	reserve = `reserve-stock {"items":[{"quantity":2,"sku":"mug"}],"orderId":"o1"}`
	charge  = `charge-card {"amount":1500,"card":"","currency":"EUR","orderId":"o1"}`
	ship    = `book-courier {"country":"DE","orderId":"o1"}`
	refund  = `refund-card {"paymentId":"pay1"}`
	release = `release-stock {"reservationId":"rsv1"}`
	placed  = `shop.order.placed {"courier":"DHL","currency":"EUR","customer":"ada","orderId":"o1","total":1500}`
)

func rejected(reason string) string {
	return `shop.order.rejected {"customer":"ada","orderId":"o1","reason":"` + reason + `"}`
}

func TestAnOrder(t *testing.T) {
	away := weft.Errorf(weft.Unavailable, "test", "the bank is away")
	tests := []struct {
		name    string
		answers map[string]any // beside the good ones
		noted   []string       // after validate-order
		waited  time.Duration
		fault   string
	}{
		{name: "is placed", noted: []string{reserve, charge, ship, placed}},
		{name: "is charged again after a failure of the bank", answers: object{"charge-card": []any{away, away, object{"id": "pay1"}}},
			noted: []string{reserve, charge, charge, charge, ship, placed}, waited: 6 * time.Second},
		{name: "gives the stock back when the bank stays away", answers: object{"charge-card": away},
			noted:  []string{reserve, charge, charge, charge, charge, release, rejected("the bank is away")},
			waited: 14 * time.Second, fault: "the bank is away"},
		{name: "does not try a declined card again", answers: object{"charge-card": weft.Errorf(weft.FailedPrecondition, "test", "declined")},
			noted: []string{reserve, charge, release, rejected("declined")}, fault: "declined"},
		{name: "without a courier is refunded and released", answers: object{"book-courier": weft.Errorf(weft.FailedPrecondition, "test", "no courier")},
			noted: []string{reserve, charge, ship, refund, release, rejected("no courier")}, fault: "no courier"},
		{name: "of what is not there has nothing to undo", answers: object{"reserve-stock": weft.Errorf(weft.FailedPrecondition, "test", "no mugs")},
			noted: []string{reserve, rejected("no mugs")}, fault: "no mugs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{answers: object{"validate-order": order, "reserve-stock": object{"id": "rsv1"}, "charge-card": object{"id": "pay1"},
				"book-courier": object{"id": "shp1", "courier": "DHL"}}}
			maps.Copy(w.answers, tt.answers)
			m := w.run(t, load(t, "place-order"), object{"orderId": "o1"})
			if got := w.noted[1:]; !slices.Equal(got, tt.noted) {
				t.Errorf("happened\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.noted, "\n"))
			}
			if w.waited != tt.waited {
				t.Errorf("waited %v, want %v", w.waited, tt.waited)
			}
			checkEnd(t, m, tt.fault, object{"orderId": "o1", "total": 1500.0, "reservation": "rsv1", "payment": "pay1", "shipment": "shp1", "courier": "DHL"})
		})
	}
}

// checkEnd checks the output of a run, or its fault if there is to be one.
func checkEnd(t *testing.T, m *machine.Machine, fault string, want any) {
	t.Helper()
	if fault != "" {
		if f := m.Fault(); m.Status() != machine.Faulted || !strings.Contains(f.Detail, fault) {
			t.Errorf("the run is %v with %+v, want a fault %q", m.Status(), f, fault)
		}
		return
	}
	var got any
	if err := json.Unmarshal(m.Output(), &got); m.Status() != machine.Completed || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the run is %v with %s, %v; want %v; fault %+v", m.Status(), m.Output(), err, want, m.Fault())
	}
}

func TestAChargeMayBeParkedForAnHour(t *testing.T) {
	m := machine.New(load(t, "place-order"), machine.Info{RunID: "run1", Namespace: "default"})
	w := &world{answers: object{"validate-order": order}}
	queue := w.advance(t, m, machine.Entry{Kind: machine.Started, Data: []byte(`{}`)})
	for queue[0].Handler.Name != "charge-card" {
		queue = w.advance(t, m, w.answer(queue[0]))
	}
	if got := queue[0].ParkMax; got != time.Hour {
		t.Errorf("charge-card may be parked %v", got)
	}
}

// triggered is the input of a run of def that this event starts; nil if it
// starts none.
func triggered(t *testing.T, def *workflows.Definition, eventType, data string) any {
	t.Helper()
	e := weft.Event{ID: "e1", Source: "/test", Type: eventType, Data: []byte(data)}
	for _, f := range def.Triggers() {
		if ok, err := f.Match(e); !ok || err != nil {
			t.Fatalf("%s does not start it: %v", eventType, err)
		}
	}
	input, err := def.TriggerInput(e)
	if err != nil {
		t.Fatal(err)
	}
	return json.RawMessage(input)
}

func TestAProductIsAnnouncedToEachFollower(t *testing.T) {
	def := load(t, "announce-product")
	w := &world{}
	m := w.run(t, def, triggered(t, def, "shop.product.launched", `{"sku":"mug-2","name":"a larger mug","followers":["ada","bob"]}`))
	want := []string{
		`send-message {"id":"launch/mug-2/ada","text":"New in the shop: a larger mug.","to":"ada"}`,
		`send-message {"id":"launch/mug-2/bob","text":"New in the shop: a larger mug.","to":"bob"}`,
		`shop.product.announced {"sku":"mug-2","told":2}`,
	}
	if !slices.Equal(w.noted, want) {
		t.Errorf("happened\n%s", strings.Join(w.noted, "\n"))
	}
	checkEnd(t, m, "", object{"sku": "mug-2", "told": 2.0})
}

func TestAReminderIsSentLater(t *testing.T) {
	def := load(t, "remind-later")
	tests := []struct {
		name   string
		input  any
		waited time.Duration
	}{
		{"after a delivery in three days", triggered(t, def, "shop.parcel.delivered", `{"orderId":"o1","customer":"ada"}`), 72 * time.Hour},
		{"by hand when asked", object{"orderId": "o1", "customer": "ada", "delay": "PT3S"}, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{}
			m := w.run(t, def, tt.input)
			if want := []string{`shop.review.requested {"customer":"ada","orderId":"o1"}`}; m.Status() != machine.Completed || !slices.Equal(w.noted, want) || w.waited != tt.waited {
				t.Errorf("the run is %v after %v with %v", m.Status(), w.waited, w.noted)
			}
		})
	}
}

func TestARefundWaitsForSomebody(t *testing.T) {
	requested := `shop.refund.requested {"paymentId":"pay1"}`
	decided := func(subject, data string) *weft.Event {
		return &weft.Event{ID: "e-" + subject, Source: "/test", Type: "shop.refund.decided", Subject: subject, Data: []byte(data)}
	}
	tests := []struct {
		name   string
		events []*weft.Event
		noted  []string
		want   object
	}{
		{"and is made when they approve", []*weft.Event{decided("another", `{"approved":false}`), decided("run1", `{"approved":true,"by":"grace"}`)},
			[]string{requested, refund}, object{"status": "refunded", "refund": "ref1"}},
		{"and is not made when they decline", []*weft.Event{decided("run1", `{"approved":false,"by":"grace"}`)},
			[]string{requested}, object{"status": "declined", "by": "grace"}},
		{"and lapses when nobody answers", nil,
			[]string{requested}, object{"status": "declined", "by": "nobody in time"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{answers: object{"refund-card": object{"status": "refunded", "refundId": "ref1"}}}
			m := machine.New(load(t, "approve-refund"), machine.Info{RunID: "run1", Namespace: "default"})
			queue := w.advance(t, m, machine.Entry{Kind: machine.Started, Data: []byte(`{"paymentId":"pay1"}`)})
			for _, e := range tt.events {
				queue = append(queue, w.advance(t, m, machine.Entry{Kind: machine.Delivered, Event: e})...)
			}
			if due, ok := m.NextTimer(); len(tt.events) == 0 && ok {
				if due != (48 * time.Hour).Microseconds() {
					t.Errorf("lapses after %v", time.Duration(due)*time.Microsecond)
				}
				w.advance(t, m, machine.Entry{Kind: machine.Fired, At: due})
			}
			for _, c := range queue {
				w.advance(t, m, w.answer(c))
			}
			if !slices.Equal(w.noted, tt.noted) {
				t.Errorf("happened %q, want %q", w.noted, tt.noted)
			}
			checkEnd(t, m, "", tt.want)
		})
	}
}

func TestARateIsFetched(t *testing.T) {
	const url = "GET http://127.0.0.1:1/latest?base=EUR"
	response := func(status int, body string) weft.Response {
		return weft.Response{Status: status, Headers: map[string]string{"content-type": "application/json"}, Body: []byte(body)}
	}
	good := response(200, `{"base":"EUR","rates":{"USD":1.08}}`)
	tests := []struct {
		name    string
		answers any
		tries   int
		fault   string
	}{
		{"at once", good, 1, ""},
		{"after a server has recovered", []any{response(503, ``), response(429, ``), good}, 3, ""},
		{"not where there is none", response(404, ``), 1, "404"},
		{"not where the currency is unknown", response(200, `{"rates":{}}`), 1, "no rate for USD"},
		{"not from a server that stays down", response(500, ``), 4, "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{answers: object{url: tt.answers}}
			m := w.run(t, load(t, "fetch-rate"), object{"url": "http://127.0.0.1:1/latest", "currency": "USD"})
			if len(w.noted) != tt.tries || w.noted[0] != url {
				t.Errorf("asked %q, want %d times %s", w.noted, tt.tries, url)
			}
			checkEnd(t, m, tt.fault, object{"currency": "USD", "rate": 1.08})
		})
	}
}
