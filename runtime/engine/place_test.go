package engine_test

import (
	"strings"
	"testing"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
)

func TestPlacesToWaitAreBounded(t *testing.T) {
	e := engine.New(newHouse(t).db, nil, nil, engine.Options{Waiters: 3, WaitersOf: 2})
	var leave []func()
	for _, c := range []struct {
		what, ns string
		says     string // of who is refused
	}{
		{"the first", "a", ""},
		{"the second", "a", ""},
		{"one too many of a namespace", "a", "2 callers wait for runs of namespace a, and no more may; come again later"},
		{"one of another", "b", ""},
		{"one too many of the host", "b", "3 callers wait for runs of this host, and no more may"},
		{"leaves", "", ""},
		{"one in its place", "c", ""},
		{"one too many again", "a", "3 callers wait for runs of this host"},
	} {
		if c.ns == "" {
			leave[0]()
			leave = leave[1:]
			continue
		}
		left, err := e.Place(c.ns)
		if c.says == "" && err != nil || c.says != "" && (weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), c.says)) {
			t.Fatalf("%s: %v", c.what, err)
		}
		if err == nil {
			leave = append(leave, left)
		}
	}
	if s := e.Stats(); s.Waiters != 3 || s.Refused != 3 {
		t.Errorf("%d wait and %d were refused", s.Waiters, s.Refused)
	}
	for _, l := range leave {
		l()
	}
	if s := e.Stats(); s.Waiters != 0 {
		t.Errorf("%d wait when all have left", s.Waiters)
	}
}
