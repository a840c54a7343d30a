package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/weftrun/weft"
	"github.com/weftrun/weft/store"
	"github.com/weftrun/weft/workflows"
)

// Applied is what came of deploying a workflow.
type Applied struct {
	Space, Name, Version string
	Pinned               []Pin
	Unchanged            bool // the same text was there under this version
}

// Pin is one handler that a workflow calls, as written and as pinned.
type Pin struct{ Written, Ref weft.Ref }

// WorkflowInfo describes one version of a workflow.
type WorkflowInfo struct {
	Space, Name, Version, Title string
	Source                      []byte
	Created                     time.Time
}

// Apply checks a workflow, pins the handlers that it calls and makes it live.
// What it has elsewhere is fetched and kept with it. What is wrong with it is
// workflows.Problems. A version is never replaced.
func (c *Catalog) Apply(ctx context.Context, ns, file string, src []byte) (Applied, error) {
	if err := c.db.Room(); err != nil {
		return Applied{}, err
	}
	def, err := workflows.Parse(file, src)
	if err != nil {
		return Applied{}, err
	}
	if len(def.Missing()) > 0 {
		if a, there, err := c.there(ns, def, src); there || err != nil {
			return a, err // nothing is fetched again
		}
		if def, err = c.complete(ctx, ns, def); err != nil {
			return Applied{}, err
		}
	}
	if err := CheckScripts(ctx, c.scripts, ns, def); err != nil {
		return Applied{}, err
	}
	a, err := c.apply(ctx, ns, def, src)
	if err == nil && !a.Unchanged {
		c.log.Info("workflow is live", "namespace", ns, "workflow", a.Space+"/"+a.Name, "version", a.Version)
		c.changed()
	}
	return a, err
}

func (c *Catalog) apply(ctx context.Context, ns string, def *workflows.Definition, src []byte) (Applied, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, there, err := c.there(ns, def, src)
	if there || err != nil {
		return a, err
	}
	w := &workflow{def: def, digest: digest(src), created: time.Now().Truncate(time.Millisecond)}
	pinned, err := def.Pin(func(use workflows.HandlerUse) (weft.Ref, error) {
		ref, err := c.pin(ns, use.Ref)
		if err == nil {
			a.Pinned = append(a.Pinned, Pin{use.Ref, ref})
		}
		return ref, err
	})
	if err != nil {
		return Applied{}, err
	}
	slices.Reverse(a.Pinned) // Pin goes from the end
	if err := c.runnable(ns, def); err != nil {
		return Applied{}, err
	}
	w.def = pinned
	row := store.Workflow{Namespace: ns, Space: a.Space, Name: a.Name, Version: a.Version, Source: pinned.Source(), Digest: w.digest, Created: w.created.UnixMilli()}
	if texts := pinned.Resources(); texts != nil {
		row.Resources = jsonOf(texts)
	}
	err = c.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.InsertWorkflow(row); err != nil {
			return err
		}
		was := c.space(ns).workflows[w.key()]
		return succeed(tx, ns, was, sorted(append(slices.Clone(was), w), (*workflow).version))
	})
	if err != nil {
		return Applied{}, err
	}
	c.update(ns, func(s *space) { s.addWorkflow(w) })
	return a, nil
}

// pin is the one handler that ref means, and that a step can call. What a peer has
// is found when it is called.
func (c *Catalog) pin(ns string, ref weft.Ref) (weft.Ref, error) {
	if ref.Elsewhere() {
		return ref, nil
	}
	info, err := c.find(ns, ref)
	if err == nil {
		_, err = info.Module.method(ref.Name)
	}
	return info.Ref, err
}

