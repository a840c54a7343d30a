package engine

import (
	"time"

	"github.com/weftrun/weft/store"
)

// retainPage bounds the runs that are forgotten in one commit.
const retainPage = 100

// retain forgets runs that ended longer ago than Options.Retain, and gives the
// space of all that is forgotten back.
func (e *Engine) retain() {
	tick := time.NewTicker(e.opts.RetainEvery)
	defer tick.Stop()
	for {
		for _, status := range []Status{Completed, Faulted, Cancelled} {
			if e.opts.Retain < 0 {
				break
			}
			if err := e.forget(status, e.now().Add(-e.opts.Retain)); err != nil && e.life.Err() == nil {
				e.log.Error("old runs not forgotten, will try again", "error", err)
			}
		}
		if err := e.db.Shrink(e.life); err != nil && e.life.Err() == nil {
			e.log.Error("free pages not given back, will try again", "error", err)
		}
		select {
		case <-e.life.Done():
			return
		case <-tick.C:
		}
	}
}

// forget removes the runs of a status that ended before a time. A run's id
// begins with when it started, so those that started later are not looked at.
func (e *Engine) forget(status Status, ended time.Time) error {
	after := store.RunID{}
	for e.life.Err() == nil {
		ids, err := e.db.EndedRuns(e.life, int(status), ended.UnixMilli(), firstID(ended), after, retainPage)
		if err != nil || len(ids) == 0 {
			return err
		}
		after = ids[len(ids)-1]
		err = e.db.Update(e.life, func(tx *store.Tx) error {
			for _, id := range ids {
				if err := tx.DeleteRun(id.ID, inboxOf(id.ID)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
