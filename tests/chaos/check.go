package chaos

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows/machine"
)

// Verdict is what is not as it should be in a file.
type Verdict struct {
	Lost  []string // acknowledged, and not there
	Wrong []string // damaged, doubled, or half of what belongs together
	Runs  int
	Going int // runs that need nothing from outside and have not completed
}

func (v *Verdict) lost(format string, args ...any) {
	v.Lost = append(v.Lost, fmt.Sprintf(format, args...))
}
func (v *Verdict) wrong(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Sprintf(format, args...))
}

// Check opens a file as weft does after a crash, and judges it.
func Check(ctx context.Context, path string, acks []Ack) (v Verdict, err error) {
	db, err := store.Open(ctx, store.Options{Path: path})
	if err != nil {
		v.wrong("the file does not open: %v", err)
		return v, nil
	}
	f := &found{v: &v, runs: map[string]*run{}, state: map[string]int{}, counted: map[string][]int{}, events: map[string]int{}, inbox: map[string]map[string]bool{}}
	err = errors.Join(f.read(ctx, db), db.Close())
	if err == nil {
		f.doubled()
		for _, a := range acks {
			f.acknowledged(a)
		}
		v.Runs = len(f.runs)
		for _, r := range f.runs {
			if r.Workflow != "hear" && engine.Status(r.Status) != engine.Completed {
				v.Going++
			}
		}
	}
	return v, err
}

// found is what a file holds.
type found struct {
	v       *Verdict
	runs    map[string]*run
	state   map[string]int             // counters of the handlers count and seen
	counted map[string][]int           // by counter: what its events say, in the order of the log
	events  map[string]int             // by id: how often it is in the log
	inbox   map[string]map[string]bool // by name: ids
}

type run struct {
	store.Run
	entries []machine.Entry
}

func (f *found) read(ctx context.Context, db *store.DB) error {
	query := func(q string, fn func(store.Row) error) error { return db.Query(ctx, q, nil, fn) }
	return errors.Join(
		query("pragma integrity_check", func(r store.Row) error {
			if r.Text(0) != "ok" {
				f.v.wrong("integrity_check: %s", r.Text(0))
			}
			return nil
		}),
		query("select id from run", func(r store.Row) error { f.runs[r.Text(0)] = nil; return nil }),
		f.readRuns(ctx, db),
		query("select run, seq, data from journal order by run, seq", func(r store.Row) error { f.journal(r.Text(0), r.Int(1), r.Blob(2)); return nil }),
		query("select substr(key, 7), value from state where key like 'count/%'", func(r store.Row) (err error) {
			f.state[r.Text(0)], err = strconv.Atoi(r.Text(1))
			return err
		}),
		query("select id, data from event order by offset", func(r store.Row) error { return f.event(r.Text(0), r.Blob(1)) }),
		query("select name, id from inbox", func(r store.Row) error {
			if f.inbox[r.Text(0)] == nil {
				f.inbox[r.Text(0)] = map[string]bool{}
			}
			f.inbox[r.Text(0)][r.Text(1)] = true
			return nil
		}))
}

func (f *found) readRuns(ctx context.Context, db *store.DB) error {
	for id := range f.runs {
		row, _, err := db.Run(ctx, id)
		if err != nil {
			return err
		}
		f.runs[id] = &run{Run: row}
	}
	return nil
}

