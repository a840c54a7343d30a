package bus

import (
	"cmp"
	"context"
	"slices"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// lane is the messages of one key: the first is ready, out or resting, the
// others wait.
type lane struct {
	key     string
	queue   []*delivery
	rows    int   // behind them, in the table
	last    int64 // rows up to here are not behind them
	due     int64 // of the first row, while the lane is on the shelf
	shelved bool  // on the shelf
}

// wholeTopic is the key of every message of an ordered group.
const wholeTopic = "*"

// key is what the messages of the group that wait for each other share; empty
// for one that waits for none.
func (p *pump) key(m store.Message) string {
	if p.g.rules.ordered {
		return wholeTopic
	}
	return m.Meta[store.MetaPrefix+weft.ExtPartitionKey]
}

// shelve has a lane wait until its first row is due.
func (p *pump) shelve(l *lane) {
	if l.shelved {
		return
	}
	l.shelved = true
	i, _ := slices.BinarySearchFunc(p.shelf, l.due+1, func(o *lane, due int64) int { return cmp.Compare(o.due, due) })
	p.shelf = slices.Insert(p.shelf, i, l)
}

// advance has the next in the lane of a delivery that is done be ready.
func (p *pump) advance(d *delivery) {
	l := p.lanes[d.key]
	l.queue = l.queue[1:]
	switch {
	case len(l.queue) > 0:
		p.ripen(l.queue[0])
	case l.rows > 0:
		l.due = 0
		p.shelve(l)
	default:
		delete(p.lanes, d.key)
	}
}

// load takes the next rows of a lane into the window.
func (p *pump) load(ctx context.Context, l *lane) error {
	rows, err := p.g.b.db.Shelved(ctx, p.g.topic, p.g.name, l.key, l.last, max(1, min(lanePage, Window-len(p.open))))
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		l.rows = 0
	}
	for _, r := range rows {
		d, err := p.fetch(ctx, r)
		if err != nil {
			return err
		}
		l.rows--
		l.last = r.Offset
		if d != nil {
			p.admit(d)
		}
	}
	if len(l.queue) == 0 {
		if l.rows > 0 {
			p.shelve(l)
		} else {
			delete(p.lanes, l.key)
		}
	}
	return nil
}

// clear leaves nothing in a lane but its first, and that only when it is out.
func (p *pump) clear(l *lane) {
	if len(l.queue) == 0 {
		return // on the shelf already
	}
	head, rest := l.queue[0], l.queue
	if head.out {
		rest = l.queue[1:]
		if !head.loose {
			l.last = head.m.Offset
		}
	}
	if !l.shelved {
		l.due = head.due
	}
	first := true
	for _, d := range rest {
		if d.loose { // the scan finds it again
			continue
		}
		if first {
			l.last, first = d.m.Offset-1, false
		}
		l.rows++
	}
	l.queue = l.queue[:len(l.queue)-len(rest)]
	switch {
	case head.out:
	case l.rows > 0:
		p.shelve(l)
	default:
		delete(p.lanes, l.key)
	}
}
