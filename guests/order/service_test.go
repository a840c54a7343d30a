package main

import (
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/known"
	"github.com/weftrun/weft/sdk/go/wefttest"
	"github.com/weftrun/weft/sdk/go/wire"
)

// wanted is an order as a customer sends it: two mugs.
func wanted(id string) *Order {
	return &Order{OrderId: id, Customer: "ada", Items: []*Item{{Sku: "mug", Quantity: 2, Price: 750}}}
}

func TestAnOrderIsPlacedAndFound(t *testing.T) {
	h := wefttest.New()
	for range 2 { // the same again is fine
		got, err := wefttest.Unary[PlaceOrderResponse](h, orderServicePlaceOrder, &PlaceOrderRequest{Order: wanted("o1")})
		if o := got.GetOrder(); err != nil || o.Total != 1500 || o.Currency != "EUR" || o.Status != OrderStatusAccepted || len(o.Items) != 1 || *o.Items[0] != *wanted("").Items[0] {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if err := h.Deliver(trackOrder, weft.Event{ID: "e1", Source: "/shop", Type: "shop.order.rejected"}, object{"orderId": "o1", "reason": "no courier"}); err != nil {
		t.Fatal(err)
	}
	got, err := wefttest.Unary[GetOrderResponse](h, orderServiceGetOrder, &GetOrderRequest{OrderId: "o1"})
	if o := got.GetOrder(); err != nil || o.Status != OrderStatusRejected || o.Reason != "no courier" {
		t.Errorf("got %+v, %v", got, err)
	}
	var plain order // it is the order of the other handlers
	if err := h.Call(orderStatus, object{"orderId": "o1"}, &plain); err != nil || plain.Total != 1500 {
		t.Errorf("got %+v, %v", plain, err)
	}
}

func TestARefusalHasACode(t *testing.T) {
	h := wefttest.New()
	if _, err := wefttest.Unary[PlaceOrderResponse](h, orderServicePlaceOrder, &PlaceOrderRequest{Order: wanted("o1")}); err != nil {
		t.Fatal(err)
	}
	other := wanted("o1")
	other.Customer = "eve"
	for name, c := range map[string]struct {
		export func(uint32) uint32
		in     wire.Message
		code   weft.Code
		says   string
	}{
		"no order at all":     {orderServicePlaceOrder, &PlaceOrderRequest{}, weft.InvalidArgument, "is not an id"},
		"the id of another":   {orderServicePlaceOrder, &PlaceOrderRequest{Order: other}, weft.AlreadyExists, "belongs to another order"},
		"no such order":       {orderServiceGetOrder, &GetOrderRequest{OrderId: "o9"}, weft.NotFound, "there is no order o9"},
		"an order of nothing": {orderServiceGetOrder, &GetOrderRequest{}, weft.InvalidArgument, "orderId is missing"},
		"another message":     {orderServicePlaceOrder, &GetOrderRequest{OrderId: "\xff"}, weft.InvalidArgument, "shop.v1.PlaceOrderRequest: "},
	} {
		_, err := wefttest.Unary[PlaceOrderResponse](h, c.export, c.in)
		if weft.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", name, weft.CodeOf(err), err)
		}
		if c.code == weft.NotFound {
			var what known.ResourceInfo
			if len(h.Details) != 1 || h.Details[0].Type != "google.rpc.ResourceInfo" || wire.Unmarshal(h.Details[0].Value, &what) != nil || what.ResourceName != "o9" {
				t.Errorf("the details are %v", h.Details)
			}
		}
	}
}

func TestOrdersAreImportedAllOrNone(t *testing.T) {
	h := wefttest.New()
	in := []wire.Message{&ImportOrdersRequest{Order: wanted("o1")}, &ImportOrdersRequest{Order: wanted("o2")}, &ImportOrdersRequest{Order: wanted("o1")}}
	got, err := wefttest.Stream[ImportOrdersResponse](h, orderServiceImportOrders, in...)
	if err != nil || len(got) != 1 || got[0].NewOrders != 2 {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = wefttest.Stream[ImportOrdersResponse](h, orderServiceImportOrders, &ImportOrdersRequest{Order: wanted("o3")}, &ImportOrdersRequest{})
	if weft.CodeOf(err) != weft.InvalidArgument || len(h.State) != 2 {
		t.Errorf("%v, and %d orders", err, len(h.State))
	}
}

func TestOrdersAreListed(t *testing.T) {
	h := wefttest.New()
	if _, err := wefttest.Stream[ImportOrdersResponse](h, orderServiceImportOrders, &ImportOrdersRequest{Order: wanted("o1")}, &ImportOrdersRequest{Order: wanted("o2")}); err != nil {
		t.Fatal(err)
	}
	got, err := wefttest.Stream[ListOrdersResponse](h, orderServiceListOrders, &ListOrdersRequest{OrderIds: []string{"o2", "o1", "o9"}})
	if weft.CodeOf(err) != weft.NotFound || len(got) != 2 || got[0].GetOrder().OrderId != "o2" || got[1].GetOrder().OrderId != "o1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOrdersAreQuotedAndNotKept(t *testing.T) {
	h := wefttest.New()
	got, err := wefttest.Stream[QuoteOrdersResponse](h, orderServiceQuoteOrders, &QuoteOrdersRequest{Order: wanted("o1")}, &QuoteOrdersRequest{Order: wanted("o2")}, &QuoteOrdersRequest{})
	if weft.CodeOf(err) != weft.InvalidArgument || len(got) != 2 || *got[1] != (QuoteOrdersResponse{OrderId: "o2", Total: 1500}) || len(h.State) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}
