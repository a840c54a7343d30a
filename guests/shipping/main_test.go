package main

import (
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

type object = map[string]any

func TestACourier(t *testing.T) {
	h := wefttest.New()
	shipment := func(country, courier, status string) Shipment {
		return Shipment{ID: "shp-o1", OrderID: "o1", Country: country, Courier: courier, Status: status}
	}
	steps := []struct {
		name   string
		export func(uint32) uint32
		in     object
		want   Shipment
	}{
		{"comes from home where no country is named", bookCourier, object{"orderId": "o1"}, shipment("DE", "DHL", booked)},
		{"is booked once", bookCourier, object{"orderId": "o1", "country": "fr"}, shipment("DE", "DHL", booked)},
		{"is called off", cancelCourier, object{"shipmentId": "shp-o1"}, shipment("DE", "DHL", cancelled)},
		{"is called off once", cancelCourier, object{"shipmentId": "shp-o1"}, shipment("DE", "DHL", cancelled)},
		{"may be booked again", bookCourier, object{"orderId": "o1", "country": "fr"}, shipment("FR", "Chronopost", booked)},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			var got Shipment
			if err := h.Call(s.export, s.in, &got); err != nil || got != s.want {
				t.Errorf("got %+v, %v, want %+v", got, err, s.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	h := wefttest.New()
	h.Config["couriers"] = "DE=DHL"
	tests := []struct {
		name   string
		export func(uint32) uint32
		in     object
		code   weft.Code
		says   string
	}{
		{"no order", bookCourier, object{}, weft.InvalidArgument, "orderId is missing"},
		{"a country that nobody serves", bookCourier, object{"orderId": "o1", "country": "AQ"}, weft.FailedPrecondition, "no courier serves AQ"},
		{"no shipment", cancelCourier, object{}, weft.InvalidArgument, "shipmentId is missing"},
		{"an unknown shipment", cancelCourier, object{"shipmentId": "s9"}, weft.NotFound, "no shipment s9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := h.Call(tt.export, tt.in, nil)
			if weft.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v (%v), want %q (%v)", err, weft.CodeOf(err), tt.says, tt.code)
			}
		})
	}
}
