package peers

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftrun/weft"
)

func TestAddressesThatAreNotOfTheOpenInternet(t *testing.T) {
	for _, a := range strings.Fields(`127.0.0.1 127.8.8.8 ::1 0.0.0.0 :: 10.1.2.3 172.16.0.1 192.168.1.1 100.64.0.1 100.100.100.200 169.254.169.254
		::ffff:127.0.0.1 ::ffff:169.254.169.254 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1%eth0 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe:: 2001::1 168.63.129.16
		192.0.0.192 192.88.99.1 198.18.0.1 2001:db8::1 3fff::1 5f00::1 224.0.0.1 ff02::1 255.255.255.255 240.0.0.1`) {
		if public(netip.MustParseAddr(a)) {
			t.Errorf("%s passes", a)
		}
	}
	for _, a := range []string{"8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"} {
		if !public(netip.MustParseAddr(a)) {
			t.Errorf("%s is refused", a)
		}
	}
}

// Whoever was not granted an address does not reach it by the connection of one
// who was, nor by another way to write it.
func TestConnectionsAreNotSharedBetweenGrants(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	_, port, _ := strings.Cut(host, ":")
	o := &outside{attempt: healthTime}
	defer o.close()
	get := func(grants *weft.Grants, url string) error {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := o.transport(grants, false).RoundTrip(q)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	granted, all := &weft.Grants{HTTP: []string{host}}, &weft.Grants{HTTP: []string{"*"}}
	for range 2 {
		if err := get(granted, s.URL); err != nil {
			t.Fatal(err)
		}
		for name, grants := range map[string]*weft.Grants{"a pattern": all, "nothing": {}, "a workflow": nil} {
			for _, h := range []string{"127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::ffff:7f00:1]"} {
				if err := get(grants, "http://"+h+":"+port); err == nil {
					t.Errorf("%s reaches %s", name, h)
				}
			}
		}
	}
}

func TestTheConnectionsOfFewGrantSetsAreKept(t *testing.T) {
	o := &outside{}
	first := o.transport(&weft.Grants{HTTP: []string{"a:80", "b:80"}}, false)
	if o.transport(&weft.Grants{HTTP: []string{"b:80", "a:80", "b:80"}, Peers: []string{"x"}}, false) != first {
		t.Error("the same set has another transport")
	}
	for n := range 2 * transportsMax {
		o.transport(&weft.Grants{HTTP: []string{fmt.Sprint("h", n, ":80")}}, false)
		o.transport(nil, false)
	}
	if len(o.bySet) != transportsMax || len(o.order) != transportsMax {
		t.Errorf("%d transports, %d in order", len(o.bySet), len(o.order))
	}
	if o.transport(&weft.Grants{HTTP: []string{"a:80", "b:80"}}, false) == first {
		t.Error("the one used first is still there")
	}
}
