package peers

import (
	"testing"
	"time"
)

// The letters are calls: w went well, f failed, F failed but began before the
// room was halved, x nobody could be called.
func TestTheRoomOfAPeerThatHasBeenAway(t *testing.T) {
	const full = 8
	for name, c := range map[string]struct {
		calls string
		want  int // at once of a caller with a full bulkhead
	}{
		"is all of it where it never was away":                  {"fwfwffff", full},
		"is all of it while it is away, for its breaker counts": {"x", full},
		"begins with two":                          {"xw", 2},
		"grows with each call that goes well":      {"xwww", 4},
		"is halved by a failure":                   {"xwwwwwf", 3},
		"is halved once for calls begun together":  {"xwwwwwfFFFF", 3},
		"is never nothing":                         {"xwfffff", 1},
		"grows by one a round after a failure":     {"xwwwwwf" + "www", 4},
		"does not grow within the round":           {"xwwwwwf" + "ww", 3},
		"is full but not without bounds at first":  {"xw" + "wwwwww" + "wwwwwww" + "f", 4},
		"is without bounds after a round that was": {"xw" + "wwwwww" + "wwwwwwww" + "f", full},
		"begins anew when it goes away again":      {"xwwwwww" + "x" + "w", 2},
	} {
		t.Run(name, func(t *testing.T) {
			var r recovery
			for i, call := range c.calls {
				now := time.Duration(i+1) * time.Second
				switch call {
				case 'w':
					r.answered(full)
				case 'f':
					r.failed(now, now)
				case 'F':
					r.failed(r.cut-time.Second, now)
				case 'x':
					r.lose()
				}
			}
			if got := r.bound(full); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}
