package simulation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
)

// TestHistory asks porcupine whether what racing clients saw of runs is what
// they would have seen of runs that do one thing after the other.
func TestHistory(t *testing.T) {
	ops, unknown := 0, 0
	for seed := range *seedsMax {
		dir := t.TempDir()
		var all []porcupine.Operation
		synctest.Test(t, func(*testing.T) { all = History(uint64(seed), dir) })
		for _, op := range all {
			ops++
			if op.Output.(answer).unknown {
				unknown++
			}
		}
		if got := porcupine.CheckOperationsTimeout(Life, all, time.Minute); got != porcupine.Ok {
			text := ""
			for _, op := range all {
				text += fmt.Sprintf("%d..%d %s\n", op.Call, op.Return, Life.DescribeOperation(op.Input, op.Output))
			}
			t.Errorf("history %d is %s:\n%s", seed, got, text)
			if *first {
				return
			}
		}
	}
	t.Logf("%d histories, %d operations, %d of which nobody knows", *seedsMax, ops, unknown)
	if unknown == 0 || unknown > ops/4 {
		t.Errorf("%d of %d operations ended in a crash: too few or too many to tell", unknown, ops)
	}
}
