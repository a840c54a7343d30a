package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/runtime/engine"
	"github.com/weftrun/weft/store"
)

// file is what is durable at the end.
type file struct {
	stories map[string]*story // by run
	state   map[string]string
	log     []store.Message
	listens map[string]bool // runs
}

// check ends the last process and holds its file against what was told.
func (w *world) check() {
	p := w.life
	p.end()
	if err := p.Close(context.Background()); err != nil && !p.isDead() {
		w.violate("close: %v", err)
	}
	p.courier.Wait()
	w.still()
	f := w.read(p.db)
	w.checkHands(p.db, f)
	p.closeDB()
	for _, id := range slices.Sorted(maps.Keys(f.stories)) {
		w.checkRun(f, f.stories[id])
	}
	w.checkState(f)
	w.checkEvents(f)
	w.checkStarts(f)
	w.checkFamilies(f)
	w.checkReruns(f)
	w.checkSchedules(f)
	w.checkLives(f)
	for _, c := range w.facts {
		w.checkFact(f, c)
	}
	if w.chance(4, "forgets") == 0 {
		w.forget(f)
	}
}

func (w *world) read(db *store.DB) *file {
	ctx := context.Background()
	f := &file{stories: map[string]*story{}, state: map[string]string{}, listens: map[string]bool{}}
	rows, err := db.Runs(ctx, store.RunFilter{Namespace: ns, Statuses: []int{1, 2, 3, 4, 5}, Limit: 10_000})
	w.must(err)
	w.runs = len(rows)
	for _, row := range rows {
		entries, err := journal(db, row.ID)
		w.must(err)
		s, err := tell(row, w.code.defs[row.Workflow], entries, w.level)
		if err != nil {
			w.violate("the journal of %s cannot be replayed: %v", row.ID, err)
			continue
		}
		f.stories[row.ID] = s
		w.rows = append(w.rows, fmt.Sprintf("run %s %s %d key %q reason %q wake %d peer %q entries %d %s %s at %d %d %d", row.ID, row.Workflow, row.Status, row.Key,
			row.Reason, row.Wake, row.Peer, row.Entries, row.Output, row.Fault, row.Started, row.Updated, row.Ended))
		w.entries["run "+engine.Status(row.Status).String()]++
		for i, e := range entries {
			w.entries[e.Kind.String()]++
			w.rows = append(w.rows, fmt.Sprintf("  %s %d %s %d step %d.%d seed %d %q %+v %+v", row.ID, i, e.Kind, e.At, e.Step, e.Ordinal, e.Seed, e.Data, e.Fault, e.Event))
		}
	}
	w.must(db.Query(ctx, "select key,value,version from state order by key", nil, func(r store.Row) error {
		f.state[r.Text(0)] = r.Text(1)
		w.rows = append(w.rows, fmt.Sprintf("state %s %s %d", r.Text(0), r.Text(1), r.Int(2)))
		return nil
	}))
	w.must(db.Query(ctx, "select distinct run from listen order by run", nil, func(r store.Row) error { f.listens[r.Text(0)] = true; return nil }))
	f.log, err = db.Messages(ctx, ns, 0, 100_000)
	w.must(err)
	for _, m := range f.log {
		w.rows = append(w.rows, fmt.Sprintf("event %d %s %v %s %d", m.Offset, m.ID, m.Meta, m.Data, m.Created))
	}
	return f
}

func (w *world) must(err error) {
	if err != nil {
		w.violate("the file cannot be read: %v", err)
	}
}

// checkRun holds a row against its journal.
func (w *world) checkRun(f *file, s *story) {
	id, row := s.row.ID, s.row
	say := func(format string, args ...any) {
		w.violate("run %s (%s): %s", id, row.Workflow, fmt.Sprintf(format, args...))
	}
	status := engine.Status(row.Status)
	if row.Entries != int64(len(s.entries)) {
		say("the row says %d entries, the journal has %d", row.Entries, len(s.entries))
	}
	if status.String() != s.status() {
		say("the row says %s, the journal %s", status, s.status())
	}
	if len(s.doubled) > 0 {
		say("steps %v have two answers", s.doubled)
	}
	for ev, n := range s.heard {
		if n > 1 {
			say("event %s was delivered %d times", ev, n)
		}
	}
	if status.Ended() {
		var fault []byte
		if s.m.Fault() != nil {
			fault, _ = json.Marshal(s.m.Fault()) // strings and an int: cannot fail
		}
		if string(row.Output) != string(s.m.Output()) || string(row.Fault) != string(fault) {
			say("the row has %s and %s, the journal %s and %s", row.Output, row.Fault, s.m.Output(), fault)
		}
		if row.Wake != 0 || row.Peer != "" || f.listens[id] || row.Ended == 0 {
			say("it has ended and still waits: wake %d, peer %q, listens %v", row.Wake, row.Peer, f.listens[id])
		}
		return
	}
	if row.Reason == "" {
		say("it is %s without a reason", status)
	}
	if !isPaused(row.Reason) && !f.listens[id] && !f.waitsForChild(s) {
		say("nothing will wake it: it is %s because %q", status, row.Reason)
	}
}

