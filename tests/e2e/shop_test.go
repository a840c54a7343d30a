package e2e_test

import (
	"regexp"
	"strings"
	"testing"
)

// The shop's order module, as make builds it and as it is pushed, serves its five
// methods and their REST routes.
func TestTheShopServesItsOrders(t *testing.T) {
	w := newTalking(t, "inline")
	command(t, "make", "-C", "guests", "OUT="+w.dir, w.dir+"/order.wasm", w.dir+"/order.yaml", w.dir+"/order.binpb")
	w.start()
	w.must("module", "push", "order.wasm", "--grant")

	messages := func(all ...string) string { return string(framed(all...)) }
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
		if _, answer := w.send(c.method, c.path, c.kind, []byte(c.body)); !regexp.MustCompile(`(?s)` + c.want).MatchString(answer) {
			t.Errorf("%s: %q is not %s", c.what, answer, c.want)
		}
	}
}
