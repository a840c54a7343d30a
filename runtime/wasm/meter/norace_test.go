//go:build !race

package meter

const race = false