// checkState counts: each finished step, call and delivery once, and nothing else.
func (w *world) checkState(f *file) {
	must, may := map[string]bool{}, map[string]bool{}
	for _, s := range f.stories {
		maps.Copy(must, s.adds)
	}
	for _, m := range f.log {
		if strings.HasPrefix(m.Event().Type, "told.") {
			must["by/event "+m.ID+"/0/heard"] = true
		}
	}
	for _, c := range w.facts {
		if c.verb == call && !c.refused {
			adds, _ := traces(c.key, []byte(scriptOf(c.what)))
			for _, a := range adds {
				may[a] = true
				must[a] = must[a] || c.acked
			}
		}
	}
	sums := map[string]int{}
	for key, value := range f.state {
		if !strings.HasPrefix(key, "by/") {
			continue
		}
		if sums[key[strings.LastIndex(key, "/")+1:]]++; value != "1" {
			w.violate("state: %s happened %s times", key, value)
		}
		if !must[key] && !may[key] {
			w.violate("state: %s is there, and no journal knows why", key)
		}
	}
	for key, due := range must {
		if due && f.state[key] == "" {
			w.violate("state: %s is lost", key)
		}
	}
	for key, value := range f.state {
		if name, ok := strings.CutPrefix(key, "n/"); ok && value != strconv.Itoa(sums[name]) {
			w.violate("state: %s counts %s and not %d", name, value, sums[name])
		}
	}
}

// checkEvents wants each event of a run or a handler in the log once.
func (w *world) checkEvents(f *file) {
	due, may := map[string]bool{}, map[string]bool{}
	for _, s := range f.stories {
		maps.Copy(due, s.events)
	}
	for _, c := range w.facts {
		switch _, events := traces(called+c.key, []byte(scriptOf(c.what))); {
		case c.refused:
		case c.verb == publish:
			may[c.key] = true
			due[c.key] = due[c.key] || c.acked
		case c.verb == call:
			for _, e := range events {
				may[e] = true
				due[e] = due[e] || c.acked
			}
		}
	}
	count := map[string]int{}
	for _, m := range f.log {
		count[m.ID]++
		if !due[m.ID] && !may[m.ID] {
			w.violate("event %s is in the log, and no journal knows why", m.ID)
		}
	}
	for id, is := range due {
		if is && count[id] == 0 {
			w.violate("event %s is lost", id)
		}
		if count[id] > 1 && !strings.HasPrefix(id, "ev-") { // a client may send the same again
			w.violate("event %s is in the log %d times", id, count[id])
		}
	}
}

// checkStarts wants one run for each start and each event that starts one.
func (w *world) checkStarts(f *file) {
	runs := map[string]int{} // by workflow and key
	for _, s := range f.stories {
		if s.row.Parent == "" && s.row.Origin == "" {
			runs[s.row.Workflow+" "+strings.Split(s.row.Key, " ")[0]]++
		}
	}
	for _, t := range w.code.all {
		asked, unsure := 0, 0
		for _, c := range w.facts {
			switch {
			case c.verb != start || c.what != t.name || c.key != "":
			case c.acked:
				asked++
			case !c.refused:
				unsure++
			}
		}
		if n := runs[t.name+" "]; n < asked || n > asked+unsure {
			w.violate("workflow %s has %d runs from starts without a key: %d were told of one, %d of nothing", t.name, n, asked, unsure)
		}
		events := map[string]bool{}
		for _, m := range f.log {
			if starts(w.code.defs[t.name], m.Event()) {
				events[m.ID] = true
			}
		}
		if n := runs[t.name+" event"]; n != len(events) {
			w.violate("workflow %s has %d runs from %d events", t.name, n, len(events))
		}
	}
}

// checkFamilies wants one child for each step that runs one, told of to its
// parent when it has ended, and cancelled when nobody waits for it any more.
func (w *world) checkFamilies(f *file) {
	steps := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(f.stories)) {
		s := f.stories[id]
		if s.row.Parent == "" {
			continue
		}
		step := s.row.Parent + "/" + strconv.Itoa(int(s.row.Step))
		if other := steps[step]; other != "" {
			w.violate("step %s has two children: %s and %s", step, other, id)
		}
		steps[step] = id
		parent := f.stories[s.row.Parent]
		switch {
		case parent == nil:
			w.violate("run %s has no parent %s", id, s.row.Parent)
		case s.endedAt != 0 && parent.open(s.row.Step):
			w.violate("run %s has ended, and step %s waits for it", id, step)
		case s.endedAt == 0 && s.row.Tie != 0 && !parent.open(s.row.Step):
			w.violate("run %s goes on, and step %s, which ran it, does not wait for it", id, step)
		}
	}
}

