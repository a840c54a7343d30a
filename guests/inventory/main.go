// Command inventory is the module that holds the shop's stock: it reserves what
// an order needs, all of it or nothing, and gives it back.
//
// State: stock/SKU is the number of pieces on the shelf, reservation/ID is a
// reservation. A SKU that was never stocked has as many pieces as the
// configuration key initial-stock says.
package main

import (
	"sort"
	"strconv"
	"strings"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport reserve-stock
func reserveStock(n uint32) uint32 { return weft.JSON(n, reserve) }

//go:wasmexport release-stock
func releaseStock(n uint32) uint32 { return weft.JSON(n, release) }

//go:wasmexport restock
func restock(n uint32) uint32 { return weft.JSON(n, addStock) }

//go:wasmexport stock-level
func stockLevel(n uint32) uint32 { return weft.JSON(n, level) }

func main() {}

// piecesMax bounds one line of an order and one delivery, so that a slip of the
// finger does not empty or flood the shelf.
const piecesMax = 1_000_000

// Item is a number of pieces of one SKU.
type Item struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// Reservation is what was taken from the shelf for an order.
type Reservation struct {
	ID      string `json:"id"`
	OrderID string `json:"orderId"`
	Status  string `json:"status"` // held or released
	Items   []Item `json:"items"`
}

// Statuses of a reservation.
const (
	held     = "held"
	released = "released"
)

type reserveInput struct {
	OrderID string `json:"orderId"`
	Items   []Item `json:"items"`
}

// reserve takes the items of an order from the shelf. Asked again for an order
// that holds a reservation, it answers with that one and takes nothing.
func reserve(ctx *weft.Context, in reserveInput) (Reservation, error) {
	if in.OrderID == "" {
		return Reservation{}, weft.Errorf(weft.InvalidArgument, "orderId is missing")
	}
	items, err := sum(in.Items)
	if err != nil {
		return Reservation{}, err
	}
	id := "rsv-" + in.OrderID
	known, found, err := weft.GetJSON[Reservation](ctx, reservationKey(id))
	if err != nil || found && known.Status == held {
		return known, err
	}
	for _, item := range items {
		if err := take(ctx, item); err != nil {
			return Reservation{}, err
		}
	}
	made := Reservation{ID: id, OrderID: in.OrderID, Status: held, Items: items}
	return made, weft.SetJSON(ctx, reservationKey(id), made)
}

// sum checks the items and adds up those of the same SKU, in order of SKU.
func sum(items []Item) ([]Item, error) {
	if len(items) == 0 {
		return nil, weft.Errorf(weft.InvalidArgument, "items is empty: nothing to reserve")
	}
	pieces := map[string]int{}
	for i, item := range items {
		if err := item.check(); err != nil {
			return nil, weft.Errorf(weft.InvalidArgument, "items[%d]: %v", i, err)
		}
		pieces[item.SKU] += item.Quantity
	}
	summed := make([]Item, 0, len(pieces))
	for sku, n := range pieces {
		summed = append(summed, Item{SKU: sku, Quantity: n})
	}
	sort.Slice(summed, func(i, j int) bool { return summed[i].SKU < summed[j].SKU })
	return summed, nil
}

func (i Item) check() error {
	if i.SKU == "" || strings.ContainsRune(i.SKU, '/') {
		return weft.Errorf(weft.InvalidArgument, "sku %q is empty or has a slash", i.SKU)
	}
	if i.Quantity < 1 || i.Quantity > piecesMax {
		return weft.Errorf(weft.InvalidArgument, "quantity of %s is %d, want 1 to %d", i.SKU, i.Quantity, piecesMax)
	}
	return nil
}

func take(ctx *weft.Context, item Item) error {
	left, err := stock(ctx, item.SKU)
	if err != nil {
		return err
	}
	if left < item.Quantity {
		return weft.Errorf(weft.FailedPrecondition, "insufficient stock: %s has %d left, %d wanted", item.SKU, left, item.Quantity)
	}
	return weft.SetJSON(ctx, stockKey(item.SKU), left-item.Quantity)
}

type releaseInput struct {
	ReservationID string `json:"reservationId"`
}

// release puts the items of a reservation back. Asked again, it does nothing.
func release(ctx *weft.Context, in releaseInput) (Reservation, error) {
	if in.ReservationID == "" {
		return Reservation{}, weft.Errorf(weft.InvalidArgument, "reservationId is missing")
	}
	r, found, err := weft.GetJSON[Reservation](ctx, reservationKey(in.ReservationID))
	if err != nil {
		return r, err
	}
	if !found {
		return r, weft.Errorf(weft.NotFound, "there is no reservation %s", in.ReservationID)
	}
	if r.Status == released {
		return r, nil
	}
	for _, item := range r.Items {
		if _, err := add(ctx, item); err != nil {
			return r, err
		}
	}
	r.Status = released
	return r, weft.SetJSON(ctx, reservationKey(r.ID), r)
}

// addStock puts a delivery on the shelf and answers with the new level.
func addStock(ctx *weft.Context, in Item) (Item, error) {
	if err := in.check(); err != nil {
		return Item{}, err
	}
	return add(ctx, in)
}

func add(ctx *weft.Context, item Item) (Item, error) {
	n, err := stock(ctx, item.SKU)
	if err != nil {
		return Item{}, err
	}
	now := Item{SKU: item.SKU, Quantity: n + item.Quantity}
	return now, weft.SetJSON(ctx, stockKey(item.SKU), now.Quantity)
}

type levelInput struct {
	SKU string `json:"sku"`
}

// level answers with the pieces of a SKU that are on the shelf.
func level(ctx *weft.Context, in levelInput) (Item, error) {
	if in.SKU == "" {
		return Item{}, weft.Errorf(weft.InvalidArgument, "sku is missing")
	}
	n, err := stock(ctx, in.SKU)
	return Item{SKU: in.SKU, Quantity: n}, err
}

func stock(ctx *weft.Context, sku string) (int, error) {
	n, found, err := weft.GetJSON[int](ctx, stockKey(sku))
	if err != nil || found {
		return n, err
	}
	initial, found, err := ctx.Config("initial-stock")
	if err != nil || !found {
		return 0, err
	}
	n, err = strconv.Atoi(initial)
	if err != nil || n < 0 {
		return 0, weft.Errorf(weft.FailedPrecondition, "config initial-stock is %q, want a number of pieces", initial)
	}
	return n, nil
}

func stockKey(sku string) string      { return "stock/" + sku }
func reservationKey(id string) string { return "reservation/" + id }
