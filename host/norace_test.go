//go:build !race

package host_test

import "testing"

func checks(*testing.T) {}
