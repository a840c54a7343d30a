package engine

import "github.com/weftrun/weft"

// newPlaces are those of callers who wait for a run.
func newPlaces(o Options) *weft.Places {
	return weft.NewPlaces("engine.Engine.Place", "callers wait for runs", "come again later, or do not wait: with Prefer: respond-async the id of the run is the answer", o.Waiters, o.WaitersOf)
}

// Place is that of a caller who is going to wait for a run: there are
// Options.Waiters. It is taken before the run is started, so that whoever is
// refused has started nothing. leave gives it back, once.
func (e *Engine) Place(ns string) (leave func(), err error) { return e.places.Take(ns) }
