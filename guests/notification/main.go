// Command notification is the module that tells customers what happened. It
// subscribes to events of the shop, and workflows may send messages through it.
// A message leaves as the event notification.sent; whoever has a mail server
// subscribes to that.
//
// State: notification/ID is a message that was sent.
package main

import (
	"fmt"
	"unicode/utf8"

	weft "github.com/weftrun/weft/sdk/go"
)

//go:wasmexport notify-customer
func notifyCustomer(n uint32) uint32 { return weft.OnEvent(n, notify) }

//go:wasmexport send-message
func sendMessage(n uint32) uint32 { return weft.JSON(n, send) }

//go:wasmexport message-status
func messageStatus(n uint32) uint32 { return weft.JSON(n, status) }

func main() {}

// textMax bounds a message, in bytes.
const textMax = 4096

// Message is what a customer is told.
type Message struct {
	ID   string `json:"id"`
	To   string `json:"to"`
	Text string `json:"text"`
}

// news is what the shop's events have in common.
type news struct {
	OrderID  string `json:"orderId"`
	Customer string `json:"customer"`
	Courier  string `json:"courier"`
	Reason   string `json:"reason"`
}

// notify tells the customer of an event, once even if it is delivered twice.
func notify(ctx *weft.Context, e weft.Event, n news) error {
	text := n.text(e.Type)
	if text == "" || n.Customer == "" {
		ctx.Log(weft.LevelDebug, "nobody to tell of "+e.Type)
		return nil
	}
	_, err := send(ctx, Message{ID: e.Source + "#" + e.ID, To: n.Customer, Text: text})
	return err
}

func (n news) text(eventType string) string {
	switch eventType {
	case "shop.order.placed":
		if n.Courier != "" {
			return fmt.Sprintf("Your order %s is on its way with %s.", n.OrderID, n.Courier)
		}
		return fmt.Sprintf("Your order %s is on its way.", n.OrderID)
	case "shop.order.rejected":
		return fmt.Sprintf("We are sorry: your order %s was cancelled (%s).", n.OrderID, n.Reason)
	case "shop.review.requested":
		return fmt.Sprintf("How do you like order %s?", n.OrderID)
	}
	return ""
}

// send sends a message. One that has been sent before, by its id, is not sent
// again, and answered as it was.
func send(ctx *weft.Context, in Message) (Message, error) {
	switch {
	case in.ID == "":
		return in, weft.Errorf(weft.InvalidArgument, "id is missing: it keeps a message from being sent twice")
	case in.To == "":
		return in, weft.Errorf(weft.InvalidArgument, "to is missing")
	case in.Text == "" || len(in.Text) > textMax || !utf8.ValidString(in.Text):
		return in, weft.Errorf(weft.InvalidArgument, "text has %d bytes, want 1 to %d of UTF-8", len(in.Text), textMax)
	}
	sent, found, err := weft.GetJSON[Message](ctx, messageKey(in.ID))
	if err != nil || found {
		return sent, err
	}
	if err := weft.SetJSON(ctx, messageKey(in.ID), in); err != nil {
		return in, err
	}
	ctx.Log(weft.LevelInfo, "to "+in.To+": "+in.Text)
	return in, weft.PublishJSON(ctx, "notification.sent", in)
}

type statusInput struct {
	ID string `json:"id"`
}

// status answers with a message that was sent.
func status(ctx *weft.Context, in statusInput) (Message, error) {
	m, found, err := weft.GetJSON[Message](ctx, messageKey(in.ID))
	if err == nil && !found {
		err = weft.Errorf(weft.NotFound, "no message %q was sent", in.ID)
	}
	return m, err
}

func messageKey(id string) string { return "notification/" + id }