// journal reads a row as docs/JOURNAL.md has it.
func (f *found) journal(id string, seq int64, data []byte) {
	r := f.runs[id]
	n := len(data) - 4
	switch {
	case r == nil:
		f.v.wrong("run %s has a journal and no row", id)
		return
	case seq != int64(len(r.entries)):
		f.v.wrong("run %s: the journal has entry %d where %d is due", id, seq, len(r.entries))
		return
	case n < 1 || crc32.Checksum(data[:n], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(data[n:]):
		f.v.wrong("run %s: row %d of the journal fails its checksum", id, seq)
		return
	}
	for rest := data[1:n]; len(rest) > 0; {
		var en machine.Entry
		var err error
		if en, rest, err = machine.DecodeEntry(rest); err != nil {
			f.v.wrong("run %s: %v", id, err)
			return
		}
		r.entries = append(r.entries, en)
	}
}

// event notes one event of the log. Those of the handler count carry its counter.
func (f *found) event(id string, data []byte) error {
	f.events[id]++
	var e counting
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	f.counted[e.Key] = append(f.counted[e.Key], e.Count)
	return nil
}

// counting is what the handler count answers and publishes.
type counting struct {
	Key   string
	Count int
}

// doubled finds what happened twice, or in one place and not in the other.
func (f *found) doubled() {
	for id, n := range f.events {
		if n != 1 {
			f.v.wrong("event %s is %d times in the log", id, n)
		}
	}
	steps := 0
	triggers := map[string]int{}
	for id, r := range f.runs {
		if int64(len(r.entries)) != r.Entries {
			f.v.wrong("run %s: the row knows of %d entries, the journal has %d", id, r.Entries, len(r.entries))
		}
		steps += f.once(id, r)
		if r.Workflow == "triggered" && len(r.entries) > 0 {
			var in []struct{ ID string }
			if json.Unmarshal(r.entries[0].Data, &in) == nil && len(in) == 1 {
				triggers[in[0].ID]++
			}
		}
	}
	for id, n := range triggers {
		if n != 1 {
			f.v.wrong("event %s has started %d runs", id, n)
		}
	}
	for id := range f.inbox["triggered"] {
		if triggers[id] == 0 {
			f.v.lost("event %s is in the inbox and has started no run", id)
		}
	}
	f.counters(steps)
}

// once finds what a run did twice, and gives the number of its steps that counted.
func (f *found) once(id string, r *run) (steps int) {
	had := map[string]bool{}
	for _, en := range r.entries {
		switch en.Kind {
		case machine.Finished:
			what := fmt.Sprint("finished step ", en.Step)
			if had[what] {
				f.v.wrong("run %s has %s twice", id, what)
			}
			had[what] = true
			var c counting
			if json.Unmarshal(en.Data, &c) == nil && c.Count > 0 {
				steps++
				if e := fmt.Sprintf("%s-%d-1-0", id, en.Step); f.events[e] == 0 {
					f.v.wrong("run %s has %s, and its event %s is not in the log", id, what, e)
				}
			}
		case machine.Delivered:
			what := "had event " + en.Event.ID
			if had[what] {
				f.v.wrong("run %s has %s twice", id, what)
			}
			had[what] = true
		}
	}
	return steps
}

// counters holds each counter against its events, and all of them against the
// steps: those that begin with d are counted by calls outside a run.
func (f *found) counters(steps int) {
	byRuns := 0
	for key, counts := range f.counted {
		for i, n := range counts {
			if n != i+1 {
				f.v.wrong("event %d of counter %s says %d", i+1, key, n)
			}
		}
		if f.state[key] != len(counts) {
			f.v.wrong("counter %s is %d, and its events are %d", key, f.state[key], len(counts))
		}
		if !strings.HasPrefix(key, "d") {
			byRuns += len(counts)
		}
	}
	if byRuns != steps {
		f.v.wrong("%d steps have counted, and published %d events", steps, byRuns)
	}
	for key, n := range f.state {
		events, isSeen := strings.CutPrefix(key, "seen-")
		if isSeen && n != len(f.inbox[events]) {
			f.v.wrong("handler seen has counted %d events of %s, and the inbox has %d", n, events, len(f.inbox[events]))
		}
		if !isSeen && len(f.counted[key]) == 0 {
			f.v.wrong("counter %s is %d, and has no events", key, n)
		}
	}
}

// acknowledged finds what was told to the outside and is no more.
func (f *found) acknowledged(a Ack) {
	if a.Run != "" {
		f.told(a)
	}
	if a.Count > f.state[a.Counter] {
		f.v.lost("counter %s is %d, and %d was told", a.Counter, f.state[a.Counter], a.Count)
	}
	if a.Inbox != "" && !f.inbox[a.Inbox][a.Event] {
		f.v.lost("event %s is not in inbox %s", a.Event, a.Inbox)
	}
	if a.Heard != "" && !f.has(a.Heard, func(en machine.Entry) bool { return en.Kind == machine.Delivered && en.Event.ID == a.Event }) {
		f.v.lost("run %s has not had event %s", a.Heard, a.Event)
	}
	if id, rest, ok := strings.Cut(a.Left, "/"); ok {
		step, _, _ := strings.Cut(rest, "/")
		if !f.has(id, func(en machine.Entry) bool { return en.Kind == machine.Attempted && fmt.Sprint(en.Step) == step }) {
			f.v.lost("run %s does not know that call %s has left", id, a.Left)
		}
	}
}

// told holds a run against what was once said of it: it never goes back.
func (f *found) told(a Ack) {
	r := f.runs[a.Run]
	switch {
	case r == nil:
		f.v.lost("run %s is not there", a.Run)
	case r.Entries < a.Entries:
		f.v.lost("run %s has %d entries, and %d were told", a.Run, r.Entries, a.Entries)
	case a.Status.Ended() && (engine.Status(r.Status) != a.Status || string(r.Output) != a.Output):
		f.v.lost("run %s is %s with %s, and was told to be %s with %s", a.Run, engine.Status(r.Status), r.Output, a.Status, a.Output)
	}
}

func (f *found) has(run string, is func(machine.Entry) bool) bool {
	r := f.runs[run]
	if r == nil {
		return false
	}
	for _, en := range r.entries {
		if is(en) {
			return true
		}
	}
	return false
}
