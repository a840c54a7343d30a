package port_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft/host/port"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// one is a listener with one connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (l one) Accept() (net.Conn, error) { return l.conn, nil }

// pipe is a connection over which a client has said its first words. A write to it
// is over when the client has read it.
func pipe(t *testing.T, first string) (server, client net.Conn) {
	t.Helper()
	ours, client := net.Pipe()
	server, err := port.Join(one{conn: ours}).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	go io.WriteString(client, first)
	if _, err := io.ReadFull(server, make([]byte, len(first))); err != nil {
		t.Fatal(err)
	}
	return server, client
}

func write(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("%d of %d bytes, %v", n, len(text), err)
	}
}

func TestWhatIsWrittenWhileAWriteIsUnderWayGoesOutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := pipe(t, preface)
		write(t, server, "a")
		synctest.Wait() // it is under way
		write(t, server, "b")
		write(t, server, "c")
		room := make([]byte, 10)
		for _, want := range []string{"a", "bc"} {
			if n, err := client.Read(room); err != nil || string(room[:n]) != want {
				t.Errorf("%q, %v; want %q", room[:n], err, want)
			}
		}
	})
}

func TestHTTP1IsLeftAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := pipe(t, "POST / HTTP/1.1\r\n")
		done := false
		go func() { server.Write([]byte("a")); done = true }()
		synctest.Wait()
		if done {
			t.Error("the write was over before anybody read it")
		}
		io.ReadFull(client, make([]byte, 1))
		synctest.Wait()
		if !done {
			t.Error("the write was not over when it was read")
		}
	})
}

func TestCloseSendsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := pipe(t, preface)
		write(t, server, "a")
		synctest.Wait()
		write(t, server, strings.Repeat("b", 1000))
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Write([]byte("c")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after Close: %v", err)
		}
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read after Close: %v", err)
		}
		got, err := io.ReadAll(client)
		if err != nil || len(got) != 1001 {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

func TestCloseWaitsForNobodyWhoTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := pipe(t, preface)
		write(t, server, "a")
		synctest.Wait()
		reading := make(chan error, 1)
		go func() { _, err := server.Read(make([]byte, 1)); reading <- err }()
		synctest.Wait()
		begun := time.Now()
		server.Close()
		if d := time.Since(begun); d > 0 {
			t.Errorf("Close took %v", d)
		}
		if err := <-reading; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the read that was under way: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if _, err := io.ReadAll(client); err != nil {
			t.Error(err)
		}
	})
}

func TestAFullQueueWaitsUntilThereIsRoomOrTimeIsUp(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(server, client net.Conn)
		err  error
	}{
		{"the client takes it", func(_, client net.Conn) { go io.Copy(io.Discard, client) }, nil},
		{"the deadline comes", func(server, _ net.Conn) { server.SetWriteDeadline(time.Now().Add(time.Minute)) }, os.ErrDeadlineExceeded},
		{"it is closed", func(server, _ net.Conn) { server.Close() }, net.ErrClosed},
		{"the client goes", func(_, client net.Conn) { client.Close() }, io.ErrClosedPipe},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := pipe(t, preface)
				write(t, server, "under way")
				synctest.Wait()
				write(t, server, strings.Repeat("x", 64<<10))
				said := make(chan error, 1)
				go func() { _, err := server.Write(make([]byte, 100<<10)); said <- err }()
				synctest.Wait()
				if len(said) > 0 {
					t.Fatal("there was room")
				}
				c.do(server, client)
				if err := <-said; !errors.Is(err, c.err) {
					t.Errorf("%v, want %v", err, c.err)
				}
				if _, err := server.Write([]byte("y")); c.err != nil && !errors.Is(err, c.err) {
					t.Errorf("later: %v, want %v", err, c.err)
				}
			})
		})
	}
}

func TestAReadDeadlineEndsAReadAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := pipe(t, preface)
		server.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		server.SetReadDeadline(time.Time{})
		go io.WriteString(client, "more")
		got := make([]byte, 4)
		if _, err := io.ReadFull(server, got); err != nil || string(got) != "more" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestCloseWriteSendsWhatIsQueuedAndThenTheEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := port.Join(l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	io.WriteString(client, preface)
	if _, err := io.ReadFull(server, make([]byte, len(preface))); err != nil {
		t.Fatal(err)
	}
	write(t, server, "the last")
	if err := server.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(client); string(got) != "the last" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	io.WriteString(client, "and back")
	got := make([]byte, len("and back"))
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "and back" {
		t.Errorf("%q, %v", got, err)
	}
}

// A server of net/http gives back what it gets, to many at once, small and large,
// over both protocols.
func TestBothProtocolsCarryWhatTheyAreGiven(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 {
			io.Copy(w, r.Body)
			return
		}
		body, _ := io.ReadAll(r.Body) // the server of HTTP/1.1 takes all before it gives
		w.Write(body)
	})}
	go s.Serve(port.Join(l))
	defer s.Close()
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			protocols := &http.Protocols{}
			protocols.SetHTTP1(n%2 == 0)
			protocols.SetUnencryptedHTTP2(n%2 == 1)
			transport := &http.Transport{Protocols: protocols}
			defer transport.CloseIdleConnections()
			for size := 1; size < 2<<20; size = size*5 + n {
				body := bytes.Repeat([]byte{byte(size)}, size)
				r, err := (&http.Client{Transport: transport}).Post("http://"+l.Addr().String(), "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%d bytes came back as %d, %v", size, len(got), err)
				}
			}
		})
	}
	all.Wait()
}
