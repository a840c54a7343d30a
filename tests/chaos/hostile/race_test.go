//go:build race

package hostile

// The race detector keeps a shadow several times as large as what it watches.
const memoryMax = 1 << 30
