package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// bodyMax bounds a request.
const bodyMax = 64 << 10

// service answers the two procedures of payments.v1.Payments.
type service struct {
	book     *ledger
	delay    time.Duration
	failRate float64

	mu  sync.Mutex
	out io.Writer // guarded by mu; one line for each movement
}

func newService(book *ledger, delay time.Duration, failRate float64, out io.Writer) http.Handler {
	s := &service{book: book, delay: delay, failRate: failRate, out: out}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /payments.v1.Payments/Charge", s.serve(charge))
	mux.HandleFunc("POST /payments.v1.Payments/Refund", s.serve(refund))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// request is what either procedure takes. Amounts are in cents.
type request struct {
	OrderID   string `json:"orderId"`
	PaymentID string `json:"paymentId"`
	Amount    int64  `json:"amount"`
	Currency  string `json:"currency"`
	Card      string `json:"card"`
}

// declined are tokens of cards that never pay, and why.
var declined = map[string]string{
	"card-declined": "the card was declined",
	"card-expired":  "the card has expired",
}

// charge is the entry for a charge.
func charge(r request) (Entry, error) {
	if r.OrderID == "" || r.Amount < 1 {
		return Entry{}, failure{"invalid_argument", "want an orderId and an amount of at least 1 cent"}
	}
	if why, no := declined[r.Card]; no {
		return Entry{}, failure{"failed_precondition", why}
	}
	return Entry{Kind: kindCharge, OrderID: r.OrderID, Amount: r.Amount, Currency: r.Currency}, nil
}

// refund is the entry for a refund.
func refund(r request) (Entry, error) {
	if r.PaymentID == "" || r.Amount < 1 {
		return Entry{}, failure{"invalid_argument", "want a paymentId and an amount of at least 1 cent"}
	}
	return Entry{Kind: kindRefund, Payment: r.PaymentID, Amount: r.Amount, Currency: r.Currency}, nil
}

func (s *service) serve(entry func(request) (Entry, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		select {
		case <-time.After(s.delay):
		case <-q.Context().Done():
			return
		}
		answer, err := s.answer(q, entry)
		if err != nil {
			refuse(w, err)
			return
		}
		reply(w, http.StatusOK, answer)
	}
}

func (s *service) answer(q *http.Request, entry func(request) (Entry, error)) (Entry, error) {
	if rand.Float64() < s.failRate {
		return Entry{}, failure{"unavailable", "failing on purpose (-fail-rate)"}
	}
	var r request
	body, err := io.ReadAll(io.LimitReader(q.Body, bodyMax))
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil {
		return Entry{}, failure{"invalid_argument", err.Error()}
	}
	e, err := entry(r)
	if err != nil {
		return e, err
	}
	e.Key = q.Header.Get("Idempotency-Key")
	e, again, err := s.book.book(e)
	if err == nil {
		s.print(e, again)
	}
	return e, err
}

// print tells whoever watches.
func (s *service) print(e Entry, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of, note := "order "+e.OrderID, ""
	if e.Kind == kindRefund {
		of = "payment " + e.Payment
	}
	if again {
		note = " (asked again, moved once)"
	}
	fmt.Fprintf(s.out, "payments: %s %s %d.%02d %s for %s%s\n", e.Kind, e.ID, e.Amount/100, e.Amount%100, e.Currency, of, note)
}

// failure is an error of the Connect protocol.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (f failure) Error() string { return f.Message }

// statuses are the HTTP statuses of the codes that this service answers with,
// https://connectrpc.com/docs/protocol#error-codes.
var statuses = map[string]int{
	"invalid_argument":    http.StatusBadRequest,
	"failed_precondition": http.StatusBadRequest,
	"not_found":           http.StatusNotFound,
	"unavailable":         http.StatusServiceUnavailable,
	"internal":            http.StatusInternalServerError,
}

func refuse(w http.ResponseWriter, err error) {
	var f failure
	if !errors.As(err, &f) {
		f = failure{"internal", err.Error()}
	}
	reply(w, statuses[f.Code], f)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // an error is the caller's broken connection
}
