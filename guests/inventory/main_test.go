package main

import (
	"strings"
	"testing"

	weft "github.com/weftrun/weft/sdk/go"
	"github.com/weftrun/weft/sdk/go/wefttest"
)

// step is one call of a story; after it, pencil and mug say what the shelf has.
type step struct {
	name        string
	export      func(uint32) uint32
	in          any
	code        weft.Code
	says        string // part of the error
	pencil, mug string
}

type object = map[string]any

func order(id string, items ...any) object { return object{"orderId": id, "items": items} }

func item(sku string, quantity int) object { return object{"sku": sku, "quantity": quantity} }

func TestTheShelf(t *testing.T) {
	h := wefttest.New()
	h.State["stock/pencil"], h.State["stock/mug"] = []byte("10"), []byte("2")
	steps := []step{
		{"an order takes what it needs", reserveStock, order("o1", item("pencil", 3), item("mug", 1)), weft.OK, "", "7", "1"},
		{"the same order takes nothing more", reserveStock, order("o1", item("pencil", 3), item("mug", 1)), weft.OK, "", "7", "1"},
		{"lines of one sku are added up", reserveStock, order("o2", item("pencil", 1), item("pencil", 1)), weft.OK, "", "5", "1"},
		{"too little of one item takes nothing of any", reserveStock, order("o3", item("pencil", 1), item("mug", 2)),
			weft.FailedPrecondition, "insufficient stock: mug has 1 left, 2 wanted", "5", "1"},
		{"a release puts everything back", releaseStock, object{"reservationId": "rsv-o1"}, weft.OK, "", "8", "2"},
		{"a second release does nothing", releaseStock, object{"reservationId": "rsv-o1"}, weft.OK, "", "8", "2"},
		{"a released order may be reserved again", reserveStock, order("o1", item("mug", 2)), weft.OK, "", "8", "0"},
		{"a delivery is put on the shelf", restock, item("mug", 5), weft.OK, "", "8", "5"},
		{"nothing is no delivery", restock, item("mug", 0), weft.InvalidArgument, "quantity of mug is 0", "8", "5"},
		{"a reservation must exist", releaseStock, object{"reservationId": "rsv-o9"}, weft.NotFound, "no reservation rsv-o9", "8", "5"},
		{"an order has an id", reserveStock, order("", item("mug", 1)), weft.InvalidArgument, "orderId is missing", "8", "5"},
		{"an order has items", reserveStock, order("o4"), weft.InvalidArgument, "items is empty", "8", "5"},
		{"the bad item is named", reserveStock, order("o4", item("mug", 1), item("a/b", 1)), weft.InvalidArgument, `items[1]: sku "a/b"`, "8", "5"},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			err := h.Call(s.export, s.in, nil)
			if weft.CodeOf(err) != s.code || err != nil && !strings.Contains(err.Error(), s.says) {
				t.Errorf("got %v (%v), want %q (%v)", err, weft.CodeOf(err), s.says, s.code)
			}
			if p, m := string(h.State["stock/pencil"]), string(h.State["stock/mug"]); p != s.pencil || m != s.mug {
				t.Errorf("pencil %s and mug %s are left, want %s and %s", p, m, s.pencil, s.mug)
			}
		})
	}
}

func TestWhatWasNeverStockedHasTheInitialStock(t *testing.T) {
	h := wefttest.New()
	h.Config["initial-stock"] = "100"
	var got Item
	if err := h.Call(stockLevel, object{"sku": "hat"}, &got); err != nil || got != (Item{"hat", 100}) {
		t.Errorf("got %+v, %v", got, err)
	}
	h.Config["initial-stock"] = "many"
	if err := h.Call(stockLevel, object{"sku": "hat"}, &got); weft.CodeOf(err) != weft.FailedPrecondition {
		t.Errorf("got %v", err)
	}
}
