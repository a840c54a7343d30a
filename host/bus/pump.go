package bus

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/weftrun/weft/store"
)

// Bounds of what one group holds in memory.
const (
	Window      = 1_024    // messages that are ready, out, resting or held back
	windowBytes = 16 << 20 // of their data
	lanePage    = 64       // messages of one key that are taken from the table at once
	saveEvery   = 50 * time.Millisecond
	page        = 256
	idle        = time.Second // how often a group looks for redeliveries although nobody told it
)

// pump puts the messages of one group in order. It runs on one goroutine,
// which alone touches its fields.
//
// A message of the window is ready, out, resting until its redelivery is due,
// or held back: by the one before it in its lane, or by its twin that is out. When the window is full and
// nothing in it is ready, all but what is out is shelved: it goes to the
// redelivery table, and the log is read on. So neither a message that nobody
// settles nor a key that always fails holds up the rest of a group.
type pump struct {
	g     *group
	read  int64 // all up to here has been looked at
	saved int64 // the cursor in the table
	top   int64 // the newest that is done
	aside int64 // up to here rows may be known that the log shows again

	open    map[int64]*delivery // the window, by offset
	bytes   int
	outside int                  // of open: out
	names   map[name][]*delivery // of those that are out; who waits for them
	ready   []*delivery
	resting []*delivery // by due
	lanes   map[string]*lane
	shelf   []*lane // whose next is in the table, by due

	more     bool  // the log may hold more
	scanAt   int64 // when to look for rows without a key
	savedAt  int64
	pausedTo int64 // after an error
	saving   store.Ticket
}

func newPump(g *group) *pump {
	return &pump{g: g, open: map[int64]*delivery{}, names: map[name][]*delivery{}, lanes: map[string]*lane{}, more: true}
}

// begin finds where the group is, and what it has put off.
func (p *pump) begin(ctx context.Context) error {
	db, topic, name := p.g.b.db, p.g.topic, p.g.name
	at, ok, err := db.Cursor(ctx, topic, name)
	if err != nil {
		return err
	}
	if !ok {
		if p.g.rules.fromNow {
			if at, err = db.Head(ctx, topic); err != nil {
				return err
			}
		}
		if err := db.Update(ctx, func(tx *store.Tx) error { return tx.SetCursor(topic, name, at) }); err != nil {
			return err
		}
	}
	p.read, p.saved, p.top = at, at, at
	if err := db.Aside(ctx, topic, name, at, math.MaxInt64, func(offset int64) { p.aside = max(p.aside, offset) }); err != nil {
		return err
	}
	return db.ShelvedKeys(ctx, topic, name, func(key string, rows int, due int64) {
		l := &lane{key: key, rows: rows, due: due}
		p.lanes[key] = l
		p.shelve(l)
	})
}

