package catalog

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// preloads is how many modules are loaded at once before anybody has called them.
const preloads = 2

// Preload loads the modules whose handlers are likely to be called, so that the
// first call after a start need not wait: of each the version that is called where
// none is named, and those that the newest version of a workflow calls; and the
// engine of scripts, where one of those has a script. A module that cannot be
// loaded is logged. Preload returns when all is done, or when ctx has ended and
// what was in progress is done.
func (c *Catalog) Preload(ctx context.Context) {
	begun, done := time.Now(), atomic.Int64{}
	var all sync.WaitGroup
	slots := make(chan struct{}, preloads)
	for _, m := range c.live() {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		all.Go(func() {
			defer func() { <-slots }()
			if c.preload(ctx, m) {
				done.Add(1)
			}
		})
	}
	if c.scripted() {
		all.Go(func() {
			if err := c.scripts.Load(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("the engine of scripts is not loaded", "error", err)
			}
		})
	}
	all.Wait()
	if n := done.Load(); n > 0 {
		c.log.Info("modules are loaded", "modules", n, "took", time.Since(begun).Round(time.Millisecond))
	}
}

func (c *Catalog) preload(ctx context.Context, m *Module) bool {
	_, err := c.load(ctx, m)
	if err != nil && ctx.Err() == nil {
		c.log.Warn("module not loaded", "module", m.Name, "version", m.Version, "error", err)
	}
	return err == nil
}

// live lists the modules whose handlers are likely to be called, each once.
func (c *Catalog) live() (all []*Module) {
	known := map[*Module]bool{}
	add := func(m *Module) {
		if !known[m] {
			known[m] = true
			all = append(all, m)
		}
	}
	for ns, s := range c.now.Load().spaces {
		for _, list := range s.modules {
			if m, ok := current(list, ""); ok {
				add(m)
			}
		}
		for _, list := range s.workflows {
			w, ok := newest(list, "", (*workflow).version)
			if !ok {
				continue
			}
			for _, use := range w.def.Handlers() {
				if info, err := c.find(ns, use.Ref); err == nil {
					add(info.Module)
				}
			}
		}
	}
	return all
}
