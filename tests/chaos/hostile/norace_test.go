//go:build !race

package hostile

const memoryMax = 512 << 20 // bytes of this process, at its peak
