package services

import (
	"net/http"
	"time"
)

// Bounds of a connection.
const (
	headersIn  = 64 << 10         // bytes of the headers of a request
	headerTime = 10 * time.Second // for them to come
	idleTime   = 2 * time.Minute  // without a call
	pingTime   = 15 * time.Second // without a word of an h2 connection, and then for its answer
	streamsMax = 1000             // of one h2 connection
)

// Server is a server for a set, and for what is served beside it: HTTP/1.1, and
// h2 with TLS and without. None of its timeouts cuts a stream: headers have to
// come in time, a connection without a call ends, and one of h2 that answers no
// ping has gone. The time of a message is the set's own affair.
func Server(h http.Handler) *http.Server {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           roomy{h},
		Protocols:         protocols,
		MaxHeaderBytes:    headersIn,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax, SendPingTimeout: pingTime, PingTimeout: pingTime},
	}
}

// roomy gives the goroutine of a call its stack at once. That of net/http has a new
// one for each call of h2, and it would be copied three times on the way down to a
// guest, the last time with all of its frames: a quarter of the time of a short call.
type roomy struct{ http.Handler }

func (h roomy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		grow(0)
	}
	h.Handler.ServeHTTP(w, r)
}

// stackRoom are bytes; with the frames above it is a stack of 16 KiB, the largest
// that the runtime keeps at hand.
const stackRoom = 9 << 10

//go:noinline
func grow(n int) byte {
	var room [stackRoom]byte
	return room[n]
}
