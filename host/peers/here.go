package peers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/weftrun/weft"
)

// hereURL stands for the address of this host, which is called in process.
const hereURL = "http://here"

// here is a service of this host as a transport: no byte of a call leaves the
// process, and all else is as with an instance elsewhere.
type here struct{ http.Handler }

func (h here) RoundTrip(q *http.Request) (res *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil { // as a server does, which goes on without the call
			err = weft.Errorf(weft.Internal, "peers.Gate.Do", "the call panicked: %v", p)
		}
	}()
	w := &answer{header: http.Header{}}
	h.ServeHTTP(w, q)
	w.WriteHeader(http.StatusOK)
	return &http.Response{StatusCode: w.status, Status: fmt.Sprint(w.status), Proto: q.Proto, ProtoMajor: q.ProtoMajor, ProtoMinor: q.ProtoMinor,
		Header: w.header, Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()), Request: q}, nil
}

// answer is what a handler writes. How much that is bounds the handler.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(p)
}

// takers are the instances of a service that take calls, this host among them where
// it has the service.
func (g *Gate) takers(ns, service string) []*lease {
	list := g.service(ns, service).active()
	if g.opts.Here(ns, service) == nil || slices.ContainsFunc(list, func(l *lease) bool { return l.ID == g.opts.Self }) {
		return list
	}
	return append([]*lease{{Instance: Instance{ID: g.opts.Self}}}, list...)
}
