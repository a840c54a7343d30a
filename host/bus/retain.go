package bus

import (
	"context"
	"strings"
	"time"

	"github.com/weftrun/weft/store"
)

// Bounds of what is kept, unless Options say otherwise.
const (
	RetainAge   = 7 * 24 * time.Hour
	RetainBytes = 4 << 30
	retainEvery = time.Minute

	// hardFactor times the age or the size is where even that goes which a group
	// has not had.
	hardFactor = 2

	trimRows    = 500     // in one transaction
	trimBytes   = 8 << 20 // in one transaction
	measureRows = 10_000  // at once, when the log is measured
)

// Retain trims the log, the inboxes, the dead letters and the changes of the
// registry now and then, until ctx ends. An event stays while a group has not
// had it, waits for its redelivery or keeps it as a dead letter; beyond twice
// the age or size it goes in any case, and the log of the host says so. One who
// embeds the bus runs this beside it.
func (b *Bus) Retain(ctx context.Context) {
	r := retainer{b: b}
	b.dropReaders(ctx)
	tick := time.NewTicker(b.opts.RetainEvery)
	defer tick.Stop()
	for {
		if err := r.pass(ctx, time.Now()); err != nil && ctx.Err() == nil {
			b.log.Error("retention stopped for a moment", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// dropReaders forgets groups that nobody named and a killed process left.
func (b *Bus) dropReaders(ctx context.Context) {
	var left []groupKey
	err := b.db.Groups(ctx, func(topic, name string, _ int64) {
		if strings.HasPrefix(name, readerPrefix) {
			left = append(left, groupKey{topic, name})
		}
	})
	for _, k := range left {
		b.mu.Lock()
		served := b.groups[k] != nil
		b.mu.Unlock()
		if !served && err == nil {
			err = b.db.Update(ctx, func(tx *store.Tx) error { return tx.DropGroup(k.topic, k.name) })
		}
	}
	if err != nil && ctx.Err() == nil {
		b.log.Error("readers of before not forgotten", "error", err)
	}
}

// retainer knows the size of the log, so that it is measured once.
type retainer struct {
	b     *Bus
	bytes int64 // of the log up to seen
	seen  int64
}

func (r *retainer) pass(ctx context.Context, now time.Time) error {
	if err := r.measure(ctx); err != nil {
		return err
	}
	before := now.Add(-r.b.opts.RetainAge).UnixMilli()
	if err := r.rows(ctx, "dead letters", before, (*store.Tx).TrimDeadLetters); err != nil { // first, for they hold events
		return err
	}
	horizon, err := r.log(ctx, now)
	if err != nil {
		return err
	}
	if err := r.rows(ctx, "inbox", max(before, horizon), (*store.Tx).TrimInboxes); err != nil {
		return err
	}
	return r.rows(ctx, "registry changes", before, (*store.Tx).TrimInstanceEvents)
}

// rows removes what is older, page by page.
func (r *retainer) rows(ctx context.Context, what string, before int64, trim func(*store.Tx, int64, int) (int64, error)) error {
	total := int64(0)
	for n := int64(trimRows); n == trimRows; total += n {
		if err := r.b.db.Update(ctx, func(tx *store.Tx) (err error) { n, err = trim(tx, before, trimRows); return err }); err != nil {
			return err
		}
	}
	if total > 0 {
		r.b.log.Info("trimmed", "what", what, "rows", total)
	}
	return nil
}

// measure adds what has come since.
func (r *retainer) measure(ctx context.Context) error {
	for {
		bytes, last, err := r.b.db.LogBytes(ctx, r.seen, measureRows)
		if err != nil || last == 0 {
			return err
		}
		r.bytes, r.seen = r.bytes+bytes, last
	}
}

// log trims the log. Where its size asked for it, horizon is how new the newest
// is that had to go.
func (r *retainer) log(ctx context.Context, now time.Time) (horizon int64, err error) {
	o := r.b.opts
	soft, hard := now.Add(-o.RetainAge).UnixMilli(), now.Add(-hardFactor*o.RetainAge).UnixMilli()
	left := r.bytes // of the rows not looked at yet
	removed := map[string]int64{}
	defer func() {
		for topic, n := range removed {
			r.b.log.Info("trimmed", "what", "events", "topic", topic, "rows", n)
		}
	}()
	for after := int64(0); ; {
		list, err := r.b.db.LogRows(ctx, after, trimRows)
		if err != nil {
			return horizon, err
		}
		c := chunk{after: after, soft: after, hard: after}
		for _, row := range list {
			if row.Offset > r.seen || row.Created >= soft && left <= o.RetainBytes || c.bytes > trimBytes {
				break
			}
			if row.Created < hard || left > hardFactor*o.RetainBytes {
				c.hard = row.Offset
			}
			if left > o.RetainBytes {
				horizon = row.Created
			}
			c.soft = row.Offset
			c.free = c.free || row.Free
			c.bytes += row.Bytes
			left -= row.Bytes
		}
		if c.soft == after {
			return horizon, nil
		}
		if err := r.trim(ctx, c, removed); err != nil {
			return horizon, err
		}
		after = c.soft
	}
}

// chunk is what is trimmed in one transaction: up to hard all, up to soft what
// nobody needs.
type chunk struct {
	after, hard, soft int64
	free              bool // there is something that nobody needs
	bytes             int64
}

func (r *retainer) trim(ctx context.Context, c chunk, removed map[string]int64) error {
	if !c.free && c.hard == c.after {
		return nil
	}
	behind, err := r.behind(ctx, c)
	if err != nil {
		return err
	}
	var bytes int64
	var rows, forced map[string]int64
	err = r.b.db.Update(ctx, func(tx *store.Tx) error {
		bytes, rows, forced = 0, map[string]int64{}, map[string]int64{} // it may run twice
		note := func(rows map[string]int64) func(string, int64) {
			return func(topic string, size int64) { bytes += size; rows[topic]++ }
		}
		if err := tx.Trim(c.after, c.soft, false, note(rows)); err != nil || c.hard == c.after {
			return err
		}
		return tx.Trim(c.after, c.hard, true, note(forced))
	})
	if err != nil {
		return err
	}
	r.bytes -= bytes
	for topic, n := range rows {
		removed[topic] += n
	}
	for topic, n := range forced {
		r.b.log.Warn("events lost: they were trimmed at the hard limit, and somebody still needed them", "topic", topic, "rows", n, "upto", c.hard, "behind", behind[topic])
	}
	return nil
}

// behind are the groups that have not had all that will be removed by force, by topic.
func (r *retainer) behind(ctx context.Context, c chunk) (map[string][]string, error) {
	groups := map[string][]string{}
	if c.hard == c.after {
		return groups, nil
	}
	return groups, r.b.db.Groups(ctx, func(topic, name string, cursor int64) {
		if cursor < c.hard {
			groups[topic] = append(groups[topic], name)
		}
	})
}