// there reports whether the version is there with this text already; with another
// it is an error. Where it is not, the answer has its name alone.
func (c *Catalog) there(ns string, def *workflows.Definition, src []byte) (a Applied, there bool, err error) {
	a.Space, a.Name, a.Version = def.ID()
	key := a.Space + "/" + a.Name
	for _, was := range c.space(ns).workflows[key] {
		if was.version() != a.Version {
			continue
		}
		if was.digest != digest(src) {
			return Applied{}, false, weft.Errorf(weft.AlreadyExists, "catalog.Catalog.Apply", "workflow %s:%s is there with other content", key, a.Version).
				WithHint("a version never changes: raise document.version")
		}
		a.Unchanged = true
		for _, use := range was.def.Handlers() {
			a.Pinned = append(a.Pinned, Pin{use.Ref, use.Ref})
		}
		return a, true, nil
	}
	return a, false, nil
}

func digest(src []byte) string {
	sum := sha256.Sum256(src)
	return hex.EncodeToString(sum[:])
}

// succeed gives the schedule to the newest version, if it is another than
// before: time starts that one from now on, and no other.
func succeed(tx *store.Tx, ns string, before, after []*workflow) error {
	was, _ := newest(before, "", (*workflow).version)
	is, ok := newest(after, "", (*workflow).version)
	if was == is {
		return nil
	}
	if !ok {
		space, name, _ := was.def.ID()
		return tx.SetSchedules(ns, space, name, nil)
	}
	space, name, version := is.def.ID()
	var rows []store.Schedule
	for _, s := range is.def.Schedules() {
		row := store.Schedule{Namespace: ns, Space: space, Workflow: name, Kind: string(s.Kind), Version: version}
		if first := s.First(time.Now()); !first.IsZero() {
			row.Next = first.UnixMilli()
		}
		rows = append(rows, row)
	}
	return tx.SetSchedules(ns, space, name, rows)
}

