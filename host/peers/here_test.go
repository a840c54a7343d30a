package peers_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
)

// own is a gate on a host that has the service bank itself.
func own(t *testing.T, self string, bank http.HandlerFunc) *peers.Gate {
	return gate(t, peers.Options{Self: self, Here: func(namespace, service string) http.Handler {
		if namespace != ns || service != "bank" {
			return nil
		}
		return bank
	}})
}

func TestAServiceOfThisHostIsCalledInProcess(t *testing.T) {
	g := own(t, "me", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Path", r.URL.Path)
		fmt.Fprintf(w, `{"got":%s,"key":%q,"caller":%q}`, body, r.Header.Get("Idempotency-Key"), r.Header.Get("Weft-Caller"))
	})
	for range 2 { // nobody has registered, and then it has, at an address that nobody answers at
		res, err := charge(g)
		if err != nil || string(res.Body) != `{"got":{},"key":"k","caller":"test"}` || res.Headers["x-path"] != "/bank.v1.Bank/Charge" {
			t.Errorf("%s, %v", res.Body, err)
		}
		if _, err := g.Register(t.Context(), peers.Instance{Namespace: ns, Service: "bank", ID: "me", URL: "http://127.0.0.1:1"}); err != nil {
			t.Fatal(err)
		}
	}
	if b := g.Breakers(ns); len(b) != 1 || b[0].Instance != "me" || b[0].State != "closed" {
		t.Errorf("breakers: %+v", b)
	}
	if _, err := g.Do(t.Context(), weft.Request{Namespace: "other", Peer: "bank", Procedure: "/x"}); weft.CodeOf(err) != weft.NotFound {
		t.Errorf("in another namespace: %v", err)
	}
}

func TestWhatFailsInProcessHasABreakerTooAndOthersAreCalled(t *testing.T) {
	var here, there atomic.Int64
	g := own(t, "", func(http.ResponseWriter, *http.Request) { here.Add(1); panic("a slip") })
	var open *weft.OpenError
	for err := error(nil); !errors.As(err, &open); {
		if _, err = charge(g); err == nil || !strings.Contains(err.Error(), "the call panicked: a slip") {
			t.Fatal(err)
		}
	}
	if open.Until.Before(time.Now()) || here.Load() != 5 {
		t.Errorf("%v after %d calls", open, here.Load())
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { there.Add(1); _, _ = w.Write([]byte(`{}`)) }))
	defer s.Close()
	register(t, g, s.URL)
	for range 3 {
		if _, err := charge(g); err != nil {
			t.Error(err)
		}
	}
	if here.Load() != 5 || there.Load() != 3 {
		t.Errorf("%d calls here, %d there", here.Load(), there.Load())
	}
}

func TestAnAnswerInProcessIsAsBoundedAsAnyOther(t *testing.T) {
	g := own(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.WriteHeader(http.StatusTeapot) // too late
		_, _ = w.Write(make([]byte, 5<<20))
	})
	if _, err := charge(g); weft.CodeOf(err) != weft.ResourceExhausted {
		t.Error(err)
	}
}

// Connect writes details in base64, with padding or without.
func TestAnErrorHasTheDetailsThatItsPeerGave(t *testing.T) {
	g := own(t, "me", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"code":"aborted","message":"no","details":[{"type":"a.B","value":"/wAB"},{"type":"a.C","value":"/w"},{"type":"a.D","value":"/w==","debug":{}},{"type":"a.E","value":"?"},{"value":""},{"type":"a.F"}]}`)
	})
	_, err := charge(g)
	want := []weft.Detail{{Type: "a.B", Value: []byte("\xff\x00\x01")}, {Type: "a.C", Value: []byte("\xff")}, {Type: "a.D", Value: []byte("\xff")}, {Type: "a.F", Value: []byte{}}}
	if weft.CodeOf(err) != weft.Aborted || !reflect.DeepEqual(weft.DetailsOf(err), want) {
		t.Errorf("%v, %q", err, weft.DetailsOf(err))
	}
}
