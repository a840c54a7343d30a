package weft_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/weftrun/weft"
)

func TestPlacesAreBounded(t *testing.T) {
	p := weft.NewPlaces("test.Take", "callers wait for runs", "come again later", 3, 2)
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
		left, err := p.Take(c.ns)
		if c.says == "" && err != nil || c.says != "" && (weft.CodeOf(err) != weft.ResourceExhausted || !strings.Contains(err.Error(), c.says)) {
			t.Fatalf("%s: %v", c.what, err)
		}
		if err == nil {
			leave = append(leave, left)
		}
	}
	if taken, refused := p.Count(); taken != 3 || refused != 3 {
		t.Errorf("%d are taken and %d were refused", taken, refused)
	}
	for _, l := range leave {
		l()
	}
	if taken, _ := p.Count(); taken != 0 {
		t.Errorf("%d are taken when all have left", taken)
	}
}

func TestPlacesHoldWhenManyComeAtOnce(t *testing.T) {
	p := weft.NewPlaces("test.Take", "callers wait", "come again later", 10, 4)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for range 200 {
				if leave, err := p.Take(string(rune('a' + i%4))); err == nil {
					if taken, _ := p.Count(); taken > 10 {
						t.Errorf("%d of 10 places are taken", taken)
					}
					leave()
				}
			}
		})
	}
	all.Wait()
	if taken, _ := p.Count(); taken != 0 {
		t.Errorf("%d are taken when all have left", taken)
	}
}
