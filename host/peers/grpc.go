package peers

import (
	"encoding/binary"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/weftrun/weft"
)

// gRPC over HTTP/2, one message each way.
// Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

// framed is a message as it is sent: not compressed, and its length before it.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// askGRPC makes q a call that ends at that time.
func askGRPC(q *http.Request, end time.Time) {
	q.Header.Set("Content-Type", "application/grpc+proto")
	q.Header.Set("Te", "trailers")
	if !end.IsZero() {
		q.Header.Set("Grpc-Timeout", strconv.FormatInt(max(1, time.Until(end).Milliseconds()), 10)+"m")
	}
}

// answerGRPC is the message of an answer, or the error that it is.
func answerGRPC(res *http.Response, body []byte) (weft.Response, error) {
	const op = "peers.Gate.Do"
	if res.StatusCode != http.StatusOK {
		return weft.Response{}, answered(res.StatusCode, nil)
	}
	said := res.Trailer
	if said.Get("Grpc-Status") == "" {
		said = res.Header // an answer without a message
	}
	status, err := strconv.ParseUint(said.Get("Grpc-Status"), 10, 32)
	switch code := weft.Code(status); {
	case err != nil:
		return weft.Response{}, weft.Errorf(weft.Internal, op, "%s does not answer in gRPC", res.Request.URL.Host)
	case code > weft.Unauthenticated:
		return weft.Response{}, weft.Errorf(weft.Unknown, op, "gRPC status %d", status)
	case code != weft.OK:
		message := said.Get("Grpc-Message")
		if plain, err := url.PathUnescape(message); err == nil {
			message = plain
		}
		return weft.Response{}, weft.Errorf(code, op, "%s", message)
	}
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return weft.Response{}, weft.Errorf(weft.Internal, op, "%s does not answer with one message that is not compressed", res.Request.URL.Host)
	}
	return weft.Response{Status: http.StatusOK, Headers: map[string]string{}, Body: body[5:]}, nil
}
