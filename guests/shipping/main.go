// Command shipping is the module that books couriers and cancels them.
//
// State: shipment/ID is a shipment. The configuration key couriers says which
// courier serves which country.
package main

import (
	"strings"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport book-courier
func bookCourier(n uint32) uint32 { return weft.JSON(n, book) }

//go:wasmexport cancel-courier
func cancelCourier(n uint32) uint32 { return weft.JSON(n, cancel) }

func main() {}

// couriers is what the configuration key couriers means by default.
const couriers = "DE=DHL,AT=Post,FR=Chronopost,NL=PostNL"

// home is the country of an order that names none.
const home = "DE"

// Shipment is a parcel that a courier will fetch.
type Shipment struct {
	ID      string `json:"id"`
	OrderID string `json:"orderId"`
	Country string `json:"country"`
	Courier string `json:"courier"`
	Status  string `json:"status"` // booked or cancelled
}

// Statuses of a shipment.
const (
	booked    = "booked"
	cancelled = "cancelled"
)

type bookInput struct {
	OrderID string `json:"orderId"`
	Country string `json:"country"`
}

// book finds a courier for the order's country, once an order. A country that
// no courier serves is FailedPrecondition, and no retry helps.
func book(ctx *weft.Context, in bookInput) (Shipment, error) {
	if in.OrderID == "" {
		return Shipment{}, weft.Errorf(weft.InvalidArgument, "orderId is missing")
	}
	id := "shp-" + in.OrderID
	known, found, err := weft.GetJSON[Shipment](ctx, shipmentKey(id))
	if err != nil || found && known.Status == booked {
		return known, err
	}
	country := strings.ToUpper(in.Country)
	if country == "" {
		country = home
	}
	courier, err := courierFor(ctx, country)
	if err != nil {
		return Shipment{}, err
	}
	made := Shipment{ID: id, OrderID: in.OrderID, Country: country, Courier: courier, Status: booked}
	return made, weft.SetJSON(ctx, shipmentKey(id), made)
}

func courierFor(ctx *weft.Context, country string) (string, error) {
	list, found, err := ctx.Config("couriers")
	if err != nil {
		return "", err
	}
	if !found {
		list = couriers
	}
	for entry := range strings.SplitSeq(list, ",") {
		if c, courier, ok := strings.Cut(strings.TrimSpace(entry), "="); ok && c == country {
			return courier, nil
		}
	}
	return "", weft.Errorf(weft.FailedPrecondition, "no courier serves %s (config couriers: %s)", country, list)
}

type cancelInput struct {
	ShipmentID string `json:"shipmentId"`
}

// cancel calls a courier off. Asked again, it does nothing.
func cancel(ctx *weft.Context, in cancelInput) (Shipment, error) {
	if in.ShipmentID == "" {
		return Shipment{}, weft.Errorf(weft.InvalidArgument, "shipmentId is missing")
	}
	s, found, err := weft.GetJSON[Shipment](ctx, shipmentKey(in.ShipmentID))
	if err != nil {
		return s, err
	}
	if !found {
		return s, weft.Errorf(weft.NotFound, "there is no shipment %s", in.ShipmentID)
	}
	if s.Status == cancelled {
		return s, nil
	}
	s.Status = cancelled
	return s, weft.SetJSON(ctx, shipmentKey(s.ID), s)
}

func shipmentKey(id string) string { return "shipment/" + id }
