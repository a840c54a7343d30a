// Command payment is the module that charges cards and refunds them. The money
// moves at the peer payments, outside weft; the module keeps what was moved.
//
// State: order/ID names the payment of an order, payment/ID is a payment.
package main

import (
	"strconv"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport charge-card
func chargeCard(n uint32) uint32 { return weft.JSON(n, charge) }

//go:wasmexport refund-card
func refundCard(n uint32) uint32 { return weft.JSON(n, refund) }

//go:wasmexport payment-status
func paymentStatus(n uint32) uint32 { return weft.JSON(n, status) }

func main() {}

// Procedures of the peer that moves the money.
const (
	procedureCharge = "payments/payments.v1.Payments/Charge"
	procedureRefund = "payments/payments.v1.Payments/Refund"
)

// amountMax is the most that one charge may be, in cents, unless the
// configuration key amount-max says otherwise.
const amountMax = 1_000_000

// Payment is money that was taken for an order. Amounts are in cents.
type Payment struct {
	ID       string `json:"id"`
	OrderID  string `json:"orderId"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Status   string `json:"status"` // charged or refunded
	RefundID string `json:"refundId,omitempty"`
}

// Statuses of a payment.
const (
	charged  = "charged"
	refunded = "refunded"
)

type chargeInput struct {
	OrderID  string `json:"orderId"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Card     string `json:"card"`
}

type chargeAnswer struct {
	ID string `json:"id"`
}

// charge takes the amount from a card, once an order: asked again, it answers
// with the payment that was made, or FailedPrecondition if the amount differs.
func charge(ctx *weft.Context, in chargeInput) (Payment, error) {
	if err := checkCharge(ctx, &in); err != nil {
		return Payment{}, err
	}
	known, found, err := paymentOf(ctx, in.OrderID)
	if err != nil {
		return known, err
	}
	if found {
		return known, sameCharge(known, in)
	}
	answer, err := weft.CallJSON[chargeAnswer](ctx, procedureCharge, in)
	if weft.CodeOf(err) == weft.FailedPrecondition {
		return Payment{}, weft.Errorf(weft.FailedPrecondition, "the card was declined for %d.%02d %s", in.Amount/100, in.Amount%100, in.Currency)
	}
	if err != nil {
		return Payment{}, err
	}
	if answer.ID == "" {
		return Payment{}, weft.Errorf(weft.Internal, "the peer payments answered a charge without an id")
	}
	made := Payment{ID: answer.ID, OrderID: in.OrderID, Amount: in.Amount, Currency: in.Currency, Status: charged}
	if err := weft.SetJSON(ctx, orderKey(in.OrderID), made.ID); err != nil {
		return made, err
	}
	return made, weft.SetJSON(ctx, paymentKey(made.ID), made)
}

// checkCharge fills the defaults of a charge and refuses what no card has.
func checkCharge(ctx *weft.Context, in *chargeInput) error {
	if in.Currency == "" {
		in.Currency = "EUR"
	}
	if in.Card == "" {
		in.Card = "card-on-file"
	}
	most, err := limit(ctx)
	switch {
	case err != nil:
		return err
	case in.OrderID == "":
		return weft.Errorf(weft.InvalidArgument, "orderId is missing")
	case in.Amount < 1:
		return weft.Errorf(weft.InvalidArgument, "amount is %d cents, want at least 1", in.Amount)
	case in.Amount > most:
		return weft.Errorf(weft.OutOfRange, "amount is %d cents, the limit of one charge is %d", in.Amount, most)
	}
	return nil
}

func limit(ctx *weft.Context) (int64, error) {
	v, found, err := ctx.Config("amount-max")
	if err != nil || !found {
		return amountMax, err
	}
	most, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, weft.Errorf(weft.FailedPrecondition, "config amount-max is %q, want a number of cents", v)
	}
	return most, nil
}

func paymentOf(ctx *weft.Context, orderID string) (Payment, bool, error) {
	id, found, err := weft.GetJSON[string](ctx, orderKey(orderID))
	if err != nil || !found {
		return Payment{}, false, err
	}
	return weft.GetJSON[Payment](ctx, paymentKey(id))
}

func sameCharge(known Payment, in chargeInput) error {
	if known.Status == refunded {
		return weft.Errorf(weft.FailedPrecondition, "order %s was charged and refunded: use another order id", in.OrderID)
	}
	if known.Amount != in.Amount || known.Currency != in.Currency {
		return weft.Errorf(weft.FailedPrecondition, "order %s was charged %d %s already, not %d %s",
			in.OrderID, known.Amount, known.Currency, in.Amount, in.Currency)
	}
	return nil
}

type paymentInput struct {
	PaymentID string `json:"paymentId"`
}

type refundRequest struct {
	PaymentID string `json:"paymentId"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
}

// refund gives the whole payment back, once.
func refund(ctx *weft.Context, in paymentInput) (Payment, error) {
	p, err := status(ctx, in)
	if err != nil || p.Status == refunded {
		return p, err
	}
	answer, err := weft.CallJSON[chargeAnswer](ctx, procedureRefund,
		refundRequest{PaymentID: p.ID, Amount: p.Amount, Currency: p.Currency})
	if err != nil {
		return p, err
	}
	p.Status, p.RefundID = refunded, answer.ID
	return p, weft.SetJSON(ctx, paymentKey(p.ID), p)
}

// status answers with a payment as it is now.
func status(ctx *weft.Context, in paymentInput) (Payment, error) {
	if in.PaymentID == "" {
		return Payment{}, weft.Errorf(weft.InvalidArgument, "paymentId is missing")
	}
	p, found, err := weft.GetJSON[Payment](ctx, paymentKey(in.PaymentID))
	if err == nil && !found {
		err = weft.Errorf(weft.NotFound, "there is no payment %s", in.PaymentID)
	}
	return p, err
}

func orderKey(id string) string   { return "order/" + id }
func paymentKey(id string) string { return "payment/" + id }
