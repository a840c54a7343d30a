package main

import (
	"context"
)

const (
	streamsAll  = 10_000
	streamsEach = 1_000 // of one connection
)

func (b *bench) streams(context.Context) error { return nil }
