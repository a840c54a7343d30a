package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

type object = map[string]any

// peer counts what it is asked and answers each with a new id.
func peer(h *wefttest.Host) (asked *[]string) {
	asked = new([]string)
	for procedure, id := range map[string]string{procedureCharge: "pay-%d", procedureRefund: "ref-%d"} {
		h.Peers[procedure] = func(request []byte) ([]byte, error) {
			*asked = append(*asked, string(request))
			return json.Marshal(object{"id": fmt.Sprintf(id, len(*asked))})
		}
	}
	return asked
}

func TestMoneyMovesOnceAnOrder(t *testing.T) {
	h := wefttest.New()
	asked := peer(h)
	var first, again, back Payment
	for _, p := range []*Payment{&first, &again} {
		if err := h.Call(chargeCard, object{"orderId": "o1", "amount": 1999}, p); err != nil {
			t.Fatal(err)
		}
	}
	if want := (Payment{ID: "pay-1", OrderID: "o1", Amount: 1999, Currency: "EUR", Status: charged}); first != want || again != want {
		t.Errorf("got %+v, then %+v", first, again)
	}
	for range 2 {
		if err := h.Call(refundCard, object{"paymentId": "pay-1"}, &back); err != nil {
			t.Fatal(err)
		}
	}
	if back.Status != refunded || back.RefundID != "ref-2" {
		t.Errorf("refund %+v", back)
	}
	if len(*asked) != 2 || (*asked)[0] != `{"orderId":"o1","amount":1999,"currency":"EUR","card":"card-on-file"}` {
		t.Errorf("the peer was asked %q", *asked)
	}
}

func TestRefusals(t *testing.T) {
	h := wefttest.New()
	asked := peer(h)
	h.Config["amount-max"] = "5000"
	if err := h.Call(chargeCard, object{"orderId": "paid", "amount": 100}, nil); err != nil {
		t.Fatal(err)
	}
	*asked = nil
	tests := []struct {
		name   string
		export func(uint32) uint32
		in     object
		code   weft.Code
		says   string
	}{
		{"a charge without an order", chargeCard, object{"amount": 1}, weft.InvalidArgument, "orderId is missing"},
		{"a charge of nothing", chargeCard, object{"orderId": "o1"}, weft.InvalidArgument, "amount is 0 cents"},
		{"a charge over the limit", chargeCard, object{"orderId": "o1", "amount": 5001}, weft.OutOfRange, "limit of one charge is 5000"},
		{"a second charge of another amount", chargeCard, object{"orderId": "paid", "amount": 101}, weft.FailedPrecondition, "charged 100 EUR already"},
		{"an amount that is no number", chargeCard, object{"orderId": "o1", "amount": "12"}, weft.InvalidArgument, "amount is a string"},
		{"a refund of nothing", refundCard, object{}, weft.InvalidArgument, "paymentId is missing"},
		{"a refund of what was never paid", refundCard, object{"paymentId": "pay-9"}, weft.NotFound, "no payment pay-9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := h.Call(tt.export, tt.in, nil)
			if weft.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v (%v), want %q (%v)", err, weft.CodeOf(err), tt.says, tt.code)
			}
		})
	}
	if len(*asked) != 0 {
		t.Errorf("the peer was asked %q", *asked)
	}
}

func TestACustomerIsToldThatTheCardWasDeclined(t *testing.T) {
	h := wefttest.New()
	h.Peers[procedureCharge] = func([]byte) ([]byte, error) { return nil, weft.Errorf(weft.FailedPrecondition, "do not honour") }
	err := h.Call(chargeCard, object{"orderId": "o1", "amount": 1905}, nil)
	if weft.CodeOf(err) != weft.FailedPrecondition || err.Error() != "the card was declined for 19.05 EUR" {
		t.Errorf("got %v (%v)", err, weft.CodeOf(err))
	}
}

func TestAPeerThatFailsLeavesNoPayment(t *testing.T) {
	h := wefttest.New()
	h.Peers[procedureCharge] = func([]byte) ([]byte, error) { return nil, weft.Errorf(weft.Unavailable, "connection refused") }
	err := h.Call(chargeCard, object{"orderId": "o1", "amount": 1}, nil)
	if weft.CodeOf(err) != weft.Unavailable || len(h.State) != 0 {
		t.Errorf("got %v (%v), state %v", err, weft.CodeOf(err), h.State)
	}
}
