package main

import (
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

type object = map[string]any

func TestACustomerIsTold(t *testing.T) {
	tests := []struct{ name, event, want string }{
		{"of an order that is on its way", "shop.order.placed", "Your order o1 is on its way with DHL."},
		{"of an order that failed", "shop.order.rejected", "We are sorry: your order o1 was cancelled (out of mugs)."},
		{"what we would like to know", "shop.review.requested", "How do you like order o1?"},
		{"nothing of what is no news", "shop.order.counted", ""},
	}
	data := object{"orderId": "o1", "customer": "ada", "courier": "DHL", "reason": "out of mugs"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := wefttest.New()
			for range 2 { // at least once from the bus, once to the customer
				if err := h.Deliver(notifyCustomer, weft.Event{ID: "e1", Source: "/shop", Type: tt.event}, data); err != nil {
					t.Fatal(err)
				}
			}
			if tt.want == "" {
				if len(h.Events) != 0 {
					t.Errorf("sent %s", h.Events[0].Data)
				}
				return
			}
			if len(h.Events) != 1 || h.Events[0].Type != "notification.sent" || !strings.Contains(string(h.Events[0].Data), tt.want) {
				t.Errorf("sent %v, want one with %q", h.Events, tt.want)
			}
			var got Message
			if err := h.Call(messageStatus, object{"id": "/shop#e1"}, &got); err != nil || got.To != "ada" || got.Text != tt.want {
				t.Errorf("kept %+v, %v", got, err)
			}
		})
	}
}

func TestAMessageNeeds(t *testing.T) {
	tests := []struct {
		name string
		in   object
		says string
	}{
		{"an id", object{"to": "ada", "text": "hi"}, "id is missing"},
		{"somebody", object{"id": "m1", "text": "hi"}, "to is missing"},
		{"a text", object{"id": "m1", "to": "ada"}, "text has 0 bytes"},
		{"a text of some length", object{"id": "m1", "to": "ada", "text": strings.Repeat("x", 5000)}, "text has 5000 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := wefttest.New().Call(sendMessage, tt.in, nil)
			if weft.CodeOf(err) != weft.InvalidArgument || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}
