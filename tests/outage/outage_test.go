package outage_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/weftrun/weft/tests/outage"
)

const runs = 1000

// An outage of ten minutes: attempts that burn at an open breaker kill nearly
// every run, runs that park all complete, with few calls more than one each.
func TestParkingAgainstBurning(t *testing.T) {
	live := func(burn bool) (r outage.Result) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var err error
			if r, err = outage.Run(t.Context(), dir, runs, burn); err != nil {
				t.Fatal(err)
			}
		})
		return r
	}
	burnt := live(true)
	fmt.Printf("burning: %+v\n", burnt)
	if burnt.Dead < runs*9/10 {
		t.Errorf("burning attempts killed only %d runs: the outage is none", burnt.Dead)
	}
	parked := live(false)
	fmt.Printf("parked: %+v\n", parked)
	fmt.Printf("parked_dead_runs %d\nparked_calls %d\n", parked.Dead, parked.Calls)
	if parked.Dead != 0 || parked.Completed != runs || parked.Calls > 1200 {
		t.Errorf("parking: %+v", parked)
	}
}
