package main

import (
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

type object = map[string]any

// wish is an order as a customer sends it, with one key changed.
func wish(key string, value any) object {
	o := object{"orderId": "o1", "customer": "ada", "items": []object{{"sku": "mug", "quantity": 2, "price": 750}}}
	if key != "" {
		o[key] = value
	}
	return o
}

func TestAnOrderIsChecked(t *testing.T) {
	tests := []struct {
		name string
		in   object
		code weft.Code
		says string
	}{
		{"a good one", wish("", nil), weft.OK, ""},
		{"with the right total", wish("total", 1500), weft.OK, ""},
		{"with a wrong total", wish("total", 1), weft.InvalidArgument, "total is 1 cents, the items add up to 1500"},
		{"without an id", wish("orderId", ""), weft.InvalidArgument, "is not an id"},
		{"with a path for an id", wish("orderId", "../x"), weft.InvalidArgument, "is not an id"},
		{"of nobody", wish("customer", ""), weft.InvalidArgument, "customer is missing"},
		{"of nothing", wish("items", []object{}), weft.InvalidArgument, "items has 0 lines"},
		{"of no pieces", wish("items", []object{{"sku": "mug", "price": 1}}), weft.InvalidArgument, "items[0]: quantity of mug is 0"},
		{"for no money", wish("items", []object{{"sku": "mug", "quantity": 1}}), weft.InvalidArgument, "total is 0 cents: give one"},
		{"for less than no money", wish("items", []object{{"sku": "mug", "quantity": 1, "price": -1}}), weft.InvalidArgument, "items[0]: price of mug is -1"},
		{"with a text for items", wish("items", "mug"), weft.InvalidArgument, "items is a string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := wefttest.New()
			err := h.Call(validateOrder, tt.in, nil)
			if weft.CodeOf(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v (%v), want %q (%v)", err, weft.CodeOf(err), tt.says, tt.code)
			}
			if kept := len(h.State) == 1; kept != (err == nil) {
				t.Errorf("error %v, but state %v", err, h.State)
			}
		})
	}
}

func TestAnOrderWithoutPricesHasATotal(t *testing.T) {
	h := wefttest.New()
	in := wish("items", []object{{"sku": "tea", "quantity": 2}})
	in["total"] = 1998
	var got order
	if err := h.Call(validateOrder, in, &got); err != nil || got.Total != 1998 || got.Currency != "EUR" || got.Country != "DE" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAnOrderIsFollowed(t *testing.T) {
	h := wefttest.New()
	if err := h.Call(validateOrder, wish("", nil), nil); err != nil {
		t.Fatal(err)
	}
	steps := []struct{ event, order, status, reason string }{
		{"shop.order.noticed", "o1", accepted, ""},
		{"shop.order.placed", "another", accepted, ""},
		{"shop.order.placed", "o1", placed, ""},
		{"shop.order.rejected", "o1", rejected, "no courier"},
	}
	for _, s := range steps {
		t.Run(s.event+" of "+s.order, func(t *testing.T) {
			err := h.Deliver(trackOrder, weft.Event{ID: "e1", Source: "/shop", Type: s.event}, object{"orderId": s.order, "reason": s.reason})
			if err != nil {
				t.Fatal(err)
			}
			var got order
			if err := h.Call(orderStatus, object{"orderId": "o1"}, &got); err != nil || got.Status != s.status || got.Reason != s.reason {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestAnOrderIdIsUsedOnce(t *testing.T) {
	h := wefttest.New()
	for range 2 {
		if err := h.Call(validateOrder, wish("", nil), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Call(validateOrder, wish("customer", "eve"), nil); weft.CodeOf(err) != weft.AlreadyExists {
		t.Errorf("got %v", err)
	}
	if err := h.Call(orderStatus, object{"orderId": "o9"}, nil); weft.CodeOf(err) != weft.NotFound {
		t.Errorf("got %v", err)
	}
}