// runnable refuses a definition that runs a workflow which is not there. It
// may run itself.
func (c *Catalog) runnable(ns string, def *workflows.Definition) error {
	space, name, version := def.ID()
	own := workflows.WorkflowRef{Namespace: space, Name: name, Version: version}
	var problems workflows.Problems
	for _, use := range def.Workflows() {
		if use.Ref == own {
			continue
		}
		if _, err := c.workflow(ns, use.Ref.Namespace+"/"+use.Ref.Name, use.Ref.Version); err != nil {
			problems = append(problems, workflows.Problem{File: use.File, Line: use.Line, Column: use.Column, Key: "workflow", Message: err.Error()})
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// Workflow finds a definition by name or by space/name, where space is
// document.namespace; an empty or partial version means the newest that fits.
func (c *Catalog) Workflow(ns, name, version string) (*workflows.Definition, error) {
	w, err := c.workflow(ns, name, version)
	if err != nil {
		return nil, err
	}
	return w.def, nil
}

func (c *Catalog) workflow(ns, name, version string) (*workflow, error) {
	const op = "catalog.Catalog.Workflow"
	s := c.space(ns)
	key, err := s.resolve(name)
	if err != nil {
		return nil, err
	}
	if w, ok := newest(s.workflows[key], version, (*workflow).version); ok {
		return w, nil
	}
	if len(s.workflows[key]) > 0 {
		return nil, weft.Errorf(weft.NotFound, op, "workflow %s has no version %s", key, version).WithHint("weft workflow list shows what there is")
	}
	var names []string
	for k := range s.workflows {
		_, short, _ := strings.Cut(k, "/")
		names = append(names, short)
	}
	slices.Sort(names)
	e := weft.Errorf(weft.NotFound, op, "no workflow %q in namespace %s", name, ns)
	if near := workflows.Nearest(name, names); near != "" {
		return nil, e.WithHint("did you mean %s?", near)
	}
	return nil, e.WithHint("deploy it: weft workflow apply FILE")
}

// resolve makes space/name of a name alone.
func (s *space) resolve(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	var found []string
	for key := range s.workflows {
		if _, short, _ := strings.Cut(key, "/"); short == name {
			found = append(found, key)
		}
	}
	if len(found) > 1 {
		slices.Sort(found)
		return "", weft.Errorf(weft.InvalidArgument, "catalog.Catalog.Workflow", "%q names several workflows", name).WithHint("write one of %s", strings.Join(found, ", "))
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return name, nil
}

// WorkflowInfo describes one version, found as Workflow finds it.
func (c *Catalog) WorkflowInfo(ns, name, version string) (WorkflowInfo, error) {
	w, err := c.workflow(ns, name, version)
	if err != nil {
		return WorkflowInfo{}, err
	}
	return w.info(), nil
}

func (w *workflow) info() WorkflowInfo {
	space, name, version := w.def.ID()
	return WorkflowInfo{Space: space, Name: name, Version: version, Title: w.def.Title(), Source: w.def.Source(), Created: w.created}
}

// Workflows lists all versions of all workflows of a namespace, by name, the newest first.
func (c *Catalog) Workflows(ns string) []WorkflowInfo {
	var all []WorkflowInfo
	for _, list := range c.space(ns).workflows {
		for _, w := range slices.Backward(list) {
			all = append(all, w.info())
		}
	}
	return byName(all, func(w WorkflowInfo) string { return w.Space + "/" + w.Name })
}

// RemoveWorkflow takes a version away. live are the statuses of runs that have
// not ended: while there is one of this version, it is refused.
func (c *Catalog) RemoveWorkflow(ctx context.Context, ns, name, version string, live [2]int) error {
	c.mu.Lock()
	w, err := c.workflow(ns, name, version)
	if err == nil {
		err = c.removeWorkflow(ctx, ns, w, live)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.changed()
	return nil
}

// removeWorkflow does so. The caller holds mu.
func (c *Catalog) removeWorkflow(ctx context.Context, ns string, w *workflow, live [2]int) error {
	i := w.info()
	for _, list := range c.space(ns).workflows {
		for _, other := range list {
			for _, use := range other.def.Workflows() {
				if other != w && use.Ref.Namespace+"/"+use.Ref.Name == w.key() && use.Ref.Version == i.Version {
					return weft.Errorf(weft.FailedPrecondition, "catalog.Catalog.RemoveWorkflow", "workflow %s:%s runs %s:%s", other.key(), other.version(), w.key(), i.Version).
						WithHint("remove that one first")
				}
			}
		}
	}
	if module, method := c.space(ns).binds(w); module != "" {
		return weft.Errorf(weft.FailedPrecondition, "catalog.Catalog.RemoveWorkflow", "module %s answers %s by %s:%s", module, method, w.key(), i.Version).
			WithHint("remove that version of the module first")
	}
	busy, err := c.db.LiveRuns(ctx, ns, i.Space, i.Name, i.Version, live)
	if err != nil {
		return err
	}
	if busy {
		return weft.Errorf(weft.FailedPrecondition, "catalog.Catalog.RemoveWorkflow", "runs of %s:%s have not ended", w.key(), i.Version).WithHint("cancel them, or wait")
	}
	was := c.space(ns).workflows[w.key()]
	left := slices.DeleteFunc(slices.Clone(was), func(o *workflow) bool { return o == w })
	err = c.db.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteWorkflow(ns, i.Space, i.Name, i.Version); err != nil {
			return err
		}
		return succeed(tx, ns, was, left)
	})
	if err != nil {
		return err
	}
	c.update(ns, func(s *space) {
		s.workflows[w.key()] = left
		if len(s.workflows[w.key()]) == 0 {
			delete(s.workflows, w.key())
		}
	})
	return nil
}

// Triggered lists the newest version of each workflow that such an event starts.
func (c *Catalog) Triggered(ns string, e weft.Event) []*workflows.Definition {
	var all []*workflows.Definition
	for _, list := range c.space(ns).workflows {
		w, ok := newest(list, "", (*workflow).version)
		if !ok {
			continue
		}
		for _, filter := range w.def.Triggers() {
			match, err := filter.Match(e)
			if err != nil {
				c.log.Warn("trigger not evaluated", "workflow", w.key(), "event", e.ID, "error", err)
			}
			if match {
				all = append(all, w.def)
				break
			}
		}
	}
	return all
}
