// Package port is what is served at: connections that cost fewer system calls, and
// TLS with certificates that may change.
package port

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// Bounds of a connection that joins what it writes.
const (
	readSize   = 8 << 10     // bytes that one read may bring
	queueMax   = 64 << 10    // bytes that wait to be written; then Write waits
	lingerTime = time.Second // for them to be taken after Close
)

// Join is l with connections for a server of HTTP. That of net/http makes four
// reads and three writes for a call over h2; here they become one of each for as
// many calls as are at hand. With TLS it is writes alone, for that reads ahead as it
// is, and where the configuration is that of TLS.Config, which knows what will be
// spoken. Connections of HTTP/1.1 are left as they are.
//
// A Write that has returned may still have to be made. Where it fails, each later
// one does, with its error. Close ends reads and takes no more writes; what was
// written before is sent, within a second, and then the connection is closed.
func Join(l net.Listener) net.Listener { return joined{l} }

type joined struct{ net.Listener }

func (l joined) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	j := &conn{Conn: c}
	j.room.L = &j.mu
	return j, nil
}

// conn is a connection. What it speaks is known when it has read something.
type conn struct {
	net.Conn

	reading sync.Mutex
	known   bool          // guarded by reading
	ahead   *bufio.Reader // guarded by reading; nil where reads go straight through

	mu      sync.Mutex
	joins   bool      // guarded by mu
	queue   *[]byte   // guarded by mu; nil when it is empty
	writing bool      // guarded by mu: write is under way
	err     error     // guarded by mu: of a write
	closed  bool      // guarded by mu: for writes
	ended   bool      // guarded by mu: Close was called
	room    sync.Cond // of mu: there is room in queue, or nothing more is to be written
}

// queues are of connections that have nothing to write.
var queues = sync.Pool{New: func() any { return new([]byte) }}

func (c *conn) Read(p []byte) (n int, err error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.ahead != nil {
		n, err = c.ahead.Read(p)
	} else {
		n, err = c.Conn.Read(p)
	}
	if !c.known && n > 0 {
		c.known = true
		c.speaks(p[:n])
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.isClosed() {
		err = net.ErrClosed
	}
	return n, err
}

// speaks looks at the first bytes. Should they have come one by one, it does
// without what it would be good for.
func (c *conn) speaks(first []byte) {
	if bytes.HasPrefix(first, []byte("PRI * ")) {
		c.ahead = bufio.NewReaderSize(c.Conn, readSize)
		c.join()
	}
}

// join has what is written from now on go out together.
func (c *conn) join() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joins = true
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *conn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	if !c.joins {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	defer c.mu.Unlock()
	for len(p) > 0 {
		for c.err == nil && !c.closed && c.queue != nil && len(*c.queue) >= queueMax {
			c.room.Wait()
		}
		switch {
		case c.err != nil:
			return n, c.err
		case c.closed:
			return n, net.ErrClosed
		}
		if c.queue == nil {
			c.queue = queues.Get().(*[]byte)
		}
		part := p[:min(len(p), queueMax-len(*c.queue))]
		*c.queue = append(*c.queue, part...)
		n, p = n+len(part), p[len(part):]
		if !c.writing {
			c.writing = true
			go c.write()
		}
	}
	return n, nil
}

// write writes until nothing is queued.
func (c *conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.queue != nil && c.err == nil {
		c.mu.Unlock()
		runtime.Gosched() // who is about to write, of other calls, comes first
		c.mu.Lock()
		b := c.queue
		c.queue = nil
		c.room.Broadcast()
		c.mu.Unlock()
		_, err := c.Conn.Write(*b)
		*b = (*b)[:0]
		queues.Put(b)
		c.mu.Lock()
		c.err = err
	}
	c.writing = false
	c.room.Broadcast()
	if c.ended {
		_ = c.Conn.Close() // who has called Close waits no more
	}
}

// SetWriteDeadline leaves what is queued at least the time that Close does: TLS has no
// more be written before it closes, and what it has written may still have to go out.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	queued := c.writing
	c.mu.Unlock()
	if linger := time.Now().Add(lingerTime); queued && !t.IsZero() && t.Before(linger) {
		t = linger
	}
	return c.Conn.SetWriteDeadline(t)
}

// CloseWrite sends what is queued, and then that there is no more.
func (c *conn) CloseWrite() error {
	c.mu.Lock()
	c.closed = true
	for c.writing {
		c.room.Wait()
	}
	err := c.err
	c.mu.Unlock()
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && err == nil {
		return half.CloseWrite()
	}
	return err
}

func (c *conn) Close() error {
	c.mu.Lock()
	again, busy := c.ended, c.writing
	c.closed, c.ended = true, true
	c.room.Broadcast()
	c.mu.Unlock()
	switch {
	case again:
		return net.ErrClosed
	case !busy:
		return c.Conn.Close()
	}
	// write closes it. It may be about to, and then these deadlines are too late.
	_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	_ = c.Conn.SetWriteDeadline(time.Now().Add(lingerTime))
	return nil
}
