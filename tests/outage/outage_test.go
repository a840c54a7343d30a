package outage_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftrun/weft/tests/outage"
)

const runs = 1000

// An outage of ten minutes, with the defaults: attempts that burn at an open
// breaker kill nearly every run, runs that park all complete, with few calls
// more than one each, also where the peer does not bear a full bulkhead.
func TestParkingAgainstBurning(t *testing.T) {
	live := func(t *testing.T, p outage.Peer, burn bool) (r outage.Result) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var err error
			if r, err = outage.Run(t.Context(), dir, runs, p, burn); err != nil {
				t.Fatal(err)
			}
		})
		return r
	}
	usual := outage.Peer{Answer: 50 * time.Millisecond, Room: 50}
	burnt := live(t, usual, true)
	fmt.Printf("burning: %+v\n", burnt)
	if burnt.Dead < runs*9/10 {
		t.Errorf("burning attempts killed only %d runs: the outage is none", burnt.Dead)
	}
	for _, c := range []struct {
		name string
		peer outage.Peer
	}{
		{"one that bears a little less than a bulkhead", usual},
		{"one that bears few", outage.Peer{Answer: 50 * time.Millisecond, Room: 5}},
		{"one that is slow, and bears few", outage.Peer{Answer: time.Second, Room: 5}},
		{"one that is slow, and bears all", outage.Peer{Answer: 1900 * time.Millisecond, Room: runs}},
	} {
		t.Run(c.name, func(t *testing.T) {
			parked := live(t, c.peer, false)
			fmt.Printf("parked: %+v\n", parked)
			if c.peer == usual {
				fmt.Printf("parked_dead_runs %d\nparked_calls %d\n", parked.Dead, parked.Calls)
			}
			if parked.Dead != 0 || parked.Completed != runs || parked.Calls > 1200 {
				t.Errorf("parking: %+v", parked)
			}
		})
	}
}
