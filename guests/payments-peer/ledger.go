package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

// Entry is one movement of money and the answer that was given for it.
type Entry struct {
	Key      string `json:"key,omitempty"` // Idempotency-Key of the request
	Kind     string `json:"kind"`
	ID       string `json:"id"`
	OrderID  string `json:"orderId,omitempty"`   // of a charge
	Payment  string `json:"paymentId,omitempty"` // of a refund
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// subject is what moves once, whatever the keys of the requests: the money of
// an order, or its way back.
func (e Entry) subject() string { return e.Kind + "/" + e.OrderID + e.Payment }

// same reports whether e asks for what known has answered.
func (e Entry) same(known Entry) bool {
	return e.subject() == known.subject() && e.Amount == known.Amount && e.Currency == known.Currency
}

// Kinds of an entry.
const (
	kindCharge = "charge"
	kindRefund = "refund"
)

// prefixes begin the id of an entry of each kind.
var prefixes = map[string]string{kindCharge: "pay", kindRefund: "ref"}

// ledger remembers every movement, in memory and, if it has one, in a file with
// one JSON object a line.
type ledger struct {
	mu        sync.Mutex
	file      *os.File         // guarded by mu; nil for memory only
	byKey     map[string]Entry // guarded by mu
	bySubject map[string]Entry // guarded by mu
	charges   map[string]Entry // guarded by mu; by id
}

func openLedger(path string) (*ledger, error) {
	l := &ledger{byKey: map[string]Entry{}, bySubject: map[string]Entry{}, charges: map[string]Entry{}}
	if path == "" {
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := l.load(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.file = f
	return l, nil
}

// load reads the entries of earlier days, and drops a last line that a crash
// has cut: nobody was answered for it.
func (l *ledger) load(f *os.File) error {
	r := bufio.NewReader(f)
	for end := int64(0); ; {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return f.Truncate(end)
		}
		if err != nil {
			return err
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("byte %d: %w", end, err)
		}
		l.put(e)
		end += int64(len(line))
	}
}

// put runs with l.mu held, or before l is shared.
func (l *ledger) put(e Entry) {
	l.bySubject[e.subject()] = e
	if e.Key != "" {
		l.byKey[e.Key] = e
	}
	if e.Kind == kindCharge {
		l.charges[e.ID] = e
	}
}

// book enters e, durable when it returns. What was entered before, by its key
// or by its subject, is not entered again: that entry is returned, with again
// true.
func (l *ledger) book(e Entry) (entry Entry, again bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, ok := l.byKey[e.Key]
	if !ok {
		known, ok = l.bySubject[e.subject()]
	}
	if ok && !e.same(known) {
		return e, true, failure{"failed_precondition", fmt.Sprintf("%s %s was for %d %s of %s", known.Kind, known.ID, known.Amount, known.Currency, known.OrderID+known.Payment)}
	}
	if ok {
		return known, true, nil
	}
	if err := l.covered(e); err != nil {
		return e, false, err
	}
	e.ID = fmt.Sprintf("%s-%06d", prefixes[e.Kind], len(l.bySubject)+1)
	if err := l.write(e); err != nil {
		return e, false, err
	}
	l.put(e)
	return e, false, nil
}

// covered refuses refunds of what was never charged.
func (l *ledger) covered(e Entry) error {
	if e.Kind != kindRefund {
		return nil
	}
	c, ok := l.charges[e.Payment]
	if !ok {
		return failure{"not_found", "there is no payment " + e.Payment}
	}
	if e.Amount != c.Amount {
		return failure{"failed_precondition", fmt.Sprintf("payment %s is %d, and refunded whole or not at all", c.ID, c.Amount)}
	}
	return nil
}

func (l *ledger) write(e Entry) error {
	if l.file == nil {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return l.file.Sync()
}

// Close closes the file.
func (l *ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
