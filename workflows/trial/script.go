package trial

import (
	"github.com/weftrun/weft/workflows/machine"
)

// scripts are those that the cases of a file run. They are no mocks: a script
// reaches nothing, so it runs as it is. What it gave once it gives after a crash
// too, for it may draw chance or read the clock.
type scripts struct {
	run  func(machine.Command) machine.Entry
	gave map[scriptKey]machine.Entry
}

type scriptKey struct {
	of    *Case
	place place
	input string
}

// Scripted reports whether a workflow of the test has a script.
func (f *File) Scripted() bool {
	for _, d := range f.defs {
		if len(d.Scripts()) > 0 {
			return true
		}
	}
	return false
}

// RunScripts has run answer each machine.RunScript of the cases.
func (f *File) RunScripts(run func(machine.Command) machine.Entry) {
	s := &scripts{run: run, gave: map[scriptKey]machine.Entry{}}
	for _, c := range f.Cases {
		c.scripts = s
	}
}

// script runs a script, which takes no time.
func (w *world) script(r *run, c machine.Command) {
	s := w.c.scripts
	if s == nil {
		w.trouble = "the task " + c.Name + " runs a script, and nothing here runs scripts"
		return
	}
	key := scriptKey{w.c, place{r.id, c.Step}, string(c.Input)}
	e, again := s.gave[key]
	if !again {
		e = s.run(c)
		s.gave[key] = e
	}
	h := happening{at: w.now, run: r, entry: e, volatile: true}
	w.answers[key.place] = h
	w.queue = append(w.queue, h)
}