// run serves the group until ctx ends. Whoever serves has left by then.
func (p *pump) run(ctx context.Context) {
	wake, unlisten := p.g.b.listen(p.g.topic)
	defer unlisten()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		p.g.b.pace(ctx, p.g.name, 0)
		if err := p.turn(ctx); err != nil && ctx.Err() == nil {
			p.g.b.log.Error("group stopped for a moment", "topic", p.g.topic, "group", p.g.name, "error", err)
			p.pausedTo = time.Now().Add(idle).UnixMilli()
		}
		if p.atHand(wake) {
			continue
		}
		var out chan *delivery
		first := p.first()
		if first != nil {
			out = p.g.out
		}
		timer.Reset(p.nap())
		select {
		case out <- first:
			p.hand(first)
		case r := <-p.g.settled:
			p.settle(r)
		case <-wake:
			p.more = true
		case <-p.g.kick:
			p.scanAt = 0
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	p.end()
}

// atHand does what there is to do without a wait, each kind once and in an order
// that chance has no part in. It reports whether there was anything.
func (p *pump) atHand(wake <-chan struct{}) (any bool) {
	select {
	case <-wake:
		p.more, any = true, true
	default:
	}
	select {
	case r := <-p.g.settled:
		p.settle(r)
		any = true
	default:
	}
	if d := p.first(); d != nil {
		select {
		case p.g.out <- d:
			p.hand(d)
			any = true
		default:
		}
	}
	return any
}

// hand notes that the first of what is ready has gone out.
func (p *pump) hand(d *delivery) {
	p.ready, d.out = p.ready[1:], true
	p.outside++
	p.names[nameOf(d.m)] = nil
}

// name is what an event is known by.
type name struct{ source, id string }

func nameOf(m store.Message) name {
	return name{m.Meta[store.MetaPrefix+"source"], m.Meta[store.MetaPrefix+"id"]}
}

// first is what goes out next. An event that is in the log twice waits while
// the other is out, for the inbox does not know that one yet.
func (p *pump) first() *delivery {
	for len(p.ready) > 0 {
		d := p.ready[0]
		waiting, out := p.names[nameOf(d.m)]
		if !p.g.rules.once || !out {
			return d
		}
		p.ready = p.ready[1:]
		p.names[nameOf(d.m)] = append(waiting, d)
	}
	return nil
}

// turn does all that is due.
func (p *pump) turn(ctx context.Context) error {
	now := time.Now().UnixMilli()
	if now < p.pausedTo {
		return nil
	}
	for len(p.resting) > 0 && p.resting[0].due <= now {
		p.ready = append(p.ready, p.resting[0])
		p.resting = p.resting[1:]
	}
	for len(p.shelf) > 0 && p.shelf[0].due <= now && p.room() {
		l := p.shelf[0]
		p.shelf, l.shelved = p.shelf[1:], false
		if err := p.load(ctx, l); err != nil {
			p.shelve(l)
			return err
		}
	}
	if now >= p.scanAt && p.room() {
		if err := p.scan(ctx, now); err != nil {
			return err
		}
	}
	if p.reads() {
		if err := p.take(ctx, now); err != nil {
			return err
		}
	}
	if !p.room() && len(p.ready) == 0 && len(p.open) > p.outside && !p.g.rules.ordered {
		if err := p.overflow(ctx); err != nil {
			return err
		}
	}
	return p.save(ctx, now)
}

func (p *pump) room() bool { return len(p.open) < Window && p.bytes < windowBytes }

// reads reports whether to go on reading the log. An ordered group first takes
// back what it has shelved.
func (p *pump) reads() bool {
	if l := p.lanes[wholeTopic]; p.g.rules.ordered && l != nil && l.rows > 0 {
		return false
	}
	return p.more && p.room() && len(p.ready) <= page
}

// take reads a page of the log.
func (p *pump) take(ctx context.Context, now int64) error {
	list, err := p.g.b.db.Messages(ctx, p.g.topic, p.read, page)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		p.more = false
		return nil
	}
	known := map[int64]bool{}
	if list[0].Offset <= p.aside {
		if err := p.g.b.db.Aside(ctx, p.g.topic, p.g.name, p.read, list[len(list)-1].Offset, func(offset int64) { known[offset] = true }); err != nil {
			return err
		}
	}
	var off []*delivery // what does not go to the window
	for _, m := range list {
		if known[m.Offset] || p.g.wants != nil && !p.g.wants(m) {
			continue
		}
		d := &delivery{g: p.g, m: m, key: p.key(m)}
		switch l := p.lanes[d.key]; {
		case m.Due > now:
			d.loose, d.due = true, m.Due
			p.scanAt = min(p.scanAt, m.Due)
			off = append(off, d)
		case l != nil && l.rows > 0:
			l.rows++
			off = append(off, d)
		default:
			p.admit(d)
		}
	}
	p.read = list[len(list)-1].Offset
	return p.putOff(ctx, off)
}

