package weft_test

import (
	"testing"

	"github.com/weftrun/weft"
)

func TestHTTPStatusIsConnects(t *testing.T) {
	want := map[string]int{"ok": 200, "canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404, "already_exists": 409,
		"permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400, "aborted": 409, "out_of_range": 400, "unimplemented": 501,
		"internal": 500, "unavailable": 503, "data_loss": 500, "unauthenticated": 401}
	for c := weft.OK; c <= weft.Unauthenticated; c++ {
		if got := c.HTTPStatus(); got != want[c.String()] {
			t.Errorf("%s: %d and not %d", c, got, want[c.String()])
		}
	}
	if got := weft.Code(99).HTTPStatus(); got != 500 {
		t.Errorf("an unknown code: %d", got)
	}
}

func TestTargetsOfRequests(t *testing.T) {
	for want, r := range map[string]weft.Request{
		"payments":                    {Peer: "payments", Procedure: "/x"},
		"https://api.example.com:443": {URL: "https://API.example.com/v1?x=1"},
		"http://127.0.0.1:80":         {URL: "http://127.0.0.1"},
		"http://[::1]:80":             {URL: "http://[::1]/"},
		"http://[::1]:8080":           {URL: "http://user:secret@[::1]:8080/"},
		"":                            {URL: "ftp://example.com"},
	} {
		if got := r.Target(); got != want {
			t.Errorf("%+v: %q", r, got)
		}
	}
}

func TestRefsNameHandlersAndMethods(t *testing.T) {
	for text, want := range map[string]weft.Ref{
		"charge-card":                                     {Name: "charge-card", Catalog: "default"},
		"charge-card:2":                                   {Name: "charge-card", Version: "2", Catalog: "default"},
		"charge-card:2.0.1-rc.1@shared":                   {Name: "charge-card", Version: "2.0.1-rc.1", Catalog: "shared"},
		"shop.v1.OrderService/Place":                      {Name: "shop.v1.OrderService/Place", Catalog: "default"},
		"shop.v1.OrderService/Place:2@default":            {Name: "shop.v1.OrderService/Place", Version: "2", Catalog: "default"},
		"shop.v1.OrderService/Place@shop.v1.OrderService": {Name: "shop.v1.OrderService/Place", Catalog: "shop.v1.OrderService"},
		"Orders/Place@eu-orders":                          {Name: "Orders/Place", Catalog: "eu-orders"},
	} {
		got, err := weft.ParseRef(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := weft.ParseRef(got.String()); err != nil || again != got {
			t.Errorf("%s is written as %s: %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "1st", "charge card", "charge-card:two", "charge-card@shop.v1", "/Place", "shop.v1.OrderService/", "shop..v1/Place", "a/b/c", ".a/B", "a/B:1@peer"} {
		if got, err := weft.ParseRef(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestASubscriptionMatchesByTypeAndAttributes(t *testing.T) {
	e := weft.Event{ID: "1", Source: "/shop", Type: "shop.order.placed", Extensions: map[string]string{"region": "north"}}
	for _, c := range []struct {
		name  string
		typ   string
		match map[string]string
		want  bool
	}{
		{"the type itself", "shop.order.placed", nil, true},
		{"another", "shop.order.paid", nil, false},
		{"its beginning", "shop.order", nil, false},
		{"its beginning, and any rest", "shop.*", nil, true},
		{"any", "*", nil, true},
		{"a star elsewhere is a star", "shop.*.placed", nil, false},
		{"an attribute", "shop.*", map[string]string{"source": "/shop"}, true},
		{"an extension", "shop.*", map[string]string{"region": "north"}, true},
		{"one of two attributes", "shop.*", map[string]string{"region": "north", "source": "/bank"}, false},
		{"an attribute that is not there", "shop.*", map[string]string{"tier": ""}, false},
	} {
		if got := (weft.Subscription{Handler: "h", Type: c.typ, Match: c.match}).Matches(e); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
