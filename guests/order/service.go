package main

import (
	"iter"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/known"
)

func init() { ServeOrderService(service{}) }

// service is shop.v1.OrderService: the same orders by the same rules.
type service struct{}

func (service) PlaceOrder(ctx *weft.Context, in *PlaceOrderRequest) (*PlaceOrderResponse, error) {
	o, _, err := accept(ctx, in.GetOrder().wish())
	return &PlaceOrderResponse{Order: o.message()}, err
}

func (service) GetOrder(ctx *weft.Context, in *GetOrderRequest) (*GetOrderResponse, error) {
	o, err := find(ctx, in.OrderId)
	return &GetOrderResponse{Order: o}, err
}

// ImportOrders takes all or none: what an error leaves is nothing.
func (service) ImportOrders(ctx *weft.Context, in iter.Seq2[*ImportOrdersRequest, error]) (*ImportOrdersResponse, error) {
	out := &ImportOrdersResponse{}
	for q, err := range in {
		if err != nil {
			return nil, err
		}
		_, fresh, err := accept(ctx, q.GetOrder().wish())
		if err != nil {
			return nil, err
		}
		if fresh {
			out.NewOrders++
		}
	}
	return out, nil
}

func (service) ListOrders(ctx *weft.Context, in *ListOrdersRequest, send func(*ListOrdersResponse) error) error {
	for _, id := range in.OrderIds {
		o, err := find(ctx, id)
		if err != nil {
			return err
		}
		if err := send(&ListOrdersResponse{Order: o}); err != nil {
			return err
		}
	}
	return nil
}

func (service) QuoteOrders(_ *weft.Context, in iter.Seq2[*QuoteOrdersRequest, error], send func(*QuoteOrdersResponse) error) error {
	for q, err := range in {
		if err != nil {
			return err
		}
		o := q.GetOrder().wish()
		if err := o.check(); err != nil {
			return err
		}
		if err := send(&QuoteOrdersResponse{OrderId: o.OrderID, Total: o.Total}); err != nil {
			return err
		}
	}
	return nil
}

// find is an order as it is now. An error names it for programs too.
func find(ctx *weft.Context, id string) (*Order, error) {
	o, err := status(ctx, statusInput{OrderID: id})
	if weft.CodeOf(err) == weft.NotFound {
		return nil, weft.Errorf(weft.NotFound, "%v", err).With(&known.ResourceInfo{ResourceType: "shop.v1.Order", ResourceName: id})
	}
	return o.message(), err
}

// wish is what a customer sent.
func (m *Order) wish() order {
	o := order{OrderID: m.OrderId, Customer: m.Customer, Total: m.Total, Currency: m.Currency, Country: m.Country}
	for _, i := range m.Items {
		o.Items = append(o.Items, item{SKU: i.Sku, Quantity: int(i.Quantity), Price: i.Price})
	}
	return o
}

var statuses = map[string]OrderStatus{accepted: OrderStatusAccepted, placed: OrderStatusPlaced, rejected: OrderStatusRejected}

func (o order) message() *Order {
	m := &Order{OrderId: o.OrderID, Customer: o.Customer, Total: o.Total, Currency: o.Currency, Country: o.Country, Status: statuses[o.Status], Reason: o.Reason}
	for _, i := range o.Items {
		m.Items = append(m.Items, &Item{Sku: i.SKU, Quantity: int32(i.Quantity), Price: i.Price})
	}
	return m
}
