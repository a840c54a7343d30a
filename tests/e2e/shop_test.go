package e2e_test

import (
	"encoding/binary"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// The shop's order module, as make builds it and as it is pushed, serves its five
// methods and their REST routes.
func TestTheShopServesItsOrders(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("make", "-C", "guests", "OUT="+dir, dir+"/order.wasm", dir+"/order.yaml", dir+"/order.binpb")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	w := &talking{t: t, dir: dir, address: address, isolation: "inline"}
	w.start()
	t.Cleanup(func() { _ = w.end(syscall.SIGKILL) })
	w.must("module", "push", "order.wasm", "--grant")

	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	ask := func(method, path, kind, body string) string {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", kind)
		res, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(answer)
	}
	messages := func(all ...string) (body string) {
		for _, m := range all {
			body += string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m)))) + m
		}
		return body
	}
	const (
		service = "/shop.v1.OrderService/"
		plain   = "application/json"
		stream  = "application/connect+json"
		o1      = `{"orderId":"o1","customer":"ada","items":[{"sku":"mug","quantity":2,"price":"750"}]}`
		o2      = `{"orderId":"o2","customer":"bob","items":[{"sku":"tea","quantity":1}],"total":"999"}`
		full    = `"orderId":"o1","customer":"ada","items":\[\{"sku":"mug","quantity":2,"price":"750"\}\],"total":"1500","currency":"EUR","country":"DE","status":"ORDER_STATUS_ACCEPTED"`
	)
	for _, c := range []struct{ what, method, path, kind, body, want string }{
		{"a malformed order", "POST", service + "PlaceOrder", "application/proto", "\xff", `"code":"invalid_argument"`},
		{"an order is placed", "POST", service + "PlaceOrder", plain, `{"order":` + o1 + `}`, `^\{"order":\{` + full + `\}\}$`},
		{"and found", "POST", service + "GetOrder", plain, `{"orderId":"o1"}`, full},
		{"by REST too", "GET", "/v1/orders/o1", plain, "", `^\{` + full + `\}$`},
		{"another is not", "POST", service + "GetOrder", plain, `{"orderId":"o9"}`, `"code":"not_found".*there is no order o9.*"type":"google.rpc.ResourceInfo","value":"Cg1zaG9wLnYxLk9yZGVyEgJvOQ"`},
		{"two are imported, of which one is new", "POST", service + "ImportOrders", stream, messages(`{"order":`+o1+`}`, `{"order":`+o2+`}`), `\{"newOrders":1\}.*\{\}$`},
		{"one is placed by REST", "POST", "/v1/orders", plain, strings.Replace(o2, "o2", "o3", 1), `^\{"orderId":"o3".*"total":"999"`},
		{"those asked for are listed", "POST", service + "ListOrders", stream, messages(`{"orderIds":["o2","o1"]}`), `"orderId":"o2".*"orderId":"o1".*\{\}$`},
		{"some are quoted, up to a wrong one", "POST", service + "QuoteOrders", stream, messages(`{"order":`+o1+`}`, `{}`), `\{"orderId":"o1","total":"1500"\}.*"code":"invalid_argument"`},
	} {
		if answer := ask(c.method, c.path, c.kind, c.body); !regexp.MustCompile(`(?s)` + c.want).MatchString(answer) {
			t.Errorf("%s: %q is not %s", c.what, answer, c.want)
		}
	}
}
