package kill

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// peer is what the runs call: it answers everything and remembers under which
// key it was asked what.
type peer struct {
	url string

	mu     sync.Mutex
	total  int                        // guarded by mu
	calls  map[string]string          // guarded by mu: path and body, by idempotency key
	keys   map[string]map[string]bool // guarded by mu: by run and path, the keys
	differ []string                   // guarded by mu: keys under which two things were asked
}

func newPeer() *peer {
	return &peer{calls: map[string]string{}, keys: map[string]map[string]bool{}}
}

func (p *peer) serve() (stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }() // ends with Close
	p.url = "http://" + l.Addr().String()
	return func() { s.Close(); <-ended }, nil
}

// ServeHTTP notes the call before it answers.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // weft was killed while it asked
	}
	p.asked(r.Header.Get("Idempotency-Key"), r.URL.Path, string(body))
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"ok":true}`) // weft may be gone
}

func (p *peer) asked(key, path, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total++
	what := path + " " + body
	if was, again := p.calls[key]; again && was != what {
		p.differ = append(p.differ, key+": "+was+", and then "+what)
	}
	p.calls[key] = what
	run, _, _ := strings.Cut(key, "/")
	if p.keys[run+path] == nil {
		p.keys[run+path] = map[string]bool{}
	}
	p.keys[run+path][key] = true
}

func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// judge counts the calls, those that came again, and those that came again
// otherwise than with their own key and body.
func (p *peer) judge(r *Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Calls, r.Repeated = p.total, p.total-len(p.calls)
	for _, d := range p.differ {
		r.Doubled++
		r.note("key %s", d)
	}
	for call, keys := range p.keys {
		if len(keys) != 1 {
			r.Doubled++
			r.note("call %s came under %d keys: %v", call, len(keys), keys)
		}
	}
}
