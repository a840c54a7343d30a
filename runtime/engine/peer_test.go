package engine_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

// hearer is a peer that keeps what it is asked. It is closed to the first call.
type hearer struct {
	mu     sync.Mutex
	asked  []weft.Request // guarded by mu
	answer string
}

func (p *hearer) Do(_ context.Context, r weft.Request) (weft.Response, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	if len(p.asked) == 1 {
		return weft.Response{}, &weft.OpenError{Namespace: ns, Peer: r.Peer, Reason: "it is to come"}
	}
	return weft.Response{Status: 200, Body: []byte(p.answer)}, nil
}

func (p *hearer) heard() []weft.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// hearing is a house whose way out leads to a hearer.
func hearing(t *testing.T, answer string) (*house, *hearer) {
	h, p := newHouse(t), &hearer{answer: answer}
	h.close()
	h.out = p
	h.open()
	return h, p
}

func TestAStepCallsAMethodOfAPeer(t *testing.T) {
	h, p := hearing(t, `{"id":"7"}`)
	h.deploy("inner", "do:\n  - place: { call: shop.v1.Orders/Place@shop, with: { cents: '${ .cents }' } }\n")
	h.deploy("outer", `do:
  - first: { call: shop.v1.Orders/Place@shop }
  - second: { call: ask, with: { procedures: [shop.v1.Orders/Place@shop, bank/x.v1.Bank/Charge] } }
  - third: { run: { workflow: { namespace: test, name: inner, version: '1.0.0', input: { cents: 3 } } } }
`)
	id := h.start("outer", "null").ID
	h.until(id, engine.Parked)
	h.restart()
	h.Wake(ns, "shop")
	if run := h.wait(id); run.Status != engine.Completed || string(run.Output) != `{"id":"7"}` {
		t.Fatalf("%s %s %v", run.Status, run.Output, run.Fault)
	}
	asked := p.heard()
	if len(asked) != 5 {
		t.Fatalf("%d calls: %+v", len(asked), asked)
	}
	trace := func(r weft.Request) (run, call string) {
		part := strings.Split(r.Headers["traceparent"], "-")
		if len(part) != 4 || len(part[1]) != 32 || len(part[2]) != 16 {
			t.Fatalf("traceparent %q", r.Headers["traceparent"])
		}
		return part[1], part[2]
	}
	run, first := trace(asked[0])
	for i, want := range []struct {
		peer, procedure, body string
		depth                 int
		sameRun, sameCall     bool
	}{
		{"shop", "/shop.v1.Orders/Place", `{}`, 1, true, true},
		{"shop", "/shop.v1.Orders/Place", `{}`, 1, true, true}, // again, once it is there
		{"shop", "/shop.v1.Orders/Place", `{"call":0}`, 1, true, false},
		{"bank", "/x.v1.Bank/Charge", `{"call":1}`, 1, true, false},
		{"shop", "/shop.v1.Orders/Place", `{"cents":3}`, 2, false, false},
	} {
		r := asked[i]
		ofRun, ofCall := trace(r)
		if r.Peer != want.peer || r.Procedure != want.procedure || string(r.Body) != want.body || r.Depth != want.depth || (ofRun == run) != want.sameRun || (ofCall == first) != want.sameCall {
			t.Errorf("call %d: %+v", i, r)
		}
	}
	if asked[0].IdempotencyKey != asked[1].IdempotencyKey || asked[0].IdempotencyKey == "" {
		t.Errorf("keys %q and %q", asked[0].IdempotencyKey, asked[1].IdempotencyKey)
	}
}

func TestAPeerThatDoesNotAnswerAStepInJSONHasFailed(t *testing.T) {
	h, _ := hearing(t, "\n\x01x")
	h.deploy("place", "do:\n  - place: { call: shop.v1.Orders/Place@shop }\n")
	id := h.start("place", "null").ID
	h.until(id, engine.Parked)
	h.Wake(ns, "shop")
	if run := h.wait(id); run.Fault == nil || run.Fault.Status != 500 || !strings.Contains(run.Fault.Detail, "the answer of shop.v1.Orders/Place@shop is not JSON") {
		t.Errorf("%s %+v", run.Status, run.Fault)
	}
}