// putOff makes redelivery rows.
func (p *pump) putOff(ctx context.Context, list []*delivery) error {
	if len(list) == 0 {
		return nil
	}
	return p.g.b.db.Update(ctx, func(tx *store.Tx) error {
		for _, d := range list {
			if err := tx.Shelve(d.row()); err != nil {
				return err
			}
		}
		return nil
	})
}

// admit takes a delivery into the window.
func (p *pump) admit(d *delivery) {
	p.open[d.m.Offset] = d
	p.bytes += len(d.m.Data)
	if d.key == "" {
		p.ripen(d)
		return
	}
	l := p.lanes[d.key]
	if l == nil {
		l = &lane{key: d.key}
		p.lanes[d.key] = l
	}
	if l.queue = append(l.queue, d); len(l.queue) == 1 {
		p.ripen(d)
	}
}

// ripen makes a delivery ready, when it is due.
func (p *pump) ripen(d *delivery) {
	if d.due <= time.Now().UnixMilli() {
		p.ready = append(p.ready, d)
		return
	}
	i, _ := slices.BinarySearchFunc(p.resting, d.due+1, func(o *delivery, due int64) int { return cmp.Compare(o.due, due) })
	p.resting = slices.Insert(p.resting, i, d)
}

// forget takes a delivery out of the window.
func (p *pump) forget(d *delivery) {
	delete(p.open, d.m.Offset)
	p.bytes -= len(d.m.Data)
}

// settle notes what became of a delivery.
func (p *pump) settle(r result) {
	d := r.d
	d.out = false
	p.outside--
	p.ready = append(p.ready, p.names[nameOf(d.m)]...)
	delete(p.names, nameOf(d.m))
	switch r.kind {
	case back:
		p.ready = slices.Insert(p.ready, 0, d)
		return
	case failed:
		d.attempts++
		d.due, d.kept = r.due, d.kept || !r.unnoted // the cursor waits for what has no row
		p.ripen(d)
		return
	}
	p.forget(d)
	p.top = max(p.top, d.m.Offset)
	if d.late { // whoever served it knew of no row
		if err := p.g.b.db.Update(context.Background(), func(tx *store.Tx) error { return tx.Delivered(p.g.topic, p.g.name, d.m.Offset) }); err != nil {
			p.g.b.log.Error("redelivery not removed", "topic", p.g.topic, "group", p.g.name, "offset", d.m.Offset, "error", err)
		}
	}
	if d.key != "" {
		p.advance(d)
	}
}

// scan takes rows without a key that are due into the window.
func (p *pump) scan(ctx context.Context, now int64) error {
	rows, err := p.g.b.db.Redeliveries(ctx, p.g.topic, p.g.name, now, len(p.open)+page) // those of the window may be among them
	if err != nil {
		return err
	}
	next, err := p.g.b.db.NextRedelivery(ctx, p.g.topic, p.g.name, now)
	if err != nil {
		return err
	}
	p.scanAt = min(next, now+idle.Milliseconds())
	for _, r := range rows {
		if p.open[r.Offset] != nil {
			continue
		}
		if !p.room() {
			p.scanAt = 0
			return nil
		}
		d, err := p.fetch(ctx, r)
		if err != nil {
			return err
		}
		if d != nil {
			d.loose = true
			d.key = p.key(d.m)
			p.admit(d)
		}
	}
	return nil
}

// fetch finds the message of a row; a row whose message was trimmed is removed.
func (p *pump) fetch(ctx context.Context, r store.Redelivery) (*delivery, error) {
	m, ok, err := p.g.b.db.Message(ctx, r.Offset)
	if err != nil {
		return nil, err
	}
	if !ok {
		p.g.b.log.Warn("event lost: it was trimmed before its redelivery", "topic", p.g.topic, "group", p.g.name, "offset", r.Offset)
		return nil, p.g.b.db.Update(ctx, func(tx *store.Tx) error { return tx.Delivered(p.g.topic, p.g.name, r.Offset) })
	}
	return &delivery{g: p.g, m: m, key: r.Key, attempts: r.Attempts, kept: true, due: r.Due}, nil
}

