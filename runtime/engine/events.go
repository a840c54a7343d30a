package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// listenersPage is how many listening runs are looked at at once.
const listenersPage = 256

// Accept gives an event to the workflows that it starts and to the runs that
// listen for it. All of that, and then ack, is durable when it returns; an event
// that comes again after a crash starts and reaches nothing twice.
func (e *Engine) Accept(ctx context.Context, ns string, ev weft.Event, ack func(*store.Tx) error) error {
	end, err := e.begin("engine.Engine.Accept")
	if err != nil {
		return err
	}
	defer end()
	ctx, cut := e.within(ctx)
	defer cut(nil)
	var caused []store.Ticket
	if err := errors.Join(e.trigger(ctx, ns, ev, &caused), e.deliver(ctx, ns, ev, &caused)); err != nil {
		return err
	}
	return e.db.Update(ctx, func(tx *store.Tx) error { // behind all that was submitted above, and not without it
		for _, t := range caused {
			if err := tx.After(t); err != nil {
				return err
			}
		}
		if ack == nil {
			return nil
		}
		return ack(tx)
	})
}

// trigger starts the workflows that wait for such an event.
func (e *Engine) trigger(ctx context.Context, ns string, ev weft.Event, caused *[]store.Ticket) error {
	for _, def := range e.cat.Triggered(ns, ev) {
		s := StartRun{Namespace: ns, Key: eventKey(ev)}
		var err error
		if s.Input, err = def.TriggerInput(ev); err == nil {
			err = e.checkStart(&s)
		}
		if err != nil {
			e.log.Warn("event starts no run", "event", ev.ID, "type", ev.Type, "error", err)
			continue
		}
		a, _, err := e.create(ctx, def, s)
		if err != nil {
			return err
		}
		if a != nil {
			a.mu.Lock()
			*caused = append(*caused, a.flush())
			a.mu.Unlock()
		}
	}
	return nil
}

// eventKey is the idempotency key of the runs that an event starts.
func eventKey(ev weft.Event) string {
	sum := sha256.Sum256([]byte(ev.Source + "\x00" + ev.ID))
	return "event " + hex.EncodeToString(sum[:16])
}

// deliver puts the event into the inbox of every run that may take it.
func (e *Engine) deliver(ctx context.Context, ns string, ev weft.Event, caused *[]store.Ticket) error {
	var failed error // of one run: it holds up no other
	for after := ""; ; {
		ids, err := e.db.Listeners(ctx, ns, ev.Type, after, listenersPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := e.deliverTo(ctx, id, ev, caused); err != nil && failed == nil {
				failed = err
			}
		}
		if len(ids) < listenersPage {
			return failed
		}
		after = ids[len(ids)-1]
	}
}

func (e *Engine) deliverTo(ctx context.Context, id string, ev weft.Event, caused *[]store.Ticket) error {
	return e.touch(ctx, id, func(a *actor) error {
		name := [2]string{ev.Source, ev.ID}
		if a.m.Full(ev) {
			e.log.Warn("event dropped: the inbox of the run is full", "run", id, "event", ev.ID, "source", ev.Source, "type", ev.Type)
		}
		if a.had[name] {
			*caused = append(*caused, a.last) // on its way to the disk, perhaps
			return nil
		}
		if !a.m.Wants(ev) {
			return nil
		}
		// What is not in a.had was delivered before the run came to memory, or never.
		seen, err := e.db.InInbox(ctx, inboxOf(id), ev.Source, ev.ID)
		if err != nil || seen {
			return err
		}
		if _, err := a.apply(machine.Entry{Kind: machine.Delivered, At: e.now().UnixMicro(), Event: &ev}); err != nil {
			return err
		}
		if a.had == nil {
			a.had = map[[2]string]bool{}
		}
		a.had[name] = true
		a.also = append(a.also, func(tx *store.Tx) error {
			_, err := tx.Receive(inboxOf(id), ev.Source, ev.ID)
			return err
		})
		*caused = append(*caused, a.flush())
		return nil
	})
}

// inboxOf is the name of a run's inbox.
func inboxOf(run string) string { return "run " + run }

// Deliver calls a handler with an event that it has subscribed to: the data is
// its input, the attributes are headers ce-id, ce-source and so on. What it
// writes, what it publishes and ack are one commit.
func (e *Engine) Deliver(ctx context.Context, ns string, h weft.Ref, ev weft.Event, ack func(*store.Tx) error) error {
	end, err := e.begin("engine.Engine.Deliver")
	if err != nil {
		return err
	}
	defer end()
	headers := weft.Header{"content-type": {ev.DataContentType}}
	for _, name := range []string{"id", "source", "type", "subject", "time", "specversion", "dataschema"} {
		if v, ok := ev.Attribute(name); ok {
			headers.Set("ce-"+name, v)
		}
	}
	for name, v := range ev.Extensions {
		headers.Set("ce-"+name, v)
	}
	_, err = e.transact(ctx, weft.Call{Namespace: ns, Handler: h, Input: ev.Data, Headers: headers}, h.Name+"-"+ev.ID, ack)
	return err
}