// checkReruns wants one copy for each rerun, which begins as its origin did up to the step.
func (w *world) checkReruns(f *file) {
	copies := map[string]int{}
	for _, id := range slices.Sorted(maps.Keys(f.stories)) {
		s := f.stories[id]
		if s.row.Origin == "" {
			continue
		}
		copies[s.row.Origin]++
		was, step := origin(s.row)
		if origin := f.stories[was]; origin == nil || origin.endedAt == 0 {
			w.violate("run %s is a copy of %s, which has not ended", id, was)
		} else if why := s.follows(origin, step); why != "" {
			w.violate("run %s is a copy of %s: %s", id, s.row.Origin, why)
		}
	}
	asked, unsure := map[string]int{}, map[string]int{}
	for _, c := range w.facts {
		switch {
		case c.verb != rerun || c.refused:
		case c.acked:
			asked[c.origin()]++
		default:
			unsure[c.origin()]++
		}
	}
	for _, origin := range slices.Sorted(maps.Keys(copies)) {
		if n := copies[origin]; n < asked[origin] || n > asked[origin]+unsure[origin] {
			w.violate("there are %d copies of %s: %d clients were told of one, %d of nothing", n, origin, asked[origin], unsure[origin])
		}
	}
}

// origin is what the copy that a rerun makes is of.
func (f *fact) origin() string {
	if f.key == "0" {
		return f.what
	}
	return f.what + " step " + f.key
}

// waitsForChild reports whether a run waits for another that has not ended.
func (f *file) waitsForChild(s *story) bool {
	for _, child := range f.stories {
		if child.row.Parent == s.row.ID && child.endedAt == 0 && s.open(child.row.Step) {
			return true
		}
	}
	return false
}

// checkHands wants every event of the log in every run that it was due to.
func (w *world) checkHands(db *store.DB, f *file) {
	head, err := db.Head(context.Background(), ns)
	w.must(err)
	for _, group := range []string{"workflows", "hear"} {
		if at, _, err := db.Cursor(context.Background(), ns, group); err != nil || at != head {
			w.violate("the group %s is at event %d of %d, %v", group, at, head, err)
		}
	}
	for _, c := range w.facts {
		if c.verb != start && c.verb != rerun || !c.acked {
			continue
		}
		s := f.stories[c.run.ID]
		had := map[string]bool{}
		for _, m := range f.log {
			mark := w.mark(m)
			taken, ok := w.taken[mark]
			if had[mark] {
				continue
			}
			had[mark] = true
			if s != nil && ok && m.Created > c.end.UnixMilli() && (s.endedAt == 0 || s.endedAt > taken.UnixMicro()) && could(s, m.Event()) && s.heard[m.ID] == 0 {
				w.violate("run %s was there before event %s and never had it", s.row.ID, m.ID)
			}
		}
	}
}

func could(s *story, ev weft.Event) bool {
	for _, f := range s.def.Filters() {
		if f.Could(ev) {
			return true
		}
	}
	return false
}

// checkFact holds the file against what a client was told.
func (w *world) checkFact(f *file, c *fact) {
	say := func(format string, args ...any) { w.violate("%s: %s", c, fmt.Sprintf(format, args...)) }
	if n, name, ok := counted(c.told); ok && c.refused { // a refusal is an answer too
		c.reads = map[string]any{name: n}
	} else if !c.acked {
		return
	}
	for name, n := range c.reads {
		if count, ok := n.(float64); ok && name != "n" {
			if now, _ := strconv.Atoi(f.state["n/"+name]); now < int(count) {
				say("it read %v of %s, and now there are %d", count, name, now)
			}
		}
	}
	if c.run.ID == "" {
		return
	}
	s := f.stories[c.run.ID]
	if s == nil {
		say("the run is lost")
		return
	}
	if c.run.Status.Ended() && (int(c.run.Status) != s.row.Status || string(c.run.Output) != string(s.row.Output)) {
		say("it was told of the end %s with %s, now it is %s with %s", c.run.Status, c.run.Output, engine.Status(s.row.Status), s.row.Output)
	}
	if c.run.Entries > s.row.Entries {
		say("it saw %d entries, now there are %d", c.run.Entries, s.row.Entries)
	}
	switch {
	case c.verb == rerun && s.row.Origin != c.origin():
		say("the run is a copy of %q", s.row.Origin)
	case c.verb == start && (s.row.Workflow != c.what || s.row.Key != c.key):
		say("the run is one of %s with the key %q", s.row.Workflow, s.row.Key)
	case c.verb == cancel && engine.Status(s.row.Status) != engine.Cancelled:
		say("the run is %s", engine.Status(s.row.Status))
	case c.verb == pause && s.paused == 0:
		say("the journal knows of no pause")
	}
}
