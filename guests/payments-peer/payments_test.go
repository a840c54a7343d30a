package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func post(t *testing.T, h http.Handler, method, key, body string) (int, string) {
	t.Helper()
	q := httptest.NewRequest(http.MethodPost, "/payments.v1.Payments/"+method, strings.NewReader(body))
	q.Header.Set("Content-Type", "application/json")
	if key != "" {
		q.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestThePeer(t *testing.T) {
	var told strings.Builder
	book, err := openLedger(filepath.Join(t.TempDir(), "payments.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer book.Close()
	h := newService(book, 0, 0, &told)
	const paid = `{"key":"k1","kind":"charge","id":"pay-000001","orderId":"o1","amount":1999,"currency":"EUR"}`
	steps := []struct {
		name, method, key, body string
		status                  int
		want                    string
	}{
		{"charges an order", "Charge", "k1", `{"orderId":"o1","amount":1999,"currency":"EUR"}`, 200, paid},
		{"answers the same key alike", "Charge", "k1", `{"orderId":"o1","amount":1999,"currency":"EUR"}`, 200, paid},
		{"charges an order once, whatever the key", "Charge", "k2", `{"orderId":"o1","amount":1999,"currency":"EUR"}`, 200, paid},
		{"refuses another amount for the order", "Charge", "k3", `{"orderId":"o1","amount":5,"currency":"EUR"}`, 400, `"failed_precondition"`},
		{"refuses a key used for another order", "Charge", "k1", `{"orderId":"o2","amount":5,"currency":"EUR"}`, 400, `"failed_precondition"`},
		{"declines a card that never pays", "Charge", "k4", `{"orderId":"o3","amount":5,"card":"card-declined"}`, 400, `"message":"the card was declined"`},
		{"refuses an amount of nothing", "Charge", "k5", `{"orderId":"o4"}`, 400, `"invalid_argument"`},
		{"refuses what is no JSON", "Charge", "k6", `{"orderId":`, 400, `"invalid_argument"`},
		{"refunds a payment", "Refund", "k7", `{"paymentId":"pay-000001","amount":1999,"currency":"EUR"}`, 200, `"id":"ref-000002"`},
		{"refunds it once", "Refund", "k8", `{"paymentId":"pay-000001","amount":1999,"currency":"EUR"}`, 200, `"id":"ref-000002"`},
		{"refunds no part", "Refund", "", `{"paymentId":"pay-000001","amount":1,"currency":"EUR"}`, 400, `"failed_precondition"`},
		{"refunds nothing it never had", "Refund", "", `{"paymentId":"pay-9","amount":1}`, 404, `"not_found"`},
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			status, body := post(t, h, s.method, s.key, s.body)
			if status != s.status || !strings.Contains(body, s.want) {
				t.Errorf("got %d %s\nwant %d %s", status, body, s.status, s.want)
			}
		})
	}
	want := "payments: charge pay-000001 19.99 EUR for order o1\n"
	if !strings.HasPrefix(told.String(), want) || strings.Count(told.String(), "moved once") != 3 {
		t.Errorf("told %q", told.String())
	}
}

func TestTheLedgerOutlivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payments.jsonl")
	book, err := openLedger(path)
	if err != nil {
		t.Fatal(err)
	}
	h := newService(book, 0, 0, io.Discard)
	_, first := post(t, h, "Charge", "k1", `{"orderId":"o1","amount":1}`)
	book.Close()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"key":"k2","kind":"cha`) // power went off here
	f.Close()
	for range 2 {
		if book, err = openLedger(path); err != nil {
			t.Fatal(err)
		}
		h = newService(book, 0, 0, io.Discard)
		if _, again := post(t, h, "Charge", "k1", `{"orderId":"o1","amount":1}`); again != first {
			t.Errorf("after the restart %s, before %s", again, first)
		}
		if status, body := post(t, h, "Charge", "k2", `{"orderId":"o2","amount":1}`); status != 200 {
			t.Errorf("the charge that was cut: %d %s", status, body)
		}
		book.Close()
	}
}

func TestTheyFailAsAsked(t *testing.T) {
	book, _ := openLedger("")
	if status, body := post(t, newService(book, 0, 1, io.Discard), "Charge", "", `{"orderId":"o1","amount":1}`); status != 503 {
		t.Errorf("got %d %s", status, body)
	}
}

func TestItRegistersAndLeaves(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	var url string
	weft := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var in struct{ Service, URL string }
		json.NewDecoder(q.Body).Decode(&in)
		calls = append(calls, q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]+" "+in.Service)
		if in.URL != "" {
			url = in.URL
		}
		w.Write([]byte(`{"epoch":"5","heartbeatInterval":"5s"}`))
	}))
	defer weft.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, options{listen: "127.0.0.1:0", server: weft.URL, namespace: "default"}) }()
	deadline := time.Now().Add(time.Minute)
	for registered := false; !registered && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		registered = url != ""
		mu.Unlock()
	}
	res, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatalf("the registered URL %q: %v", url, err)
	}
	res.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(calls, ", "); got != "Register payments, Drain payments, Deregister payments" {
		t.Errorf("calls %s", got)
	}
}
