package peers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/breaker"
	"github.com/weftrun/weft/host/peers"
)

// keep bounds the peers that are kept.
func (w *world) keep(n int) {
	w.t.Helper()
	w.Gate.Close()
	var err error
	if w.Gate, err = peers.Open(w.t.Context(), w.db, peers.Options{Peers: n}); err != nil {
		w.t.Fatal(err)
	}
}

// What a guest makes up shuts nobody out, and loses nothing that matters.
func TestHostsThatWereCalledLongAgoAreForgotten(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		const kept = 400
		w.keep(kept)
		get := func(name string) error {
			_, err := w.Do(t.Context(), weft.Request{Namespace: ns, Caller: "test", Method: "GET", URL: "http://" + name + "/"})
			return err
		}
		release := make(chan struct{})
		w.SetTransport(network(func(q *http.Request) (*http.Response, error) {
			switch q.URL.Host {
			case "dead:80", "dead":
				return nil, errRefused
			case "slow":
				<-release
			}
			return answer(200, `{}`)
		}))
		w.apply("policies: [{peer: 'http://slow', timeout: PT1H, attempt: PT1H}]")
		for range 5 {
			_ = get("dead")
		}
		if err := w.Force(t.Context(), ns, "http://held:80", breaker.Closed); err != nil {
			t.Fatal(err)
		}
		slow := make(chan error)
		go func() { slow <- get("slow") }()
		synctest.Wait()
		for n := range kept + 10 {
			if err := get(fmt.Sprint("h", n)); err != nil {
				t.Fatal(err)
			}
			if n%20 == 0 {
				if err := get("often"); err != nil {
					t.Fatal(err)
				}
			}
		}
		there := func(name string) bool {
			return slices.ContainsFunc(w.Breakers(ns), func(b peers.BreakerState) bool { return b.Peer == "http://"+name+":80" })
		}
		for name, want := range map[string]bool{"dead": true, "held": true, "slow": true, "often": true, "h0": false, "h9": false, "h60": true, fmt.Sprint("h", kept+9): true} {
			if there(name) != want {
				t.Errorf("%s: kept is %t", name, !want)
			}
		}
		if n := len(w.Breakers(ns)); n > kept {
			t.Errorf("%d are kept", n)
		}
		var open *weft.OpenError
		if err := get("dead"); !errors.As(err, &open) {
			t.Errorf("the dead one: %v", err)
		}
		if err := get("h0"); err != nil {
			t.Errorf("one that was forgotten: %v", err)
		}
		close(release)
		if err := <-slow; err != nil {
			t.Error(err)
		}
	})
}

func TestThoseWhoWatchHearThatABreakerIsForgotten(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		w.keep(20)
		w.SetTransport(network(well))
		get := func(n int) {
			if _, err := w.Do(t.Context(), weft.Request{Namespace: ns, Caller: "test", Method: "GET", URL: fmt.Sprintf("http://h%d/", n)}); err != nil {
				t.Fatal(err)
			}
		}
		get(0)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		gone := make(chan struct{})
		go func() {
			_ = w.WatchBreakers(ctx, ns, func(list []peers.BreakerState) error {
				if slices.ContainsFunc(list, func(b peers.BreakerState) bool { return b.Peer == "http://h0:80" && b.State == "gone" }) {
					close(gone)
					return errors.New("enough")
				}
				return nil
			})
		}()
		synctest.Wait()
		for n := range 21 {
			get(n)
		}
		select {
		case <-gone:
		case <-time.After(time.Minute):
			t.Error("nobody was told")
		}
	})
}
