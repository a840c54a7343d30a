package simulation

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftrun/weft/tests/plant"
)

// planted is a bug: in a file of the tree, one text in the place of another.
type planted struct {
	name            string
	file, text, bug string
	test, finds     string // who must find it, and what it must say
}

var plants = []planted{
	{"a cancel is told before it is durable", "runtime/engine/start.go",
		"if lost := t.Wait(ctx); lost != nil {", "if lost := t.Err(); lost != nil {",
		"TestHistory", "is Illegal"},
	{"state is committed without its step", "runtime/engine/call.go",
		"		a.flushWith(change)\n", "		change.Submit(func(*store.Tx) error { return nil })\n",
		"TestSeed", "state: by/"},
	{"parked runs are forgotten at a restart", "runtime/engine/park.go",
		"	return q.e.db.PeersParkedOn(ctx, func(ns, peer string) { q.opened(ns, peer, soon) })", "	_ = soon\n	return nil",
		"TestSeed", "still move after"},
	{"what a peer answered is not noted", "runtime/engine/call.go",
		"	k.record(outcome{hash: hash, res: res, err: err})\n", "",
		"TestSeed", "reached its peer twice"},
	{"an event is heard twice", "runtime/engine/events.go",
		"		if a.had[name] {\n", "		if false {\n",
		"TestSeed", "was delivered 2 times"},
	{"the branches that lose a race go on", "runtime/engine/timers.go",
		"		if !a.m.Awaits(step) {\n", "		if step == 0 {\n",
		"TestSeed", "although the run does not wait for it"},
	{"a rerun believes a peer that answered its origin", "runtime/engine/rerun.go",
		"		if en.Kind < machine.Attempted || answered[en.Step] {\n", "		if en.Kind < machine.Attempted || len(answered) >= 0 {\n",
		"TestSeed", "it believes a peer"},
	{"what was due in an outage is made up for one by one", "runtime/engine/schedule.go",
		"	due := when.Latest(time.UnixMilli(row.Next), now)\n", "	due := time.UnixMilli(row.Next)\n",
		"TestSeed", "was started when a later one was due"},
	{"the end of a run does not set the next time", "runtime/engine/schedule.go",
		"	return tx.Reschedule(waits, when.Next(time.UnixMilli(run.Ended)).UnixMilli(), \"\")\n", "	_, _ = waits, when\n	return nil\n",
		"TestSeed", "and weft was well"},
	{"state that a full disk has lost is read on", "store/space.go",
		"	db.state.reset()\n", "",
		"TestSeed", "state: "},
	{"the first that an entry changes is not told", "runtime/engine/actor.go",
		"	a.announce(eff.Life, en.At)\n", "	a.announce(eff.Life[min(1, len(eff.Life)):], en.At)\n",
		"TestSeed", "the log tells"},
	{"a run is forgotten after half its time", "runtime/engine/retain.go",
		"e.now().Add(-e.opts.Retain)", "e.now().Add(-e.opts.Retain/2)",
		"TestSeed", "is forgotten too early"},
	{"the bus hands out an event again that is in the log twice", "host/bus/group.go",
		"	return g.b.db.InInbox(ctx, inbox(g.topic, g.name), e.Source, e.ID)\n", "	_ = e\n	return false, nil\n",
		"TestSeed", "happened 2 times"},
	{"the seed of a run that another runs is the machine's", "runtime/engine/family.go",
		"Data: c.Input, Seed: e.opts.Chance()", "Data: c.Input, Seed: func() uint64 {\n		for n := range map[uint64]bool{1: true, 2: true, 3: true, 4: true} {\n			return n\n		}\n		return 0\n	}()",
		"TestSeed", "the second life differs"},
	{"the bus puts an event off by the order of a map", "host/bus/group.go",
		"	return time.Duration(chance % uint64(bound+1))\n", "	for n := range map[int64]bool{1: true, 2: true, 3: true, 4: true} {\n		bound = bound * time.Duration(n) / 4\n		break\n	}\n	return time.Duration(chance % uint64(bound+1))\n",
		"TestSeed", "the second life differs"},
}

// TestPlantedBugsAreFound builds this package again with a bug in the engine,
// and wants it found within some seeds.
func TestPlantedBugsAreFound(t *testing.T) {
	for _, p := range plants[:min(*plantsMax, len(plants))] {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"test", "-count=1", "-timeout", "20m", "-overlay", plant.Overlay(t, filepath.Join("../..", p.file), p.text, p.bug), "-run", p.test}
			if race {
				args = append(args, "-race")
			}
			out, err := exec.Command("go", append(args, ".", "-first", "-seeds", "500")...).CombinedOutput()
			if err == nil {
				t.Fatalf("%s did not find it", p.test)
			}
			if !strings.Contains(string(out), p.finds) {
				t.Errorf("%s does not say %q:\n%s", p.test, p.finds, out)
			}
		})
	}
}
