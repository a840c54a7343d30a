package wasm

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/weftrun/weft"
)

// talk passes a message on, or the headers before the first. A call that has got
// on by one has its time anew.
func (s *service) talk(f frame) error {
	limit := s.crew.m.limits.OutputBytes
	switch {
	case s.stream == nil:
		return &breach{"a message in a call without a stream"}
	case f.kind == frameRecv && s.ended:
		return &breach{"a wish for a message after the last"}
	case f.kind == frameSend && !s.headed:
		return &breach{"a message before the headers"}
	case f.kind == frameSendHeaders && s.headed:
		return &breach{"headers again"}
	case len(f.part(0)) > limit && f.kind == frameSend:
		return &breach{fmt.Sprintf("a message over the limit of %d bytes", limit)}
	}
	ctx, cancel := context.WithDeadline(s.ctx, s.deadline)
	defer cancel()
	if f.kind == frameSendHeaders {
		headers, err := answered(f.part(0))
		if err != nil {
			return err
		}
		s.headed = true
		return s.reply(nil, true, s.stream.SendHeaders(ctx, headers))
	}
	var message []byte
	var err error
	if f.kind == frameRecv {
		message, err = s.stream.Recv(ctx)
	} else {
		err = s.stream.Send(ctx, f.part(0))
	}
	if err == io.EOF && f.kind == frameRecv {
		s.ended = true
		return s.reply(nil, false, nil)
	}
	if err == nil {
		s.renew()
	}
	return s.reply(message, true, err)
}

// renew gives the worker its time and its calls of the host anew.
func (s *service) renew() {
	s.late = false
	s.heard, s.asked = s.heard-s.asked, 0
	s.limit(time.Now())
	s.worker.limit(s.deadline.Add(workerGrace))
	if s.ctx.Err() != nil { // endWith may have shortened it just before
		s.worker.limit(time.Now().Add(workerGrace))
	}
}

// A worksite is the Stream of the call in progress.

func (w *worksite) Recv(context.Context) ([]byte, error) {
	message, more, err := w.ask(frameRecv)
	if err == nil && !more {
		err = io.EOF
	}
	return message, err
}

func (w *worksite) Send(_ context.Context, message []byte) error {
	_, _, err := w.ask(frameSend, message)
	return err
}

func (w *worksite) SendHeaders(_ context.Context, headers weft.Header) error {
	_, _, err := w.ask(frameSendHeaders, packHeaders(headers))
	return err
}

// tally is what a module has counted since the last one, in the order that count
// reads it.
func (c *counts) tally() (b []byte) {
	for _, n := range []int64{c.traps.Swap(0), c.made.Swap(0), c.live.Swap(0)} {
		b = binary.AppendVarint(b, n)
	}
	for n := range c.reached {
		b = binary.AppendVarint(b, c.reached[n].Swap(0))
	}
	return b
}

// countMax is more than a limit can be reached in one call.
const countMax = 1 << 40

// count adds what the worker has counted.
func (s *service) count(tally []byte) error {
	var all [3 + len(limitNames)]int64
	for n := range all {
		v, used := binary.Varint(tally)
		if used <= 0 || v > countMax || v < 0 && n != 2 {
			return &breach{"counts that are none"}
		}
		all[n], tally = v, tally[used:]
	}
	m, w := s.crew.m, s.worker
	if all[0] > 1 || all[1] > 2 || w.live+all[2] < 0 || w.live+all[2] > 1 {
		return &breach{"counts of more than one call"}
	}
	m.traps.Add(all[0])
	m.made.Add(all[1])
	m.live.Add(all[2])
	w.live += all[2]
	for n, times := range all[3:] {
		m.reached[n].Add(times)
	}
	return nil
}
