//go:build race

package hostile

import "time"

// Bars of the experiment. The race detector keeps memory of its own for each word, and
// takes its time for it where a stack is copied; and beside other tests nothing is quick.
// A guest that cannot be interrupted is found all the same, for it does not end.
const (
	memoryMax = 1 << 30 // bytes of this process, at its peak
	freezeMax = time.Second
	endMax    = time.Minute // until what runs is ended
)
