// Command order is the module that knows the shop's orders: it checks what a
// customer sent, and follows the events of the saga that fulfils it.
//
// State: order/ID is an order.
package main

import (
	"reflect"
	"regexp"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport validate-order
func validateOrder(n uint32) uint32 { return weft.JSON(n, validate) }

//go:wasmexport order-status
func orderStatus(n uint32) uint32 { return weft.JSON(n, status) }

//go:wasmexport track-order
func trackOrder(n uint32) uint32 { return weft.OnEvent(n, track) }

func main() {}

// Bounds of one order.
const (
	linesMax    = 100
	quantityMax = 1_000
	priceMax    = 100_000_000
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// item is one line of an order. Price is in cents, for one piece; it may be
// left out when the order has a total.
type item struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
	Price    int64  `json:"price,omitempty"`
}

// order is what a customer wants. Total is in cents.
type order struct {
	OrderID  string `json:"orderId"`
	Customer string `json:"customer"`
	Items    []item `json:"items"`
	Total    int64  `json:"total"`
	Currency string `json:"currency"`
	Country  string `json:"country"`
	Card     string `json:"card,omitempty"`
	Status   string `json:"status"` // accepted, placed or rejected
	Reason   string `json:"reason,omitempty"`
}

// Statuses of an order, and the events that lead to them.
const (
	accepted = "accepted"
	placed   = "placed"
	rejected = "rejected"

	eventPlaced   = "shop.order.placed"
	eventRejected = "shop.order.rejected"
)

// validate checks an order, fills in what may be left out, and accepts it. The
// same order again is fine; another order with the same id is AlreadyExists.
func validate(ctx *weft.Context, in order) (order, error) {
	o, _, err := accept(ctx, in)
	return o, err
}

// accept is validate, and says whether the order is a new one.
func accept(ctx *weft.Context, in order) (o order, fresh bool, err error) {
	if err := in.check(); err != nil {
		return order{}, false, err
	}
	known, found, err := weft.GetJSON[order](ctx, orderKey(in.OrderID))
	if err != nil {
		return order{}, false, err
	}
	if found {
		return known, false, same(known, in)
	}
	return in, true, weft.SetJSON(ctx, orderKey(in.OrderID), in)
}

// check completes o: currency, country, total and status.
func (o *order) check() error {
	switch {
	case !idForm.MatchString(o.OrderID):
		return weft.Errorf(weft.InvalidArgument, "orderId %q is not an id: letters, digits, dots and dashes, at most 64", o.OrderID)
	case o.Customer == "":
		return weft.Errorf(weft.InvalidArgument, "customer is missing")
	case len(o.Items) == 0 || len(o.Items) > linesMax:
		return weft.Errorf(weft.InvalidArgument, "items has %d lines, want 1 to %d", len(o.Items), linesMax)
	}
	total, priced, err := sum(o.Items)
	switch {
	case err != nil:
		return err
	case !priced && o.Total < 1:
		return weft.Errorf(weft.InvalidArgument, "total is %d cents: give one, or a price for each item", o.Total)
	case priced && o.Total != 0 && o.Total != total:
		return weft.Errorf(weft.InvalidArgument, "total is %d cents, the items add up to %d", o.Total, total)
	case priced:
		o.Total = total
	}
	o.Status, o.Reason = accepted, ""
	if o.Currency == "" {
		o.Currency = "EUR"
	}
	if o.Country == "" {
		o.Country = "DE"
	}
	return nil
}

// sum adds up the items, and says whether each of them has a price.
func sum(items []item) (total int64, priced bool, err error) {
	priced = true
	for i, item := range items {
		switch {
		case item.SKU == "":
			return 0, false, weft.Errorf(weft.InvalidArgument, "items[%d]: sku is missing", i)
		case item.Quantity < 1 || item.Quantity > quantityMax:
			return 0, false, weft.Errorf(weft.InvalidArgument, "items[%d]: quantity of %s is %d, want 1 to %d", i, item.SKU, item.Quantity, quantityMax)
		case item.Price < 0 || item.Price > priceMax:
			return 0, false, weft.Errorf(weft.InvalidArgument, "items[%d]: price of %s is %d cents, want 1 to %d", i, item.SKU, item.Price, priceMax)
		}
		priced = priced && item.Price > 0
		total += int64(item.Quantity) * item.Price
	}
	return total, priced, nil
}

func same(known, in order) error {
	known.Status, known.Reason = in.Status, in.Reason
	if !reflect.DeepEqual(known, in) {
		return weft.Errorf(weft.AlreadyExists, "orderId %s belongs to another order already", in.OrderID)
	}
	return nil
}

type statusInput struct {
	OrderID string `json:"orderId"`
}

// status answers with an order as it is now.
func status(ctx *weft.Context, in statusInput) (order, error) {
	if in.OrderID == "" {
		return order{}, weft.Errorf(weft.InvalidArgument, "orderId is missing")
	}
	o, found, err := weft.GetJSON[order](ctx, orderKey(in.OrderID))
	if err == nil && !found {
		err = weft.Errorf(weft.NotFound, "there is no order %s", in.OrderID)
	}
	return o, err
}

// news is what the saga tells about an order.
type news struct {
	OrderID string `json:"orderId"`
	Reason  string `json:"reason"`
}

// track keeps the status of an order as the saga reports it. Orders that this
// module has never accepted are none of its business.
func track(ctx *weft.Context, e weft.Event, n news) error {
	o, found, err := weft.GetJSON[order](ctx, orderKey(n.OrderID))
	if err != nil || !found {
		return err
	}
	switch e.Type {
	case eventPlaced:
		o.Status = placed
	case eventRejected:
		o.Status, o.Reason = rejected, n.Reason
	default:
		return nil
	}
	return weft.SetJSON(ctx, orderKey(o.OrderID), o)
}

func orderKey(id string) string { return "order/" + id }
