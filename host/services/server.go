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
		Handler:           h,
		Protocols:         protocols,
		MaxHeaderBytes:    headersIn,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streamsMax, SendPingTimeout: pingTime, PingTimeout: pingTime},
	}
}
