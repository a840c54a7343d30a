package trial

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/weftrun/weft/workflows/machine"
)

// CrashesMax bounds the crashes of one case; of a longer case they are spread
// over its length.
const CrashesMax = 1_000

// Outcome is what came of a case. It has passed when there are no failures.
type Outcome struct {
	Case     string
	Failures []string // each says what is and what was expected
	Status   string   // of the run: completed, faulted, cancelled, running; empty when none began
	Waiting  string   // what a run that has not ended waits for
	Output   []byte   // JSON
	Fault    *machine.Fault
	Took     time.Duration // in virtual time
	Runs     []Run         // the run first that the case is about
	Crashes  int           // that made no difference
}

// Run is one run of a case.
type Run struct {
	ID       string
	Workflow string
	Parent   string // the run around it; empty for none
	Step     uint32 // of the parent
	Steps    []machine.Step
}

// Run runs the case; with crashes, it runs it again and again, each time with
// a crash behind another journal entry, and expects the same end.
func (c *Case) Run(crashes bool) Outcome {
	w := &world{c: c}
	w.live()
	o := c.outcome(w)
	if crashes && w.trouble == "" {
		c.crashEverywhere(w, &o)
	}
	return o
}

func (c *Case) crashEverywhere(sound *world, o *Outcome) {
	want := sound.end()
	stride := 1 + (sound.writes-1)/CrashesMax
	for at := 1; at <= sound.writes; at += stride {
		for folds := range 2 {
			w := &world{c: c, crashAt: at, folds: folds}
			w.live()
			if got := w.end(); got != want {
				o.Failures = append(o.Failures, fmt.Sprintf("a crash behind journal entry %d of %d leads to another end: %s", at, sound.writes, firstChange(got, want)))
				return
			}
			o.Crashes++
		}
	}
}

func firstChange(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%q, not %q", a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(a), len(b))
}

func (c *Case) outcome(w *world) Outcome {
	o := Outcome{Case: c.Name, Took: w.took(w.root)}
	if w.root != nil {
		m := w.root.m
		o.Status, o.Waiting, o.Output, o.Fault = m.Status().String(), m.Waiting(), m.Output(), m.Fault()
		o.Runs = append(o.Runs, told(w.root))
	}
	for _, r := range w.runs {
		if r != w.root {
			o.Runs = append(o.Runs, told(r))
		}
	}
	switch {
	case w.trouble != "":
		o.Failures = []string{w.trouble}
	case w.root == nil:
		o.Failures = []string{"no event of the case starts the workflow; give it an input, or an event that its schedule takes"}
	default:
		o.Failures = c.expected.check(w)
	}
	return o
}

// told folds the journal of a run once more, for its steps.
func told(r *run) Run {
	space, name, version := r.def.ID()
	t := Run{ID: r.id, Workflow: space + "/" + name + ":" + version, Step: r.step}
	if r.parent != nil {
		t.Parent = r.parent.id
	}
	t.Steps, _ = machine.New(r.def, r.info()).Trace(entries(r.journal)) // it was folded before without an error
	return t
}

func entries(journal [][]byte) iter.Seq[machine.Entry] {
	return func(yield func(machine.Entry) bool) {
		for _, data := range journal {
			e, _, err := machine.DecodeEntry(data)
			if err != nil || !yield(e) {
				return
			}
		}
	}
}
