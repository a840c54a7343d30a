package peers_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/host/peers"
)

// cutter answers the first request of each connection, and closes it when it has
// read the second: nobody can tell whether that was carried out.
type cutter struct {
	net.Listener
	mu   sync.Mutex
	seen int // guarded by mu: requests that were read
}

func cut(t *testing.T) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return c
}

func (c *cutter) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for n := range 2 {
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, q.Body); err != nil {
			return
		}
		c.mu.Lock()
		c.seen++
		c.mu.Unlock()
		if n == 0 {
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) // the test sees it
		}
	}
}

// A kept connection may end after a request was sent and before its answer. What
// may be repeated is then sent once more, at once and beside the retries; what
// may not is not, by anybody.
func TestARequestWhoseConnectionEndsIsSentAgainOnlyIfItMayBe(t *testing.T) {
	for name, c := range map[string]struct {
		request weft.Request
		seen    int // of the second call
		fails   bool
	}{
		"a call with a key":             {request: weft.Request{Peer: "bank", Procedure: "/x", IdempotencyKey: "k"}, seen: 2},
		"a call without":                {request: weft.Request{Peer: "bank", Procedure: "/x"}, seen: 1, fails: true},
		"a POST to the world":           {request: weft.Request{Method: "POST", Body: []byte(`{}`)}, seen: 1, fails: true},
		"a POST to the world and a key": {request: weft.Request{Method: "POST", Body: []byte(`{}`), IdempotencyKey: "k"}, seen: 2},
		"a GET":                         {request: weft.Request{Method: "GET"}, seen: 2},
		"a PUT, by a retry":             {request: weft.Request{Method: "PUT", Body: []byte(`{}`)}, seen: 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := cut(t)
			url := "http://" + l.Addr().String()
			g := gate(t, peers.Options{HTTPAllow: []string{l.Addr().String()}})
			r := c.request
			r.Namespace, r.Caller = weft.DefaultNamespace, "test"
			if r.Peer == "" {
				r.URL = url
			} else if _, err := g.Register(t.Context(), peers.Instance{Namespace: r.Namespace, Service: r.Peer, ID: "one", URL: url}); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			_, err := g.Do(t.Context(), r)
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.seen-1 != c.seen || (err != nil) != c.fails {
				t.Errorf("it was read %d times, want %d; %v", l.seen-1, c.seen, err)
			}
			if s := g.Stats().Peers[0]; c.fails && s.Retries != 0 {
				t.Errorf("%d retries", s.Retries)
			}
		})
	}
}

// What is not dialled is no answer of whoever would have been called.
func TestAnAddressThatIsRefusedIsNoAnswer(t *testing.T) {
	g := gate(t, peers.Options{})
	_, err := g.Do(t.Context(), weft.Request{Namespace: weft.DefaultNamespace, Caller: "test", Method: "GET", URL: "http://127.0.0.1:9/"})
	if weft.CodeOf(err) != weft.PermissionDenied {
		t.Errorf("%v", err)
	}
	s := g.Stats().Peers[0]
	if s.Calls != 1 || s.Attempts[peers.Denied] != 1 || s.Attempts[peers.Answered] != 0 {
		t.Errorf("%+v", s)
	}
}
