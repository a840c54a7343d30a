package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

// How many streams are held at once, and how many of one connection.
const (
	streamsAll  = 10_000
	streamsEach = 1_000
)

// streams holds streams that wait for a message in a guest each, and says what the
// server has for it, of each guest that fits.
func (b *bench) streams(context.Context) error {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Printf("%d processors, load average %s\n| guest | streams | opened in | RSS before | RSS | a stream | a message to all, and back |\n|---|---|---|---|---|---|---|\n", runtime.NumCPU(), load)
	for _, r := range b.rivals {
		if r.kind != "weft" {
			continue
		}
		all := streamsAll
		if r.name != guestInC {
			all /= 100 // a hundredth takes more than half of what all others do
		}
		h, err := r.hold(all)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Printf("| %s | %d | %.1f s | %d MiB | %d MiB | %.1f KiB | %.2f s |\n", r.name, all, h.opened.Seconds(), h.before>>20, h.rss>>20, float64(h.rss-h.before)/float64(all)/1024, h.round.Seconds())
	}
	return nil
}

// held is what so many streams take.
type held struct {
	opened, round time.Duration
	before, rss   int64 // bytes of the server
}

func (r *rival) hold(all int) (h held, err error) {
	if _, h.before, err = r.used(); err != nil {
		return h, err
	}
	c := cell{name: "streams", h2: true, codec: "grpc"}
	conns := make([]*h2conn, (all+streamsEach-1)/streamsEach)
	begun := time.Now()
	for i := range conns {
		if conns[i], err = c.dialHTTP2(r.address, hold); err != nil {
			return h, err
		}
		defer conns[i].conn.Close()
	}
	if err := together(conns, func(c *h2conn) error {
		for range min(all, streamsEach) {
			if err := c.open(false); err != nil {
				return err
			}
		}
		return c.answers()
	}); err != nil {
		return h, err
	}
	h.opened = time.Since(begun)
	begun = time.Now()
	if err := together(conns, func(c *h2conn) error {
		for id := range c.streams {
			if err := c.frames.WriteData(id, false, c.body); err != nil {
				return err
			}
		}
		return c.answers()
	}); err != nil {
		return h, err
	}
	h.round = time.Since(begun)
	if _, h.rss, err = r.used(); err != nil {
		return h, err
	}
	return h, together(conns, func(c *h2conn) error {
		for id := range c.streams {
			if err := c.frames.WriteData(id, true, nil); err != nil {
				return err
			}
		}
		for len(c.streams) > 0 {
			if _, err := c.ahead(true); err != nil {
				return err
			}
		}
		return nil
	})
}

func together(conns []*h2conn, do func(*h2conn) error) error {
	errs := make([]error, len(conns))
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { errs[i] = do(c) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// answers waits until each stream has had one message, and takes it.
func (h *h2conn) answers() error {
	for range len(h.streams) {
		s, err := h.ahead(false)
		if err != nil {
			return err
		}
		if err := h.m.check(h.cell, s.body); err != nil {
			return err
		}
		s.body = nil
	}
	return nil
}