// overflow makes room: all of the window gets a row, and what is not out leaves it.
func (p *pump) overflow(ctx context.Context) error {
	if err := p.keep(ctx, func(*delivery) bool { return true }); err != nil {
		return err
	}
	p.g.b.log.Warn("group holds more than its window, the rest of it is shelved", "topic", p.g.topic, "group", p.g.name, "window", Window, "out", p.outside)
	soon := time.Now().Add(idle).UnixMilli() // at once they would only fill the window again
	for _, d := range p.open {
		if d.out {
			continue
		}
		p.forget(d)
		if d.key == "" || d.loose {
			p.scanAt = min(p.scanAt, max(d.due, soon))
		}
	}
	p.resting = nil
	for n := range p.names {
		p.names[n] = nil
	}
	for _, l := range p.lanes {
		p.clear(l)
	}
	return nil
}

// keep gives rows to those of the window that have none.
func (p *pump) keep(ctx context.Context, which func(*delivery) bool) error {
	var list []*delivery
	for _, d := range p.open {
		if !d.kept && !d.late && which(d) {
			list = append(list, d)
		}
	}
	if err := p.putOff(ctx, list); err != nil {
		return err
	}
	for _, d := range list {
		d.late = true
	}
	return nil
}

// low is how far the cursor may go: below all that has no row.
func (p *pump) low() int64 {
	low := p.read
	for offset, d := range p.open {
		if !d.kept && !d.late {
			low = min(low, offset-1)
		}
	}
	return low
}

// save moves the cursor, now and then and without waiting. What is between the
// cursor and a crash is known by the inbox. What is out for longer than a
// window gets a row, or the cursor would wait for it.
func (p *pump) save(ctx context.Context, now int64) error {
	if p.saved == p.read || now < p.savedAt+saveEvery.Milliseconds() || !p.saving.Done() {
		return nil
	}
	p.savedAt = now
	low := p.low()
	if p.read-low > Window {
		if err := p.keep(ctx, func(d *delivery) bool { return d.out && d.m.Offset <= p.read-Window }); err != nil {
			return err
		}
		low = p.low()
	}
	if low > p.saved {
		p.saved = low
		p.saving = p.g.b.db.Submit(func(tx *store.Tx) error { return tx.SetCursor(p.g.topic, p.g.name, low) })
	}
	return nil
}

// nap is how long to wait when nobody wakes the pump.
func (p *pump) nap() time.Duration {
	now := time.Now().UnixMilli()
	at := now + idle.Milliseconds()
	if p.saved != p.read {
		at = min(at, p.savedAt+saveEvery.Milliseconds())
	}
	if len(p.resting) > 0 {
		at = min(at, p.resting[0].due)
	}
	if p.room() {
		at = min(at, p.scanAt)
		if len(p.shelf) > 0 {
			at = min(at, p.shelf[0].due)
		}
		if p.reads() {
			at = now
		}
	}
	return time.Duration(max(at, p.pausedTo)-now) * time.Millisecond
}

// end saves the cursor for good. What is not done gets a row when something
// behind it is, so that nothing comes twice.
func (p *pump) end() {
	low := p.read
	var list []*delivery
	for offset, d := range p.open {
		switch {
		case d.kept || d.late:
		case offset < p.top:
			list = append(list, d)
		default:
			low = min(low, offset-1)
		}
	}
	ctx := context.Background()
	err := p.putOff(ctx, list)
	if err == nil {
		err = p.g.b.db.Update(ctx, func(tx *store.Tx) error {
			if p.g.rules.reader {
				return tx.DropGroup(p.g.topic, p.g.name)
			}
			return tx.SetCursor(p.g.topic, p.g.name, low)
		})
	}
	if err != nil {
		p.g.b.log.Warn("cursor not saved, some events will come again", "topic", p.g.topic, "group", p.g.name, "error", err)
	}
}
