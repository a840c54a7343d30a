package peers_test

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftrun/weft"
)

// pipes listens in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error { close(p); return nil }

func (pipes) Addr() net.Addr { return &net.TCPAddr{} }

// hole is the server's end of a connection that can turn into a black hole: what
// is sent on it is taken, and nobody hears of it.
type hole struct {
	net.Conn
	black atomic.Bool
}

func (h *hole) Read(b []byte) (int, error) {
	for {
		if n, err := h.Conn.Read(b); err != nil || !h.black.Load() {
			return n, err
		}
	}
}

func (h *hole) Write(b []byte) (int, error) {
	if h.black.Load() {
		return len(b), nil
	}
	return h.Conn.Write(b)
}

// HTTP/2 has one connection for all calls, and a call that ends late leaves it
// open: calls would go into it for as long as the system sends again.
func TestAConnectionOfHTTP2ThatIsABlackHoleIsNotThereForTheProbe(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		listener := make(pipes)
		s := &http.Server{Protocols: &http.Protocols{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write(make([]byte, 5)) // an empty message
			w.Header().Set("Grpc-Status", "0")
		})}
		s.Protocols.SetUnencryptedHTTP2(true)
		go func() { _ = s.Serve(listener) }()
		defer s.Close()
		var conns []*hole
		w.SetDial(func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			conns = append(conns, &hole{Conn: far})
			listener <- conns[len(conns)-1]
			return near, nil
		})
		call := func() error {
			_, err := w.Do(t.Context(), weft.Request{Namespace: ns, Caller: "test", GRPC: true, Method: "POST", URL: "http://bank/bank.v1.Bank/Charge"})
			return err
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		conns[0].black.Store(true)
		for range 5 {
			if err := call(); err == nil {
				t.Fatal("an answer out of a black hole")
			}
		}
		w.expect("open")
		time.Sleep(37 * time.Second)
		w.expect("half-open")
		if err := call(); err != nil || len(conns) != 2 {
			t.Errorf("the probe: %v, over connection %d", err, len(conns))
		}
		w.expect("closed")
	})
}
