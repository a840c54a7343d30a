package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// talker is the caller of the probe's tally. A message that begins with + is one
// that somebody else sends to the handler count meanwhile.
type talker struct {
	h    *house
	say  []string
	told []string
	disk []string // the counter as it is on the disk when each message passes

	counter string
	headed  string // the counter as it is on the disk when the headers pass
}

func (s *talker) Recv(context.Context) ([]byte, error) {
	for len(s.say) > 0 {
		m := s.say[0]
		s.say = s.say[1:]
		key, other := strings.CutPrefix(m, "+")
		if !other {
			return []byte(m), nil
		}
		if _, err := s.h.Call(s.h.t.Context(), weft.Call{Namespace: ns, Handler: weft.Ref{Name: "count"}, Input: []byte(`{"key":"` + key + `"}`)}); err != nil {
			return nil, err
		}
	}
	return nil, io.EOF
}

func (s *talker) Send(_ context.Context, m []byte) error {
	s.told = append(s.told, string(m))
	s.disk = append(s.disk, s.h.onDisk(s.counter))
	return nil
}

func (s *talker) SendHeaders(context.Context, weft.Header) error {
	s.headed = s.h.onDisk(s.counter)
	return nil
}

// onDisk is a counter of the probe as another connection sees it.
func (h *house) onDisk(key string) (value string) {
	h.t.Helper()
	err := h.db.Query(context.Background(), "select value from state where module='probe' and key=?", []any{"count/" + key},
		func(r store.Row) error { value = string(r.Blob(0)); return nil })
	if err != nil {
		h.t.Error(err)
	}
	return value
}

// talk has the probe's tally hear what is said, and looks at a counter on the disk.
func (h *house) talk(counter string, say ...string) (*talker, error) {
	h.t.Helper()
	handler, err := h.cat.Handler(h.t.Context(), ns, weft.Ref{Name: "tally"})
	if err != nil {
		h.t.Fatal(err)
	}
	s := &talker{h: h, counter: counter, say: say}
	_, err = h.Serve(h.t.Context(), handler, weft.Call{Namespace: ns}, s)
	return s, err
}

func TestWhatAMessageTellsOfIsDurableBeforeItPasses(t *testing.T) {
	h, n := newHouse(t), 0
	for name, c := range map[string]struct {
		say  []string
		told string
		code weft.Code
		left string // of the counter a
	}{
		"each message":                                 {[]string{"a", "", "a", "a", ""}, "1 3", weft.OK, "3"},
		"the end commits the rest":                     {[]string{"a", "", "a"}, "1", weft.OK, "2"},
		"nothing is sent":                              {[]string{"a", "a"}, "", weft.OK, "2"},
		"an error leaves what was told":                {[]string{"a", "", "a", "fail"}, "1", weft.OutOfRange, "1"},
		"an error before any message leaves nothing":   {[]string{"a", "fail"}, "", weft.OutOfRange, ""},
		"a conflict before any message: again":         {[]string{"a", "+a", ""}, "2", weft.OK, "2"},
		"a conflict without a message: again":          {[]string{"a", "+a"}, "", weft.OK, "2"},
		"run again, it sends before it has had all":    {[]string{"?a", "+a", "a"}, "1", weft.OK, "2"},
		"a conflict after a message":                   {[]string{"a", "", "a", "+a", ""}, "1", weft.Aborted, "2"},
		"a conflict after a message, found at the end": {[]string{"a", "", "a", "+a"}, "1", weft.Aborted, "2"},
		"what was read before a message is not held":   {[]string{"a", "", "+a", "b", ""}, "1 1", weft.OK, "2"},
		"a conflict when too much has come to go back": {[]string{strings.Repeat("#", engine.AgainMax/2), "a", strings.Repeat("#", engine.AgainMax/2), "+a"}, "", weft.Aborted, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			counter := fmt.Sprintf("a%d", n)
			n++
			for i, m := range c.say {
				if m == "a" || m == "+a" || m == "?a" {
					c.say[i] = strings.Replace(m, "a", counter, 1)
				}
			}
			s, err := h.talk(counter, c.say...)
			if got := strings.Join(s.told, " "); got != c.told || weft.CodeOf(err) != c.code {
				t.Errorf("told %q, %v", got, err)
			}
			if got := h.onDisk(counter); got != c.left {
				t.Errorf("%q is left", got)
			}
			if name == "each message" && (fmt.Sprint(s.disk) != "[1 3]" || s.headed != "1") {
				t.Errorf("on the disk as they passed: %v, and %q with the headers", s.disk, s.headed)
			}
		})
	}
}

// The disk dies between any two messages: what was told is there afterwards, and
// what could not be made durable was not told.
func TestACrashInTheMiddleOfAStreamTakesBackNothingThatWasTold(t *testing.T) {
	for after := range int64(4) {
		h := newHouse(t)
		var commits atomic.Int64
		h.disk = func(m store.Moment) error {
			if m == store.BeforeCommit && commits.Add(1) > after {
				return errors.New("no disk")
			}
			return nil
		}
		h.restart()
		s, err := h.talk("a", "a", "", "a", "", "a", "")
		if weft.CodeOf(err) == weft.OK && after < 3 || int64(len(s.told)) != min(after, 3) {
			t.Errorf("a disk that dies after %d commits: told %v, %v", after, s.told, err)
		}
		_ = h.Close(t.Context()) // the disk is gone
		_ = h.db.Close()
		if err := h.rt.Close(t.Context()); err != nil {
			t.Error(err)
		}
		h.disk = nil
		h.open()
		last := ""
		if len(s.told) > 0 {
			last = s.told[len(s.told)-1]
		}
		if got := h.onDisk("a"); got != last {
			t.Errorf("%q is left of %v", got, s.told)
		}
	}
}
