//go:build !race

package hostile

import "time"

// Bars of the experiment.
const (
	memoryMax = 512 << 20 // bytes of this process, at its peak
	freezeMax = 50 * time.Millisecond
	endMax    = 5 * time.Second // until what runs is ended
)
