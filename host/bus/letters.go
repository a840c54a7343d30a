package bus

import (
	"context"
	"encoding/json"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
)

// DeadLetter is an event that a group has given up.
type DeadLetter struct {
	Group    string
	Offset   int64
	Event    weft.Event
	Attempts int
	Error    string // of the last attempt
	Time     time.Time
}

// ListDeadLetters picks dead letters.
type ListDeadLetters struct {
	Namespace string
	Group     string // empty: of all groups
	PageSize  int    // default 50, at most 1,000
	PageToken string // of the page before
}

// DeadLetters is one page of dead letters, the newest first, and the token of
// the next, empty at the end. A page may be shorter where the events are large.
func (b *Bus) DeadLetters(ctx context.Context, l ListDeadLetters) (list []DeadLetter, next string, err error) {
	if l.PageSize <= 0 {
		l.PageSize = 50
	}
	f := store.LetterFilter{Topic: l.Namespace, Group: l.Group, Limit: min(l.PageSize, 1000)}
	if l.PageToken != "" {
		if err := json.Unmarshal([]byte(l.PageToken), &[]any{&f.BeforeOffset, &f.BeforeGroup}); err != nil {
			return nil, "", weft.Errorf(weft.InvalidArgument, "bus.Bus.DeadLetters", "%q is no token of a page", l.PageToken)
		}
	}
	more, err := b.db.DeadLetters(ctx, f, func(d store.DeadLetter, m store.Message) {
		list = append(list, DeadLetter{Group: d.Group, Offset: d.Offset, Event: m.Event(), Attempts: d.Attempts, Error: d.Error, Time: time.UnixMilli(d.Created)})
	})
	if err != nil || !more {
		return list, "", err
	}
	last := list[len(list)-1]
	token, err := json.Marshal([]any{last.Offset, last.Group})
	return list, string(token), err
}

// Replay hands a dead letter to its group again, with fresh attempts. That is
// durable when it returns, whether or not somebody serves the group.
func (b *Bus) Replay(ctx context.Context, ns, group string, offset int64) error {
	m, found, err := b.db.Message(ctx, offset)
	if err != nil {
		return err
	}
	e := m.Event()
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		if ok, err := tx.Exhume(ns, group, offset); err != nil || !ok || !found {
			return notBuried(ns, group, offset, err)
		}
		// Another with the same source and id may have been delivered: the
		// inbox must not take this one for it.
		if err := tx.Forget(inbox(ns, group), e.Source, e.ID); err != nil {
			return err
		}
		return tx.Redeliver(store.Redelivery{Topic: ns, Group: group, Offset: offset})
	})
	if err == nil {
		b.kick(ns, group)
	}
	return err
}

// Drop removes a dead letter for good.
func (b *Bus) Drop(ctx context.Context, ns, group string, offset int64) error {
	return b.db.Update(ctx, func(tx *store.Tx) error {
		if ok, err := tx.Exhume(ns, group, offset); err != nil || !ok {
			return notBuried(ns, group, offset, err)
		}
		return nil
	})
}

func notBuried(ns, group string, offset int64, err error) error {
	if err != nil {
		return err
	}
	return weft.Errorf(weft.NotFound, "bus.Bus.Replay", "no dead letter of group %q at offset %d in namespace %s", group, offset, ns).
		WithHint("weft event dlq list shows them")
}

// kick has a group that is served look for redeliveries.
func (b *Bus) kick(topic, name string) {
	b.mu.Lock()
	g := b.groups[groupKey{topic, name}]
	b.mu.Unlock()
	if g == nil {
		return
	}
	select {
	case g.kick <- struct{}{}:
	default:
	}
}
