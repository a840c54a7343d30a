package workflows

import "fmt"

// Doubts are what runs and is probably not meant, in order of position: tasks
// that nothing leads to; and what nobody has looked at, for it is elsewhere.
func (d *Definition) Doubts() Problems {
	all := d.unreached(d.do)
	for _, t := range d.tasks {
		if t.Kind != KindFork { // its branches all begin at once
			all = append(all, d.unreached(t.Do)...)
		}
		if t.Catch != nil {
			all = append(all, d.unreached(t.Catch.Do)...)
		}
	}
	for _, r := range d.missing {
		all = append(all, r.Problem("was not looked at", "it is fetched and checked when the workflow is applied"))
	}
	return all.sorted()
}

// unreached tells of the first task of each stretch of a list that nothing leads to.
func (d *Definition) unreached(list []*Task) Problems {
	reached := make([]bool, len(list)+1)
	todo := []int{0}
	for len(todo) > 0 {
		i := todo[0]
		todo = todo[1:]
		if reached[i] || i == len(list) {
			continue
		}
		reached[i] = true
		todo = append(todo, after(list[i], i)...)
	}
	var all Problems
	for i, t := range list {
		if !reached[i] && reached[i-1] { // the first task is always reached
			all = append(all, Problem{
				File: d.file, Line: t.Line, Column: t.Column, Key: t.Name, Message: fmt.Sprintf("nothing leads to the task %s", t.Name),
				Hint: fmt.Sprintf("the task %s before it leads elsewhere; name it in a then, or leave it out", list[i-1].Name),
			})
		}
	}
	return all
}

// after are the places in its list that may follow the task at i.
func after(t *Task, i int) []int {
	var places []int
	add := func(then Then) {
		switch then.Flow {
		case Continue:
			places = append(places, i+1)
		case Goto:
			places = append(places, then.Next)
		}
	}
	if t.If != nil {
		add(Then{Flow: Continue})
	}
	otherwise := t.Kind != KindRaise || t.If != nil
	for _, c := range t.Switch {
		add(c.Then)
		otherwise = otherwise && c.When != nil
	}
	if otherwise {
		add(t.Then)
	}
	if t.Catch != nil && t.Catch.HasThen {
		add(t.Catch.Then)
	}
	return places
}
