//go:build race

package meter

// race is whether the race detector is built in: it makes an engine ten times
// slower, and there is one goroutine here.
const race = true
