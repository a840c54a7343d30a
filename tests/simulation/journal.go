package simulation

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
	"github.com/weftrun/weft/workflows/machine"
)

// journal reads the durable entries of a run as docs/JOURNAL.md has them, with
// code of its own: numbers without gaps, sums that fit.
func journal(db *store.DB, run string) (all []machine.Entry, err error) {
	err = db.Journal(context.Background(), run, 0, func(seq int64, row []byte) error {
		n := len(row) - 4
		switch {
		case seq != int64(len(all)):
			return fmt.Errorf("the journal of %s has entry %d where %d is due", run, seq, len(all))
		case n < 2 || row[0] != 1 || crc32.Checksum(row[:n], crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(row[n:]):
			return fmt.Errorf("the journal of %s has a damaged row at %d", run, seq)
		}
		for rest := row[1:n]; len(rest) > 0; {
			var e machine.Entry
			var err error
			if e, rest, err = machine.DecodeEntry(rest); err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	return all, err
}

// story is a run as its journal tells it.
type story struct {
	row     store.Run
	def     *workflows.Definition
	m       *machine.Machine
	entries []machine.Entry
	own     int             // number of the first entry that is not taken over from another run
	endedAt int64           // Unix microseconds; 0 for not
	adds    map[string]bool // notes that its finished steps left, see worker.add
	events  map[string]bool // ids of the events that it gave to the log
	heard   map[string]int  // ids of events delivered to it, how often
	paused  int             // entries
	told    []moment        // lifecycle events, as they must be in the log
	doubled []string
}

func tell(row store.Run, def *workflows.Definition, entries []machine.Entry, level string) (*story, error) {
	s := &story{row: row, def: def, entries: entries, m: machine.New(def, machine.Info{RunID: row.ID, Namespace: row.Namespace}),
		adds: map[string]bool{}, events: map[string]bool{}, heard: map[string]int{}}
	for i, e := range entries {
		if e.Kind == machine.Rerun {
			s.own = i
		}
	}
	_, from := origin(row)
	if level != engine.LifecycleNone {
		s.m.Follow(level == engine.LifecycleTask)
	}
	finished := map[uint32]bool{}
	for i, e := range entries {
		open := map[uint32]machine.Command{}
		for _, c := range s.m.Outstanding() {
			open[c.Step] = c
		}
		eff, err := s.m.Advance(e)
		if err != nil {
			return nil, err
		}
		for n, t := range eff.Life {
			if i >= s.own {
				s.tells(t, i, n)
			}
		}
		for _, c := range eff.Commands {
			if c.Kind == machine.Emit && (i >= s.own || i == s.own-1 && from > 0 && c.Step >= from) {
				s.events[c.Event.ID] = true
			}
		}
		switch {
		case (e.Kind == machine.Finished || e.Kind == machine.Failed) && eff.Accepted:
			if finished[e.Step] {
				s.doubled = append(s.doubled, strconv.Itoa(int(e.Step)))
			}
			finished[e.Step] = true
			if i >= s.own && e.Kind == machine.Finished && open[e.Step].Kind == machine.CallHandler {
				s.step(open[e.Step])
			}
		case e.Kind == machine.Delivered:
			s.heard[e.Event.ID]++
		case e.Kind == machine.Paused && i >= s.own:
			s.paused++
		}
		if s.endedAt == 0 && s.m.Status().Ended() {
			s.endedAt = e.At
		}
	}
	return s, nil
}

// step notes what a finished call of work must have left behind.
func (s *story) step(c machine.Command) {
	id := fmt.Sprintf("%s/%d/%d", s.row.ID, c.Step, c.Attempt)
	adds, events := traces(id, c.Input)
	for _, a := range adds {
		s.adds[a] = true
	}
	for _, e := range events {
		s.events[e] = true
	}
}

// origin is of which run a run is a copy, and from which step.
func origin(row store.Run) (run string, step uint32) {
	run, text, _ := strings.Cut(row.Origin, " step ")
	n, _ := strconv.Atoi(text) // nothing for 0
	return run, uint32(n)
}

// follows is what is wrong with the entries that a copy took over: they must be
// the origin's, all that changed the run and no note of a call that was not
// answered, until the step began or, without one, the run would have ended.
func (s *story) follows(origin *story, step uint32) string {
	m := machine.New(s.def, machine.Info{RunID: s.row.ID, Namespace: s.row.Namespace})
	rest := origin.entries
	for i, e := range s.entries[:s.own] {
		for len(rest) > 0 && rest[0].Kind >= machine.Attempted && !reflect.DeepEqual(rest[0], e) {
			rest = rest[1:]
		}
		if len(rest) == 0 || !reflect.DeepEqual(rest[0], e) {
			return fmt.Sprintf("entry %d is not the one of its origin", i)
		}
		rest = rest[1:]
		if step > 0 && m.Steps() >= step {
			return fmt.Sprintf("entry %d was taken over and came after the step", i)
		}
		if _, err := m.Advance(e); err != nil {
			return err.Error()
		}
	}
	for _, c := range m.Outstanding() {
		for _, e := range s.entries[:s.own] {
			if e.Kind >= machine.Attempted && e.Step == c.Step {
				return fmt.Sprintf("it believes a peer that answered step %d of its origin", c.Step)
			}
		}
	}
	for len(rest) > 0 && rest[0].Kind >= machine.Attempted {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return "it took over all"
	}
	if m.Steps() < step {
		return "it begins before the step"
	}
	if step == 0 {
		if _, err := m.Advance(rest[0]); err != nil || !m.Status().Ended() {
			return "it begins before the step at which its origin failed"
		}
	}
	return ""
}

// traces is what a call of work leaves in the state and in the log.
func traces(id string, input []byte) (adds, events []string) {
	var q script
	_ = json.Unmarshal(input, &q) // work refused it, if it is none
	for i, op := range q.Do {
		switch verb, what, _ := strings.Cut(op, " "); verb {
		case "add":
			adds = append(adds, "by/"+id+"/"+strconv.Itoa(i)+"/"+what)
		case "tell":
			events = append(events, strings.ReplaceAll(id, "/", "-")+"-"+strconv.Itoa(len(events)))
		}
	}
	return adds, events
}

// status is what the row must say.
func (s *story) status() string {
	switch st := s.m.Status(); {
	case st.Ended():
		return st.String()
	case st == machine.StatusPaused || s.m.Idle() || s.runsOther():
		return "parked"
	}
	return "running"
}

// runsOther reports whether the run is in a step that runs another.
func (s *story) runsOther() bool {
	for _, c := range s.m.Outstanding() {
		if c.Kind != machine.RunWorkflow {
			return false
		}
	}
	return true
}

// open reports whether a step has no answer yet.
func (s *story) open(step uint32) bool {
	return slices.ContainsFunc(s.m.Outstanding(), func(c machine.Command) bool { return c.Step == step })
}
